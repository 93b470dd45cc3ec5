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
	written int // images that some file has a line of
	lost    int // images that the service gave no link to any more
}

// picture is what is kept in memory of an image.
type picture struct {
	at   int64 // where the record of its blob begins; 0: no unit has one
	unit int32 // that has this record
	file int32 // the last of the files of records that has a line of it, from 1; 0: none
}

// newPictures begins without any image. Records are kept in the spool, which is empty.
func newPictures(s *sink.Spool) (*pictures, error) {
	if _, err := s.Write([]byte("\n")); err != nil { // no record begins at 0
		return nil, fmt.Errorf("keep what is stored of images: %w", err)
	}
	return &pictures{records: s, images: map[uuid.UUID]picture{}}, nil
}

// best is the record of an image's blob; of an image that no unit has one of, ok is false.
func (p *pictures) best(id uuid.UUID) (b unit.BlobRecord, ok bool, err error) {
	at := p.images[id].at
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

// offer takes unit n's record of an image's blob if it is better than what is there, and reports
// whether it is.
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
	image := p.images[id]
	image.at, image.unit = p.records.Size(), int32(n) //nolint:gosec // below maxUnits
	p.images[id] = image
	if _, err := p.records.Write(line); err != nil {
		return false, fmt.Errorf("keep what is stored of images: %w", err)
	}
	return true, nil
}

// from reports whether unit n has the best record of an image's blob.
func (p *pictures) from(n int, id uuid.UUID) bool {
	image := p.images[id]
	return image.at > 0 && int(image.unit) == n
}

// in reports whether a file has a line of an image. Files are written one after the other.
func (p *pictures) in(file int32, id uuid.UUID) bool { return p.images[id].file == file }

// write notes that a file gets a line of an image, and reports whether no file before it has one.
func (p *pictures) write(file int32, id uuid.UUID) (first bool) {
	image := p.images[id]
	if first = image.file == 0; first {
		p.written++
	}
	image.file = file
	p.images[id] = image
	return first
}

// unwritten are the images that no file has a line of, in the order of their ids.
func (p *pictures) unwritten() []uuid.UUID {
	var ids []uuid.UUID
	for id, image := range p.images {
		if image.file == 0 {
			ids = append(ids, id)
		}
	}
	return contract.SortedIDs(ids)
}
