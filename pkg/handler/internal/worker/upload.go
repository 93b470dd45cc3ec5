package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

const (
	// partsAtOnce is how many parts of a model are in memory at most: one is written while the
	// others are sent.
	partsAtOnce = 4
	// createTries bounds how often an upload is begun where an object has to give way.
	createTries = 3
)

// upload streams a model to the store while it is downloaded. Where text comes it goes through a
// temporary file after all: it may be no model, or hold a signed link, and then is not kept.
type upload struct {
	d      *download
	length int64        // of the model, in bytes
	parts  int          // in memory at most
	path   sink.Path    // in the bag
	stream *sink.Stream // nil until the first bytes came
	found  *stored      // the store has the model already
}

// errStored says that a model need not be downloaded: the store has it.
var errStored = errors.New("it is stored already")

// streams reports whether a model of a length, -1 when unknown, is streamed to the store.
func (a *attempt) streams(length int64) bool {
	return a.unit.Streams() && a.store.InParts(length)
}

// beginUpload prepares for a try of length bytes that are streamed to the store. It reserves memory
// for the parts, of half of what there is at most. An upload keeps its memory for as long as the
// download takes, so all uploads together leave a quarter of it to other blobs. Where they leave no
// room for a part, beginUpload does not wait for one, but returns nil.
func (d *download) beginUpload(length int64) (io.Writer, error) {
	d.release()
	resource, part := d.a.command.Data.Resource, d.a.store.PartBytes(length)
	parts := max(1, min(partsAtOnce, d.a.w.Buffer/2/part))
	for ; parts > 0 && !d.a.w.uploads.TryAcquire(resource, parts*part); parts-- {
	}
	if parts == 0 {
		return nil, nil
	}
	if err := d.a.w.memory.Acquire(d.ctx, resource, parts*part); err != nil {
		d.a.w.uploads.Release(resource, parts*part)
		return nil, fmt.Errorf("wait for memory: %w", err)
	}
	d.held, d.upload = parts*part, &upload{d: d, length: length, parts: int(parts)}
	return d.upload, nil
}

// abandon gives up an upload that was begun, unless it is committed.
func (d *download) abandon() {
	if d.upload == nil {
		return
	}
	if d.upload.stream != nil {
		d.upload.stream.Abort()
	}
	d.release()
}

// Write implements io.Writer, and always fails: io.Copy takes ReadFrom, which sees the first bytes
// together.
func (u *upload) Write([]byte) (int, error) { return 0, errors.ErrUnsupported }

// ReadFrom implements io.ReaderFrom. It fails with errStored where the store has the model already.
func (u *upload) ReadFrom(r io.Reader) (int64, error) {
	head, err := unit.HeadOf(r)
	if err != nil {
		return 0, err //nolint:wrapcheck // the reader says what failed
	}
	to, err := u.open(head)
	if err != nil {
		return 0, err
	}
	if _, err := to.Write(head); err != nil {
		return 0, err //nolint:wrapcheck // the store says what failed
	}
	n, err := io.Copy(to, r)
	return int64(len(head)) + n, err //nolint:wrapcheck // as above
}

// open gives the writer for content that begins with head: a new object in the store, or, for text,
// a temporary file.
func (u *upload) open(head []byte) (io.Writer, error) {
	d := u.d
	if sink.TextType(head) != "" {
		return d.beginSpool() // which gives up the upload
	}
	ext, mediaType := sink.Extension(head, "")
	u.path = d.model + sink.Path("."+ext)
	var err error
	for range createTries {
		u.stream, err = d.a.store.Create(d.ctx, d.a.layout.Key(sink.ExportBag, u.path), sink.StreamOptions{ContentType: mediaType, Size: u.length, Parts: u.parts})
		if !errors.Is(err, sink.ErrConflict) {
			break
		}
		found, lookErr := d.a.storedModel(d.ctx, u.path)
		if lookErr != nil {
			return nil, lookErr
		}
		if u.found = found; found != nil {
			return nil, errStored
		}
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // the store says what failed
	}
	return u.stream, nil
}

// commit completes the upload. It stores the model's digest before (see unit.Model): after a crash
// between the two no object is there, and the digest does no harm.
func (u *upload) commit(ctx context.Context) (stored, error) {
	if u.found != nil {
		return *u.found, nil
	}
	a := u.d.a
	o, err := u.stream.Finish()
	if err != nil {
		return stored{}, fmt.Errorf("store a model: %w", err)
	}
	m := unit.Model{V: a.unit.V, N: a.unit.N, Path: u.path, Bytes: o.Bytes, SHA256: o.SHA256}
	b, err := json.Marshal(m)
	if err != nil {
		return stored{}, fmt.Errorf("encode the digest of a model: %w", err)
	}
	a.left = append(a.left, a.key(m.Name()))
	if _, err := a.own.Put(ctx, a.key(m.Name()), sink.Bytes(b, "application/json")); err != nil {
		return stored{}, fmt.Errorf("store the digest of a model: %w", err)
	}
	o, err = u.stream.Commit()
	if errors.Is(err, sink.ErrConflict) {
		found, lookErr := a.storedModel(ctx, u.path)
		if found != nil {
			return *found, nil
		}
		err = errors.Join(err, lookErr)
	}
	if err != nil {
		return stored{}, fmt.Errorf("store a model: %w", err)
	}
	return stored{Object: o}, nil
}

// storedModel is the object at a model's path where this command stored it; nil where there is none
// now. An object of another writer is removed, but only while the command goes on: once it has
// ended, its working objects are gone, and the models of its bag look like those of another writer.
func (a *attempt) storedModel(ctx context.Context, at sink.Path) (*stored, error) {
	key := a.layout.Key(sink.ExportBag, at)
	o, err := a.store.Describe(ctx, key) // it has a seal of its own when it came through a temporary file
	switch {
	case err == nil:
		blame, err := unit.BlameStored(ctx, a.store, key, unit.CodeNotModel)
		return &stored{o, blame}, err
	case !errors.Is(err, sink.ErrNotFound):
		return nil, fmt.Errorf("look for a model: %w", err)
	case !errors.Is(err, sink.ErrUnsealed):
		return nil, nil
	}
	model, err := unit.FindModel(ctx, a.store, a.own, a.layout, a.unit.N, at)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it reads
	}
	if model != nil {
		return &stored{Object: *model}, nil
	}
	job, err := a.w.known.Wanted(ctx, a.unit.Command)
	if err == nil && job.Origin() != a.origin { // another life of the id
		err = delivery.ErrFenced
	}
	if err != nil {
		return nil, fmt.Errorf("look whether a model is still wanted: %w", err)
	}
	a.log.Warn().Str("key", string(key)).Msg("removing an object without a right seal")
	if err := a.store.Remove(ctx, key); err != nil {
		return nil, fmt.Errorf("remove a model of another writer: %w", err)
	}
	return nil, nil
}
