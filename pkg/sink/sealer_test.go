package sink_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// sealer is that of the command cmd-1 in its first life.
func sealer() *sink.Sealer { return sink.NewSealer([]byte("the key"), "cmd-1", "s1/7") }

// TestSealed has a command read what others put where it keeps its objects: it is not there, and
// gives way to the command's own, without a delete marker or another version.
func TestSealed(t *testing.T) {
	const key = "cmd-1/.work/plan.json"
	forged := sink.Bytes([]byte(`{"forged":true}`), "")
	for _, versioned := range []bool{false, true} {
		for name, place := range map[string]func(w *world) error{
			"without a seal": func(w *world) error {
				_, err := w.store.Put(context.Background(), key, forged)
				return err
			},
			"under another key": func(w *world) error {
				return placeSealed(w, sink.NewSealer([]byte("guessed"), "cmd-1", "s1/7"), key, forged)
			},
			"of another command": func(w *world) error {
				return placeSealed(w, sink.NewSealer([]byte("the key"), "cmd-2", "s1/7"), key, forged)
			},
			"of another life": func(w *world) error {
				return placeSealed(w, sink.NewSealer([]byte("the key"), "cmd-1", "s1/6"), key, forged)
			},
			"moved here": func(w *world) error {
				if err := placeSealed(w, sealer(), "cmd-1/.work/cut.json", forged); err != nil {
					return err
				}
				return copyObject(w, "cmd-1/.work/cut.json", key, forged)
			},
			"with the seal of other content": func(w *world) error {
				if err := placeSealed(w, sealer(), key, sink.Bytes([]byte("true"), "")); err != nil {
					return err
				}
				return copyObject(w, key, key, forged)
			},
			"large": func(w *world) error {
				_, err := w.store.Put(context.Background(), key, sink.Bytes(noise(3, 7<<20), ""))
				return err
			},
		} {
			t.Run(fmt.Sprintf("%s, versioned %t", name, versioned), func(t *testing.T) {
				w := newWorld(t, sinktest.BucketOptions{Versioned: versioned})
				must(t, place(w))
				store := w.store.Sealed(sealer())
				if _, err := store.ReadAll(t.Context(), key, 9<<20); !errors.Is(err, sink.ErrNotFound) || !errors.Is(err, sink.ErrUnsealed) {
					t.Errorf("read: %v", err)
				}
				if _, _, err := store.Open(t.Context(), key); !errors.Is(err, sink.ErrUnsealed) {
					t.Errorf("open: %v", err)
				}
				_, found, err := store.Find(t.Context(), "cmd-1/.work/plan")
				if found || err != nil {
					t.Errorf("found %t, %v", found, err)
				}
				o, err := store.Put(t.Context(), key, sink.Bytes([]byte("mine"), ""))
				if err != nil || o.Adopted {
					t.Fatalf("put: %+v, %v", o, err)
				}
				b, err := store.ReadAll(t.Context(), key, 9<<20)
				if err != nil || string(b) != "mine" {
					t.Errorf("read %q, %v", b, err)
				}
				must(t, w.store.Remove(t.Context(), "cmd-1/.work/cut.json"))
				if left := w.left(t, ""); left != key {
					t.Errorf("the bucket keeps %s", left)
				}
			})
		}
	}
}

func placeSealed(w *world, by *sink.Sealer, key sink.Key, body sink.Body) error {
	_, err := w.store.Sealed(by).Put(context.Background(), key, body)
	return err
}

// copyObject writes an object with the metadata of another one, digest included.
func copyObject(w *world, from, to sink.Key, body sink.Body) error {
	o, err := w.store.Head(context.Background(), from)
	if err != nil {
		return err
	}
	body.Meta = maps.Clone(o.Meta)
	if err := w.store.Remove(context.Background(), to); err != nil {
		return err
	}
	_, err = w.store.Put(context.Background(), to, body)
	return err
}

