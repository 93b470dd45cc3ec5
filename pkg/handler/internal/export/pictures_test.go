package export

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

func emptyPictures(t *testing.T) *pictures {
	t.Helper()
	s := sink.NewSpool(t.TempDir())
	t.Cleanup(func() { _ = s.Close() })
	p, err := newPictures(s, 0)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pictureOf is a record as a worker makes it.
func pictureOf(id uuid.UUID) unit.BlobRecord {
	return unit.BlobRecord{File: "images/" + id.String() + ".jpg", SHA256: strings.Repeat("0a", 32), Bytes: 100_000, ContentType: "image/jpeg", Source: "original"}
}

// TestPictures: of each image the first of the best records is there again, whatever was offered
// before and after it, and an image is written once for each file.
func TestPictures(t *testing.T) {
	blame := func(code string) *bagfile.Blame { return &bagfile.Blame{Code: code, Message: "<no> & more"} }
	kinds := func(id uuid.UUID) []unit.BlobRecord {
		text := pictureOf(id)
		text.File, text.Error = "images/"+id.String()+".bin", blame(unit.CodeNotImage)
		return []unit.BlobRecord{{Error: blame(unit.CodeGone)}, {Error: blame("refused")}, text, pictureOf(id)} // by rank
	}
	const many = 200
	var (
		random = rand.New(rand.NewPCG(1, 2))
		p      = emptyPictures(t)
		want   = map[uuid.UUID]unit.BlobRecord{}
		from   = map[uuid.UUID]int{}
	)
	for n := range 20 * many {
		id := image(random.IntN(many))
		b := kinds(id)[min(random.IntN(4), random.IntN(4))]
		b.ContentType = fmt.Sprint(n)
		had, known := want[id]
		better := !known || rank(b) > rank(had)
		if better {
			want[id], from[id] = b, n
		}
		if got, err := p.offer(n, id, b); got != better || err != nil {
			t.Fatalf("offer %d of %s: %t, %v", n, id, got, err)
		}
	}
	lost := 0
	for id, b := range want {
		if removedBlob(b) {
			lost++
		}
		if got, ok, err := p.best(id); !ok || err != nil || !reflect.DeepEqual(got, b) {
			t.Errorf("of %s there is %+v (%t, %v), not %+v", id, got, ok, err, b)
		}
		if !p.from(from[id], id) || p.from(from[id]+1, id) {
			t.Errorf("the best record of %s is not from unit %d", id, from[id])
		}
	}
	if p.lost != lost || len(p.unwritten()) != len(want) {
		t.Errorf("%d are lost and %d unwritten, not %d and %d", p.lost, len(p.unwritten()), lost, len(want))
	}
	unknown := image(many)
	if _, ok, err := p.best(unknown); ok || err != nil || p.from(0, unknown) {
		t.Errorf("of an image without a record there is one: %v", err)
	}
	for file := range 2 {
		for _, id := range []uuid.UUID{image(0), unknown} {
			if p.in(file+1, id) || p.write(file+1, id) != (file == 0) || !p.in(file+1, id) {
				t.Errorf("file %d has %s before it is written, or lacks it then", file+1, id)
			}
		}
	}
	if got, err := p.offer(30*many, unknown, pictureOf(unknown)); !got || err != nil || !p.in(2, unknown) {
		t.Errorf("a record of an image that is written is not taken, or the image forgotten: %v", err)
	}
	if p.written != 2 || len(p.unwritten()) != len(want)-1 {
		t.Errorf("%d are written and %d are not", p.written, len(p.unwritten()))
	}
}

// TestMemoryOfPictures: what is kept in memory of an image is its id and a few numbers.
func TestMemoryOfPictures(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const many, most = 10_000, 64
	p := emptyPictures(t)
	before := heap()
	for n := range many {
		if _, err := p.offer(n/256, image(n), pictureOf(image(n))); err != nil {
			t.Fatal(err)
		}
	}
	if grew := int64(heap()) - int64(before); grew > most*many {
		t.Errorf("%d bytes for each of %d images", grew/many, many)
	}
	if len(p.images) != many {
		t.Errorf("%d images of %d", len(p.images), many)
	}
}
