package jsapi

import (
	"context"
	"fmt"
)

// Account is what JetStream's account may store in files, in bytes.
type Account struct {
	Used  int64
	Limit int64 // none when not positive
}

// AccountOnce asks for the account's limit that streams with so many replicas have, in one try.
func (c *Client) AccountOnce(ctx context.Context, try, replicas int) (Account, error) {
	type tier struct {
		Storage int64 `json:"storage"`
		Limits  struct {
			MaxStorage int64 `json:"max_storage"`
		} `json:"limits"`
	}
	var info struct {
		tier
		Tiers map[string]tier `json:"tiers"` // by replicas, in accounts that have them
	}
	if err := c.APIRequestOnce(ctx, try, "INFO", nil, &info); err != nil {
		return Account{}, fmt.Errorf("read the account's limits: %w", err)
	}
	t := info.tier
	if len(info.Tiers) > 0 {
		t = info.Tiers[fmt.Sprintf("R%d", replicas)]
	}
	return Account{Used: t.Storage, Limit: t.Limits.MaxStorage}, nil
}
