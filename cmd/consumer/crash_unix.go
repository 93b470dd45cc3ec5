//go:build unix

package main

import "syscall"

// noCoreDump keeps keys and pictures, which memory is full of, out of a file.
func noCoreDump() {
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) // lowering a limit is always allowed
}
