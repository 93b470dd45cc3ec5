// Package room reports whether NATS has room for new commands. What is under way needs room to end:
// a delete must be able to write what it calls, and every command its end. So new commands are
// begun only while a reserve is left.
package room

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
)

const (
	// maxReserve is how much is left to what is under way, in bytes. Of a small limit that is one
	// part in reserveShare.
	maxReserve   = 64 << 20
	reserveShare = 8
	// trusted is how long an answer counts.
	trusted = time.Second
)

// NearLimitError means that an account or a stream has too little room left.
type NearLimitError struct {
	Of                   string // the account, or a stream
	Used, Limit, Reserve int64  // bytes
}

// Error says what is short, and what to do.
func (e *NearLimitError) Error() string {
	return fmt.Sprintf("%s holds %d of at most %d bytes: new commands wait while less than %d are left for those under way; raise the limit", e.Of, e.Used, e.Limit, e.Reserve)
}

// Room looks at the limits of the account and of streams. It is safe for concurrent use.
type Room struct {
	API      *jsapi.Client
	Replicas int
	Streams  []string // those that commands under way need
	Now      func() time.Time

	mu     sync.Mutex
	looked time.Time
	short  *NearLimitError
}

// Short is a *NearLimitError when new commands have to wait, and nil when there is room. It asks
// the server at most once a second.
func (r *Room) Short(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.Now(); r.looked.IsZero() || now.Sub(r.looked) >= trusted || now.Before(r.looked) {
		short, err := r.look(ctx)
		if err != nil {
			return err
		}
		r.short, r.looked = short, now
	}
	if r.short == nil {
		return nil
	}
	return r.short
}

// look asks the server.
func (r *Room) look(ctx context.Context) (*NearLimitError, error) {
	account, err := r.API.AccountOnce(ctx, 0, r.Replicas)
	if err != nil && !errors.Is(err, jsapi.ErrDenied) { // without this right the limit is not known
		return nil, err
	}
	if s := nearLimit("JetStream's account", account.Used, account.Limit); s != nil {
		return s, nil
	}
	for _, stream := range r.Streams {
		info, err := r.API.StreamInfoOnce(ctx, 0, stream)
		if err != nil {
			return nil, fmt.Errorf("read the info of stream %s: %w", stream, err)
		}
		if s := nearLimit("stream "+stream, info.State.Bytes, info.Config.MaxBytes); s != nil {
			return s, nil
		}
	}
	return nil, nil
}

// nearLimit is what is short of a limit, nil when nothing is.
func nearLimit(of string, used, limit int64) *NearLimitError {
	if limit <= 0 {
		return nil
	}
	reserve := min(maxReserve, limit/reserveShare)
	if limit-used >= reserve && used < limit {
		return nil
	}
	return &NearLimitError{Of: of, Used: used, Limit: limit, Reserve: reserve}
}
