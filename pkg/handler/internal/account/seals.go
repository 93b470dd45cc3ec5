package account

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// Sealer makes the sealer of the command with this id, whose first message was origin. Its key is
// derived from the deployment's secret.
func Sealer(ctx context.Context, s Secrets, id string, origin contract.Origin) (*sink.Sealer, error) {
	secret, err := s.Secret(ctx, contract.SecretDigest)
	if err != nil {
		return nil, fmt.Errorf("read the key of seals: %w", err)
	}
	mac := hmac.New(sha256.New, []byte(secret)) // so that seals have nothing in common with digests
	mac.Write([]byte("seals of objects"))
	return sink.NewSealer(mac.Sum(nil), id, origin.String()), nil
}
