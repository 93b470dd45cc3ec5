package natsq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// JetStream's words, as they are sent to a delivery's reply subject.
const (
	wordAck        = "+ACK"
	wordNak        = "-NAK"
	wordTerm       = "+TERM"
	wordInProgress = "+WPI"
)

// handleOne runs the handler on one delivery under heartbeats and settles the message as it says.
func (s *serveLoop) handleDelivery(work context.Context, d receivedMessage) {
	ctx, cancel := context.WithCancelCause(work)
	defer cancel(nil)
	reconnects := s.q.nc.Stats().Reconnects
	release, stalled := s.startHeartbeats(ctx, cancel, d.msg.Reply)
	d.lease = delivery.Lease{
		Outage:  func() bool { return s.awaitOutage(work, ctx, reconnects) && !stalled() },
		Stalled: stalled,
	}
	disposition, located := s.resolveStream(ctx, &d)
	if located {
		disposition = s.callHandler(ctx, d)
	}
	// The last heartbeat is through before the verdict: an InProgress that overtook a delayed Nak
	// would replace its delay by the ack wait.
	release()
	if errors.Is(context.Cause(ctx), delivery.ErrLeaseLost) && disposition.Verb == delivery.Nak {
		// The server gave the message to somebody else by now, and would take our Nak for theirs.
		// An Ack or Term says that the command has its end, whoever holds it.
		disposition = delivery.Disposition{Verb: delivery.Abandon, Reason: "lease lost"}
	}
	s.settle(work, d, disposition)
}

// find finds out which stream a delivery is of, where the handler needs to know. A delivery that is
// of none that is there is not for the handler: it is left alone, or handed back where the leader
// may merely be behind.
func (s *serveLoop) resolveStream(ctx context.Context, d *receivedMessage) (instead delivery.Disposition, located bool) {
	if s.identifyStream == nil {
		return delivery.Disposition{}, true
	}
	err := s.identifyStream(ctx, d)
	switch {
	case err == nil:
		return delivery.Disposition{}, true
	case errors.Is(err, errEarlierStream):
		return delivery.Disposition{Verb: delivery.Abandon, Reason: err.Error()}, false
	default:
		return delivery.Disposition{Verb: delivery.Nak, Delay: unresolvedDelay, Reason: err.Error()}, false
	}
}

// call runs the handler. One that panics hands its message back.
func (s *serveLoop) callHandler(ctx context.Context, d receivedMessage) (disposition delivery.Disposition) {
	defer func() {
		if p := recover(); p != nil {
			s.q.log.Error().Str("subject", d.msg.Subject).Uint64("seq", d.seq).Any("panic", p).Bytes("stack", debug.Stack()).Msg("handler panicked")
			disposition = delivery.Disposition{Verb: delivery.Nak, Delay: panicDelay, Reason: "panic"}
		}
	}()
	return s.handle(ctx, d)
}

// settle says to the server what becomes of a message. Ack and Term are repeated until the server
// confirms them, for an ack wait: after that the message comes again anyway, and whoever gets it
// finds its end stored. A Nak is said once: said again, it could hand back somebody else's
// delivery.
func (s *serveLoop) settle(work context.Context, d receivedMessage, disposition delivery.Disposition) {
	q := s.q
	budget := q.o.AckWait
	if work.Err() != nil {
		budget = min(budget, maxSettleWhenStopped)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(work), budget)
	defer cancel()
	var err error
	if final := disposition.Verb == delivery.Ack || disposition.Verb == delivery.Term; final && s.checkStream != nil {
		err = s.checkStream(ctx, d)
	}
	switch {
	case err != nil:
	case disposition.Verb == delivery.Abandon:
	case disposition.Verb == delivery.Ack:
		err = s.sendUntilConfirmed(ctx, d.msg.Reply, wordAck)
	case disposition.Verb == delivery.Term:
		word := wordTerm
		if reason := singleLine(disposition.Reason); reason != "" {
			word += " " + reason
		}
		err = s.sendUntilConfirmed(ctx, d.msg.Reply, word)
	default:
		s.waitUnsubscribed(ctx)
		_, err = q.requestOnce(ctx, 0, &nats.Msg{Subject: d.msg.Reply, Data: nakWord(disposition.Delay)})
	}
	level, what := zerolog.DebugLevel, "settled"
	switch {
	case errors.Is(err, errEarlierStream):
		what = "nothing is said of a message whose stream is gone"
	case err != nil:
		level, what = zerolog.WarnLevel, "cannot settle a message: it comes again after the ack wait"
	}
	q.log.WithLevel(level).Err(err).Str("subject", d.msg.Subject).Uint64("seq", d.seq).Uint64("delivered", d.delivered).Stringer("verb", disposition.Verb).
		Dur("delay", disposition.Delay).Str("reason", disposition.Reason).Msg(what)
}

// insist says a word to a delivery's reply subject until it is confirmed. A consumer that was
// deleted is made again, but knows nothing of the delivery and does not answer.
func (s *serveLoop) sendUntilConfirmed(ctx context.Context, reply, word string) error {
	return s.q.retryUntilDone(ctx, s.objectName(), func(try int) error {
		_, err := s.q.requestOnce(ctx, try, &nats.Msg{Subject: reply, Data: []byte(word)})
		return transientUnlessPermanent(err)
	})
}

// nakWord is a Nak as JetStream reads it.
func nakWord(delay time.Duration) []byte {
	if delay <= 0 {
		return []byte(wordNak)
	}
	options, err := json.Marshal(map[string]time.Duration{"delay": delay})
	if err != nil {
		panic(fmt.Sprintf("encode a Nak: %v", err)) // a number
	}
	return append([]byte(wordNak+" "), options...)
}
