package turn_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/turn"
)

const (
	p1 = "7f0ce8b1-5a5a-4c6e-9d0e-3f2b6d1c9a11"
	p2 = "11111111-2222-4333-8444-555555555555"
)

// queue is a command stream in memory, with the jobs of its commands.
type queue struct {
	stream   string
	messages []contract.Message // by sequence
	last     uint64             // the sequence of the last message that was published
	jobs     map[string]contract.Job
	read     []uint64 // the sequences that were read, in order
	err      error    // of every reading, when set
}

func newQueue(stream string) *queue {
	return &queue{stream: stream, jobs: map[string]contract.Job{}}
}

// remake deletes the stream and makes it again: it is empty, and counts from 1.
func (q *queue) remake(stream string) { q.stream, q.messages, q.last = stream, nil, 0 }

// add publishes a plain command, or a message that is none, and returns it as it is delivered.
func (q *queue) add(action contract.Action, id, data string) contract.Message {
	q.last++
	m := contract.Message{Subject: "cv.commands." + string(action), Header: map[string][]string{}, Body: []byte(data), Seq: q.last, Stream: q.stream}
	if id != "" {
		m.Header[contract.HeaderMsgID] = []string{id}
	}
	q.messages = append(q.messages, m)
	return m
}

// settle takes a message out of the queue.
func (q *queue) settle(seq uint64) {
	q.messages = slices.DeleteFunc(q.messages, func(m contract.Message) bool { return m.Seq == seq })
}

// command publishes a command.
func (q *queue) command(t *testing.T, action contract.Action, id, data string) contract.Command {
	t.Helper()
	c, err := contract.DecodeCommand("cv", q.add(action, id, data))
	if err != nil {
		t.Fatalf("%s is no command: %v", data, err)
	}
	return c
}

func (q *queue) Prefix() string { return "cv" }

func (q *queue) CommandsBetween(_ context.Context, from, to uint64) iter.Seq2[contract.Message, error] {
	return func(yield func(contract.Message, error) bool) {
		if q.err != nil {
			yield(contract.Message{}, q.err)
			return
		}
		for _, m := range q.messages {
			if m.Seq < from || m.Seq >= to {
				continue
			}
			q.read = append(q.read, m.Seq)
			m.Stream = ""
			if !yield(m, nil) {
				return
			}
		}
	}
}

func (q *queue) Job(_ context.Context, id string) (contract.Job, uint64, error) {
	job, ok := q.jobs[id]
	if !ok {
		return contract.Job{}, 0, contract.ErrNoJob
	}
	return job, 1, nil
}

// order is a memory of the queue. The aliases main and same mean one account, other another one, or
// the same under another name.
func (q *queue) order() *turn.Order {
	return turn.New(q, q, func(alias string) string {
		if alias == "other" {
			return "other"
		}
		return "main"
	})
}

// conflicts asks what a command waits for.
func conflicts(t *testing.T, o *turn.Order, c contract.Command) turn.Ahead {
	t.Helper()
	ahead, err := o.Conflicts(t.Context(), c)
	if err != nil {
		t.Fatalf("look what %s waits for: %v", c.ID, err)
	}
	return ahead
}

// The kinds of commands, as far as they differ in what they wait for; their data lacks what selects
// projects.
var kinds = []struct {
	name   string
	action contract.Action
	data   string
}{
	{"export", contract.ActionExport, `"categories":["tags"]`},
	{"plan", contract.ActionDelete, `"dry_run":true`},
	{"delete tags", contract.ActionDelete, `"categories":["tags"]`},
	{"delete images", contract.ActionDelete, `"categories":["images"]`},
	{"delete iterations", contract.ActionDelete, `"categories":["iterations"]`},
	{"delete projects", contract.ActionDelete, `"categories":["projects"]`},
}

// TestConflicts has two commands of each two kinds concern one project: the later one waits where
// the table has an x.
func TestConflicts(t *testing.T) {
	waits := map[string]string{ // by the later command, in the order of kinds
		"export":            "..xxxx",
		"plan":              "..xxxx",
		"delete tags":       "xx..xx",
		"delete images":     "xx..xx",
		"delete iterations": "xxxxxx",
		"delete projects":   "xxxxxx",
	}
	for _, later := range kinds {
		for i, earlier := range kinds {
			q := newQueue("s1")
			q.command(t, earlier.action, "earlier", fmt.Sprintf(`{"project_ids":[%q],%s}`, p1, earlier.data))
			c := q.command(t, later.action, "later", fmt.Sprintf(`{"project_ids":[%q],%s}`, p1, later.data))
			want := turn.Ahead{}
			if waits[later.name][i] == 'x' {
				want = turn.Ahead{ID: "earlier", Count: 1}
			}
			if got := conflicts(t, q.order(), c); got != want {
				t.Errorf("%s after %s: %+v, not %+v", later.name, earlier.name, got, want)
			}
		}
	}
}

