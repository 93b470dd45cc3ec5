package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"

	"golang.org/x/sync/errgroup"

	"github.com/cvconsumer/cvconsumer/internal/links"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// file is a file of the bag that is being read: it counts, hashes and looks for signed links.
type file struct {
	name sink.Path
	body io.ReadCloser
	r    io.Reader // what content is read from
	hash hash.Hash
	n    int64
	size int64          // as listed, -1: unknown
	most int64          // bytes that it may have: no more are read
	scan *links.Scanner // nil: not text, or looked at otherwise
	err  error          // of reading, which decoders mix with their own
}

// open opens a file. It notes a problem and gives nil when the file is missing or no regular file.
func (v *verifier) open(ctx context.Context, name sink.Path) (*file, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	body, err := v.src.Open(ctx, string(name))
	var damaged *DamagedError
	switch {
	case errors.As(err, &damaged):
		v.problem(name, "%v", damaged)
		return nil, nil
	case IsMissing(err):
		v.problem(name, "it is missing")
		return nil, nil
	case errors.Is(err, errIrregular):
		if !v.hasProblem(name) {
			v.problem(name, "%v", errIrregular)
		}
		return nil, nil
	case err != nil:
		return nil, err
	}
	f := &file{name: name, body: body, hash: sha256.New(), size: v.listedSize(name), most: placeOf(name).limit()}
	if isText(name) && !f.huge() {
		f.scan = &links.Scanner{}
	}
	f.r = f
	return f, nil
}

// huge reports whether a file is larger than any of its kind may be. It is not read, or no further.
func (f *file) huge() bool { return max(f.size, f.n) > f.most }

