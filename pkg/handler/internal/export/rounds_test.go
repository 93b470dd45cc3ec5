package export

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
)

var (
	projectA   = uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000000")
	projectB   = uuid.MustParse("bbbbbbbb-0000-4000-8000-000000000000")
	iteration1 = uuid.MustParse("11111111-0000-4000-8000-000000000000")
	iteration2 = uuid.MustParse("22222222-0000-4000-8000-000000000000")
	names      = map[uuid.UUID]string{projectA: "A", projectB: "B", uuid.Nil: "workspace", iteration1: "it1", iteration2: "it2"}
)

// image is the id of the n-th image.
func image(n int) (id uuid.UUID) {
	binary.BigEndian.PutUint32(id[12:], uint32(n)) //nolint:gosec // small
	id[0] = 0xcc
	return id
}

// images are the ids from the first to the last, both included.
func images(first, last int) (ids []uuid.UUID) {
	for n := first; n <= last; n++ {
		ids = append(ids, image(n))
	}
	return ids
}

// service is what workers find, by project. It can change from one round to the next.
type service map[uuid.UUID]*content

// content is what a project holds.
type content struct {
	iterations []unit.IterationInfo
	listings   []survey.Listing // in order, without their counts
	items      map[string][]uuid.UUID
	gone       bool
	named      bool // images are asked for by their ids: nothing is listed
	// predictions are the scopes that each run leaves to the next one, run after run.
	predictions [][]uuid.UUID
}

// hold puts items into a listing.
func (c *content) hold(kind survey.ListingKind, scope uuid.UUID, items ...uuid.UUID) *content {
	l := survey.Listing{Kind: kind, Scope: scope}
	if c.items == nil {
		c.items = map[string][]uuid.UUID{}
	}
	if _, ok := c.items[l.Key()]; !ok {
		c.listings = append(c.listings, l)
	}
	c.items[l.Key()] = items
	return c
}

// list is what a listing holds now: that of all images what those of the tagged and the untagged
// ones do.
func (c *content) list(of survey.Listing) (items []uuid.UUID) {
	if of.Kind != survey.All {
		return c.items[of.Key()]
	}
	for _, l := range c.listings {
		if l.Scope == of.Scope && l.Kind != survey.Performances && slices.Equal(l.Tags, of.Tags) {
			items = append(items, c.items[l.Key()]...)
		}
	}
	slices.SortFunc(items, contract.CompareIDs)
	return slices.Compact(items)
}

// counted are listings with what each holds now.
func (c *content) counted(listings []survey.Listing) (out []survey.Listing) {
	for _, l := range listings {
		l.Count = len(c.list(l))
		out = append(out, l)
	}
	return out
}

// result is what a worker finds for a unit.
func (a service) result(u unit.Unit) unit.Summary {
	s := unit.Summary{V: unit.Version, N: u.N, Kind: u.Kind}
	c := a[u.Project]
	if c.gone {
		s.Gone = true
		return s
	}
	list := func(items []uuid.UUID) {
		s.Listed, s.IDs = len(items), items
		if len(items) > 0 {
			s.First, s.Last = items[0].String(), items[len(items)-1].String()
		}
	}
	switch u.Kind {
	case unit.KindProject:
		s.Iterations = c.iterations
		if !c.named {
			s.Listings = c.counted(c.listings)
		}
	case unit.KindPage, unit.KindPerformances:
		items := c.list(*u.Listing)
		more := cv.PageStride * (max(u.Pages, 1) - 1)
		list(items[min(u.Skip, len(items)):min(u.Skip+cv.MaxPage+more, len(items))])
	case unit.KindBatch:
		var there []uuid.UUID
		for _, l := range c.listings {
			if l.Scope == u.Scope {
				there = append(there, c.items[l.Key()]...)
			}
		}
		list(slices.DeleteFunc(slices.Clone(u.IDs), func(id uuid.UUID) bool { return !slices.Contains(there, id) }))
	case unit.KindCounts:
		s.Listings = c.counted(u.Listings)
	case unit.KindPredictions:
		list(images(1, 2))
		if len(c.predictions) > 0 {
			s.Scopes, c.predictions = c.predictions[0], c.predictions[1:]
			s.Token = &survey.Token{Session: "s", Continuation: "c"}
		}
	}
	return s
}

