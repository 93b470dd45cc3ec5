// Package handler knows what a command means.
//
// A Command arrives on the queue; its Job is the durable record of carrying it out; Units are the
// pieces of the work; Events say what happened, and exactly one of them is terminal. An export
// reads projects through the Training API and writes a bundle; a delete removes what was planned
// and proves it. Effects happen in one order: entries, manifests, receipt, job, event, ack. Any
// step may be cut short and run again: a rerun finds its own earlier work and ends in the same
// state.
//
// A delete is planned, judged, begun, carried out step by step and verified. Until it is begun
// nothing is changed; from then on exactly the plan goes, whoever carries it out, and every call
// that deletes is in the ledger before it is made, which only the holder of the command can write.
//
// The wire contract is here too: DecodeCommand reads a message in any of the three encodings and
// refuses, by the field's name, whatever is not exactly a command; Event, EventData and Job are the
// JSON that others read. The JSON Schemas of all of them are in package schema.
//
// Values of image_metadata are personal data. They stay inside Command: its text and JSON have them
// redacted, a Pseudonymizer replaces them in everything that is stored or shown, and refusals quote
// no value of the message at all.
//
// There is no NATS, no HTTP and no S3 in here: the queue is reached through the interfaces of
// ports.go, the Training API through package cv's types and storage through package sink's.
package handler
