// Package ledger is the chain of Training API calls that are made for a command, and its fence.
//
//   - ledger.go: the coordinator's pen: each append names the message before it, so that a previous
//     holder cannot write any more
//   - calls.go: a call as records carry it, and the recorder that collects calls
//   - possible.go: which destructive calls may have been carried out
//
// What the lines mean to an auditor is package sink's.
package ledger
