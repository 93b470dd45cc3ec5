package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// cutName is the working object of an export's cut.
const cutName = "cut.json"

// exportCut is the third freeze: which results the bag is made of, and when it was finished. The
// bag is a function of it.
type exportCut struct {
	V          int             `json:"v"`
	FinishedAt time.Time       `json:"finished_at"`
	Results    []resultRef     `json:"results"`
	Adopted    []adopted       `json:"adopted"` // blobs whose unit gave them up but which the store holds
	Ledger     ledger.Ref      `json:"ledger"`
	Projects   []cutProject    `json:"projects"`
	Request    json.RawMessage `json:"request"`
	Signed     bool            `json:"signed,omitempty"` // the receipt will be
}

// FormatVersion implements unit.Versioned.
func (exportCut) FormatVersion() int { return bag.SignedCut }

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

// cutProject is what the rounds found out about a project's listings.
type cutProject struct {
	ID       string       `json:"id"`
	Gone     bool         `json:"gone,omitempty"`
	Listings []cutListing `json:"listings"`
	Unstable []string     `json:"unstable"`
}

type cutListing struct {
	Kind   survey.ListingKind `json:"kind"`
	Scope  string             `json:"scope,omitempty"` // of images; empty in cuts of older versions
	Listed int                `json:"listed"`
	Before int                `json:"before"`
	After  int                `json:"after"`
}

// cut decides what the bag is made of. What data/ holds and no result knows is adopted where a
// reading lists it, else removed.
func (r *results) cut(ctx context.Context) (exportCut, error) {
	x := r.x
	c, mine, err := unit.Freeze(ctx, x.Bags.Work, x.Bags.WorkKey(cutName), x.Bags.Fresh, func(ctx context.Context) (exportCut, error) {
		c := exportCut{FinishedAt: r.finished(), Ledger: x.Ledger.Ref(), Signed: x.Bags.Signs()}
		c.V = bag.CutVersion(c.Signed)
		var err error
		if c.Request, err = contract.Marshal(x.Bags.Request(r.plan.Scope, r.plan.Digest, r.plan.Account)); err != nil {
			return c, fmt.Errorf("encode the request: %w", err)
		}
		for n := range r.rounds.units {
			c.Results = append(c.Results, resultRef{N: n, SHA256: r.digests[n]})
		}
		for _, p := range r.rounds.projects {
			f := cutProject{ID: p.id.String(), Gone: p.gone, Listings: []cutListing{}, Unstable: []string{}}
			for _, l := range p.listings {
				f.Listings = append(f.Listings, cutListing{Kind: l.of.Kind, Scope: scopeID(l.of.Scope), Listed: l.listed, Before: l.before, After: l.after})
				if l.unstable {
					f.Unstable = append(f.Unstable, fmt.Sprintf("%s of %s", l.of.Kind, survey.ScopeName(l.of.Scope)))
				}
			}
			c.Projects = append(c.Projects, f)
		}
		c.Adopted, err = r.strays(ctx)
		return c, err
	})
	if err == nil && !mine {
		err = r.checkCut(c)
	}
	return c, err
}

// checkCut fails if a result is not the one that an earlier attempt cut: the bag would mix two
// readings.
func (r *results) checkCut(c exportCut) error {
	if len(c.Results) != len(r.rounds.units) {
		return fmt.Errorf("%s is of %d units, and there are %d: %w", cutName, len(c.Results), len(r.rounds.units), errChangedAfterCut)
	}
	for n, ref := range c.Results {
		if ref.N != n || ref.SHA256 != r.digests[n] {
			return fmt.Errorf("the result of unit %d is not the one in %s: %w", n, cutName, errChangedAfterCut)
		}
	}
	return nil
}

// errChangedAfterCut ends an export whose results changed after they were cut.
var errChangedAfterCut = &contract.Error{Code: contract.CodeInternal, Message: "a result was removed or replaced after the export was cut: what is stored of it is of two readings"}

// finished is when the export is finished: now, or when it was started if this clock is behind that
// of an earlier holder.
func (r *results) finished() time.Time {
	now := r.x.Now().UTC().Truncate(time.Millisecond)
	if now.Before(r.plan.StartedAt) {
		return r.plan.StartedAt
	}
	return now
}

