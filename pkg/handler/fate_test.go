package handler_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// errDead is all that a dead replica hears.
var errDead = errors.New("this replica is dead")

// fate sees every effect a replica has on the world outside: each S3 write, each Training API call
// and download, each write to JetStream and each settling of a message. It writes them down, and
// kills the replica just before or just after the one it was told. A dead replica has no further
// effect, not even a Nak: its requests fail unsent, its connection to NATS is cut.
type fate struct {
	at      string // the effect to die at, as effects names it; empty: never
	after   bool   // die when it has happened, so that its answer is lost
	freezes bool   // do not die there, but stand still until thawed, as a process that was stopped does
	// hook, when set, is called before and after each effect, by the goroutine that has it.
	hook func(effect string, after bool)

	mu      sync.Mutex
	counts  map[string]int
	effects []string // "<what>#<n>", in the order they began
	dead    bool
	died    chan struct{} // closed when it happens
	frozen  bool
	thawed  chan struct{}
	last    func() // cuts the process off
	dying   sync.WaitGroup
}

func newFate(at string, after bool) *fate {
	return &fate{at: at, after: after, counts: map[string]int{}, died: make(chan struct{}), thawed: make(chan struct{})}
}

// onDeath sets what happens at death.
func (f *fate) onDeath(last func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = last
}

func (f *fate) isDead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stand()
	return f.dead
}

// wait waits until death, if it came, is complete.
func (f *fate) wait() { f.dying.Wait() }

// stand waits while the replica is frozen; the caller holds the lock, which is free meanwhile.
func (f *fate) stand() {
	if !f.frozen {
		return
	}
	f.mu.Unlock()
	<-f.thawed
	f.mu.Lock()
}

// thaw lets a frozen replica go on.
func (f *fate) thaw() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = false
	close(f.thawed)
}

// die kills, or freezes and returns when that is over; the caller holds the lock.
func (f *fate) die() error {
	if f.freezes {
		f.at, f.frozen = "", true
		close(f.died)
		f.stand()
		return nil
	}
	f.dead = true
	f.dying.Go(f.last) // it may wait for the caller, and wait is called once died is closed
	close(f.died)
	return errDead
}

// begin is called before an effect. Its error keeps it from happening.
func (f *fate) begin(what string) error {
	f.mu.Lock()
	f.stand()
	if f.dead {
		f.mu.Unlock()
		return errDead
	}
	f.counts[what]++
	name := fmt.Sprintf("%s#%d", what, f.counts[what])
	f.effects = append(f.effects, name)
	if name == f.at && !f.after {
		defer f.mu.Unlock()
		return f.die()
	}
	f.mu.Unlock()
	if f.hook != nil {
		f.hook(name, false)
	}
	return nil
}

// end is called after an effect. Its error is what the replica hears instead of the answer.
func (f *fate) end(what string) error {
	f.mu.Lock()
	f.stand()
	if f.dead {
		f.mu.Unlock()
		return errDead
	}
	name := fmt.Sprintf("%s#%d", what, f.counts[what])
	if f.after && name == f.at {
		defer f.mu.Unlock()
		return f.die()
	}
	f.mu.Unlock()
	if f.hook != nil {
		f.hook(name, true)
	}
	return nil
}

// do is begin, the effect, and end.
func (f *fate) do(what string, effect func() error) error {
	if err := f.begin(what); err != nil {
		return err
	}
	err := effect()
	if end := f.end(what); end != nil {
		return end
	}
	return err
}

// begunName is the name of a delete's beginning, whose digest depends on when it was made.
var begunName = regexp.MustCompile(`delete-begun-[0-9a-f]{64}`)

// request watches S3 requests, as sinktest.Faults calls it. What only reads is no effect.
func (f *fate) request(op, key string, before bool) error {
	key = begunName.ReplaceAllString(key, "delete-begun-<digest>")
	switch {
	case strings.HasPrefix(op, "Get"), strings.HasPrefix(op, "Head"), strings.HasPrefix(op, "List"):
		if f.isDead() {
			return errDead
		}
		return nil
	case before:
		return f.begin(op + " " + key)
	default:
		return f.end(op + " " + key)
	}
}

// settle keeps a dead replica's verdict from being said, and said aloud in its log.
func (f *fate) settle(d delivery.Disposition) delivery.Disposition {
	if f.isDead() {
		return delivery.Disposition{Verb: delivery.Abandon, Reason: "dead"}
	}
	return d
}

// fateTransport is a transport to the Training API and its blobs whose requests are effects.
type fateTransport struct {
	next http.RoundTripper
	fate *fate
}

