package natsq

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
)

// Pull requests. The server sends a heartbeat on an idle request; a request that misses more than
// maxMissedHeartbeats of them is dropped.
const (
	pullExpires         = 10 * time.Second
	pullHeartbeat       = 2 * time.Second
	maxMissedHeartbeats = 2
	// arrivalsBuffer is room for status messages, in messages, beside the messages asked for.
	arrivalsBuffer = 1024
)

// receivedMessage is one delivery of a message to this process.
type receivedMessage struct {
	msg       *nats.Msg
	seq       uint64
	delivered uint64    // how many times the server delivered the message by now
	time      time.Time // when it was stored
	stream    string    // the identity of its stream, once that is known
	lease     delivery.Lease
}

// serveLoop pulls the messages of one consumer and hands each to a handler in a goroutine of its
// own. Everything else runs in one goroutine, which owns the fields below the line.
//
// The loop asks for exactly as many messages as there are free slots: a message in a buffer would
// age toward its redelivery, and no other replica could take it. An idle loop has one request under
// way; a busy one asks for one message per slot that becomes free. The server keeps at most 512
// requests per consumer, which is why idle slots share one.
type serveLoop struct {
	q               *Queue
	stream, durable string
	slots           int
	ready           func(context.Context) error
	handle          func(context.Context, receivedMessage) delivery.Disposition
	identifyStream  func(context.Context, *receivedMessage) error // sets a delivery's stream; nil where handlers do not need it
	checkStream     func(context.Context, receivedMessage) error  // fails when that stream was deleted; nil as above
	unsubscribed    chan struct{}                                 // closed when, after the end of pulling, no message can reach this process any more
	pullEnded       <-chan struct{}                               // closed when pulling ends

	// ---
	health   *jsapi.Operation
	arrivals chan *nats.Msg
	requests map[*nats.Subscription]*pullRequest
	free     int   // slots for which no message is there or asked for
	failures int   // of requests, in a row
	failure  error // the last one
}

// pullRequest is a pull request under way.
type pullRequest struct {
	left   int // messages that it may still bring
	missed int // heartbeats in a row
}

// objectName names the consumer for health.
func (s *serveLoop) objectName() string { return s.stream + " > " + s.durable }

// runServeLoop runs a loop until pull or work ends, as ServeCommands describes.
func (q *Queue) runServeLoop(pull, work context.Context, s serveLoop) error {
	if s.slots <= 0 {
		return fmt.Errorf("serve %s: %d slots", s.stream, s.slots)
	}
	s.q = q
	s.unsubscribed = make(chan struct{})
	s.free = s.slots
	s.arrivals = make(chan *nats.Msg, arrivalsBuffer+2*s.slots)
	s.requests = map[*nats.Subscription]*pullRequest{}
	s.health = q.api.StartOperation(s.objectName())
	defer s.health.End()

	pull, stopPull := context.WithCancelCause(pull)
	defer stopPull(nil)
	defer context.AfterFunc(work, func() { stopPull(context.Cause(work)) })()
	s.pullEnded = pull.Done()

	status := q.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer q.nc.RemoveStatusListener(status)
	if q.nc.IsClosed() { // before the listener was there
		stopPull(nats.ErrConnectionClosed)
	}

	var helpers, handlers sync.WaitGroup
	defer helpers.Wait()
	s.pullUntilDone(pull, work, stopPull, status, &helpers, &handlers)
	s.unsubscribeAll()
	handlers.Wait()
	if errors.Is(context.Cause(pull), nats.ErrConnectionClosed) {
		return fmt.Errorf("serve %s: %w", s.stream, nats.ErrConnectionClosed)
	}
	return nil
}

// pullUntilDone sends pull requests and starts a handler for each message, until pull ends. It ends
// pull itself when the connection is closed. Handlers and the goroutines beside them may still run
// when it returns.
func (s *serveLoop) pullUntilDone(
	pull, work context.Context, stopPull context.CancelCauseFunc, status <-chan nats.Status, helpers, handlers *sync.WaitGroup,
) {
	heartbeats := time.NewTicker(pullHeartbeat)
	defer heartbeats.Stop()
	finished := make(chan struct{}, s.slots)
	ready := make(chan error, 1) // results of waitReady
	waiting := false             // for one
	for pull.Err() == nil {
		if s.free > 0 && !waiting {
			waiting = true
			failures, failure := s.failures, s.failure
			helpers.Go(func() { ready <- s.waitReady(pull, failures, failure) })
		}
		select {
		case <-pull.Done():
		case err := <-ready:
			waiting = false
			switch {
			case pull.Err() != nil:
			case err != nil: // Ready broke its promise: the backoff keeps the loop from spinning
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
		case <-heartbeats.C:
			s.dropSilentRequests()
		case state, open := <-status:
			if !open || state == nats.CLOSED {
				stopPull(nats.ErrConnectionClosed)
				break
			}
			s.restartRequests()
		}
	}
}

// restartRequests drops all requests after a reconnect: the server forgot the requests of the
// former connection, or sends their messages to a subscription that is gone. Messages that still
// come are taken, or handed back.
func (s *serveLoop) restartRequests() {
	s.failures, s.failure = 0, nil
	for sub := range s.requests {
		s.dropRequest(sub)
	}
}

// waitReady returns when a request may be sent: after the backoff for the failures before it, and
// when the handler is ready. Its error is pull's.
func (s *serveLoop) waitReady(pull context.Context, failures int, failure error) error {
	if failures > 0 {
		s.q.recreateMissing(pull, failure)
		if err := jsapi.Backoff(pull, failures); err != nil {
			return err
		}
	}
	if s.ready == nil {
		return pull.Err()
	}
	return s.ready(pull)
}

// sendPullRequest asks for as many messages as there are free slots. Each request has an inbox of
// its own, because a message does not name the request that it answers.
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
	err = nc.PublishMsg(&nats.Msg{Subject: s.nextSubject(), Reply: inbox, Data: body})
	if err != nil {
		s.dropRequest(sub)
		s.recordFailure(err)
	}
}

