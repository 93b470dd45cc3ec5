// Command bench measures the product against programs that do less, or what users write today: side
// by side, in one run, each with servers and processes of its own on loopback. See
// docs/performance.md.
//
//	go run ./internal/bench -case 3000x100k -rounds 3
//	go run ./internal/bench commands
//	go run ./internal/bench scale
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/bench/workload"
)

// options are the flags.
type options struct {
	contenders string
	rounds     int
	dir        string
	profiles   string
	md5        bool
}

// flags are those that all benchmarks have.
func (o *options) flags(name, contenders string) *flag.FlagSet {
	set := flag.NewFlagSet(name, flag.ExitOnError)
	set.StringVar(&o.contenders, "contenders", contenders, "programs to compare, separated by commas: relay, proving, script, npm (needs Node), product; NAME=PATH is another build of the consumer")
	set.IntVar(&o.rounds, "rounds", 5, "how often each contender runs each case")
	set.StringVar(&o.dir, "dir", "", "folder for what the servers store; default: /dev/shm, or the one for temporary files")
	set.BoolVar(&o.md5, "md5", false, "have the blob host send Content-MD5, which only the product checks")
	set.StringVar(&o.profiles, "profile", "", "folder for profiles of the product; they cost some of its speed")
	return set
}

// parse reads a command line that is nothing but flags.
func parse(set *flag.FlagSet, args []string) error {
	if err := set.Parse(args); err != nil {
		return err
	}
	if set.NArg() > 0 {
		return fmt.Errorf("what is %q?", set.Args())
	}
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run, args := exports, os.Args[1:]
	if len(args) > 0 {
		switch args[0] {
		case "commands":
			run, args = commands, args[1:]
		case "scale":
			run, args = scale, args[1:]
		}
	}
	if err := run(ctx, args); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// contender is one of those that are compared.
type contender struct {
	name string
	path string // of a consumer; empty: another program
	run  func() (sample, error)
}

// exports measures how fast everything of an account is exported, and how fast others copy it.
func exports(ctx context.Context, args []string) (err error) {
	var o options
	set := o.flags("bench", "relay,proving,script,product")
	names := set.String("case", "3000x100k,20000x100k,20000x4k,3000x100kx50,model1g", "what to export, separated by commas: IMAGESxSIZE, IMAGESxSIZExREGIONS, modelSIZE")
	if err := parse(set, args); err != nil {
		return err
	}
	cases, err := workload.ParseAll(*names)
	if err != nil {
		return err
	}
	return withWorld(ctx, o, func(w *world, contenders []contender) error {
		for _, c := range cases {
			if err := w.hold(c, 1, 0); err != nil {
				return err
			}
			r, err := w.compare(c, contenders, o.rounds)
			if err != nil {
				return err
			}
			fmt.Printf("\n%s", r.table())
		}
		return nil
	})
}

// withWorld calls use with everything that a benchmark needs, after it has said where it runs.
func withWorld(ctx context.Context, o options, use func(*world, []contender) error) (err error) {
	names := strings.Split(o.contenders, ",")
	w, closeWorld, err := newWorld(ctx, o, names)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeWorld()) }()
	contenders, err := w.contenders(names)
	if err != nil {
		return err
	}
	fmt.Print(machine(ctx, w.now(), w.dir))
	return use(w, contenders)
}

// newWorld builds the programs and starts the servers.
func newWorld(ctx context.Context, o options, contenders []string) (*world, func() error, error) {
	if o.dir == "" {
		o.dir = os.TempDir()
		if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
			o.dir = "/dev/shm"
		}
	}
	dir, err := os.MkdirTemp(o.dir, "bench-*")
	if err != nil {
		return nil, nil, err
	}
	w := &world{ctx: ctx, now: time.Now, dir: dir, profiles: o.profiles, md5: o.md5} //nolint:forbidigo // measuring is the point
	closeAll := func() error { return errors.Join(w.close(), os.RemoveAll(dir)) }
	if w.programs, err = build(ctx, dir, o.profiles != "", contenders); err == nil {
		err = w.open()
	}
	if err != nil {
		return nil, nil, errors.Join(err, closeAll())
	}
	return w, closeAll, nil
}

// contenders are those with these names.
func (w *world) contenders(names []string) ([]contender, error) {
	consumer := func(name, path string) contender {
		return contender{name, path, func() (sample, error) { return w.runConsumers(path, 1, nil) }}
	}
	known := map[string]contender{
		"relay":   {"relay", "", func() (sample, error) { return w.runTask(w.programs.relay) }},
		"proving": {baseline, "", func() (sample, error) { return w.runTask(w.programs.relay, "-prove") }},
		habit:     {habit, "", func() (sample, error) { return w.runTask(w.programs.script) }},
		nodeHabit: {nodeHabit, "", func() (sample, error) { return w.runTask(w.programs.node, w.programs.nodeScript) }},
		"product": consumer("product", w.programs.consumer),
	}
	var all []contender
	for _, name := range names {
		c, found := known[name]
		if other, path, is := strings.Cut(name, "="); is {
			c, found = consumer(other, path), true
		}
		if !found {
			return nil, fmt.Errorf("contender %q: write relay, proving, script, npm, product or NAME=PATH", name)
		}
		all = append(all, c)
	}
	return all, nil
}

// compare runs all contenders in turn, each round beginning with another one.
func (w *world) compare(c workload.Case, contenders []contender, rounds int) (result, error) {
	r := result{c: c, samples: map[string][]sample{}}
	for _, x := range contenders {
		r.contenders = append(r.contenders, x.name)
	}
	for round := range rounds {
		for i := range contenders {
			x := contenders[(round+i)%len(contenders)]
			store, vision := w.serversCPU()
			s, err := x.run()
			if err != nil {
				return r, fmt.Errorf("%s, %s: %w", c.Name, x.name, err)
			}
			if s.Files != c.Files() || s.Bytes != w.want {
				return r, fmt.Errorf("%s, %s: it copied %d files of %d bytes, of %d of %d", c.Name, x.name, s.Files, s.Bytes, c.Files(), w.want)
			}
			r.samples[x.name] = append(r.samples[x.name], s)
			storeAfter, visionAfter := w.serversCPU()
			fmt.Fprintf(os.Stderr, "%s %d/%d %-13s %8s, CPU %8s, %4.0f MiB; CPU of S3 %s, of the Training API %s\n",
				c.Name, round+1, rounds, x.name, s.Took.Round(time.Millisecond), s.CPU, s.peak(), storeAfter-store, visionAfter-vision)
		}
	}
	return r, nil
}
