package natsq

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/drift"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
)

// maxEnsurePasses bounds how often one object is created or updated and read again in one try.
const maxEnsurePasses = 8

// managedObject is a stream or a consumer, with all that reading, creating and updating it takes.
type managedObject struct {
	name                 string                                      // as differences and health name it
	stream               string                                      // that it is, or belongs to
	info, create, update string                                      // API subjects
	missing              int                                         // the error code that means it does not exist
	config               any                                         // as this package creates it
	envelope             func(config any, action string) any         // the request that creates or updates it
	compare              func(config []byte) ([]drift.Change, error) // what must change in its present configuration
}

// objects are all streams, and then their consumers.
func (q *Queue) objects() []managedObject {
	var all []managedObject
	for _, wants := range q.streamConfigs() {
		all = append(all, managedObject{
			name: wants.Name, stream: wants.Name, config: wants, missing: jsapi.CodeStreamNotFound,
			info: "STREAM.INFO." + wants.Name, create: "STREAM.CREATE." + wants.Name, update: "STREAM.UPDATE." + wants.Name,
			envelope: func(config any, _ string) any { return config },
			compare: func(config []byte) ([]drift.Change, error) {
				var is jetstream.StreamConfig
				err := json.Unmarshal(config, &is)
				return drift.CompareStream(is, wants), err
			},
		})
	}
	for _, c := range []struct {
		stream, durable, subject string
	}{
		{q.names.Commands, exportsDurable, q.names.CommandSubject(contract.ActionExport)},
		{q.names.Commands, deletesDurable, q.names.CommandSubject(contract.ActionDelete)},
		{q.names.Commands, cancelsDurable, q.names.CommandSubject(contract.ActionCancel)},
		{q.names.Work, workDurable, ""},
	} {
		wants := q.consumerConfig(c.durable, c.subject)
		create := "CONSUMER.CREATE." + c.stream + "." + c.durable
		all = append(all, managedObject{
			name: c.stream + " > " + c.durable, stream: c.stream, config: wants, missing: jsapi.CodeConsumerNotFound,
			info: "CONSUMER.INFO." + c.stream + "." + c.durable, create: create, update: create,
			envelope: func(config any, action string) any {
				return map[string]any{"stream_name": c.stream, "config": config, "action": action}
			},
			compare: func(config []byte) ([]drift.Change, error) {
				var is jetstream.ConsumerConfig
				err := json.Unmarshal(config, &is)
				return drift.CompareConsumer(c.stream, is, wants), err
			},
		})
	}
	return all
}

// Provision finds or creates the streams, buckets and consumers. Until ctx ends it waits for
// servers that are away and for clusters without a leader; Waiting tells for what. It fails at once
// with a *DriftError, which lists all differences, when existing objects differ from what is
// required and may not be changed: because Options.Provision is false, or because JetStream cannot
// change them; and when the server denies something.
func (q *Queue) Provision(ctx context.Context) error {
	if err := q.learnQueueShare(ctx); err != nil {
		return err
	}
	for {
		err := q.provisionOnce(ctx)
		half := min(maxQueueBytes, cmp.Or(q.queueShare.Load(), maxQueueBytes)) / 2
		if !jsapi.HasCode(err, jsapi.CodeStorageExceeded, jsapi.CodeStreamBytesExceeded) || q.options.MaxBytes > 0 || half < leastQueueBytes {
			return err
		}
		q.queueShare.Store(half) // the server has no room for more, and no operator asked for it
	}
}

// provisionOnce is Provision with the queue's share that is known now.
func (q *Queue) provisionOnce(ctx context.Context) error {
	drift := &DriftError{}
	missingStreams := map[string]bool{} // whose consumers are not listed as well
	for _, o := range q.objects() {
		if missingStreams[o.stream] {
			continue
		}
		var differences []Difference
		err := q.api.RetryUntilDone(ctx, o.name, func(try int) error {
			var err error
			differences, err = q.ensureObject(ctx, try, o)
			if err == nil || isPermanentConfigError(err) {
				return err
			}
			return jsapi.TransientError{Err: err}
		})
		if jsapi.HasCode(err, jsapi.CodeMaxBytesRequired, jsapi.CodeStorageExceeded, jsapi.CodeStreamBytesExceeded) {
			err = fmt.Errorf("%w: %w", ErrMaxBytes, err)
		}
		if err != nil {
			return fmt.Errorf("provision %s: %w", o.name, err)
		}
		drift.Differences = append(drift.Differences, differences...)
		missingStreams[o.stream] = len(differences) == 1 && differences[0].Field == ""
	}
	if len(drift.Differences) > 0 {
		return drift
	}
	return nil
}

// ErrMaxBytes means that account or server do not permit streams of the size that Options.MaxBytes
// asks for: a limit is demanded, or there is no room for so much.
var ErrMaxBytes = errors.New("the account, or the server, does not permit a stream of this size")

// queueShare is which part of an account's storage the queue of commands may take: one in so many.
const queueShare = 4

