package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/bench/workload"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// order is one run of many small deletes.
type order struct {
	sample
	calls map[string]float64 // of the Training API, by operation, for one command
	store map[string]float64 // requests to S3, by method
	nats  map[string]float64 // messages that the consumer "sent" and "received"
	what  map[string]float64 // messages by what they are for, see kindOf
}

// commands measures deletes of one image each: planned, carried out, verified, and with a receipt.
// Requesters work each on a project of its own, and wait for the end of one delete before the next.
func commands(ctx context.Context, args []string) error {
	var o options
	set := o.flags("bench commands", "product")
	requesters := set.Int("requesters", 32, "requesters at once")
	number := set.Int("commands", 30, "commands of each requester")
	if err := parse(set, args); err != nil {
		return err
	}
	// Each requester has one delete more before anything is measured, and one after that, whose
	// messages are listened to. One image is left.
	c, err := workload.Parse(fmt.Sprintf("%dx4k", *number+3))
	if err != nil {
		return err
	}
	return withWorld(ctx, o, func(w *world, contenders []contender) error {
		orders := map[string][]order{}
		for round := range o.rounds {
			for i := range contenders {
				x := contenders[(round+i)%len(contenders)]
				if x.path == "" {
					return fmt.Errorf("contender %q takes no commands", x.name)
				}
				if err := w.hold(c, *requesters, 0); err != nil { // what was deleted is there again
					return err
				}
				one, err := w.order(x.path)
				if err != nil {
					return err
				}
				orders[x.name] = append(orders[x.name], one)
				fmt.Fprintf(os.Stderr, "%d/%d %-10s %4.0f commands/s, CPU %5.2f ms\n", round+1, o.rounds, x.name, one.perSecond(), one.cpu())
			}
		}
		fmt.Printf("\n#### Deletes of one image: %s, %d requesters\n\n%s", plural(o.rounds, "round"), *requesters, commandTable(contenders, orders))
		return nil
	})
}

// order runs all deletes, and counts what those cost that are measured.
func (w *world) order(path string) (o order, err error) {
	var images map[string][]string
	if err := w.vision.ask(&images, "projects"); err != nil {
		return o, err
	}
	projects := slices.Sorted(maps.Keys(images))
	err = w.withConsumers(path, 1, nil, func(replicas []*consumer, r *requester, nats *process) error {
		if err := w.deletes(r, projects, images, 0, 1); err != nil {
			return err
		}
		var none any
		if err := w.vision.ask(&none, "reset"); err != nil {
			return err
		}
		before, err := w.counts(replicas[0], r, nats)
		if err != nil {
			return err
		}
		each := len(images[projects[0]]) - 3
		o.sample, err = w.measure(replicas, func() (int, int64, error) {
			return each * len(projects), 0, w.deletes(r, projects, images, 1, each)
		})
		if err != nil {
			return err
		}
		after, err := w.counts(replicas[0], r, nats)
		o.calls, o.store, o.nats = perCommand(before.calls, after.calls, o.Files), perCommand(before.store, after.store, o.Files), perCommand(before.nats, after.nats, o.Files)
		if err != nil {
			return err
		}
		kinds, err := r.listen(func() error { return w.deletes(r, projects, images, each+1, 1) })
		o.what = perCommand(nil, kinds, len(projects))
		return err
	})
	return o, err
}

