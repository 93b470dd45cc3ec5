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
	"iter"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/rs/zerolog"
)

const (
	// metaSHA256 is the user metadata that holds an object's SHA-256 in hex.
	metaSHA256 = "sha256"
	// putTries bounds how often a write is begun anew when its key is taken and freed again
	// meanwhile.
	putTries = 4
)

// StoreOptions are the settings of a Store.
type StoreOptions struct {
	Bucket         string
	SSE            string // server-side encryption asked for with every write: "" or "none", "AES256", "aws:kms"
	SSEKMSKeyID    string // with "aws:kms": the key's id; empty: the account's default key
	MultipartAbove int64  // larger objects go by multipart, bytes; 0: 64 MiB
	PartBytes      int64  // size of a part, bytes; 0: 8 MiB; raised so that an object has at most 10,000 parts
	Log            zerolog.Logger
	Wait           func(ctx context.Context, d time.Duration) error // pauses between own retries; nil: a timer
}

// Store is one bucket of an S3-compatible store. It is safe for use by several goroutines.
type Store struct {
	api *s3.Client
	o   StoreOptions

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
	return &Store{api: api, o: o}
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

// Body is content to be stored.
type Body struct {
	R           io.ReadSeeker     // read from its start, more than once
	Size        int64             // bytes
	SHA256      string            // hex; empty: computed by reading R once more, and Size with it
	ContentType string            // empty: application/octet-stream
	Meta        map[string]string // user metadata besides "sha256"; lower-case names, ASCII values
}

// Bytes is a body held in memory.
func Bytes(b []byte, contentType string) Body {
	return Body{R: bytes.NewReader(b), Size: int64(len(b)), SHA256: hexSHA256(b), ContentType: contentType}
}

// hexSHA256 is the SHA-256 of b in hex.
func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Object is what the store holds at a key.
type Object struct {
	Key         Key
	Bytes       int64  // -1: the store does not say; never so of Put, Find and Describe
	SHA256      string // hex; from the store's checksum, from metadata or by reading; empty in listings
	ContentType string
	Meta        map[string]string // without "sha256"
	Adopted     bool              // Put found it there; its digest and size may differ from the body's
}

// Put stores a body unless its key is taken; the first writer wins, and everyone else adopts what
// is there: the object returned has the digest and size of what is stored. The body's SHA-256
// travels as a checksum that the store checks, and is kept as metadata "sha256". Bodies above
// MultipartAbove go by multipart, without that metadata, so adopting one means reading it.
//
// Errors: ErrThrottled, ErrUnavailable, ErrMisconfigured; ErrConflict when the key was taken and
// freed again at every try; ErrNotKept when the store answers with another checksum or without the
// encryption asked for. Operations: PutObject, HeadObject; multipart: CreateMultipartUpload,
// UploadPart, CompleteMultipartUpload, AbortMultipartUpload.
func (s *Store) Put(ctx context.Context, key Key, body Body) (Object, error) {
	body, err := complete(body)
	if err != nil {
		return Object{}, wrapError(ctx, "read the body of object", key, err)
	}
	multipart := body.Size > s.o.MultipartAbove
	for try := 1; ; try++ {
		// A large body is not sent in vain, and a store without conditional writes is asked first.
		if multipart || s.looksFirst.Load() {
			object, err := s.adopt(ctx, key)
			if !errors.Is(err, ErrNotFound) {
				return object, err
			}
		}
		if multipart {
			err = s.putMultipart(ctx, key, body)
		} else {
			err = s.putObject(ctx, key, body, true)
		}
		switch {
		case err == nil:
			return Object{Key: key, Bytes: body.Size, SHA256: body.SHA256, ContentType: body.ContentType, Meta: body.Meta}, nil
		case !errors.Is(err, ErrConflict):
			return Object{}, err
		}
		object, adoptErr := s.adopt(ctx, key)
		if !errors.Is(adoptErr, ErrNotFound) {
			return object, adoptErr
		}
		if try == putTries {
			return Object{}, err
		}
	}
}

// Replace stores a body whatever is at the key. Nothing in a bag is stored so; it is for working
// objects that are no truth. Operation: PutObject.
func (s *Store) Replace(ctx context.Context, key Key, body Body) error {
	body, err := complete(body)
	if err != nil {
		return wrapError(ctx, "read the body of object", key, err)
	}
	return s.putObject(ctx, key, body, false)
}

// complete fills in what a body does not say of itself.
func complete(body Body) (Body, error) {
	if body.R == nil {
		body.R = bytes.NewReader(nil)
	}
	if body.ContentType == "" {
		body.ContentType = "application/octet-stream"
	}
	if body.SHA256 == "" {
		if _, err := body.R.Seek(0, io.SeekStart); err != nil {
			return body, err
		}
		h := sha256.New()
		n, err := io.Copy(h, body.R)
		if err != nil {
			return body, err
		}
		body.SHA256, body.Size = hex.EncodeToString(h.Sum(nil)), n
	}
	if sum, err := hex.DecodeString(body.SHA256); err != nil || len(sum) != sha256.Size {
		return body, fmt.Errorf("%q is not a SHA-256 in hex", body.SHA256)
	}
	return body, nil
}

// putObject makes one PutObject call; conditional: only if nothing is at the key (else
// ErrConflict).
func (s *Store) putObject(ctx context.Context, key Key, body Body, conditional bool) error {
	const op = "put object"
	if _, err := body.R.Seek(0, io.SeekStart); err != nil {
		return wrapError(ctx, op, key, err)
	}
	checksum := base64SHA256(body.SHA256)
	in := &s3.PutObjectInput{
		Bucket:         &s.o.Bucket,
		Key:            aws.String(string(key)),
		Body:           body.R,
		ContentLength:  &body.Size,
		ContentType:    &body.ContentType,
		ChecksumSHA256: &checksum,
		Metadata:       metadata(body.Meta, body.SHA256),
	}
	in.ServerSideEncryption, in.SSEKMSKeyId = s.encryption()
	if conditional {
		in.IfNoneMatch = aws.String("*")
	}
	out, err := s.api.PutObject(ctx, in, checksumsAsHeaders)
	if err != nil {
		return wrapError(ctx, op, key, err)
	}
	if got := aws.ToString(out.ChecksumSHA256); got != "" && got != checksum {
		return newError(op, key, ErrNotKept, "the store answered with SHA-256 %s for %s", got, checksum)
	}
	return s.checkEncryption(op, key, out.ServerSideEncryption)
}

// encryption is the encryption to ask for.
func (s *Store) encryption() (types.ServerSideEncryption, *string) {
	if s.o.SSE == string(types.ServerSideEncryptionAwsKms) && s.o.SSEKMSKeyID != "" {
		return types.ServerSideEncryptionAwsKms, &s.o.SSEKMSKeyID
	}
	return types.ServerSideEncryption(s.o.SSE), nil
}

// checkEncryption compares the encryption the store says it used with the one asked for.
func (s *Store) checkEncryption(op string, key Key, got types.ServerSideEncryption) error {
	if s.o.SSE != "" && string(got) != s.o.SSE {
		return newError(op, key, ErrNotKept, "encryption %s was asked for, the store answered %q", s.o.SSE, got)
	}
	return nil
}

// metadata is an object's user metadata with its digest, if that is to be kept.
func metadata(meta map[string]string, digest string) map[string]string {
	if digest == "" {
		return meta
	}
	out := maps.Clone(meta)
	if out == nil {
		out = make(map[string]string, 1)
	}
	out[metaSHA256] = digest
	return out
}

// base64SHA256 turns a valid hex digest into the form of checksum headers.
func base64SHA256(digest string) string {
	sum, _ := hex.DecodeString(digest)
	return base64.StdEncoding.EncodeToString(sum)
}

// adopt describes what is stored at a key, with its digest.
func (s *Store) adopt(ctx context.Context, key Key) (Object, error) {
	object, err := s.Describe(ctx, key)
	if err != nil {
		return Object{}, err
	}
	object.Adopted = true
	return object, nil
}

// Describe is Head with digest and size, for which the object is read where the store does not say
// them.
// Errors: ErrNotFound and those of every request. Operations: HeadObject, GetObject.
func (s *Store) Describe(ctx context.Context, key Key) (Object, error) {
	object, err := s.Head(ctx, key)
	if err != nil || object.SHA256 != "" && object.Bytes >= 0 {
		return object, err
	}
	body, _, err := s.Open(ctx, key)
	if err != nil {
		return Object{}, err
	}
	defer func() { _ = body.Close() }()
	h := sha256.New()
	n, err := io.Copy(h, body)
	if err != nil {
		return Object{}, wrapError(ctx, "read object", key, err)
	}
	object.Bytes, object.SHA256 = n, hex.EncodeToString(h.Sum(nil))
	return object, nil
}

// measure is Head with a size, for which at most atMost bytes and one more are read where the store
// does not say it.
func (s *Store) measure(ctx context.Context, key Key, atMost int64) (Object, error) {
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

// Head says what is at a key. SHA256 is empty when neither the store's checksum (of the whole
// object) nor metadata has it, or when the two contradict each other. Errors: ErrNotFound and those
// of every request. Operation: HeadObject.
func (s *Store) Head(ctx context.Context, key Key) (Object, error) {
	out, err := s.api.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket:       &s.o.Bucket,
		Key:          aws.String(string(key)),
		ChecksumMode: types.ChecksumModeEnabled,
	}, checksumsAsHeaders)
	if err != nil {
		return Object{}, wrapError(ctx, "look at object", key, err)
	}
	return object(key, out.ContentLength, out.ContentType, out.Metadata, out.ChecksumSHA256), nil
}

