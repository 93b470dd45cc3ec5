package known_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/known"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
)

// queue has one command and its job, and counts what it is asked for.
type queue struct {
	gone, over     bool
	err            error
	job            contract.Job
	commands, jobs int
	now            time.Time
}

func (*queue) Prefix() string { return "cv" }

func (q *queue) CommandIn(_ context.Context, stream string, seq uint64) (contract.Message, error) {
	q.commands++
	if q.gone || stream != "s1" || seq != 7 {
		return contract.Message{}, contract.ErrNoMessage
	}
	return contract.Message{
		Subject: "cv.commands.export", Header: map[string][]string{contract.HeaderMsgID: {"exp-1"}}, Body: []byte(`{"all_projects":true}`), Seq: 7, Stream: "s1",
	}, nil
}

func (q *queue) Job(context.Context, string) (contract.Job, uint64, error) {
	q.jobs++
	if q.over {
		return contract.Job{}, 0, contract.ErrNoJob
	}
	return q.job, 1, q.err
}

func (*queue) Secret(context.Context, string) (string, error) {
	return "abcdefghijklmnopqrstuvwxyz", nil
}

func newCommands() (*queue, *known.Commands) {
	q := &queue{now: time.Unix(1e9, 0), job: contract.Job{Command: contract.CommandRef{Stream: "s1", Seq: 7}}}
	return q, known.NewCommands(known.Settings{Queue: q, Jobs: q, Secrets: q, Now: func() time.Time { return q.now }})
}

// TestCommandsAreReadOnce counts the readings of a command whose units come one after the other.
func TestCommandsAreReadOnce(t *testing.T) {
	u := unit.Unit{Command: "exp-1", Action: contract.ActionExport, Stream: "s1", Seq: 7}
	q, c := newCommands()
	for _, step := range []struct {
		name   string
		change func()
		fresh  bool
		reads  int // of the command, and of its job, so far
		err    error
	}{
		{name: "first", reads: 1},
		{name: "again", reads: 1},
		{name: "after a while", change: func() { q.now = q.now.Add(known.GoodFor - 1) }, reads: 1},
		{name: "too old", change: func() { q.now = q.now.Add(1) }, reads: 2},
		{name: "asked for", fresh: true, reads: 3},
		{name: "the clock went back", change: func() { q.now = q.now.Add(-time.Hour) }, reads: 4},
	} {
		if step.change != nil {
			step.change()
		}
		got, isFresh, err := c.Of(t.Context(), u, step.fresh)
		if err != nil || got.Command.ID != "exp-1" || got.Origin != (contract.Origin{Stream: "s1", Seq: 7}) {
			t.Fatalf("%s: %+v: %v", step.name, got, err)
		}
		if q.commands != step.reads || q.jobs != step.reads || isFresh != (step.name != "again" && step.name != "after a while") {
			t.Errorf("%s: %d readings of the command and %d of the job, fresh: %t", step.name, q.commands, q.jobs, isFresh)
		}
	}
	other := u
	other.Digest = "another"
	if _, _, err := c.Of(t.Context(), other, false); !errors.Is(err, contract.ErrNoMessage) {
		t.Errorf("a unit of other data: %v", err)
	}
	q.over = true
	if _, _, err := c.Of(t.Context(), u, true); !errors.Is(err, delivery.ErrEnded) {
		t.Errorf("a command that is over: %v", err)
	}
	q.gone = true
	if _, _, err := c.Of(t.Context(), u, true); !errors.Is(err, contract.ErrNoMessage) {
		t.Errorf("a command that is gone: %v", err)
	}
}

