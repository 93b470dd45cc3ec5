// Command server is one of the servers that a benchmark needs, as a process of its own: the
// Training API simulator, the S3 server, or NATS. It prints a line of JSON with the settings that
// lead to it, answers each line of standard input with a line of JSON, and ends with standard
// input.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

// server is one kind of server.
type server interface {
	settings() map[string]string        // the environment that leads programs to it
	answer(words []string) (any, error) // to a line of standard input
	Close() error
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() (err error) {
	kind := flag.String("kind", "", "vision, s3 or nats")
	dir := flag.String("dir", "", "folder for the data of s3 and nats")
	content := flag.String("case", "", "what the account of vision holds, as 3000x100k")
	projects := flag.Int("projects", 1, "projects of that content in the account")
	latency := flag.Duration("blob-latency", 0, "what vision waits before it answers a download")
	md5 := flag.Bool("md5", false, "vision sends Content-MD5 with files")
	flag.Parse()

	var s server
	switch *kind {
	case "vision":
		s, err = startVision(*content, *projects, *latency, *md5)
	case "s3":
		s, err = startStore(*dir)
	case "nats":
		s, err = startNATS(*dir)
	default:
		err = fmt.Errorf("kind %q: write vision, s3 or nats", *kind)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(s.settings()); err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		reply, err := s.answer(strings.Fields(lines.Text()))
		if err != nil {
			return err
		}
		if err := out.Encode(reply); err != nil {
			return err
		}
	}
	return lines.Err()
}

// unknown is the error of a line that a server does not know.
func unknown(words []string) error { return fmt.Errorf("no answer to %q", words) }

// startup bounds what a server asks of another.
func startup() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}
