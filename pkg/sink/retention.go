package sink

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// Modes of an Object Lock retention.
const (
	Governance = "GOVERNANCE" // a user with s3:BypassGovernanceRetention may still delete
	Compliance = "COMPLIANCE" // no user may, nor shorten it
)

// locksAtOnce bounds the objects of a bag that are being locked at one time.
const locksAtOnce = 16

// Retention is an Object Lock retention of an object's version.
type Retention struct {
	Mode  string    // Governance or Compliance
	Until time.Time // stores keep whole seconds: a part of one counts as a second
}

// date is the end of a retention as it is asked for.
func (r Retention) date() time.Time {
	whole := r.Until.UTC().Truncate(time.Second)
	if whole.Before(r.Until) {
		whole = whole.Add(time.Second)
	}
	return whole
}

// covers reports whether a version that has this retention is kept at least as another one asks.
func (r Retention) covers(want Retention) bool {
	return (r.Mode == want.Mode || r.Mode == Compliance) && !r.Until.Before(want.date())
}

// joined is the retention to ask for on a version that has this one: nothing is shortened, and
// Compliance stays.
func (r Retention) joined(want Retention) Retention {
	if r.Mode == Compliance {
		want.Mode = Compliance
	}
	if r.Until.After(want.Until) {
		want.Until = r.Until
	}
	return want
}

// Locks reports whether the bucket has Object Lock; a store that does not know it, or does not keep
// a retention (see ProbeLocks), has none.
// Errors: those of every request; ErrMisconfigured when it may not be asked. Operation:
// GetObjectLockConfiguration.
func (s *Store) Locks(ctx context.Context) (bool, error) {
	c, err := s.lockConfiguration(ctx)
	return c.ObjectLockEnabled == types.ObjectLockEnabledEnabled && !s.lacks(locks), err
}

// lockConfiguration is the bucket's; empty when it has none, or the store knows none.
func (s *Store) lockConfiguration(ctx context.Context) (types.ObjectLockConfiguration, error) {
	out, err := s.api.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &s.o.Bucket}, checksumsAsHeaders)
	switch {
	case hasNoLock(err):
	case err != nil:
		return types.ObjectLockConfiguration{}, wrapError(ctx, "ask for Object Lock of bucket", Key(s.o.Bucket), err)
	case out.ObjectLockConfiguration != nil:
		return *out.ObjectLockConfiguration, nil
	}
	return types.ObjectLockConfiguration{}, nil
}