// object is what an answer's headers say of an object.
func object(key Key, length *int64, contentType *string, meta map[string]string, checksum *string) Object {
	o := Object{Key: key, Bytes: said(length), ContentType: aws.ToString(contentType)}
	for name, value := range meta {
		if strings.EqualFold(name, metaSHA256) {
			if validDigest(value) {
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
		o.SHA256 = digest
	}
	return o
}

// said is a size that the store gave, -1 when it gave none: that is not 0.
func said(size *int64) int64 {
	if size == nil {
		return -1
	}
	return *size
}

// validDigest tells a SHA-256 in lower-case hex.
func validDigest(s string) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Open reads an object from its start. A connection that breaks while the body is read is taken up
// again where it broke, as long as the object is the same; Read gives the store's errors. The
// object's SHA256 may be empty, and its Bytes -1, as with Head. Errors: ErrNotFound and those of
// every request. Operation: GetObject.
func (s *Store) Open(ctx context.Context, key Key) (io.ReadCloser, Object, error) {
	r := &reader{ctx: ctx, s: s, key: key, size: -1}
	out, err := r.get(false)
	if err != nil {
		return nil, Object{}, err
	}
	r.size, r.etag = said(out.ContentLength), out.ETag
	return r, object(key, out.ContentLength, out.ContentType, out.Metadata, out.ChecksumSHA256), nil
}

// readTries bounds how often reading is taken up again without a byte of progress.
const readTries = 4

// reader reads an object's body across broken connections.
type reader struct {
	ctx   context.Context //nolint:containedctx // a reader lives as long as the call whose context it was opened with
	s     *Store
	key   Key
	body  io.ReadCloser
	etag  *string
	off   int64
	size  int64 // -1: not known
	ends  bool  // the end of the body cannot be taken for a broken connection
	tries int
	err   error
}

// get asks for the object, or for the rest of it.
func (r *reader) get(rest bool) (*s3.GetObjectOutput, error) {
	in := &s3.GetObjectInput{Bucket: &r.s.o.Bucket, Key: aws.String(string(r.key)), IfMatch: r.etag}
	if rest {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", r.off))
	}
	out, err := r.s.api.GetObject(r.ctx, in, checksumsAsHeaders)
	if err != nil {
		return nil, wrapError(r.ctx, "get object", r.key, err)
	}
	if rest {
		if err := r.goesOn(out); err != nil {
			_ = out.Body.Close()
			return nil, err
		}
	}
	r.body, r.ends = out.Body, delimited(out)
	return out, nil
}

// goesOn checks that an answer is the rest of the object, and of the same one.
func (r *reader) goesOn(out *s3.GetObjectOutput) error {
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
	if r.size < 0 || said(out.ContentLength) != r.size-r.off {
		return newError(op, r.key, ErrUnavailable, "asked for the bytes from %d on, got %d bytes of %d", r.off, said(out.ContentLength), r.size)
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
		n, err := r.body.Read(p)
		r.off += int64(n)
		if n > 0 {
			r.tries = 0
		}
		switch {
		case r.size >= 0 && r.off > r.size:
			r.err = newError("get object", r.key, ErrUnavailable, "got more than the %d bytes announced", r.size)
			return 0, r.err
		case r.off == r.size && (err == nil || n > 0):
			return n, nil // the end is told with the next Read
		case r.off == r.size, r.size < 0 && r.ends && errors.Is(err, io.EOF):
			r.err = io.EOF
			return n, io.EOF
		case err == nil && n == 0:
			continue
		case err == nil:
			return n, nil
		}
		// The body broke off, or ended without a word on whether that was all.
		_ = r.body.Close()
		if r.tries++; r.ctx.Err() != nil || r.tries > readTries {
			r.err = noEnd(wrapError(r.ctx, "get object", r.key, fmt.Errorf("body broke off after %d bytes: %w", r.off, err)))
			return n, r.err
		}
		r.s.o.Log.Debug().Str("key", string(r.key)).Int64("offset", r.off).Err(err).Msg("body broke off, asking for the rest")
		_, restErr := r.get(true)
		if r.size < 0 && errors.Is(err, io.EOF) && hasStatus(restErr, http.StatusRequestedRangeNotSatisfiable, "InvalidRange") {
			restErr = io.EOF // there is no more
		}
		switch {
		case restErr == io.EOF: //nolint:errorlint // ours; that of a connection that was closed is wrapped, and no end
			r.err = io.EOF
		case restErr != nil:
			r.err = noEnd(restErr)
		}
		if r.err != nil || n > 0 {
			return n, r.err
		}
	}
}

// noEnd hides an io.EOF in an error, so that readers do not take it for the end of the content: a
// connection that is closed before its answer is an io.EOF, too.
func noEnd(err error) error {
	var e *Error
	if !errors.Is(err, io.EOF) || !errors.As(err, &e) {
		return err
	}
	hidden := *e
	hidden.Err = errors.New(e.detail())
	return &hidden
}

// Close implements io.Closer.
func (r *reader) Close() error { return r.body.Close() }

// ReadAll reads a whole object of at most limit bytes, and checks it against its digest where that
// is known; a larger one is an error that matches no sentinel. Errors: ErrNotFound, ErrUnavailable
// (content that does not match its digest) and those of every request. Operation: GetObject.
func (s *Store) ReadAll(ctx context.Context, key Key, limit int64) ([]byte, error) {
	const op = "read object"
	body, object, err := s.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	if object.Bytes > limit {
		return nil, newError(op, key, nil, "it has %d bytes, at most %d are allowed", object.Bytes, limit)
	}
	var b bytes.Buffer
	b.Grow(int(max(object.Bytes, 0)) + bytes.MinRead)
	if _, err := b.ReadFrom(io.LimitReader(body, limit+1)); err != nil {
		return nil, wrapError(ctx, op, key, err)
	}
	if int64(b.Len()) > limit {
		return nil, newError(op, key, nil, "it has more than the %d bytes that are allowed", limit)
	}
	if got := hexSHA256(b.Bytes()); object.SHA256 != "" && got != object.SHA256 {
		return nil, newError(op, key, ErrUnavailable, "content has SHA-256 %s, expected %s", got, object.SHA256)
	}
	return b.Bytes(), nil
}

// List yields the objects below a prefix in key order: key and size (-1 where the store does not
// say it), no digest. It stops at the first error.
// Operation: ListObjectsV2.
func (s *Store) List(ctx context.Context, prefix Key) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for page, err := range s.pages(ctx, "list objects", prefix, nil) {
			if err != nil {
				yield(Object{}, err)
				return
			}
			for _, item := range page.Contents {
				if !yield(Object{Key: Key(*item.Key), Bytes: said(item.Size)}, nil) {
					return
				}
			}
		}
	}
}

