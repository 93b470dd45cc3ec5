package sink

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
)

// maxLineBytes bounds the lines of manifests and of bag-info.txt that are read.
const maxLineBytes = 64 << 10

// ManifestLine is one line of a manifest.
type ManifestLine struct {
	SHA256 string // lower-case hex
	Path   Path   // as it is, without escapes
}

// AppendManifestLine prints a line, "<hex>  <path>\n", to dst. CR, LF and % in the path are
// percent-encoded, as RFC 8493 section 2.1.3 has it.
func AppendManifestLine(dst []byte, l ManifestLine) []byte {
	dst = append(dst, l.SHA256...)
	dst = append(dst, ' ', ' ')
	for i := range len(l.Path) {
		switch c := l.Path[i]; c {
		case '\r':
			dst = append(dst, "%0D"...)
		case '\n':
			dst = append(dst, "%0A"...)
		case '%':
			dst = append(dst, "%25"...)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '\n')
}

// ParseManifestLine reads a line without its newline. It takes only what AppendManifestLine prints,
// so that parsing and printing give the same bytes.
func ParseManifestLine(line []byte) (ManifestLine, error) {
	digest, path, ok := strings.Cut(string(line), "  ")
	switch {
	case !ok || !ValidDigest(digest):
		return ManifestLine{}, errors.New("parse manifest line: it does not begin with a SHA-256 in lower-case hex and two blanks")
	case path == "":
		return ManifestLine{}, errors.New("parse manifest line: it has no path")
	case strings.ContainsAny(path, "\r\n"):
		return ManifestLine{}, errors.New("parse manifest line: a line break within the path")
	}
	path, err := unescape(path)
	if err != nil {
		return ManifestLine{}, fmt.Errorf("parse manifest line: %w", err)
	}
	return ManifestLine{SHA256: digest, Path: Path(path)}, nil
}

// unescape decodes the three percent-encodings of a manifest, and takes no other.
func unescape(path string) (string, error) {
	if !strings.Contains(path, "%") {
		return path, nil
	}
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(path, "%")
		b.WriteString(before)
		if !ok {
			return b.String(), nil
		}
		if len(after) < 2 {
			return "", errors.New("a % that encodes nothing")
		}
		switch after[:2] {
		case "0D":
			b.WriteByte('\r')
		case "0A":
			b.WriteByte('\n')
		case "25":
			b.WriteByte('%')
		default:
			return "", fmt.Errorf("unknown encoding %%%s", after[:2])
		}
		path = after[2:]
	}
}

// ManifestLines yields the lines of a manifest. A line that cannot be parsed comes with an error
// that names its number, and reading goes on; an error of the reader itself is wrapped in
// [ReadError] and is the last.
func ManifestLines(r io.Reader) iter.Seq2[ManifestLine, error] {
	return func(yield func(ManifestLine, error) bool) {
		n := 0
		for line, err := range Lines(r, maxLineBytes) {
			n++
			if err != nil {
				if !yield(ManifestLine{}, err) {
					return
				}
				continue
			}
			l, err := ParseManifestLine(line)
			if err != nil {
				err = fmt.Errorf("line %d: %w", n, err)
			}
			if !yield(l, err) {
				return
			}
		}
	}
}

// ReadError is an error of the reader, not one of the text that was read.
type ReadError struct{ Err error }

// Error gives the cause's text.
func (e *ReadError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *ReadError) Unwrap() error { return e.Err }

// errUnterminated says that the last line of a file does not end: the file was cut.
var errUnterminated = errors.New("the last line has no newline")

// lineReaders are for Lines: most of what is read by lines is shorter than their buffers.
var lineReaders = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 64<<10) }}

// Lines yields the lines of r without their newlines, each valid until the next. A line longer than
// limit, or one that is not terminated, is an error in its place; an error of r is a ReadError and
// the last.
func Lines(r io.Reader, limit int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		buf := lineReaders.Get().(*bufio.Reader)
		buf.Reset(r)
		defer func() {
			buf.Reset(nil)
			lineReaders.Put(buf)
		}()
		var line []byte
		for {
			line = line[:0]
			long := false
			var err error
			for {
				var piece []byte
				piece, err = buf.ReadSlice('\n')
				if long = long || len(line)+len(piece) > limit+1; !long {
					line = append(line, piece...)
				}
				if !errors.Is(err, bufio.ErrBufferFull) {
					break
				}
			}
			switch {
			case err != nil && !errors.Is(err, io.EOF):
				yield(nil, &ReadError{err})
				return
			case long:
				if !yield(nil, fmt.Errorf("a line of more than %d bytes", limit)) {
					return
				}
			case err != nil && len(line) > 0:
				yield(nil, errUnterminated)
				return
			case err == nil:
				if !yield(bytes.TrimSuffix(line, []byte("\n")), nil) {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
}
