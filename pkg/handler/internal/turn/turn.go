package turn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// kind is what a command does to its projects, as far as others must wait for it.
type kind int

const (
	kindNone kind = iota // to no project: a cancel
	reads                // an export, or a plan
	deletes              // neither projects nor iterations
	deletesWhole

	anyKind // of an index key: whatever they do
)

// excludes reports whether two commands of these kinds must not overlap on a common project: an
// export and a delete, and a delete of projects or iterations and anything. Other deletes may
// overlap.
func (k kind) excludes(o kind) bool {
	switch k {
	case reads:
		return o == deletes || o == deletesWhole
	case deletes:
		return o == reads || o == deletesWhole
	case deletesWhole:
		return o != kindNone
	default:
		return false
	}
}

// claim is what a command that waits its turn, or is at work, has to do with which projects.
type claim struct {
	seq      uint64
	key      string // of the command: cancels have a name space of their own
	account  string // by its name: see account.Names
	kind     kind
	all      bool // every project of the account
	projects []uuid.UUID
}

// claimOf is a command's claim; a dry run only reads, and a cancel claims nothing but its key.
func (p *Order) claimOf(c contract.Command) claim {
	d := c.Data
	k := claim{seq: c.Seq, key: c.Key(), account: p.account(d.Resource), all: d.AllProjects, projects: d.ProjectIDs}
	switch {
	case c.Action == contract.ActionCancel:
	case c.Action == contract.ActionExport || d.DryRun:
		k.kind = reads
	case d.Has(contract.CategoryProjects) || d.Has(contract.CategoryIterations):
		k.kind = deletesWhole
	default:
		k.kind = deletes
	}
	return k
}

// claimIn is the claim of a queued message. One that is no command, and will be refused, claims the
// id that it gives; one that gives none claims nothing, and ok is false.
func (p *Order) claimIn(m contract.Message) (k claim, ok bool) {
	c, err := contract.DecodeCommand(p.commands.Prefix(), m)
	if err == nil {
		return p.claimOf(c), true
	}
	var refusal *contract.Refusal
	if errors.As(err, &refusal) && refusal.Given != "" {
		return claim{seq: m.Seq, key: contract.Key(refusal.Action, refusal.Given)}, true
	}
	return claim{}, false
}

// indexKey is a list of claims, by what they are looked up by: a command's key; a kind and a
// project, whose id no other account has; or a kind and an account.
type indexKey struct {
	command string
	account string // empty with a project: accounts may have more than one name
	kind    kind
	project uuid.UUID
}

// Projects of index keys that are no project's: of the claims to every project, of an account or,
// without one, of any; and of all claims of an account, whatever their projects.
var (
	everyProject = uuid.Nil
	anyProject   = uuid.Max
)

// keys are where a claim is indexed.
func (k claim) keys() []indexKey {
	on := []indexKey{{command: k.key}}
	if k.kind == kindNone {
		return on
	}
	for _, kind := range []kind{k.kind, anyKind} {
		on = append(on, indexKey{account: k.account, kind: kind, project: anyProject})
		if k.all {
			on = append(on, indexKey{account: k.account, kind: kind, project: everyProject}, indexKey{kind: kind, project: everyProject})
			continue
		}
		for _, p := range k.projects {
			on = append(on, indexKey{kind: kind, project: p})
		}
	}
	return on
}

// sameKey are the keys of the claims that a later command with this one's key must wait for.
func (k claim) sameKey() []indexKey { return []indexKey{{command: k.key}} }

// excluded are the kinds of claims that must not overlap with this one.
func (k claim) excluded() []kind {
	return slices.DeleteFunc([]kind{reads, deletes, deletesWhole}, func(other kind) bool { return !k.kind.excludes(other) })
}

// conflicts are the keys of the claims that must not overlap with this one, as far as names tell.
func (k claim) conflicts() []indexKey {
	var on []indexKey
	for _, other := range k.excluded() {
		on = append(on, k.common(other)...)
	}
	return on
}

// common are the keys of the claims of a kind that have a project in common with this one, as far
// as names tell.
func (k claim) common(other kind) []indexKey {
	if k.all {
		return []indexKey{{account: k.account, kind: other, project: anyProject}}
	}
	on := []indexKey{{account: k.account, kind: other, project: everyProject}}
	for _, p := range k.projects {
		on = append(on, indexKey{kind: other, project: p})
	}
	return on
}

