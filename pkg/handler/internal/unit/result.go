package unit

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/jsonscan"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// MaxObject bounds a working object that is read whole, in bytes.
const MaxObject = 256 << 20

// MaxLine bounds a line of a working object, and what units leave behind, in bytes. The longest is
// that of an image, whose JSON has 4 MiB at most.
const MaxLine = 8 << 20

// ResultName is the working object of the result of unit n.
func ResultName(n int) string { return fmt.Sprintf("units/%06d.jsonl", n) }

// ReadingName is the working object of what unit n read from the service.
func ReadingName(n int) string { return fmt.Sprintf("units/%06d.list", n) }

// TryName is the working object that marks attempt k of unit n.
func TryName(n, k int) string { return fmt.Sprintf("units/%06d.try-%d", n, k) }

// ErrorName is the working object of an AttemptError: what the failed attempt k of unit n left.
func ErrorName(n, k int) string { return fmt.Sprintf("units/%06d.err-%d", n, k) }

// WaitName is the working object of a Wait: what unit n waits for, told to the attempt of the
// coordinator that asked for the unit.
func WaitName(n int, asked string) string { return fmt.Sprintf("units/%06d.wait-%s", n, asked) }

// AttemptError is what a failed attempt of a unit leaves behind: its calls go into the ledger all
// the same.
type AttemptError struct {
	V     int           `json:"v"`
	N     int           `json:"n"`
	Error string        `json:"error"`
	Calls []ledger.Call `json:"calls"`
}

// Wait is what a unit leaves behind that met the operator's problem: a wrong key, a missing bucket,
// a service that fails as a whole. Its coordinator then hands the command back until that changes.
type Wait struct {
	V      int           `json:"v"`
	N      int           `json:"n"`
	For    string        `json:"for"` // contract.WaitCredential, WaitStorage or WaitRate
	Detail string        `json:"detail"`
	Time   time.Time     `json:"time"`
	Calls  []ledger.Call `json:"calls,omitempty"` // for the ledger
}

// ReadWait reads what unit n waits for, as told to the attempt of the coordinator that asked for
// the unit; nil when it waits for nothing.
func ReadWait(ctx context.Context, work *sink.Store, l sink.Layout, n int, asked string) (*Wait, error) {
	name := WaitName(n, asked)
	b, err := work.ReadAll(ctx, l.Work(name), MaxLine)
	if errors.Is(err, sink.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what unit %d waits for: %w", n, err)
	}
	var w Wait
	return &w, contract.DecodeUpTo(Version, b, name, &w)
}

// EncodeResult is a unit's result: its summary and records, a line each.
func EncodeResult(s Summary, records []Record) ([]byte, error) {
	var buf bytes.Buffer
	size := 1 << 10
	for _, r := range records {
		size += len(r.Image) + len(r.Prediction) + len(r.Performance) + 512 // with what is said of a blob
	}
	buf.Grow(size)
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return nil, fmt.Errorf("encode the result: %w", err)
	}
	var splicer jsonscan.Splicer
	for _, r := range records {
		var err error
		if name, thing := r.thing(); thing != nil {
			raw := *thing
			*thing = json.RawMessage("null")
			err = splicer.Write(&buf, r, name, raw)
		} else {
			err = enc.Encode(r)
		}
		if err != nil {
			return nil, fmt.Errorf("encode the result: %w", err)
		}
	}
	return buf.Bytes(), nil
}

// thing is the JSON of a thing read, and its member; nil in the record of an entry.
func (r *Record) thing() (member string, raw *json.RawMessage) {
	switch {
	case r.Entry != nil:
		return "", nil
	case r.Image != nil:
		return "image", &r.Image
	case r.Prediction != nil:
		return "prediction", &r.Prediction
	case r.Performance != nil:
		return "performance", &r.Performance
	}
	return "", nil
}