// hasNoLock reports whether a call failed because the bucket or the object has no Object Lock, or
// the store does not know it.
func hasNoLock(err error) bool {
	return notSupported(err) || hasStatus(err, 0, "NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "InvalidRequest")
}

// Retain locks every object of a sealed bag, multipart ones included: the version that is stored
// now and has the digest of its manifest, for at least as long as asked. What is locked longer
// already stays so. Each is read back. What is put into the bag afterwards, its receipt, is locked
// as it is written. It can be called again after a crash at any point: what is locked is passed
// over.
//
// The first object is locked and read back before the others are touched, so that a store that
// ignores retention is found out while everything can still be removed.
//
// Errors: ErrNotKept when the store does not have the retention that it was asked to set, or names
// no version; ErrMixed when a version has another digest; ErrMisconfigured when locking is not
// allowed (s3:PutObjectRetention, s3:GetObjectRetention); else those of every request. Operations:
// HeadObject, PutObjectRetention, and GetObjectRetention where HeadObject does not tell;
// GetObject of what was streamed.
func (b *Bag) Retain(ctx context.Context, want Retention) error {
	if b.sealed == nil {
		return errors.New("lock bag: it is not sealed")
	}
	if err := b.store.retain(ctx, b.root+Key(TagManifestFile), b.sealed.TagManifestSHA256, false, want); err != nil {
		return err
	}
	group, locking := errgroup.WithContext(ctx)
	group.SetLimit(locksAtOnce)
	for l, err := range b.lines() {
		if err == nil {
			err = locking.Err()
		}
		if err != nil {
			group.Go(func() error { return err }) // unless one of the others has failed before
			break
		}
		group.Go(func() error { return b.store.retain(locking, b.root+Key(l.Path), l.SHA256, l.Path.IsPayload(), want) })
	}
	if err := group.Wait(); err != nil {
		return wrapError(ctx, "lock objects of bag", b.root, err)
	}
	b.locked = &want
	return nil
}

// takeBack removes an object that the store did not keep as it was asked to, unless another attempt
// wrote it: a receipt says that all of its bag is kept so. It returns err.
func (b *Bag) takeBack(ctx context.Context, o Object, err error) error {
	if errors.Is(err, ErrNotKept) && !o.Adopted {
		return errors.Join(err, b.store.Remove(ctx, o.Key))
	}
	return err
}

// retain locks the version that is at a key, which must have the digest, and reads that back. One
// that may have been streamed needs no seal.
func (s *Store) retain(ctx context.Context, key Key, digest string, streamed bool, want Retention) error {
	const op = "lock object"
	object, version, had, err := s.lookAtLock(ctx, key, nil)
	if err != nil {
		return err
	}
	claimed, err := s.checkClaim(op, object) // of a multipart object, only the seal says the digest
	switch {
	case err == nil:
		object = claimed
	case !streamed:
		return err
	case !object.checked: // without a seal, what the version holds counts, and not what is said of it
		if object.SHA256, err = s.digestOf(ctx, key, version); err != nil {
			return err
		}
	}
	switch {
	case object.SHA256 != "" && object.SHA256 != digest:
		return newError(op, key, ErrMixed, "the store holds SHA-256 %s, %s was listed", object.SHA256, digest)
	case aws.ToString(version) == "":
		return newError(op, key, ErrNotKept, "the store does not say which version of the object it holds: Object Lock needs a bucket that keeps versions")
	case had.covers(want):
		return nil
	}
	ask := had.joined(want)
	_, asked := s.api.PutObjectRetention(ctx, &s3.PutObjectRetentionInput{
		Bucket: &s.o.Bucket, Key: aws.String(string(key)), VersionId: version,
		Retention: &types.ObjectLockRetention{Mode: types.ObjectLockRetentionMode(ask.Mode), RetainUntilDate: aws.Time(ask.date())},
	}, checksumsAsHeaders, contentMD5)
	if notSupported(asked) || hasStatus(asked, 0, "InvalidRequest") {
		return newError(op, key, ErrNotKept, "the store refuses retention: %w", asked)
	}
	if asked != nil && !hasStatus(asked, http.StatusForbidden) {
		return wrapError(ctx, op, key, asked)
	}
	// A refusal may mean that another process has locked it for longer meanwhile.
	_, _, has, err := s.lookAtLock(ctx, key, version)
	if err == nil && !has.covers(want) && asked == nil {
		has, err = s.retention(ctx, key, version)
	}
	switch {
	case err != nil:
		return err
	case has.covers(want):
		return nil
	case asked != nil:
		return wrapError(ctx, op, key, asked)
	}
	return newError(op, key, ErrNotKept, "retention %s until %s was asked for, the store accepted that, and has %s", ask.Mode, ask.date().Format(time.RFC3339), has)
}

// String is a retention for people.
func (r Retention) String() string {
	if r.Mode == "" {
		return "none"
	}
	return r.Mode + " until " + r.Until.UTC().Format(time.RFC3339)
}

// lookAtLock is an object as HeadObject describes it, its version, and the retention of that.
func (s *Store) lookAtLock(ctx context.Context, key Key, version *string) (Object, *string, Retention, error) {
	in := &s3.HeadObjectInput{Bucket: &s.o.Bucket, Key: aws.String(string(key)), VersionId: version}
	if !s.lacks(checksums) {
		in.ChecksumMode = types.ChecksumModeEnabled
	}
	out, err := s.api.HeadObject(ctx, in, checksumsAsHeaders)
	if err != nil {
		return Object{}, nil, Retention{}, wrapError(ctx, "look at object", key, err)
	}
	has := Retention{Mode: string(out.ObjectLockMode), Until: aws.ToTime(out.ObjectLockRetainUntilDate)}
	return object(key, out.ContentLength, out.ContentType, out.Metadata, out.ChecksumSHA256), out.VersionId, has, nil
}

// retention is the retention of a version, for stores whose HeadObject does not tell.
func (s *Store) retention(ctx context.Context, key Key, version *string) (Retention, error) {
	out, err := s.api.GetObjectRetention(ctx, &s3.GetObjectRetentionInput{Bucket: &s.o.Bucket, Key: aws.String(string(key)), VersionId: version}, checksumsAsHeaders)
	switch {
	case hasNoLock(err):
		return Retention{}, nil
	case err != nil:
		return Retention{}, wrapError(ctx, "read the retention of object", key, err)
	case out.Retention == nil:
		return Retention{}, nil
	}
	return Retention{Mode: string(out.Retention.Mode), Until: aws.ToTime(out.Retention.RetainUntilDate)}, nil
}

// DefaultRetention is the mode of the Object Lock retention that the bucket gives to every new
// object: "GOVERNANCE", "COMPLIANCE", or "" when it gives none, knows none, or may not be asked.
// Operation: GetObjectLockConfiguration. Errors: ErrThrottled, ErrUnavailable.
func (s *Store) DefaultRetention(ctx context.Context) (string, error) {
	c, err := s.lockConfiguration(ctx)
	switch {
	case errors.Is(err, ErrThrottled), errors.Is(err, ErrUnavailable), err != nil && ctx.Err() != nil:
		return "", err
	case err != nil:
		return "", nil // a store that does not answer this has none that is known
	}
	return defaultMode(c), nil
}

// defaultMode is the mode of the retention that a bucket gives to every new object; "" for none.
func defaultMode(c types.ObjectLockConfiguration) string {
	if c.Rule == nil || c.Rule.DefaultRetention == nil {
		return ""
	}
	return string(c.Rule.DefaultRetention.Mode)
}
