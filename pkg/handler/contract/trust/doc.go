// Package trust judges by whom a command is signed and approved, and makes the headers that say so.
//
// A signature is Ed25519, by an NKey, over the audience, the subject, the command's id, and the
// body as it was published: the bytes that are decoded are the bytes that were signed. So a signed
// message counts for nothing under another id or subject, or for another service, and a signed
// delete has to say until when it may begin. An approval is the same, by another key.
//
// The judgement is pure: it knows the settings and the message, not what became of earlier ones.
package trust