// nextSubject is the subject of pull requests.
func (s *serveLoop) nextSubject() string {
	return s.q.api.Subject("CONSUMER.MSG.NEXT." + s.stream + "." + s.durable)
}

// recordFailure records that a request failed or could not be sent. The next one backs off.
func (s *serveLoop) recordFailure(err error) {
	s.failures++
	s.failure = err
	s.health.RecordFailure(err)
}

// recordSuccess records a sign of life from the server.
func (s *serveLoop) recordSuccess() {
	s.failures, s.failure = 0, nil
	s.health.End()
}

// dropRequest gives a request up. Its subscription is drained, so that messages which the server
// sent before it learned of this still arrive.
func (s *serveLoop) dropRequest(sub *nats.Subscription) {
	if r := s.requests[sub]; r != nil {
		s.free += r.left
		delete(s.requests, sub)
	}
	if s.q.nc.Status() != nats.CONNECTED || sub.Drain() != nil {
		_ = sub.Unsubscribe() // fails only when it has ended already
	}
}

// dropSilentRequests counts missed heartbeats and drops the requests that have too many: the server
// forgot them or is away. A consumer with too many requests silently drops one, too.
func (s *serveLoop) dropSilentRequests() {
	for sub, r := range s.requests {
		if r.missed++; r.missed > maxMissedHeartbeats {
			s.dropRequest(sub)
			s.recordFailure(cmp.Or(s.q.api.Denied(s.nextSubject()), jsapi.ErrNoAnswer))
		}
	}
}

// acceptArrival takes what came to an inbox. It reports with ok whether that is a message, for
// which it then has taken a slot.
func (s *serveLoop) acceptArrival(m *nats.Msg) (d receivedMessage, ok bool) {
	r := s.requests[m.Sub]
	// A status is recognized by its subject, not by its header: a message may have that as well.
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
	case s.free > 0: // late, from a request that was dropped
		s.free--
	default:
		s.handBack(m)
		return receivedMessage{}, false
	}
	return receivedMessage{msg: m, seq: meta.Sequence.Stream, delivered: meta.NumDelivered, time: meta.Timestamp.UTC()}, true
}

// handleStatus acts on a status message of a request.
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
			s.recordFailure(&jsapi.APIError{Code: 404, ErrCode: jsapi.CodeConsumerNotFound, Description: "consumer deleted"})
			return
		}
		s.recordFailure(errors.New(strings.ToLower(text))) // leadership change, server shutdown
	default:
		s.dropRequest(m.Sub)
		s.recordFailure(fmt.Errorf("pull request refused: %s %s", m.Header.Get("Status"), text))
	}
}

// handBack returns a message that no handler here gets. It does not wait for an answer: a lost Nak
// costs one ack wait.
func (s *serveLoop) handBack(m *nats.Msg) {
	if err := s.q.nc.Publish(m.Reply, []byte(wordNak)); err != nil {
		s.q.log.Warn().Err(err).Str("subject", m.Subject).Msg("cannot hand a message back")
	}
}

// unsubscribeAll drops all requests and hands back the messages that still came. Only then may
// handlers hand back theirs: a message handed back earlier would be delivered straight to a request
// of this process, and be lost with it for an ack wait. On a cluster a message may be between
// servers when its request is dropped; another replica gets it after an ack wait.
func (s *serveLoop) unsubscribeAll() {
	defer close(s.unsubscribed)
	for sub := range s.requests {
		s.dropRequest(sub)
	}
	if s.q.nc.Status() != nats.CONNECTED {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), jsapi.MinTryTimeout)
	defer cancel()
	_ = s.q.nc.FlushWithContext(ctx) // afterwards all that was sent has arrived; when it fails no more is sent
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

// waitUnsubscribed waits, when pulling has ended, until no message can reach this process any more.
func (s *serveLoop) waitUnsubscribed(ctx context.Context) {
	select {
	case <-s.pullEnded:
	default:
		return
	}
	select {
	case <-s.unsubscribed:
	case <-ctx.Done():
	}
}
