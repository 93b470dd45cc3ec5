// Package bagfile has the Go types of the files of a bag: what an export or a delete writes, and
// what verification reads. Both use these types, so they cannot mean different things by one name.
//
//   - request.go: evidence/request.json; export.go: the summary and the inventory of an export;
//     deletion.go: those of a delete, and its verification
//   - counts.go: numbers by category; sets.go: which words a file may use
//   - schema.go: the JSON Schemas; text.go: text that is printable
//
// What must be true of several files together is checked in package verify.
package bagfile
