package deleterecord

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// CutName is the working object of a delete's last freeze.
const CutName = "delete-cut.json"

// Cut is the last freeze of a delete: when it was finished, and how far its ledger goes into the
// bag. The bag is a function of it, of the beginning and of the steps' records.
type Cut struct {
	V          int        `json:"v"`
	FinishedAt time.Time  `json:"finished_at"`
	Ledger     ledger.Ref `json:"ledger"`
	Signed     bool       `json:"signed,omitempty"` // the receipt is

	Begun   string            `json:"begun_sha256,omitempty"` // the beginning that was carried out; empty: an older version did not say, or a plan
	Records map[string]string `json:"records,omitempty"`      // those of a small delete's steps, as JSON lines
}

// CutVersion is the version of a cut that has records: a replica that does not know them must not
// finish the bag without them.
const CutVersion = bag.SignedCut + 1

// FormatVersion implements unit.Versioned.
func (Cut) FormatVersion() int { return CutVersion }

// TakeCut takes the records of the cut that an earlier attempt stored. A cut that does not fit the
// beginning and the ledger has none for this delete, and ends it when its bag is made.
func (r Records) TakeCut(ctx context.Context) error {
	raw, err := r.Bags.Work.ReadAll(ctx, r.Bags.WorkKey(CutName), unit.MaxObject)
	if errors.Is(err, sink.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for %s: %w", CutName, err)
	}
	var cut Cut
	if err := contract.DecodeUpTo(CutVersion, raw, CutName, &cut); err != nil {
		return err //nolint:wrapcheck // it says what it reads
	}
	if r.Begun != "" && cut.Begun == r.Begun && r.Ledger.Has(cut.Ledger) {
		r.Kept.FromCut(cut.Records)
	}
	return nil
}
