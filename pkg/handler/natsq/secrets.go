package natsq

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/names"
)

// Secret implements handler.SecretStore. CV_SECRETS keeps the secrets; the first replica that asks
// for one creates it, and all others get the same. Each is read from the leader once and then
// remembered.
func (q *Queue) Secret(ctx context.Context, name string) (string, error) {
	if err := names.CheckID(name); err != nil {
		return "", err
	}
	if known, ok := q.secretCache.Load(name); ok {
		return known.(string), nil //nolint:forcetypeassert // only strings are stored
	}
	subject := q.names.KeyPrefix(q.names.Secrets) + name
	last, err := q.api.ReadMessage(ctx, q.names.Secrets, jsapi.MessageQuery{Last: subject})
	if err != nil {
		return "", fmt.Errorf("read the secret %s: %w", name, err)
	}
	if last == nil {
		secret := rand.Text()
		_, last, err = q.api.CompareAndSet(ctx, jsapi.Write{Stream: q.names.Secrets, Subject: subject, Header: nats.Header{}, Body: []byte(secret)})
		switch {
		case err == nil:
			last = &jsapi.StoredMessage{Data: []byte(secret)}
		case !errors.Is(err, jsapi.ErrConflict) || last == nil:
			return "", fmt.Errorf("create the secret %s: %w", name, err)
		}
	}
	if isDeleted(last) || len(last.Data) == 0 {
		return "", fmt.Errorf("the secret %s was deleted from %s by hand, and digests made with it cannot be checked any more: put it back, "+
			"or purge the key to have a new one created", name, q.names.Secrets)
	}
	q.secretCache.Store(name, string(last.Data))
	return string(last.Data), nil
}
