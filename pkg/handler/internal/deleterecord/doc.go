// Package deleterecord is the records of a delete: what each step saw to be gone. Each step of each
// project has one, and is done when that is stored: alone, or of a small delete with its cut. A
// Tally sums them up; cut.go has the cut.
//
// It decides which stored record is believed, and changes nothing in the service.
package deleterecord
