package sink

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/smithy-go/middleware"
)

// noSuchKey is how an answer 404 says that it speaks of the key, and not of the bucket.
const noSuchKey = "<Code>NoSuchKey</Code>"

// ofNothing is the SHA-256 of no bytes.
var ofNothing = HexSHA256(nil)

// PlainlyAbsent reports whether the store says at once, of a request that is made without most of
// the SDK, that nothing is at a key. False says nothing: the caller asks in the usual way. It is for
// keys at which there hardly ever is something. Operation: GetObject.
func (s *Store) PlainlyAbsent(ctx context.Context, key Key) bool {
	return s.direct.absent(ctx, s.o.Bucket, string(key))
}

// absent is PlainlyAbsent of a bucket's key.
func (d *direct) absent(ctx context.Context, bucket, key string) bool {
	if d == nil || d.resting.Load() > 0 || !isPlainKey(key) {
		return false
	}
	at, region, ok := d.endpoints.plain(bucket)
	if !ok {
		return false
	}
	at.Path = strings.TrimSuffix(at.Path, "/") + "/" + key
	req := (&http.Request{Method: http.MethodGet, URL: &at, Host: at.Host, Header: make(http.Header, 8)}).
		WithContext(middleware.WithOperationName(ctx, "GetObject"))
	keys, err := d.credentials.Retrieve(ctx)
	if err != nil {
		return false
	}
	req.Header.Set("X-Amz-Content-Sha256", ofNothing)
	now := time.Now() //nolint:forbidigo // the store compares it with the real clock
	if err := d.signer.SignHTTP(ctx, keys, req, ofNothing, signingName, region, now, escapedOnce); err != nil {
		return false
	}
	req.Header.Set("Accept-Encoding", "identity") // see encodingUnsigned
	req.Header.Set("User-Agent", "cvconsumer")
	resp, err := d.client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		return false
	}
	says, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	return err == nil && strings.Contains(string(says), noSuchKey)
}
