// Package deleterecord is the records of a delete: what each step saw to be gone. Each step of each
// project has one, and is done when that is stored: as an object of its own or, in a small delete,
// as part of the cut (cut.go). A Tally sums them up.
//
// It decides which stored record is believed, and changes nothing in the service.
package deleterecord
