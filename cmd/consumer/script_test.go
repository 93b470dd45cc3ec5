package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// trainingProbe is the variable that says how often the consumer of a test asks the Training API
// whether it is available again.
const trainingProbe = "CVCONSUMER_TEST_TRAINING_PROBE"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"crash": crash,
		"consumer": func() {
			if every, err := time.ParseDuration(os.Getenv(trainingProbe)); err == nil {
				defaultProbeIntervals.training = every
			}
			os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

func TestScripts(t *testing.T) {
	root, err := filepath.Abs("../..") // the store in this process changes its folder
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": mustExit,
			"nats":  startNATS,
			"guide": guideCommands(root),
		},
	})
}

// guideCommands writes the commands of pages that are marked with <!-- run --> into guide.sh, for
// the bucket of consumer dev: guide PAGE….
func guideCommands(root string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) == 0 {
			ts.Fatalf("usage: guide PAGE…")
		}
		var commands strings.Builder
		for _, name := range args {
			page, err := os.ReadFile(filepath.Join(root, name))
			ts.Check(err)
			blocks := strings.Split(string(page), "<!-- run -->\n```sh\n")[1:]
			if len(blocks) == 0 {
				ts.Fatalf("%s has no commands to run", name)
			}
			for _, block := range blocks {
				block, _, _ := strings.Cut(block, "```\n")
				commands.WriteString(strings.ReplaceAll(block, "s3://my-bundles/", "s3://"+devBucket+"/"))
			}
		}
		ts.Check(os.WriteFile(ts.MkAbs("guide.sh"), []byte(commands.String()), 0o600))
	}
}

// mustExit runs a program that must end with a given exit code: exits CODE program args….
func mustExit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE program args…")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		ts.Fatalf("exit code %q is not a number", args[0])
	}
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := err.(interface{ ExitCode() int }); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%s: %v", args[1], err)
	}
	if got != want {
		ts.Fatalf("%v exits %d, want %d", args[1:], got, want)
	}
}

// startNATS starts a NATS server, which ends with the script, and sets a variable to its URL: nats
// VARIABLE.
func startNATS(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: nats VARIABLE")
	}
	server, err := natstest.Start(natstest.Options{Addr: "127.0.0.1:0"})
	ts.Check(err)
	ts.Defer(func() { ts.Check(server.Close()) })
	ts.Setenv(args[0], server.URL())
}
