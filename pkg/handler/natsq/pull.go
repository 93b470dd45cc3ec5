package natsq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// How a pull request is kept: the server sends a heartbeat on an idle request, and a request that
// is silent for missedBeats of them is given up.
const (
	pullExpires         = 10 * time.Second
	pullHeartbeat       = 2 * time.Second
	maxMissedHeartbeats = 2
	// arrivalsBuffer is room for status messages beside the messages asked for.
	arrivalsBuffer = 1024
)

// received is one received of a message.
type receivedMessage struct {
	msg       *nats.Msg
	seq       uint64
	delivered uint64
	time      time.Time
	stream    string // which stream it is of, once that is known
	lease     delivery.Lease
}

// serving is one running loop. All but the handlers' goroutines runs in one goroutine, which owns
// the fields below the line.
//
// It asks for exactly as many messages as there are free slots: what waits in a buffer ages toward
// its redelivery and is missing elsewhere. An idle loop has one request under way, a busy one asks
// for one message per slot that becomes free. The server keeps at most 512 requests per consumer,
// which is why idle slots share one.
type serveLoop struct {
	q               *Queue
	stream, durable string
	slots           int
	ready           func(context.Context) error
	handle          func(context.Context, receivedMessage) delivery.Disposition
	identifyStream  func(context.Context, *receivedMessage) error // finds out which stream a delivery is of; nil: nobody asks
	checkStream     func(context.Context, receivedMessage) error  // fails when that stream is not there any more
	unsubscribed    chan struct{}                                 // closed when, after the end of pulling, nothing can be delivered to this process any more
	pulling         context.Context

	// ---
	health   *operation
	arrivals chan *nats.Msg
	requests map[*nats.Subscription]*pullRequest
	free     int
	failures int   // in a row
	failure  error // the last one
}

// request is a pull request under way.
type pullRequest struct {
	left   int // messages it may still bring
	missed int // heartbeats
}

func (s *serveLoop) objectName() string { return s.stream + " > " + s.durable }

func (q *Queue) runServeLoop(pull, work context.Context, s serveLoop) error {
	if s.slots <= 0 {
		return fmt.Errorf("serve %s: %d slots", s.stream, s.slots)
	}
	s.q = q
	s.unsubscribed = make(chan struct{})
	s.free = s.slots
	s.arrivals = make(chan *nats.Msg, arrivalsBuffer+2*s.slots)
	s.requests = map[*nats.Subscription]*pullRequest{}
	s.health = q.health.startOperation(s.objectName())
	defer s.health.end()

	pull, stopPull := context.WithCancelCause(pull)
	defer stopPull(nil)
	defer context.AfterFunc(work, func() { stopPull(context.Cause(work)) })()
	s.pulling = pull

	status := q.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer q.nc.RemoveStatusListener(status)
	if q.nc.IsClosed() { // before we listened
		stopPull(nats.ErrConnectionClosed)
	}
	beat := time.NewTicker(pullHeartbeat)
	defer beat.Stop()

	var helpers, handlers sync.WaitGroup
	defer helpers.Wait()
	finished := make(chan struct{}, s.slots)
	gate := make(chan error, 1) // answers of getReady
	waiting := false            // for the gate

	for pull.Err() == nil {
		if s.free > 0 && !waiting {
			waiting = true
			failures, failure := s.failures, s.failure
			helpers.Go(func() { gate <- s.waitReady(pull, failures, failure) })
		}
		select {
		case <-pull.Done():
		case err := <-gate:
			waiting = false
			switch {
			case pull.Err() != nil:
			case err != nil: // against its promise: it must not make us spin
				s.recordFailure(fmt.Errorf("get ready: %w", err))
			default:
				s.sendPullRequest()
			}
		case m := <-s.arrivals:
			if d, ok := s.acceptArrival(m); ok {
				handlers.Go(func() {
					s.handleDelivery(work, d)
					finished <- struct{}{}
				})
			}
		case <-finished:
			s.free++
		case <-beat.C:
			s.dropSilentRequests()
		case state, open := <-status:
			if !open || state == nats.CLOSED {
				stopPull(nats.ErrConnectionClosed)
				break
			}
			// The server forgot the requests of the connection before, or will send what they bring
			// to nobody; late comers are still taken or handed back.
			s.failures, s.failure = 0, nil
			for sub := range s.requests {
				s.dropRequest(sub)
			}
		}
	}
	s.unsubscribeAll()
	handlers.Wait()
	if errors.Is(context.Cause(pull), nats.ErrConnectionClosed) {
		return fmt.Errorf("serve %s: %w", s.stream, nats.ErrConnectionClosed)
	}
	return nil
}

// getReady returns when a request may be sent: after the pause that the failures before it call
// for, and when the handler is ready. Its error is pull's.
func (s *serveLoop) waitReady(pull context.Context, failures int, failure error) error {
	if failures > 0 {
		s.q.recreateMissing(pull, failure)
		if err := backOff(pull, failures); err != nil {
			return err
		}
	}
	if s.ready == nil {
		return pull.Err()
	}
	return s.ready(pull)
}