// unitsOf is the numbers of a project's units.
func (r *results) unitsOf(p uuid.UUID) []int {
	var out []int
	for _, u := range r.rounds.units {
		if u.Project == p {
			out = append(out, u.N)
		}
	}
	return out
}

// fetched is about how many images the units of a project fetched. Room is made for them at once:
// what grows bit by bit takes twice as much.
func (r *results) fetched(p uuid.UUID) int {
	images := 0
	for _, n := range r.unitsOf(p) {
		if u := r.rounds.units[n]; u.Fetch && u.Kind != unit.KindPredictions {
			images += r.rounds.sums[n].Listed
		}
	}
	return images
}

// withoutPicture is the stems of a project's blobs that some unit gave up, or has text in place of,
// while no unit has the picture.
func (r *results) withoutPicture(ctx context.Context, p uuid.UUID) (map[string]struct{}, error) {
	type blob struct {
		id         uuid.UUID
		prediction bool
	}
	failed, had := map[blob]int{}, map[blob]struct{}{} // the former with a unit that gave the blob up
	for _, n := range r.unitsOf(p) {
		for rec, err := range r.records(ctx, n) {
			if err != nil {
				return nil, err
			}
			of := blob{rec.ID, r.rounds.units[n].Kind == unit.KindPredictions}
			switch {
			case rec.Blob == nil:
			case rec.Blob.Error != nil:
				failed[of] = n
			default:
				had[of] = struct{}{}
			}
		}
	}
	stems := map[string]struct{}{}
	for of, n := range failed {
		if _, ok := had[of]; !ok {
			stems[string(r.stem(p, n, of.id))] = struct{}{}
		}
	}
	return stems, nil
}

func blobPath(p uuid.UUID, b unit.BlobRecord) string { return string(sink.ProjectPath(p, b.File)) }

func (r *results) stem(p uuid.UUID, n int, id uuid.UUID) sink.Path {
	if r.rounds.units[n].Kind == unit.KindPredictions {
		return sink.PredictionStem(p, id)
	}
	return sink.ImageStem(p, id)
}

// strays looks through data/ for blobs that their units gave up, but which a slow writer stored all
// the same: they are adopted, unless they are text in place of a picture. Where no blob was given
// up there is nothing to adopt. What else no result knows is removed when the bag is made exact.
func (r *results) strays(ctx context.Context) ([]adopted, error) {
	if !slices.ContainsFunc(r.rounds.sums, func(s unit.Summary) bool { return s.Failed > 0 }) {
		return []adopted{}, nil
	}
	var (
		out  = []adopted{}
		bag  = r.x.Bags.Layout.Bag(sink.ExportBag)
		none map[string]struct{} // of the project that the listing is at; see withoutPicture
		ofID string
	)
	for o, err := range r.x.Bags.Store.List(ctx, bag+"data/") {
		if err != nil {
			return nil, fmt.Errorf("list the payload: %w", err)
		}
		name := strings.TrimPrefix(string(o.Key), string(bag))
		id, _, _ := strings.Cut(strings.TrimPrefix(name, "data/projects/"), "/")
		if id != ofID {
			p, err := uuid.Parse(id)
			if err != nil {
				continue
			}
			if none, err = r.withoutPicture(ctx, p); err != nil {
				return nil, err
			}
			ofID = id
		}
		stem := strings.TrimSuffix(name, path.Ext(name))
		if _, ok := none[stem]; !ok {
			continue
		}
		stored, err := r.x.Bags.Store.Describe(ctx, o.Key)
		if errors.Is(err, sink.ErrNotFound) { // no worker of this export stored it
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("adopt %s: %w", name, err)
		}
		text, err := unit.BlameStored(ctx, r.x.Bags.Store, o.Key, unit.CodeNotImage)
		if err != nil {
			return nil, fmt.Errorf("adopt %s: %w", name, err)
		}
		if text != nil {
			continue
		}
		delete(none, stem)
		out = append(out, adopted{Path: name, SHA256: stored.SHA256, Bytes: stored.Bytes, ContentType: stored.ContentType, Source: stored.Meta[unit.MetaSource]})
	}
	return out, nil
}
