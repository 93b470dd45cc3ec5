package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

const (
	// progressEvery is the least time between two progress events of a command.
	progressEvery = 2 * time.Second
	// silence is how long a coordinator waits for word of a unit before it looks for itself.
	silence = 5 * time.Second
)

// export carries out an export: plan, units round by round, cut, commit. Each step finds what an
// earlier attempt left.
func (r *run) export(ctx context.Context) (*contract.EventData, error) {
	if data, err := r.committed(ctx, sink.ExportBag); data != nil || err != nil {
		return data, err
	}
	if err := r.openLedger(ctx); err != nil {
		return nil, err
	}
	if err := r.bag(ctx, ""); err != nil {
		return nil, errors.Join(err, r.keepCalls(ctx))
	}
	return r.committed(ctx, sink.ExportBag)
}

// bag makes the export's bag, up to its receipt. Of an export that goes before a delete, deletes is
// the digest of the delete's plan.
func (r *run) bag(ctx context.Context, deletes string) error {
	plan, err := r.plan(ctx, deletes)
	if err != nil {
		return err
	}
	if err := r.keepCalls(ctx); err != nil {
		return err
	}
	w := &export{run: r, plan: plan, digests: map[int]string{}}
	w.rounds = newRounds(plan, r.command, func(ctx context.Context, n int) (Summary, error) {
		s, _, err := r.resultHead(ctx, n)
		return s, err
	})
	if err := w.read(ctx); err != nil {
		return err
	}
	if err := r.queued(ctx); err != nil { // else a later delete may have begun beside it
		return err
	}
	if err := r.save(ctx, func(j *contract.Job) { j.Phase, j.Progress = contract.PhaseCommit, w.rounds.progress() }); err != nil {
		return err
	}
	cut, err := w.cut(ctx)
	if err != nil {
		return err
	}
	if err := r.continues(cut.Ledger); err != nil {
		return err
	}
	return w.commit(ctx, cut)
}

// openLedger begins the command's ledger, or takes it over.
func (r *run) openLedger(ctx context.Context) (err error) {
	r.ledger, err = openLedger(ctx, r.Queue, r.command.ID, r.Now(), r.heir)
	return err
}

// keepCalls makes the coordinator's own calls durable in the ledger, also when the attempt was
// called off.
func (r *run) keepCalls(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), delivery.ErrFenced) {
		return delivery.ErrFenced // a late line would fence out who took over
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := r.ledger.add(ctx, r.calls.take()); err != nil {
		return err
	}
	return r.ledger.flush(ctx)
}

// export is the reading half of an export: its units, and what is known of them.
type export struct {
	*run
	plan    exportPlan
	rounds  *rounds
	digests map[int]string // of results, by unit
}

