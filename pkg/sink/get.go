package sink

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Describe is Head with digest and size. It reads the object where the store does not say them, and
// of a sealed store also where the store has no checksum of its own.
// Errors: ErrNotFound and those of every request. Operations: HeadObject, GetObject.
func (s *Store) Describe(ctx context.Context, key Key) (Object, error) {
	object, err := s.Unsealed().Head(ctx, key)
	if err != nil {
		return Object{}, err
	}
	if _, err := s.checkClaim("look at object", object); err != nil {
		return Object{}, err
	}
	// A writer to the bucket can copy metadata: without a checksum of the store itself, the content
	// of a sealed object is read.
	if object.SHA256 != "" && object.Bytes >= 0 && (s.sealer == nil || object.checked) {
		return object, nil
	}
	return s.digest(ctx, key)
}

// describeKnown is Describe of an object whose digest is known: one without a right seal is read.
func (s *Store) describeKnown(ctx context.Context, key Key) (Object, error) {
	object, err := s.Describe(ctx, key)
	if errors.Is(err, ErrUnsealed) {
		return s.Unsealed().digest(ctx, key)
	}
	return object, err
}

// digest describes an object by reading it; of a sealed store, no more bytes than its seal says.
func (s *Store) digest(ctx context.Context, key Key) (Object, error) {
	const op = "read object"
	body, object, err := s.Unsealed().Open(ctx, key)
	if err != nil {
		return Object{}, err
	}
	defer func() { _ = body.Close() }()
	claimed, err := s.checkClaim(op, object) // it may be another object by now
	if err != nil {
		return Object{}, err
	}
	var from io.Reader = body
	if claimed.Bytes >= 0 {
		from = io.LimitReader(body, claimed.Bytes+1) // one more shows that it is another content
	}
	if object.Bytes, object.SHA256, err = sum(ctx, key, from); err != nil {
		return Object{}, err
	}
	if err := s.checkSeal(op, object); err != nil {
		return Object{}, err
	}
	return object, nil
}

// Holds reports whether what is at a key is the object that o describes: it reads it, at most one
// byte more than o has, and goes by nothing else, seals included. Errors: those of every request.
// Operation: GetObject.
func (s *Store) Holds(ctx context.Context, o Object) (bool, error) {
	body, there, err := s.Unsealed().Open(ctx, o.Key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = body.Close() }()
	if there.Bytes >= 0 && there.Bytes != o.Bytes {
		return false, nil
	}
	n, digest, err := sum(ctx, o.Key, io.LimitReader(body, o.Bytes+1))
	return n == o.Bytes && digest == o.SHA256, err
}

// digestOf is the digest of the content of a version, which it reads.
func (s *Store) digestOf(ctx context.Context, key Key, version *string) (string, error) {
	body, _, err := s.Unsealed().openVersion(ctx, key, version)
	if err != nil {
		return "", err
	}
	defer func() { _ = body.Close() }()
	_, digest, err := sum(ctx, key, body)
	return digest, err
}

// sum reads an object's body, and gives its size and its SHA-256 in hex.
func sum(ctx context.Context, key Key, body io.Reader) (size int64, digest string, err error) {
	h := sha256.New()
	if size, err = io.Copy(h, body); err != nil {
		return 0, "", wrapError(ctx, "read object", key, err)
	}
	return size, hex.EncodeToString(h.Sum(nil)), nil
}

// measure is Head with a size. Where the store does not say it, measure reads at most atMost+1
// bytes.
func (s *Store) measure(ctx context.Context, key Key, atMost int64) (Object, error) {
	s = s.Unsealed()
	object, err := s.Head(ctx, key)
	if err != nil || object.Bytes >= 0 {
		return object, err
	}
	body, object, err := s.Open(ctx, key)
	if err != nil {
		return Object{}, err
	}
	defer func() { _ = body.Close() }()
	if object.Bytes < 0 {
		object.Bytes, err = io.Copy(io.Discard, io.LimitReader(body, atMost+1))
	}
	return object, wrapError(ctx, "read object", key, err)
}

// Head describes what is at a key. SHA256 is empty when neither the store's checksum (of the whole
// object) nor metadata has it, or when the two contradict each other; of a sealed store it is
// always there. Errors: ErrNotFound and those of every request. Operation: HeadObject; of a sealed
// store those of Describe.
func (s *Store) Head(ctx context.Context, key Key) (Object, error) {
	if s.sealer != nil {
		return s.Describe(ctx, key)
	}
	var out *s3.HeadObjectOutput
	err := s.offer(ctx, key, checksums, func(with feature) (err error) {
		in := &s3.HeadObjectInput{Bucket: &s.o.Bucket, Key: aws.String(string(key))}
		if with&checksums != 0 {
			in.ChecksumMode = types.ChecksumModeEnabled
		}
		out, err = s.api.HeadObject(ctx, in, checksumsAsHeaders)
		return wrapError(ctx, "look at object", key, err)
	})
	if err != nil {
		return Object{}, err
	}
	if s.lacks(lengths) {
		out.ContentLength = nil
	}
	return object(key, out.ContentLength, out.ContentType, out.Metadata, out.ChecksumSHA256), nil
}

