package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/livepage"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
)

// livePage makes the live page; nil when it is switched off. queue gives where jobs are read, nil
// before that is known.
func (s *service) livePage(queue func() *natsq.Queue) *livepage.Page {
	if !s.c.Page.On {
		return nil
	}
	o := livepage.Options{Log: s.log, Watch: func(ctx context.Context, show func(livepage.Snapshot)) {
		w := pageWatch{service: s, queue: queue}
		again := time.NewTicker(lookEvery)
		defer again.Stop()
		for ctx.Err() == nil {
			show(w.look(ctx))
			select {
			case <-again.C:
			case <-ctx.Done():
			}
		}
	}}
	if s.c.Page.Token.IsSet() {
		o.Token = s.c.Page.Token.Reveal
	}
	return livepage.New(o)
}

// lookEvery is how often the live page is updated while there are viewers, and lookTimeout how long
// NATS may take for it.
const (
	lookEvery   = time.Second
	lookTimeout = 5 * time.Second
)

// maxReadTime bounds how long one look reads jobs before the page shows them; the next look goes on
// from there.
const maxReadTime = 2 * time.Second

var errStillReading = errors.New("there are many, and they are still being read")

// pageWatch is what the live page has read so far.
type pageWatch struct {
	service *service
	queue   func() *natsq.Queue

	board  livepage.Board
	cursor natsq.JobCursor
	known  *livepage.Queue

	counted   map[*counters]float64
	countedAt time.Time
}

// look makes a snapshot.
func (w *pageWatch) look(ctx context.Context) livepage.Snapshot {
	now := time.Now() //nolint:forbidigo // times for people
	shown := livepage.Snapshot{At: now, Version: build().Version}
	if err := w.read(ctx, now); err != nil {
		shown.Problem = err.Error()
	}
	shown.Queue = w.known
	w.board.Show(&shown)
	ready := w.service.monitor.readiness()
	shown.Ready, shown.Stopping = ready.Ready, ready.Stopping
	for _, name := range slices.Sorted(maps.Keys(ready.Dependencies)) {
		d := ready.Dependencies[name]
		one := livepage.Dependency{Name: name, OK: d.OK, Reason: d.Reason, Notes: d.Notes}
		if d.Since != nil {
			one.Since = *d.Since
		}
		shown.Dependencies = append(shown.Dependencies, one)
	}
	shown.Rates = w.rates(now)
	return shown
}

// read reads what changed in NATS.
func (w *pageWatch) read(ctx context.Context, now time.Time) error {
	q := w.queue()
	if q == nil {
		return errUnchecked
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	b, err := q.Backlog(ctx)
	if err != nil {
		return err
	}
	w.known = &livepage.Queue{Commands: b.Commands, Units: b.Units, Dead: b.Dead, Oldest: max(0, now.Sub(b.Oldest))}
	if w.cursor.Since.IsZero() {
		w.cursor.Since = now.Add(-livepage.Recent)
		if b.Commands > 0 && b.Oldest.Before(w.cursor.Since) { // its job has not ended
			w.cursor.Since = b.Oldest
		}
	}
	for more := true; more; {
		if time.Since(now) > maxReadTime { //nolint:forbidigo // as above
			return errStillReading
		}
		changed, next, again, err := q.ChangedJobs(ctx, w.cursor)
		w.cursor, more = next, again // also of a reading that was cut short
		for _, c := range changed {
			if c.Removed {
				w.board.Remove(c.Key)
			} else {
				w.board.Put(rowOf(c.Key, c.Job))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rowOf is a job as the live page shows it.
func rowOf(key string, j contract.Job) livepage.Job {
	row := livepage.Job{
		Key: key, Action: string(j.Action), State: string(j.State), Ended: j.State.Terminal(), Phase: j.Phase, Outcome: string(j.Outcome), Attempt: j.Attempt,
		Done: int64(j.Progress.Done), Total: int64(j.Progress.Total), Bytes: j.Progress.Bytes,
		Cancelled: j.Cancel != nil && !j.State.Terminal(), Created: j.Created, Updated: j.Updated,
	}
	if j.Waiting != nil {
		row.WaitingFor, row.Detail, row.WaitingSince = j.Waiting.For, j.Waiting.Detail, j.Waiting.Since
	}
	if j.Error != nil {
		row.Code, row.Message = j.Error.Code, j.Error.Message
	}
	return row
}

// rates are what this process did each second since the last look.
func (w *pageWatch) rates(now time.Time) []livepage.Rate {
	m := w.service.metrics
	counted := map[*counters]float64{}
	for _, c := range []*counters{m.calls, m.throttled, m.blobs, m.blobBytes, m.stored} {
		counted[c] = total(c)
	}
	before, took := w.counted, now.Sub(w.countedAt).Seconds()
	w.counted, w.countedAt = counted, now
	if before == nil || took <= 0 {
		return nil
	}
	each := func(shown string, c *counters, bytes bool) livepage.Rate {
		return livepage.Rate{Name: shown, PerSecond: (counted[c] - before[c]) / took, Bytes: bytes}
	}
	return []livepage.Rate{
		each("Training API calls", m.calls, false),
		each("Throttled", m.throttled, false),
		each("Downloads", m.blobs, false),
		each("Downloaded", m.blobBytes, true),
		each("To and from storage", m.stored, true),
	}
}