// minClaimLimit is how many claims are remembered at least before it is looked which of them are
// in the queue no more.
const minClaimLimit = 1024

// Commands has the commands that have not been settled yet.
type Commands interface {
	// Prefix is the first token of every subject.
	Prefix() string
	// CommandsBetween yields the messages with from ≤ sequence < to, in order, without the identity
	// of their stream.
	CommandsBetween(ctx context.Context, from, to uint64) iter.Seq2[contract.Message, error]
}

// Jobs has the jobs of those commands.
type Jobs interface {
	Job(ctx context.Context, key string) (contract.Job, uint64, error)
}

// New makes a memory of the queue. account is the name of the account that a resource's alias
// means, or else the alias.
func New(commands Commands, jobs Jobs, account func(alias string) string) *Order {
	return &Order{commands: commands, jobs: jobs, account: account}
}

// Order remembers the claims of the commands in the queue, so that each is read from it once. It
// may remember some that left the queue: a command that is in the way of another is looked up
// again.
type Order struct {
	commands Commands
	jobs     Jobs
	account  func(alias string) string

	mu     sync.Mutex
	stream string   // that all this is about: what is remembered of another one counts for nothing
	next   uint64   // the first sequence not read yet
	claims []*claim // by sequence
	index  map[indexKey][]*claim
	limit  int // of claims, before all are read again
}

func (p *Order) forgetAll(stream string) {
	p.stream, p.next, p.claims, p.index, p.limit = stream, 0, nil, map[indexKey][]*claim{}, 0
}

// find is where in a list the first claim is that has this sequence or a later one.
func find(list []*claim, seq uint64) (int, bool) {
	return slices.BinarySearchFunc(list, seq, func(k *claim, seq uint64) int { return cmp.Compare(k.seq, seq) })
}

func (p *Order) knows(c contract.Command) bool {
	i, ok := find(p.claims, c.Seq)
	return p.stream == c.Stream && ok && p.claims[i].key == c.Key()
}

// load reads what the queue holds before a sequence, and a command at least. That the command
// itself is among it shows that the server that answered knows of all the ones before.
func (p *Order) load(ctx context.Context, c contract.Command, before uint64) error {
	known := p.knows(c)
	if known && before == c.Seq+1 {
		return nil
	}
	// A stream that was made again has numbers of its own.
	if !known && (p.stream != c.Stream || p.next > c.Seq || len(p.claims) >= p.limit) {
		p.forgetAll(c.Stream)
	}
	for m, err := range p.commands.CommandsBetween(ctx, p.next, before) {
		if err != nil {
			return fmt.Errorf("read the queue: %w", err)
		}
		p.next = m.Seq + 1
		if k, ok := p.claimIn(m); ok {
			p.claims = append(p.claims, &k)
			for _, s := range k.keys() {
				p.index[s] = append(p.index[s], &k)
			}
		}
	}
	if p.limit == 0 {
		p.limit = 2*len(p.claims) + minClaimLimit
	}
	if !p.knows(c) {
		return errUnlisted
	}
	return nil
}

// errUnlisted says that the queue does not list a command that was delivered from it: it was
// settled meanwhile, or the leader that answered has not caught up.
var errUnlisted = errors.New("the command stream does not list this command")

// forget forgets the claims with from ≤ sequence < to of a stream.
func (p *Order) forget(stream string, from, to uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stream != stream {
		return
	}
	i, _ := find(p.claims, from)
	j, _ := find(p.claims, to)
	for _, k := range p.claims[i:j] {
		for _, s := range k.keys() {
			if at, ok := find(p.index[s], k.seq); ok {
				p.index[s] = slices.Delete(p.index[s], at, at+1)
			}
			if len(p.index[s]) == 0 {
				delete(p.index, s)
			}
		}
	}
	p.claims = slices.Delete(p.claims, i, j)
}

// line is what stands before a command.
type line struct {
	blocker *claim // the last that is in its way; nil when there is none
	front   uint64 // the first with a project in common, as far as is remembered; 0 when there is none
	ahead   int    // how many there are with a project in common, in its way or waiting like it; about
}

