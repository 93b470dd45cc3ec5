package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
)

type exportCmd struct {
	Selection selection    `embed:""`
	Request   requestFlags `embed:""`
}

// requestFlags say how a command is published and waited for.
type requestFlags struct {
	ID      string        `name:"id" placeholder:"ID" help:"Id of the command, which names the bundle; default a random one. The same id and data again gives the earlier result."`
	NoWait  bool          `name:"no-wait" help:"Publish, print the id, and leave."`
	Timeout time.Duration `name:"timeout" placeholder:"DURATION" help:"Leave when it has not ended by then; it goes on."`
	Output  string        `name:"output" short:"o" enum:"text,json" default:"text" placeholder:"FORMAT" help:"text, or json: the terminal event; default ${default}."`
	NATS    natsSettings  `embed:"" group:"NATS:"`
}

// Help implements kong.HelpProvider.
func (exportCmd) Help() string {
	return "Exits 0 when the export completed, 3 when it failed or was refused, 5 when NATS is not reachable. Leaving does not stop the export."
}

// Run publishes the command and waits for its end.
func (c exportCmd) Run(p *program) error {
	conf, o, err := c.Request.order(p, contract.ActionExport)
	if err != nil {
		return err
	}
	if o.data, err = c.Selection.data(p, conf.Subjects, o, commandData{}); err != nil {
		return err
	}
	return c.Request.run(p, conf, o)
}

// order is the order that is to be published, but for its data.
func (c requestFlags) order(p *program, action contract.Action) (natsConfig, order, error) {
	bad := p.env.unknown()
	conf := c.NATS.config(&bad)
	o := order{action: action, id: c.ID}
	if o.id == "" {
		o.id = uuid.NewString()
	}
	return conf, o, bad.err()
}

// run publishes an order and, unless told otherwise, waits for its end and prints that.
func (c requestFlags) run(p *program, conf natsConfig, o order) error {
	if c.NoWait {
		return o.publishOnly(p, conf, c.Output == "json")
	}
	event, err := c.wait(p, conf, o)
	if err != nil {
		return err
	}
	return printEnd(p, event, c.Output == "json")
}

// printEnd prints a terminal event; any but completed is an errCommandFailed.
func printEnd(p *program, event contract.Event, asJSON bool) error {
	if asJSON {
		if err := printJSON(p.stdout, event); err != nil {
			return err
		}
	} else if event.Data.Status == contract.StatusCompleted {
		printEvent(p.stdout, event)
	}
	return completed(event)
}

// completed is the error of a command that did not complete.
func completed(e contract.Event) error {
	if e.Data.Status != contract.StatusCompleted {
		return fmt.Errorf("%w: %s", errCommandFailed, describeEvent(e))
	}
	return nil
}

// wait publishes an order, shows its progress, and returns its terminal event.
func (c requestFlags) wait(p *program, conf natsConfig, o order) (contract.Event, error) {
	ctx := p.ctx
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.Timeout, errTimeout)
		defer cancel()
	}
	shown := newProgress(p.stderr)
	event, err := request(ctx, conf, o, shown.show)
	shown.end()
	return event, err
}

var errTimeout = errors.New("not ended within --timeout")

// order is a command to be published.
type order struct {
	action contract.Action
	id     string
	data   []byte              // JSON
	header map[string][]string // beside the id
}

func (o order) message(prefix string) contract.Message {
	m := contract.Message{
		Subject: prefix + ".commands." + string(o.action),
		Header:  map[string][]string{contract.HeaderMsgID: {o.id}},
		Body:    o.data,
	}
	maps.Copy(m.Header, o.header)
	return m
}

// publishOnly publishes the order and prints its id.
func (o order) publishOnly(p *program, c natsConfig, asJSON bool) error {
	nc, q, err := openRequester(p.ctx, c)
	if err != nil {
		return err
	}
	defer nc.Close()
	seq, err := q.PublishCommand(p.ctx, o.message(c.Subjects))
	if err != nil {
		return fmt.Errorf("%w: publish the command: %w", errUnreachable, err)
	}
	if asJSON {
		return printJSON(p.stdout, map[string]any{"id": o.id, "seq": seq})
	}
	_, err = fmt.Fprintln(p.stdout, o.id)
	return err
}

// reachTimeout is how long a command line waits for servers before it says that they are not
// reachable.
const reachTimeout = 10 * time.Second

// openRequester connects to NATS as somebody who publishes commands and reads what became of them.
// It makes and changes nothing there.
func openRequester(ctx context.Context, c natsConfig) (*nats.Conn, *natsq.Queue, error) {
	o := c.connection("consumer", zerolog.Nop())
	o.FailFast = true
	nc, err := natsq.Connect(ctx, o)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	// Whatever retention and replicas the operator chose is right for a requester.
	opening, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	q, err := natsq.Open(opening, nc, natsq.Options{Prefix: c.Subjects, Retention: time.Minute, AckWait: time.Second, Log: zerolog.Nop()})
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	return nc, q, nil
}