// Folders yields the names of what would be folders right below a prefix: the next part of a key up
// to a slash, each once. Operation: ListObjectsV2.
func (s *Store) Folders(ctx context.Context, prefix Key) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for page, err := range s.pages(ctx, "list folders", prefix, aws.String("/")) {
			if err != nil {
				yield("", err)
				return
			}
			for _, folder := range page.CommonPrefixes {
				name := strings.TrimSuffix(strings.TrimPrefix(aws.ToString(folder.Prefix), string(prefix)), "/")
				if !yield(name, nil) {
					return
				}
			}
		}
	}
}

// pages yields the pages of a listing, whose entries all have keys, in order. Where the store does
// not say whether there is another page, it is asked for what follows the last entry.
func (s *Store) pages(ctx context.Context, op string, prefix Key, delimiter *string) iter.Seq2[*s3.ListObjectsV2Output, error] {
	return func(yield func(*s3.ListObjectsV2Output, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &s.o.Bucket, Prefix: aws.String(string(prefix)), Delimiter: delimiter}
		for {
			page, err := s.api.ListObjectsV2(ctx, in, checksumsAsHeaders)
			if err != nil {
				yield(nil, wrapError(ctx, op, prefix, err))
				return
			}
			last, err := lastOf(page, in.StartAfter)
			if err != nil {
				yield(nil, newError(op, prefix, ErrUnavailable, "%w", err))
				return
			}
			more, err := anotherPage(page.IsTruncated, page.NextContinuationToken, last != "")
			if !yield(page, nil) {
				return
			}
			if err != nil {
				yield(nil, newError(op, prefix, ErrUnavailable, "%w", err))
				return
			}
			if !more {
				return
			}
			if in.ContinuationToken = page.NextContinuationToken; aws.ToString(in.ContinuationToken) == "" {
				in.ContinuationToken, in.StartAfter = nil, &last
			}
		}
	}
}

