package export

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/known"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// maxKept bounds the temporary file of results that an attempt keeps, in bytes.
const maxKept = 64 << 20

// kept are the results that an attempt has read. It keeps them in a temporary file, while there is
// room, so that none is asked for again when the next round is cut and the bag is made. Without
// room they are read from the store again.
type kept struct {
	stored unit.Opener    // reads from the store
	recent *known.Results // that workers of this process stored; nil: none
	work   *sink.Store    // sealed
	spool  *sink.Spool
	of     map[int]keptResult // by unit
	full   bool
}

// keptResult is where a result is in the temporary file.
type keptResult struct {
	at     int64
	object sink.Object
}

// newKept keeps nothing yet. It is to be closed.
func (x *Exporter) newKept() *kept {
	return &kept{
		stored: unit.Stored(x.Bags.Work, x.Bags.Layout), recent: x.Results, work: x.Bags.Work,
		spool: sink.NewSpool(x.Bags.SpoolDir), of: map[int]keptResult{},
	}
}

// close removes the temporary file.
func (k *kept) close() error { return k.spool.Close() } //nolint:wrapcheck // a temporary file

// open is a unit.Opener.
func (k *kept) open(ctx context.Context, u unit.Unit) (io.ReadCloser, sink.Object, error) {
	if r, ok := k.of[u.N]; ok {
		return k.section(ctx, u, r)
	}
	body, o, err := k.first(ctx, u)
	if err != nil || k.full || k.spool.Size()+o.Bytes > maxKept {
		return body, o, err
	}
	r := keptResult{at: k.spool.Size(), object: o}
	_, err = io.Copy(k.spool, body)
	if err = errors.Join(err, body.Close()); err != nil {
		return k.giveUp(ctx, u)
	}
	k.of[u.N] = r
	return k.section(ctx, u, r)
}

// section reads a result that is kept. What was kept last may be found only now not to fit.
func (k *kept) section(ctx context.Context, u unit.Unit, r keptResult) (io.ReadCloser, sink.Object, error) {
	from := k.spool.ReadSeeker()
	if _, err := from.Seek(r.at, io.SeekStart); err != nil {
		return k.giveUp(ctx, u)
	}
	return io.NopCloser(io.LimitReader(from, r.object.Bytes)), r.object, nil
}

// giveUp reads from the store, as nothing of the temporary file can be read any more.
func (k *kept) giveUp(ctx context.Context, u unit.Unit) (io.ReadCloser, sink.Object, error) {
	k.full = true
	clear(k.of)
	return k.stored(ctx, u)
}

// first reads a result that is not kept: one that this process has just stored from memory, others
// from the store.
func (k *kept) first(ctx context.Context, u unit.Unit) (io.ReadCloser, sink.Object, error) {
	if k.recent == nil {
		return k.stored(ctx, u)
	}
	sealed, err := unit.Seal(k.work, u)
	if err != nil {
		return nil, sink.Object{}, err //nolint:wrapcheck // it says what it encodes
	}
	if r, ok := k.recent.Take(sealed); ok {
		return io.NopCloser(bytes.NewReader(r.Content)), sink.Object{Bytes: int64(len(r.Content)), SHA256: r.SHA256}, nil
	}
	return k.stored(ctx, u)
}
