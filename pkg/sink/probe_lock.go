package sink

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// lockProbed is how long the object of ProbeLocks is locked.
const lockProbed = 5 * time.Second

// ProbeLocks finds out whether a bucket with Object Lock keeps a retention that it accepts; see
// Locks and Notes. It locks a small object for some seconds, by the store's clock, and reports
// whether it did: what has to be removed after that is at keys that begin with prefix. It stores
// nothing in a bucket without Object Lock, nor in one that gives objects a default retention. Any
// number of processes may probe the same prefix.
//
// A store that refuses such a short retention, for example by the bucket's policy, is not known to
// keep none. Errors: ErrThrottled, ErrUnavailable. Operations: GetObjectLockConfiguration,
// PutObject, HeadObject, PutObjectRetention, GetObjectRetention.
func (s *Store) ProbeLocks(ctx context.Context, prefix Key, mode string) (stored bool, err error) {
	c, err := s.lockConfiguration(ctx)
	if err != nil || c.ObjectLockEnabled == "" || defaultMode(c) != "" {
		return false, passing(ctx, err)
	}
	key, body := prefix+Key(rand.Text()), Bytes([]byte("cvconsumer asks whether this store keeps a retention\n"), textPlain)
	if err := s.putObject(ctx, key, body, false); err != nil {
		return true, passing(ctx, err)
	}
	out, err := s.api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.o.Bucket, Key: aws.String(string(key))}, checksumsAsHeaders)
	if err != nil {
		return true, passing(ctx, wrapError(ctx, "look at object", key, err))
	}
	now, told := awsmiddleware.GetServerTime(out.ResultMetadata)
	if !told {
		return true, nil
	}
	err = s.Unsealed().retain(ctx, key, body.SHA256, Retention{Mode: mode, Until: now.Add(lockProbed)})
	if errors.Is(err, ErrNotKept) {
		s.learn(locks)
		return true, nil
	}
	return true, passing(ctx, err)
}

// passing is an error after which a probe is worth repeating; nil for every other one.
func passing(ctx context.Context, err error) error {
	if errors.Is(err, ErrThrottled) || errors.Is(err, ErrUnavailable) || err != nil && ctx.Err() != nil {
		return err
	}
	return nil
}