// learnQueueShare asks what the account may store: the queue of commands is to take a part of it.
func (q *Queue) learnQueueShare(ctx context.Context) error {
	if !q.options.Provision {
		return nil
	}
	return q.api.RetryUntilDone(ctx, "the account", func(try int) error {
		account, err := q.api.AccountOnce(ctx, try, q.options.Replicas)
		if errors.Is(err, jsapi.ErrDenied) {
			return nil // a user without this right has no limit that is known
		}
		if account.Limit > 0 {
			q.queueShare.Store(max(1, account.Limit/queueShare/int64(q.options.Replicas)))
		}
		return jsapi.TransientUnlessPermanent(err)
	})
}

// isPermanentConfigError is IsPermanent for creating and updating objects, where most refusals are
// about the configuration, whatever their code.
func isPermanentConfigError(err error) bool {
	if errors.Is(err, jsapi.ErrDenied) {
		return true // the caller tells it, and tries again
	}
	var api *jsapi.APIError
	if !errors.As(err, &api) {
		return jsapi.IsPermanent(err)
	}
	const noPeers = 10005 // the servers have not found each other yet
	return api.Code != 503 && !jsapi.HasCode(err, jsapi.CodeNotLeader, jsapi.CodeStreamNotFound, jsapi.CodeConsumerNotFound, noPeers)
}

// ensureObject reads an object and, if Provision allows it, creates or updates it; then it reads it
// again. It returns the differences that stay. On a cluster two replicas that create the same
// stream at once can leave each other without an answer; the short deadline of a try, and the next
// try, cure that.
func (q *Queue) ensureObject(ctx context.Context, try int, o managedObject) ([]Difference, error) {
	for range maxEnsurePasses {
		var info struct {
			Config json.RawMessage `json:"config"`
		}
		err := q.api.APIRequestOnce(ctx, try, o.info, nil, &info)
		switch {
		case jsapi.HasCode(err, o.missing) && !q.options.Provision:
			return []Difference{{Object: o.name, Is: "missing", Wants: "to exist"}}, nil
		case jsapi.HasCode(err, o.missing):
			if err := q.createObject(ctx, try, o); err != nil {
				return nil, err
			}
			continue
		case err != nil:
			return nil, err
		}
		changes, err := o.compare(info.Config)
		if err != nil {
			return nil, fmt.Errorf("decode the configuration: %w", err)
		}
		if len(changes) == 0 {
			return nil, nil
		}
		var differences []Difference
		updatable := q.options.Provision
		for _, c := range changes {
			differences = append(differences, c.Difference)
			updatable = updatable && !c.Difference.Immutable
		}
		if !updatable {
			return differences, nil
		}
		if err := q.updateObject(ctx, try, o, info.Config, changes); err != nil {
			return nil, fmt.Errorf("change %s: %w", drift.Summary(differences), err)
		}
		q.log.Info().Str("object", o.name).Stringer("changes", drift.Summary(differences)).Msg("updated in JetStream")
	}
	return nil, errors.New("another process keeps changing it")
}

// createObject creates an object. Another process may create it first: that is no error.
func (q *Queue) createObject(ctx context.Context, try int, o managedObject) error {
	var done json.RawMessage
	err := q.api.APIRequestOnce(ctx, try, o.create, o.envelope(o.config, "create"), &done)
	if jsapi.HasCode(err, jsapi.CodeStreamNameInUse, jsapi.CodeConsumerExists) {
		return nil
	}
	if err == nil {
		q.log.Info().Str("object", o.name).Msg("created in JetStream")
	}
	return err
}

// updateObject sets the fields that must change in an object's present configuration, and no
// others: a newer server's configuration may have fields that this build does not know.
func (q *Queue) updateObject(ctx context.Context, try int, o managedObject, present json.RawMessage, changes []drift.Change) error {
	var config map[string]any
	if err := json.Unmarshal(present, &config); err != nil {
		return fmt.Errorf("decode the configuration: %w", err)
	}
	for _, c := range changes {
		config[c.Difference.Field] = c.Set
	}
	var done json.RawMessage
	return q.api.APIRequestOnce(ctx, try, o.update, o.envelope(config, "update"), &done)
}

// recreateDelay is how long the server gets to finish deleting a stream. The server notifies the
// stream's consumers before the deletion is over, and a stream that is created again meanwhile
// answers no request for minutes.
const recreateDelay = 500 * time.Millisecond

// recreateMissing creates streams and consumers again that were deleted while this process runs,
// when err is a sign of that and Provision allows it. A cluster between two leaders gives the same
// sign; then nothing turns out to be missing.
func (q *Queue) recreateMissing(ctx context.Context, err error) {
	if !q.options.Provision || ctx.Err() != nil || !errors.Is(err, nats.ErrNoResponders) && !jsapi.HasCode(err, jsapi.CodeStreamNotFound, jsapi.CodeConsumerNotFound) {
		return
	}
	if !q.recreating.TryLock() {
		return
	}
	defer q.recreating.Unlock()
	if jsapi.Wait(ctx, recreateDelay) != nil {
		return
	}
	for _, o := range q.objects() {
		differences, err := q.ensureObject(ctx, 0, o)
		if err != nil {
			return // the caller tries again, and calls this again
		}
		for _, d := range differences {
			q.log.Error().Stringer("difference", d).Msg("JetStream differs from what is required")
		}
	}
}