// A delete of projects waits for what concerns a common project of the same account.
func TestConflictsByProject(t *testing.T) {
	const one, both, two, all = `"project_ids":["` + p1 + `"]`, `"project_ids":["` + p1 + `","` + p2 + `"]`, `"project_ids":["` + p2 + `"]`, `"all_projects":true`
	for _, c := range []struct {
		name, earlier, later string
		waits                bool
	}{
		{"the same project", one, one, true},
		{"another project", two, one, false},
		{"one of several", both, two, true},
		{"several, one of them", two, both, true},
		{"all, then one", all, one, true},
		{"one, then all", one, all, true},
		{"all, then all", all, all, true},
		{"another alias of the account", one + `,"resource":"same"`, one + `,"resource":"main"`, true},
		{"another name of the account, or the alias of another one", one + `,"resource":"other"`, one + `,"resource":"main"`, true},
		{"another project of another account", two + `,"resource":"other"`, one + `,"resource":"main"`, false},
		{"all of another account", all + `,"resource":"other"`, one, false},
		{"all, after one of another account", one + `,"resource":"other"`, all, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := newQueue("s1")
			q.command(t, contract.ActionExport, "earlier", "{"+c.earlier+"}")
			later := q.command(t, contract.ActionDelete, "later", "{"+c.later+`,"categories":["projects"]}`)
			want := turn.Ahead{}
			if c.waits {
				want = turn.Ahead{ID: "earlier", Count: 1}
			}
			if got := conflicts(t, q.order(), later); got != want {
				t.Errorf("%+v, not %+v", got, want)
			}
		})
	}
}

// A cancel waits for no command, and no command waits for a cancel.
func TestCancelsDoNotConflict(t *testing.T) {
	q := newQueue("s1")
	q.command(t, contract.ActionDelete, "del", `{"all_projects":true,"categories":["projects"]}`)
	cancel := q.command(t, contract.ActionCancel, "cancel", `{"id":"del"}`)
	q.settle(1)
	later := q.command(t, contract.ActionDelete, "later", `{"all_projects":true,"categories":["projects"]}`)
	o := q.order()
	for _, c := range []contract.Command{cancel, later} {
		if got := conflicts(t, o, c); got != (turn.Ahead{}) {
			t.Errorf("%s waits for %+v", c.ID, got)
		}
	}
}

// A command waits for the last one in its way; all with a common project count as ahead of it.
func TestConflictsWithTheLast(t *testing.T) {
	q := newQueue("s1")
	q.command(t, contract.ActionDelete, "del-1", fmt.Sprintf(`{"project_ids":[%q],"categories":["tags"]}`, p1))
	q.command(t, contract.ActionDelete, "del-2", fmt.Sprintf(`{"project_ids":[%q],"categories":["tags"]}`, p1))
	q.command(t, contract.ActionDelete, "elsewhere", fmt.Sprintf(`{"project_ids":[%q],"categories":["tags"]}`, p2))
	q.command(t, contract.ActionExport, "exp-1", fmt.Sprintf(`{"project_ids":[%q]}`, p1))
	exp := q.command(t, contract.ActionExport, "exp-2", fmt.Sprintf(`{"project_ids":[%q]}`, p1))
	q.command(t, contract.ActionDelete, "after", fmt.Sprintf(`{"project_ids":[%q],"categories":["tags"]}`, p1))
	o := q.order()
	for _, step := range []struct {
		before func()
		want   turn.Ahead
	}{
		{func() {}, turn.Ahead{ID: "del-2", Count: 3}},
		{func() { q.settle(1) }, turn.Ahead{ID: "del-2", Count: 2}},
		{func() { q.jobs["del-2"] = contract.Job{State: contract.StateRunning} }, turn.Ahead{ID: "del-2", Count: 2}},
		{func() { q.settle(2) }, turn.Ahead{}},
	} {
		step.before()
		if got := conflicts(t, o, exp); got != step.want {
			t.Errorf("%+v, not %+v", got, step.want)
		}
	}
}

