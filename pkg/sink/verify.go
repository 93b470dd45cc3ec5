package sink

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

// Result is a verification's outcome.
type Result string

// Results of Verify.
const (
	OK           Result = "ok"           // everything that was promised is there and unchanged
	Failed       Result = "failed"       // something is wrong; see Report.Problems
	Inconclusive Result = "inconclusive" // something could not be read, and nothing that was read is wrong
)

// Problem is something wrong with a bag.
type Problem struct {
	Path string `json:"path"` // the file concerned; empty: the bag as a whole
	What string `json:"what"`
}

// VerifyOptions are the settings of Verify.
type VerifyOptions struct {
	MaxProblems int // how many problems are listed, 0: 100
	Readers     int // files read at once, 0: 8
}

// Report is what Verify found.
type Report struct {
	Result        Result          `json:"result"`
	Problems      []Problem       `json:"problems"` // sorted by path
	Omitted       int             `json:"omitted"`  // problems beyond those listed
	Files         int             `json:"files"`    // files of the bag
	Bytes         int64           `json:"bytes"`    // their size; where the source does not say it, of those that were read
	Receipt       *Receipt        `json:"receipt"`  // nil: none, or none that can be read
	ReceiptSHA256 string          `json:"receipt_sha256"`
	Signed        bool            `json:"signed"` // receipt.sigstore.json is there; its signature is not checked here
	Ledger        LedgerSummary   `json:"ledger"`
	Failure       json.RawMessage `json:"failure,omitempty"` // evidence/failure.json of a delete that failed
}

const (
	// maxTagFiles bounds the files outside data/ and the lines of the tag manifest.
	maxTagFiles = 10_000
	// maxSmallBytes bounds the files that are read into memory.
	maxSmallBytes = 4 << 20
	// maxRecordBytes bounds a line of images.jsonl and predictions.jsonl.
	maxRecordBytes = 16 << 20
)

// Verify reads a stored bag whole and checks everything that can be checked without keys:
// bagit.txt, bag-info.txt and its Payload-Oxum, the digest of every file in the manifests, that no
// file is missing and none unlisted, that names are well-formed, the receipt's form and its digests
// of the manifests, the ledger's chain and its head in the receipt, that images.jsonl,
// predictions.jsonl and inventory.json speak of files that are there, and that no text has a shared
// access signature in it. A bag without its receipt is not committed, which is a failure.
//
// The error is not nil exactly when the result is Inconclusive; it tells what could not be read.
// Memory is about 48 bytes for each payload file, and the names of the files that hold records.
func Verify(ctx context.Context, src Source, o VerifyOptions) (Report, error) {
	if o.MaxProblems <= 0 {
		o.MaxProblems = 100
	}
	if o.Readers <= 0 {
		o.Readers = 8
	}
	v := &verifier{src: src, o: o, tagFiles: map[Path]int64{}, projects: map[string]bool{}}
	err := v.run(ctx)
	r := &v.report
	slices.SortFunc(r.Problems, func(a, b Problem) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return strings.Compare(a.What, b.What)
	})
	switch {
	case len(r.Problems) > 0:
		r.Result, err = Failed, nil
	case err != nil:
		r.Result, err = Inconclusive, fmt.Errorf("verify bag: %w", err)
	default:
		r.Result = OK
	}
	return *r, err
}

// payloadFile is what is known of one file below data/.
type payloadFile struct {
	path   [16]byte // hash of the path
	digest [16]byte // first half of the digest in the manifest
	size   int64    // -1: the source does not say
	listed bool     // by the manifest
}

// verifier is one verification.
type verifier struct {
	src Source
	o   VerifyOptions

	payload  []payloadFile  // sorted by path hash once listed
	tagFiles map[Path]int64 // files outside data/ and their sizes, -1: the source does not say
	projects map[string]bool

	mu           sync.Mutex // guards what follows
	payloadBytes int64
	counted      []int64  // sizes of the payload files of which the source does not say it, once they are read; -1 before
	unknown      int      // how many of them were not read
	oxum         []string // values of Payload-Oxum
	hasInfo      bool     // bag-info.txt was read
	report       Report
}

// problem notes something wrong.
func (v *verifier) problem(path Path, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.report.Problems) >= v.o.MaxProblems {
		v.report.Omitted++
		return
	}
	v.report.Problems = append(v.report.Problems, Problem{Path: string(path), What: fmt.Sprintf(format, args...)})
}

