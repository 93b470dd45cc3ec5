package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

const (
	// maxInMemory is the largest blob held in memory; what is larger, or does not say how large it
	// is, goes through a temporary file. The service takes pictures of up to 6 MB.
	maxInMemory = 8 << 20
	// maxBlob bounds any picture, maxModel any exported model, in bytes.
	maxBlob  = 1 << 30
	maxModel = 64 << 30
	// metaSource is the object metadata that says which of its two links a blob came from.
	metaSource = "source"
	// headBytes is how much of a blob its format is told from.
	headBytes = 512
)

// sources are the values of metaSource, in the order the links are tried.
var sources = [...]string{"original", "resized"} //nolint:gochecknoglobals // a constant table

// linker reads fresh links of things by their ids; what is gone is missing from its answer.
type linker func(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID][]string, error)

// links are the current links of one unit's items. An expired one is asked for anew together with
// all others of the unit, which costs one call.
type links struct {
	mu      sync.Mutex
	read    linker
	ids     []uuid.UUID
	current map[uuid.UUID][]string
	round   int // how often links were read
}

// get is the item's links, and the round they are of.
func (l *links) get(ctx context.Context, id uuid.UUID) ([]string, int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == nil {
		if err := l.refresh(ctx); err != nil {
			return nil, 0, err
		}
	}
	return l.current[id], l.round, nil
}

// renew is links newer than those of round.
func (l *links) renew(ctx context.Context, id uuid.UUID, round int) ([]string, int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.round <= round {
		if err := l.refresh(ctx); err != nil {
			return nil, 0, err
		}
	}
	return l.current[id], l.round, nil
}

func (l *links) refresh(ctx context.Context) error {
	current, err := l.read(ctx, l.ids)
	if err != nil {
		return err
	}
	l.current = current
	l.round++
	return nil
}

// errNoLink says that the service gives no link to a blob any more: it is gone.
var errNoLink error = noLinkError{}

type noLinkError struct{}

// Error says so.
func (noLinkError) Error() string { return "the service gives no link to it any more" }

// Is matches cv.ErrGone.
func (noLinkError) Is(target error) bool { return target == cv.ErrGone }

// fetch stores the blobs of items, several at a time, and says of each what the store holds. fresh
// says that the items' links were read just now, by the unit's first attempt; a blob may be stored
// all the same by a unit before this one, when a listing is read again or a prediction is met in
// another scope. A blob that cannot be had for good is no error but a BlobRecord that says why; one
// that failed in passing fails the attempt, after all others were tried, until attempts run out.
func (w *work) fetch(ctx context.Context, items []item, fresh bool, stem func(uuid.UUID) sink.Path, read linker) ([]BlobRecord, error) {
	l := &links{read: read}
	for _, it := range items {
		l.ids = append(l.ids, it.ID)
	}
	if fresh {
		l.current = map[uuid.UUID][]string{}
		for _, it := range items {
			l.current[it.ID] = it.links
		}
	}
	var (
		out    = make([]BlobRecord, len(items))
		mu     sync.Mutex
		passed error // the first passing failure
		g      errgroup.Group
	)
	g.SetLimit(w.Downloads)
	for i, it := range items {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			r, err := w.blob(ctx, it, stem(it.ID), !fresh || it.Later || w.unit.Reading > 0, l)
			switch class := delivery.Classify(ctx, err); {
			case err == nil:
				out[i] = r
			case class == delivery.Gone, class == delivery.Permanent && !errors.Is(err, sink.ErrMixed) && !errors.Is(err, sink.ErrNotKept),
				class == delivery.Retryable && errors.Is(err, cv.ErrUnavailable) && w.attempt >= w.MaxAttempts:
				out[i] = BlobRecord{Error: blameOf(err)}
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
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err //nolint:wrapcheck // wrapped where it was met
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx) //nolint:wrapcheck // a cause is matched, not read
	}
	return out, passed
}

func blameOf(err error) *Blame {
	b := &Blame{Code: "unavailable", Message: err.Error()}
	var api *cv.Error
	switch {
	case errors.As(err, &api) && api.Code != "":
		b.Code = api.Code
	case errors.Is(err, errNoLink), errors.Is(err, cv.ErrGone):
		b.Code = "gone"
	case errors.Is(err, cv.ErrBadLink):
		b.Code = "bad_link"
	case errors.Is(err, cv.ErrHostNotAllowed):
		b.Code = "host_not_allowed"
	case errors.Is(err, cv.ErrTooLarge):
		b.Code = "too_large"
	case errors.Is(err, cv.ErrLinkExpired):
		b.Code = "link_expired"
	}
	return b
}

