package natsq

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/names"
)

// Held implements handler.HoldStore: a project is under a legal hold when CV_HOLDS has a key that
// is its id, in any letter case, since people put keys there by hand.
func (q *Queue) Held(ctx context.Context, project string) (bool, error) {
	keys, err := q.bucketKeys(ctx, q.names.Holds)
	if err != nil {
		return false, fmt.Errorf("look for a legal hold of %s: %w", project, err)
	}
	for _, k := range keys {
		if !strings.EqualFold(k, project) {
			continue
		}
		s, err := q.api.ReadMessage(ctx, q.names.Holds, jsapi.MessageQuery{Last: q.names.HoldSubject(k)})
		if err != nil {
			return false, fmt.Errorf("read the legal hold of %s: %w", project, err)
		}
		if s != nil && !isDeleted(s) {
			return true, nil
		}
	}
	return false, nil
}

// Hold is a project under a legal hold.
type Hold struct {
	Project string    `json:"project"` // as its key is written
	Since   time.Time `json:"since"`   // when it was last put
	Note    string    `json:"note"`    // for people
}

// Holds lists the projects under a legal hold, sorted.
func (q *Queue) Holds(ctx context.Context) ([]Hold, error) {
	keys, err := q.bucketKeys(ctx, q.names.Holds)
	if err != nil {
		return nil, fmt.Errorf("list legal holds: %w", err)
	}
	held := []Hold{}
	for _, k := range keys {
		s, err := q.api.ReadMessage(ctx, q.names.Holds, jsapi.MessageQuery{Last: q.names.HoldSubject(k)})
		if err != nil {
			return nil, fmt.Errorf("read legal hold %s: %w", k, err)
		}
		if s != nil && !isDeleted(s) {
			held = append(held, Hold{Project: k, Since: s.Time.UTC(), Note: string(s.Data)})
		}
	}
	return held, nil
}

// PutHold puts a project under a legal hold, with a note for people; an earlier note is replaced.
func (q *Queue) PutHold(ctx context.Context, project string, note []byte) error {
	if err := names.CheckID(project); err != nil {
		return fmt.Errorf("put a legal hold: %w", err)
	}
	m := &nats.Msg{Subject: q.names.HoldSubject(project), Data: note}
	err := q.api.RetryUntilDone(ctx, q.names.Holds, func(try int) error {
		_, err := q.api.PublishOnce(ctx, try, q.names.Holds, m)
		return jsapi.TransientUnlessPermanent(err)
	})
	if err != nil {
		return fmt.Errorf("put a legal hold on %s: %w", project, err)
	}
	return nil
}

// RemoveHold lifts the legal hold of a project, in any letter case. It succeeds when there is none.
func (q *Queue) RemoveHold(ctx context.Context, project string) error {
	if err := names.CheckID(project); err != nil {
		return fmt.Errorf("lift a legal hold: %w", err)
	}
	keys, err := q.bucketKeys(ctx, q.names.Holds)
	if err != nil {
		return fmt.Errorf("lift the legal hold of %s: %w", project, err)
	}
	for _, k := range keys {
		if !strings.EqualFold(k, project) {
			continue
		}
		if err := q.removeMessages(ctx, q.names.Holds, q.names.HoldSubject(k)); err != nil {
			return fmt.Errorf("lift the legal hold of %s: %w", project, err)
		}
	}
	return nil
}