// before is what is remembered of the line before a command whose way is barred by claims on the
// index keys where it looks.
func (p *Order) before(ctx context.Context, c contract.Command, look func(mine claim) []indexKey) (line, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.load(ctx, c, c.Seq+1); err != nil {
		return line{}, err
	}
	var l line
	mine := p.claimOf(c)
	for _, s := range look(mine) {
		list := p.index[s]
		if i, _ := find(list, c.Seq); i > 0 && (l.blocker == nil || list[i-1].seq > l.blocker.seq) {
			l.blocker = list[i-1]
		}
	}
	for _, s := range mine.common(anyKind) {
		list := p.index[s]
		i, _ := find(list, c.Seq)
		if i > 0 && (l.front == 0 || list[0].seq < l.front) {
			l.front = list[0].seq
		}
		l.ahead = max(l.ahead, i)
	}
	return l, nil
}

// gone reports whether a claim's command has left the queue, and forgets it then, and all that left
// it after that one.
func (p *Order) gone(ctx context.Context, seq uint64, c contract.Command) (bool, error) {
	left := uint64(0) // the first that is left from there on: c at the latest, if the leader knows of it
	for m, err := range p.commands.CommandsBetween(ctx, seq, c.Seq+1) {
		if err != nil {
			return false, fmt.Errorf("look for the command before: %w", err)
		}
		left = m.Seq
		break
	}
	if left == 0 {
		return false, errUnlisted
	}
	p.forget(c.Stream, seq, left)
	return left != seq, nil
}

// blocker looks for the last command before c that is still in the queue and that stands in its
// way. It is the last one because that changes least: of many that wait for one after the other,
// each waits for the one before it from the beginning to the end.
func (p *Order) blocker(ctx context.Context, c contract.Command, look func(mine claim) []indexKey) (line, error) {
	for {
		l, err := p.before(ctx, c, look)
		if l.blocker == nil || err != nil {
			return line{}, err
		}
		gone, err := p.gone(ctx, l.blocker.seq, c)
		if !gone && err == nil {
			gone = p.over(ctx, c.Stream, *l.blocker)
		}
		if !gone && err == nil && l.front != 0 && l.front < l.blocker.seq {
			gone, err = p.gone(ctx, l.front, c) // so that ahead is not too many
		}
		if !gone || err != nil {
			return l, err
		}
	}
}

// Ahead is what stands before a command.
type Ahead struct {
	ID    string // the key of the last command in its way; empty when there is none
	Count int    // how many have a project in common with it, in its way or waiting like it; about
}

// SameID looks for an earlier command with the same id.
func (p *Order) SameID(ctx context.Context, c contract.Command) (Ahead, error) {
	return p.ahead(ctx, c, claim.sameKey)
}

// Queued reports whether a command with this key, which is no cancel, was published before c and is
// in the queue still.
func (p *Order) Queued(ctx context.Context, c contract.Command, key string) (bool, error) {
	l, err := p.blocker(ctx, c, func(claim) []indexKey { return []indexKey{{command: key}} })
	return l.blocker != nil && l.blocker.kind != kindNone, err
}

// Conflicts looks for the earlier commands that must not overlap with c.
func (p *Order) Conflicts(ctx context.Context, c contract.Command) (Ahead, error) {
	return p.ahead(ctx, c, claim.conflicts)
}

func (p *Order) ahead(ctx context.Context, c contract.Command, look func(mine claim) []indexKey) (Ahead, error) {
	l, err := p.blocker(ctx, c, look)
	if l.blocker == nil || err != nil {
		return Ahead{}, err
	}
	return Ahead{ID: l.blocker.key, Count: l.ahead}, nil
}

// over reports whether a claim's command only waits to be settled because its job has ended, and
// forgets it then: it is in no command's way.
func (p *Order) over(ctx context.Context, stream string, k claim) bool {
	job, _, err := p.jobs.Job(ctx, k.key)
	if err != nil || !job.State.Terminal() {
		return false // one that has no job, or none that can be read, may be under way
	}
	p.forget(stream, k.seq, k.seq+1)
	return true
}