// read has the units done, round by round.
func (w *export) read(ctx context.Context) error {
	results, stop, err := w.Queue.Results(ctx, w.command.ID)
	if err != nil {
		return fmt.Errorf("listen for results: %w", err)
	}
	defer stop()
	if err := w.save(ctx, func(j *contract.Job) { j.Phase = contract.PhaseRead }); err != nil {
		return err
	}
	stored, err := w.stored(ctx)
	if err != nil {
		return err
	}
	for begin := 0; ; {
		end := len(w.rounds.units)
		if err := w.round(ctx, begin, end, stored, results); err != nil {
			return err
		}
		begin = end
		more, err := w.rounds.next(ctx)
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	if err := w.lostCalls(ctx); err != nil {
		return err
	}
	return w.ledger.flush(ctx)
}

// stored is which results exist.
func (w *export) stored(ctx context.Context) (map[int]bool, error) {
	out := map[int]bool{}
	for o, err := range w.Work.List(ctx, w.layout.Work("units/")) {
		if err != nil {
			return nil, fmt.Errorf("list the results: %w", err)
		}
		_, name, _ := strings.Cut(string(o.Key), "/.work/units/")
		if number, ok := strings.CutSuffix(name, ".jsonl"); ok {
			if n, err := strconv.Atoi(number); err == nil {
				out[n] = true
			}
		}
	}
	return out, nil
}

// leastQueued is how many of its units a command may have in the queue, or at work, however many of
// others wait there.
const leastQueued = 2

// round has the units begin…end-1 done, and learns of their results. It queues no more than keep
// the workers of all replicas busy, so that another command's need not wait for all of them.
func (w *export) round(ctx context.Context, begin, end int, stored map[int]bool, results <-chan int) error {
	todo := map[int]bool{} // without a result yet
	next := begin          // the next one to queue
	for n := begin; n < end; n++ {
		if stored[n] {
			if err := w.learn(ctx, n); err != nil {
				return err
			}
			continue
		}
		todo[n] = true
	}
	queued := 0
	fill := func() error {
		if next == end {
			return nil
		}
		waiting, err := w.Queue.WaitingUnits(ctx)
		if err != nil {
			return fmt.Errorf("look how many units wait: %w", err)
		}
		for ; next < end && (queued < leastQueued || waiting < w.Window); next++ {
			if !todo[next] {
				continue
			}
			if err := w.publish(ctx, next); err != nil {
				return err
			}
			queued++
			waiting++
		}
		return nil
	}
	took := func(n int) error {
		if !todo[n] {
			return nil
		}
		delete(todo, n)
		if n < next {
			queued--
		}
		return w.learn(ctx, n)
	}
	timer := time.NewTimer(silence)
	defer timer.Stop()
	for len(todo) > 0 {
		if err := fill(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx) //nolint:wrapcheck // a cause is matched, not read
		case n := <-results:
			if err := took(n); err != nil {
				return err
			}
			timer.Reset(silence)
		case <-timer.C:
			// Word of a result may be lost, and so may a queued unit: look, and queue again what is
			// not there (a unit that still is, is left alone).
			there, err := w.stored(ctx)
			if err != nil {
				return err
			}
			for n := range there {
				if err := took(n); err != nil {
					return err
				}
			}
			for n := begin; n < next; n++ {
				if todo[n] {
					if err := w.publish(ctx, n); err != nil {
						return err
					}
				}
			}
			if err := w.ledger.flush(ctx); err != nil {
				return err
			}
			timer.Reset(silence)
		}
		if err := w.tell(ctx, w.rounds.progress(), w.plan.StartedAt); err != nil {
			return err
		}
	}
	return nil
}

func (w *export) publish(ctx context.Context, n int) error {
	b, err := contract.Marshal(w.rounds.units[n])
	if err != nil {
		return fmt.Errorf("encode unit %d: %w", n, err)
	}
	if err := w.Queue.PublishUnit(ctx, w.command.ID, n, b); err != nil {
		return fmt.Errorf("queue unit %d: %w", n, err)
	}
	return nil
}

// learn takes note of a result that exists.
func (w *export) learn(ctx context.Context, n int) error {
	s, digest, err := w.resultHead(ctx, n)
	if err != nil {
		return err
	}
	if err := w.ledger.add(ctx, s.Calls); err != nil {
		return err
	}
	if s.Error != nil {
		return s.Error
	}
	w.digests[n] = digest
	w.rounds.done(s)
	return nil
}

// tell updates the job and publishes progress, every two seconds at most.
func (r *run) tell(ctx context.Context, progress contract.Progress, started time.Time) error {
	now := r.Now()
	if now.Sub(r.published) < progressEvery {
		return nil
	}
	r.published = now
	if err := r.save(ctx, func(j *contract.Job) { j.Progress = progress }); err != nil {
		return err
	}
	data := r.eventData()
	data.Progress, data.StartedAt = &progress, &started
	r.events++
	if err := r.Queue.PublishEvent(ctx, contract.NewProgressEvent(data, r.events, now, r.command.Traceparent)); err != nil {
		r.log.Warn().Err(err).Msg("publish progress")
	}
	return nil
}

// lostCalls brings the calls of failed attempts of units into the ledger.
func (w *export) lostCalls(ctx context.Context) error {
	for o, err := range w.Work.List(ctx, w.layout.Work("units/")) {
		if err != nil {
			return fmt.Errorf("list the failed attempts: %w", err)
		}
		if !strings.Contains(string(o.Key), ".err-") {
			continue
		}
		b, err := w.Work.ReadAll(ctx, o.Key, maxResult)
		if err != nil {
			return fmt.Errorf("read a failed attempt: %w", err)
		}
		var failed attemptError
		if err := json.Unmarshal(b, &failed); err != nil {
			return fmt.Errorf("read a failed attempt: %w", err)
		}
		if err := w.ledger.add(ctx, failed.Calls); err != nil {
			return err
		}
	}
	return nil
}

