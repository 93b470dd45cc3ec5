package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

func main() {
	crashBySignal()
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// cli is the command line. Each command is in the file of its name.
type cli struct {
	Run     runCmd     `cmd:"" help:"Run the service: take commands from NATS and carry them out."`
	Dev     devCmd     `cmd:"" help:"Run everything in one process on loopback: NATS, S3, a Training API simulator with sample data, and the consumer."`
	Export  exportCmd  `cmd:"" help:"Publish an export command and wait for its end."`
	Plan    planCmd    `cmd:"" help:"Show what a delete would remove, and the digest that approves it."`
	Delete  deleteCmd  `cmd:"" help:"Show what a delete would remove, ask, publish it, and wait for its end."`
	Approve approveCmd `cmd:"" help:"Show what a signed delete would remove, ask, approve it, publish it, and wait for its end."`
	Jobs    jobsCmd    `cmd:"" help:"List, show, watch and cancel jobs."`
	Dead    deadCmd    `cmd:"" help:"List, show, replay and remove dead letters."`
	Holds   holdsCmd   `cmd:"" help:"List, add and remove legal holds on projects."`
	Forget  forgetCmd  `cmd:"" help:"Remove the traces of one command from NATS."`
	GC      gcCmd      `cmd:"" name:"gc" help:"Remove what failed and cancelled exports left in storage."`
	Keys    keysCmd    `cmd:"" help:"Make the keys that receipts are signed with."`
	Doctor  doctorCmd  `cmd:"" help:"Try what the service needs, with the settings of consumer run, and say which setting to change."`
	Verify  verifyCmd  `cmd:"" help:"Check bundles: folders, .zip files or s3://bucket/prefix/."`
	Fetch   fetchCmd   `cmd:"" help:"Download the bundles of a command, and verify them."`
	Inspect inspectCmd `cmd:"" help:"Show what bundles say: projects, counts, outcome, exceptions."`
	Pack    packCmd    `cmd:"" help:"Write a bundle as one zip archive, on disk or in S3."`
	Convert convertCmd `cmd:"" help:"Write training sets of an export for other tools: COCO, Azure Machine Learning, YOLO."`
	Link    linkCmd    `cmd:"" help:"Sign links to a bundle, for auditors without access to the store."`
	Version versionCmd `cmd:"" help:"Print version, commit and Go version."`

	Schema     schemaCmd     `cmd:"" help:"Print a published contract: command, event, job, receipt, deletion, inventory or asyncapi."`
	Completion completionCmd `cmd:"" help:"Print a script that completes command lines: bash, zsh or fish."`
	Complete   completeCmd   `cmd:"" name:"__complete" hidden:"" help:"Answer such a script."`
}

// program is what a command gets from the process it runs in.
type program struct {
	ctx    context.Context // cancelled with delivery.ErrStopping by the first signal
	env    *environ
	args   []string      // of the command line
	line   *kong.Context // what args mean
	stdin  io.Reader
	stdout io.Writer // for people: see plain
	raw    io.Writer // standard output as it is
	screen screen    // of standard output
	stderr io.Writer
	words  *lastWords // where the error that ends the program is said
}

// run carries out one command line and gives the exit code. The environment is a parameter, so that
// nothing below reads the process's own (but the SDKs of AWS, for what is not set here: profiles,
// web identity, instance roles; of Azure, for the identity of Entra ID; and of OpenTelemetry).
func run(ctx context.Context, args, vars []string, stdin io.Reader, stdout, stderr io.Writer) int {
	words := &lastWords{w: stderr}
	ctx, stop := stopOnSignal(ctx, words, os.Exit)
	defer stop()
	p := &program{ctx: ctx, env: newEnviron(vars), stdin: stdin, stdout: plain{stdout}, raw: stdout, stderr: stderr, words: words}
	p.screen = screenOf(stdout, p.env.get)
	return report(words, p.execute(args))
}

// execute parses the arguments and runs the command they name.
func (p *program) execute(args []string) error {
	p.args = args
	var commands cli
	parser, err := kong.New(&commands,
		kong.Name("consumer"),
		kong.Description("Exports user data from Azure Custom Vision into verifiable bundles, and deletes it with proof.\n\n"+
			"Every setting is a flag and an environment variable; the flag wins. Secrets are taken from variables and files only: a command line is shown to every user of the machine.\n\n"+
			"To see it work: consumer dev --demo.\n\n"+
			"Exit codes: 0 done, 1 unexpected, 2 usage or settings, 3 the command failed, was refused or does not exist, 4 verification failed, "+
			"5 something needed is not reachable, 6 verification is inconclusive. A crash ends by SIGABRT (134 in a shell); as process 1 of a container it exits 2."),
		kong.Writers(p.raw, p.stderr),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 120}),
		kong.ValueFormatter(describe),
		kong.Resolvers(p.env),
	)
	if err != nil {
		return fmt.Errorf("build the command line: %w", err)
	}
	addLongNames(parser.Model.Node)
	p.line, err = parseLine(parser, p.env, args)
	switch {
	case err != nil:
		return usageError(err)
	case asksForHelp(p.line):
		return p.line.PrintUsage(false)
	}
	if err := refuseSecrets(p.line); err != nil {
		return err
	}
	selected, ok := p.line.Selected().Target.Addr().Interface().(command)
	if !ok {
		return fmt.Errorf("%s cannot be run", p.line.Command())
	}
	return selected.Run(p)
}

