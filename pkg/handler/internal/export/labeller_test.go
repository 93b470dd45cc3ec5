package export

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
)

// labeller is a person who works on a project's images while it is exported: between any two calls
// of the export, with some probability, one image is tagged, untagged, added or removed.
type labeller struct {
	random     *rand.Rand
	rate       float64
	tagged     map[uuid.UUID]bool // of the images that are there
	throughout map[uuid.UUID]bool // those that were there from the beginning, and still are
	next       int
	moves      int
	stored     map[uuid.UUID]bool // whose blob some unit fetched
	said       map[uuid.UUID]bool // whose blob was gone
}

func newLabeller(seed uint64, rate float64) *labeller {
	a := &labeller{
		random: rand.New(rand.NewPCG(seed, 1)), rate: rate, next: 1,
		tagged: map[uuid.UUID]bool{}, stored: map[uuid.UUID]bool{}, said: map[uuid.UUID]bool{},
	}
	for range 1 + a.random.IntN([]int{6, 20, 600}[a.random.IntN(3)]) {
		a.add()
	}
	a.throughout = map[uuid.UUID]bool{}
	for id := range a.tagged {
		a.throughout[id] = true
	}
	return a
}

func (a *labeller) add() {
	a.tagged[image(a.next)] = a.random.IntN(2) == 0
	a.next++
}

// list is what a listing of the workspace gives now, oldest first.
func (a *labeller) list(kind survey.ListingKind) (ids []uuid.UUID) {
	for id, tagged := range a.tagged {
		if kind == survey.All || tagged == (kind == survey.Tagged) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(x, y uuid.UUID) int { return slices.Compare(x[:], y[:]) })
	return ids
}

// call is the time of one call: something may have moved before it.
func (a *labeller) call() *labeller {
	if a.random.Float64() >= a.rate {
		return a
	}
	a.moves++
	ids := a.list(survey.All)
	if len(ids) == 0 || a.random.IntN(3) == 0 {
		a.add()
		return a
	}
	id := ids[a.random.IntN(len(ids))]
	if a.random.IntN(3) == 0 {
		delete(a.tagged, id)
		delete(a.throughout, id)
		return a
	}
	a.tagged[id] = !a.tagged[id]
	return a
}

// result is what a worker finds for a unit.
func (a *labeller) result(u unit.Unit) unit.Summary {
	s := unit.Summary{V: unit.Version, N: u.N, Kind: u.Kind}
	counted := func(listings []survey.Listing) {
		for _, l := range listings {
			l.Count = len(a.call().list(l.Kind))
			s.Listings = append(s.Listings, l)
		}
	}
	switch u.Kind {
	case unit.KindProject:
		counted(survey.ImageListings(uuid.Nil))
	case unit.KindCounts:
		counted(u.Listings)
	case unit.KindPage:
		for k := range max(u.Pages, 1) {
			all, skip := a.call().list(u.Listing.Kind), u.Skip+k*cv.PageStride
			page := all[min(skip, len(all)):min(skip+cv.MaxPage, len(all))]
			s.Torn = s.Torn || k > 0 && (len(page) == 0 || len(s.IDs) == 0 || page[0] != s.IDs[len(s.IDs)-1])
			for _, id := range page {
				if !slices.Contains(s.IDs, id) {
					s.IDs = append(s.IDs, id)
				}
			}
		}
	case unit.KindBatch:
		there := a.call().tagged
		s.IDs = slices.DeleteFunc(slices.Clone(u.IDs), func(id uuid.UUID) bool { _, ok := there[id]; return !ok })
	}
	if s.Listed = len(s.IDs); s.Listed > 0 {
		s.First, s.Last = s.IDs[0].String(), s.IDs[s.Listed-1].String()
	}
	if !u.Fetch {
		return s
	}
	a.call() // the downloads take their time
	for _, id := range s.IDs {
		if _, there := a.tagged[id]; u.Shares(id, s.First) {
			continue
		} else if there {
			a.stored[id] = true
		} else {
			s.Lost = append(s.Lost, id)
			a.said[id] = true
		}
	}
	return s
}

// TestExportBesideALabeller holds many exports beside a labeller who moves something between any
// two calls: what was there throughout is in the bag, or the export does not say that it is
// complete. At one move in ten calls nearly all are complete; without any, all are.
func TestExportBesideALabeller(t *testing.T) {
	const runs = 1000
	for _, c := range []struct {
		rate     float64
		complete int
	}{{0, runs}, {0.1, runs * 95 / 100}, {0.9, 1}} {
		complete, moved := 0, 0
		for seed := range uint64(runs) {
			a := newLabeller(seed, c.rate)
			x := newExport(t, onlyImages)
			for done := 0; done < len(x.rounds.units); {
				for _, u := range x.rounds.units[done:] {
					x.results[u.N] = a.result(u)
					x.rounds.done(x.results[u.N])
					done++
				}
				if _, err := x.rounds.next(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			moved += min(a.moves, 1)
			if slices.Contains(x.states(), "unstable") {
				continue
			}
			witnessed := map[uuid.UUID]bool{}
			for _, l := range x.rounds.projects[0].listings {
				for _, n := range l.pages {
					for _, id := range x.results[n].IDs {
						witnessed[id] = witnessed[id] || l.witness
					}
				}
			}
			if slices.ContainsFunc(slices.Collect(maps.Keys(a.said)), func(id uuid.UUID) bool { return !a.stored[id] && witnessed[id] }) {
				continue // an exception
			}
			complete++
			for id := range a.throughout {
				if !a.stored[id] {
					t.Fatalf("seed %d: image %s was there throughout, and is lost", seed, id)
				}
			}
		}
		if t.Logf("%.0f %%: %d of %d complete, something moved in %d", 100*c.rate, complete, runs, moved); complete < c.complete {
			t.Errorf("at %.0f moves in 100 calls, %d of %d exports are complete", 100*c.rate, complete, runs)
		}
	}
}
