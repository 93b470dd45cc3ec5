// Command consumer exports user data of the Azure Custom Vision service into verifiable bundles,
// and deletes it with proof, on command from NATS JetStream.
//
// This package is the command line and the wiring: the only place where all packages meet, where
// settings are read (once, from flags and the environment), and where signals and exit codes are
// known. A command is in the file of its name. The files are in layers, and each layer uses those
// above it.
//
// What every command has:
//
//   - main.go: the tree of commands, signals; commandline.go: what a line means, and what it lacks;
//     exit.go: from error to exit code; flags.go: flags of several commands; crash.go,
//     crash_unix.go, crash_other.go: how a crash ends the process
//   - terminal.go, table.go, plain.go, json.go: width and colors, tables, text that a terminal
//     cannot obey; progress.go: bars and lines
//   - completion.go, schema.go, version.go, keys.go: commands that need no server
//
// Settings, each with its flag, variable and unit:
//
//   - config.go: those of the service; nats.go, storage.go, resources.go, signing.go, trust.go,
//     page.go, log.go: how each thing is reached, and the clients of it
//   - environ.go, nats_context.go: where values come from; secret.go, secretflags.go, keyfiles.go:
//     secrets, which no flag takes; problems.go: what is wrong, all of it together
//   - reasons.go: what the operator can do about an error of a server
//
// The service:
//
//   - run.go, service.go: consumer run; heap.go: when memory is collected; opening.go: until streams and bucket can be used;
//     deployment.go: whose the bucket's prefix is; authority.go: the time stamp authority
//   - http.go: /healthz and /readyz; metrics.go, metrics_count.go, metrics_family.go:
//     /metrics; live_page.go: the page at /; traces.go: spans
//   - doctor.go, doctor_checks.go: consumer doctor, which tries the same things
//
// Bundles:
//
//   - bundle.go: a bundle at a place; target.go: a file or an object to write
//   - verify.go, verify_places.go, fetch.go, pack.go, convert.go, link.go, and inspect.go with
//     inspect_print.go: the commands
//
// Commands to the service:
//
//   - request.go: publish and wait; selection.go: what a command is about; sign.go, prepared.go:
//     signatures, commands in files; print.go: events for people
//   - export.go, delete.go (also consumer plan), approve.go; plan_show.go: a plan for people;
//     shell.go: commands that can be pasted
//   - jobs.go, dead.go, dead_replay.go, holds.go, forget.go, gc.go; known.go: what NATS knows of an
//     id
//
// For trying it: dev.go, dev_demo.go, and dev_lean.go in the binary for production, which has no
// servers.
package main
