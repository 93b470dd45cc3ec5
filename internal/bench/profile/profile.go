// Package profile writes profiles of the process that imports it, for the benchmarks: of the time
// between two signals, so that start and end of a service are not in them.
package profile

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"syscall"
)

// Variable names the folder that profiles are written to; without it nothing is profiled.
const Variable = "BENCH_PROFILE"

// Begin and End are the signals between which a process is profiled. It writes the file Done when
// all profiles are written.
const (
	Begin = syscall.SIGUSR1
	End   = syscall.SIGUSR2
	Done  = "done"
)

// What is sampled of blocking and of contention: an event for so many nanoseconds, one of so many
// events.
const (
	blockRate     = 10_000
	mutexFraction = 100
)

func init() {
	dir := os.Getenv(Variable)
	if dir == "" {
		return
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, Begin, End)
	go func() {
		<-signals
		file, err := os.Create(filepath.Join(dir, "cpu.pprof"))
		if err == nil {
			runtime.SetBlockProfileRate(blockRate)
			runtime.SetMutexProfileFraction(mutexFraction)
			err = pprof.StartCPUProfile(file)
		}
		<-signals
		pprof.StopCPUProfile()
		if err = errors.Join(err, file.Close(), writeAll(dir)); err != nil {
			fmt.Fprintln(os.Stderr, "profile:", err)
		}
	}()
}

// writeAll writes the profiles that the runtime keeps by itself.
func writeAll(dir string) error {
	runtime.GC() // so that what is in use is
	for _, name := range []string{"allocs", "heap", "block", "mutex", "goroutine"} {
		file, err := os.Create(filepath.Join(dir, name+".pprof"))
		if err != nil {
			return err
		}
		if err := errors.Join(pprof.Lookup(name).WriteTo(file, 0), file.Close()); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, Done), nil, 0o600)
}
