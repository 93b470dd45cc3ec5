package sink

import (
	"bytes"
	"context"
	"crypto/md5" // not for security: S3 wants it with DeleteObjects
	"encoding/base64"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
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
	status, says := d.ask(ctx, "GetObject", http.MethodGet, bucket, "/"+key, nil, nil)
	return status == http.StatusNotFound && strings.Contains(says, noSuchKey)
}

// empty is PlainlyEmpty of a bucket's prefix.
func (d *direct) empty(ctx context.Context, bucket, prefix string) bool {
	objects, plain := d.list(ctx, bucket, prefix)
	return plain && len(objects) == 0
}

// ListFew is List where there are hardly more than fewObjects: it asks in one request that is made
// without most of the SDK, and in the usual way where the answer is not plain. Operation:
// ListObjectsV2.
func (s *Store) ListFew(ctx context.Context, prefix Key) iter.Seq2[Object, error] {
	objects, plain := s.direct.list(ctx, s.o.Bucket, string(prefix))
	if !plain {
		return s.List(ctx, prefix)
	}
	return func(yield func(Object, error) bool) {
		for _, o := range objects {
			if !yield(o, nil) {
				return
			}
		}
	}
}

// fewObjects is how many objects a plain listing can have.
const fewObjects = 100

// list gives all objects below a prefix, if the store lists them plainly.
func (d *direct) list(ctx context.Context, bucket, prefix string) (objects []Object, plain bool) {
	if !isPlainKey(prefix) {
		return nil, false
	}
	query := url.Values{"list-type": {"2"}, "max-keys": {strconv.Itoa(fewObjects)}, "prefix": {prefix}}
	status, says := d.ask(ctx, "ListObjectsV2", http.MethodGet, bucket, "", query, nil)
	if status != http.StatusOK {
		return nil, false
	}
	return plainListing(says, prefix)
}

// plainListing reads the answer to a listing. It is not plain unless it is whole, has everything,
// and each object of it has a plain key, in order, and a size.
func plainListing(says, prefix string) (objects []Object, plain bool) {
	if !isWhole(says, "ListBucketResult") || !strings.Contains(says, "<IsTruncated>false<") || strings.Contains(says, "<CommonPrefixes") {
		return nil, false
	}
	for last := ""; ; {
		_, rest, found := strings.Cut(says, "<Contents>")
		if !found {
			return objects, !strings.Contains(says, "<Contents") // in another form
		}
		of, rest, found := strings.Cut(rest, "</Contents>")
		if !found {
			return nil, false
		}
		says = rest
		key := member(of, "Key")
		size, err := strconv.ParseInt(member(of, "Size"), 10, 64)
		if err != nil || size < 0 || key <= last || !isPlainKey(key) || !strings.HasPrefix(key, prefix) {
			return nil, false
		}
		objects, last = append(objects, Object{Key: Key(key), Bytes: size}), key
	}
}

// isWhole reports whether an answer is one whole element with this name. Comments and other markup
// that hides text is not taken apart.
func isWhole(says, name string) bool {
	return strings.Contains(says, "<"+name) && strings.HasSuffix(strings.TrimSpace(says), "</"+name+">") && !strings.Contains(says, "<!")
}

// member is the text of the one element with a name; empty where there is none, or more than one.
func member(of, name string) string {
	begin, end := "<"+name+">", "</"+name+">"
	if strings.Count(of, begin) != 1 {
		return ""
	}
	_, of, _ = strings.Cut(of, begin)
	text, _, found := strings.Cut(of, end)
	if !found {
		return ""
	}
	return text
}

// remove removes objects in one request, and reports whether the store plainly says that it did:
// that none of them is left, and that it made no delete marker. Operation: DeleteObjects.
func (d *direct) remove(ctx context.Context, bucket string, ids []types.ObjectIdentifier) bool {
	if len(ids) > fewObjects {
		return false
	}
	body := []byte(`<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`)
	for _, id := range ids {
		if id.VersionId != nil || !isPlainKey(*id.Key) {
			return false
		}
		body = append(append(append(body, "<Object><Key>"...), *id.Key...), "</Key></Object>"...)
	}
	body = append(body, "</Delete>"...)
	status, says := d.ask(ctx, "DeleteObjects", http.MethodPost, bucket, "", url.Values{"delete": {""}}, body)
	if status != http.StatusOK || !isWhole(says, "DeleteResult") || strings.Contains(says, "<Error") || strings.Contains(says, "DeleteMarker") {
		return false
	}
	for _, id := range ids {
		if !strings.Contains(says, "<Key>"+*id.Key+"</Key>") {
			return false
		}
	}
	return true
}

// ask makes a request that can be made twice, in one try. The status is 0 where there is no answer,
// or one that is too long.
func (d *direct) ask(ctx context.Context, operation, method, bucket, path string, query url.Values, body []byte) (status int, says string) {
	if d == nil || d.resting.Load() > 0 {
		return 0, ""
	}
	at, region, ok := d.locate(bucket, path)
	if !ok {
		return 0, ""
	}
	at.RawQuery = query.Encode()
	req := (&http.Request{Method: method, URL: &at, Host: at.Host, Header: make(http.Header, 8)}).
		WithContext(awsmiddleware.SetOperationName(ctx, operation))
	digest := ofNothing
	if body != nil {
		sum := md5.Sum(body)
		req.Header.Set("Content-Md5", base64.StdEncoding.EncodeToString(sum[:]))
		req.Header.Set("Content-Type", "application/xml")
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		digest = HexSHA256(body)
	}
	if err := d.sign(ctx, req, region, digest); err != nil {
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
