// Package signature signs receipts and checks their signatures: receipt.sigstore.json, a Sigstore
// bundle v0.3 around a DSSE envelope, whose payload is receipt.json byte for byte.
//
// A Signer holds a private key and makes a Bundle of a statement (key.go, bundle.go); a Key checks
// one. An Authority is asked for time stamps by RFC 3161, over the bytes of a signature
// (authority.go); ParseTimeStamp reads what it gave (timestamp.go). A Maker is all that a process
// needs to sign (maker.go).
//
// The package decides nothing about what is signed: its callers check that first. It writes no
// file, and knows neither bags nor storage. A time stamp's signature is checked with the
// certificates that it brings along; no authority is trusted here.
package signature
