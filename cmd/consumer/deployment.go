package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// deploymentKey is the object, below the prefix, that holds the id of the deployment that owns it.
const deploymentKey = ".deployment"

// maxDeployment bounds that object, in bytes.
const maxDeployment = 1 << 10

// ownPrefix makes sure that the prefix belongs to this deployment: two that share one would find
// each other's bundles under the same ids. The first deployment marks it. A mark of another one is
// an error, unless CONSUMER_ADOPT_PREFIX is true.
func (s *service) ownPrefix(ctx context.Context, secrets handler.SecretStore) error {
	if s.owned {
		return nil
	}
	id, err := secrets.Secret(ctx, contract.SecretDeployment)
	if err != nil {
		return &secretProblem{err}
	}
	for _, store := range s.stores() {
		if err := s.mark(ctx, store, id); err != nil {
			return err
		}
	}
	s.owned = true
	return nil
}

// stores are the stores of the buckets, each once.
func (s *service) stores() []*sink.Store {
	if s.work == s.store {
		return []*sink.Store{s.store}
	}
	return []*sink.Store{s.store, s.work}
}

// mark writes the deployment's id into a bucket, unless it is there.
func (s *service) mark(ctx context.Context, store *sink.Store, id string) error {
	key := sink.Key(s.c.Prefix + deploymentKey)
	for range 2 {
		there, err := store.ReadAll(ctx, key, maxDeployment)
		switch {
		case err == nil && strings.TrimSpace(string(there)) == id:
			return nil
		case err == nil && !s.c.AdoptPrefix:
			return foreignPrefix(store, key, s.c.Prefix)
		case err == nil:
			s.log.Warn().Str("object", store.URI(key)).Msg("CONSUMER_ADOPT_PREFIX is set, taking the prefix over from another deployment")
			if err := store.Remove(ctx, key); err != nil {
				return fmt.Errorf("take over %s: %w", store.URI(key), err)
			}
		case !errors.Is(err, sink.ErrNotFound):
			return fmt.Errorf("read the mark of CONSUMER_PREFIX: %w", err)
		}
		if _, err := store.Put(ctx, key, sink.Bytes([]byte(id+"\n"), "text/plain; charset=utf-8")); err != nil {
			return fmt.Errorf("mark CONSUMER_PREFIX: %w", err)
		}
	}
	there, err := store.ReadAll(ctx, key, maxDeployment)
	if err != nil {
		return fmt.Errorf("read the mark of CONSUMER_PREFIX: %w", err)
	}
	if strings.TrimSpace(string(there)) != id {
		return fmt.Errorf("%s is written by another deployment at the same time: give each a CONSUMER_PREFIX of its own", store.URI(key))
	}
	return nil
}

// foreignPrefix is the problem of a prefix that another deployment marked as its own.
func foreignPrefix(store *sink.Store, key sink.Key, prefix string) error {
	return cure(fmt.Errorf("%s says that another deployment keeps its bundles below CONSUMER_PREFIX=%q", store.URI(key), prefix),
		"CONSUMER_PREFIX", "set another CONSUMER_PREFIX, or CONSUMER_ADOPT_PREFIX=true if that deployment is this one and its CV_SECRETS was lost")
}

// awaitPrefix waits until the prefix is this deployment's: no work is taken before. It calls tried
// after the first try. The storage probe tries too, so that /readyz does not turn green in between.
func (s *service) awaitPrefix(ctx context.Context, secrets handler.SecretStore, tried func()) error {
	tried = sync.OnceFunc(tried)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-pause.C:
		}
		try, cancel := context.WithTimeoutCause(ctx, probeTimeout, errProbeTimeout)
		err := s.checkStorage(try, secrets)
		cancel()
		if err != nil && ctx.Err() == nil {
			s.monitor.found(delivery.DependencyStorage, err)
		}
		tried()
		if err == nil {
			return nil
		}
		pause.Reset(s.intervals.storageRetry)
	}
}
