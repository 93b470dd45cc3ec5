package sink

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/rs/zerolog"
)

// StoreOptions are the settings of a Store.
type StoreOptions struct {
	Bucket         string
	SSE            string // server-side encryption asked for with every write: "" or "none", "AES256", "aws:kms"
	SSEKMSKeyID    string // with "aws:kms": the key's id; empty: the account's default key
	MultipartAbove int64  // larger objects go by multipart, bytes; 0: 64 MiB
	PartBytes      int64  // size of a part, bytes; 0: 8 MiB; raised so that an object has at most 10,000 parts
	SpoolDir       string // for temporary files; empty: the system's
	Log            zerolog.Logger
	Wait           func(ctx context.Context, d time.Duration) error // pauses between own retries; nil: a timer
}

// Store is one bucket of an S3-compatible store: all of its objects, or only those that one command
// sealed (see Sealed). It is safe for use by several goroutines.
type Store struct {
	api    *s3.Client
	direct *direct // nil: the SDK makes all requests
	o      StoreOptions
	*learned
	service *service

	sealer     *Sealer // nil: neither seals nor checks
	anyMessage bool    // see OfAnyMessage
	sparing    bool    // see Sparing
	stored     *stored // through this view, if it seals; nil else
}

// learned is what was found out about a bucket.
type learned struct {
	versioning atomic.Int32 // what is known of the bucket's versions
}

// NewStore makes a store of a client, best one of [Client].
func NewStore(api *s3.Client, o StoreOptions) *Store {
	if o.MultipartAbove <= 0 {
		o.MultipartAbove = 64 << 20
	}
	if o.PartBytes <= 0 {
		o.PartBytes = 8 << 20
	}
	if o.SSE == "none" {
		o.SSE = ""
	}
	if o.Wait == nil {
		o.Wait = wait
	}
	return &Store{api: api, direct: newDirect(api), o: o, learned: &learned{}, service: &service{}}
}

// InBucket is a store in another bucket of the same service, with the same settings: what is learnt
// of the service holds for both.
func (s *Store) InBucket(bucket string) *Store {
	if bucket == s.o.Bucket {
		return s
	}
	other := *s
	other.o.Bucket, other.learned = bucket, &learned{}
	return &other
}

// wait pauses for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// Bucket is the bucket's name.
func (s *Store) Bucket() string { return s.o.Bucket }

// URI is the s3:// address of a key or prefix.
func (s *Store) URI(key Key) string { return "s3://" + s.o.Bucket + "/" + string(key) }

// Object is what the store holds at a key.
type Object struct {
	Key         Key
	Bytes       int64  // -1: the store does not say; never so of Put, Find and Describe
	SHA256      string // hex; from the store's checksum, from metadata or by reading; empty in listings
	ContentType string
	Meta        map[string]string // without "sha256"
	Adopted     bool              // Put found it there; its digest and size may differ from the body's

	checked bool // the store has a checksum of its own, which SHA256 is
}

// notSupported reports whether an error means that the store does not know the operation at all.
func notSupported(err error) bool {
	return hasStatus(err, http.StatusNotImplemented, "NotImplemented", "MethodNotAllowed", "UnsupportedOperation") || hasStatus(err, http.StatusMethodNotAllowed)
}
