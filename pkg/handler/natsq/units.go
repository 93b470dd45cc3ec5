package natsq

import (
	"context"
	"errors"
	"fmt"

	"github.com/cvconsumer/cvconsumer/internal/tracing"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/names"
)

// PublishUnit implements handler.UnitQueue.
func (q *Queue) PublishUnit(ctx context.Context, id string, n int, body []byte) error {
	if err := names.CheckID(id); err != nil {
		return fmt.Errorf("publish unit: %w", err)
	}
	if err := q.api.PutIfAbsent(ctx, jsapi.Write{Stream: q.names.Work, Subject: q.names.UnitSubject(id, n), Header: tracing.Header(ctx), Body: body}); err != nil {
		return fmt.Errorf("publish unit %d of %s: %w", n, id, err)
	}
	return nil
}

// WaitingUnits implements handler.UnitQueue: it is how many units the server did not deliver yet.
func (q *Queue) WaitingUnits(ctx context.Context) (int, error) {
	var info struct {
		Pending int `json:"num_pending"`
	}
	if err := q.api.APIRequest(ctx, q.names.Work, "CONSUMER.INFO."+q.names.Work+"."+workDurable, nil, &info); err != nil {
		return 0, fmt.Errorf("count the waiting units: %w", err)
	}
	return info.Pending, nil
}

// PurgeUnits implements handler.UnitQueue. It removes units that are being worked on as well: their
// workers then have no message to acknowledge.
func (q *Queue) PurgeUnits(ctx context.Context, id string) error {
	if err := names.CheckID(id); err != nil {
		return fmt.Errorf("purge units: %w", err)
	}
	if err := q.removeMessages(ctx, q.names.Work, q.names.UnitSubjects(id)); err != nil {
		return fmt.Errorf("purge the units of %s: %w", id, err)
	}
	return nil
}

// DrainUnits implements handler.UnitQueue. A worker settles a unit of a command that ends only
// after it stopped. So afterwards no worker that is alive works on one.
func (q *Queue) DrainUnits(ctx context.Context, id string) error {
	if err := names.CheckID(id); err != nil {
		return fmt.Errorf("drain units: %w", err)
	}
	bounded, cancel := context.WithTimeoutCause(ctx, q.options.AckWait, errDrainTimeout)
	defer cancel()
	for try := 0; ; try++ {
		s, err := q.api.ReadMessage(bounded, q.names.Work, jsapi.MessageQuery{Seq: 1, Next: q.names.UnitSubjects(id)})
		if err == nil && s == nil {
			return nil
		}
		if err == nil {
			err = jsapi.Backoff(bounded, min(try, maxDrainBackoffTry))
		}
		if errors.Is(err, errDrainTimeout) {
			return q.PurgeUnits(ctx, id)
		}
		if err != nil {
			return fmt.Errorf("drain the units of %s: %w", id, err)
		}
	}
}

// maxDrainBackoffTry bounds the backoff between two looks at a command's units: it is that of this
// try.
const maxDrainBackoffTry = 4

// errDrainTimeout is why DrainUnits stops waiting.
var errDrainTimeout = errors.New("units are left after an ack wait")