// The last one in the way is the last of any kind.
func TestConflictsWithTheLastOfAnyKind(t *testing.T) {
	for _, ids := range [][]string{{"read", "tags", "images"}, {"images", "tags", "read"}, {"tags", "images", "read"}} {
		q := newQueue("s1")
		for _, id := range ids {
			if id == "read" {
				q.command(t, contract.ActionExport, id, `{"all_projects":true}`)
			} else {
				q.command(t, contract.ActionDelete, id, fmt.Sprintf(`{"all_projects":true,"categories":[%q]}`, id))
			}
		}
		whole := q.command(t, contract.ActionDelete, "whole", `{"all_projects":true,"categories":["projects"]}`)
		if got, want := conflicts(t, q.order(), whole), (turn.Ahead{ID: ids[2], Count: 3}); got != want {
			t.Errorf("after %v it waits for %+v, not %+v", ids, got, want)
		}
	}
}

// A command whose job has ended is waited for no more, though its message is not settled yet.
func TestEndedCommandIsInNoWay(t *testing.T) {
	for state, waits := range map[contract.State]bool{
		contract.StateAccepted: true, contract.StateRunning: true,
		contract.StateCompleted: false, contract.StateFailed: false, contract.StateRefused: false, contract.StateCancelled: false,
	} {
		q := newQueue("s1")
		q.command(t, contract.ActionDelete, "del", `{"all_projects":true,"categories":["tags"]}`)
		exp := q.command(t, contract.ActionExport, "exp", `{"all_projects":true}`)
		q.jobs["del"] = contract.Job{State: state}
		if got := conflicts(t, q.order(), exp); (got.ID == "del") != waits {
			t.Errorf("the delete is %s: the export waits for %+v", state, got)
		}
	}
}

// An id belongs to the first message that gives it, whatever the two are about, and also where the
// first is no command.
func TestSameID(t *testing.T) {
	const export, bad = `{"all_projects":true}`, `{"all_projects":true,"shade":"red"}`
	for _, c := range []struct {
		name      string
		action    contract.Action
		id, first string
		want      turn.Ahead
	}{
		{"a command", contract.ActionExport, "mine", export, turn.Ahead{ID: "mine", Count: 1}},
		{"a command of another account", contract.ActionExport, "mine", `{"all_projects":true,"resource":"other"}`, turn.Ahead{ID: "mine"}},
		{"a cancel", contract.ActionCancel, "mine", `{"id":"x"}`, turn.Ahead{}},
		{"what is no command", contract.ActionExport, "mine", bad, turn.Ahead{ID: "mine"}},
		{"another id", contract.ActionExport, "another", export, turn.Ahead{}},
		{"no id", contract.ActionExport, "", bad, turn.Ahead{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := newQueue("s1")
			q.add(c.action, c.id, c.first)
			o, second := q.order(), q.command(t, contract.ActionExport, "mine", export)
			q.add(contract.ActionExport, "mine", export) // a later one is not waited for
			ahead, err := o.SameID(t.Context(), second)
			if err != nil || ahead != c.want {
				t.Errorf("%+v, %v; want %+v", ahead, err, c.want)
			}
			q.settle(1)
			if ahead, err = o.SameID(t.Context(), second); err != nil || ahead != (turn.Ahead{}) {
				t.Errorf("after the first was settled: %+v, %v", ahead, err)
			}
		})
	}
}

// Each message is read once; a later look reads only what was not read yet, and whether what is in
// the way is still there.
func TestEachMessageIsReadOnce(t *testing.T) {
	q := newQueue("s1")
	var last contract.Command
	for i := range 50 {
		last = q.command(t, contract.ActionExport, fmt.Sprintf("exp-%d", i), `{"all_projects":true}`)
	}
	o := q.order()
	conflicts(t, o, last)
	conflicts(t, o, last)
	if len(q.read) != 50 {
		t.Errorf("50 messages were read %d times", len(q.read))
	}
	q.read = nil
	del := q.command(t, contract.ActionDelete, "del", `{"all_projects":true,"categories":["tags"]}`)
	q.command(t, contract.ActionExport, "after", `{"all_projects":true}`) // is not read for the delete before it
	if got := conflicts(t, o, del); got.ID != "exp-49" {
		t.Errorf("the delete waits for %+v", got)
	}
	if want := []uint64{51, 50, 1}; !slices.Equal(q.read, want) {
		t.Errorf("messages %v were read, not %v", q.read, want)
	}
}

