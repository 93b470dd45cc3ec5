package natsq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// object is a JetStream object that is looked at, made and changed the same way, whatever it is.
type object struct {
	name                 string // as differences name it
	stream               string
	info, create, update string // API subjects
	missing              int    // the code that says it is not there
	config               any    // as it is made
	envelope             func(config any, action string) any
	compare              func(config []byte) ([]change, error)
}

func (q *Queue) objects() []object {
	var all []object
	for _, wants := range q.streamConfigs() {
		all = append(all, object{
			name: wants.Name, stream: wants.Name, config: wants, missing: codeStreamNotFound,
			info: "STREAM.INFO." + wants.Name, create: "STREAM.CREATE." + wants.Name, update: "STREAM.UPDATE." + wants.Name,
			envelope: func(config any, _ string) any { return config },
			compare: func(config []byte) ([]change, error) {
				var is jetstream.StreamConfig
				err := json.Unmarshal(config, &is)
				return compareStream(is, wants), err
			},
		})
	}
	for _, c := range []struct {
		stream, durable, subject string
	}{
		{q.commands, exportsDurable, q.commandSubject(contract.ActionExport)},
		{q.commands, deletesDurable, q.commandSubject(contract.ActionDelete)},
		{q.commands, cancelsDurable, q.commandSubject(contract.ActionCancel)},
		{q.work, workDurable, ""},
	} {
		wants := q.consumerConfig(c.durable, c.subject)
		create := "CONSUMER.CREATE." + c.stream + "." + c.durable
		all = append(all, object{
			name: c.stream + " > " + c.durable, stream: c.stream, config: wants, missing: codeConsumerNotFound,
			info: "CONSUMER.INFO." + c.stream + "." + c.durable, create: create, update: create,
			envelope: func(config any, action string) any {
				return map[string]any{"stream_name": c.stream, "config": config, "action": action}
			},
			compare: func(config []byte) ([]change, error) {
				var is jetstream.ConsumerConfig
				err := json.Unmarshal(config, &is)
				return compareConsumer(c.stream, is, wants), err
			},
		})
	}
	return all
}

// provision finds or makes everything, and lists what differs from what it must be and cannot or
// may not be changed.
func (q *Queue) provision(ctx context.Context) error {
	drift := &DriftError{}
	missingStreams := map[string]bool{} // streams that are missing: their consumers go without saying
	for _, o := range q.objects() {
		if missingStreams[o.stream] {
			continue
		}
		var differences []Difference
		err := q.retryUntilDone(ctx, o.name, func(try int) error {
			var err error
			differences, err = q.ensureObject(ctx, try, o)
			if err == nil || isPermanentConfigError(err) {
				return err
			}
			return transientError{err}
		})
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

// finalHere is final for making and changing objects, where most refusals are about the
// configuration, whatever their code.
func isPermanentConfigError(err error) bool {
	var api *apiError
	if !errors.As(err, &api) {
		return isPermanent(err)
	}
	const noPeers = 10005 // servers that have not found each other yet
	return api.Code != 503 && !hasCode(err, codeNotLeader, codeStreamNotFound, codeConsumerNotFound, noPeers)
}

// ensure looks at an object once and makes or mends it, if that is allowed; then it looks again. On
// a cluster two replicas that make the same stream at once can leave each other without an answer,
// which the short deadline of a try, and the next try, cure.
func (q *Queue) ensureObject(ctx context.Context, try int, o object) ([]Difference, error) {
	for range maxEnsurePasses {
		var info struct {
			Config json.RawMessage `json:"config"`
		}
		err := q.apiRequestOnce(ctx, try, o.info, nil, &info)
		var done json.RawMessage
		switch {
		case hasCode(err, o.missing) && !q.o.Provision:
			return []Difference{{Object: o.name, Is: "missing", Wants: "to exist"}}, nil
		case hasCode(err, o.missing):
			err = q.apiRequestOnce(ctx, try, o.create, o.envelope(o.config, "create"), &done)
			if hasCode(err, codeStreamNameInUse, codeConsumerExists) {
				continue // somebody was faster
			}
			if err != nil {
				return nil, err
			}
			q.log.Info().Str("object", o.name).Msg("made in JetStream")
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
		updatable := q.o.Provision
		for _, c := range changes {
			differences = append(differences, c.Difference)
			updatable = updatable && !c.immutable
		}
		if !updatable {
			return differences, nil
		}
		// Only the fields that must change are touched: a newer server's configuration may have
		// some this build does not know.
		var config map[string]any
		if err := json.Unmarshal(info.Config, &config); err != nil {
			return nil, fmt.Errorf("decode the configuration: %w", err)
		}
		for _, c := range changes {
			config[c.Field] = c.set
		}
		if err := q.apiRequestOnce(ctx, try, o.update, o.envelope(config, "update"), &done); err != nil {
			return nil, fmt.Errorf("change %s: %w", changeSummary(differences), err)
		}
		q.log.Info().Str("object", o.name).Stringer("changes", changeSummary(differences)).Msg("changed in JetStream")
	}
	return nil, errors.New("it is changed by somebody else all the time")
}

// healPause is how long a stream may take to be gone. One that is made again while it is being
// deleted answers nobody for minutes: its consumers are told of the deletion before it is over.
const recreateDelay = 500 * time.Millisecond

// heal makes streams and consumers again that somebody deleted while we run, when err says so and
// Provision allows it. A cluster between two leaders looks the same at first; then it finds nothing
// to make.
func (q *Queue) recreateMissing(ctx context.Context, err error) {
	if !q.o.Provision || ctx.Err() != nil || !errors.Is(err, nats.ErrNoResponders) && !hasCode(err, codeStreamNotFound, codeConsumerNotFound) {
		return
	}
	if !q.recreating.TryLock() {
		return
	}
	defer q.recreating.Unlock()
	if wait(ctx, recreateDelay) != nil {
		return
	}
	for _, o := range q.objects() {
		differences, err := q.ensureObject(ctx, 0, o)
		if err != nil {
			return // the caller tries again, and so will this
		}
		for _, d := range differences {
			q.log.Error().Stringer("difference", d).Msg("JetStream is not as it must be")
		}
	}
}
