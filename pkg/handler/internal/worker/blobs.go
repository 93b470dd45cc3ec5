package worker

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/blob"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/buffer"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// maxInMemory is the largest blob held in memory; what is larger, or does not say how large it is,
// goes through a temporary file. The service takes pictures of up to 6 MB.
const maxInMemory = 8 << 20

// sources are the values of MetaSource, in the order the links are tried.
var sources = [...]string{"original", "resized"} //nolint:gochecknoglobals // a constant table

// fetch stores the blobs of items, several at a time, and says of each what the store holds. fresh
// says that the items' links were read just now, by the unit's first attempt; a blob may be stored
// all the same by a unit before this one, when a listing is read again or a prediction is met in
// another scope. A blob that cannot be had for good is no error but a BlobRecord that says why; one
// that failed in passing fails the attempt, after all others were tried, until attempts run out.
func (a *attempt) fetch(ctx context.Context, items []item, fresh bool, stem func(uuid.UUID) sink.Path, read blob.Linker) ([]unit.BlobRecord, error) {
	ids, current := make([]uuid.UUID, 0, len(items)), map[uuid.UUID][]string(nil)
	for _, it := range items {
		ids = append(ids, it.ID)
	}
	if fresh {
		current = make(map[uuid.UUID][]string, len(items))
		for _, it := range items {
			current[it.ID] = it.links
		}
	}
	l := blob.NewLinks(read, ids, current)
	var (
		out     = make([]unit.BlobRecord, len(items))
		mu      sync.Mutex
		passed  error // the first passing failure
		refused []error
		g       errgroup.Group
	)
	one := func(i int) error {
		it := items[i]
		defer a.w.downloads.Release(a.command.Data.Resource, 1)
		r, err := a.blob(ctx, it, stem(it.ID), !fresh || it.Later || a.unit.Pass > 0, l)
		if forbidden(err) { // of GetArtifact: whether all are refused is seen in the end
			err = a.judge(ctx, err, nil)
		}
		switch class := delivery.Classify(ctx, err); {
		case err == nil:
			out[i] = r
		case errors.Is(err, delivery.ErrRefused):
			out[i] = unit.BlobRecord{Error: blob.BlameOf(err)}
			mu.Lock()
			defer mu.Unlock()
			refused = append(refused, blob.AnswerOf(err))
		case class == delivery.Gone, class == delivery.Permanent && !errors.Is(err, sink.ErrMixed) && !errors.Is(err, sink.ErrNotKept),
			class == delivery.Retryable && errors.Is(err, cv.ErrUnavailable) && a.number >= a.w.MaxAttempts:
			out[i] = unit.BlobRecord{Error: blob.BlameOf(err)}
		case class == delivery.Retryable, class == delivery.Throttled:
			mu.Lock()
			defer mu.Unlock()
			if passed == nil {
				passed = fmt.Errorf("fetch the blob of %s: %w", it.ID, err)
			}
		default:
			return fmt.Errorf("fetch the blob of %s: %w", it.ID, err)
		}
		return nil
	}
	// A call of the store goes deep: a goroutine that fetches one blob after the other grows its
	// stack once.
	g.SetLimit(a.w.Downloads)
	next := make(chan int)
	for i := range items {
		if err := a.w.downloads.Acquire(ctx, a.command.Data.Resource, 1); err != nil {
			break
		}
		select {
		case next <- i: // to a goroutine that has fetched its blob
			continue
		default:
		}
		if !g.TryGo(func() (err error) {
			for more := true; more; i, more = <-next {
				err = cmp.Or(err, one(i))
			}
			return err
		}) {
			next <- i
		}
	}
	close(next)
	if err := g.Wait(); err != nil {
		return nil, err //nolint:wrapcheck // wrapped where it was met
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx) //nolint:wrapcheck // a cause is matched, not read
	}
	if len(items) > 1 && len(refused) == len(items) && forbidden(refused[0]) { // a role is missing
		return nil, fmt.Errorf("fetch blobs: %w", refused[0])
	}
	return out, passed
}

// blob stores one blob: the original, else the resized one. look says that it may be in the store
// already.
func (a *attempt) blob(ctx context.Context, it item, stem sink.Path, look bool, l *blob.Links) (unit.BlobRecord, error) {
	if look {
		o, found, err := a.store.Find(ctx, a.layout.Key(sink.ExportBag, stem))
		if err != nil {
			return unit.BlobRecord{}, fmt.Errorf("look for %s: %w", stem, err)
		}
		if found {
			text, err := unit.BlameStored(ctx, a.store, o.Key, unit.CodeNotImage)
			if err != nil {
				return unit.BlobRecord{}, err
			}
			if text == nil {
				return a.blobRecord(stored{Object: o}), nil
			}
		}
	}
	candidates, round, err := l.Get(ctx, it.ID)
	if err != nil {
		return unit.BlobRecord{}, err
	}
	err = blob.ErrNoLink
	for i, uri := range candidates {
		if uri == "" {
			continue
		}
		link := cv.Link{Project: a.unit.Project, URI: uri, Refresh: func(ctx context.Context) (string, error) {
			fresh, r, err := l.Renew(ctx, it.ID, round)
			if err != nil {
				return "", err
			}
			round = r
			if i >= len(fresh) || fresh[i] == "" {
				return "", blob.ErrNoLink
			}
			return fresh[i], nil
		}}
		var o stored
		o, err = a.downloadAndStore(ctx, link, stem, sources[i])
		if err == nil {
			return a.blobRecord(o), nil
		}
		if c := delivery.Classify(ctx, err); c != delivery.Gone && c != delivery.Permanent {
			return unit.BlobRecord{}, err
		}
	}
	return unit.BlobRecord{}, err
}