// run does the steps in turn. An error means that something could not be read.
func (v *verifier) run(ctx context.Context) error {
	if err := v.list(ctx); err != nil {
		return err
	}
	if v.report.Files == 0 {
		v.problem("", "there are no files here")
		return nil
	}
	receipt, err := v.readReceipt(ctx)
	if err != nil {
		return err
	}
	if receipt == nil {
		if _, failed := v.tagFiles[FailureFile]; failed {
			return v.readFailure(ctx)
		}
	}
	tags, err := v.readTagManifest(ctx)
	if err != nil {
		return err
	}
	manifestDigest, err := v.readManifest(ctx)
	if err != nil {
		return err
	}
	if manifestDigest != "" && tags[ManifestFile] != "" && tags[ManifestFile] != manifestDigest {
		v.problem(ManifestFile, "its SHA-256 is %s, the tag manifest has %s", manifestDigest, tags[ManifestFile])
	}
	v.checkSubject(receipt, ManifestFile, manifestDigest)
	if err := v.nameUnlisted(ctx); err != nil {
		return err
	}
	if err := v.readFiles(ctx, tags, manifestDigest); err != nil {
		return err
	}
	if v.unknown == 0 { // else a file is in no manifest, which was noted, or was not read
		v.compareOxum()
	}
	v.compareReceipt(receipt)
	return nil
}

// list notes every file.
func (v *verifier) list(ctx context.Context) error {
	tagFiles := 0
	for file, err := range v.src.List(ctx) {
		if err != nil {
			return err
		}
		name := Path(file.Name)
		v.report.Files++
		v.report.Bytes += max(file.Bytes, 0)
		if file.Irregular {
			v.problem(name, "it is not a regular file")
		}
		if err := name.check(); err != nil {
			v.problem(name, "the name is not well-formed: %v", err)
		}
		if !name.payload() {
			if tagFiles++; tagFiles <= maxTagFiles {
				v.tagFiles[name] = file.Bytes
			}
			continue
		}
		v.payload = append(v.payload, payloadFile{path: pathHash(name), size: file.Bytes})
		v.payloadBytes += max(file.Bytes, 0)
		if file.Bytes < 0 {
			v.unknown++
		}
		if rest, ok := strings.CutPrefix(file.Name, "data/projects/"); ok {
			id, _, _ := strings.Cut(rest, "/")
			v.projects[id] = true
		}
	}
	if tagFiles > maxTagFiles {
		v.problem("", "there are %d files outside data/, at most %d are expected", tagFiles, maxTagFiles)
	}
	slices.SortFunc(v.payload, func(a, b payloadFile) int { return bytes.Compare(a.path[:], b.path[:]) })
	if v.unknown > 0 {
		v.counted = slices.Repeat([]int64{-1}, len(v.payload))
	}
	_, v.report.Signed = v.tagFiles[SignatureFile]
	return nil
}

// find is the payload file at a path, nil when it is not there.
func (v *verifier) find(path Path) *payloadFile {
	i := v.locate(path)
	if i < 0 {
		return nil
	}
	return &v.payload[i]
}

// locate is the index of the payload file at a path, -1 when it is not there.
func (v *verifier) locate(path Path) int {
	i, ok := slices.BinarySearchFunc(v.payload, pathHash(path), func(f payloadFile, h [16]byte) int { return bytes.Compare(f.path[:], h[:]) })
	if !ok {
		return -1
	}
	return i
}

// measured notes the size of a file that was read whole, where the source did not say it.
func (v *verifier) measured(name Path, n int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !name.payload() {
		if size, ok := v.tagFiles[name]; ok && size < 0 {
			v.report.Bytes += n // each of them is read once
		}
		return
	}
	if i := v.locate(name); i >= 0 && v.payload[i].size < 0 && v.counted[i] < 0 {
		v.counted[i] = n
		v.unknown--
		v.payloadBytes += n
		v.report.Bytes += n
	}
}

