package natsq

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// heartbeatsPerAckWait is how many heartbeats are sent in one ack wait.
const heartbeatsPerAckWait = 3

// startHeartbeats keeps the server from delivering a message again until release is called. When no
// heartbeat was confirmed for a whole ack wait, it ends ctx with ErrLeaseLost. A heartbeat is a
// request: the server answers every one, so that silence means something. (It also answers when
// another replica has the message by now: this is no lock.) stalled reports whether this process
// stood still meanwhile, so long that it lost the lease for that alone.
func (s *serveLoop) startHeartbeats(ctx context.Context, cancel context.CancelCauseFunc, reply string) (release func(), stalled func() bool) {
	q := s.q
	lease := time.AfterFunc(q.options.AckWait, func() { cancel(delivery.ErrLeaseLost) })
	beating, stop := context.WithCancel(context.WithoutCancel(ctx)) // not cancelled with ctx: heartbeats go on while a handler winds up after ctx ended
	ended := make(chan struct{})
	interval := q.options.AckWait / heartbeatsPerAckWait
	var stoodStill atomic.Bool
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
			if now.Sub(last) > q.options.AckWait { // at most two intervals, unless this process stood still
				stoodStill.Store(true)
			}
			last = now
			if errors.Is(context.Cause(ctx), delivery.ErrLeaseLost) {
				return
			}
			sent := q.now()
			once, done := context.WithTimeout(beating, interval)
			_, err := q.api.Send(once, &nats.Msg{Subject: reply, Data: []byte(wordInProgress)})
			done()
			if err == nil && lease.Stop() {
				lease.Reset(max(0, q.options.AckWait-q.now().Sub(sent)))
			}
		}
	}()
	return func() {
		stop()
		<-ended
		lease.Stop()
	}, stoodStill.Load
}

// awaitOutage waits for a connection and reports whether NATS failed during a delivery: the client
// has reconnected more often than when the delivery came, or no heartbeat was confirmed until lease
// ended, as when servers answer but have no leader. It reports false when work ends first.
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