// Read implements io.Reader. A file that grew is read one byte further than it was long.
func (f *file) Read(p []byte) (int, error) {
	end := f.most
	if f.size >= 0 {
		end = min(end, f.size)
	}
	if f.n > end || f.size > f.most {
		return 0, io.EOF
	}
	if rest := end - f.n; rest < int64(len(p)) {
		p = p[:rest+1]
	}
	n, err := f.body.Read(p)
	f.hash.Write(p[:n])
	if f.scan != nil {
		_, _ = f.scan.Write(p[:n])
	}
	f.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

// finish reads what is left of a file and notes what is wrong with the whole. It gives the file's
// digest. The file is closed.
func (v *verifier) finish(f *file, want string) (digest string, err error) {
	defer func() { _ = f.body.Close() }()
	if f.err == nil {
		_, _ = io.Copy(io.Discard, f)
	}
	var damaged *DamagedError
	switch {
	case errors.As(f.err, &damaged):
		v.problem(f.name, "%v", damaged)
		return "", nil
	case f.err != nil:
		return "", fmt.Errorf("read %s: %w", f.name, f.err)
	}
	v.count(f.n)
	if f.huge() {
		v.problem(f.name, "it is larger than %d bytes, so it was not looked at", f.most)
		return "", nil
	}
	v.recordSize(f.name, f.n)
	if f.size >= 0 && f.n != f.size {
		v.problem(f.name, "it has not the %d bytes that were listed: it changed while it was read", f.size)
	}
	if f.scan != nil && f.scan.Found() {
		v.problem(f.name, "there is a signed link, whose query begins at byte %d", f.scan.At())
	}
	digest = hex.EncodeToString(f.hash.Sum(nil))
	if want != "" && digest != want {
		v.problem(f.name, "its SHA-256 is %s, the manifest has %s", digest, want)
	}
	return digest, nil
}

// count reports progress.
func (v *verifier) count(n int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.progress.Files++
	v.progress.Bytes += n
	if v.o.Progress != nil {
		v.o.Progress(v.progress)
	}
}

// isText reports whether a file is text by its name, to be searched for signed links as a whole. In
// the service's documents and records every string is judged by the member it is in.
func isText(name sink.Path) bool {
	if p := placeOf(name); p.documents() || p.records() && p.shape != deletedFile {
		return false
	}
	switch path.Ext(string(name)) {
	case ".json", ".jsonl", ".txt", ".html", ".htm", ".csv", ".md", ".xml", ".yaml", ".yml", ".js", ".css":
		return true
	}
	return false
}

// all reads a file into memory. It gives nil when the file is too large or cannot be read; finish
// reports that.
func (f *file) all() []byte {
	b, err := io.ReadAll(f.r)
	if err != nil || f.huge() {
		return nil
	}
	return b
}

// readSmall reads a file whole into memory. It notes a problem and gives nil when the file is
// missing or too large.
func (v *verifier) readSmall(ctx context.Context, name sink.Path) (content []byte, digest string, err error) {
	f, err := v.open(ctx, name)
	if f == nil || err != nil {
		return nil, "", err
	}
	content = f.all()
	digest, err = v.finish(f, "")
	return content, digest, err
}

// job is a file to be read, and its digest in the manifest.
type job struct {
	name   sink.Path
	digest string
}

// readFiles reads every file that a manifest lists and compares its digest. What is checked against
// other files comes after them: the ledger after the plan, records after the blobs, whose sizes are
// known by then, and after the ledger.
func (v *verifier) readFiles(ctx context.Context, tags map[sink.Path]string, manifestDigest string) error {
	var first, records []job
	for name, digest := range tags {
		if _, ok := v.tagFiles[name]; ok && name != sink.ManifestFile && name != sink.LedgerFile && !(v.unsigned && name.IsPage()) {
			first = append(first, job{name, digest})
		}
	}
	err := v.concurrently(ctx, func(ctx context.Context, read func(job)) (err error) {
		for _, j := range first {
			read(j)
		}
		records, err = v.readPayload(ctx, read, manifestDigest)
		return err
	})
	if err != nil {
		return err
	}
	if _, ok := v.tagFiles[sink.LedgerFile]; ok {
		if err := v.readFile(ctx, job{sink.LedgerFile, tags[sink.LedgerFile]}); err != nil {
			return err
		}
	}
	return v.concurrently(ctx, func(_ context.Context, read func(job)) error {
		for _, j := range records {
			read(j)
		}
		return nil
	})
}

// concurrently reads the files that list passes to read, o.Readers of them at once.
func (v *verifier) concurrently(ctx context.Context, list func(ctx context.Context, read func(job)) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(v.o.Readers)
	err := list(ctx, func(j job) { group.Go(func() error { return v.readFile(ctx, j) }) })
	return errors.Join(group.Wait(), err)
}

// readFile reads a file whole, compares its digest (unless it is empty), and looks into it where
// its name shows what it holds.
func (v *verifier) readFile(ctx context.Context, j job) error {
	f, err := v.open(ctx, j.name)
	if f == nil || err != nil {
		return err
	}
	p := placeOf(j.name)
	v.content(f, p)
	digest, err := v.finish(f, j.digest)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.statements.digests == nil {
		v.statements.digests = map[shape]string{}
	}
	if p.project == noProject {
		v.statements.digests[p.shape] = digest
	}
	return nil
}

// content looks into a file whose meaning is known. It need not read to the end. An error of
// reading is kept by the file; what is wrong with the content is a problem.
func (v *verifier) content(f *file, p place) {
	switch {
	case f.huge():
		return // finish reports it
	case p.documents():
		v.readDocument(f, p)
	case p.records():
		v.readRecords(f, p)
	}
	switch p.shape {
	case bagIt:
		if b := f.all(); b != nil && string(b) != sink.BagItText {
			v.problem(f.name, "it does not declare BagIt 1.0 in UTF-8")
		}
	case bagInfo:
		v.readInfo(f)
	case page:
		v.readPage(f)
	case requestFile:
		statement(v, f, &v.statements.request)
	case exportFile:
		statement(v, f, &v.statements.export)
	case deletionFile:
		statement(v, f, &v.statements.deletion)
	case verificationFile:
		statement(v, f, &v.statements.verification)
	case inventoryFile:
		v.readInventory(f)
	case planFile:
		v.readPlan(f)
	case ledgerFile:
		v.readLedger(f)
	}
}
