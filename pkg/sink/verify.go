package sink

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
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
// predictions.jsonl and inventory.json name only files that are there, and that no text has a
// shared access signature in it. A bag without its receipt is not committed, which is a failure.
//
// The error is not nil exactly when the result is Inconclusive; it names what could not be read.
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

// problem notes a problem.
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
		if !ok && (!name.payload() || v.find(name) == nil) && !v.hasProblem(name) {
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

// hasProblem reports whether a problem with a file was noted.
func (v *verifier) hasProblem(name Path) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.ContainsFunc(v.report.Problems, func(p Problem) bool { return p.Path == string(name) })
}
