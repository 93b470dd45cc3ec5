// Package task is the frame of a program that is measured: it gets ready, waits for the word,
// works, and stays until its processor time and memory have been read.
package task

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	_ "github.com/cvconsumer/cvconsumer/internal/bench/profile" // of the program, where the benchmark asks for it
)

// AtOnce is how many files each program moves at once: as many as the product does by default.
const AtOnce = 32

// Result is what a program has moved.
type Result struct {
	Files int
	Bytes int64
}

// Main prints "ready", waits for a line on standard input, works, prints the result as JSON, and
// ends with standard input.
func Main(work func(ctx context.Context) (Result, error)) {
	fmt.Println("ready")
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return
	}
	result, err := work(context.Background())
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, _ = io.Copy(io.Discard, in)
}
