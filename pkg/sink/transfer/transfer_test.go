package transfer_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/transfer"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify/verifytest"
)

// memory is a bag held in memory.
type memory = verifytest.Memory

// golden reads a golden bag.
func golden(t *testing.T, name string) memory {
	t.Helper()
	return verifytest.Load(t, filepath.Join("..", "..", "..", "testdata", "bundles", name))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, src verify.Source) *transfer.Bag {
	t.Helper()
	b, err := transfer.Open(t.Context(), src)
	must(t, err)
	return b
}

func pack(t *testing.T, src verify.Source) []byte {
	t.Helper()
	var out bytes.Buffer
	must(t, open(t, src).Pack(t.Context(), &out, nil))
	return out.Bytes()
}

// content reads all files of a source.
func content(t *testing.T, src verify.Source) memory {
	t.Helper()
	m := memory{}
	for file, err := range src.List(t.Context()) {
		must(t, err)
		body, err := src.Open(t.Context(), file.Name)
		must(t, err)
		b, err := io.ReadAll(body)
		must(t, errors.Join(err, body.Close()))
		m[file.Name] = string(b)
	}
	return m
}

// TestPack packs bags: the archive has all files, in one folder, in one order, and the same bytes
// each time.
func TestPack(t *testing.T) {
	for _, name := range []string{"two-tags", "nothing-found", "detection"} {
		t.Run(name, func(t *testing.T) {
			bag := golden(t, name)
			packed := pack(t, bag)
			if again := pack(t, bag); !bytes.Equal(packed, again) {
				t.Error("packed again it has other bytes")
			}
			r, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
			must(t, err)
			found := memory{}
			for _, entry := range r.File {
				file, ok := strings.CutPrefix(entry.Name, name+"-export/")
				if !ok {
					t.Errorf("%s is in another folder", entry.Name)
				}
				body, err := entry.Open()
				must(t, err)
				b, err := io.ReadAll(body) // compares the checksum
				must(t, err)
				found[file] = string(b)
				picture := strings.HasSuffix(file, ".png") || strings.HasSuffix(file, ".jpg") || strings.HasSuffix(file, ".gif")
				if stored := entry.Method == zip.Store; stored != (picture || strings.HasSuffix(file, ".zip")) {
					t.Errorf("%s has method %d", file, entry.Method)
				}
				if picture && entry.Flags&8 != 0 {
					t.Errorf("the length of %s follows it", file)
				}
				if got := entry.Modified.UTC().Format("2006-01-02T15:04:05"); got != "2026-11-24T09:30:00" || entry.Mode() != 0o644 {
					t.Errorf("%s is of %s, mode %s", file, got, entry.Mode())
				}
			}
			if last := r.File[len(r.File)-1].Name; last != name+"-export/receipt.json" {
				t.Errorf("the last file is %s", last)
			}
			if !maps.Equal(found, bag) {
				t.Errorf("of %d files it has %d", len(bag), len(found))
			}
		})
	}
}

// large gives a golden bag's model and records another length, beyond what is read ahead.
func large(t *testing.T) memory {
	t.Helper()
	bag := golden(t, "two-tags")
	for name := range bag {
		if strings.HasSuffix(name, "TensorFlowLite.zip") || strings.HasSuffix(name, "image-performance.jsonl") {
			bag[name] = strings.Repeat("0123456789abcdef", 5<<16) // 5 MiB
		}
	}
	return seal(bag)
}

// seal makes manifests and receipt of a changed bag agree with its files.
func seal(bag memory) memory {
	digest := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:])
	}
	old := map[string]string{"m": digest(bag["manifest-sha256.txt"]), "t": digest(bag["tagmanifest-sha256.txt"])}
	for _, manifest := range []string{"manifest-sha256.txt", "tagmanifest-sha256.txt"} {
		var out strings.Builder
		for line := range strings.Lines(bag[manifest]) {
			path := strings.TrimSpace(line[66:])
			fmt.Fprintf(&out, "%s  %s\n", digest(bag[path]), path)
		}
		bag[manifest] = out.String()
	}
	bag["receipt.json"] = strings.NewReplacer(old["m"], digest(bag["manifest-sha256.txt"]), old["t"], digest(bag["tagmanifest-sha256.txt"])).Replace(bag["receipt.json"])
	return bag
}

