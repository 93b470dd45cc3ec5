package natsq

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"sync"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/names"
)

// Loop configures ServeCommands.
type Loop struct {
	// Slots is how many exports are handled at once, and how many deletes.
	Slots int
	// Ready blocks while no message may be taken. When ctx ends first it returns ctx's error. Nil
	// is always ready.
	Ready func(ctx context.Context) error
	// Handle handles one command and decides what becomes of its message.
	Handle func(ctx context.Context, d delivery.Delivery) delivery.Disposition
}

// UnitLoop configures ServeUnits.
type UnitLoop struct {
	Slots  int                             // units at once
	Ready  func(ctx context.Context) error // as in Loop
	Handle func(ctx context.Context, d delivery.UnitDelivery) delivery.Disposition
}

// cancelSlots is how many cancels are handled at once.
const cancelSlots = 4

// ServeCommands takes commands from the queue, at most l.Slots of each action at once, until pull
// ends. Then it takes no more, hands back at once what was on its way, waits for the running
// handlers and returns nil. Handlers run under work and under the lease that the package comment
// describes; the end of work ends pulling too.
//
// Cancels have cancelSlots slots and do not wait for l.Ready: they need nothing but JetStream.
func (q *Queue) ServeCommands(pull, work context.Context, l Loop) error {
	handle := func(ctx context.Context, d receivedMessage) delivery.Disposition {
		return l.Handle(ctx, delivery.Delivery{
			Message:   contract.Message{Subject: d.msg.Subject, Header: d.msg.Header, Body: d.msg.Data, Seq: d.seq, Stream: d.stream, Time: d.time},
			Delivered: d.delivered, Lease: d.lease,
		})
	}
	pull, stop := context.WithCancel(pull) // a loop that fails ends the others
	defer stop()
	loops := []serveLoop{
		{durable: exportsDurable, slots: l.Slots, ready: l.Ready},
		{durable: deletesDurable, slots: l.Slots, ready: l.Ready},
		{durable: cancelsDurable, slots: cancelSlots},
	}
	errs := make([]error, len(loops))
	var all sync.WaitGroup
	for i, loop := range loops {
		loop.stream, loop.handle, loop.identifyStream, loop.checkStream = q.names.Commands, handle, q.identifyStream, q.checkStream
		all.Go(func() {
			defer stop()
			errs[i] = q.runServeLoop(pull, work, loop)
		})
	}
	all.Wait()
	return cmp.Or(errs...)
}

// ServeUnits is ServeCommands for units of work. A message whose subject is not a unit's is
// terminated with a warning.
func (q *Queue) ServeUnits(pull, work context.Context, l UnitLoop) error {
	return q.runServeLoop(pull, work, serveLoop{
		stream: q.names.Work, durable: workDurable, slots: l.Slots, ready: l.Ready,
		handle: func(ctx context.Context, d receivedMessage) delivery.Disposition {
			id, number, _ := strings.Cut(strings.TrimPrefix(d.msg.Subject, q.names.Prefix+".work."), ".")
			n, err := strconv.Atoi(number)
			if err != nil || names.CheckID(id) != nil || q.names.UnitSubject(id, n) != d.msg.Subject {
				q.log.Warn().Str("subject", d.msg.Subject).Uint64("seq", d.seq).Msg("not a unit of work")
				return delivery.Disposition{Verb: delivery.Term, Reason: "not a unit of work"}
			}
			return l.Handle(ctx, delivery.UnitDelivery{Command: id, N: n, Header: d.msg.Header, Body: d.msg.Data, Delivered: d.delivered, Lease: d.lease})
		},
	})
}