// blob stores one blob: the original, else the resized one. look says that it may be in the store
// already.
func (w *work) blob(ctx context.Context, it item, stem sink.Path, look bool, l *links) (BlobRecord, error) {
	if err := w.downloads.Acquire(ctx, 1); err != nil {
		return BlobRecord{}, fmt.Errorf("wait for a download slot: %w", err)
	}
	defer w.downloads.Release(1)
	if look {
		o, found, err := w.Store.Find(ctx, w.layout.Key(sink.ExportBag, stem))
		if err != nil {
			return BlobRecord{}, fmt.Errorf("look for %s: %w", stem, err)
		}
		if found {
			text, err := w.blameStored(ctx, o.Key, codeNotImage)
			if err != nil {
				return BlobRecord{}, err
			}
			if text == nil {
				return w.blobRecord(stored{Object: o}), nil
			}
		}
	}
	candidates, round, err := l.get(ctx, it.ID)
	if err != nil {
		return BlobRecord{}, err
	}
	err = errNoLink
	for i, uri := range candidates {
		if uri == "" {
			continue
		}
		link := cv.Link{Project: w.unit.Project, URI: uri, Refresh: func(ctx context.Context) (string, error) {
			fresh, r, err := l.renew(ctx, it.ID, round)
			if err != nil {
				return "", err
			}
			round = r
			if i >= len(fresh) || fresh[i] == "" {
				return "", errNoLink
			}
			return fresh[i], nil
		}}
		var o stored
		o, err = w.downloadAndStore(ctx, link, stem, sources[i])
		if err == nil {
			return w.blobRecord(o), nil
		}
		if c := delivery.Classify(ctx, err); c != delivery.Gone && c != delivery.Permanent {
			return BlobRecord{}, err
		}
	}
	return BlobRecord{}, err
}

func (w *work) blobRecord(o stored) BlobRecord {
	if o.Key == "" {
		return BlobRecord{Error: o.blame}
	}
	_, file, _ := strings.Cut(string(o.Key), "/data/projects/"+w.unit.Project.String()+"/")
	source := o.Meta[metaSource]
	if source == "" {
		source = sources[0]
	}
	return BlobRecord{File: file, SHA256: o.SHA256, Bytes: o.Bytes, ContentType: o.ContentType, Source: source, Error: o.blame}
}

// downloadAndStore downloads one blob and stores it as stem plus the extension that its content
// asks for.
func (w *work) downloadAndStore(ctx context.Context, link cv.Link, stem sink.Path, source string) (stored, error) {
	d := &download{work: w, ctx: ctx}
	defer d.close()
	if err := w.fetchBlob(ctx, link, maxBlob, d); err != nil {
		return stored{}, err
	}
	return w.put(ctx, d, stem, map[string]string{metaSource: source}, codeNotImage)
}

// download is the destination of one blob: memory for what fits there, else a temporary file.
type download struct {
	*work
	ctx    context.Context //nolint:containedctx // of one download, for the callback Fetch makes
	held   int64           // bytes of memory reserved
	memory *bytes.Buffer
	spool  *sink.Spool
}

// begin prepares for one try of length bytes, -1 when unknown.
func (d *download) begin(length int64) (io.Writer, error) {
	if length < 0 || length > maxInMemory || length > d.Buffer {
		return d.beginSpool()
	}
	if d.held != length {
		d.release()
		if err := d.Handler.memory.Acquire(d.ctx, length); err != nil {
			return nil, fmt.Errorf("wait for memory: %w", err)
		}
		d.held = length
	}
	d.memory = bytes.NewBuffer(make([]byte, 0, length))
	return d.memory, nil
}

func (d *download) beginSpool() (io.Writer, error) {
	d.memory = nil
	d.release()
	if d.spool != nil {
		if err := d.spool.Reset(); err != nil {
			return nil, fmt.Errorf("begin a spool anew: %w", err)
		}
		return d.spool, nil
	}
	var err error
	if d.spool, err = sink.NewSpool(d.SpoolDir); err != nil {
		return nil, fmt.Errorf("open a spool: %w", err)
	}
	return d.spool, nil
}

