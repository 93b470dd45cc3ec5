package sink

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/google/uuid"
)

// isRecords reports whether a file's lines are records, which name other files.
func isRecords(name Path) bool {
	base := path.Base(string(name))
	return strings.HasPrefix(string(name), "data/projects/") && (base == "images.jsonl" || base == "predictions.jsonl")
}

// checkContent checks the content of the files whose meaning is known. It need not read to the end.
// It returns only errors of reading; what is wrong with the content is a problem.
func (v *verifier) checkContent(name Path, r io.Reader) error {
	switch {
	case name == BagItFile:
		return v.checkBagIt(r)
	case name == BagInfoFile:
		return v.checkBagInfo(r)
	case name == LedgerFile:
		return v.checkLedger(r)
	case name == InventoryFile:
		return v.checkInventory(r)
	case isRecords(name):
		return v.checkRecords(name, r)
	}
	return nil
}

// checkBagIt checks bagit.txt.
func (v *verifier) checkBagIt(r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, maxLineBytes))
	if err == nil && string(b) != bagItText {
		v.problem(BagItFile, "it does not declare BagIt 1.0 in UTF-8")
	}
	return err
}

// checkBagInfo checks bag-info.txt and notes its Payload-Oxum.
func (v *verifier) checkBagInfo(r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, maxSmallBytes))
	if err != nil {
		return err
	}
	fields, err := ParseBagInfo(b)
	if err != nil {
		v.problem(BagInfoFile, "%v", err)
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hasInfo = true
	for _, f := range fields {
		if strings.EqualFold(f.Name, oxumField) {
			v.oxum = append(v.oxum, f.Value)
		}
	}
	return nil
}

// compareOxum compares the Payload-Oxum of bag-info.txt with what is below data/.
func (v *verifier) compareOxum() {
	if !v.hasInfo {
		return
	}
	want := fmt.Sprintf("%d.%d", v.payloadBytes, len(v.payload))
	for _, value := range v.oxum {
		if value != want {
			v.problem(BagInfoFile, "Payload-Oxum is %s, the files below data/ amount to %s", value, want)
		}
	}
	if len(v.oxum) != 1 {
		v.problem(BagInfoFile, "it has %d Payload-Oxum fields, expected one", len(v.oxum))
	}
}

// checkLedger checks the ledger's chain.
func (v *verifier) checkLedger(r io.Reader) error {
	sum, err := VerifyLedger(r)
	var readErr *ReadError
	if errors.As(err, &readErr) {
		return readErr.Err
	}
	if err != nil {
		v.problem(LedgerFile, "the chain breaks: %v", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Ledger = sum
	return nil
}

// checkInventory compares the projects of inventory.json with the folders below data/projects/.
func (v *verifier) checkInventory(r io.Reader) error {
	track := &trackReader{r: r}
	var inventory struct {
		V        int `json:"v"`
		Projects []struct {
			ID string `json:"id"`
		} `json:"projects"`
	}
	if err := json.NewDecoder(track).Decode(&inventory); err != nil {
		if track.err != nil {
			return track.err
		}
		v.problem(InventoryFile, "it is not valid JSON: %v", err)
		return nil
	}
	if inventory.V != 1 {
		v.problem(InventoryFile, "it has version %d, only 1 is known", inventory.V)
	}
	listed := map[string]bool{}
	for _, p := range inventory.Projects {
		listed[p.ID] = true
	}
	for id := range v.projects {
		if !listed[id] {
			v.problem(Path("data/projects/"+id), "the inventory does not name this project")
		}
	}
	return nil
}

// trackReader remembers an error of reading, which the JSON decoder would mix with its own.
type trackReader struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (t *trackReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		t.err = err
	}
	return n, err
}

// record is a line of images.jsonl or predictions.jsonl.
type record struct {
	Image      *struct{ ID string }
	Prediction *struct{ ID string }
	File       *string
	SHA256     string
	Bytes      int64
	Error      json.RawMessage
}

// checkRecords checks that each record's file is there with the digest and size that the record
// says.
func (v *verifier) checkRecords(name Path, r io.Reader) error {
	project, _, _ := strings.Cut(strings.TrimPrefix(string(name), "data/projects/"), "/")
	n := 0
	for line, err := range lines(r, maxRecordBytes) {
		n++
		var readErr *ReadError
		if errors.As(err, &readErr) {
			return readErr.Err
		}
		if err == nil {
			err = v.checkRecord(project, line)
		}
		if err != nil {
			v.problem(name, "line %d: %v", n, err)
		}
	}
	return nil
}

// checkRecord returns an error for a record that does not fit the bag's files.
func (v *verifier) checkRecord(project string, line []byte) error {
	var rec record
	if err := json.Unmarshal(line, &rec); err != nil {
		return fmt.Errorf("it is not a record: %w", err)
	}
	if rec.File == nil {
		if len(rec.Error) == 0 || string(rec.Error) == "null" {
			return errors.New("it has neither a file nor an error")
		}
		return nil
	}
	file := Path("data/projects/" + project + "/" + *rec.File)
	at := v.locate(file)
	switch {
	case file.check() != nil || path.Clean(string(file)) != string(file):
		return fmt.Errorf("its file %q is not a well-formed name", *rec.File)
	case at < 0 || !v.payload[at].listed:
		return fmt.Errorf("its file %s is not in the bag", *rec.File)
	case !validDigest(rec.SHA256) || hex.EncodeToString(v.payload[at].digest[:]) != rec.SHA256[:32]:
		return fmt.Errorf("its file %s has a different SHA-256 in the manifest", *rec.File)
	}
	if size := v.sizeOf(at); size != rec.Bytes {
		return fmt.Errorf("its file %s has %d bytes, not %d", *rec.File, size, rec.Bytes)
	}
	stem := strings.TrimSuffix(path.Base(*rec.File), path.Ext(*rec.File))
	for _, item := range []*struct{ ID string }{rec.Image, rec.Prediction} {
		if item == nil || item.ID == "" {
			continue
		}
		if id, err := uuid.Parse(item.ID); err != nil || id.String() != stem {
			return fmt.Errorf("its file %s is not that of %s", *rec.File, item.ID)
		}
	}
	return nil
}
