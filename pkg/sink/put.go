package sink

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	// metaSHA256 is the user metadata that holds an object's SHA-256 in hex.
	metaSHA256 = "sha256"
	// putTries bounds how often a write is tried whose key was taken, and freed again before it
	// could be adopted.
	putTries = 4
	// maxPiece is how many bytes PutObject takes at most, by S3's rules.
	maxPiece = 5 << 30
)

// Body is content to be stored.
type Body struct {
	R           io.ReadSeeker     // read from its start, more than once
	Size        int64             // bytes
	SHA256      string            // hex; empty: computed by reading R once more, and Size with it
	ContentType string            // empty: application/octet-stream
	Meta        map[string]string // user metadata besides "sha256"; lower-case names, ASCII values

	lock *Retention // the retention to write it with; nil: none
	tags *string    // tags, as a query; nil: none
}

// Bytes is a body held in memory.
func Bytes(b []byte, contentType string) Body {
	return Body{R: bytes.NewReader(b), Size: int64(len(b)), SHA256: HexSHA256(b), ContentType: contentType}
}

// Put stores a body unless its key is taken; the first writer wins, and every other adopts what
// is there: the object returned has the digest and size of what is stored. The body's SHA-256
// travels as a checksum that the store checks, and is kept as metadata "sha256"; where the store
// does not confirm it, the object is read back. Bodies above MultipartAbove go by multipart,
// without that metadata, so adopting one means reading it; where the store does not list
// unfinished uploads (see Probe) they go in one piece.
//
// Errors: ErrThrottled, ErrUnavailable, ErrMisconfigured; ErrConflict when the key was taken and
// freed again at every try; ErrNotKept when the store answers with another checksum or without
// the encryption asked for. Operations: PutObject, HeadObject; multipart: CreateMultipartUpload,
// UploadPart, CompleteMultipartUpload, AbortMultipartUpload; GetObject to read back; those of
// Remove where an object has to give way because its seal or its content is not right.
func (s *Store) Put(ctx context.Context, key Key, body Body) (Object, error) {
	body, err := fillIn(body)
	if err != nil {
		return Object{}, wrapError(ctx, "read the body of object", key, err)
	}
	body = s.sealBody(key, body)
	large := body.Size > s.o.MultipartAbove
	for try := 1; ; try++ {
		// A large body is not sent where the key is taken, and without conditional writes only a
		// look shows that it is.
		if large || s.lacks(conditions) {
			object, err := s.adopt(ctx, key)
			if !errors.Is(err, ErrNotFound) {
				return object, err
			}
		}
		if s.InParts(body.Size) {
			err = s.putMultipart(ctx, key, body)
		} else {
			err = s.putObject(ctx, key, body, true)
		}
		switch {
		case err == nil:
			return Object{Key: key, Bytes: body.Size, SHA256: body.SHA256, ContentType: body.ContentType, Meta: body.Meta}, nil
		case s.lacks(conditions) && try < putTries && (errors.Is(err, ErrUnavailable) || errors.Is(err, ErrThrottled)):
			// The object may be stored and its answer lost: it is looked for before another write.
			if !s.pause(ctx, try, err) {
				return Object{}, err
			}
			continue
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

// pause waits before a further try. It reports whether there may be one: not when ctx ends, nor
// when the store wants a longer pause, which is the caller's to make.
func (s *Store) pause(ctx context.Context, try int, err error) bool {
	d := time.Duration(1<<try) * 100 * time.Millisecond
	var e *Error
	if errors.As(err, &e) && e.RetryAfter > d {
		return false
	}
	return s.o.Wait(ctx, d) == nil
}

// Replace stores a body whatever is at the key. Nothing in a bag is stored so; it is for working
// objects that no bag is made of. Operation: PutObject.
func (s *Store) Replace(ctx context.Context, key Key, body Body) error {
	body, err := fillIn(body)
	if err != nil {
		return wrapError(ctx, "read the body of object", key, err)
	}
	return s.putObject(ctx, key, s.sealBody(key, body), false)
}

// fillIn fills in the fields of a body that are not set.
func fillIn(body Body) (Body, error) {
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

// putObject stores a body in one piece. If conditional is set, an object at the key is ErrConflict.
func (s *Store) putObject(ctx context.Context, key Key, body Body, conditional bool) error {
	if body.Size > maxPiece {
		return newError("put object", key, nil, "it has %d bytes, and a store that does not list unfinished uploads gets at most %d in one piece", body.Size, int64(maxPiece))
	}
	body, wanted := s.tagged(key, body)
	wanted |= checksums
	if conditional {
		wanted |= conditions
	}
	return s.offer(ctx, key, wanted, func(with feature) error { return s.putOnce(ctx, key, body, with) })
}

// putOnce makes one PutObject call. Without a condition the SDK does not repeat it: the repetition
// would replace what the first try stored, and a versioned bucket would keep both.
func (s *Store) putOnce(ctx context.Context, key Key, body Body, with feature) error {
	const op = "put object"
	if _, err := body.R.Seek(0, io.SeekStart); err != nil {
		return wrapError(ctx, op, key, err)
	}
	checksum := base64SHA256(body.SHA256)
	in := &s3.PutObjectInput{
		Bucket:        &s.o.Bucket,
		Key:           aws.String(string(key)),
		Body:          body.R,
		ContentLength: &body.Size,
		ContentType:   &body.ContentType,
		Metadata:      metadata(body.Meta, body.SHA256),
	}
	in.ServerSideEncryption, in.SSEKMSKeyId = s.encryption()
	if with&tags != 0 {
		in.Tagging = body.tags
	}
	if body.lock != nil {
		in.ObjectLockMode, in.ObjectLockRetainUntilDate = types.ObjectLockMode(body.lock.Mode), aws.Time(body.lock.date())
	}
	if with&checksums != 0 {
		in.ChecksumSHA256 = &checksum
	}
	if with&conditions != 0 {
		in.IfNoneMatch = aws.String("*")
	}
	options := []func(*s3.Options){checksumsAsHeaders}
	if with&conditions == 0 {
		options = append(options, once)
	}
	if body.lock != nil && with&checksums == 0 {
		options = append(options, contentMD5) // Object Lock wants a checksum or this
	}
	out, done := s.direct.put(ctx, in, body.SHA256)
	if !done {
		var err error
		if out, err = s.api.PutObject(withPayload(ctx, body.SHA256), in, options...); err != nil {
			return wrapError(ctx, op, key, err)
		}
	}
	got := aws.ToString(out.ChecksumSHA256)
	if got != "" && got != checksum {
		return newError(op, key, ErrNotKept, "the store answered with SHA-256 %s for %s", got, checksum)
	}
	if err := s.checkEncryption(op, key, out.ServerSideEncryption, out.SSEKMSKeyId); err != nil || got != "" {
		return err
	}
	return s.readBack(ctx, key, body, with)
}

// readBack reads an object that was just written and compares it with what was sent, since the
// store did not confirm its checksum. Damaged content is removed, so that no rerun adopts it
// (ErrUnavailable). What another writer stored there meanwhile is ErrConflict.
func (s *Store) readBack(ctx context.Context, key Key, body Body, with feature) error {
	const op = "read back object"
	if with&checksums != 0 {
		s.learn(confirmations)
	}
	got, err := s.digest(ctx, key)
	switch {
	case errors.Is(err, ErrUnsealed) && !s.sparing:
	case errors.Is(err, ErrNotFound), err == nil && got.SHA256 != body.SHA256 && s.sealer != nil:
		return newError(op, key, ErrConflict, "another writer removed or replaced it")
	case err != nil || got.SHA256 == body.SHA256:
		return err
	}
	if err := s.Remove(ctx, key); err != nil {
		return err
	}
	return newError(op, key, ErrUnavailable, "the store holds other content than the SHA-256 %s that was sent: removed", body.SHA256)
}

// encryption is the encryption to ask for.
func (s *Store) encryption() (types.ServerSideEncryption, *string) {
	if s.o.SSE == string(types.ServerSideEncryptionAwsKms) && s.o.SSEKMSKeyID != "" {
		return types.ServerSideEncryptionAwsKms, &s.o.SSEKMSKeyID
	}
	return types.ServerSideEncryption(s.o.SSE), nil
}

// Encryption is what writes ask for; nil when they leave it to the store.
func (s *Store) Encryption() *Encryption {
	kind, key := s.encryption()
	if kind == "" {
		return nil
	}
	return &Encryption{Algorithm: string(kind), KeyID: aws.ToString(key)}
}

// checkEncryption compares the encryption and the key that the store says it used with those asked
// for. Which key an alias means is the store's to know.
func (s *Store) checkEncryption(op string, key Key, got types.ServerSideEncryption, by *string) error {
	_, want := s.encryption()
	switch {
	case s.o.SSE == "":
	case string(got) != s.o.SSE:
		return newError(op, key, ErrNotKept, "%w: encryption %s was asked for, the store answered %q", ErrNotEncrypted, s.o.SSE, got)
	case want != nil && (aws.ToString(by) == "" || !strings.Contains(*want, "alias/") && !strings.HasSuffix(*by, *want)):
		return newError(op, key, ErrNotKept, "%w: encryption with key %s was asked for, the store answered with key %q", ErrNotEncrypted, *want, aws.ToString(by))
	}
	return nil
}

// metadata is an object's user metadata and its digest; an empty digest is left out.
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

// adopt describes what is stored at a key, with its digest. It removes an object without a right
// seal, by version.
func (s *Store) adopt(ctx context.Context, key Key) (Object, error) {
	object, err := s.Describe(ctx, key)
	if errors.Is(err, ErrUnsealed) && s.sparing {
		return Object{}, newError("write object", key, ErrConflict, "%w", ErrUnsealed)
	}
	if errors.Is(err, ErrUnsealed) {
		s.o.Log.Warn().Str("key", string(key)).Msg("removing an object without a right seal")
		if removeErr := s.Remove(ctx, key); removeErr != nil {
			return Object{}, removeErr
		}
	}
	if err != nil {
		return Object{}, err
	}
	object.Adopted = true
	return object, nil
}
