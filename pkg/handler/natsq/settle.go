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
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/letter"
)

// JetStream's words, as they are sent to a delivery's reply subject.
const (
	wordAck        = "+ACK"
	wordNak        = "-NAK"
	wordTerm       = "+TERM"
	wordInProgress = "+WPI"
)

// Delays and bounds of settling.
const (
	// unresolvedDelay is after how long a message is delivered again whose stream could not be
	// identified.
	unresolvedDelay = time.Second
	// panicDelay is after how long a message is delivered again whose handler panicked.
	panicDelay = 30 * time.Second
	// maxSettleWhenStopped bounds the settling of a message after work ended.
	maxSettleWhenStopped = 5 * time.Second
)

// handleDelivery runs the handler on one delivery under heartbeats and settles the message as the
// handler decides.
func (s *serveLoop) handleDelivery(work context.Context, d receivedMessage) {
	ctx, cancel := context.WithCancelCause(work)
	defer cancel(nil)
	reconnects := s.q.nc.Stats().Reconnects
	release, stalled := s.startHeartbeats(ctx, cancel, d.msg.Reply)
	d.lease = delivery.Lease{
		Outage:  func() bool { return s.awaitOutage(work, ctx, reconnects) && !stalled() },
		Stalled: stalled,
	}
	disposition, resolved := s.resolveStream(ctx, &d)
	if resolved {
		disposition = s.callHandler(ctx, d)
	}
	// The last heartbeat ends before the verdict is sent: an InProgress after a delayed Nak would
	// replace its delay by the ack wait.
	release()
	if errors.Is(context.Cause(ctx), delivery.ErrLeaseLost) && disposition.Verb == delivery.Nak {
		// Another replica has the message by now, and the server would take this Nak for that
		// replica's. An Ack or Term is sent: it means that the command has its end, whichever
		// replica holds the message.
		disposition = delivery.Disposition{Verb: delivery.Abandon, Reason: "lease lost"}
	}
	s.settle(work, d, disposition)
}

// resolveStream sets a delivery's stream, where the handler needs it. If it cannot, the handler
// does not get the delivery, and instead is the disposition: leave alone a delivery from an earlier
// stream; hand back one that the leader may merely not know of yet.
func (s *serveLoop) resolveStream(ctx context.Context, d *receivedMessage) (instead delivery.Disposition, resolved bool) {
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

// callHandler runs the handler. When the handler panics, its message is handed back.
func (s *serveLoop) callHandler(ctx context.Context, d receivedMessage) (disposition delivery.Disposition) {
	defer func() {
		if p := recover(); p != nil {
			s.q.log.Error().Str("subject", d.msg.Subject).Uint64("seq", d.seq).Any("panic", p).Bytes("stack", debug.Stack()).Msg("handler panicked")
			disposition = delivery.Disposition{Verb: delivery.Nak, Delay: panicDelay, Reason: "panic"}
		}
	}()
	return s.handle(ctx, d)
}

// settle tells the server what becomes of a message. Ack and Term are repeated until the server
// confirms them, for at most an ack wait: after that the message is delivered again anyway, and the
// replica that gets it finds the end stored. A Nak is sent once: a second one could hand back
// another replica's delivery.
//
// It does not end with work, so that a message of a process that stops is still settled; its own
// budget bounds it.
func (s *serveLoop) settle(work context.Context, d receivedMessage, disposition delivery.Disposition) {
	q := s.q
	budget := q.options.AckWait
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
		if reason := letter.SingleLine(disposition.Reason); reason != "" {
			word += " " + reason
		}
		err = s.sendUntilConfirmed(ctx, d.msg.Reply, word)
	default:
		s.waitUnsubscribed(ctx)
		_, err = q.api.RequestOnce(ctx, 0, &nats.Msg{Subject: d.msg.Reply, Data: nakWord(disposition.Delay)})
	}
	level, text := zerolog.DebugLevel, "settled"
	switch {
	case errors.Is(err, errEarlierStream):
		text = "message not settled: its stream was deleted"
	case err != nil:
		level, text = zerolog.WarnLevel, "cannot settle a message, it will be delivered again after the ack wait"
	}
	q.log.WithLevel(level).Err(err).Str("subject", d.msg.Subject).Uint64("seq", d.seq).Uint64("delivered", d.delivered).Stringer("verb", disposition.Verb).
		Dur("delay_ms", disposition.Delay).Str("reason", disposition.Reason).Msg(text)
}

// sendUntilConfirmed sends a word to a delivery's reply subject until the server confirms it. A
// consumer that was deleted is created again, but does not know the delivery and does not answer.
func (s *serveLoop) sendUntilConfirmed(ctx context.Context, reply, word string) error {
	return s.q.api.RetryUntilDone(ctx, s.objectName(), func(try int) error {
		_, err := s.q.api.RequestOnce(ctx, try, &nats.Msg{Subject: reply, Data: []byte(word)})
		return jsapi.TransientUnlessPermanent(err)
	})
}

// nakWord is a Nak with a delay, as JetStream reads it.
func nakWord(delay time.Duration) []byte {
	if delay <= 0 {
		return []byte(wordNak)
	}
	options, err := json.Marshal(map[string]time.Duration{"delay": delay})
	if err != nil {
		panic(fmt.Sprintf("encode a Nak: %v", err)) // cannot happen: it is a number
	}
	return append([]byte(wordNak+" "), options...)
}
