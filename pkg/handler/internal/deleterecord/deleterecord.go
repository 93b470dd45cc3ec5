package deleterecord

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

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
	// Later says that records are kept until the delete's cut, which has them then. A crash before
	// it leaves none of them, and the next attempt repeats the steps.
	Later bool
}

// Kept has the records that need no request to be read: small ones that this attempt stored, and
// those that are not stored as objects of their own.
type Kept struct {
	stored   map[string][]byte // by this attempt, by name
	bytes    int               // of these
	unstored map[string]string // by name, without their heads: those that only the cut has, or will have
}

// maxKept bounds what is kept of stored records, in bytes.
const maxKept = 1 << 20

func (k *Kept) keep(name string, o sink.Object, spool *sink.Spool) error {
	if o.SHA256 != spool.SHA256() || int64(k.bytes)+spool.Size() > maxKept {
		return nil
	}
	content, err := io.ReadAll(spool.ReadSeeker())
	if err != nil {
		return fmt.Errorf("keep a record: %w", err)
	}
	if k.stored == nil {
		k.stored = map[string][]byte{}
	}
	k.stored[name] = content
	k.bytes += len(content)
	return nil
}

// ForCut are the records that the cut is to have, by name; nil when all are stored.
func (k *Kept) ForCut() map[string]string { return k.unstored }

// FromCut has only the records of a stored cut. The caller makes sure that the cut is of this
// delete.
func (k *Kept) FromCut(records map[string]string) { *k = Kept{unstored: records} }

// head is the first line of a stored record. It binds the record to the beginning that its step
// carried out, and to the ledger as it was when the step ended.
type head struct {
	V      int        `json:"v"`
	Begun  string     `json:"begun_sha256"`
	Ledger ledger.Ref `json:"ledger"`
}

// Write stores a step's record, or keeps it, and returns how many lines it has. What the step did
// must be in the ledger before a record is stored.
func (r Records) Write(ctx context.Context, s Step, gone Lines) (n int64, err error) {
	lines := func(w io.Writer) error {
		enc := json.NewEncoder(w)
		for l := range gone {
			if err := enc.Encode(l); err != nil {
				return err
			}
			n++
		}
		return nil
	}
	if r.Later {
		var b strings.Builder
		err = lines(&b)
		if r.Kept.unstored == nil {
			r.Kept.unstored = map[string]string{}
		}
		r.Kept.unstored[s.name()] = b.String()
	} else {
		err = r.store(ctx, s.name(), lines)
	}
	if err != nil {
		return n, fmt.Errorf("record what was deleted: %w", err)
	}
	return n, nil
}

// store stores a record with these lines.
func (r Records) store(ctx context.Context, name string, lines func(io.Writer) error) error {
	return r.Bags.Spooled(func(spool *sink.Spool) error {
		if err := json.NewEncoder(spool).Encode(head{V: contract.FormatVersion, Begun: r.Begun, Ledger: r.Ledger.Ref()}); err != nil {
			return err
		}
		if err := lines(spool); err != nil {
			return err
		}
		// After a crash before this object is stored the next attempt repeats the step: what is
		// gone already is seen to be gone. Behind it the step is done.
		o, err := r.Bags.Work.Put(ctx, r.Bags.WorkKey(name), spool.Body("application/jsonl"))
		if err != nil {
			return err
		}
		return r.Kept.keep(name, o, spool)
	})
}

// StoreKept stores the records that were kept for the cut: the attempt ends before it. What the
// steps did must be in the ledger.
func (r Records) StoreKept(ctx context.Context) error {
	for name, lines := range r.Kept.unstored {
		if err := r.store(ctx, name, func(w io.Writer) error {
			_, err := io.WriteString(w, lines)
			return err //nolint:wrapcheck // wrapped below
		}); err != nil {
			return fmt.Errorf("record what was deleted: %w", err)
		}
		delete(r.Kept.unstored, name)
	}
	return nil
}

// Read reads a step's record; stored is false when the step has not ended. It fails, as internal,
// when the record does not fit the delete and its ledger.
func (r Records) Read(ctx context.Context, s Step, each func(bagfile.Deleted) error) (stored bool, err error) {
	body, bare, err := r.open(ctx, s)
	if errors.Is(err, sink.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read what was deleted: %w", err)
	}
	defer body.Close()
	lines := unit.Scan(body)
	if !bare {
		h, err := unit.Line[head](lines)
		if err != nil || r.Begun == "" || h.Begun != r.Begun || !r.Ledger.Has(h.Ledger) {
			return false, bag.Spoiled(s.name(), "is not of this delete")
		}
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

// open reads a record: one that is kept without a request. bare says that it has no head, as those
// of the cut.
func (r Records) open(ctx context.Context, s Step) (_ io.ReadCloser, bare bool, err error) {
	if kept, ok := r.Kept.unstored[s.name()]; ok {
		return io.NopCloser(strings.NewReader(kept)), true, nil
	}
	if kept, ok := r.Kept.stored[s.name()]; ok {
		return io.NopCloser(bytes.NewReader(kept)), false, nil
	}
	body, _, err := r.Bags.Work.Open(ctx, r.Bags.WorkKey(s.name()))
	return body, false, err //nolint:wrapcheck // the caller says what it reads
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
	delete(r.Kept.unstored, s.name())
	if err := r.Bags.Work.Remove(ctx, r.Bags.WorkKey(s.name())); err != nil {
		return false, fmt.Errorf("remove a record that is not this delete's: %w", err)
	}
	return false, nil
}