func (a *attempt) blobRecord(o stored) unit.BlobRecord {
	if o.Key == "" {
		return unit.BlobRecord{Error: o.blame}
	}
	_, file, _ := strings.Cut(string(o.Key), "/data/projects/"+a.unit.Project.String()+"/")
	source := o.Meta[unit.MetaSource]
	if source == "" {
		source = sources[0]
	}
	return unit.BlobRecord{File: file, SHA256: o.SHA256, Bytes: o.Bytes, ContentType: o.ContentType, Source: source, Error: o.blame}
}

// downloadAndStore downloads one blob and stores it as stem plus the extension that its content
// asks for.
func (a *attempt) downloadAndStore(ctx context.Context, link cv.Link, stem sink.Path, source string) (stored, error) {
	d := &download{a: a, ctx: ctx}
	defer d.close()
	if err := a.fetchBlob(ctx, link, bagfile.MaxPicture, d); err != nil {
		return stored{}, err
	}
	return a.put(ctx, d, stem, map[string]string{unit.MetaSource: source}, unit.CodeNotImage)
}

// download is the destination of one blob: memory for what fits there, else a temporary file, or,
// for a large model, the store.
type download struct {
	a      *attempt
	ctx    context.Context //nolint:containedctx // of one download, for the callback Fetch makes
	model  sink.Path       // the stem of a model; empty for another blob
	held   int64           // bytes of memory reserved: the size of the buffer, or of the parts
	memory *bytes.Buffer
	sent   bool        // the store has the whole of it: nothing reads the buffer any more
	spool  *sink.Spool // nil until it is needed
	upload *upload     // nil unless the blob is streamed to the store
}

// begin prepares for one try of length bytes, -1 when unknown.
func (d *download) begin(length int64) (io.Writer, error) {
	d.abandon()
	if d.model != "" && d.a.streams(length) {
		if to, err := d.beginUpload(length); to != nil || err != nil {
			return to, err
		}
	}
	if length < 0 || length > maxInMemory || length > d.a.w.Buffer {
		return d.beginSpool()
	}
	if size := buffer.Size(length); d.held != size {
		d.release()
		if err := d.a.w.memory.Acquire(d.ctx, d.a.command.Data.Resource, size); err != nil {
			return nil, fmt.Errorf("wait for memory: %w", err)
		}
		d.held, d.memory = size, d.a.w.buffers.Take(size)
	}
	d.memory.Reset()
	return d.memory, nil
}

func (d *download) beginSpool() (io.Writer, error) {
	d.release()
	if d.spool != nil {
		if err := d.spool.Reset(); err != nil {
			return nil, fmt.Errorf("empty a spool: %w", err)
		}
		return d.spool, nil
	}
	d.spool = sink.NewSpool(d.a.w.SpoolDir)
	return d.spool, nil
}

// head is the first bytes of what was downloaded.
func (d *download) head() ([]byte, error) {
	if d.memory != nil {
		b := d.memory.Bytes()
		return b[:min(len(b), unit.HeadBytes)], nil
	}
	head, err := unit.HeadOf(d.spool.ReadSeeker())
	if err != nil {
		return nil, fmt.Errorf("read a spool: %w", err)
	}
	return head, nil
}

// body is what was downloaded, and the extension its content asks for.
func (d *download) body() (sink.Body, string, error) {
	head, err := d.head()
	if err != nil {
		return sink.Body{}, "", err
	}
	ext, mediaType := sink.Extension(head, "")
	if d.memory != nil {
		return sink.Bytes(d.memory.Bytes(), mediaType), ext, nil
	}
	return d.spool.Body(mediaType), ext, nil
}

// release gives back the memory, that of an upload's parts included.
func (d *download) release() {
	if d.upload != nil {
		d.a.w.uploads.Release(d.a.command.Data.Resource, d.held)
	}
	d.a.w.memory.Release(d.a.command.Data.Resource, d.held)
	d.held, d.memory, d.upload = 0, nil, nil
}

func (d *download) close() {
	d.abandon()
	if d.sent && d.memory != nil {
		d.a.w.buffers.Give(d.held, d.memory)
	}
	d.release()
	if d.spool != nil {
		if err := d.spool.Close(); err != nil {
			d.a.log.Warn().Err(err).Msg("remove a temporary file")
		}
	}
}
