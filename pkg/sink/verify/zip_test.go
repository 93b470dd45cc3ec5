package verify_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// packed makes a zip archive of a bag below a folder, which change may add to.
func packed(t *testing.T, m memory, folder string, change func(w *zip.Writer)) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		f, err := w.Create(folder + name)
		must(t, err)
		_, err = f.Write([]byte(m[name]))
		must(t, err)
	}
	if change != nil {
		change(w)
	}
	must(t, w.Close())
	return b.Bytes()
}

// open opens an archive and finds the one bag in it.
func openZip(t *testing.T, archive []byte) (verify.Source, error) {
	t.Helper()
	place, err := lookIntoZip(t, archive)
	if err != nil {
		return nil, err
	}
	if len(place.Bags) != 1 {
		t.Fatalf("there are %d bags", len(place.Bags))
	}
	return place.Bags[0].Source, nil
}

// lookIntoZip opens an archive and finds the bags in it.
func lookIntoZip(t *testing.T, archive []byte) (verify.Place, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bag.zip")
	must(t, os.WriteFile(path, archive, 0o600))
	z, err := verify.OpenZip(path)
	if err != nil {
		return verify.Place{}, err
	}
	t.Cleanup(func() { _ = z.Close() })
	place, err := verify.Look(t.Context(), z)
	must(t, err)
	return place, nil
}

// looks counts how often a context is asked whether it ended: for each file that is looked at.
type looks struct {
	context.Context
	n int
}

func (c *looks) Err() error {
	c.n++
	return c.Context.Err()
}

// TestZipOfManyBags: each bag of an archive is listed without a look at the others. With one, an
// archive of 20,000 bags took minutes.
func TestZipOfManyBags(t *testing.T) {
	m := memory{"a": "x", "c/b.txt": "x"}
	for i := range 30 {
		for _, name := range []string{"bagit.txt", "data/x", "data/y/z"} {
			m[fmt.Sprintf("c/%d/%s", i, name)] = "x"
		}
	}
	place, err := lookIntoZip(t, packed(t, m, "", func(w *zip.Writer) { _, _ = w.Create("c/7/data/x") }))
	must(t, err)
	if len(place.Bags) != 30 || place.Loose != 2 {
		t.Fatalf("%d bags, %d files in none of them", len(place.Bags), place.Loose)
	}
	for _, bag := range place.Bags {
		ctx := &looks{Context: t.Context()}
		var names []string
		for file, err := range bag.Source.List(ctx) {
			must(t, err)
			names = append(names, fmt.Sprint(file.Name, file.Twice))
		}
		want := []string{"bagit.txtfalse", "data/xfalse", "data/y/zfalse"}
		if bag.Root == "c/7/" {
			want = slices.Insert(want, 2, "data/xtrue")
		}
		if !slices.Equal(names, want) || ctx.n != len(want) {
			t.Errorf("%s has %q, found with %d looks", bag.Root, names, ctx.n)
		}
		body, err := bag.Source.Open(t.Context(), "data/y/z")
		must(t, err)
		must(t, body.Close())
	}
}

// TestZip checks a bag in an archive, at its top and in a folder of it, as it does one in a folder.
func TestZip(t *testing.T) {
	for _, name := range []string{"two-tags", "nothing-found"} {
		bag := load(t, name)
		want, err := verify.Bag(t.Context(), bag, verify.Options{})
		must(t, err)
		for _, folder := range []string{"", "req-1/", "a/b/c/"} {
			src, err := openZip(t, packed(t, bag, folder, func(w *zip.Writer) {
				_, err := w.Create(folder + "data/an-empty-folder/")
				must(t, err)
			}))
			must(t, err)
			got, err := verify.Bag(t.Context(), src, verify.Options{})
			if err != nil || got.Result != verify.OK || got.ReceiptSHA256 != want.ReceiptSHA256 || got.Files != want.Files || got.Bytes != want.Bytes {
				t.Errorf("%s in %q: %s, %+v", name, folder, err, got)
			}
		}
	}
}

