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

// probeLockTime is how long ProbeLocks locks its object.
const probeLockTime = 5 * time.Second

// ProbeLocks finds out whether a bucket with Object Lock keeps a retention that it accepts; see
// Locks and Notes. It locks a small object for some seconds, by the store's clock, which the caller
// removes later: its key begins with prefix. In a bucket without Object Lock, or with a default
// retention, it stores nothing. Any number of processes may probe the same prefix.
//
// If the store refuses so short a retention, for example by the bucket's policy, nothing is learnt.
// Errors: ErrThrottled, ErrUnavailable. Operations: GetObjectLockConfiguration, PutObject,
// HeadObject, PutObjectRetention, GetObjectRetention.
func (s *Store) ProbeLocks(ctx context.Context, prefix Key, mode string) error {
	c, err := s.lockConfiguration(ctx)
	if err != nil || c.ObjectLockEnabled == "" || defaultMode(c) != "" {
		return transientOnly(ctx, err)
	}
	key, body := prefix+Key(rand.Text()), Bytes([]byte("cvconsumer asks whether this store keeps a retention\n"), textPlain)
	if err := s.putObject(ctx, key, body, false); err != nil {
		return transientOnly(ctx, err)
	}
	out, err := s.api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.o.Bucket, Key: aws.String(string(key))}, checksumsAsHeaders)
	if err != nil {
		return transientOnly(ctx, wrapError(ctx, "look at object", key, err))
	}
	now, told := awsmiddleware.GetServerTime(out.ResultMetadata)
	if !told {
		return nil
	}
	err = s.Unsealed().retain(ctx, key, body.SHA256, false, Retention{Mode: mode, Until: now.Add(probeLockTime)})
	if errors.Is(err, ErrNotKept) {
		s.learn(locks)
		return nil
	}
	return transientOnly(ctx, err)
}

// transientOnly is the error if a probe is worth repeating after it, and nil otherwise.
func transientOnly(ctx context.Context, err error) error {
	if errors.Is(err, ErrThrottled) || errors.Is(err, ErrUnavailable) || err != nil && ctx.Err() != nil {
		return err
	}
	return nil
}