// exporting is an export whose units are done by the test.
type exporting struct {
	rounds  *rounds
	results map[int]unit.Summary
}

// newExport cuts the first round of an export with this data.
func newExport(t *testing.T, data string) *exporting {
	t.Helper()
	c, err := contract.DecodeCommand("cv", contract.Message{
		Subject: "cv.commands.export", Header: map[string][]string{contract.HeaderMsgID: {"exp-1"}}, Body: []byte(data), Seq: 7, Stream: "s1",
	})
	if err != nil {
		t.Fatal(err)
	}
	x := &exporting{results: map[int]unit.Summary{}}
	x.rounds = newRounds(exportPlan{V: planVersion, Projects: c.Data.ProjectIDs, Named: true, Digest: "d"}, c, func(_ context.Context, n int) (unit.Summary, error) {
		s, ok := x.results[n]
		if !ok {
			return s, fmt.Errorf("unit %d has no result yet", n)
		}
		return s, nil
	})
	return x
}

// run has the service's units done, round by round, in the order or against it, and describes the
// units of each round. between is called after each round.
func (x *exporting) run(t *testing.T, a service, backwards bool, between func(round int)) (all [][]string, err error) {
	t.Helper()
	for begin, round := 0, 0; ; round++ {
		units := slices.Clone(x.rounds.units[begin:])
		begin = len(x.rounds.units)
		var described []string
		for _, u := range units {
			described = append(described, describe(u))
		}
		all = append(all, described)
		for _, u := range units {
			x.results[u.N] = a.result(u)
		}
		if backwards {
			slices.Reverse(units)
		}
		for _, u := range units {
			x.rounds.done(x.results[u.N])
		}
		if between != nil {
			between(round)
		}
		more, err := x.rounds.next(t.Context())
		if err != nil {
			return all, err
		}
		if !more {
			return all, nil
		}
		if round > 20 {
			t.Fatal("there is no end of rounds")
		}
	}
}

// describe is a unit in a line: what it reads, of which project and scope, and whether it fetches
// blobs.
func describe(u unit.Unit) string {
	d := []string{string(u.Kind), names[u.Project]}
	switch u.Kind {
	case unit.KindPage, unit.KindPerformances:
		d = append(d, string(u.Listing.Kind), names[u.Listing.Scope], fmt.Sprint(u.Skip))
	case unit.KindBatch:
		d = append(d, names[u.Scope], fmt.Sprintf("%d ids from %d", len(u.IDs), binary.BigEndian.Uint32(u.IDs[0][12:])))
	case unit.KindExports:
		d = append(d, names[u.Scope])
	case unit.KindPredictions:
		for _, scope := range u.Scopes {
			d = append(d, names[scope])
		}
		if u.Token != nil {
			d = append(d, "on")
		}
	case unit.KindCounts:
		d = append(d, fmt.Sprint(len(u.Listings)))
	}
	if u.Pass > 0 {
		d = append(d, fmt.Sprintf("reading %d", u.Pass))
	}
	if u.Fetch {
		d = append(d, "fetch")
	}
	return strings.Join(d, " ")
}

const onlyImages = `{"project_ids":["aaaaaaaa-0000-4000-8000-000000000000"],"categories":["images"]}`

