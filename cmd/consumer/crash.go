package main

import "runtime/debug"

// crashBySignal makes this process die by SIGABRT where Go's runtime would exit 2: at a panic, and
// when it gets no memory. Exit code 2 is that of usage and settings, which a restart does not
// mend. Process 1 of a container gets no such signal, and exits 2 all the same.
func crashBySignal() {
	debug.SetTraceback("crash")
	noCoreDump()
}
