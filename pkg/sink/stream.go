package sink

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Stream writes an object whose size and digest are known only at its end. Its parts are sent while
// it is written, several side by side where its options say so. The key has no object before
// Commit. A Stream is used by one goroutine.
type Stream struct {
	ctx    context.Context //nolint:containedctx // a writer lives as long as the call whose context it was made with
	cancel context.CancelCauseFunc
	s      *Store // unsealed
	sealed bool   // s was
	key    Key
	id     *string // of the upload; nil once it has ended
	with   feature
	whole  hash.Hash
	size   int64
	object *Object // once all of it is sent

	partBytes int64
	part      []byte      // the one that is written; nil where none was begun
	free      chan []byte // buffers of parts that were sent
	spare     int         // how many more buffers may be made
	sending   sync.WaitGroup

	mu        sync.Mutex
	parts     []types.CompletedPart // by number
	confirmed bool                  // the store answered with the checksum of each part
	err       error                 // the first failure
}

// StreamOptions describe an object that is streamed.
type StreamOptions struct {
	ContentType string
	Size        int64 // expected, in bytes; the size of the parts follows from it
	Parts       int   // how many are held in memory at most, the one that is written included; 0: 1
}

// Create begins an object at a key that has none. A stream must be ended by Commit or Abort. That
// of a sealed store has the tags of its bag, and no seal: its digest is known too late for that.
//
// Errors: those of every request; ErrConflict where there is an object already. Operations:
// HeadObject, CreateMultipartUpload.
func (s *Store) Create(ctx context.Context, key Key, o StreamOptions) (*Stream, error) {
	body, wanted := s.tagged(key, Body{ContentType: o.ContentType})
	sealed := s.sealer != nil
	s = s.Unsealed()
	if err := s.vacant(ctx, key); err != nil {
		return nil, err
	}
	w := &Stream{s: s, sealed: sealed, key: key, whole: sha256.New(), confirmed: true, partBytes: s.PartBytes(o.Size), spare: max(1, o.Parts)}
	w.free = make(chan []byte, w.spare)
	err := s.offer(ctx, key, wanted|checksums, func(with feature) (err error) {
		w.id, err = s.beginUpload(ctx, key, body, with)
		w.with = with
		return err
	})
	if err != nil {
		return nil, err
	}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
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

// Write implements io.Writer. It sends each part that is full, and waits while as many are on their
// way as the stream may hold. After a failure, all later calls fail with the same error of the
// store. Operation: UploadPart.
func (w *Stream) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		room, err := w.room()
		if err != nil {
			return n, err
		}
		k := copy(room, p)
		w.fill(k)
		n, p = n+k, p[k:]
	}
	return n, w.failure()
}

// ReadFrom implements io.ReaderFrom: it reads into the parts. Its errors are those of Write, and
// the reader's.
func (w *Stream) ReadFrom(r io.Reader) (n int64, err error) {
	for {
		room, err := w.room()
		if err != nil {
			return n, err
		}
		k, err := r.Read(room)
		w.fill(k)
		n += int64(k)
		switch {
		case errors.Is(err, io.EOF):
			return n, w.failure()
		case err != nil:
			return n, err //nolint:wrapcheck // it is the reader's own
		}
	}
}

// room is the free rest of the part that is written. It waits until there is a buffer for a part.
func (w *Stream) room() ([]byte, error) {
	if err := w.failure(); err != nil {
		return nil, err
	}
	if w.part == nil {
		if w.spare > 0 && len(w.free) == 0 {
			w.spare--
			w.part = make([]byte, 0, w.partBytes)
		} else {
			w.part = <-w.free
			if err := w.failure(); err != nil { // of the part that was sent
				return nil, err
			}
		}
	}
	return w.part[len(w.part):cap(w.part)], nil
}

// fill takes n bytes that were written into room as part of the content. It sends the part when it
// is full.
func (w *Stream) fill(n int) {
	if w.part = w.part[:len(w.part)+n]; len(w.part) == cap(w.part) {
		w.send()
	}
}

