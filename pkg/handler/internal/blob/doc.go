// Package blob is what a worker knows of the files that the service offers.
//
//   - links.go: links that expire, read again for all things of a unit at once
//   - models.go: what an exported model is known by, and how its file is named
//   - blame.go: why something could not be had
//
// It asks the service for nothing itself, and stores nothing.
package blob
