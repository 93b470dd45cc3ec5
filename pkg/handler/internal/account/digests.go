package account

import (
	"context"
	"fmt"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// DigestKeys are the keys that digests of the command need: none unless it has metadata values.
func DigestKeys(ctx context.Context, s Secrets, p *contract.Pseudonymizer, c contract.Command) (contract.DigestKeys, error) {
	if len(c.Data.ImageMetadata) == 0 {
		return nil, nil
	}
	secret, err := s.Secret(ctx, contract.SecretDigest)
	if err != nil {
		return nil, fmt.Errorf("read the key of digests: %w", err)
	}
	return p.DigestKeys(secret), nil
}