// connection is how natsq connects.
func (c natsConfig) connection(name string, log zerolog.Logger) natsq.ConnectOptions {
	o := natsq.ConnectOptions{URL: c.URL, Name: name, Creds: c.Creds, NKey: c.NKey, User: c.User, CA: c.CA, Cert: c.Cert, Key: c.Key, Log: log}
	if c.Password.IsSet() {
		o.Password = c.Password.Reveal
	}
	return o
}

// request publishes an order, tells seen of each event, and returns the terminal one: whatever it
// says, it is the answer. The error is about asking.
func request(ctx context.Context, c natsConfig, o order, seen func(contract.Event)) (contract.Event, error) {
	nc, q, err := openRequester(ctx, c)
	if err != nil {
		return contract.Event{}, err
	}
	defer nc.Close()
	at, err := o.publish(ctx, q)
	if err != nil {
		return contract.Event{}, err
	}
	e, err := await(ctx, q, o, at, seen)
	if err != nil && ctx.Err() != nil {
		return e, fmt.Errorf("%w; command %s goes on", context.Cause(ctx), o.id)
	}
	return e, err
}

// place is where an order was stored.
type place struct {
	stream string // when that stream was made: the sequence counts in no other
	seq    uint64
}

// publish publishes an order and says where it is.
func (o order) publish(ctx context.Context, q *natsq.Queue) (place, error) {
	before, err := q.CommandStream(ctx)
	if err != nil {
		return place{}, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	seq, err := q.PublishCommand(ctx, o.message(q.Prefix()))
	if err != nil {
		return place{}, fmt.Errorf("%w: publish the command: %w", errUnreachable, err)
	}
	p := place{stream: before, seq: seq}
	return p, p.stands(ctx, q)
}

// stands fails when the place's stream was deleted and made again: what was published is lost with
// it.
func (p place) stands(ctx context.Context, q *natsq.Queue) error {
	now, err := q.CommandStream(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errUnreachable, err)
	case now != p.stream:
		return fmt.Errorf("%w: the stream of commands was deleted and made again, and the command may be lost with it: publish it again", errUnreachable)
	}
	return nil
}

// is reports whether an event is about the message at this place. A service of an older version
// does not say which stream it means.
func (p place) is(e contract.Event) bool {
	return e.Data.Seq == p.seq && string(e.Data.Stream) == p.stream || e.Data.Stream == "" && contract.IsSeqID(e.Data.CommandID)
}

// await waits for the end of the order that was published at a place.
//
// The answer is under the order's own id, or, when the message was refused because that id is
// taken, under "seq-<sequence>". Under the own id may be the answer to an earlier message: it is
// this one's too when this one was settled without being refused.
func await(ctx context.Context, q *natsq.Queue, o order, at place, seen func(contract.Event)) (contract.Event, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	own, err := q.WatchEvents(ctx, o.id)
	if err != nil {
		return contract.Event{}, fmt.Errorf("watch events: %w", err)
	}
	refused, err := q.WatchEvents(ctx, contract.SeqID(at.seq))
	if err != nil {
		return contract.Event{}, fmt.Errorf("watch events: %w", err)
	}
	var answer *contract.Event
	look := time.NewTimer(time.Hour)
	look.Stop() // set going by an answer
	pause := 5 * time.Millisecond
	for {
		select {
		case e, ok := <-own:
			if !ok {
				return contract.Event{}, ended(ctx)
			}
			if e.Data.Action != o.action {
				continue
			}
			if !e.Data.Status.Terminal() {
				seen(e)
				continue
			}
			if at.is(e) {
				return e, nil
			}
			answer = &e
			look.Reset(0)
		case e, ok := <-refused:
			if !ok {
				return contract.Event{}, ended(ctx)
			}
			if e.Data.Status.Terminal() && at.is(e) {
				return e, nil
			}
		case <-look.C:
			_, err := q.CommandIn(ctx, at.stream, at.seq)
			switch {
			case err == nil: // not settled yet
				look.Reset(pause)
				pause = min(2*pause, time.Second)
			case !errors.Is(err, contract.ErrNoMessage):
				return contract.Event{}, fmt.Errorf("ask for the command: %w", err)
			default:
				e, err := q.Event(ctx, o.action, contract.SeqID(at.seq), contract.StatusRefused)
				if err == nil && at.is(e) {
					return e, nil
				}
				if err != nil && !errors.Is(err, contract.ErrNoMessage) {
					return contract.Event{}, fmt.Errorf("ask for the event: %w", err)
				}
				return *answer, at.stands(ctx, q)
			}
		}
	}
}

