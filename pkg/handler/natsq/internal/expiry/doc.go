// Package expiry removes the jobs and ledgers of commands that ended long ago. Their streams have
// no age: a job and a ledger must outlive their command, however long that takes.
package expiry