// decodeRecord is json.Unmarshal of a record. What a thing is is not looked into: its JSON stands
// as long as the line.
func decodeRecord(line []byte) (r Record, err error) {
	for _, c := range []struct {
		head string
		raw  *json.RawMessage
	}{{`{"image":`, &r.Image}, {`{"prediction":`, &r.Prediction}, {`{"performance":`, &r.Performance}} {
		if !bytes.HasPrefix(line, []byte(c.head)) {
			continue
		}
		begin := len(c.head)
		end := jsonscan.Value(line, begin)
		if end < 0 || !bytes.HasPrefix(line[end:], []byte(`,"`)) {
			break
		}
		*c.raw = line[begin:end:end]
		rest := append([]byte("{"), line[end+1:]...)
		if r.decodePlain(rest) {
			return r, nil
		}
		return r, json.Unmarshal(rest, &r)
	}
	return r, json.Unmarshal(line, &r)
}

var (
	recordMembers = []string{"id", "blob", "entry", "image", "prediction", "performance"}
	blobMembers   = []string{"file", "sha256", "bytes", "content_type", "source", "error"}
)

// decodePlain decodes what a record has behind a thing, in the form that encoding gives it where
// all went well. It reports whether it is in that form; else the record is as it was.
func (r *Record) decodePlain(rest []byte) bool {
	if bytes.Contains(rest, []byte("null")) {
		return false
	}
	p, id, blob := jsonscan.NewPlain(rest), r.ID, r.Blob
	p.Object(recordMembers, func(i int) {
		switch recordMembers[i] {
		case "id":
			p.ID(&id)
		case "blob":
			blob = new(BlobRecord)
			blob.decodePlain(p)
		default:
			p.GiveUp()
		}
	})
	if !p.Done() {
		return false
	}
	r.ID, r.Blob = id, blob
	return true
}

func (b *BlobRecord) decodePlain(p *jsonscan.Plain) {
	p.Object(blobMembers, func(i int) {
		switch blobMembers[i] {
		case "file":
			p.String(&b.File)
		case "sha256":
			p.String(&b.SHA256)
		case "bytes":
			var n int
			p.Int(&n)
			b.Bytes = int64(n)
		case "content_type":
			p.String(&b.ContentType)
		case "source":
			p.String(&b.Source)
		default:
			p.GiveUp()
		}
	})
}

// ReadSummary reads the first line of a unit's result, and the digest of the whole.
func ReadSummary(ctx context.Context, open Opener, u Unit) (Summary, string, error) {
	r, err := openResult(ctx, open, u)
	if err != nil {
		return Summary{}, "", err
	}
	return r.summary, r.digest, r.body.Close() //nolint:wrapcheck // a temporary file
}

// ReadRecords yields the lines of a unit's result after the first. The JSON of a thing in a record
// stands until the next record.
func ReadRecords(ctx context.Context, open Opener, u Unit) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		r, err := openResult(ctx, open, u)
		if err != nil {
			yield(Record{}, err)
			return
		}
		defer r.body.Close()
		for {
			var rec Record
			line, err := next(r.rest)
			if errors.Is(err, io.EOF) {
				return
			}
			if err == nil {
				rec, err = decodeRecord(line)
			}
			if err == nil {
				err = rec.check()
			}
			if err != nil {
				err = fmt.Errorf("read the result of unit %d: %w", u.N, err)
			}
			if !yield(rec, err) || err != nil {
				return
			}
		}
	}
}

// Scan reads a working object that has a value in each line, of MaxLine at most.
func Scan(r io.Reader) *bufio.Scanner {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, MaxLine)
	return lines
}

// next reads the next line, which stands until the one after it is read; io.EOF says that there is
// none.
func next(lines *bufio.Scanner) ([]byte, error) {
	if !lines.Scan() {
		if errors.Is(lines.Err(), bufio.ErrTooLong) {
			return nil, fmt.Errorf("a line of more than %d bytes", MaxLine)
		}
		return nil, cmp.Or(lines.Err(), io.EOF)
	}
	return lines.Bytes(), nil
}

// Line reads the next value; io.EOF says that there is none.
func Line[T any](lines *bufio.Scanner) (v T, err error) {
	line, err := next(lines)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(line, &v)
}

// result is a unit's result, of which the first line was read.
type result struct {
	summary Summary
	digest  string // of the whole
	rest    *bufio.Scanner
	body    io.Closer
}

// Opener opens the result of a unit, as it was stored. It fails with sink.ErrNotFound where there
// is none.
type Opener func(ctx context.Context, u Unit) (io.ReadCloser, sink.Object, error)

