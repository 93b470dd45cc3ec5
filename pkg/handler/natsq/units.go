package natsq

import (
	"context"
	"errors"
	"fmt"
)

// PublishUnit queues a unit of work; one that is queued already is left as it is.
func (q *Queue) PublishUnit(ctx context.Context, id string, n int, body []byte) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("publish unit: %w", err)
	}
	if err := q.putIfAbsent(ctx, write{stream: q.work, subject: q.unitSubject(id, n), body: body}); err != nil {
		return fmt.Errorf("publish unit %d of %s: %w", n, id, err)
	}
	return nil
}

// WaitingUnits is how many units, of all commands, were delivered to nobody yet.
func (q *Queue) WaitingUnits(ctx context.Context) (int, error) {
	var info struct {
		Pending int `json:"num_pending"`
	}
	if err := q.apiRequest(ctx, q.work, "CONSUMER.INFO."+q.work+"."+workDurable, nil, &info); err != nil {
		return 0, fmt.Errorf("count the waiting units: %w", err)
	}
	return info.Pending, nil
}

// PurgeUnits removes a command's queued units, those being worked on included: their workers'
// acknowledgements then find nothing.
func (q *Queue) PurgeUnits(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("purge units: %w", err)
	}
	if err := q.removeMessages(ctx, q.work, q.unitSubjects(id)); err != nil {
		return fmt.Errorf("purge the units of %s: %w", id, err)
	}
	return nil
}

// DrainUnits waits until the queue has no unit of a command, queued or being worked on, but no
// longer than an ack wait: then it removes what is left. Who works on a unit of a command that ends
// settles it only when it has stopped, so that afterwards nobody does who is alive.
func (q *Queue) DrainUnits(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("drain units: %w", err)
	}
	bounded, cancel := context.WithTimeoutCause(ctx, q.o.AckWait, errDrainTimeout)
	defer cancel()
	for try := 0; ; try++ {
		s, err := q.readMessage(bounded, q.work, messageQuery{Seq: 1, Next: q.unitSubjects(id)})
		if err == nil && s == nil {
			return nil
		}
		if err == nil {
			err = backOff(bounded, min(try, maxDrainBackoffTry))
		}
		if errors.Is(err, errDrainTimeout) {
			return q.PurgeUnits(ctx, id)
		}
		if err != nil {
			return fmt.Errorf("drain the units of %s: %w", id, err)
		}
	}
}

// soonestDrainLook bounds the pause between two looks at a command's units, as pause counts.
const maxDrainBackoffTry = 4

// errPatience is why waiting for units ends.
var errDrainTimeout = errors.New("units are left after an ack wait")
