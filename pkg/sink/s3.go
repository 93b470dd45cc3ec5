package sink

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/rs/zerolog"
)

var errSkeleton = errors.New("not implemented yet")

// Options say how the S3 client is built. What is not given comes from the AWS SDK's default chain: AWS_REGION, AWS_ACCESS_KEY_ID,
// AWS_ENDPOINT_URL_S3, shared files, web identity, instance roles.
type Options struct {
	Endpoint        string                  // base URL of the store; empty: the default chain's
	Region          string                  // empty: the default chain's, else us-east-1 when an endpoint is configured
	PathStyle       bool                    // bucket in the path instead of the host name
	Credentials     aws.CredentialsProvider // nil: the default chain's
	Transport       http.RoundTripper       // nil: a tuned default
	MaxAttempts     int                     // tries of one request, 0: 5
	MaxBackoff      time.Duration           // longest pause between two tries, 0: 20 s
	ResponseTimeout time.Duration           // longest wait for an answer's header once a request is sent, 0: 60 s
}

// Client builds an S3 client that suits a Store.
func Client(ctx context.Context, o Options) (*s3.Client, error) { return nil, errSkeleton }

// StoreOptions are the settings of a Store.
type StoreOptions struct {
	Bucket         string
	SSE            string // server-side encryption asked for with every write: "" or "none", "AES256", "aws:kms"
	SSEKMSKeyID    string // with "aws:kms": the key's id, empty: the account's default key
	MultipartAbove int64  // larger objects go by multipart, bytes; 0: 64 MiB
	PartBytes      int64  // size of a part, bytes; 0: 8 MiB; raised so that an object has at most 10,000 parts
	Unconditional  bool   // the store ignores If-None-Match (see Conditional): look before each write, and compare digests at Seal
	Log            zerolog.Logger
	Wait           func(ctx context.Context, d time.Duration) error // pauses between own retries; nil: a timer
}

// Store is one bucket. It is safe for use by several goroutines.
type Store struct{}

// NewStore makes a store of a client.
func NewStore(api *s3.Client, o StoreOptions) *Store { return nil }

// Bucket is the bucket's name.
func (s *Store) Bucket() string { return "" }

// Body is content to be stored.
type Body struct {
	R           io.ReadSeeker
	Size        int64             // bytes
	SHA256      string            // hex; empty: computed by reading R once more
	ContentType string            // empty: application/octet-stream
	Meta        map[string]string // user metadata, besides "sha256"
}

// Bytes is a body held in memory.
func Bytes(b []byte, contentType string) Body { return Body{} }

// Object is what the store holds at a key.
type Object struct {
	Key         Key
	Bytes       int64
	SHA256      string // hex, from metadata or by reading; empty in listings
	ContentType string
	Meta        map[string]string
	Adopted     bool // Put found it there
}

// Put stores a body unless the key is taken; then it adopts what is there.
func (s *Store) Put(ctx context.Context, key Key, body Body) (Object, error) {
	return Object{}, errSkeleton
}

// Replace stores a body whatever is there.
func (s *Store) Replace(ctx context.Context, key Key, body Body) error { return errSkeleton }

// Head says what is at a key.
func (s *Store) Head(ctx context.Context, key Key) (Object, error) { return Object{}, errSkeleton }

// Open reads an object.
func (s *Store) Open(ctx context.Context, key Key) (io.ReadCloser, Object, error) {
	return nil, Object{}, errSkeleton
}

// ReadAll reads a whole object of at most max bytes.
func (s *Store) ReadAll(ctx context.Context, key Key, max int64) ([]byte, error) {
	return nil, errSkeleton
}

// List yields the objects below a prefix in key order, without digests.
func (s *Store) List(ctx context.Context, prefix Key) iter.Seq2[Object, error] { return nil }

// Find looks for the object whose key is stem + "." + an extension, and gives it with its digest.
func (s *Store) Find(ctx context.Context, stem Key) (Object, bool, error) {
	return Object{}, false, errSkeleton
}

// Remove removes every version and delete marker of the keys.
func (s *Store) Remove(ctx context.Context, keys ...Key) error { return errSkeleton }

// RemoveAll removes everything below a prefix.
func (s *Store) RemoveAll(ctx context.Context, prefix Key) (int, error) { return 0, errSkeleton }

// Conditional tells whether the store honours If-None-Match.
func (s *Store) Conditional(ctx context.Context, probe Key) (bool, error) { return false, errSkeleton }
