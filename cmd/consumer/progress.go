package main

import (
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/cvconsumer/cvconsumer/internal/human"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/transfer"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// lineEvery is how often a line says how far something is, where there is no terminal for a bar.
const lineEvery = 5 * time.Second

// minPaceTime is how long something is watched before its rate is shown.
const minPaceTime = 2 * time.Second

// pace measures a rate since something was first seen; it may have begun earlier.
type pace struct {
	since time.Time
	from  int64
}

// measure gives the rate in units a second, and how long the rest takes at this rate. Both are 0
// while they are not known.
func (p *pace) measure(now time.Time, done, total int64) (rate float64, left time.Duration) {
	if p.since.IsZero() || done < p.from {
		p.since, p.from = now, done
	}
	passed := now.Sub(p.since)
	if passed < minPaceTime || done == p.from {
		return 0, 0
	}
	rate = float64(done-p.from) / passed.Seconds()
	return rate, time.Duration(float64(max(0, total-done)) / rate * float64(time.Second)).Round(time.Second)
}

// howFar is done of total in words, with rate and time left where they are known. amount prints
// numbers.
func (p *pace) howFar(now time.Time, done, total int64, amount func(int64) string) string {
	text := amount(done) + " of " + amount(total)
	if rate, left := p.measure(now, done, total); rate > 0 {
		text += fmt.Sprintf(", %s/s, %s left", amount(max(1, int64(rate+0.5))), left)
	}
	return text
}

// items prints a number of items.
func items(n int64) string { return strconv.FormatInt(n, 10) }

// meter is a bar on a terminal, with a text behind it.
type meter struct {
	bar *mpb.Bar

	mu   sync.Mutex
	text string
}

// newMeter adds a bar.
func newMeter(to *mpb.Progress, name string) *meter {
	m := &meter{}
	m.bar = to.AddBar(0, mpb.PrependDecorators(decor.Name(name)), mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.text
	})))
	return m
}

// set shows how far it is.
func (m *meter) set(done, total int64, text string) {
	m.mu.Lock()
	m.text = text
	m.mu.Unlock()
	m.bar.SetTotal(total, false)
	m.bar.SetCurrent(done)
}

// newBars is where bars are shown; nil where w is no terminal.
func newBars(w io.Writer) *mpb.Progress {
	if !isTerminal(w) {
		return nil
	}
	return mpb.New(mpb.WithOutput(w)) // as wide as the terminal
}

// progress shows the events of a command as they come: a bar on a terminal; elsewhere a line when
// something changes, and one every few seconds.
type progress struct {
	out   io.Writer
	bars  *mpb.Progress // nil without a terminal
	meter *meter
	pace  pace
	state string    // as last shown
	last  time.Time // of the last line, by the event's own time
}

func newProgress(w io.Writer) *progress { return &progress{out: w, bars: newBars(w)} }

// show shows one event that is not the last.
func (p *progress) show(e contract.Event) {
	far := ""
	if g := e.Data.Progress; g != nil && g.Total > 0 {
		far = p.pace.howFar(e.Time, g.Done, g.Total, items) + ", " + human.Bytes(g.Bytes)
	}
	state := eventState(e)
	changed := state != p.state
	p.state = state
	if p.bars == nil {
		if changed || far != "" && e.Time.Sub(p.last) >= lineEvery {
			p.last = e.Time
			if far != "" {
				state += ", " + far
			}
			fmt.Fprintln(p.out, plainText(state))
		}
		return
	}
	if changed { // the bar does not show the state
		fmt.Fprintln(p.bars, plainText(state))
	}
	if far == "" {
		return
	}
	if p.meter == nil {
		p.meter = newMeter(p.bars, "")
	}
	p.meter.set(e.Data.Progress.Done, e.Data.Progress.Total, far)
}

// end removes the bar before the result is printed.
func (p *progress) end() {
	if p.meter != nil {
		p.meter.bar.Abort(true)
	}
	if p.bars != nil {
		p.bars.Wait()
	}
}

// eventState is what an event says but for how far the command is.
func eventState(e contract.Event) string {
	if of := e.Data.DuplicateOf; of != nil {
		return fmt.Sprintf("%s: the same command as message %d, which is %s: its result is this one's", of.ID, of.Seq, of.State)
	}
	text := e.Data.CommandID + ": " + string(e.Data.Status)
	if w := e.Data.Waiting; w != nil {
		text += fmt.Sprintf(", waiting for %s since %s: %s", w.For, w.Since.Format(time.TimeOnly), w.Detail)
	}
	return text
}

// bundleProgress shows how far the reading of bundles is: a bar for each on a terminal, elsewhere a
// line every few seconds.
type bundleProgress struct {
	bars *mpb.Progress // nil without a terminal
	now  func() time.Time

	mu  sync.Mutex // held while a line is written
	out io.Writer
}

func newBundleProgress(w io.Writer) *bundleProgress {
	return &bundleProgress{bars: newBars(w), out: w, now: time.Now} //nolint:forbidigo // the process's clock enters here
}

// maxBarName is the most columns of a bundle's name before a bar.
const maxBarName = 14

// track shows one bundle: update takes how much of it is done, as amount prints it, and end removes
// its bar.
func (b *bundleProgress) track(where string, amount func(int64) string) (update func(done, total int64), end func()) {
	var (
		m    *meter
		pace pace
		last = b.now()
	)
	name := bagfile.Printable(where)
	update = func(done, total int64) {
		b.mu.Lock()
		defer b.mu.Unlock()
		now := b.now()
		far := pace.howFar(now, done, total, amount)
		switch {
		case b.bars != nil:
			if m == nil {
				m = newMeter(b.bars, lastColumns(name, maxBarName)+" ")
			}
			m.set(done, total, far)
		case now.Sub(last) >= lineEvery:
			last = now
			fmt.Fprintf(b.out, "%s: %s\n", name, far)
		}
	}
	return update, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if m != nil {
			m.bar.Abort(true)
		}
	}
}

// verifying is track for a bundle that package verify reads.
func (b *bundleProgress) verifying(where string) (progress func(verify.Progress), end func()) {
	update, end := b.track(where, human.Bytes)
	return func(p verify.Progress) { update(p.Bytes, p.AllBytes) }, end
}

// copying is track for a copy that package transfer makes.
func (b *bundleProgress) copying(to string, total int64) (progress transfer.Progress, end func()) {
	update, end := b.track(to, human.Bytes)
	return func(_ int, done int64) { update(done, total) }, end
}

// lastColumns cuts the beginning of a text that takes more than limit columns.
func lastColumns(text string, limit int) string {
	if columns(text) <= limit {
		return text
	}
	runes := []rune(text)
	for len(runes) > 0 && columns(string(runes)) >= limit {
		runes = runes[1:]
	}
	return "…" + string(runes)
}

// end removes the bars before results are printed.
func (b *bundleProgress) end() {
	if b.bars != nil {
		b.bars.Wait()
	}
}