// send has a goroutine send the part that was written.
func (w *Stream) send() {
	part := w.part
	w.part = nil
	w.mu.Lock()
	number := len(w.parts) + 1
	w.parts = append(w.parts, types.CompletedPart{})
	w.mu.Unlock()
	if number > maxParts {
		w.fail(newError("upload part of object", w.key, nil, "it is longer than was expected: %d bytes", w.size))
		return
	}
	w.whole.Write(part)
	w.size += int64(len(part))
	w.sending.Go(func() {
		sum := sha256.Sum256(part)
		sent, confirmed, err := w.s.uploadPart(w.ctx, w.key, w.id, number, bytes.NewReader(part), int64(len(part)), sum[:], w.with)
		if err != nil {
			w.fail(err)
		}
		w.mu.Lock()
		w.parts[number-1], w.confirmed = sent, w.confirmed && confirmed
		w.mu.Unlock()
		w.free <- part[:0]
	})
}

// fail keeps the first failure, and cancels the requests under way.
func (w *Stream) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
		w.cancel(err)
	}
}

// failure is the first failure, if there was one.
func (w *Stream) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Finish sends what was not sent yet, and gives the object that Commit will make. Nothing can be
// written any more. Errors: those of every request. Operation: UploadPart.
func (w *Stream) Finish() (Object, error) {
	if w.object != nil {
		return *w.object, w.failure()
	}
	if err := w.failure(); err != nil {
		return Object{}, err
	}
	if len(w.part) > 0 || w.size == 0 {
		if _, err := w.room(); err != nil { // an empty object has a part, too
			return Object{}, err
		}
		w.send()
	}
	w.sending.Wait()
	if err := w.failure(); err != nil {
		return Object{}, err
	}
	w.object = &Object{Key: w.key, Bytes: w.size, SHA256: hex.EncodeToString(w.whole.Sum(nil))}
	return *w.object, nil
}

// Commit makes the object from what was written. If another writer stored an object at the key
// meanwhile, Commit adopts it where its content is the same, and fails with ErrConflict otherwise.
// A stream that cannot be committed is aborted. Of a sealed store nothing is removed: where the
// store holds other content than was sent Commit fails with ErrConflict, and what is there may be
// another writer's.
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
	object, err := w.Finish()
	if err != nil {
		return Object{}, err
	}
	if w.s.lacks(conditions) {
		if err := w.s.vacant(w.ctx, w.key); err != nil {
			return Object{}, err
		}
	}
	err = w.s.offer(w.ctx, w.key, conditions, func(with feature) error { return w.s.complete(w.ctx, w.key, w.id, w.parts, with) })
	if err == nil && !w.confirmed {
		err = w.readBack(object)
	}
	if errors.Is(err, ErrConflict) {
		if there, lookErr := w.s.digest(w.ctx, w.key); lookErr == nil && there.SHA256 == object.SHA256 {
			w.Abort() // the object may be another writer's
			return object, nil
		}
	}
	if err != nil {
		return Object{}, err
	}
	w.end()
	return object, nil
}

// readBack reads an object that was just made, since the store did not confirm its parts.
func (w *Stream) readBack(object Object) error {
	if !w.sealed {
		return w.s.readBack(w.ctx, w.key, Body{SHA256: object.SHA256, Size: object.Bytes}, w.with)
	}
	switch holds, err := w.s.Holds(w.ctx, object); {
	case err != nil:
		return err
	case !holds:
		return newError("read back object", w.key, ErrConflict, "another writer removed or replaced it, or it was damaged")
	}
	return nil
}

// Abort discards what was written, unless it was committed. Operation: AbortMultipartUpload.
func (w *Stream) Abort() {
	if id := w.id; id != nil {
		w.end()
		w.s.abort(w.ctx, w.key, id)
	}
}

// end ends the stream once nothing of it is on its way.
func (w *Stream) end() {
	w.fail(errors.New("the upload has ended"))
	w.sending.Wait()
	w.id = nil
}
