package deleterecord

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// Lines are what a step saw to be gone, one after the other: there may be millions.
type Lines = iter.Seq[bagfile.Deleted]

// Step is a step of one project of a delete.
type Step struct {
	N       int // of the project in the plan
	Project uuid.UUID
	Name    string
}

// name is the working object that holds the step's record.
func (s Step) name() string { return fmt.Sprintf("deleted/%06d-%s.jsonl", s.N, s.Name) }

// Records are the records of one delete.
type Records struct {
	Bags   bag.Bags
	Begun  string // the digest of the delete's beginning; empty where it is lost: then no record is believed
	Ledger *ledger.Ledger
	Kept   *Kept // by this attempt
	Log    zerolog.Logger
}

// Kept has small records that this attempt stored, so that they need not be read again.
type Kept struct {
	records map[string][]byte // by name
	bytes   int
}

// maxKept bounds what is kept, in bytes.
const maxKept = 1 << 20

func (k *Kept) keep(name string, o sink.Object, spool *sink.Spool) error {
	if o.SHA256 != spool.SHA256() || int64(k.bytes)+spool.Size() > maxKept {
		return nil
	}
	content, err := io.ReadAll(spool.ReadSeeker())
	if err != nil {
		return fmt.Errorf("keep a record: %w", err)
	}
	if k.records == nil {
		k.records = map[string][]byte{}
	}
	k.records[name] = content
	k.bytes += len(content)
	return nil
}

// head is the first line of a record. It binds the record to the beginning that its step carried
// out, and to the ledger as it was when the step ended.
type head struct {
	V      int        `json:"v"`
	Begun  string     `json:"begun_sha256"`
	Ledger ledger.Ref `json:"ledger"`
}

// Write stores a step's record, and returns how many lines it has. What the step did must be in the
// ledger.
func (r Records) Write(ctx context.Context, s Step, gone Lines) (n int64, err error) {
	err = r.Bags.Spooled(func(spool *sink.Spool) error {
		enc := json.NewEncoder(spool)
		if err := enc.Encode(head{V: contract.FormatVersion, Begun: r.Begun, Ledger: r.Ledger.Ref()}); err != nil {
			return err
		}
		for l := range gone {
			if err := enc.Encode(l); err != nil {
				return err
			}
			n++
		}
		// After a crash before this object is stored the next attempt repeats the step: what is
		// gone already is seen to be gone. Behind it the step is done.
		o, err := r.Bags.Work.Put(ctx, r.Bags.WorkKey(s.name()), spool.Body("application/jsonl"))
		if err != nil {
			return err
		}
		return r.Kept.keep(s.name(), o, spool)
	})
	if err != nil {
		return n, fmt.Errorf("record what was deleted: %w", err)
	}
	return n, nil
}

// Read reads a step's record; stored is false when the step has not ended. It fails, as internal,
// when the record does not fit the delete and its ledger.
func (r Records) Read(ctx context.Context, s Step, each func(bagfile.Deleted) error) (stored bool, err error) {
	body, err := r.open(ctx, s)
	if errors.Is(err, sink.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read what was deleted: %w", err)
	}
	defer body.Close()
	lines := unit.Scan(body)
	h, err := unit.Line[head](lines)
	if err != nil || r.Begun == "" || h.Begun != r.Begun || !r.Ledger.Has(h.Ledger) {
		return false, bag.Spoiled(s.name(), "is not of this delete")
	}
	for l, err := range unit.Lines[bagfile.Deleted](lines) {
		if err == nil && l.How != bagfile.AlreadyGone && r.Ledger.ProjectCalls(l.How, s.Project) == 0 {
			err = bag.Spoiled(s.name(), "names what no call of this delete can have removed")
		}
		if err == nil {
			err = each(l)
		}
		if err != nil {
			return false, fmt.Errorf("read what was deleted: %w", err)
		}
	}
	return true, nil
}

// open reads a record: one that this attempt kept without a request.
func (r Records) open(ctx context.Context, s Step) (io.ReadCloser, error) {
	if kept, ok := r.Kept.records[s.name()]; ok {
		return io.NopCloser(bytes.NewReader(kept)), nil
	}
	body, _, err := r.Bags.Work.Open(ctx, r.Bags.WorkKey(s.name()))
	return body, err //nolint:wrapcheck // the caller says what it reads
}

// ReadEnded is Read of a step that has ended: its record has to be there.
func (r Records) ReadEnded(ctx context.Context, s Step, each func(bagfile.Deleted) error) error {
	stored, err := r.Read(ctx, s, each)
	if err == nil && !stored {
		return bag.Spoiled(s.name(), "is missing")
	}
	return err
}

// Ended reports whether a step ended in an earlier attempt. A record that does not fit the delete
// and its ledger is removed, so that its step is done again.
func (r Records) Ended(ctx context.Context, s Step) (bool, error) {
	stored, err := r.Read(ctx, s, func(bagfile.Deleted) error { return nil })
	var foreign *contract.Error
	if !errors.As(err, &foreign) {
		return stored, err
	}
	r.Log.Warn().Err(err).Msg("a stored record is not this delete's")
	if err := r.Bags.Work.Remove(ctx, r.Bags.WorkKey(s.name())); err != nil {
		return false, fmt.Errorf("remove a record that is not this delete's: %w", err)
	}
	return false, nil
}
