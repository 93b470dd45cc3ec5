// Package sinktest is an S3 server in the process, for tests and for trying things out, and a
// transport that breaks requests by a script.
//
// [Server] is the real thing (versitygw), not an imitation: it refuses wrong checksums and
// signatures, and honors conditional writes, versions and Object Lock. [Faults] stands below the
// real SDK, so that keys, headers and retries are exercised. [Gateway] is a proxy before the server
// that has the quirks of other stores: quirks.go changes answers, refusals.go refuses and changes
// requests.
//
// Besides tests, `consumer dev` uses the server. Nothing else does.
package sinktest