// exportCut is the third freeze: which results the bag is made of, and when it was finished. The
// bag is a function of it.
type exportCut struct {
	V          int             `json:"v"`
	FinishedAt time.Time       `json:"finished_at"`
	Attempt    int             `json:"attempt"`
	Results    []resultRef     `json:"results"`
	Adopted    []adopted       `json:"adopted"` // blobs whose unit gave them up but which the store holds
	Ledger     ledgerRef       `json:"ledger"`
	Projects   []cutProject    `json:"projects"`
	Request    json.RawMessage `json:"request"`
}

type resultRef struct {
	N      int    `json:"n"`
	SHA256 string `json:"sha256"`
}

type adopted struct {
	Path        string `json:"path"`
	SHA256      string `json:"sha256"`
	Bytes       int64  `json:"bytes"`
	ContentType string `json:"content_type"`
	Source      string `json:"source"`
}

// ledgerRef is how far the ledger goes into the bag.
type ledgerRef struct {
	Seq     uint64 `json:"seq"` // stream sequence of its last message
	Entries int64  `json:"entries"`
	Head    string `json:"head"`
}

// cutProject is what the rounds found out about a project's listings.
type cutProject struct {
	ID       string       `json:"id"`
	Gone     bool         `json:"gone,omitempty"`
	Listings []cutListing `json:"listings"`
	Unstable []string     `json:"unstable"`
}

type cutListing struct {
	Kind   ListingKind `json:"kind"`
	Listed int         `json:"listed"`
	Before int         `json:"before"`
	After  int         `json:"after"`
}

// requestRecord is evidence/request.json: the command as it may be kept.
type requestRecord struct {
	V         int             `json:"v"`
	ID        string          `json:"id"`
	Action    contract.Action `json:"action"`
	Account   string          `json:"account"` // that the data's resource meant; see Config.Accounts
	Source    string          `json:"source,omitempty"`
	Published time.Time       `json:"published"`
	Data      contract.Scope  `json:"data"`
	Digest    string          `json:"digest"` // "<salt>.<sha256>" of the canonical data
}

// request is the command as it may be kept.
func (r *run) request(scope contract.Scope, ref contract.CommandRef) requestRecord {
	return requestRecord{
		V: contract.FormatVersion, ID: r.command.ID, Action: r.command.Action, Source: r.command.Source, Published: r.command.Published,
		Data: scope, Digest: ref.Digest, Account: ref.Account,
	}
}

// cut decides what the bag is made of. What data/ holds and no result knows is adopted where a
// reading lists it, else removed.
func (w *export) cut(ctx context.Context) (exportCut, error) {
	var c exportCut
	err := w.freeze(ctx, cutName, &c, func(ctx context.Context) (any, error) {
		c := exportCut{
			V: contract.FormatVersion, FinishedAt: w.Now().UTC().Truncate(time.Millisecond), Attempt: w.job.Attempt,
			Ledger: w.ledger.ref(),
		}
		var err error
		if c.Request, err = contract.Marshal(w.request(w.plan.Scope, contract.CommandRef{Digest: w.plan.Digest, Account: w.plan.Account})); err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		for n := range w.rounds.units {
			c.Results = append(c.Results, resultRef{N: n, SHA256: w.digests[n]})
		}
		for _, p := range w.rounds.projects {
			f := cutProject{ID: p.id.String(), Gone: p.gone, Listings: []cutListing{}, Unstable: []string{}}
			for _, l := range p.listings {
				f.Listings = append(f.Listings, cutListing{Kind: l.Kind, Listed: l.listed, Before: l.before, After: l.after})
				if l.unstable {
					f.Unstable = append(f.Unstable, fmt.Sprintf("%s of %s", l.Kind, scopeName(l.Scope)))
				}
			}
			c.Projects = append(c.Projects, f)
		}
		if c.Adopted, err = w.strays(ctx); err != nil {
			return nil, err
		}
		return c, nil
	})
	return c, err
}