// head is the first bytes of what was downloaded.
func (d *download) head() ([]byte, error) {
	if d.memory != nil {
		b := d.memory.Bytes()
		return b[:min(len(b), headBytes)], nil
	}
	head, err := headOf(d.spool.ReadSeeker())
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

func (d *download) release() {
	d.Handler.memory.Release(d.held)
	d.held = 0
}

func (d *download) close() {
	d.release()
	if d.spool != nil {
		if err := d.spool.Close(); err != nil {
			d.log.Warn().Err(err).Msg("remove a temporary file")
		}
	}
}

// exports reads the exported models of one iteration: the list as exports.json, and the file of
// each that is done. It never asks the service to export one.
func (w *work) exports(ctx context.Context) (Summary, []Record, error) {
	var (
		p, it = w.unit.Project, w.unit.Scope
		list  = func(ctx context.Context) ([]cv.Export, error) {
			exports, err := w.client.GetExports(ctx, p, it)
			if errors.Is(err, cv.ErrUntrained) || w.vanished(err, it) {
				return nil, nil
			}
			if err != nil {
				return nil, fmt.Errorf("list the exports of iteration %s: %w", it, err)
			}
			return exports, nil
		}
		fresh []cv.Export
	)
	r, mine, err := w.frozen(ctx, func(ctx context.Context) (reading, error) {
		var err error
		if fresh, err = list(ctx); err != nil {
			return reading{}, err
		}
		r := reading{V: unitVersion}
		for _, e := range fresh {
			raw, err := cv.StripQueries(e.Raw)
			if err != nil {
				return reading{}, fmt.Errorf("read an export: %w", err)
			}
			r.Listed++
			r.Items = append(r.Items, item{Raw: raw})
		}
		return r, nil
	})
	if err != nil {
		return Summary{}, nil, err
	}
	raws, models := make([]json.RawMessage, 0, len(r.Items)), make([]cv.Export, len(r.Items))
	for i, e := range r.Items {
		raws = append(raws, e.Raw)
		if err := json.Unmarshal(e.Raw, &models[i]); err != nil {
			return Summary{}, nil, fmt.Errorf("read a frozen export: %w", err)
		}
	}
	e, err := w.putJSON(ctx, sink.IterationPath(p, it, "exports.json"), jsonArray(raws), contract.CategoryExports, it)
	if err != nil {
		return Summary{}, nil, err
	}
	s, records := r.summary(), []Record{{Entry: e}}
	ids, flavors := modelIDs(models), modelFlavors(models)
	for i, export := range models {
		if export.Status != statusDone {
			continue
		}
		export.Flavor = flavors[i]
		refresh := func(ctx context.Context) (string, error) {
			again, err := list(ctx)
			if err != nil {
				return "", err
			}
			uri := modelLink(ids[i], again)
			if uri == "" {
				return "", errNoLink
			}
			return uri, nil
		}
		var uri string
		if mine {
			uri = fresh[i].DownloadURI
		} else if uri, err = refresh(ctx); err != nil && !errors.Is(err, errNoLink) {
			return Summary{}, nil, err
		}
		m, err := w.model(ctx, cv.Link{Project: p, URI: uri, Refresh: refresh}, export)
		if err != nil {
			return Summary{}, nil, err
		}
		records = append(records, Record{Entry: m})
		if m.Failed != nil {
			s.Failed++
		}
		if m.Path != "" {
			s.Blobs++
			s.Bytes += m.Bytes
		}
	}
	return s, records, nil
}

// model stores one exported model's file, through a temporary file however large it is.
func (w *work) model(ctx context.Context, link cv.Link, export cv.Export) (*EntryRecord, error) {
	d := &download{work: w, ctx: ctx}
	defer d.close()
	record := &EntryRecord{Category: contract.CategoryExports, ID: w.unit.Scope, Model: true}
	err := errNoLink
	if link.URI != "" {
		err = w.fetchBlob(ctx, link, maxModel, d)
	}
	fail := func(b *Blame) {
		record.Failed = &Failure{ID: w.unit.Scope.String() + "/" + modelName(export), Code: b.Code, Message: b.Message}
	}
	if class := delivery.Classify(ctx, err); class == delivery.Gone || class == delivery.Permanent || class == delivery.Retryable && w.attempt >= w.MaxAttempts {
		fail(blameOf(err))
		return record, nil
	}
	if err != nil {
		return nil, fmt.Errorf("fetch the exported model %s: %w", modelName(export), err)
	}
	o, err := w.put(ctx, d, sink.ModelStem(w.unit.Project, w.unit.Scope, export.Platform, export.Flavor), nil, codeNotModel)
	if err != nil {
		return nil, fmt.Errorf("keep the exported model %s: %w", modelName(export), err)
	}
	if o.blame != nil {
		fail(o.blame)
	}
	if o.Key != "" {
		record.Path = strings.TrimPrefix(string(o.Key), string(w.layout.Bag(sink.ExportBag)))
		record.SHA256, record.Bytes = o.SHA256, o.Bytes
	}
	return record, nil
}

// Bounds of one run of predictions.
const (
	predictionPage  = 128 // results a query, what others are known to ask for
	predictionCalls = 8
	predictionRun   = 256 // results a run
)

// predictionQuery asks for the stored predictions of a scope, the oldest first, so many at a time.
func predictionQuery(scope uuid.UUID, count int) cv.PredictionQueryToken {
	query := cv.PredictionQueryToken{OrderBy: cv.Oldest, MaxCount: count}
	if scope != uuid.Nil {
		query.IterationID = &scope
	}
	return query
}

// predictions reads a run of stored predictions: some pages of the query, going on where the run
// before stopped, through the workspace and then each iteration, and the blobs of what it found.
func (w *work) predictions(ctx context.Context) (Summary, []Record, error) {
	r, mine, err := w.frozen(ctx, func(ctx context.Context) (reading, error) { return w.readPredictions(ctx) })
	if err != nil {
		return Summary{}, nil, err
	}
	// There is no reading predictions by their ids: fresh links come from asking the same queries
	// again.
	again := func(ctx context.Context, _ []uuid.UUID) (map[uuid.UUID][]string, error) {
		fresh, err := w.readPredictions(ctx)
		if err != nil {
			return nil, err
		}
		links := map[uuid.UUID][]string{}
		for _, it := range fresh.Items {
			links[it.ID] = it.links
		}
		return links, nil
	}
	blobs, err := w.fetch(ctx, r.Items, mine, func(id uuid.UUID) sink.Path { return sink.PredictionStem(w.unit.Project, id) }, again)
	if err != nil {
		return Summary{}, nil, err
	}
	s := r.summary()
	s.tally(blobs)
	records := make([]Record, 0, len(r.Items))
	for i, it := range r.Items {
		records = append(records, Record{Prediction: it.Raw, ID: it.ID, Blob: &blobs[i]})
	}
	return s, records, nil
}

func (w *work) readPredictions(ctx context.Context) (reading, error) {
	r := reading{V: unitVersion, Scopes: w.unit.Scopes, Token: w.unit.Token}
	seen := map[uuid.UUID]bool{}
	for calls := 0; len(r.Scopes) > 0 && calls < predictionCalls && len(r.Items) < predictionRun; calls++ {
		query := predictionQuery(r.Scopes[0], predictionPage)
		if r.Token != nil {
			query.Session, query.Continuation = r.Token.Session, r.Token.Continuation
		}
		result, err := w.client.QueryPredictions(ctx, w.unit.Project, query)
		if w.vanished(err, r.Scopes[0]) {
			r.Scopes, r.Token = r.Scopes[1:], nil
			continue
		}
		if err != nil {
			return reading{}, fmt.Errorf("query the predictions of %s: %w", scopeName(r.Scopes[0]), err)
		}
		for _, p := range result.Results {
			raw, err := cv.StripQueries(p.Raw)
			if err != nil {
				return reading{}, fmt.Errorf("read prediction %s: %w", p.ID, err)
			}
			r.Listed++
			if seen[p.ID] {
				continue
			}
			seen[p.ID] = true
			r.Items = append(r.Items, item{
				ID: p.ID, Raw: raw, Later: r.Scopes[0] != uuid.Nil || r.Token != nil,
				links: distinct(p.OriginalImageURI, p.ResizedImageURI),
			})
		}
		if result.Token.Continuation == "" || len(result.Results) == 0 {
			r.Scopes, r.Token = r.Scopes[1:], nil
			continue
		}
		r.Token = &tokenState{Session: result.Token.Session, Continuation: result.Token.Continuation}
	}
	return r, nil
}
