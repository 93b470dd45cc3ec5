// Command bench measures the product against programs that do less, or what users write today: side
// by side, in one run, each with servers and processes of its own on loopback. See
// docs/performance.md.
//
//	go run ./internal/bench -case 3000x100k -rounds 3
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/bench/workload"
)

// options are the flags.
type options struct {
	cases      string
	contenders string
	rounds     int
	dir        string
	profiles   string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var o options
	flag.StringVar(&o.cases, "case", "3000x100k,20000x100k,20000x4k,3000x100kx50,model1g", "what to export, separated by commas: IMAGESxSIZE, IMAGESxSIZExREGIONS, modelSIZE")
	flag.StringVar(&o.contenders, "contenders", "relay,proving,product", "who takes part; NAME=PATH is another build of the consumer")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each contender runs each case")
	flag.StringVar(&o.dir, "dir", "", "folder for what the servers store; default: /dev/shm, or the one for temporary files")
	flag.StringVar(&o.profiles, "profile", "", "folder for profiles of the product; they cost some of its speed")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "bench: what is %q?\n", flag.Args())
		os.Exit(2)
	}
	if err := throughput(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// contender is one of those that are compared.
type contender struct {
	name string
	run  func() (sample, error)
}

// throughput measures how fast everything of an account is exported.
func throughput(ctx context.Context, o options) (err error) {
	var cases []workload.Case
	for name := range strings.SplitSeq(o.cases, ",") {
		c, err := workload.Parse(name)
		if err != nil {
			return err
		}
		cases = append(cases, c)
	}
	names := strings.Split(o.contenders, ",")
	w, closeWorld, err := newWorld(ctx, o, slices.Contains(names, "script"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeWorld()) }()
	contenders, err := w.contenders(names)
	if err != nil {
		return err
	}
	fmt.Print(machine(ctx, w.now(), w.dir))
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
}

// newWorld builds the programs and starts the servers.
func newWorld(ctx context.Context, o options, script bool) (*world, func() error, error) {
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
	w := &world{ctx: ctx, now: time.Now, dir: dir, profiles: o.profiles} //nolint:forbidigo // measuring is the point
	closeAll := func() error { return errors.Join(w.close(), os.RemoveAll(dir)) }
	if w.programs, err = build(ctx, dir, o.profiles != "", script); err == nil {
		err = w.open()
	}
	if err != nil {
		return nil, nil, errors.Join(err, closeAll())
	}
	return w, closeAll, nil
}

// contenders are those with these names.
func (w *world) contenders(names []string) ([]contender, error) {
	known := map[string]contender{
		"relay":   {"relay", func() (sample, error) { return w.runTask(w.programs.relay) }},
		"proving": {baseline, func() (sample, error) { return w.runTask(w.programs.relay, "-prove") }},
		"script":  {habit, func() (sample, error) { return w.runTask(w.programs.script) }},
		"product": {"product", func() (sample, error) { return w.runConsumer(w.programs.consumer) }},
	}
	var all []contender
	for _, name := range names {
		c, found := known[name]
		if other, path, is := strings.Cut(name, "="); is {
			c, found = contender{other, func() (sample, error) { return w.runConsumer(path) }}, true
		}
		if !found {
			return nil, fmt.Errorf("contender %q: write relay, proving, script, product or NAME=PATH", name)
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
			s, err := x.run()
			if err != nil {
				return r, fmt.Errorf("%s, %s: %w", c.Name, x.name, err)
			}
			if s.Files != c.Files() || s.Bytes != w.want {
				return r, fmt.Errorf("%s, %s: it copied %d files of %d bytes, of %d of %d", c.Name, x.name, s.Files, s.Bytes, c.Files(), w.want)
			}
			r.samples[x.name] = append(r.samples[x.name], s)
			fmt.Fprintf(os.Stderr, "%s %d/%d %-13s %8s, CPU %8s, %4.0f MiB\n", c.Name, round+1, rounds, x.name, s.Took.Round(time.Millisecond), s.CPU, s.peak())
		}
	}
	return r, nil
}
