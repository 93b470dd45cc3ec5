// Package handler is a command's life: a Handler carries commands out as their coordinator, and
// does units of work as a worker.
//
//   - handler.go: what a Handler is made of
//   - coordinator.go: a delivery's way, and how an attempt is settled
//   - signed.go: who signed and approved a message, which is judged before all else
//   - admit.go: the job of a command: found, made, a duplicate, an id that is taken
//   - take.go: what comes before an attempt: validate, accept, take the job
//   - waiting.go: commands that wait for their turn, or for something outside; slots.go: the slots
//     of attempts, which resources share
//   - actions.go: what an attempt does: export, delete, or what an earlier attempt left
//   - job.go: the job's compare-and-set, progress, attempts counted and taken back
//   - end.go: the one place that ends a command: its job, dead letter and terminal event; and that
//     answers a message which only repeats another one
//   - stopping.go: commands that end without a bag: cancelled or failed
//   - cancel.go: cancels, and when one is too late; refuse.go: messages that are no command
//   - gc.go: what ended commands left in storage
//
// A Command arrives on the queue; its Job is the durable record of carrying it out; Units are the
// pieces of the work; Events say what happened, and exactly one of them is terminal. Every message
// is answered by one event that has its sequence. Effects happen in one order: entries, manifests,
// receipt, clean-up, job, dead letter, event, ack. Any step may be cut short and run again: a rerun
// finds its own earlier work and ends in the same state.
//
// The wire is package contract, a message on its way package delivery. An action (packages export
// and deletion) returns its result, an end or a wait; only this package turns it into job, event
// and acknowledgement.
//
// There is no NATS, no HTTP and no S3 in here: the queue is reached through the interfaces of
// Queue, the Training API through package cv's types and storage through package sink's.
package handler
