// Package jsonscan finds its way through JSON text, several times as fast as package encoding/json.
// It takes exactly what that package takes, which fuzz tests hold.
//
//   - scan.go: where values begin and end, and whether a text is JSON
//   - plain.go: what is in JSON of the form that most programs write; all else is left to
//     encoding/json
//   - splice.go: encoding of what has JSON within
package jsonscan