// usageError is the error of a command line that cannot be parsed, with the help to look at.
func usageError(err error) error {
	var context *contextError
	if errors.As(err, &context) {
		return fmt.Errorf("%w: %w", errUsage, context)
	}
	help := "consumer --help"
	var line *lineError
	if errors.As(err, &line) {
		n := line.parsed.Selected()
		if n != nil && n.Parent != nil && n.Parent.DefaultCmd == n { // it was not named
			n = n.Parent
		}
		for ; n != nil && n.Type == kong.CommandNode; n = n.Parent {
			help = strings.Replace(help, "consumer", "consumer "+n.Name, 1)
		}
	}
	hint := ""
	if strings.Contains(err.Error(), "invalid UUID") {
		hint = ": an id in Custom Vision looks like 0f3b2a77-3a57-4b8c-9a67-5c1c1df0a111"
	}
	return fmt.Errorf("%w: %w%s (see %s)", errUsage, err, hint, help)
}

// describe is a flag's help with its variable, and with that of the value where the flag names a
// secret's file.
func describe(v *kong.Value) string {
	names := variables(v.Tag)
	if len(names) == 0 {
		return v.Help
	}
	text := strings.Join(names, ", $")
	if value := v.Tag.Get("value"); value != "" {
		text += "; the value itself only by $" + value
	}
	return strings.TrimSuffix(v.Help, ".") + " ($" + text + ")."
}

// addLongNames makes --consumer-drain another name of --drain, so that each flag can be guessed
// from its variable.
func addLongNames(n *kong.Node) {
	for _, f := range n.Flags {
		for _, name := range variables(f.Tag) {
			long := strings.ReplaceAll(strings.ToLower(name), "_", "-")
			if long != f.Name {
				f.Aliases = append(f.Aliases, long)
			}
		}
	}
	for _, child := range n.Children {
		addLongNames(child)
	}
}

// stopOnSignal gives a context that SIGINT or SIGTERM cancels with cause delivery.ErrStopping. A
// second signal leaves at once.
func stopOnSignal(ctx context.Context, stderr io.Writer, exit func(int)) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for first := true; ; first = false {
			select {
			case <-done:
				return
			case s := <-signals:
				if !first {
					fmt.Fprintf(stderr, "consumer: %s again: leaving at once\n", s)
					exit(exitUnexpected)
				}
				cancel(delivery.ErrStopping)
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(errors.New("done"))
	}
}
