package sink

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	// maxDirect is the largest body of a direct write, in bytes: with a larger one the SDK asks
	// first whether the store will take it.
	maxDirect = 2 << 20
	// maxCopied is the largest body that is copied to go in one write, in bytes: with its header it
	// fits into a connection's buffer.
	maxCopied = writeBuffer - 8<<10
	// restAfterFailure is how many writes the SDK makes after a direct one failed.
	restAfterFailure = 64
	// maxErrorBody bounds what is read of an answer that has a body, in bytes.
	maxErrorBody = 64 << 10

	headerSSE    = "X-Amz-Server-Side-Encryption"
	headerSSEKey = "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"
)

// direct makes conditional writes of small objects, which are most requests of an export, without
// the middleware of the SDK: that takes four times the processor time of all else that a client
// does for such a write. The SDK still resolves the endpoint, gives the credentials and signs.
// There is one try, and no error: what does not plainly succeed is a write that the SDK makes
// afterwards, with its retries and errors. A condition makes that safe: if the first write was
// carried out nevertheless, the second finds its object. Looks at what is hardly ever there are
// made in the same way, and so are short lists and removals (plain.go).
type direct struct {
	endpoints   *resolvedOnce
	client      s3.HTTPClient
	signer      s3.HTTPSignerV4
	credentials aws.CredentialsProvider
	resting     atomic.Int32 // how many writes the SDK makes before the next direct one
}

// newDirect is for the requests of a client that [Client] made; nil for another one, whose owner
// may have changed what its requests are.
func newDirect(api *s3.Client) *direct {
	o := api.Options()
	endpoints, ok := o.EndpointResolverV2.(*resolvedOnce)
	if !ok || len(o.APIOptions) != endpoints.apiOptions || o.Credentials == nil || aws.IsCredentialsProvider(o.Credentials, aws.AnonymousCredentials{}) {
		return nil
	}
	return &direct{endpoints: endpoints, client: o.HTTPClient, signer: o.HTTPSignerV4, credentials: o.Credentials}
}

// put makes a write, if it is one that can be made so, and reports whether it succeeded.
func (d *direct) put(ctx context.Context, in *s3.PutObjectInput, digest string) (*s3.PutObjectOutput, bool) {
	if d == nil || d.rests() {
		return nil, false
	}
	body, small := in.Body.(*bytes.Reader)
	if !small || body.Size() > maxDirect || body.Size() != *in.ContentLength || in.IfNoneMatch == nil || in.ObjectLockMode != "" {
		return nil, false
	}
	req, region := d.request(in)
	if req == nil {
		return nil, false
	}
	if err := d.sign(ctx, req, region, digest); err != nil {
		return nil, false
	}
	return d.send(ctx, req, body)
}

// rests reports whether the SDK makes the next write.
func (d *direct) rests() bool { return d.resting.Load() > 0 && d.resting.Add(-1) >= 0 }

// signingName is how signatures name S3.
const signingName = "s3"

// escapedOnce has paths signed as they are sent.
func escapedOnce(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }

// sign signs a request whose body has this digest (hex), and adds the header fields that are not
// signed.
func (d *direct) sign(ctx context.Context, req *http.Request, region, digest string) error {
	keys, err := d.credentials.Retrieve(ctx)
	if err != nil {
		return err //nolint:wrapcheck // the SDK makes the request then, and says what is wrong
	}
	req.Header.Set("X-Amz-Content-Sha256", digest)
	now := time.Now() //nolint:forbidigo // the store compares it with the real clock
	if err := d.signer.SignHTTP(ctx, keys, req, digest, signingName, region, now, escapedOnce); err != nil {
		return err //nolint:wrapcheck // as above
	}
	req.Header.Set("Accept-Encoding", "identity") // see encodingUnsigned
	req.Header.Set("User-Agent", "cvconsumer")
	return nil
}

