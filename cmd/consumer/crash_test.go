package main

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"time"
)

// crash is a program that starts as consumer does, and ends by a panic beside the main goroutine or
// for lack of memory.
func crash() {
	crashBySignal()
	switch os.Args[1] {
	case "panic":
		go func() { panic(errors.New("a bug")) }()
	case "memory":
		if err := syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}); err != nil {
			panic(err)
		}
		for all := [][]byte{}; ; {
			all = append(all, make([]byte, 64<<20))
			runtime.KeepAlive(all)
		}
	}
	time.Sleep(time.Minute) //nolint:forbidigo // it is over at once
}
