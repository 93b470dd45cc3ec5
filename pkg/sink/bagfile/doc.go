// Package bagfile has the Go types of the files of a bag: what an export or a delete writes, and
// what verification reads. Both use these types, so they cannot mean different things by one name.
//
// The types say what a file holds, and the sets in sets.go which words it may use. What must be
// true of several files together is checked in package verify.
package bagfile