// ended says why watching ended.
func ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: the connection to NATS was closed", errUnreachable)
}

// describeEvent is a terminal event in a few words.
func describeEvent(e contract.Event) string {
	text := string(e.Data.Status)
	if e.Data.Error != nil {
		text += ": " + e.Data.Error.Error()
	}
	if e.Data.ConflictsWith != "" {
		text += " (the id belongs to " + string(e.Data.ConflictsWith) + ")"
	}
	return text
}

// printEvent prints what a completed command came to.
func printEvent(w io.Writer, e contract.Event) {
	d := e.Data
	fmt.Fprintf(w, "%s: %s\n", d.Status, d.Outcome)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "  command\t%s\n", d.CommandID)
	printCounts(t, d.Counts)
	if d.Exceptions > 0 {
		fmt.Fprintf(t, "  exceptions\t%d, listed in evidence/inventory.json\n", d.Exceptions)
	}
	if d.Plan != nil {
		fmt.Fprintf(t, "  plan\tsha256 %s\n", d.Plan.SHA256)
	}
	printBundle(t, "bundle", d.Bundle)
	printBundle(t, "exported before", d.ExportBundle)
	for _, r := range d.Residuals {
		fmt.Fprintf(t, "  remains\t%s: %s\n", r.Category, r.Reason)
	}
	t.Flush()
}

// printBundle prints where a bundle is and what it is to be checked against.
func printBundle(w io.Writer, name string, b *contract.BundleRef) {
	if b == nil {
		return
	}
	fmt.Fprintf(w, "  %s\t%s\n  objects\t%d\n  manifest\tsha256 %s\n  receipt\tsha256 %s, %s\n", name, b.URI, b.Objects, b.ManifestSHA256, b.ReceiptSHA256, signedText(b.Signed))
}

func printCounts(w io.Writer, c contract.Counts) {
	printThings(w, c)
	fmt.Fprintf(w, "  payload\t%s\n", humanBytes(c.Bytes))
}

func printThings(w io.Writer, c contract.Counts) {
	for _, row := range []struct {
		name string
		n    int64
	}{
		{"projects", c.Projects},
		{"iterations", c.Iterations},
		{"performance", c.Performance},
		{"tags", c.Tags},
		{"images", c.Images},
		{"exported models", c.Exports},
		{"predictions", c.Predictions},
	} {
		fmt.Fprintf(w, "  %s\t%d\n", row.name, row.n)
	}
}

func signedText(signed bool) string {
	if signed {
		return "signed"
	}
	return "unsigned"
}

// progress shows events as they come: a bar on a terminal, lines elsewhere.
type progress struct {
	out  io.Writer
	bars *mpb.Progress // nil without a terminal
	bar  *mpb.Bar
	last string
}

func newProgress(w io.Writer) *progress {
	p := &progress{out: w}
	if f, ok := w.(*os.File); ok && isTerminal(f) {
		p.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(48))
	}
	return p
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) } //nolint:gosec // a file descriptor fits an int

// show shows one event that is not the last.
func (p *progress) show(e contract.Event) {
	text := progressText(e)
	if p.bars == nil {
		if text != p.last {
			fmt.Fprintln(p.out, text)
			p.last = text
		}
		return
	}
	if p.bar == nil {
		p.bar = p.bars.AddBar(0,
			mpb.PrependDecorators(decor.Name(e.Data.CommandID+" ")),
			mpb.AppendDecorators(decor.CountersNoUnit("%d of %d items"), decor.Elapsed(decor.ET_STYLE_GO, decor.WCSyncSpace)))
	}
	if e.Data.Waiting != nil && text != p.last { // a bar cannot say it
		fmt.Fprintln(p.bars, text)
		p.last = text
	}
	if g := e.Data.Progress; g != nil {
		p.bar.SetTotal(g.Total, false)
		p.bar.SetCurrent(g.Done)
	}
}

// end takes the bar away: what comes next is the answer.
func (p *progress) end() {
	if p.bar != nil {
		p.bar.Abort(true)
	}
	if p.bars != nil {
		p.bars.Wait()
	}
}

// progressText is an event in a line.
func progressText(e contract.Event) string {
	parts := []string{e.Data.CommandID + ": " + string(e.Data.Status)}
	if g := e.Data.Progress; g != nil && g.Total > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d items, %s", g.Done, g.Total, humanBytes(g.Bytes)))
	}
	if w := e.Data.Waiting; w != nil {
		parts = append(parts, fmt.Sprintf("waiting for %s since %s: %s", w.For, w.Since.Format(time.TimeOnly), w.Detail))
	}
	return strings.Join(parts, ", ")
}
