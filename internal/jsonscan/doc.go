// Package jsonscan finds its way through JSON text without making anything of it, several times as
// fast as package encoding/json looks it through. It takes exactly what that package takes, which a
// fuzz test holds.
package jsonscan
