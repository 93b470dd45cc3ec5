//go:build race

package handler_test

// underRace says that the race detector is on, under which everything takes several times as long.
const underRace = true