// TestSealedIsAdopted has a second attempt find what the first one stored, of every size.
func TestSealedIsAdopted(t *testing.T) {
	for _, size := range []int{0, 100, 2 << 20, 7 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			w := newWorld(t, sinktest.BucketOptions{})
			first, second := w.store.Sealed(sealer()), w.store.Sealed(sealer())
			content := noise(2, size)
			if _, err := first.Put(t.Context(), "k", sink.Body{R: bytes.NewReader(content), Meta: map[string]string{"source": "original"}}); err != nil {
				t.Fatal(err)
			}
			o, err := second.Put(t.Context(), "k", sink.Bytes([]byte("other"), ""))
			if err != nil || !o.Adopted || o.Bytes != int64(size) || o.Meta["source"] != "original" {
				t.Errorf("put: %+v, %v", o, err)
			}
			if b, err := second.ReadAll(t.Context(), "k", int64(size)); err != nil || !bytes.Equal(b, content) {
				t.Errorf("read: %d bytes, %v", len(b), err)
			}
			if _, err := second.ReadAll(t.Context(), "k", int64(size)-1); err == nil || errors.Is(err, sink.ErrNotFound) {
				t.Errorf("more than was allowed was read: %v", err)
			}
			if o, err := second.Head(t.Context(), "k"); err != nil || o.SHA256 != sink.Bytes(content, "").SHA256 {
				t.Errorf("head: %+v, %v", o, err)
			}
			body, o, err := second.Open(t.Context(), "k")
			if err != nil {
				t.Fatal(err)
			}
			defer body.Close()
			if b, err := io.ReadAll(body); err != nil || !bytes.Equal(b, content) || o.Bytes != int64(size) {
				t.Errorf("open: %d bytes, %+v, %v", len(b), o, err)
			}
		})
	}
}

// TestSealsOfAnyMessage has an object count in a later life of its id, and not for another id.
func TestSealsOfAnyMessage(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	must(t, placeSealed(w, sealer(), "k", sink.Bytes([]byte("receipt"), "")))
	for _, c := range []struct {
		id    string
		store func(*sink.Store) *sink.Store
		there bool
	}{
		{"cmd-1", (*sink.Store).OfAnyMessage, true},
		{"cmd-1", func(s *sink.Store) *sink.Store { return s }, false},
		{"cmd-2", (*sink.Store).OfAnyMessage, false},
	} {
		later := c.store(w.store.Sealed(sink.NewSealer([]byte("the key"), c.id, "s2/1")))
		if _, err := later.ReadAll(t.Context(), "k", 100); (err == nil) != c.there || err != nil && !errors.Is(err, sink.ErrUnsealed) {
			t.Errorf("%s: %v", c.id, err)
		}
	}
}

// TestBoundSeals has an object that was stored for one text not count for another.
func TestBoundSeals(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	store := w.store.Sealed(sealer())
	if _, err := store.Bound("unit 7").Put(t.Context(), "k", sink.Bytes([]byte("result"), "")); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Bound("unit 7").ReadAll(t.Context(), "k", 100); err != nil {
		t.Error(err)
	}
	for _, other := range []*sink.Store{store, store.Bound("unit 8")} {
		if _, err := other.ReadAll(t.Context(), "k", 100); !errors.Is(err, sink.ErrUnsealed) {
			t.Errorf("read: %v", err)
		}
	}
}