// request asks for as many messages as there are free slots. Each request has an inbox of its own:
// a message does not tell which request it answers.
func (s *serveLoop) sendPullRequest() {
	if s.free <= 0 {
		return
	}
	nc := s.q.nc
	if nc.Status() != nats.CONNECTED {
		s.recordFailure(nats.ErrDisconnected)
		return
	}
	body, err := json.Marshal(map[string]any{"batch": s.free, "expires": pullExpires, "idle_heartbeat": pullHeartbeat})
	if err != nil {
		s.recordFailure(fmt.Errorf("encode a pull request: %w", err))
		return
	}
	inbox := nc.NewInbox()
	sub, err := nc.ChanSubscribe(inbox, s.arrivals)
	if err != nil {
		s.recordFailure(fmt.Errorf("subscribe for messages: %w", err))
		return
	}
	s.requests[sub] = &pullRequest{left: s.free}
	s.free = 0
	err = nc.PublishMsg(&nats.Msg{Subject: "$JS.API.CONSUMER.MSG.NEXT." + s.stream + "." + s.durable, Reply: inbox, Data: body})
	if err != nil {
		s.dropRequest(sub)
		s.recordFailure(err)
	}
}

// failed notes that a request failed, or could not be sent; the next one comes after a pause.
func (s *serveLoop) recordFailure(err error) {
	s.failures++
	s.failure = err
	s.health.recordFailure(err)
}

// well notes a sign of life.
func (s *serveLoop) recordSuccess() {
	s.failures, s.failure = 0, nil
	s.health.end()
}

// drop gives a request up. Its subscription is taken back in such a way that what the server sent
// before it knew still arrives.
func (s *serveLoop) dropRequest(sub *nats.Subscription) {
	if r := s.requests[sub]; r != nil {
		s.free += r.left
		delete(s.requests, sub)
	}
	if s.q.nc.Status() != nats.CONNECTED || sub.Drain() != nil {
		_ = sub.Unsubscribe() // fails only when it is gone already
	}
}

// countMissed gives up requests that are silent: the server forgot them, or is away. A consumer
// that has too many requests drops one without a word, too.
func (s *serveLoop) dropSilentRequests() {
	for sub, r := range s.requests {
		if r.missed++; r.missed > maxMissedHeartbeats {
			s.dropRequest(sub)
			s.recordFailure(errNoAnswer)
		}
	}
}

// arrived takes what came to an inbox: ok says that it is a message, for which a slot was taken.
func (s *serveLoop) acceptArrival(m *nats.Msg) (d receivedMessage, ok bool) {
	r := s.requests[m.Sub]
	// A status is told by its subject, not by its header, which a message may have as well.
	if m.Subject == m.Sub.Subject {
		if r != nil {
			s.handleStatus(m, r)
		}
		return receivedMessage{}, false
	}
	meta, err := m.Metadata()
	if err != nil {
		s.q.log.Warn().Err(err).Str("subject", m.Subject).Msg("not a message of the stream")
		return receivedMessage{}, false
	}
	switch {
	case r != nil && r.left > 0:
		s.recordSuccess()
		r.missed = 0
		if r.left--; r.left == 0 {
			delete(s.requests, m.Sub)
			_ = m.Sub.Unsubscribe() // fails only when the connection is closed
		}
	case s.free > 0: // late, from a request that was given up
		s.free--
	default:
		s.handBack(m)
		return receivedMessage{}, false
	}
	return receivedMessage{msg: m, seq: meta.Sequence.Stream, delivered: meta.NumDelivered, time: meta.Timestamp.UTC()}, true
}

// status acts on a status message of a request.
func (s *serveLoop) handleStatus(m *nats.Msg, r *pullRequest) {
	text := m.Header.Get("Description")
	switch m.Header.Get("Status") {
	case "100": // heartbeat
		s.recordSuccess()
		r.missed = 0
	case "404", "408": // no message until the request expired
		s.recordSuccess()
		s.dropRequest(m.Sub)
	case "503":
		s.dropRequest(m.Sub)
		s.recordFailure(nats.ErrNoResponders)
	case "409":
		s.dropRequest(m.Sub)
		if strings.EqualFold(text, "Consumer Deleted") {
			s.recordFailure(&apiError{Code: 404, ErrCode: codeConsumerNotFound, Description: "consumer deleted"})
			return
		}
		s.recordFailure(errors.New(strings.ToLower(text))) // leadership change, server shutdown
	default:
		s.dropRequest(m.Sub)
		s.recordFailure(fmt.Errorf("pull request refused: %s %s", m.Header.Get("Status"), text))
	}
}

// handBack returns a message that nobody here works on. It is not waited for: a lost Nak is an ack
// wait's delay.
func (s *serveLoop) handBack(m *nats.Msg) {
	if err := s.q.nc.Publish(m.Reply, []byte(wordNak)); err != nil {
		s.q.log.Warn().Err(err).Str("subject", m.Subject).Msg("cannot hand a message back")
	}
}

// stop takes all requests back and hands back what still came. Only then may handlers hand back
// theirs: a Nak before would come straight back to a request of ours, and die with it. On a cluster
// a message may be between servers when the request is taken back; it is delivered elsewhere after
// an ack wait.
func (s *serveLoop) unsubscribeAll() {
	defer close(s.unsubscribed)
	for sub := range s.requests {
		s.dropRequest(sub)
	}
	if s.q.nc.Status() != nats.CONNECTED {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), minTryTimeout)
	defer cancel()
	_ = s.q.nc.FlushWithContext(ctx) // after it, all that was sent is here; when it fails nothing is sent any more
	for {
		select {
		case m := <-s.arrivals:
			if m.Subject != m.Sub.Subject {
				s.handBack(m)
			}
		default:
			_ = s.q.nc.FlushWithContext(ctx) // the process may end next
			return
		}
	}
}

// waitUnsubscribed waits, when pulling has ended, until nothing can be delivered here any more.
func (s *serveLoop) waitUnsubscribed(ctx context.Context) {
	if s.pulling.Err() == nil {
		return
	}
	select {
	case <-s.unsubscribed:
	case <-ctx.Done():
	}
}
