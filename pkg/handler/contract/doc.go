// Package contract is the wire: commands, events, jobs, refusals and dead letters, as others
// publish and read them. The JSON Schemas of all of them are in package schema.
//
// DecodeCommand reads a message in any of the three encodings and refuses, by the field's name,
// whatever is not exactly a command: envelope.go reads the encoding, fields.go the data, and
// strictjson.go the values.
//
// Values of image_metadata are personal data. They stay inside Command: its text and JSON have them
// redacted, a Pseudonymizer replaces them in everything that is stored or shown, and refusals quote
// no value of the message at all.
//
// What this package does not do: it talks to no server, and decides nothing about a command but
// whether it is one.
package contract
