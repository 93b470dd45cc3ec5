package sink

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Stream writes an object whose size and digest are known only at its end. It holds one part in
// memory. The key has no object before Commit. It is used by one goroutine.
type Stream struct {
	ctx   context.Context //nolint:containedctx // a writer lives as long as the call whose context it was made with
	s     *Store
	key   Key
	id    *string // of the upload
	with  feature
	part  []byte // its capacity is the size of all parts but the last
	whole hash.Hash
	size  int64

	parts     []types.CompletedPart
	confirmed bool  // the store answered with the checksum of each part
	err       error // the first failure
}

// Create begins an object at a key that has none. about is its expected size in bytes, from which
// the size of its parts follows. A stream must be ended by Commit or Abort.
//
// Errors: those of every request; ErrConflict where there is an object already. Operations:
// HeadObject, CreateMultipartUpload.
func (s *Store) Create(ctx context.Context, key Key, contentType string, about int64) (*Stream, error) {
	s = s.Unsealed()
	if err := s.vacant(ctx, key); err != nil {
		return nil, err
	}
	w := &Stream{ctx: ctx, s: s, key: key, whole: sha256.New(), confirmed: true, part: make([]byte, 0, partBytes(about, s.o.PartBytes))}
	err := s.offer(ctx, key, checksums, func(with feature) (err error) {
		w.id, err = s.beginUpload(ctx, key, Body{ContentType: contentType}, with)
		w.with = with
		return err
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// vacant returns ErrConflict when there is an object at a key.
func (s *Store) vacant(ctx context.Context, key Key) error {
	_, err := s.Head(ctx, key)
	switch {
	case err == nil:
		return newError("write object", key, ErrConflict, "there is an object already")
	case errors.Is(err, ErrNotFound):
		return nil
	}
	return err
}

// Write implements io.Writer. It sends each part that is full. After a failure, all later calls
// fail with the same error of the store. Operation: UploadPart.
func (w *Stream) Write(p []byte) (n int, err error) {
	for len(p) > 0 && w.err == nil {
		k := min(len(p), cap(w.part)-len(w.part))
		w.part = append(w.part, p[:k]...)
		n, p = n+k, p[k:]
		if len(w.part) == cap(w.part) {
			w.send()
		}
	}
	return n, w.err
}

// send sends the part that is held.
func (w *Stream) send() {
	if len(w.parts) == maxParts {
		w.err = newError("upload part of object", w.key, nil, "it is longer than was expected: %d bytes", w.size)
		return
	}
	w.whole.Write(w.part)
	sum := sha256.Sum256(w.part)
	part, confirmed, err := w.s.uploadPart(w.ctx, w.key, w.id, len(w.parts)+1, bytes.NewReader(w.part), int64(len(w.part)), sum[:], w.with)
	if err != nil {
		w.err = err
		return
	}
	w.confirmed = w.confirmed && confirmed
	w.parts = append(w.parts, part)
	w.size += int64(len(w.part))
	w.part = w.part[:0]
}

// Commit makes the object from what was written. If another writer stored an object at the key
// meanwhile, Commit adopts it where its content is the same, and fails with ErrConflict otherwise.
// A stream that cannot be committed is aborted.
//
// Errors: those of every request; ErrUnavailable where the store holds other content than was sent.
// Operations: UploadPart, CompleteMultipartUpload, HeadObject; GetObject where the store does not
// confirm checksums, or to compare what is there.
func (w *Stream) Commit() (_ Object, err error) {
	defer func() {
		if err != nil {
			w.Abort()
		}
	}()
	if w.err == nil && (len(w.part) > 0 || len(w.parts) == 0) {
		w.send()
	}
	if w.err != nil {
		return Object{}, w.err
	}
	object := Object{Key: w.key, Bytes: w.size, SHA256: hex.EncodeToString(w.whole.Sum(nil))}
	if w.s.lacks(conditions) {
		if err := w.s.vacant(w.ctx, w.key); err != nil {
			return Object{}, err
		}
	}
	err = w.s.offer(w.ctx, w.key, conditions, func(with feature) error { return w.s.complete(w.ctx, w.key, w.id, w.parts, with) })
	if err == nil && !w.confirmed {
		err = w.s.readBack(w.ctx, w.key, Body{SHA256: object.SHA256, Size: object.Bytes}, w.with)
	}
	if errors.Is(err, ErrConflict) {
		if there, lookErr := w.s.digest(w.ctx, w.key); lookErr == nil && there.SHA256 == object.SHA256 {
			err = nil
		}
	}
	if err != nil {
		return Object{}, err
	}
	w.id = nil
	return object, nil
}

// Abort discards what was written, unless it was committed.
func (w *Stream) Abort() {
	if w.id != nil {
		w.s.abort(w.ctx, w.key, w.id)
		w.id = nil
	}
	if w.err == nil {
		w.err = errors.New("the upload has ended")
	}
}
