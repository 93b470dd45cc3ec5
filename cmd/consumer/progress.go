package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// progress shows events as they come: a bar on a terminal, lines elsewhere.
type progress struct {
	out  io.Writer
	bars *mpb.Progress // nil without a terminal
	bar  *mpb.Bar
	last string
}

func newProgress(w io.Writer) *progress {
	p := &progress{out: w}
	if isTerminal(w) {
		p.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(48))
	}
	return p
}

// show shows one event that is not the last.
func (p *progress) show(e contract.Event) {
	text := plainText(progressText(e))
	if e.Data.DuplicateOf != nil && p.bars != nil {
		fmt.Fprintln(p.bars, text)
		return
	}
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

// end removes the bar before the result is printed.
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
	if of := e.Data.DuplicateOf; of != nil {
		return fmt.Sprintf("%s: the same command as message %d, which is %s: its result is this one's", of.ID, of.Seq, of.State)
	}
	parts := []string{e.Data.CommandID + ": " + string(e.Data.Status)}
	if g := e.Data.Progress; g != nil && g.Total > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d items, %s", g.Done, g.Total, humanBytes(g.Bytes)))
	}
	if w := e.Data.Waiting; w != nil {
		parts = append(parts, fmt.Sprintf("waiting for %s since %s: %s", w.For, w.Since.Format(time.TimeOnly), w.Detail))
	}
	return plainText(strings.Join(parts, ", "))
}