// TestZipDamaged has what is wrong with an archive be a finding about what is packed in it.
func TestZipDamaged(t *testing.T) {
	bag := load(t, "two-tags")
	add := func(name, content string, change func(h *zip.FileHeader)) func(w *zip.Writer) {
		return func(w *zip.Writer) {
			h := &zip.FileHeader{Name: name, Method: zip.Deflate}
			if change != nil {
				change(h)
			}
			f, err := w.CreateHeader(h)
			must(t, err)
			_, err = f.Write([]byte(content))
			must(t, err)
		}
	}
	good := packed(t, bag, "", nil)
	picture := ""
	for name := range bag {
		if strings.HasSuffix(name, ".jpg") || strings.HasSuffix(name, ".png") {
			picture = name
		}
	}
	stored := packed(t, memory{}, "", func(w *zip.Writer) {
		for name, content := range bag {
			add(name, content, func(h *zip.FileHeader) { h.Method = zip.Store })(w)
		}
	})
	for _, c := range []struct {
		name    string
		archive []byte
		says    string // a problem
	}{
		{"a file is there twice", packed(t, bag, "", add(picture, "other", nil)), picture + ": the archive has more than one file of this name"},
		{"a statement is there twice", packed(t, bag, "", add("receipt.json", "{}", nil)), "receipt.json: the archive has more than one file of this name"},
		{"a name that leads elsewhere", packed(t, bag, "", add("data/../../x", "", nil)), "data/../../x: the name is not well-formed"},
		{"an absolute name", packed(t, bag, "", add("/etc/passwd", "", nil)), "/etc/passwd: the name is not well-formed"},
		{"a name of Windows", packed(t, bag, "", add(`C:\x`, "", nil)), `C:\x: the name is not well-formed`},
		{"a link", packed(t, bag, "", add("data/x", "/etc/passwd", func(h *zip.FileHeader) { h.SetMode(fs.ModeSymlink | 0o777) })), "data/x: it is not a regular file"},
		{"a byte of a picture changed", bytes.Replace(stored, []byte(bag[picture]), append([]byte(bag[picture][:len(bag[picture])-1]), '!'), 1), picture + ": the archive is damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, err := openZip(t, c.archive)
			must(t, err)
			if got := problems(t, src); !strings.Contains(got, c.says) {
				t.Errorf("it finds\n%s", got)
			}
		})
	}
	for name, archive := range map[string][]byte{
		"no archive": []byte("PK, or not"), "nothing at all": {}, "cut short": good[:len(good)-100], "the beginning is missing": good[len(good)/2:],
	} {
		var damaged *verify.DamagedError
		if _, err := openZip(t, archive); !errors.As(err, &damaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestZipOfUnknownKind has what cannot be read here be no finding.
func TestZipOfUnknownKind(t *testing.T) {
	bag := load(t, "nothing-found")
	for name, change := range map[string]func(directory []byte){
		"encrypted":        func(entry []byte) { entry[8] |= 1 },
		"another packing":  func(entry []byte) { binary.LittleEndian.PutUint16(entry[10:], 97) },
		"a password, deep": func(entry []byte) { entry[8] |= 1; binary.LittleEndian.PutUint16(entry[10:], 99) },
	} {
		archive := packed(t, bag, "", nil)
		at := bytes.Index(archive, []byte("PK\x01\x02"))
		for !strings.HasPrefix(string(archive[at+46:]), "data/export.json") {
			at += 4 + bytes.Index(archive[at+4:], []byte("PK\x01\x02"))
		}
		change(archive[at:])
		src, err := openZip(t, archive)
		must(t, err)
		r, err := verify.Bag(t.Context(), src, verify.Options{})
		if r.Result != verify.Inconclusive || err == nil || !strings.Contains(err.Error(), "data/export.json") {
			t.Errorf("%s: %s, %v, %v", name, r.Result, err, r.Problems)
		}
	}
}

// TestZipBombs has an archive that unpacks to more than it can rightly hold be refused before
// anything is unpacked, and a file that says it is shorter than it is be read no further.
func TestZipBombs(t *testing.T) {
	zeros := strings.Repeat("\x00", 16<<20)
	bag := load(t, "nothing-found")
	archive := packed(t, bag, "", func(w *zip.Writer) {
		f, err := w.Create("data/zeros")
		must(t, err)
		_, err = f.Write([]byte(zeros))
		must(t, err)
	})
	entries := func(archive []byte) (at []int) {
		for i := 0; ; {
			next := bytes.Index(archive[i:], []byte("PK\x01\x02"))
			if next < 0 {
				return at
			}
			at, i = append(at, i+next), i+next+4
		}
	}
	t.Run("files that overlap", func(t *testing.T) {
		all := entries(archive)
		last := all[len(all)-1]
		bomb := slices.Clone(archive)
		for _, at := range all[:len(all)-1] { // all are the zeros
			copy(bomb[at+16:at+28], archive[last+16:last+28])
			copy(bomb[at+42:at+46], archive[last+42:last+46])
		}
		var damaged *verify.DamagedError
		if _, err := openZip(t, bomb); !errors.As(err, &damaged) || !strings.Contains(err.Error(), "its files overlap") {
			t.Error(err)
		}
	})
	t.Run("longer than it says", func(t *testing.T) {
		bomb := slices.Clone(archive)
		all := entries(bomb)
		binary.LittleEndian.PutUint32(bomb[all[len(all)-1]+24:], 5)
		src, err := openZip(t, bomb)
		must(t, err)
		body, err := src.Open(t.Context(), "data/zeros")
		must(t, err)
		defer body.Close()
		if got := problems(t, src); !strings.Contains(got, "data/zeros: it is not in the manifest") {
			t.Errorf("it finds\n%s", got)
		}
	})
}

// TestZip64 reads an archive with a file that is longer than the old form can say.
func TestZip64(t *testing.T) {
	const length = 5 << 30
	archive := packed(t, load(t, "nothing-found"), "", func(w *zip.Writer) {
		_, err := w.CreateRaw(&zip.FileHeader{Name: "data/long", UncompressedSize64: length, CompressedSize64: 10, Method: zip.Deflate})
		must(t, err)
		_, err = w.CreateRaw(&zip.FileHeader{Name: "data/padding", UncompressedSize64: 0})
		must(t, err)
	})
	src, err := openZip(t, archive)
	must(t, err)
	for file, err := range src.List(t.Context()) {
		must(t, err)
		if (file.Name == "data/long") != (file.Bytes == length) {
			t.Errorf("%+v", file)
		}
	}
}
