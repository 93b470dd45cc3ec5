package natsq

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"sync"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// Loop says how command messages are worked on.
type Loop struct {
	Slots  int                             // exports at once, and deletes at once
	Ready  func(ctx context.Context) error // blocks while nothing may be taken; returns ctx's error when that ends first. Nil is always ready
	Handle func(ctx context.Context, d delivery.Delivery) delivery.Disposition
}

// UnitLoop says how units are worked on.
type UnitLoop struct {
	Slots  int
	Ready  func(ctx context.Context) error
	Handle func(ctx context.Context, d delivery.UnitDelivery) delivery.Disposition
}

// cancelSlots is how many cancels are worked on at once.
const cancelSlots = 4

// ServeCommands takes commands from the queue, at most l.Slots of each action at once, until pull
// ends; then it takes no more, hands back at once what was on its way, waits for the running
// handlers and returns nil. Handlers run under work with the lease that the package comment tells
// of; cancelling work ends pulling too.
//
// Cancels have a few slots, and are taken whether l.Ready or not: they need nothing but JetStream.
func (q *Queue) ServeCommands(pull, work context.Context, l Loop) error {
	handle := func(ctx context.Context, d receivedMessage) delivery.Disposition {
		return l.Handle(ctx, delivery.Delivery{
			Message:   contract.Message{Subject: d.msg.Subject, Header: d.msg.Header, Body: d.msg.Data, Seq: d.seq, Stream: d.stream, Time: d.time},
			Delivered: d.delivered, Lease: d.lease,
		})
	}
	pull, stop := context.WithCancel(pull) // the one that fails takes the others with it
	defer stop()
	loops := []serveLoop{
		{durable: exportsDurable, slots: l.Slots, ready: l.Ready},
		{durable: deletesDurable, slots: l.Slots, ready: l.Ready},
		{durable: cancelsDurable, slots: cancelSlots},
	}
	errs := make([]error, len(loops))
	var all sync.WaitGroup
	for i, loop := range loops {
		loop.stream, loop.handle, loop.identifyStream, loop.checkStream = q.commands, handle, q.identifyStream, q.checkStream
		all.Go(func() {
			defer stop()
			errs[i] = q.runServeLoop(pull, work, loop)
		})
	}
	all.Wait()
	return cmp.Or(errs...)
}

// ServeUnits is ServeCommands for units of work. What is no unit (its subject tells) is terminated
// with a warning.
func (q *Queue) ServeUnits(pull, work context.Context, l UnitLoop) error {
	return q.runServeLoop(pull, work, serveLoop{
		stream: q.work, durable: workDurable, slots: l.Slots, ready: l.Ready,
		handle: func(ctx context.Context, d receivedMessage) delivery.Disposition {
			id, number, _ := strings.Cut(strings.TrimPrefix(d.msg.Subject, q.prefix+".work."), ".")
			n, err := strconv.Atoi(number)
			if err != nil || checkID(id) != nil || q.unitSubject(id, n) != d.msg.Subject {
				q.log.Warn().Str("subject", d.msg.Subject).Uint64("seq", d.seq).Msg("not a unit of work")
				return delivery.Disposition{Verb: delivery.Term, Reason: "not a unit of work"}
			}
			return l.Handle(ctx, delivery.UnitDelivery{Command: id, N: n, Body: d.msg.Data, Delivered: d.delivered, Lease: d.lease})
		},
	})
}