// deletes has each project's requester delete so many images, one after the other.
func (w *world) deletes(r *requester, projects []string, images map[string][]string, first, number int) error {
	publish := func(project, n int) error {
		id, image := projects[project], images[projects[project]][n]
		return r.publish(contract.ActionDelete, fmt.Sprintf("delete-%d-%d-%d", w.runs, project, n), fmt.Sprintf(`{"project_ids":[%q],"image_ids":[%q]}`, id, image))
	}
	for project := range projects {
		if err := publish(project, first); err != nil {
			return err
		}
	}
	for left := number * len(projects); left > 0; left-- {
		e, err := r.next(w.ctx)
		if err != nil {
			return err
		}
		var run, project, n int
		if _, err := fmt.Sscanf(e.CommandID, "delete-%d-%d-%d", &run, &project, &n); err != nil {
			return fmt.Errorf("an event of command %s: %w", e.CommandID, err)
		}
		if n+1 < first+number {
			if err := publish(project, n+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// tally is what was counted up to some moment.
type tally struct{ calls, store, nats map[string]float64 }

// counts counts all that the consumer has asked of others, without what the requester sent and
// heard.
func (w *world) counts(c *consumer, r *requester, nats *process) (t tally, err error) {
	if err := w.vision.ask(&t.calls, "calls"); err != nil {
		return t, err
	}
	if err := nats.ask(&t.nats, "messages"); err != nil {
		return t, err
	}
	t.nats = map[string]float64{"sent": t.nats["in"] - float64(r.nc.Stats().OutMsgs), "received": t.nats["out"] - float64(r.heard)}
	t.store, err = c.counter(w.ctx, "cvconsumer_storage_requests_total", "method")
	return t, err
}

// counter reads a counter of the consumer's metrics, summed up by one of its labels.
func (c *consumer) counter(ctx context.Context, name, label string) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	sums := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		labels, isIt := strings.CutPrefix(lines.Text(), name+"{")
		_, rest, has := strings.Cut(labels, label+`="`)
		value, _, _ := strings.Cut(rest, `"`)
		if _, number, found := strings.Cut(labels, "} "); isIt && has && found {
			n, err := strconv.ParseFloat(number, 64)
			if err != nil {
				return nil, fmt.Errorf("metric %s: %w", name, err)
			}
			sums[value] += n
		}
	}
	if len(sums) == 0 {
		return nil, errors.Join(lines.Err(), fmt.Errorf("no metric %s", name))
	}
	return sums, lines.Err()
}

// perCommand is how much each count has grown for each of so many commands.
func perCommand(before, after map[string]float64, commands int) map[string]float64 {
	grown := map[string]float64{}
	for name, n := range after {
		if d := n - before[name]; d > 0 && commands > 0 {
			grown[name] = d / float64(commands)
		}
	}
	return grown
}

// commandTable has a row for each contender, and a list of what one command of each asks for.
func commandTable(contenders []contender, orders map[string][]order) string {
	total := func(of func(order) map[string]float64) func(order) float64 {
		return func(o order) (sum float64) {
			for _, n := range of(o) {
				sum += n
			}
			return sum
		}
	}
	middle := func(all []order, of func(order) float64) float64 {
		var numbers []float64
		for _, o := range all {
			numbers = append(numbers, of(o))
		}
		return median(numbers)
	}
	asked := []struct {
		what string
		of   func(order) map[string]float64
	}{
		{"Training API calls", func(o order) map[string]float64 { return o.calls }},
		{"S3 requests", func(o order) map[string]float64 { return o.store }},
		{"NATS messages", func(o order) map[string]float64 { return o.nats }},
	}
	head := []string{"", "commands/s", "CPU ms a command", "peak MiB"}
	for _, a := range asked {
		head = append(head, a.what)
	}
	rows, lists := [][]string{head}, ""
	for _, x := range contenders {
		all := orders[x.name]
		row := []string{
			x.name, number(middle(all, func(o order) float64 { return o.perSecond() })),
			fmt.Sprintf("%.2f", middle(all, func(o order) float64 { return o.cpu() })), number(middle(all, func(o order) float64 { return o.peak() })),
		}
		for _, a := range asked {
			row = append(row, fmt.Sprintf("%.1f", middle(all, total(a.of))))
			lists += fmt.Sprintf("- %s, %s: %s\n", x.name, a.what, list(a.of(all[0])))
		}
		lists += fmt.Sprintf("- %s, messages by subject: %s\n", x.name, list(all[0].what))
		rows = append(rows, row)
	}
	return markdown(rows) + "\n" + lists
}

// list prints counts, the largest first; what is nearly nothing is left out.
func list(counts map[string]float64) string {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if counts[a] != counts[b] {
			if counts[a] > counts[b] {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	var all []string
	for _, name := range names {
		if text := fmt.Sprintf("%.1f", counts[name]); text != "0.0" {
			all = append(all, name+" "+strings.TrimSuffix(text, ".0"))
		}
	}
	return strings.Join(all, ", ")
}