// What was remembered of a stream counts for nothing once it was made again, though its sequences
// and ids come again; and back.
func TestStreamMadeAgain(t *testing.T) {
	q := newQueue("s1")
	o := q.order()
	q.command(t, contract.ActionDelete, "del", fmt.Sprintf(`{"project_ids":[%q],"categories":["tags"]}`, p1))
	before := q.command(t, contract.ActionExport, "exp", fmt.Sprintf(`{"project_ids":[%q]}`, p1))
	if got := conflicts(t, o, before); got.ID != "del" {
		t.Fatalf("in the first stream the export waits for %+v", got)
	}
	q.remake("s2")
	q.command(t, contract.ActionDelete, "del", fmt.Sprintf(`{"project_ids":[%q],"categories":["tags"]}`, p2))
	after := q.command(t, contract.ActionExport, "exp", fmt.Sprintf(`{"project_ids":[%q]}`, p1))
	if got := conflicts(t, o, after); got != (turn.Ahead{}) {
		t.Errorf("in the second stream the export waits for %+v", got)
	}
	onlyNow := q.command(t, contract.ActionExport, "exp-2", fmt.Sprintf(`{"project_ids":[%q]}`, p2))
	if got := conflicts(t, o, onlyNow); got.ID != "del" {
		t.Errorf("in the second stream the export of the other project waits for %+v", got)
	}
}

// The new stream may be ahead of what was read of the one before: nothing of it is left out.
func TestStreamMadeAgainIsReadWhole(t *testing.T) {
	q := newQueue("s1")
	o := q.order()
	for i := range 3 {
		conflicts(t, o, q.command(t, contract.ActionExport, fmt.Sprintf("exp-%d", i), `{"all_projects":true}`))
	}
	q.remake("s2")
	q.command(t, contract.ActionDelete, "del", `{"all_projects":true,"categories":["tags"]}`)
	var last contract.Command
	for i := range 5 {
		last = q.command(t, contract.ActionExport, fmt.Sprintf("exp-%d", i), `{"all_projects":true}`)
	}
	if got := conflicts(t, o, last); got.ID != "del" {
		t.Errorf("the last export waits for %+v", got)
	}
}

// A reading that does not list the command that asks comes from a leader that lags behind: it says
// nothing, and the next one is made from where that one ended.
func TestUnlistedCommand(t *testing.T) {
	q := newQueue("s1")
	o := q.order()
	del := q.command(t, contract.ActionDelete, "del", `{"all_projects":true,"categories":["tags"]}`)
	exp := q.command(t, contract.ActionExport, "exp", `{"all_projects":true}`)
	all := q.messages
	for _, lag := range []int{0, 1} {
		q.messages = slices.Clone(all[:lag])
		if ahead, err := o.Conflicts(t.Context(), exp); err == nil {
			t.Errorf("of %d messages the leader lists %d: the export waits for %+v", len(all), lag, ahead)
		}
	}
	q.messages = slices.Clone(all)
	if got := conflicts(t, o, exp); got.ID != "del" {
		t.Errorf("the export waits for %+v", got)
	}
	q.messages = nil
	if ahead, err := o.Conflicts(t.Context(), exp); err == nil {
		t.Errorf("the leader lists nothing any more: the export waits for %+v", ahead)
	}
	q.messages = slices.Clone(all[1:])
	o = q.order()
	conflicts(t, o, exp)
	q.messages = slices.Clone(all)
	if got := conflicts(t, o, del); got != (turn.Ahead{}) { // one that was left out is read after all
		t.Errorf("the delete waits for %+v", got)
	}
}

// A reading that fails says so, and is made again by the next look.
func TestReadingFails(t *testing.T) {
	q := newQueue("s1")
	o := q.order()
	q.command(t, contract.ActionDelete, "del", `{"all_projects":true,"categories":["tags"]}`)
	exp := q.command(t, contract.ActionExport, "exp", `{"all_projects":true}`)
	q.err = errors.New("no leader")
	if _, err := o.Conflicts(t.Context(), exp); !errors.Is(err, q.err) {
		t.Errorf("a reading that fails: %v", err)
	}
	q.err = nil
	if got := conflicts(t, o, exp); got.ID != "del" {
		t.Errorf("the export waits for %+v", got)
	}
}

// The memory does not grow without end: what has left the queue is forgotten, now and then.
func TestMemoryIsBounded(t *testing.T) {
	q := newQueue("s1")
	o := q.order()
	q.command(t, contract.ActionExport, "exp", `{"all_projects":true}`)
	rereads := 0
	for i := range 3000 {
		c := q.command(t, contract.ActionExport, fmt.Sprintf("exp-%d", i), `{"all_projects":true}`)
		q.read = nil
		conflicts(t, o, c)
		if slices.Contains(q.read, 1) && c.Seq > 2 {
			rereads++
		}
		q.settle(c.Seq)
	}
	if rereads != 2 {
		t.Errorf("of 3000 commands that came and went, the queue was read again %d times, not twice", rereads)
	}
}
