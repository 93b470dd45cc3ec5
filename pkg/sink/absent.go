package sink

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
)

// noSuchKey is how an answer 404 says that it speaks of the key, and not of the bucket.
const noSuchKey = "<Code>NoSuchKey</Code>"

// ofNothing is the SHA-256 of no bytes.
var ofNothing = HexSHA256(nil)

// PlainlyAbsent reports whether the store says, in one request that is made without most of the
// SDK, that nothing is at a key. False says nothing: the caller asks in the usual way. It is for
// keys at which there hardly ever is something. Operation: GetObject.
func (s *Store) PlainlyAbsent(ctx context.Context, key Key) bool {
	return s.direct.absent(ctx, s.o.Bucket, string(key))
}

// PlainlyEmpty is PlainlyAbsent of everything below a prefix: there is no object. Operation:
// ListObjectsV2.
func (s *Store) PlainlyEmpty(ctx context.Context, prefix Key) bool {
	return s.direct.empty(ctx, s.o.Bucket, string(prefix))
}

// absent is PlainlyAbsent of a bucket's key.
func (d *direct) absent(ctx context.Context, bucket, key string) bool {
	if !isPlainKey(key) {
		return false
	}
	status, says := d.look(ctx, "GetObject", bucket, "/"+key, nil)
	return status == http.StatusNotFound && strings.Contains(says, noSuchKey)
}

// empty is PlainlyEmpty of a bucket's prefix.
func (d *direct) empty(ctx context.Context, bucket, prefix string) bool {
	if !isPlainKey(prefix) {
		return false
	}
	status, says := d.look(ctx, "ListObjectsV2", bucket, "", url.Values{"list-type": {"2"}, "prefix": {prefix}})
	return status == http.StatusOK && strings.Contains(says, "<ListBucketResult") && strings.HasSuffix(strings.TrimSpace(says), "</ListBucketResult>") &&
		strings.Contains(says, "<IsTruncated>false<") && !strings.Contains(says, "<Contents") && !strings.Contains(says, "<CommonPrefixes")
}

// look makes a request that only reads, in one try. The status is 0 where there is no answer, or
// one that is too long.
func (d *direct) look(ctx context.Context, operation, bucket, path string, query url.Values) (status int, says string) {
	if d == nil || d.resting.Load() > 0 {
		return 0, ""
	}
	at, region, ok := d.endpoints.plain(bucket)
	if !ok {
		return 0, ""
	}
	at.Path = strings.TrimSuffix(at.Path, "/") + path
	if at.Path == "" {
		at.Path = "/"
	}
	at.RawQuery = query.Encode()
	req := (&http.Request{Method: http.MethodGet, URL: &at, Host: at.Host, Header: make(http.Header, 8)}).
		WithContext(awsmiddleware.SetOperationName(ctx, operation))
	if err := d.sign(ctx, req, region, ofNothing); err != nil {
		return 0, ""
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody+1))
	if err != nil || len(b) > maxErrorBody {
		return 0, ""
	}
	return resp.StatusCode, string(b)
}
