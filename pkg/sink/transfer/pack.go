package transfer

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

const (
	// ahead is how many files are read ahead of the one that is written: a store needs longer to
	// answer than to send a picture.
	ahead = 16
	// maxAhead is how many bytes of each are read ahead. The rest is read while it is written.
	maxAhead = 4 << 20
)

// Progress is told how many files were copied, and their bytes, so far.
type Progress func(files int, bytes int64)

// Name is what a copy of the bag is called: the command's id and the kind of bag, such as
// "req-1-export".
func (b *Bag) Name() string { return b.Receipt.Predicate.Command.ID + "-" + string(b.Receipt.Kind()) }

// Pack writes the bag as one zip archive, in a folder of its name. Text is compressed, pictures and
// models are stored. The order and the times (the receipt's) follow from the bag, so that packing
// it twice gives the same bytes. Every file but the signature is compared with its digest. If Pack
// returns an error, the archive must not be used.
//
// Memory: 64 MiB at most for files that are read ahead, and about 400 bytes for each file, in the
// archive's directory. Errors: MismatchError, and those of the source and of w.
func (b *Bag) Pack(ctx context.Context, w io.Writer, progress Progress) error {
	if sink.Path(b.Name()).Check() != nil {
		return &MismatchError{sink.ReceiptFile, fmt.Sprintf("%q is no name of a folder", b.Name())}
	}
	p := &packer{b: b, zip: zip.NewWriter(w), modified: b.Receipt.Predicate.FinishedAt.UTC().Truncate(2 * time.Second), progress: progress}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	group, groupCtx := errgroup.WithContext(ctx)
	queue := make(chan *pending)
	free := make(chan []byte, ahead) // buffers; each file that is read ahead has one
	for range ahead {
		free <- nil
	}
	group.Go(func() error {
		defer close(queue)
		return b.readAhead(groupCtx, group, queue, free)
	})
	group.Go(func() (err error) {
		for one := range queue {
			<-one.ready
			if err == nil {
				if err = p.add(one); err != nil {
					stop(err) // files that are being read are still closed below
				}
			}
			one.close()
			free <- one.buffer
		}
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	for _, name := range b.lastFiles() {
		if err := p.add(&pending{File: File{Path: name}, start: b.last[name]}); err != nil {
			return err
		}
	}
	if err := p.zip.Close(); err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	return nil
}

// pending is a file whose beginning is read, or being read.
type pending struct {
	File
	ready  chan struct{} // closed once what follows is set
	start  []byte
	rest   io.ReadCloser // what follows the beginning; nil: that is all
	err    error
	buffer []byte // that start is in
}

// close closes a file that was not read to its end.
func (f *pending) close() {
	if f.rest != nil {
		_ = f.rest.Close()
	}
}

// readAhead queues the files in order. Several of them are being read at once.
func (b *Bag) readAhead(ctx context.Context, group *errgroup.Group, queue chan<- *pending, free chan []byte) error {
	for file, err := range b.files(ctx) {
		if err != nil {
			return err
		}
		one := &pending{File: file, ready: make(chan struct{})}
		select {
		case one.buffer = <-free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		group.Go(func() error {
			defer close(one.ready)
			one.err = b.begin(ctx, one)
			return nil // packer.add returns it, in the file's turn
		})
		select {
		case queue <- one:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// begin reads the beginning of a file.
func (b *Bag) begin(ctx context.Context, one *pending) error {
	body, err := b.open(ctx, one.Path)
	if err != nil {
		return err
	}
	buffer := bytes.NewBuffer(one.buffer[:0])
	n, err := buffer.ReadFrom(io.LimitReader(body, maxAhead))
	one.buffer = buffer.Bytes()
	one.start = one.buffer
	if err == nil && n == maxAhead {
		one.rest = body
		return nil
	}
	if err != nil {
		err = fmt.Errorf("read %s: %w", one.Path, err)
	}
	return errors.Join(err, body.Close())
}

// packer writes an archive.
type packer struct {
	b        *Bag
	zip      *zip.Writer
	modified time.Time
	progress Progress
	files    int
	bytes    int64
}

// add writes one file. A small picture has its length before it, so that the archive can be read as
// a stream; the length of other files follows them.
func (p *packer) add(one *pending) error {
	if one.err != nil {
		return one.err
	}
	header := &zip.FileHeader{Name: p.b.Name() + "/" + string(one.Path), Method: zip.Store, Modified: p.modified}
	header.SetMode(0o644)
	if isText(one.Path) {
		header.Method = zip.Deflate
	}
	create := p.zip.CreateHeader
	if header.Method == zip.Store && one.rest == nil {
		setContent(header, one.start)
		create = p.zip.CreateRaw
	}
	to, err := create(header)
	if err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	hash := sha256.New()
	var from io.Reader = bytes.NewReader(one.start)
	if one.rest != nil {
		from = io.MultiReader(from, &namedReader{one.rest, one.Path})
	}
	n, err := io.Copy(io.MultiWriter(to, hash), from)
	if err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); one.SHA256 != "" && got != one.SHA256 {
		return mismatch(one.File, got)
	}
	p.files++
	p.bytes += n
	if p.progress != nil {
		p.progress(p.files, p.bytes)
	}
	return nil
}

// mismatch is the error of a file that has another digest than the manifest.
func mismatch(f File, got string) error {
	return &MismatchError{f.Path, fmt.Sprintf("its SHA-256 is %s, the manifest has %s", got, f.SHA256)}
}

// namedReader names the file in errors of reading it.
type namedReader struct {
	r    io.Reader
	path sink.Path
}

func (r *namedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("read %s: %w", r.path, err)
	}
	return n, err
}

// setContent puts length, checksum and time of a file into its header, as zip.Writer.CreateHeader
// does behind the content.
func setContent(h *zip.FileHeader, content []byte) {
	h.CRC32 = crc32.ChecksumIEEE(content)
	h.CompressedSize64, h.UncompressedSize64 = uint64(len(content)), uint64(len(content))
	h.ReaderVersion, h.CreatorVersion = 20, h.CreatorVersion&0xff00|20
	h.SetModTime(h.Modified) //nolint:staticcheck // CreateRaw takes nothing else
	extended := []byte{'U', 'T', 5, 0, 1}
	h.Extra = binary.LittleEndian.AppendUint32(extended, uint32(h.Modified.Unix())) //nolint:gosec // the format's width
}

// isText reports whether a file is worth compressing.
func isText(name sink.Path) bool {
	switch path.Ext(string(name)) {
	case ".json", ".jsonl", ".txt", ".html", ".css", ".js", ".svg":
		return true
	}
	return false
}