// object is the object that an answer's headers describe.
func object(key Key, length *int64, contentType *string, meta map[string]string, checksum *string) Object {
	o := Object{Key: key, Bytes: sizeOrUnknown(length), ContentType: aws.ToString(contentType)}
	for name, value := range meta {
		if strings.EqualFold(name, metaSHA256) {
			if ValidDigest(value) {
				o.SHA256 = value
			}
			continue
		}
		if o.Meta == nil {
			o.Meta = make(map[string]string, len(meta))
		}
		o.Meta[strings.ToLower(name)] = value
	}
	// The checksum of a multipart object is one of its parts' checksums, "<base64>-<parts>": it
	// does not decode.
	if sum, err := base64.StdEncoding.DecodeString(aws.ToString(checksum)); err == nil && len(sum) == sha256.Size {
		digest := hex.EncodeToString(sum)
		if o.SHA256 != "" && o.SHA256 != digest {
			digest = "" // metadata that the bytes contradict: let them be read
		}
		o.SHA256, o.checked = digest, digest != ""
	}
	return o
}

// sizeOrUnknown is a size that the store gave, -1 when it gave none: that is not 0.
func sizeOrUnknown(size *int64) int64 {
	if size == nil {
		return -1
	}
	return *size
}

// Open reads an object from its start; of a sealed store, once it was read and checked. A
// connection that breaks while the body is read, or brings nothing for 30 s, is taken up again
// where it broke, as long as the object is the same; Read gives the store's errors. The object's
// SHA256 may be empty, and its Bytes -1, as with Head. Errors: ErrNotFound and those of every
// request. Operation: GetObject.
func (s *Store) Open(ctx context.Context, key Key) (io.ReadCloser, Object, error) {
	if s.sealer != nil {
		return s.sealedContent(ctx, key, math.MaxInt64-1)
	}
	return s.openVersion(ctx, key, nil)
}

// openVersion is Open of a version of a plain store's object; nil is the one that is there now.
func (s *Store) openVersion(ctx context.Context, key Key, version *string) (io.ReadCloser, Object, error) {
	r := &reader{ctx: ctx, s: s, key: key, version: version, size: -1}
	out, err := r.get(false)
	if err != nil {
		return nil, Object{}, err
	}
	r.size, r.etag = sizeOrUnknown(out.ContentLength), out.ETag
	return r, object(key, out.ContentLength, out.ContentType, out.Metadata, out.ChecksumSHA256), nil
}

// readTries bounds how often reading is taken up again without a byte of progress.
const readTries = 4

// reader reads an object's body across broken connections.
type reader struct {
	ctx  context.Context //nolint:containedctx // a reader lives as long as the call whose context it was opened with
	s    *Store
	key  Key
	body io.ReadCloser
	etag *string

	version *string // nil: the one that is there now

	off   int64
	size  int64 // -1: not known
	ends  bool  // the end of the body cannot be taken for a broken connection
	tries int
	err   error

	giveUp context.CancelCauseFunc // ends the request whose body is read
}

// stallTimeout is how long a body may bring nothing before its connection counts as broken.
const stallTimeout = 30 * time.Second

// errStalled is why a connection was given up.
var errStalled = fmt.Errorf("nothing came for %s", stallTimeout)

// readSoon reads from the body. A connection that brings nothing for stallTimeout is given up.
func (r *reader) readSoon(p []byte) (int, error) {
	giveUp := r.giveUp // the next connection has another
	defer time.AfterFunc(stallTimeout, func() { giveUp(errStalled) }).Stop()
	return r.body.Read(p) //nolint:wrapcheck // Read wraps it
}

// get asks for the object, or for the rest of it.
func (r *reader) get(rest bool) (*s3.GetObjectOutput, error) {
	in := &s3.GetObjectInput{Bucket: &r.s.o.Bucket, Key: aws.String(string(r.key)), VersionId: r.version, IfMatch: r.etag}
	if rest {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", r.off))
	}
	ctx, giveUp := context.WithCancelCause(r.ctx)
	out, err := r.s.api.GetObject(ctx, in, checksumsAsHeaders)
	if err != nil {
		giveUp(nil)
		return nil, wrapError(r.ctx, "get object", r.key, err)
	}
	if rest {
		if err := r.checkContinues(out); err != nil {
			_ = out.Body.Close()
			giveUp(nil)
			return nil, err
		}
	}
	r.giveUp = giveUp
	r.body, r.ends = out.Body, delimited(out)
	return out, nil
}