// TestRounds says which units an export is cut into, round by round.
func TestRounds(t *testing.T) {
	trained := []unit.IterationInfo{{ID: iteration1, Trained: true, Performance: true}}
	for _, c := range []struct {
		name    string
		data    string
		service service
		change  map[int]func(a service) // after a round
		want    [][]string
		states  []string // of the listings of project A: settled or unstable
	}{
		{
			name: "two small projects with everything",
			data: `{"project_ids":["aaaaaaaa-0000-4000-8000-000000000000","bbbbbbbb-0000-4000-8000-000000000000"]}`,
			service: service{
				projectA: (&content{iterations: trained}).hold(survey.Tagged, uuid.Nil, images(1, 3)...).hold(survey.Untagged, uuid.Nil).
					hold(survey.Tagged, iteration1, images(1, 3)...).hold(survey.Performances, iteration1, images(1, 3)...),
				projectB: (&content{}).hold(survey.Tagged, uuid.Nil, image(9)).hold(survey.Untagged, uuid.Nil, images(10, 11)...),
			},
			want: [][]string{
				{"project A", "project B"},
				{"page A tagged workspace 0 fetch", "page A untagged workspace 0 fetch", "page A tagged it1 0", "performances A performances it1 0", "exports A it1", "predictions A workspace it1 fetch", "page B tagged workspace 0 fetch", "page B untagged workspace 0 fetch", "predictions B workspace fetch"},
				{"counts A 5", "counts B 3"},
				{"page A all workspace 0", "page B all workspace 0"},
				{"counts A 1", "counts B 1"},
			},
			states: []string{"settled", "settled", "settled", "settled", "settled"},
		},
		{
			name:    "pages overlap by one",
			data:    onlyImages,
			service: service{projectA: (&content{}).hold(survey.Tagged, uuid.Nil, images(1, 512)...).hold(survey.Untagged, uuid.Nil, images(1001, 1256)...)},
			want: [][]string{
				{"project A"},
				{"page A tagged workspace 0 fetch", "page A tagged workspace 255 fetch", "page A tagged workspace 510 fetch", "page A untagged workspace 0 fetch"},
				{"counts A 3"},
				{"page A all workspace 0", "page A all workspace 255", "page A all workspace 510", "page A all workspace 765"},
				{"counts A 1"},
			},
			states: []string{"settled", "settled", "settled"},
		},
		{
			name:    "an empty project",
			data:    onlyImages,
			service: service{projectA: (&content{}).hold(survey.Tagged, uuid.Nil).hold(survey.Untagged, uuid.Nil)},
			want: [][]string{
				{"project A"},
				{"page A tagged workspace 0 fetch", "page A untagged workspace 0 fetch"},
				{"counts A 3"},
				{"page A all workspace 0"},
				{"counts A 1"},
			},
			states: []string{"settled", "settled", "settled"},
		},
		{
			name:    "a project without listings",
			data:    `{"project_ids":["aaaaaaaa-0000-4000-8000-000000000000"],"categories":["tags"]}`,
			service: service{projectA: &content{}},
			want:    [][]string{{"project A"}},
		},
		{
			name:    "a listing whose count moved is read again, and the other one is not",
			data:    onlyImages,
			service: service{projectA: (&content{}).hold(survey.Tagged, uuid.Nil, images(1, 3)...).hold(survey.Untagged, uuid.Nil, images(4, 5)...)},
			change:  map[int]func(service){1: func(a service) { a[projectA].hold(survey.Tagged, uuid.Nil, images(1, 300)...) }},
			want: [][]string{
				{"project A"},
				{"page A tagged workspace 0 fetch", "page A untagged workspace 0 fetch"},
				{"counts A 3"},
				{"page A tagged workspace 0 reading 1 fetch", "page A tagged workspace 255 reading 1 fetch"},
				{"counts A 2"},
				{"page A all workspace 0", "page A all workspace 255"},
				{"counts A 1"},
			},
			states: []string{"settled", "settled", "settled"},
		},
		{
			name:    "a listing that became empty is counted again at once",
			data:    onlyImages,
			service: service{projectA: (&content{}).hold(survey.Tagged, uuid.Nil, images(1, 3)...)},
			change:  map[int]func(service){1: func(a service) { a[projectA].hold(survey.Tagged, uuid.Nil) }},
			want: [][]string{
				{"project A"},
				{"page A tagged workspace 0 fetch"},
				{"counts A 2"},
				{"page A tagged workspace 0 reading 1 fetch"},
				{"counts A 2"},
				{"page A all workspace 0"},
				{"counts A 1"},
			},
			states: []string{"settled", "settled"},
		},
		{
			name:    "a listing that moves all the time is read four times, and is unstable",
			data:    onlyImages,
			service: service{projectA: (&content{}).hold(survey.Tagged, uuid.Nil, images(1, 3)...)},
			change: map[int]func(service){
				1: func(a service) { a[projectA].hold(survey.Tagged, uuid.Nil, images(1, 4)...) },
				3: func(a service) { a[projectA].hold(survey.Tagged, uuid.Nil, images(1, 5)...) },
				5: func(a service) { a[projectA].hold(survey.Tagged, uuid.Nil, images(1, 6)...) },
				7: func(a service) { a[projectA].hold(survey.Tagged, uuid.Nil, images(1, 7)...) },
			},
			want: [][]string{
				{"project A"},
				{"page A tagged workspace 0 fetch"},
				{"counts A 2"},
				{"page A tagged workspace 0 reading 1 fetch"},
				{"counts A 2"},
				{"page A tagged workspace 0 reading 2 fetch"},
				{"counts A 2"},
				{"page A tagged workspace 0 reading 3 fetch"},
				{"counts A 2"},
				{"page A all workspace 0"},
				{"counts A 1"},
				{"batch A workspace 1 ids from 7 fetch"},
			},
			states: []string{"settled", "unstable"},
		},
		{
			name: "images that only iterations hold are fetched from the first iteration that does",
			data: onlyImages,
			service: service{projectA: (&content{iterations: []unit.IterationInfo{{ID: iteration1}, {ID: iteration2}}}).hold(survey.Tagged, uuid.Nil, images(1, 3)...).
				hold(survey.Tagged, iteration1, images(2, 5)...).hold(survey.Tagged, iteration2, images(4, 6)...)},
			want: [][]string{
				{"project A"},
				{"page A tagged workspace 0 fetch", "page A tagged it1 0", "page A tagged it2 0"},
				{"counts A 4"},
				{"page A all workspace 0"},
				{"counts A 1"},
				{"batch A it1 2 ids from 4 fetch", "batch A it2 1 ids from 6 fetch"},
			},
			states: []string{"settled", "settled", "settled", "settled"},
		},
		{
			name: "many images that only an iteration holds",
			data: onlyImages,
			service: service{projectA: (&content{iterations: trained}).hold(survey.Tagged, uuid.Nil).
				hold(survey.Tagged, iteration1, images(1, 257)...)},
			want: [][]string{
				{"project A"},
				{"page A tagged workspace 0 fetch", "page A tagged it1 0", "page A tagged it1 255"},
				{"counts A 3"},
				{"page A all workspace 0"},
				{"counts A 1"},
				{"batch A it1 256 ids from 1 fetch", "batch A it1 1 ids from 257 fetch"},
			},
			states: []string{"settled", "settled", "settled"},
		},
		{
			name:    "a project that is gone is left",
			data:    `{"project_ids":["aaaaaaaa-0000-4000-8000-000000000000","bbbbbbbb-0000-4000-8000-000000000000"],"categories":["images"]}`,
			service: service{projectA: (&content{}).hold(survey.Tagged, uuid.Nil, image(1)), projectB: (&content{}).hold(survey.Tagged, uuid.Nil, image(2))},
			change:  map[int]func(service){0: func(a service) { a[projectA].gone = true }},
			want: [][]string{
				{"project A", "project B"},
				{"page A tagged workspace 0 fetch", "page B tagged workspace 0 fetch"},
				{"counts B 2"},
				{"page B all workspace 0"},
				{"counts B 1"},
			},
		},
		{
			name:    "all projects are gone",
			data:    `{"project_ids":["aaaaaaaa-0000-4000-8000-000000000000","bbbbbbbb-0000-4000-8000-000000000000"],"categories":["images"]}`,
			service: service{projectA: (&content{}).hold(survey.Tagged, uuid.Nil, image(1)), projectB: (&content{}).hold(survey.Tagged, uuid.Nil, image(2))},
			change:  map[int]func(service){0: func(a service) { a[projectA].gone, a[projectB].gone = true, true }},
			want: [][]string{
				{"project A", "project B"},
				{"page A tagged workspace 0 fetch", "page B tagged workspace 0 fetch"},
			},
		},
		{
			name: "of the listings of named tags, the first fetches",
			data: onlyImages,
			service: service{projectA: &content{
				listings: []survey.Listing{{Kind: survey.Tagged, Tags: images(1, 20)}, {Kind: survey.Tagged, Tags: images(21, 22)}},
				items: map[string][]uuid.UUID{
					survey.Listing{Kind: survey.Tagged, Tags: images(1, 20)}.Key():  images(101, 103),
					survey.Listing{Kind: survey.Tagged, Tags: images(21, 22)}.Key(): images(103, 104),
				},
			}},
			want: [][]string{
				{"project A"},
				{"page A tagged workspace 0 fetch", "page A tagged workspace 0"},
				{"counts A 4"},
				{"page A all workspace 0", "page A all workspace 0"},
				{"counts A 2"},
				{"batch A workspace 1 ids from 104 fetch"},
			},
			states: []string{"settled", "settled", "settled", "settled"},
		},
		{
			name: "an image that was tagged between two listings is in neither, and the witness has it",
			data: onlyImages,
			service: service{projectA: (&content{iterations: trained}).hold(survey.Tagged, uuid.Nil, images(1, 2)...).hold(survey.Untagged, uuid.Nil, image(4)).
				hold(survey.Tagged, iteration1, image(3))},
			change: map[int]func(service){2: func(a service) { a[projectA].hold(survey.Tagged, uuid.Nil, images(1, 3)...) }},
			want: [][]string{
				{"project A"},
				{"page A tagged workspace 0 fetch", "page A untagged workspace 0 fetch", "page A tagged it1 0"},
				{"counts A 4"},
				{"page A all workspace 0"},
				{"counts A 1"},
				{"page A all workspace 0 reading 1"},
				{"counts A 1"},
				{"batch A workspace 1 ids from 3 fetch"}, // not from the iteration: the workspace has it
			},
			states: []string{"settled", "settled", "settled", "settled"},
		},
		{
			name:    "a witness that moves all the time is read three times, and is unstable",
			data:    onlyImages,
			service: service{projectA: (&content{}).hold(survey.Tagged, uuid.Nil, image(1))},
			change: map[int]func(service){
				3: func(a service) { a[projectA].hold(survey.Tagged, uuid.Nil, images(1, 2)...) },
				5: func(a service) { a[projectA].hold(survey.Tagged, uuid.Nil, images(1, 3)...) },
				7: func(a service) { a[projectA].hold(survey.Tagged, uuid.Nil, images(1, 4)...) },
			},
			want: [][]string{
				{"project A"},
				{"page A tagged workspace 0 fetch"},
				{"counts A 2"},
				{"page A all workspace 0"},
				{"counts A 1"},
				{"page A all workspace 0 reading 1"},
				{"counts A 1"},
				{"page A all workspace 0 reading 2"},
				{"counts A 1"},
				{"batch A workspace 2 ids from 2 fetch"},
			},
			states: []string{"unstable", "settled"},
		},
		{
			name:    "a selection by iterations has no witness",
			data:    `{"project_ids":["aaaaaaaa-0000-4000-8000-000000000000"],"categories":["images"],"iteration_ids":["` + iteration1.String() + `"]}`,
			service: service{projectA: (&content{iterations: trained}).hold(survey.Tagged, iteration1, image(1)).hold(survey.Untagged, iteration1)},
			want: [][]string{
				{"project A"},
				{"page A tagged it1 0 fetch", "page A untagged it1 0 fetch"},
				{"counts A 2"},
			},
			states: []string{"settled", "settled"},
		},
		{
			name:    "predictions are read run after run",
			data:    `{"project_ids":["aaaaaaaa-0000-4000-8000-000000000000"],"categories":["predictions"]}`,
			service: service{projectA: &content{iterations: trained, predictions: [][]uuid.UUID{{uuid.Nil, iteration1}, {iteration1}}}},
			want: [][]string{
				{"project A"},
				{"predictions A workspace it1 fetch"},
				{"predictions A workspace it1 on fetch"},
				{"predictions A it1 on fetch"},
			},
		},
		{
			name: "images that were named are asked for in every scope, and fetched from the first that holds them",
			data: `{"project_ids":["aaaaaaaa-0000-4000-8000-000000000000"],"categories":["images"],"image_ids":["` + image(1).String() + `","` + image(5).String() + `"]}`,
			service: service{projectA: (&content{iterations: trained, named: true}).hold(survey.Tagged, uuid.Nil, images(1, 3)...).
				hold(survey.Tagged, iteration1, images(4, 5)...)},
			want: [][]string{
				{"project A"},
				{"batch A workspace 2 ids from 1 fetch", "batch A it1 2 ids from 1"},
				{"batch A it1 1 ids from 5 fetch"},
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newExport(t, c.data)
			got, err := x.run(t, c.service, false, func(round int) {
				if change := c.change[round]; change != nil {
					change(c.service)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("the rounds are\n%s\nnot\n%s", lines(got), lines(c.want))
			}
			if c.states != nil && !slices.Equal(x.states(), c.states) {
				t.Errorf("the listings are %v, not %v", x.states(), c.states)
			}
			for n, u := range x.rounds.units {
				version := 3
				if u.Pages > 1 || u.Kind == unit.KindExports {
					version = unit.Version
				}
				if u.V != version || u.N != n || u.Command != "exp-1" || u.Action != contract.ActionExport || u.Seq != 7 || u.Stream != "s1" || u.Digest != "d" || !u.Named {
					t.Errorf("unit %d is %+v", n, u)
				}
			}
		})
	}
}

// states says of each listing of the first project how it ended.
func (x *exporting) states() (states []string) {
	for _, l := range x.rounds.projects[0].listings {
		switch {
		case l.settled:
			states = append(states, "settled")
		case l.unstable:
			states = append(states, "unstable")
		default:
			states = append(states, "open")
		}
	}
	return states
}

func lines(rounds [][]string) string {
	var b strings.Builder
	for i, units := range rounds {
		fmt.Fprintf(&b, "  %d: %s\n", i, strings.Join(units, " | "))
	}
	return b.String()
}

// Pages that do not begin with what the page before ends with were not read of one listing, though
// no count moved: it is read again. An image that each page left to the other one is fetched by its
// id.
func TestRoundsOfPagesThatDoNotJoin(t *testing.T) {
	a := service{projectA: (&content{}).hold(survey.Tagged, uuid.Nil, images(1, 300)...)}
	x := newExport(t, onlyImages)
	got, err := x.run(t, a, false, func(round int) {
		if round != 1 {
			return
		}
		// Image 1 went before the second page was read, which begins with 257 and leaves it to the
		// page before; then 257 went and two images came, so that the count is as before.
		moved := x.results[2]
		moved.IDs = images(257, 300)
		moved.Listed, moved.First, moved.Last = len(moved.IDs), image(257).String(), image(300).String()
		x.results[2] = moved
		x.rounds.done(moved)
		a[projectA].hold(survey.Tagged, uuid.Nil, append(images(2, 256), append(images(258, 300), image(400), image(401))...)...)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"project A"},
		{"page A tagged workspace 0 fetch", "page A tagged workspace 255 fetch"},
		{"counts A 2"},
		{"page A tagged workspace 0 reading 1 fetch", "page A tagged workspace 255 reading 1 fetch"},
		{"counts A 2"},
		{"page A all workspace 0", "page A all workspace 255"},
		{"counts A 1"},
		{"batch A workspace 1 ids from 257 fetch"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the rounds are\n%s\nnot\n%s", lines(got), lines(want))
	}
}

// TestRoundsOfALargeWitness has a witness cut into units of several pages, of the first reading
// and, where the pages of one unit do not overlap, of the next one.
func TestRoundsOfALargeWitness(t *testing.T) {
	for _, c := range []struct{ count, units, pages int }{{257, 2, 1}, {1000, 4, 1}, {2000, 4, 2}, {2300, 4, 3}, {20_000, 5, 16}, {50_000, 13, 16}} {
		x := newExport(t, onlyImages)
		for done := 0; done < len(x.rounds.units); {
			for _, u := range x.rounds.units[done:] {
				s := unit.Summary{V: unit.Version, N: u.N, Kind: u.Kind, Listings: slices.Clone(u.Listings)}
				switch u.Kind {
				case unit.KindProject:
					s.Listings = []survey.Listing{{Kind: survey.Tagged, Count: c.count}}
				case unit.KindCounts:
					for i := range s.Listings {
						s.Listings[i].Count = c.count
					}
				default:
					last := min(u.Skip+cv.MaxPage+cv.PageStride*(max(u.Pages, 1)-1), c.count)
					s.Listed, s.First, s.Last = last-u.Skip, image(u.Skip).String(), image(last-1).String()
					s.Torn = u.Witness() && u.Pass == 0 && u.Skip > 0
				}
				x.results[u.N] = s
				x.rounds.done(s)
				done++
			}
			if _, err := x.rounds.next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		pages, units := map[int]int{}, map[int]int{} // by reading
		for _, u := range x.rounds.units {
			if !u.Witness() {
				continue
			}
			pages[u.Pass] += max(u.Pages, 1)
			units[u.Pass]++
			if u.Skip == 0 && max(u.Pages, 1) != c.pages {
				t.Errorf("%d images: the first unit has %d pages", c.count, u.Pages)
			}
		}
		if want := cv.Pages(c.count); len(pages) != 2 || pages[0] != want || pages[1] != want || units[0] != c.units {
			t.Errorf("%d images: %v pages in %v units, of %d", c.count, pages, units, want)
		}
		if got := x.states(); slices.Contains(got, "unstable") {
			t.Errorf("%d images: %v", c.count, got)
		}
	}
}

// A listing that gives less than was counted, before and after, is read again.
func TestRoundsOfAPageThatLacksAnImage(t *testing.T) {
	x := newExport(t, onlyImages)
	got, err := x.run(t, service{projectA: (&content{}).hold(survey.Tagged, uuid.Nil, images(1, 3)...)}, false, func(round int) {
		if round == 1 {
			short := x.results[1]
			short.Listed--
			x.rounds.done(short)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"project A"},
		{"page A tagged workspace 0 fetch"},
		{"counts A 2"},
		{"page A tagged workspace 0 reading 1 fetch"},
		{"counts A 2"},
		{"page A all workspace 0"},
		{"counts A 1"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the rounds are\n%s\nnot\n%s", lines(got), lines(want))
	}
}

// A named image that no scope holds fails the export, unless it goes before a delete.
func TestRoundsOfANamedImageThatIsNowhere(t *testing.T) {
	data := `{"project_ids":["aaaaaaaa-0000-4000-8000-000000000000"],"categories":["images"],"image_ids":["` + image(9).String() + `"]}`
	for action, fails := range map[contract.Action]bool{contract.ActionExport: true, contract.ActionDelete: false} {
		x := newExport(t, data)
		x.rounds.command.Action = action
		_, err := x.run(t, service{projectA: (&content{named: true}).hold(survey.Tagged, uuid.Nil, images(1, 3)...)}, false, nil)
		var own *contract.Error
		if errors.As(err, &own) != fails || fails && own.Code != contract.CodeNotFound {
			t.Errorf("%s: %v", action, err)
		}
	}
}

// An image whose blob is gone when its page asks for it is asked for where it still is listed: in
// the workspace, or in an iteration.
func TestRoundsOfLostBlobs(t *testing.T) {
	for left, want := range map[int]string{
		4: "batch A workspace 3 ids from 1 fetch",
		3: "batch A it1 1 ids from 1 fetch", // 3 is fetched by the second reading, and 4 is nowhere
	} {
		a := service{projectA: (&content{iterations: []unit.IterationInfo{{ID: iteration1}}}).hold(survey.Tagged, uuid.Nil, images(1, 4)...).
			hold(survey.Tagged, iteration1, images(1, 2)...)}
		x := newExport(t, onlyImages)
		got, err := x.run(t, a, false, func(round int) {
			if round != 1 {
				return
			}
			page := x.results[1]
			page.Lost = []uuid.UUID{image(1), image(3), image(4)}
			x.results[1] = page
			if left < 4 {
				a[projectA].hold(survey.Tagged, uuid.Nil, images(2, left)...)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if last := got[len(got)-1]; !slices.Equal(last, []string{want}) {
			t.Errorf("the last round is %v, not %v", last, want)
		}
	}
}

// An export that an earlier version planned is cut as that version does: results of its units may
// exist.
func TestRoundsOfAnEarlierVersion(t *testing.T) {
	x := newExport(t, onlyImages)
	x.rounds.plan.V = 1
	got, err := x.run(t, service{projectA: (&content{}).hold(survey.Tagged, uuid.Nil, images(1, 3)...).hold(survey.Untagged, uuid.Nil)}, false, nil)
	want := [][]string{{"project A"}, {"page A tagged workspace 0 fetch"}, {"counts A 2"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("the rounds are\n%s\nnot\n%s (%v)", lines(got), lines(want), err)
	}
}

// Two coordinators cut the same units, in whichever order results come; so no unit is done twice
// whose result exists.
func TestRoundsDoNotDependOnTheOrderOfResults(t *testing.T) {
	some := func() service {
		return service{projectA: (&content{iterations: []unit.IterationInfo{{ID: iteration1}}}).hold(survey.Tagged, uuid.Nil, images(1, 600)...).
			hold(survey.Untagged, uuid.Nil, images(601, 700)...).hold(survey.Tagged, iteration1, images(500, 800)...)}
	}
	one, other := newExport(t, onlyImages), newExport(t, onlyImages)
	for x, backwards := range map[*exporting]bool{one: false, other: true} {
		a := some()
		if _, err := x.run(t, a, backwards, func(round int) {
			if round == 1 {
				a[projectA].hold(survey.Untagged, uuid.Nil, images(601, 900)...)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if len(one.rounds.units) < 10 || !reflect.DeepEqual(one.rounds.units, other.rounds.units) {
		t.Errorf("the units are %v and %v", one.rounds.units, other.rounds.units)
	}
	if one.rounds.progress() != other.rounds.progress() {
		t.Errorf("the progress is %+v and %+v", one.rounds.progress(), other.rounds.progress())
	}
}

// Progress counts what the service counted, and what was listed of it, without the overlap of pages
// and without the witness.
func TestRoundsProgress(t *testing.T) {
	x := newExport(t, onlyImages)
	var done, total []int64
	_, err := x.run(t, service{projectA: (&content{}).hold(survey.Tagged, uuid.Nil, images(1, 300)...).hold(survey.Untagged, uuid.Nil, images(301, 310)...)}, false, func(int) {
		p := x.rounds.progress()
		done, total = append(done, p.Done), append(total, p.Total)
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []int64{0, 310, 310, 310, 310}; !slices.Equal(done, want) {
		t.Errorf("done after each round: %v, not %v", done, want)
	}
	if want := []int64{0, 310, 310, 310, 310}; !slices.Equal(total, want) {
		t.Errorf("of, after each round: %v, not %v", total, want)
	}
}

// TestTooManyUnits: a count that would need more units than there is memory for ends the export,
// before any of them is made.
func TestTooManyUnits(t *testing.T) {
	for count, units := range map[int]int{10_000_000: 39_216, math.MaxInt: 0} {
		x := newExport(t, onlyImages)
		x.rounds.done(unit.Summary{V: unit.Version, Kind: unit.KindProject, Listings: []survey.Listing{{Kind: survey.Tagged, Count: count}}})
		_, err := x.rounds.next(t.Context())
		var own *contract.Error
		if failed := errors.As(err, &own); failed != (units == 0) || len(x.rounds.units) != 1+units {
			t.Errorf("%d images: %d units, %v", count, len(x.rounds.units), err)
		}
		if own != nil && !strings.Contains(own.Message, "would need more than 1000000 units: the service counts 9223372036854775807 tagged items of the workspace") {
			t.Error(own)
		}
	}
}
