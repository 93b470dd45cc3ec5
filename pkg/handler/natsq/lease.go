package natsq

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

const (
	// beatsPerWait is how many heartbeats are sent in one ack wait.
	heartbeatsPerAckWait = 3
	// lookAgain is how long a message rests whose stream could not be found out.
	unresolvedDelay = time.Second
	// panicDelay is how long a message rests whose handler panicked.
	panicDelay = 30 * time.Second
	// lastWords bounds the settling of a message after work was called off.
	maxSettleWhenStopped = 5 * time.Second
)

// hold keeps a delivery from being repeated until release is called. When no heartbeat was
// confirmed for a whole ack wait, it ends ctx with ErrLeaseLost. A heartbeat is a request: the
// server answers every one, so that silence means something. (It also answers when the message is
// somebody else's by now: this is no lock.) stalled tells whether this process stood still
// meanwhile, so long that the lease was lost for that alone.
func (s *serveLoop) startHeartbeats(ctx context.Context, cancel context.CancelCauseFunc, reply string) (release func(), stalled func() bool) {
	q := s.q
	lease := time.AfterFunc(q.o.AckWait, func() { cancel(delivery.ErrLeaseLost) })
	beating, stop := context.WithCancel(context.WithoutCancel(ctx)) // heartbeats go on while a handler winds up after ctx ended
	ended := make(chan struct{})
	interval := q.o.AckWait / heartbeatsPerAckWait
	var stood atomic.Bool
	go func() {
		defer close(ended)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		last := q.now()
		for {
			select {
			case <-beating.Done():
				return
			case <-ticker.C:
			}
			now := q.now()
			if now.Sub(last) > q.o.AckWait { // two intervals, but for a process that stands still
				stood.Store(true)
			}
			last = now
			if errors.Is(context.Cause(ctx), delivery.ErrLeaseLost) {
				return
			}
			sent := q.now()
			once, done := context.WithTimeout(beating, interval)
			_, err := q.send(once, &nats.Msg{Subject: reply, Data: []byte(wordInProgress)})
			done()
			if err == nil && lease.Stop() {
				lease.Reset(max(0, q.o.AckWait-q.now().Sub(sent)))
			}
		}
	}()
	return func() {
		stop()
		<-ended
		lease.Stop()
	}, stood.Load
}

// outage tells, as soon as there is a connection, whether it was lost since it had been made so
// many times anew, or whether no heartbeat was confirmed until lease ended, as when servers are
// there and have no leader.
func (s *serveLoop) awaitOutage(work, lease context.Context, reconnects uint64) bool {
	nc := s.q.nc
	status := nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer nc.RemoveStatusListener(status)
	for nc.Status() != nats.CONNECTED {
		if nc.IsClosed() {
			return false
		}
		select {
		case <-work.Done():
			return false
		case <-status:
		}
	}
	return nc.Stats().Reconnects != reconnects || errors.Is(context.Cause(lease), delivery.ErrLeaseLost)
}