// TestLooks has units that are done side by side end in every order: what they stored is looked
// after once, by the last one, or by one that begins.
func TestLooks(t *testing.T) {
	q, c := newCommands()
	looks := known.Looks{Wanted: c.Wanted}
	var removed []string
	begin := func() error { _, err := looks.Begin(t.Context(), "exp-1"); return err }
	leave := func(name string) error {
		if name == "" {
			return looks.Leave(t.Context(), "exp-1", nil)
		}
		return looks.Leave(t.Context(), "exp-1", func(context.Context) { removed = append(removed, name) })
	}
	check := func(step string, err error, jobs int, want ...string) {
		t.Helper()
		if err != nil || q.jobs != jobs || !slices.Equal(removed, want) {
			t.Errorf("%s: %v, after %d looks %v is removed", step, err, q.jobs, removed)
		}
	}
	for range 3 {
		if err := begin(); err != nil {
			t.Fatal(err)
		}
	}
	check("three began", nil, 3)
	check("one is done", leave("a"), 3)
	check("another began", begin(), 4) // it looked for a
	check("two are done", errors.Join(leave("b"), leave("c")), 4)
	q.over = true
	check("the last one stored nothing", leave(""), 5, "b", "c")
	if err := begin(); !errors.Is(err, delivery.ErrEnded) {
		t.Errorf("a unit of a command that is over begins: %v", err)
	}
	q.over = false
	check("begins again", begin(), 7, "b", "c")
	q.err = errors.New("away")
	if err := leave("d"); !errors.Is(err, q.err) {
		t.Errorf("the job cannot be read: %v", err)
	}
	q.err, removed, q.over = nil, nil, true
	if err := begin(); !errors.Is(err, delivery.ErrEnded) || !slices.Equal(removed, []string{"d"}) {
		t.Errorf("another unit begins once the command is over: %v, %v is removed", err, removed)
	}
	q.over, removed = false, nil
	check("a unit alone that stored nothing", errors.Join(begin(), leave("")), 10)
}

// TestLooksThatFail has what was stored looked for again, when the look of one that begins fails.
func TestLooksThatFail(t *testing.T) {
	q, c := newCommands()
	looks := known.Looks{Wanted: c.Wanted}
	removed := false
	for range 2 {
		if _, err := looks.Begin(t.Context(), "exp-1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := looks.Leave(t.Context(), "exp-1", func(context.Context) { removed = true }); err != nil {
		t.Fatal(err)
	}
	q.err = errors.New("away")
	if _, err := looks.Begin(t.Context(), "exp-1"); !errors.Is(err, q.err) {
		t.Fatalf("begins: %v", err)
	}
	q.over = true
	if err := looks.Leave(t.Context(), "exp-1", nil); err != nil || !removed {
		t.Errorf("removed %t: %v", removed, err)
	}
}

// TestLooksMeanwhile has units end while another one that begins looks at the job: what they stored
// is removed by that one if the command is over.
func TestLooksMeanwhile(t *testing.T) {
	for name, says := range map[string]error{"over": delivery.ErrEnded, "away": errors.New("away")} {
		t.Run(name, func(t *testing.T) {
			var (
				answers []func() error
				removed []string
			)
			looks := known.Looks{Wanted: func(context.Context, string) (contract.Job, error) {
				answer := answers[0]
				answers = answers[1:]
				return contract.Job{}, answer()
			}}
			leave := func(unit string) error {
				return looks.Leave(t.Context(), "exp-1", func(context.Context) { removed = append(removed, unit) })
			}
			fine := func() error { return nil }
			answers = []func() error{fine, fine, func() error { return errors.Join(says, leave("b")) }, func() error { return delivery.ErrEnded }, func() error { return delivery.ErrEnded }}
			for range 2 {
				if _, err := looks.Begin(t.Context(), "exp-1"); err != nil {
					t.Fatal(err)
				}
			}
			if err := leave("a"); err != nil {
				t.Fatal(err)
			}
			if _, err := looks.Begin(t.Context(), "exp-1"); !errors.Is(err, says) {
				t.Fatalf("begins: %v", err)
			}
			if name == "away" { // the unit that was not begun comes again
				if _, err := looks.Begin(t.Context(), "exp-1"); !errors.Is(err, delivery.ErrEnded) {
					t.Fatalf("begins again: %v", err)
				}
			}
			if slices.Sort(removed); !slices.Equal(removed, []string{"a", "b"}) {
				t.Errorf("%v is removed", removed)
			}
		})
	}
}

// TestResults has the results of other units, and those that there was no room for, be unknown.
func TestResults(t *testing.T) {
	var r known.Results
	content := make([]byte, 3<<20)
	for _, seal := range []string{"a", "b", "a", "c", ""} {
		r.Put(unit.Unit{Seal: seal}, known.Result{Content: content, SHA256: seal})
	}
	r.Put(unit.Unit{Seal: "large"}, known.Result{Content: make([]byte, 9<<20)})
	for seal, there := range map[string]bool{"a": true, "b": false, "c": true, "": false, "large": false} {
		if got, ok := r.Take(unit.Unit{Seal: seal}); ok != there || ok && (got.SHA256 != seal || len(got.Content) != len(content)) {
			t.Errorf("%q: %t", seal, ok)
		}
	}
	if _, ok := r.Take(unit.Unit{Seal: "a"}); ok {
		t.Error("taken twice")
	}
}
