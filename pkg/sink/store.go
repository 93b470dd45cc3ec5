package sink

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"
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

// Store is one bucket of an S3-compatible store, as everybody has it or as one command does (see
// Sealed). It is safe for use by several goroutines.
type Store struct {
	api *s3.Client
	o   StoreOptions
	*learned

	sealer     *Sealer // nil: neither seals nor checks
	anyMessage bool    // see OfAnyMessage
}

// learned is what was found out about a bucket.
type learned struct {
	versioning atomic.Int32 // what is known of the bucket's versions
	looksFirst atomic.Bool  // see LookFirst
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
	return &Store{api: api, o: o, learned: &learned{}}
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

// Conditional reports whether the store honors If-None-Match, by writing a small object twice at
// probe; what it wrote is removed again by version. Several processes may probe the same key. The
// bucket need not be this store's only one: the answer holds for all buckets of the same service.
// Operations: PutObject, and those of Remove.
func (s *Store) Conditional(ctx context.Context, probe Key) (honored bool, err error) {
	body := Bytes([]byte("cvconsumer asks whether this store honors If-None-Match\n"), "text/plain")
	defer func() {
		if removeErr := s.Remove(context.WithoutCancel(ctx), probe); removeErr != nil && err == nil {
			err = removeErr
		}
	}()
	for range 2 {
		err := s.putObject(ctx, probe, body, true)
		if errors.Is(err, ErrConflict) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// KeepsMetadata reports whether the store keeps user metadata as long as that of a sealed object, by
// writing a small object at probe and looking at it; what it wrote is removed again by version. A
// store that does not keeps no seals: all that is written would be none when it is read. Several
// processes may probe the same key. Operations: PutObject, HeadObject, and those of Remove.
func (s *Store) KeepsMetadata(ctx context.Context, probe Key) (kept bool, err error) {
	s = s.Unsealed()
	body := Bytes([]byte("cvconsumer asks whether this store keeps user metadata\n"), "text/plain")
	body.Meta = map[string]string{metaSeal: strings.Repeat("0123456789abcdef/", 12), metaMessage: strings.Repeat("CV_COMMANDS-17/", 16)}
	defer func() {
		if removeErr := s.Remove(context.WithoutCancel(ctx), probe); removeErr != nil && err == nil {
			err = removeErr
		}
	}()
	const looks = 5 // another process may have removed it just now
	for range looks {
		if err := s.putObject(ctx, probe, body, false); err != nil {
			return false, err
		}
		o, err := s.Head(ctx, probe)
		if !errors.Is(err, ErrNotFound) {
			return maps.Equal(o.Meta, body.Meta), err
		}
	}
	return false, newError("look at object", probe, ErrUnavailable, "it is not there although it was just stored")
}

// LookFirst is for a store that ignores If-None-Match (see Conditional): from now on every write
// first looks for an object at the key, and a bag's Seal compares the digests of all stored
// objects. Where two writers look at the same time the last one wins, and the other does not
// notice; Seal then fails.
func (s *Store) LookFirst() { s.looksFirst.Store(true) }

// notSupported reports whether an error means that the store does not know the operation at all.
func notSupported(err error) bool {
	return hasStatus(err, http.StatusNotImplemented, "NotImplemented", "MethodNotAllowed", "UnsupportedOperation") || hasStatus(err, http.StatusMethodNotAllowed)
}