// Stored opens results in a store. What another unit with the number of one left is not there.
func Stored(work *sink.Store, l sink.Layout) Opener {
	return func(ctx context.Context, u Unit) (io.ReadCloser, sink.Object, error) {
		bound, err := Bound(work, u)
		if err != nil {
			return nil, sink.Object{}, err
		}
		return bound.Open(ctx, l.Work(ResultName(u.N))) //nolint:wrapcheck // openResult says what it reads
	}
}

// openResult opens a unit's result, and reads its first line.
func openResult(ctx context.Context, open Opener, u Unit) (r result, err error) {
	body, o, err := open(ctx, u)
	if err != nil {
		return r, fmt.Errorf("read the result of unit %d: %w", u.N, err)
	}
	r = result{digest: o.SHA256, body: body, rest: Scan(body)}
	r.summary, err = Line[Summary](r.rest)
	switch {
	case err != nil:
	case r.summary.V > Version:
		if _, err = io.Copy(io.Discard, body); err == nil { // with its end it is seen to be what was stored
			err = &contract.NewerError{What: "unit result", V: r.summary.V, Up: Version}
		}
	default:
		err = r.summary.check(u)
	}
	if err != nil {
		return r, errors.Join(fmt.Errorf("read the result of unit %d: %w", u.N, err), body.Close())
	}
	return r, nil
}

// Bound is a sealed store for what is stored of a unit: its result, its reading, and the marks of
// its attempts. Of another unit with the same number there is nothing in it.
func Bound(work *sink.Store, u Unit) (*sink.Store, error) {
	identity, err := u.Identity()
	if err != nil {
		return nil, err
	}
	return work.Bound(identity), nil
}

// Lines yields the values that are left. After an error nothing follows.
func Lines[T any](lines *bufio.Scanner) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			v, err := Line[T](lines)
			if errors.Is(err, io.EOF) || !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// Versioned is a working object whose format has a version of its own.
type Versioned interface {
	// FormatVersion is the newest version of the format that this build knows.
	FormatVersion() int
}

// Encoded is a working object that encodes itself: to contract.Marshal it would be the same.
type Encoded interface {
	// EncodeJSON gives the object's JSON.
	EncodeJSON() ([]byte, error)
}

// encode is the JSON of an object that is to be frozen.
func encode(v any) ([]byte, error) {
	if own, ok := v.(Encoded); ok {
		return own.EncodeJSON() //nolint:wrapcheck // callers say what they encode
	}
	return contract.Marshal(v) //nolint:wrapcheck // callers say what they encode
}

// decode reads a frozen object.
func decode(stored []byte, name string, into any) error {
	if own, ok := into.(Versioned); ok {
		return contract.DecodeUpTo(own.FormatVersion(), stored, name, into)
	}
	return contract.DecodeVersioned(stored, name, into)
}

// Freeze returns the object stored under key, else stores what make makes now: the first writer
// wins, and every later attempt works on what it wrote. mine reports that it was made now. With
// fresh it is not looked for first: nothing can be there yet.
func Freeze[T any](ctx context.Context, work *sink.Store, key sink.Key, fresh bool, make func(context.Context) (T, error)) (v T, mine bool, err error) {
	var (
		name   = path.Base(string(key))
		stored []byte
		found  bool
	)
	if !fresh {
		stored, err = work.ReadAll(ctx, key, MaxObject)
		if found = err == nil; err != nil && !errors.Is(err, sink.ErrNotFound) {
			return v, false, fmt.Errorf("look for %s: %w", name, err)
		}
	}
	if !found {
		made, err := make(ctx)
		if err != nil {
			return v, false, err
		}
		b, err := encode(made)
		if err != nil {
			return v, false, fmt.Errorf("encode %s: %w", name, err)
		}
		o, err := work.Put(ctx, key, sink.Bytes(b, "application/json"))
		if err != nil {
			return v, false, fmt.Errorf("freeze %s: %w", name, err)
		}
		if !o.Adopted {
			return made, true, nil
		}
		if stored, err = work.ReadAll(ctx, key, MaxObject); err != nil {
			return v, false, fmt.Errorf("read %s: %w", name, err)
		}
	}
	return v, false, decode(stored, name, &v)
}