// RoundTrip implements http.RoundTripper.
func (m fateTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	q := req.URL.Query()
	for _, secret := range []string{"sig", "se", "sp", "sv", "sr", "st", "spr"} {
		q.Del(secret)
	}
	_, path, api := strings.Cut(req.URL.Path, "/training/")
	what := "blob " + req.URL.Path
	if api {
		what = strings.TrimSuffix(fmt.Sprintf("%s %s?%s", req.Method, path, q.Encode()), "?")
	}
	if err := m.fate.begin(what); err != nil {
		return nil, err
	}
	resp, err := m.next.RoundTrip(req)
	if end := m.fate.end(what); end != nil {
		if err == nil {
			_ = resp.Body.Close()
		}
		return nil, end
	}
	return resp, err
}

// CloseIdleConnections closes what the transport below keeps.
func (m fateTransport) CloseIdleConnections() {
	if t, ok := m.next.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// fateQueue is a queue whose writes are effects. Its reads end with the connection.
type fateQueue struct {
	Queue
	fate *fate
}

func (q fateQueue) PutJob(ctx context.Context, j contract.Job, rev uint64) (seq uint64, err error) {
	err = q.fate.do(strings.TrimSpace(fmt.Sprintf("PutJob %s %s", j.State, j.Phase)), func() error {
		seq, err = q.Queue.PutJob(ctx, j, rev)
		return err
	})
	return seq, err
}

func (q fateQueue) AppendLedger(ctx context.Context, id string, lines []byte, after uint64) (seq uint64, err error) {
	err = q.fate.do("AppendLedger", func() error {
		seq, err = q.Queue.AppendLedger(ctx, id, lines, after)
		return err
	})
	return seq, err
}

func (q fateQueue) PublishUnit(ctx context.Context, id string, n int, body []byte) error {
	return q.fate.do(fmt.Sprintf("PublishUnit %d", n), func() error { return q.Queue.PublishUnit(ctx, id, n, body) })
}

func (q fateQueue) PurgeUnits(ctx context.Context, id string) error {
	return q.fate.do("PurgeUnits", func() error { return q.Queue.PurgeUnits(ctx, id) })
}

func (q fateQueue) RemoveCommand(ctx context.Context, m contract.Message) error {
	return q.fate.do(fmt.Sprintf("RemoveCommand %d", m.Seq), func() error { return q.Queue.RemoveCommand(ctx, m) })
}

func (q fateQueue) NotifyResult(ctx context.Context, id string, n int) error {
	return q.fate.do(fmt.Sprintf("NotifyResult %d", n), func() error { return q.Queue.NotifyResult(ctx, id, n) })
}

func (q fateQueue) PublishEvent(ctx context.Context, e contract.Event) error {
	return q.fate.do(fmt.Sprintf("PublishEvent %s", e.Data.Status), func() error { return q.Queue.PublishEvent(ctx, e) })
}

func (q fateQueue) PublishDead(ctx context.Context, d contract.DeadLetter) error {
	return q.fate.do("PublishDead", func() error { return q.Queue.PublishDead(ctx, d) })
}

// fateDialer connects to NATS so that a dead replica neither sends nor receives.
type fateDialer struct {
	server nats.InProcessConnProvider
	fate   *fate
}

// InProcessConn implements nats.InProcessConnProvider.
func (d fateDialer) InProcessConn() (net.Conn, error) {
	if d.fate.isDead() {
		return nil, errDead
	}
	conn, err := d.server.InProcessConn()
	if err != nil {
		return nil, err
	}
	return fateConn{conn, d.fate}, nil
}

type fateConn struct {
	net.Conn
	fate *fate
}

// verdicts finds the settling of messages in what a client sends: stream, sequence in it, and
// JetStream's word. Heartbeats are none.
var verdicts = regexp.MustCompile(`PUB \$JS\.ACK\.(\w+)\.\w+\.\d+\.(\d+)\.[^\r]*\r\n(\+ACK|-NAK|\+TERM)`)

// Write sees messages being settled: the client writes whole protocol lines.
func (c fateConn) Write(p []byte) (int, error) {
	if c.fate.isDead() {
		return 0, errDead
	}
	var settled []string
	for _, m := range verdicts.FindAllSubmatch(p, -1) {
		settled = append(settled, fmt.Sprintf("settle %s %s %s", m[1], m[2], m[3]))
	}
	for _, what := range settled {
		if err := c.fate.begin(what); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Write(p)
	for _, what := range settled {
		if end := c.fate.end(what); end != nil {
			return 0, end
		}
	}
	return n, err
}

// Read hears nothing after death.
func (c fateConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.fate.isDead() {
		return 0, errDead
	}
	return n, err
}