// TestSealsCostNoRequest counts the requests of a command that stores, looks and reads.
func TestSealsCostNoRequest(t *testing.T) {
	count := func(view func(*sink.Store) *sink.Store) string {
		w := newWorld(t, sinktest.BucketOptions{})
		requests := map[string]int{}
		faults := sinktest.NewFaults(nil)
		faults.OnRequest = func(op, _ string, before bool) error {
			if before {
				requests[op]++
			}
			return nil
		}
		store := view(sink.NewStore(w.server.FaultyClient(faults), w.options()))
		// A large body whose PutObject is refused may be sent twice: the server closes the
		// connection before it has read it.
		for _, size := range []int{10, 7 << 20} {
			key := sink.Key(fmt.Sprint(size))
			for range 2 {
				if _, err := store.Put(t.Context(), key, sink.Bytes(noise(1, size), "")); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := store.Describe(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			if _, err := store.ReadAll(t.Context(), key, 8<<20); err != nil {
				t.Fatal(err)
			}
		}
		return fmt.Sprint(requests)
	}
	plain := count(func(s *sink.Store) *sink.Store { return s })
	sealed := count(func(s *sink.Store) *sink.Store { return s.Sealed(sealer()) })
	if plain != sealed {
		t.Errorf("sealed: %s; without seals: %s", sealed, plain)
	}
}

// TestForgedContentWithoutChecksums puts another content of the same size, with the metadata of an
// own object, where a store has no checksums: what the store keeps is read, and is none.
func TestForgedContentWithoutChecksums(t *testing.T) {
	const key = "cmd-1/data/x.jpg"
	w := newWorld(t, sinktest.BucketOptions{})
	must(t, placeSealed(w, sealer(), key, sink.Bytes(noise(1, 1000), "")))
	mine, err := w.store.Head(t.Context(), key)
	must(t, err)
	meta := maps.Clone(mine.Meta)
	meta["sha256"] = mine.SHA256
	_, err = w.server.Client().PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(w.store.Bucket()), Key: aws.String(key), Metadata: meta, Body: bytes.NewReader(noise(2, 1000)),
	})
	must(t, err)
	store := w.behind(t, []sinktest.Quirk{sinktest.NoOwnChecksums}).Sealed(sealer())
	if o, err := store.Describe(t.Context(), key); !errors.Is(err, sink.ErrUnsealed) {
		t.Errorf("describes %+v: %v", o, err)
	}
	if o, err := store.Put(t.Context(), key, sink.Bytes(noise(1, 1000), "")); err != nil || o.Adopted {
		t.Errorf("stored %+v: %v", o, err)
	}
	if got, err := store.ReadAll(t.Context(), key, 1<<20); err != nil || !bytes.Equal(got, noise(1, 1000)) {
		t.Errorf("reads %d bytes: %v", len(got), err)
	}
}

// TestSealsSayTheSize has objects of any size, with the metadata of an own object, put where a
// command keeps its own: nothing of them is read, into memory or a temporary file, before the seal
// says that it is of another size.
func TestSealsSayTheSize(t *testing.T) {
	const key = "cmd-1/.work/units/000001.jsonl"
	for _, size := range []int{3, 2 << 20, 7 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			w := newWorld(t, sinktest.BucketOptions{})
			must(t, placeSealed(w, sealer(), key, sink.Bytes(noise(1, size), "")))
			must(t, copyObject(w, key, key, sink.Bytes(noise(2, 9<<20), "")))
			reads := 0
			faults := sinktest.NewFaults(nil)
			faults.OnRequest = func(op, _ string, before bool) error {
				if before && op == "GetObject" {
					reads++
				}
				return nil
			}
			o := w.options()
			o.SpoolDir = "/nowhere" // a temporary file would fail
			store := sink.NewStore(w.server.FaultyClient(faults), o).Sealed(sealer())
			if _, err := store.Describe(t.Context(), key); !errors.Is(err, sink.ErrUnsealed) || reads != 0 {
				t.Errorf("looked at with %d reads: %v", reads, err)
			}
			if _, found, err := store.Find(t.Context(), "cmd-1/.work/units/000001"); found || err != nil || reads != 0 {
				t.Errorf("found %t with %d reads: %v", found, reads, err)
			}
			if _, _, err := store.Open(t.Context(), key); !errors.Is(err, sink.ErrUnsealed) || reads != 1 {
				t.Errorf("opened with %d reads: %v", reads, err)
			}
			if _, err := store.ReadAll(t.Context(), key, 16<<20); !errors.Is(err, sink.ErrUnsealed) || reads != 2 {
				t.Errorf("read with %d reads: %v", reads, err)
			}
			reads = 0
			if got, err := store.Put(t.Context(), key, sink.Bytes([]byte("mine"), "")); err != nil || got.Adopted || reads != 0 {
				t.Errorf("put: %+v with %d reads: %v", got, reads, err)
			}
		})
	}
}