// sizeOf is the size of the payload file at an index, -1 when it is not known.
func (v *verifier) sizeOf(i int) int64 {
	if size := v.payload[i].size; size >= 0 {
		return size
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.counted[i]
}

// missing tells that an error of Open means that the file is not there, which is a problem, not a
// read that failed.
func missing(err error) bool { return errors.Is(err, ErrNotFound) || errors.Is(err, fs.ErrNotExist) }

// readSmall reads a file of at most maxSmallBytes; nil when it is not there or too large, which is
// noted.
func (v *verifier) readSmall(ctx context.Context, name Path) ([]byte, error) {
	body, err := v.src.Open(ctx, string(name))
	if missing(err) {
		v.problem(name, "it is missing")
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	b, err := io.ReadAll(io.LimitReader(body, maxSmallBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > maxSmallBytes {
		v.problem(name, "it is larger than %d bytes", maxSmallBytes)
		return nil, nil
	}
	v.measured(name, int64(len(b)))
	v.scanText(name, b)
	return b, nil
}

// scanText looks for signatures in a text held in memory.
func (v *verifier) scanText(name Path, b []byte) {
	scan := newLeakScan()
	_, _ = scan.Write(b)
	v.noteLeak(name, scan)
}

// noteLeak notes what a scan found.
func (v *verifier) noteLeak(name Path, scan *leakScan) {
	if scan.at >= 0 {
		v.problem(name, "there is a shared access signature (sig=) at byte %d", scan.at)
	}
}

// readReceipt reads the receipt; nil when there is none that can be used.
func (v *verifier) readReceipt(ctx context.Context) (*Receipt, error) {
	if _, ok := v.tagFiles[ReceiptFile]; !ok {
		if _, failed := v.tagFiles[FailureFile]; !failed {
			v.problem(ReceiptFile, "there is no receipt: the bundle was not committed")
		}
		return nil, nil
	}
	b, err := v.readSmall(ctx, ReceiptFile)
	if err != nil || b == nil {
		return nil, err
	}
	receipt, err := ParseReceipt(b)
	if err != nil {
		v.problem(ReceiptFile, "%v", err)
		return nil, nil
	}
	if canonical, err := CanonicalJSON(json.RawMessage(b)); err != nil || string(canonical)+"\n" != string(b) {
		v.problem(ReceiptFile, "it is not in canonical form: it was written by another hand")
	}
	if _, failed := v.tagFiles[FailureFile]; failed {
		v.problem(FailureFile, "there is evidence of a failed delete beside a receipt")
	}
	v.report.Receipt, v.report.ReceiptSHA256 = receipt, hexSHA256(b)
	return receipt, nil
}

// readFailure reports the evidence that a failed delete leaves: no bag, but its ledger can be
// checked.
func (v *verifier) readFailure(ctx context.Context) error {
	v.problem(FailureFile, "this is the evidence of a delete that failed, not a bundle: nothing is proved by it")
	b, err := v.readSmall(ctx, FailureFile)
	if err != nil {
		return err
	}
	if json.Valid(b) {
		v.report.Failure = b
	} else if b != nil {
		v.problem(FailureFile, "it is not valid JSON")
	}
	if _, ok := v.tagFiles[LedgerFile]; !ok {
		v.problem(LedgerFile, "it is missing")
		return nil
	}
	return v.readFile(ctx, LedgerFile, "")
}

// readTagManifest reads tagmanifest-sha256.txt and compares its names with the files outside data/.
// It gives the digests by name.
func (v *verifier) readTagManifest(ctx context.Context) (map[Path]string, error) {
	tags := map[Path]string{}
	b, err := v.readSmall(ctx, TagManifestFile)
	if err != nil || b == nil {
		return tags, err
	}
	for l, err := range ManifestLines(bytes.NewReader(b)) {
		switch {
		case err != nil:
			v.problem(TagManifestFile, "%v", err)
			continue
		case l.Path.payload() || l.Path == TagManifestFile || l.Path == ReceiptFile || l.Path == SignatureFile:
			v.problem(TagManifestFile, "it lists %s, which does not belong there", l.Path)
			continue
		case tags[l.Path] != "":
			v.problem(TagManifestFile, "it lists %s twice", l.Path)
		}
		tags[l.Path] = l.SHA256
		if _, ok := v.tagFiles[l.Path]; !ok {
			v.problem(l.Path, "it is missing: the tag manifest lists it")
		}
	}
	for name := range v.tagFiles {
		if tags[name] == "" && name != TagManifestFile && name != ReceiptFile && name != SignatureFile {
			v.problem(name, "it is not in the tag manifest")
		}
	}
	v.checkSubject(v.report.Receipt, TagManifestFile, hexSHA256(b))
	return tags, nil
}

// checkSubject compares a manifest's digest with the receipt's.
func (v *verifier) checkSubject(receipt *Receipt, name Path, digest string) {
	if receipt == nil || digest == "" {
		return
	}
	for _, subject := range receipt.Subject {
		if want := subject.Digest["sha256"]; subject.Name == string(name) && want != digest {
			v.problem(name, "its SHA-256 is %s, the receipt has %s", digest, want)
		}
	}
}

// readManifest reads manifest-sha256.txt for the first time and notes the digests of all files. It
// gives the manifest's own digest.
func (v *verifier) readManifest(ctx context.Context) (string, error) {
	body, err := v.src.Open(ctx, string(ManifestFile))
	if missing(err) {
		v.problem(ManifestFile, "it is missing")
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = body.Close() }()
	h := sha256.New()
	sum := &sumReader{r: body, h: h}
	n := 0
	for l, err := range ManifestLines(sum) {
		var readErr *ReadError
		if errors.As(err, &readErr) {
			return "", fmt.Errorf("read %s: %w", ManifestFile, readErr.Err)
		}
		if err != nil {
			v.problem(ManifestFile, "%v", err)
			continue
		}
		n++
		file := v.find(l.Path)
		switch {
		case !l.Path.payload():
			v.problem(ManifestFile, "it lists %s, which is not below data/", l.Path)
		case file == nil:
			v.problem(l.Path, "it is missing: the manifest lists it")
		case file.listed:
			v.problem(ManifestFile, "it lists %s twice", l.Path)
		default:
			file.listed = true
			_, _ = hex.Decode(file.digest[:], []byte(l.SHA256[:32])) // valid: the line was parsed
		}
	}
	if n == 0 {
		v.problem(ManifestFile, "it lists no file")
	}
	v.measured(ManifestFile, sum.n)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// nameUnlisted names the files below data/ that the manifest does not list.
func (v *verifier) nameUnlisted(ctx context.Context) error {
	if !slices.ContainsFunc(v.payload, func(f payloadFile) bool { return !f.listed }) {
		return nil
	}
	for file, err := range v.src.List(ctx) {
		if err != nil {
			return err
		}
		if name := Path(file.Name); name.payload() {
			if known := v.find(name); known == nil || !known.listed {
				v.problem(name, "it is not in the manifest")
			}
		}
	}
	return nil
}

// readFiles reads every file that a manifest lists and compares its digest. The files whose lines
// speak of others come last: by then the sizes of all are known.
func (v *verifier) readFiles(ctx context.Context, tags map[Path]string, manifestDigest string) error {
	var records []ManifestLine
	err := v.together(ctx, func(ctx context.Context, read func(Path, string)) (err error) {
		for name, digest := range tags {
			if _, ok := v.tagFiles[name]; ok && name != ManifestFile {
				read(name, digest)
			}
		}
		records, err = v.readPayload(ctx, read, manifestDigest)
		return err
	})
	if err != nil {
		return err
	}
	return v.together(ctx, func(_ context.Context, read func(Path, string)) error {
		for _, l := range records {
			read(l.Path, l.SHA256)
		}
		return nil
	})
}

// together reads the files that names names, several at once.
func (v *verifier) together(ctx context.Context, names func(ctx context.Context, read func(name Path, digest string)) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(v.o.Readers)
	err := names(ctx, func(name Path, digest string) { group.Go(func() error { return v.readFile(ctx, name, digest) }) })
	return errors.Join(group.Wait(), err)
}

// readPayload reads the manifest again and has its files read, but for those of records, which it
// returns.
func (v *verifier) readPayload(ctx context.Context, read func(Path, string), manifestDigest string) (records []ManifestLine, err error) {
	if manifestDigest == "" {
		return nil, nil
	}
	body, err := v.src.Open(ctx, string(ManifestFile))
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	h := sha256.New()
	for l, err := range ManifestLines(io.TeeReader(body, h)) {
		var readErr *ReadError
		if errors.As(err, &readErr) {
			return nil, fmt.Errorf("read %s: %w", ManifestFile, readErr.Err)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil || v.find(l.Path) == nil {
			continue // noted at the first reading
		}
		if isRecords(l.Path) {
			records = append(records, l)
			continue
		}
		read(l.Path, l.SHA256)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != manifestDigest {
		v.problem(ManifestFile, "it changed while it was read")
	}
	return records, nil
}

// isRecords tells the files whose lines speak of other files.
func isRecords(name Path) bool {
	base := path.Base(string(name))
	return strings.HasPrefix(string(name), "data/projects/") && (base == "images.jsonl" || base == "predictions.jsonl")
}

// readFile reads a file whole, compares its digest (unless want is empty), and looks into it where
// its name says what it holds.
func (v *verifier) readFile(ctx context.Context, name Path, want string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	body, err := v.src.Open(ctx, string(name))
	if missing(err) {
		v.problem(name, "it is missing")
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()

	h := sha256.New()
	sum := &sumReader{r: body, h: h}
	var r io.Reader = sum
	var scan *leakScan
	if isText(name) {
		scan = newLeakScan()
		r = io.TeeReader(r, scan)
	}
	err = v.look(name, r)
	if err == nil {
		_, err = io.Copy(io.Discard, r) // what the look left
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	v.measured(name, sum.n)
	if scan != nil {
		v.noteLeak(name, scan)
	}
	if got := hex.EncodeToString(h.Sum(nil)); want != "" && got != want {
		v.problem(name, "its SHA-256 is %s, the manifest has %s", got, want)
	}
	return nil
}

// sumReader digests and counts what is read through it.
type sumReader struct {
	r io.Reader
	h hash.Hash
	n int64
}

// Read implements io.Reader.
func (s *sumReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.h.Write(p[:n])
	s.n += int64(n)
	return n, err
}

// look checks the content of the files whose meaning is known. It need not read to the end. An
// error is one of reading.
func (v *verifier) look(name Path, r io.Reader) error {
	switch {
	case name == BagItFile:
		return v.lookBagIt(r)
	case name == BagInfoFile:
		return v.lookBagInfo(r)
	case name == LedgerFile:
		return v.lookLedger(r)
	case name == InventoryFile:
		return v.lookInventory(r)
	case isRecords(name):
		return v.lookRecords(name, r)
	}
	return nil
}

// lookBagIt checks bagit.txt.
func (v *verifier) lookBagIt(r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, maxLineBytes))
	if err == nil && string(b) != bagItText {
		v.problem(BagItFile, "it does not declare BagIt 1.0 in UTF-8")
	}
	return err
}

// lookBagInfo checks bag-info.txt and notes its Payload-Oxum.
func (v *verifier) lookBagInfo(r io.Reader) error {
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

// lookLedger checks the ledger's chain.
func (v *verifier) lookLedger(r io.Reader) error {
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

// lookInventory compares the projects of inventory.json with the folders below data/projects/.
func (v *verifier) lookInventory(r io.Reader) error {
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

// trackReader remembers an error of reading, which a decoder mixes with its own.
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

// lookRecords checks that each record's file is there with the digest and size that the record
// says.
func (v *verifier) lookRecords(name Path, r io.Reader) error {
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

// checkRecord says what is wrong with a record.
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
		return fmt.Errorf("its file %q is no well-formed name", *rec.File)
	case at < 0 || !v.payload[at].listed:
		return fmt.Errorf("its file %s is not in the bag", *rec.File)
	case !validDigest(rec.SHA256) || hex.EncodeToString(v.payload[at].digest[:]) != rec.SHA256[:32]:
		return fmt.Errorf("its file %s has another SHA-256 in the manifest", *rec.File)
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

// compareReceipt compares what the receipt says with what was found.
func (v *verifier) compareReceipt(receipt *Receipt) {
	required := []Path{BagItFile, BagInfoFile, RequestFile, LedgerFile}
	if receipt != nil && receipt.Kind() == DeleteBag {
		required = append(required, DeletionFile, PlanFile)
	} else {
		required = append(required, ExportFile, InventoryFile)
	}
	for _, name := range required {
		_, ok := v.tagFiles[name]
		if !ok && (!name.payload() || v.find(name) == nil) && !v.noted(name) {
			v.problem(name, "it is missing")
		}
	}
	if receipt == nil {
		return
	}
	p := &receipt.Predicate
	if p.Ledger.Entries != v.report.Ledger.Lines || p.Ledger.Head != v.report.Ledger.Head {
		v.problem(LedgerFile, "it has %d lines and head %s, the receipt has %d and %s", v.report.Ledger.Lines, v.report.Ledger.Head, p.Ledger.Entries, p.Ledger.Head)
	}
	if p.Bundle.PayloadObjects != len(v.payload) || v.unknown == 0 && p.Bundle.PayloadBytes != v.payloadBytes {
		v.problem(ReceiptFile, "it speaks of %d files and %d bytes below data/, there are %d and %d", p.Bundle.PayloadObjects, p.Bundle.PayloadBytes, len(v.payload), v.payloadBytes)
	}
}

// noted tells whether something is known to be wrong with a file.
func (v *verifier) noted(name Path) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.ContainsFunc(v.report.Problems, func(p Problem) bool { return p.Path == string(name) })
}

// isText tells by its name whether a file is text, to be searched for signatures.
func isText(name Path) bool {
	switch path.Ext(string(name)) {
	case ".json", ".jsonl", ".txt", ".html", ".htm", ".csv", ".md", ".xml", ".yaml", ".yml", ".js", ".css":
		return true
	}
	return false
}

// leakScan looks for the signature of a shared access link in a stream: "sig=" as a parameter of a
// query, plain or escaped as in JSON, HTML or a URL.
type leakScan struct {
	at   int64 // where one was found, -1: nowhere
	off  int64 // of the next byte
	tail []byte
}

// leakLead is the longest text that can stand before "sig=" as a separator.
const leakLead = len(`\u0026`)

func newLeakScan() *leakScan { return &leakScan{at: -1, tail: make([]byte, 0, 32<<10+16)} }

// HoldsSignature reports whether there is a shared access signature in a text.
func HoldsSignature(r io.Reader) (bool, error) {
	scan := newLeakScan()
	_, err := io.Copy(scan, r)
	return scan.at >= 0, err
}

var sigParam = []byte("sig=")

// Write implements io.Writer. It never fails.
func (s *leakScan) Write(p []byte) (int, error) {
	n := len(p)
	for s.at < 0 && len(p) > 0 {
		piece := p[:min(len(p), 32<<10)]
		p = p[len(piece):]
		buf := append(s.tail, piece...)
		start := s.off - int64(len(s.tail))
		for from := 0; ; {
			i := bytes.Index(buf[from:], sigParam)
			if i < 0 {
				break
			}
			i += from
			if separates(buf[max(0, i-leakLead):i]) {
				s.at = start + int64(i)
				return n, nil
			}
			from = i + len(sigParam)
		}
		s.off += int64(len(piece))
		keep := min(len(buf), leakLead+len(sigParam)-1)
		s.tail = append(s.tail[:0], buf[len(buf)-keep:]...)
	}
	return n, nil
}

// separates tells whether a text ends in what separates the parameters of a query.
func separates(lead []byte) bool {
	if len(lead) == 0 {
		return false
	}
	switch lead[len(lead)-1] {
	case '?', '&', ';':
		return true
	}
	lower := strings.ToLower(string(lead))
	for _, escaped := range []string{`\u0026`, `\u003f`, "%26", "%3f"} {
		if strings.HasSuffix(lower, escaped) {
			return true
		}
	}
	return false
}

// ParseBagInfo reads the fields of bag-info.txt, with continued lines put together by one blank.
func ParseBagInfo(b []byte) ([]Field, error) {
	var fields []Field
	for line, err := range lines(bytes.NewReader(b), maxLineBytes) {
		if err != nil {
			return nil, fmt.Errorf("parse bag-info.txt: %w", err)
		}
		text := string(line)
		if strings.HasPrefix(text, " ") || strings.HasPrefix(text, "\t") {
			if len(fields) == 0 {
				return nil, errors.New("parse bag-info.txt: it begins with a continued line")
			}
			last := &fields[len(fields)-1]
			last.Value = strings.TrimSpace(last.Value + " " + strings.TrimSpace(text))
			continue
		}
		name, value, ok := strings.Cut(text, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("parse bag-info.txt: line %q has no field name", text[:min(len(text), 80)])
		}
		fields = append(fields, Field{Name: name, Value: strings.TrimSpace(value)})
	}
	return fields, nil
}