// TestPackLargeFiles packs files that are not read ahead whole.
func TestPackLargeFiles(t *testing.T) {
	bag := large(t)
	packed := pack(t, bag)
	path := filepath.Join(t.TempDir(), "large.zip")
	must(t, os.WriteFile(path, packed, 0o600))
	archive, err := verify.OpenZip(path)
	must(t, err)
	defer archive.Close()
	place, err := verify.Look(t.Context(), archive)
	must(t, err)
	if len(place.Bags) != 1 || !maps.Equal(content(t, place.Bags[0].Source), bag) {
		t.Errorf("the archive has something else: %+v", place)
	}
}

// changed are bags of which no copy may be made.
func changed(t *testing.T) map[string]memory {
	t.Helper()
	bags := map[string]memory{}
	change := func(name string, change func(memory)) {
		bag := large(t)
		change(bag)
		bags[name] = bag
	}
	const project = "data/projects/a2e7570a-5d0e-4e96-ba6d-125f56a98544/"
	change("a picture", func(m memory) { m[project+"images/9a755530-012e-4b1d-947f-e4e00a6e4e9e.gif"] += "x" })
	change("the end of a model", func(m memory) {
		m[project+"iterations/4b50bd34-e859-44d3-ac36-b68cb5dbfcf1/exports/TensorFlow-TensorFlowLite.zip"] += "x"
	})
	change("a missing file", func(m memory) { delete(m, project+"tags.json") })
	change("a tag file", func(m memory) { m["evidence/request.json"] += "\n" })
	change("the manifest", func(m memory) {
		m["manifest-sha256.txt"] = strings.Replace(m["manifest-sha256.txt"], project+"tags.json", "data/x", 1)
	})
	change("a line less", func(m memory) { _, m["manifest-sha256.txt"], _ = strings.Cut(m["manifest-sha256.txt"], "\n") })
	change("the tag manifest", func(m memory) { _, m["tagmanifest-sha256.txt"], _ = strings.Cut(m["tagmanifest-sha256.txt"], "\n") })
	change("a path out of the bag", func(m memory) {
		m["data/../../x"] = m[project+"tags.json"]
		m["manifest-sha256.txt"] = strings.Replace(m["manifest-sha256.txt"], project+"tags.json", "data/../../x", 1)
		seal(m)
	})
	change("a folder out of the archive", func(m memory) {
		m["receipt.json"] = strings.Replace(m["receipt.json"], `"id":"two-tags"`, `"id":"../x"`, 1)
	})
	change("a receipt of another form", func(m memory) { m["receipt.json"] = "{}\n" })
	return bags
}

// counting counts what is open.
type counting struct {
	memory
	open *atomic.Int32
}

func (c counting) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	body, err := c.memory.Open(ctx, name)
	if err == nil {
		c.open.Add(1)
		body = counted{body, c.open}
	}
	return body, err
}

type counted struct {
	io.ReadCloser
	open *atomic.Int32
}

func (c counted) Close() error {
	c.open.Add(-1)
	return c.ReadCloser.Close()
}

// TestNothingStaysOpen closes every file, also of a bag that is not copied whole.
func TestNothingStaysOpen(t *testing.T) {
	bags := changed(t)
	bags["none"] = large(t)
	for name, bag := range bags {
		src := counting{bag, &atomic.Int32{}}
		if b, err := transfer.Open(t.Context(), src); err == nil {
			_ = b.Pack(t.Context(), io.Discard, nil)
			_, _ = b.Fetch(t.Context(), t.TempDir(), transfer.FetchOptions{})
		}
		if n := src.open.Load(); n != 0 {
			t.Errorf("%s: %d files stay open", name, n)
		}
	}
}

// TestChangedBags finds that a file is not what the manifests say, whatever the others are.
func TestChangedBags(t *testing.T) {
	good := large(t)
	for name, bag := range changed(t) {
		t.Run(name, func(t *testing.T) {
			var mismatch *transfer.MismatchError
			b, err := transfer.Open(t.Context(), bag)
			if err != nil {
				if !errors.As(err, &mismatch) {
					t.Error(err)
				}
				return
			}
			if err := b.Pack(t.Context(), io.Discard, nil); !errors.As(err, &mismatch) {
				t.Errorf("packed: %v", err)
			}
			if name == "a folder out of the archive" {
				return // a folder has the name that it is given
			}
			dir := t.TempDir()
			if _, err := b.Fetch(t.Context(), dir, transfer.FetchOptions{}); !errors.As(err, &mismatch) {
				t.Fatalf("fetched: %v", err)
			}
			for path, is := range content(t, verify.Dir(dir)) {
				if path == "receipt.json" || is != good[path] {
					t.Errorf("%s is there", path)
				}
			}
		})
	}
	if _, err := transfer.Open(t.Context(), memory{}); !errors.Is(err, transfer.ErrUnfinished) {
		t.Errorf("nothing: %v", err)
	}
}