// checkContinues checks that an answer is the rest of the object, and of the same one.
func (r *reader) checkContinues(out *s3.GetObjectOutput) error {
	const op = "get object"
	if r.etag == nil {
		return newError(op, r.key, ErrUnavailable, "the body broke off after %d bytes, and without an ETag the rest may be another object's", r.off)
	}
	if out.ContentRange != nil {
		var first, last, whole int64
		n, _ := fmt.Sscanf(*out.ContentRange, "bytes %d-%d/%d", &first, &last, &whole)
		if n < 2 || first != r.off || n == 3 && r.size >= 0 && whole != r.size {
			return newError(op, r.key, ErrUnavailable, "asked for the bytes from %d on, got %q of %d", r.off, *out.ContentRange, r.size)
		}
		if n == 3 {
			r.size = whole
		}
		return nil
	}
	if r.size < 0 || sizeOrUnknown(out.ContentLength) != r.size-r.off {
		return newError(op, r.key, ErrUnavailable, "asked for the bytes from %d on, got %d bytes of %d", r.off, sizeOrUnknown(out.ContentLength), r.size)
	}
	return nil
}

// delimited reports whether an answer says where its body ends. Another one ends where the
// connection does, for whatever reason.
func delimited(out *s3.GetObjectOutput) bool {
	raw, ok := awsmiddleware.GetRawResponse(out.ResultMetadata).(*smithyhttp.Response)
	return ok && (raw.ContentLength >= 0 || raw.ProtoMajor >= 2 || len(raw.TransferEncoding) > 0)
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := r.readSoon(p)
		r.off += int64(n)
		if n > 0 {
			r.tries = 0
		}
		switch {
		case r.size >= 0 && r.off > r.size:
			r.err = newError("get object", r.key, ErrUnavailable, "got more than the %d bytes announced", r.size)
			return 0, r.err
		case r.off == r.size && (err == nil || n > 0):
			return n, nil // the next Read returns io.EOF
		case r.off == r.size, r.size < 0 && r.ends && errors.Is(err, io.EOF):
			r.err = io.EOF
			return n, io.EOF
		case err == nil && n == 0:
			continue
		case err == nil:
			return n, nil
		}
		// The body broke off, or ended without a sign that it was complete.
		_ = r.Close()
		if r.tries++; r.ctx.Err() != nil || r.tries > readTries {
			r.err = hideEOF(wrapError(r.ctx, "get object", r.key, fmt.Errorf("body broke off after %d bytes: %w", r.off, err)))
			return n, r.err
		}
		r.s.o.Log.Debug().Str("key", string(r.key)).Int64("offset", r.off).Err(err).Msg("body broke off, asking for the rest")
		_, restErr := r.get(true)
		if r.size < 0 && errors.Is(err, io.EOF) && hasStatus(restErr, http.StatusRequestedRangeNotSatisfiable, "InvalidRange") {
			restErr = io.EOF // that was the whole object
		}
		switch {
		case restErr == io.EOF: //nolint:errorlint // ours; that of a connection that was closed is wrapped, and no end
			r.err = io.EOF
		case restErr != nil:
			r.err = hideEOF(restErr)
		}
		if r.err != nil || n > 0 {
			return n, r.err
		}
	}
}

// hideEOF hides an io.EOF in an error, so that readers do not take it for the end of the content: a
// connection that is closed before its answer is an io.EOF, too.
func hideEOF(err error) error {
	var e *Error
	if !errors.Is(err, io.EOF) || !errors.As(err, &e) {
		return err
	}
	hidden := *e
	hidden.Err = errors.New(e.detail())
	return &hidden
}

// Close implements io.Closer.
func (r *reader) Close() error {
	defer r.giveUp(nil)
	return r.body.Close() //nolint:wrapcheck // an io.Closer's own
}

// ReadAll reads a whole object of at most limit bytes, and checks it against its digest where that
// is known; a larger one is an error that matches no sentinel. Errors: ErrNotFound, ErrUnavailable
// (content that does not match its digest) and those of every request. Operation: GetObject.
func (s *Store) ReadAll(ctx context.Context, key Key, limit int64) ([]byte, error) {
	body, object, err := s.open(ctx, key, limit)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	return readAll(ctx, body, object, limit)
}

// open is Open for at most limit bytes.
func (s *Store) open(ctx context.Context, key Key, limit int64) (io.ReadCloser, Object, error) {
	if s.sealer != nil {
		return s.sealedContent(ctx, key, limit)
	}
	return s.Open(ctx, key)
}

// readAll is an object's content, which its digest is checked with.
func readAll(ctx context.Context, body io.Reader, object Object, limit int64) ([]byte, error) {
	const op = "read object"
	if object.Bytes > limit {
		return nil, tooLarge(op, object.Key, limit)
	}
	var b bytes.Buffer
	b.Grow(int(max(object.Bytes, 0)) + bytes.MinRead)
	if _, err := b.ReadFrom(io.LimitReader(body, limit+1)); err != nil {
		return nil, wrapError(ctx, op, object.Key, err)
	}
	if int64(b.Len()) > limit {
		return nil, tooLarge(op, object.Key, limit)
	}
	if got := HexSHA256(b.Bytes()); object.SHA256 != "" && got != object.SHA256 {
		return nil, newError(op, object.Key, ErrUnavailable, "content has SHA-256 %s, expected %s", got, object.SHA256)
	}
	return b.Bytes(), nil
}

// tooLarge is the error of an object that has more bytes than are read.
func tooLarge(op string, key Key, limit int64) error {
	return newError(op, key, nil, "it has more than the %d bytes that are allowed", limit)
}
