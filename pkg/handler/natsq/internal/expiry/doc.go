// Package expiry removes the jobs and ledgers of commands that ended longer ago than
// CONSUMER_TRACE_RETENTION. Their streams have no age: a job and a ledger must outlive their
// command, however long that takes.
package expiry
