package export

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// pictures is the best record that any unit has of the blob of each image of a project. The records
// are in a temporary file: a project may have more images than there is memory for them.
type pictures struct {
	records *sink.Spool
	images  map[uuid.UUID]picture
	units   map[int]stretch // where the records of units are
	written int             // images that some file has a line of
	lost    int             // images that the service gave no link to any more
}

// stretch is a part of the temporary file.
type stretch struct{ from, to int64 }

// picture is what is kept in memory of an image, in eight bytes.
type picture uint64

const (
	fileBits = 16
	anyFile  = 1<<fileBits - 1 // there are no more: the answers of the service have bounds
)

// at is where the record of the image's blob begins; 0: no unit has one.
func (p picture) at() int64 { return int64(p >> fileBits) } //nolint:gosec // 48 bits

// file is the last of the files of records that has a line of the image, from 1; 0: none.
func (p picture) file() int { return int(p & anyFile) } //nolint:gosec // 16 bits

// newPictures begins without any image. Records are kept in the spool, which is empty. About as
// many images as expected will come.
func newPictures(s *sink.Spool, expected int) (*pictures, error) {
	if _, err := s.Write([]byte("\n")); err != nil { // no record begins at 0
		return nil, fmt.Errorf("keep what is stored of images: %w", err)
	}
	return &pictures{records: s, images: make(map[uuid.UUID]picture, expected), units: map[int]stretch{}}, nil
}

// best is the record of an image's blob; of an image that no unit has one of, ok is false.
func (p *pictures) best(id uuid.UUID) (b unit.BlobRecord, ok bool, err error) {
	at := p.images[id].at()
	if at == 0 {
		return b, false, nil
	}
	r := p.records.ReadSeeker()
	if _, err = r.Seek(at, io.SeekStart); err == nil {
		err = json.NewDecoder(r).Decode(&b)
	}
	if err != nil {
		return b, false, fmt.Errorf("read what is stored of image %s: %w", id, err)
	}
	return b, true, nil
}

// from reports whether unit n has the best record of an image's blob.
func (p *pictures) from(n int, id uuid.UUID) bool {
	at, its := p.images[id].at(), p.units[n]
	return at > 0 && its.from <= at && at < its.to
}

// offer takes unit n's record of an image's blob if it is better than what is there, and reports
// whether it is. All records of a unit are offered before those of the next one.
func (p *pictures) offer(n int, id uuid.UUID, b unit.BlobRecord) (bool, error) {
	had, ok, err := p.best(id)
	if err != nil || ok && rank(b) <= rank(had) {
		return false, err
	}
	if ok && removedBlob(had) {
		p.lost--
	}
	if removedBlob(b) {
		p.lost++
	}
	line, err := contract.Marshal(b)
	if err != nil {
		return false, fmt.Errorf("encode what is stored of image %s: %w", id, err)
	}
	its, begun := p.units[n]
	at := p.records.Size()
	if !begun {
		its.from = at
	}
	if _, err := p.records.Write(line); err != nil {
		return false, fmt.Errorf("keep what is stored of images: %w", err)
	}
	its.to = p.records.Size()
	p.units[n] = its
	p.images[id] = picture(at)<<fileBits | p.images[id]&anyFile //nolint:gosec // 48 bits
	return true, nil
}

// in reports whether a file has a line of an image. Files are written one after the other.
func (p *pictures) in(file int, id uuid.UUID) bool { return p.images[id].file() == file }

// write notes that a file gets a line of an image, and reports whether no file before it has one.
func (p *pictures) write(file int, id uuid.UUID) (first bool) {
	image := p.images[id]
	if first = image.file() == 0; first {
		p.written++
	}
	p.images[id] = image&^anyFile | picture(file) //nolint:gosec // 16 bits
	return first
}

// unwritten are the images that no file has a line of, in the order of their ids.
func (p *pictures) unwritten() []uuid.UUID {
	var ids []uuid.UUID
	for id, image := range p.images {
		if image.file() == 0 {
			ids = append(ids, id)
		}
	}
	return contract.SortedIDs(ids)
}