// anotherPage reports whether a listing goes on after a page. Where the store does not say, a page
// that has anything may be followed by another.
func anotherPage(truncated *bool, marker *string, anything bool) (bool, error) {
	switch {
	case truncated == nil:
		return anything || aws.ToString(marker) != "", nil
	case *truncated && aws.ToString(marker) == "":
		return false, errors.New("there is more than was listed, and the store does not say where it begins")
	}
	return *truncated, nil
}

// lastOf is the last name of a page, "" when the page is empty. A page that begins again where the
// one before did is an error, and so is an entry without a name.
func lastOf(page *s3.ListObjectsV2Output, after *string) (last string, err error) {
	note := func(key *string, end string) {
		switch {
		case aws.ToString(key) == "":
			err = errors.New("the store listed something without its name")
		case after != nil && *key <= *after:
			err = errors.New("the store does not say whether there is more than was listed, and lists the same again")
		default:
			last = max(last, *key+end)
		}
	}
	for _, item := range page.Contents {
		note(item.Key, "")
	}
	for _, folder := range page.CommonPrefixes {
		note(folder.Prefix, "\U0010FFFF") // after all that is in it
	}
	return last, err
}

// Find looks for the object whose key is stem + "." + an extension, the first one in key order, and
// gives it with its digest (which means reading it where the store does not know it). Operations:
// ListObjectsV2, HeadObject.
func (s *Store) Find(ctx context.Context, stem Key) (Object, bool, error) {
	for item, err := range s.List(ctx, stem+".") {
		if err != nil {
			return Object{}, false, err
		}
		if !validExtension(strings.TrimPrefix(string(item.Key), string(stem)+".")) {
			continue
		}
		object, err := s.Describe(ctx, item.Key)
		if errors.Is(err, ErrNotFound) {
			continue // removed since it was listed
		}
		return object, err == nil, err
	}
	return Object{}, false, nil
}

// Conditional tells whether the store honors If-None-Match, by writing a small object twice at
// probe; what it wrote is removed again by version. Several processes may probe the same key. The
// bucket need not be this store's only one: what is said holds for all of the same service.
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

// LookFirst is for a store that ignores If-None-Match (see Conditional): from now on every write
// looks first what is there, and a bag's Seal compares the digests of all that is stored. Where two
// writers look at the same time the last one wins, unseen by the other; then the bag is not sealed.
func (s *Store) LookFirst() { s.looksFirst.Store(true) }

// notSupported tells that a store does not know an operation at all.
func notSupported(err error) bool {
	return hasStatus(err, http.StatusNotImplemented, "NotImplemented", "MethodNotAllowed", "UnsupportedOperation") || hasStatus(err, http.StatusMethodNotAllowed)
}