// changing has one line less in its manifest each time it is opened.
type changing struct {
	memory
	opened *atomic.Int32
}

func (c changing) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	content := c.memory[name]
	if name != "manifest-sha256.txt" {
		return c.memory.Open(ctx, name)
	}
	for range c.opened.Add(1) - 1 {
		_, content, _ = strings.Cut(content, "\n")
	}
	return io.NopCloser(strings.NewReader(content)), nil
}

// TestManifestThatChanges finds that the list of files is another one than was copied.
func TestManifestThatChanges(t *testing.T) {
	var mismatch *transfer.MismatchError
	if err := open(t, changing{golden(t, "two-tags"), &atomic.Int32{}}).Pack(t.Context(), io.Discard, nil); !errors.As(err, &mismatch) {
		t.Errorf("packed: %v", err)
	}
	if _, err := open(t, changing{golden(t, "two-tags"), &atomic.Int32{}}).Fetch(t.Context(), t.TempDir(), transfer.FetchOptions{Files: 1}); !errors.As(err, &mismatch) {
		t.Errorf("fetched: %v", err)
	}
}

// failing fails to open a file, and counts how often the others are opened.
type failing struct {
	memory
	name   string
	opened chan string
}

func (f failing) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if strings.HasSuffix(name, f.name) {
		return nil, sink.ErrUnavailable
	}
	f.opened <- name
	return f.memory.Open(ctx, name)
}

// TestFetch takes up an interrupted copy, replaces what is wrong in it, and keeps what is right.
func TestFetch(t *testing.T) {
	bag := large(t)
	dir := filepath.Join(t.TempDir(), "new", "copy")
	broken := failing{bag, "predictions.jsonl", make(chan string, 100)}
	if _, err := open(t, broken).Fetch(t.Context(), dir, transfer.FetchOptions{Files: 1}); !errors.Is(err, sink.ErrUnavailable) {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "receipt.json")); err == nil {
		t.Error("an unfinished copy has a receipt")
	}
	must(t, os.WriteFile(filepath.Join(dir, "bag-info.txt"), []byte("x"), 0o600))
	whole := failing{bag, "none", make(chan string, 100)}
	var told int
	got, err := open(t, whole).Fetch(t.Context(), dir, transfer.FetchOptions{Progress: func(files int, _ int64) { told = files }})
	must(t, err)
	if !maps.Equal(content(t, verify.Dir(dir)), bag) {
		t.Error("the copy is another bag")
	}
	if got.Files != len(bag) || told != len(bag) || got.Kept < 5 || got.Kept+len(whole.opened) > len(bag)+4 {
		t.Errorf("%+v, %d were opened", got, len(whole.opened))
	}
	again, err := open(t, bag).Fetch(t.Context(), dir, transfer.FetchOptions{})
	if err != nil || again.Kept != len(bag)-2 { // the last two are written again
		t.Errorf("again: %+v, %v", again, err)
	}
}

// TestFetchBesideAnother leaves the finished bag of another command as it is.
func TestFetchBesideAnother(t *testing.T) {
	dir, first := t.TempDir(), golden(t, "nothing-found")
	if _, err := open(t, first).Fetch(t.Context(), dir, transfer.FetchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, golden(t, "detection")).Fetch(t.Context(), dir, transfer.FetchOptions{}); !errors.Is(err, transfer.ErrOther) {
		t.Errorf("into the folder of another bag: %v", err)
	}
	if !maps.Equal(content(t, verify.Dir(dir)), first) {
		t.Error("the bag that was there is another one")
	}
}

// TestFetchNotThroughLinks writes nothing out of the folder.
func TestFetchNotThroughLinks(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	must(t, os.Symlink(outside, filepath.Join(dir, "data")))
	if _, err := open(t, golden(t, "nothing-found")).Fetch(t.Context(), dir, transfer.FetchOptions{}); err == nil {
		t.Error("it wrote through a link")
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) != 0 {
		t.Errorf("outside there is %v, %v", left, err)
	}
}
