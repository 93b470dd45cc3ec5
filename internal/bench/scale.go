package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/bench/workload"
)

// scale measures how an export grows: with replicas, where downloads wait for the service and not
// for this machine, and with the number of images, in time and memory.
func scale(ctx context.Context, args []string) error {
	var o options
	set := o.flags("bench scale", "product")
	waiting := set.String("latency-case", "2040x4k", "what replicas export together")
	latency := set.Duration("blob-latency", 50*time.Millisecond, "what each download of it waits")
	downloads := set.Int("downloads", 2, "downloads at once of each replica: so few that the processor has little to do")
	counts := set.String("replicas", "1,2,4", "replicas, separated by commas; empty: that part is left out")
	growing := set.String("case", "10000x4k,40000x4k,160000x4k", "what one replica exports, without latency; empty: that part is left out")
	if err := parse(set, args); err != nil {
		return err
	}
	slow, err := workload.Parse(*waiting)
	if err != nil {
		return err
	}
	var replicas []int
	for text := range strings.SplitSeq(*counts, ",") {
		n, err := strconv.Atoi(text)
		if err != nil && *counts != "" {
			return fmt.Errorf("replicas: %w", err)
		}
		replicas = append(replicas, n)
	}
	var cases []workload.Case
	if *growing != "" {
		if cases, err = workload.ParseAll(*growing); err != nil {
			return err
		}
	}
	return withWorld(ctx, o, func(w *world, contenders []contender) error {
		for _, x := range contenders {
			if x.path == "" {
				return fmt.Errorf("contender %q does not scale", x.name)
			}
			if *counts != "" {
				settings := map[string]string{"CONSUMER_WORKERS": "1", "CONSUMER_DOWNLOADS": strconv.Itoa(*downloads)}
				samples, err := w.withReplicas(x, slow, *latency, replicas, o.rounds, settings)
				if err != nil {
					return err
				}
				fmt.Printf("\n#### Replicas (%s): %s that take %s each, %d at once for each replica, %s\n\n%s", x.name, slow.Title(), *latency, *downloads, plural(o.rounds, "round"), replicaTable(replicas, samples))
			}
			var samples [][]sample
			for _, c := range cases {
				if err := w.hold(c, 1, 0); err != nil {
					return err
				}
				r, err := w.compare(c, []contender{x}, o.rounds)
				if err != nil {
					return err
				}
				samples = append(samples, r.samples[x.name])
			}
			if len(cases) > 0 {
				fmt.Printf("\n#### Size (%s): %s\n\n%s", x.name, plural(o.rounds, "round"), sizeTable(cases, samples))
			}
		}
		return nil
	})
}

// withReplicas measures exports by these numbers of replicas, round by round.
func (w *world) withReplicas(x contender, c workload.Case, latency time.Duration, replicas []int, rounds int, settings map[string]string) ([][]sample, error) {
	if err := w.hold(c, 1, latency); err != nil {
		return nil, err
	}
	samples := make([][]sample, len(replicas))
	for round := range rounds {
		for i := range replicas {
			i = (round + i) % len(replicas)
			s, err := w.runConsumers(x.path, replicas[i], settings)
			if err != nil {
				return nil, err
			}
			samples[i] = append(samples[i], s)
			fmt.Fprintf(os.Stderr, "%d/%d %s: %s\n", round+1, rounds, plural(replicas[i], "replica"), s.Took.Round(time.Millisecond))
		}
	}
	return samples, nil
}

func seconds(s sample) float64 { return s.Took.Seconds() }

// replicaTable compares each number of replicas with the first.
func replicaTable(replicas []int, samples [][]sample) string {
	rows := [][]string{{"replicas", "seconds", "images/s", "times as fast", "CPU ms an image", "peak MiB of one"}}
	for i, n := range replicas {
		s := samples[i]
		rows = append(rows, []string{
			strconv.Itoa(n), fmt.Sprintf("%.1f", median(each(s, seconds))), number(median(each(s, sample.perSecond))),
			fmt.Sprintf("%.2f", medianRatio(s, samples[0], sample.perSecond)), fmt.Sprintf("%.2f", median(each(s, sample.cpu))), number(median(each(s, sample.peak))),
		})
	}
	return markdown(rows)
}

// sizeTable has a row for each case, and how much more memory it took than the first.
func sizeTable(cases []workload.Case, samples [][]sample) string {
	rows := [][]string{{"", "seconds", "images/s", "CPU ms an image", "peak MiB", "more than the first"}}
	for i, c := range cases {
		s := samples[i]
		peak := median(each(s, sample.peak))
		rows = append(rows, []string{
			c.Title(), fmt.Sprintf("%.1f", median(each(s, seconds))), number(median(each(s, sample.perSecond))), fmt.Sprintf("%.2f", median(each(s, sample.cpu))),
			number(peak), fmt.Sprintf("%.1f", peak-median(each(samples[0], sample.peak))),
		})
	}
	return markdown(rows)
}
