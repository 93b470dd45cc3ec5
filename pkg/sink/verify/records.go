package verify

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/jsonscan"
	"github.com/cvconsumer/cvconsumer/internal/links"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// recorded is what records say of a project's images or predictions, over all scopes.
type recorded struct {
	all   ids   // distinct
	bad   ids   // those with an error
	bytes int64 // of their distinct blobs
}

// lineReader reads one file of records.
type lineReader struct {
	v    *verifier
	f    *file
	at   place
	all  ids
	bad  ids
	bare int // records without a blob
	size int64

	others []recordMember // of the record that was read last
}

// readRecords checks each record of a file, and notes what they say.
func (v *verifier) readRecords(f *file, at place) {
	if at.shape == deletedFile {
		v.readDeleted(f, at)
		return
	}
	r := &lineReader{v: v, f: f, at: at}
	n := 0
	for line, err := range sink.Lines(f.r, maxRecord) {
		n++
		var readErr *sink.ReadError
		if errors.As(err, &readErr) || v.enough(f.name) {
			return
		}
		if err == nil {
			err = r.record(line)
		}
		if err != nil {
			v.problem(f.name, "line %d: %v", n, err)
		}
		if r.bare > maxBare {
			v.problem(f.name, "it has more than %d records without a file: the rest was not looked at", maxBare)
			return
		}
	}
	all, twice := sorted(r.all)
	bad, _ := sorted(r.bad)
	if twice != uuid.Nil {
		v.problem(f.name, "%s is in it twice", twice)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.projects[at.project]
	if p == nil {
		return
	}
	switch at.shape {
	case imagesFile, iterationImages:
		p.images.add(all, bad, r.size)
	case predictionsFile:
		p.stored.add(all, bad, r.size)
	}
}

// add takes account of one file.
func (r *recorded) add(all, bad ids, size int64) {
	r.all, r.bad, r.bytes = union(r.all, all), union(r.bad, bad), r.bytes+size
}

// checkLine returns an error for a line with anything before or after its object: the product
// writes none, and a line that ends with a carriage return is another one to other programs.
func checkLine(line []byte) error {
	if len(line) < 2 || line[0] != '{' || line[len(line)-1] != '}' {
		return errors.New("it does not begin with { and end with }")
	}
	return nil
}

// record returns an error for a line that is no record, or does not fit the bag's files.
func (r *lineReader) record(line []byte) error {
	of := "image"
	if r.at.shape == predictionsFile {
		of = "prediction"
	}
	members := recordMembers{of: of, others: r.others[:0]}
	shape := checkNoted(line, false, members.note)
	if shape != nil && !jsonscan.Valid(line) { // else the walk has shown it to be
		return errors.New("it is not valid JSON")
	}
	if i := links.FindValid(line); i >= 0 {
		return fmt.Errorf("the string at byte %d has a link with its query, which may be signed", i)
	}
	if err := cmp.Or(checkLine(line), shape); err != nil {
		return err
	}
	r.others = members.others
	if r.at.shape == performancesFile {
		o := decodeObject(line)
		if o.ID == uuid.Nil {
			return errors.New("it has no id")
		}
		r.bare++
		r.all = append(r.all, o.ID)
		return nil
	}
	var (
		blob  bagfile.Blob
		thing struct {
			ID      uuid.UUID
			Project *uuid.UUID
		}
	)
	for _, m := range members.others {
		switch into := memberOf(&blob, m.name); {
		case into == nil:
			return fmt.Errorf("it has the member %s, which is none of a record", quote(m.name))
		case decodeMember(m.value, into) != nil:
			return errors.New("it is not a record")
		}
	}
	if err := members.decode(&thing.ID, &thing.Project); err != nil || thing.ID == uuid.Nil {
		return fmt.Errorf("its %s has no id", of)
	}
	if r.at.shape == predictionsFile && thing.Project != nil && *thing.Project != r.at.project {
		return fmt.Errorf("prediction %s is of project %s", thing.ID, *thing.Project)
	}
	r.all = append(r.all, thing.ID)
	return r.blob(of, thing.ID, blob)
}

// recordMembers are the members of a record, as they stand there.
type recordMembers struct {
	of          string // the one that is the service's object
	passed      bool   // that one: what comes behind it is of others
	id, project []byte // of that object
	others      []recordMember
}

type recordMember struct {
	name  string
	value []byte
}

// note takes a member of the record, or before one its own.
func (m *recordMembers) note(depth int, name member, value []byte) {
	switch {
	case depth == 1 && string(name.text) == m.of:
		m.passed = true
	case depth == 1:
		m.others = append(m.others, recordMember{string(name.text), value})
		if !m.passed {
			m.id, m.project = nil, nil
		}
	case !m.passed && string(name.folded) == "id":
		m.id = value
	case !m.passed && string(name.folded) == "project":
		m.project = value
	}
}

// decode decodes what the object says, as far as it says it.
func (m *recordMembers) decode(id *uuid.UUID, project **uuid.UUID) error {
	for _, v := range []struct {
		value []byte
		into  any
	}{{m.id, id}, {m.project, project}} {
		if v.value == nil {
			continue
		}
		if err := decodeMember(v.value, v.into); err != nil {
			return err
		}
	}
	return nil
}

// decodeMember is json.Unmarshal, which takes several times as long for the few bytes of a member.
func decodeMember(value []byte, into any) error {
	p := jsonscan.NewPlain(value)
	switch into := into.(type) {
	case *string:
		if p.String(into); p.Done() {
			return nil
		}
	case **string:
		var s string
		if p.String(&s); p.Done() {
			*into = &s
			return nil
		}
	case **int64:
		var n int
		if p.Int(&n); p.Done() {
			size := int64(n)
			*into = &size
			return nil
		}
	case *uuid.UUID:
		if p.ID(into); p.Done() {
			return nil
		}
	}
	return json.Unmarshal(value, into)
}

// memberOf is where the member of a record is decoded into; nil for one that it does not have.
func memberOf(b *bagfile.Blob, name string) any {
	switch name {
	case "file":
		return &b.File
	case "sha256":
		return &b.SHA256
	case "bytes":
		return &b.Bytes
	case "content_type":
		return &b.ContentType
	case "source":
		return &b.Source
	case "error":
		return &b.Error
	}
	return nil
}

// blob returns an error for what a record says of its blob and is not so.
func (r *lineReader) blob(of string, id uuid.UUID, b bagfile.Blob) error {
	if b.Error != nil {
		if b.Error.Code == "" {
			return errors.New("its error has no code")
		}
		r.bad = append(r.bad, id)
	}
	if b.File == nil {
		r.bare++
		switch {
		case b.Error == nil:
			return errors.New("it has neither a file nor an error")
		case b.SHA256 != "" || b.Bytes != nil:
			return errors.New("it has no file, and a digest or a size")
		}
		return nil
	}
	name := sink.Path("data/projects/" + r.at.project.String() + "/" + *b.File)
	p := placeOf(name)
	i := r.v.locate(name)
	switch {
	case name.Check() != nil || path.Clean(string(name)) != string(name):
		return fmt.Errorf("its file %s is not a well-formed name", quote(*b.File))
	case p.project != r.at.project || p.shape != imageBlob && of == "image" || p.shape != predictionBlob && of == "prediction" || p.id != id:
		return fmt.Errorf("its file %s is not that of %s %s", quote(*b.File), of, id)
	case i < 0 || !r.v.payload[i].listed:
		return fmt.Errorf("its file %s is not in the bag", quote(*b.File))
	case !sink.ValidDigest(b.SHA256) || r.v.payload[i].digest != r.v.digestOf(b.SHA256):
		return fmt.Errorf("its file %s has a different SHA-256 in the manifest", quote(*b.File))
	case b.Bytes == nil:
		return fmt.Errorf("it has no size of its file")
	case !slices.Contains(bagfile.Sources(), b.Source):
		return fmt.Errorf("its source is %s, which is not one", quote(b.Source))
	}
	size := r.v.sizeOf(i)
	if size != *b.Bytes {
		return fmt.Errorf("its file %s has %d bytes, not %d", quote(*b.File), size, *b.Bytes)
	}
	if ext := strings.TrimPrefix(path.Ext(*b.File), "."); b.Error != nil && ext != "bin" {
		return fmt.Errorf("its file %s is no text in place of a picture by its name, and it has an error", quote(*b.File))
	}
	r.v.mu.Lock()
	defer r.v.mu.Unlock()
	if !r.v.recorded[i] {
		r.v.recorded[i] = true
		r.size += size
	}
	return nil
}