// request is the request of a write, not signed yet, and the region to sign it for; nil where the
// SDK has to make it.
func (d *direct) request(in *s3.PutObjectInput) (*http.Request, string) {
	at, region, ok := d.locate(*in.Bucket, "/"+*in.Key)
	if !ok || !isPlainKey(*in.Key) {
		return nil, ""
	}
	h := make(http.Header, 16)
	for name, value := range in.Metadata {
		h[http.CanonicalHeaderKey("X-Amz-Meta-"+name)] = []string{value}
	}
	for _, field := range [...]struct{ name, value string }{
		{"Content-Type", aws.ToString(in.ContentType)},
		{"If-None-Match", *in.IfNoneMatch},
		{"X-Amz-Checksum-Sha256", aws.ToString(in.ChecksumSHA256)},
		{"X-Amz-Tagging", aws.ToString(in.Tagging)},
		{headerSSE, string(in.ServerSideEncryption)},
		{headerSSEKey, aws.ToString(in.SSEKMSKeyId)},
	} {
		if field.value != "" {
			h[field.name] = []string{field.value}
		}
	}
	return &http.Request{Method: http.MethodPut, URL: &at, Host: at.Host, Header: h, ContentLength: *in.ContentLength}, region
}

// locate is where a bucket's requests go, with a path in the bucket; empty for the bucket itself.
func (d *direct) locate(bucket, path string) (at url.URL, region string, ok bool) {
	at, region, ok = d.endpoints.plain(bucket)
	if at.Path = strings.TrimSuffix(at.Path, "/") + path; at.Path == "" {
		at.Path = "/"
	}
	return at, region, ok
}

// isPlainKey reports whether a key is the same in a path, however that is escaped.
func isPlainKey(key string) bool {
	for i := range len(key) {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '/':
		default:
			return false
		}
	}
	return key != "" && key[0] != '/'
}

// copies are buffers for bodies.
var copies = sync.Pool{New: func() any { return new([maxCopied]byte) }}

// send sends a signed write, as answerChanges has the SDK send one.
func (d *direct) send(ctx context.Context, req *http.Request, body *bytes.Reader) (*s3.PutObjectOutput, bool) {
	var written atomic.Bool
	answered, done := untilAnswered(ctx, d.endpoints.patience, func(httptrace.WroteRequestInfo) { written.Store(true) })
	defer done()
	switch size := body.Size(); {
	case size == 0:
		// Of any other reader net/http takes a length of 0 for unknown, and sends chunks.
		req.Body = http.NoBody
	case size <= maxCopied:
		// The transport takes header and body into one write if it knows the reader. It may read on
		// after it gave its answer, so it gets a copy.
		copied := copies.Get().(*[maxCopied]byte)
		_, _ = body.ReadAt(copied[:size], 0) // memory
		req.Body = io.NopCloser(bytes.NewReader(copied[:size]))
		defer func() {
			if written.Load() {
				copies.Put(copied)
			}
		}()
	default:
		sent := &sentBody{from: *body}
		defer func() { _ = sent.Close() }()
		req.Body = sent
	}
	resp, err := d.client.Do(req.WithContext(awsmiddleware.SetOperationName(answered, "PutObject")))
	if err != nil {
		d.resting.Store(restAfterFailure)
		return nil, false
	}
	n, err := io.CopyN(io.Discard, resp.Body, maxErrorBody)
	_ = resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusPreconditionFailed, resp.StatusCode == http.StatusConflict:
		return nil, false
	case resp.StatusCode != http.StatusOK || n > 0 || !errors.Is(err, io.EOF): // an answer 200 may have an error in its body
		d.resting.Store(restAfterFailure)
		return nil, false
	}
	out := &s3.PutObjectOutput{ServerSideEncryption: types.ServerSideEncryption(resp.Header.Get(headerSSE))}
	if sum := resp.Header.Get("X-Amz-Checksum-Sha256"); sum != "" {
		out.ChecksumSHA256 = &sum
	}
	if key := resp.Header.Get(headerSSEKey); key != "" {
		out.SSEKMSKeyId = &key
	}
	return out, true
}

// sentBody is the body of one request. Once it is closed nothing reads what it reads from, although
// the transport may still hold it.
type sentBody struct {
	mu     sync.Mutex
	from   bytes.Reader
	closed bool
}

// Read implements io.Reader.
func (b *sentBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.from.Read(p)
}

// Close implements io.Closer.
func (b *sentBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}
