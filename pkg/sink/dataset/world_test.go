package dataset_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"image"
	"image/color/palette"
	"image/gif"
	"image/jpeg"
	"image/png"
	"maps"
	"strings"
	"testing"

	"golang.org/x/image/bmp"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/dataset"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify/verifytest"
)

// bag is a bag held in memory.
type bag = verifytest.Memory

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// id is the n-th id of a kind of things.
func id(kind byte, n int) string { return fmt.Sprintf("%c0000000-0000-4000-8000-%012d", kind, n) }

// project is a project that is put into a bag.
type project struct {
	id   string
	kind string // classificationType; empty: detection
	name string
	tags []any
	bag  bag

	workspace, iteration strings.Builder // lines of images.jsonl
	images               int
}

type object = map[string]any

func newProject(b bag, n int, kind, name string, tags ...object) *project {
	p := &project{id: id('a', n), kind: kind, name: name, bag: b}
	for i, t := range tags {
		tag := object{"id": id('b', i), "name": t["name"], "type": "Regular", "description": nil, "imageCount": 1}
		maps.Copy(tag, t)
		p.tags = append(p.tags, tag)
	}
	return p
}

func (p *project) path(name string) string { return "data/projects/" + p.id + "/" + name }

// add adds an image with tags and boxes (left, top, width, height); it gives the image's id.
func (p *project) add(extension string, content []byte, iteration bool, tags []int, boxes ...[5]float64) string {
	p.images++
	image := id('c', p.images)
	record := object{"id": image, "created": "2026-03-02T08:07:29.659868", "width": 1, "height": 1}
	var list, regions []object
	for _, t := range tags {
		list = append(list, object{"tagId": id('b', t), "tagName": fmt.Sprint("tag ", t), "created": "2026-03-02T08:07:29"})
	}
	for i, b := range boxes {
		regions = append(regions, object{"regionId": id('d', i), "tagId": id('b', int(b[0])), "tagName": fmt.Sprint("tag ", b[0]), "left": b[1], "top": b[2], "width": b[3], "height": b[4]})
	}
	if list != nil {
		record["tags"] = list
	}
	if regions != nil {
		record["regions"] = regions
	}
	line := object{"image": record, "file": nil, "error": object{"code": "x", "message": "y"}}
	if content != nil {
		file := "images/" + image + "." + extension
		p.bag[p.path(file)] = string(content)
		sum := sha256.Sum256(content)
		line = object{"image": record, "file": file, "sha256": hex.EncodeToString(sum[:]), "bytes": len(content), "content_type": "image/" + extension, "source": "original"}
	}
	to := &p.workspace
	if iteration {
		to = &p.iteration
	}
	to.WriteString(asJSON(line) + "\n")
	return image
}

// finish puts the project's documents into the bag.
func (p *project) finish() {
	settings := object{"domainId": id('e', 1)}
	if p.kind != "" {
		settings["classificationType"] = p.kind
	}
	p.bag[p.path("project.json")] = asJSON(object{"id": p.id, "name": p.name, "settings": settings})
	p.bag[p.path("tags.json")] = asJSON(p.tags)
	p.bag[p.path("images.jsonl")] = p.workspace.String()
	p.bag[p.path("iterations.json")] = asJSON([]object{{"id": id('f', 1), "name": "Iteration 1", "created": "2026-03-02T09:07:29.839Z"}})
	in := "iterations/" + id('f', 1) + "/"
	p.bag[p.path(in+"tags.json")] = asJSON(append(p.tags, object{"id": id('b', 90), "name": "old", "type": "Regular"}))
	p.bag[p.path(in+"images.jsonl")] = p.workspace.String() + p.iteration.String()
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// picture encodes a picture of a size.
func picture(format string, width, height int) []byte {
	img := image.NewPaletted(image.Rect(0, 0, width, height), palette.Plan9)
	for i := range img.Pix {
		img.Pix[i] = uint8(i)
	}
	var b bytes.Buffer
	var err error
	switch format {
	case "jpg":
		err = jpeg.Encode(&b, img, nil)
	case "png":
		err = png.Encode(&b, img)
	case "gif":
		err = gif.Encode(&b, img, nil)
	case "bmp":
		err = bmp.Encode(&b, img)
	}
	if err != nil {
		panic(err)
	}
	return b.Bytes()
}

// turned is a JPEG picture with an EXIF orientation.
func turned(width, height int, orientation uint16) []byte {
	plain := picture("jpg", width, height)
	tiff := []byte("MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01")
	tiff = binary.BigEndian.AppendUint16(tiff, orientation)
	tiff = append(tiff, 0, 0, 0, 0, 0, 0)
	segment := append([]byte("Exif\x00\x00"), tiff...)
	out := append([]byte{0xff, 0xd8, 0xff, 0xe1}, binary.BigEndian.AppendUint16(nil, uint16(len(segment)+2))...)
	return append(append(out, segment...), plain[2:]...)
}

// receipt is one of the bag, as far as it is asked for.
func receipt() *sink.Receipt {
	return &sink.Receipt{Subject: []sink.Subject{{Digest: map[string]string{"sha256": "m"}}}, Predicate: sink.Predicate{Command: sink.ReceiptCommand{ID: "req-1"}}}
}

// convert converts a bag into a new folder.
func convert(t *testing.T, b bag, o dataset.Options) (dir string, r dataset.Report) {
	t.Helper()
	if wrong := o.Check(); len(wrong) > 0 {
		t.Fatal(wrong)
	}
	dir = t.TempDir()
	out, err := dataset.Folder(dir)
	must(t, err)
	r, err = dataset.Convert(t.Context(), b, receipt(), out, o)
	must(t, err)
	return dir, r
}
