package main

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
)

// checkKey fails with errUsage when an argument cannot name a command.
func checkKey(key string) error {
	if id, _ := contract.ParseKey(key); !contract.ValidID(id) && !contract.IsSeqID(id) {
		return fmt.Errorf("%w: <id>: %q is not the id of a command: an id has 1 to 120 letters, digits, '-' and '_'; cancel.ID names the cancel with that id", errUsage, key)
	}
	return nil
}

// nothingKnown returns an error that says so when NATS has nothing of the command with a key:
// neither a trace nor its message. A cancel that waits for it is none. A user who may not read the
// commands of others is told that the queue was not looked at.
func nothingKnown(ctx context.Context, q *natsq.Queue, key string) (unknown, err error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	job, _, err := q.Job(ctx, key)
	if err == nil || errors.Is(err, natsq.ErrDenied) {
		return nil, err
	}
	kept := errors.Is(err, contract.ErrNoJob) && job.Cancel != nil
	queued, unseen := inQueue(ctx, q, key)
	switch {
	case queued:
		return nil, nil
	case unseen != nil && !errors.Is(unseen, natsq.ErrDenied):
		return nil, unseen
	case kept:
		return fmt.Errorf("no command %s is known; the cancel %s is kept for it", key, job.Cancel.ID), nil
	}
	known, err := q.HasTraces(ctx, key)
	if known || err != nil && !errors.Is(err, natsq.ErrDenied) {
		return nil, err
	}
	if unseen != nil {
		return fmt.Errorf("nothing is known of %s: there is no job and no event; %s%s", key, queueUnseen, cancelHint(ctx, q, key)), nil
	}
	return fmt.Errorf("nothing is known of %s: there is no job, no event and no message in the queue%s", key, cancelHint(ctx, q, key)), nil
}

// queueUnseen says that the queue was not looked at.
const queueUnseen = "this user may not see whether its message is in the queue"

// cancelHint says that an id of which nothing is known is that of a cancel.
func cancelHint(ctx context.Context, q *natsq.Queue, key string) string {
	cancel := contract.Key(contract.ActionCancel, key)
	if cancel == key || !contract.ValidID(key) {
		return ""
	}
	if _, _, err := q.Job(ctx, cancel); err != nil {
		return "" // only a hint
	}
	return "; there is a cancel with this id: " + cancel
}

// inQueue reports whether a message with a key is in the queue.
func inQueue(ctx context.Context, q *natsq.Queue, key string) (bool, error) {
	queued, err := queuedKeys(ctx, q)
	return queued[key], err
}

// queuedKeys are the keys of all messages in the queue. A message that is no command will be
// refused under the id that it gives.
func queuedKeys(ctx context.Context, q *natsq.Queue) (map[string]bool, error) {
	keys := map[string]bool{}
	for m, err := range q.CommandsBetween(ctx, 0, math.MaxUint64) {
		if err != nil {
			return nil, fmt.Errorf("read the queue: %w", err)
		}
		var refusal *contract.Refusal
		command, err := contract.DecodeCommand(q.Prefix(), m)
		switch {
		case err == nil:
			keys[command.Key()] = true
		case errors.As(err, &refusal):
			keys[contract.Key(refusal.Action, refusal.ID)] = true
		}
	}
	return keys, nil
}
