// Package contract is the wire: commands, events, jobs, refusals and dead letters, as others
// publish and read them. The JSON Schemas of all of them are in package schema.
//
//   - fields.go: the data, field by field: which fields there are, which actions may have them, and
//     how each is read; command.go: their types and limits
//   - decode.go: DecodeCommand; envelope.go: the three encodings; strictjson.go: values and objects
//   - message.go: messages and dead letters; key.go: the keys that name commands
//   - refusal.go: error codes, the order in which refusals are checked, and refusals
//   - policy.go: which deletes the service carries out
//   - event.go: events; job.go: jobs; versioned.go: formats of newer versions
//   - pseudonym.go: metadata values as they may be stored; digest.go: digests of data, and which
//     commands are the same; secret.go: names of secrets
//
// DecodeCommand refuses, by the field's name, whatever is not exactly a command. Values of
// image_metadata are personal data. They stay inside Command: its text and JSON have them redacted,
// a Pseudonymizer replaces them in everything that is stored or shown, and refusals quote no value
// of the message at all.
//
// What this package does not do: it talks to no server, and decides nothing about a command but
// whether it is one.
package contract
