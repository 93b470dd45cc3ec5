package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
)

// Result is a verification's outcome.
type Result string

// Results of Bag.
const (
	OK           Result = "ok"           // everything that was promised is there and agrees
	Failed       Result = "failed"       // something is wrong; see Report.Problems
	Inconclusive Result = "inconclusive" // something could not be read, and nothing that was read is wrong
)

// Signature is what is known of a receipt's signature.
type Signature string

// What is known of a signature.
const (
	Unknown   Signature = "unknown"   // the files could not be listed
	Unsigned  Signature = "none"      // there is none
	Unchecked Signature = "unchecked" // there is one, and it was not checked with a key
	Signed    Signature = "signed"    // one of the keys made it: Report.Signer
	Wrong     Signature = "wrong"     // none of the keys made it, or not of this receipt
)

// Problem is something wrong with a bag. Both texts are printable.
type Problem struct {
	Path string `json:"path"` // the file concerned; empty: the bag as a whole
	What string `json:"what"`
}

// Progress is how far a verification is.
type Progress struct {
	Files, AllFiles int
	Bytes, AllBytes int64
}

// Options are the settings of Bag.
type Options struct {
	MaxProblems int              // how many problems are listed, 0: 100
	Readers     int              // files read at once, 0: 8
	Progress    func(Progress)   // if set, called after every file that was read; one call at a time
	Keys        []*signature.Key // one of them must have signed the receipt; none: signatures are not checked
}

// Report is what Bag found. Every text in it is a word of a closed set, an id, a digest or
// printable, but for those that say so: these must be quoted where they are shown.
type Report struct {
	Result        Result
	Problems      []Problem // sorted by path
	Omitted       int       // problems beyond those listed
	Files         int       // files of the bag
	Bytes         int64     // their size; where the source does not say it, of those that were read
	Receipt       *Receipt  // nil: none, or none that can be read
	ReceiptSHA256 string
	Signature     Signature
	Signer        string               // id of the key that made the signature; empty unless that is Signed
	TimeStamp     *signature.TimeStamp // of the signature, as it says itself: its authority is not checked; nil: none
	Ledger        sink.LedgerSummary
	Failure       *Failure // of a delete that failed
	Plain         *Plain   // of a bag that another tool made; nil: this program made it
}

// Plain is what a report tells of a bag that this program did not make, and of which only the rules
// of BagIt were checked.
type Plain struct {
	Version    string    `json:"version"`           // of BagIt
	Encoding   string    `json:"encoding"`          // of its tag files
	Algorithms []string  `json:"algorithms"`        // of its payload manifests, sorted
	Notes      []Problem `json:"notes,omitempty"`   // what is unusual, but breaks no rule of its version
	Missing    int       `json:"missing,omitempty"` // files that have yet to be fetched
}

// Findings is the first problems in one line, at most so many, and how many more there are.
func (r Report) Findings(atMost int) string {
	shown := r.Problems[:min(len(r.Problems), atMost)]
	found := make([]string, 0, len(shown)+1)
	for _, p := range shown {
		found = append(found, p.Path+": "+p.What)
	}
	if more := len(r.Problems) - len(shown) + r.Omitted; more > 0 {
		found = append(found, fmt.Sprintf("and %d more findings", more))
	}
	return strings.Join(found, "; ")
}

// Receipt is what a report tells of the receipt.
type Receipt struct {
	Kind       sink.BagKind
	CommandID  string
	Action     string
	Outcome    string
	URI        string // where the bag was made; as the bag has it
	Reference  string // the requester's own; as the bag has it
	Exceptions int64
	Signer     string                 // NKey public key of the command's signer, as the receipt says; empty: not demanded
	Approver   string                 // the same of its approver
	Retention  *sink.ReceiptRetention // as the receipt says; nil: none
}

// Failure is what a report tells of the evidence of a failed delete.
type Failure struct {
	CommandID string `json:"command_id"`
	Code      string `json:"code"`
	Message   string `json:"message"` // as the evidence has it
}

// Bag reads a stored bag whole and checks everything that can be checked. If keys are given, a bag
// without a signature fails. A bag without its receipt is not committed, and fails too.
//
// The error is not nil exactly when the result is Inconclusive; it names what could not be read.
func Bag(ctx context.Context, src Source, o Options) (Report, error) {
	return check(ctx, src, o, depth{})
}

// Copied does all that Bag does, but that it does not open pictures and models: what the manifest
// says of their content is taken as it is. It is for the maker of a copy, which compares them on
// their way.
func Copied(ctx context.Context, src Source, o Options) (Report, error) {
	return check(ctx, src, o, depth{unopened: true})
}

// Statements does all that Copied does, but that there is no signature yet, and that it does not
// open pages below index.html either. It is for the maker of a bag, which stored all of these under
// the digests of the manifests, before it makes a statement about them.
func Statements(ctx context.Context, src Source, o Options) (Report, error) {
	return check(ctx, src, o, depth{unopened: true, unsigned: true})
}

func check(ctx context.Context, src Source, o Options, how depth) (Report, error) {
	if o.MaxProblems <= 0 {
		o.MaxProblems = 100
	}
	if o.Readers <= 0 {
		o.Readers = 8
	}
	v := &verifier{src: src, o: o, depth: how, seed: maphash.MakeSeed(), tagFiles: map[sink.Path]int64{}, projects: map[uuid.UUID]*project{}, perFile: map[sink.Path]int{}, deleted: map[uuid.UUID]*deletedProject{}}
	v.report.Signature = Unknown
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

// depth is what a verification leaves out.
type depth struct {
	unopened bool // pictures and models are not opened
	unsigned bool // the maker asks: there is no signature yet, and pages below index.html are not opened
}

// verifier is one verification.
type verifier struct {
	src Source
	o   Options
	depth

	seed     maphash.Seed           // see digest
	payload  []payloadFile          // sorted by path hash once listed
	tagFiles map[sink.Path]int64    // files outside data/ and their sizes, -1: the source does not say
	projects map[uuid.UUID]*project // of an export, those with a folder
	kind     sink.BagKind           // of the receipt
	receipt  *sink.Receipt          // nil: none that can be used
	raw      []byte                 // the receipt as it is stored
	scope    bagfile.Scope          // the receipt's
	planned  planned                // of a delete

	mu           sync.Mutex // guards what follows
	payloadBytes int64
	recorded     []bool  // payload files that a record speaks of
	counted      []int64 // sizes of the payload files of which the source does not say it, once they are read; -1 before
	unknown      int     // how many of them were not read
	statements   statements
	predictions  []prediction // sorted by project and id
	deleted      map[uuid.UUID]*deletedProject
	perFile      map[sink.Path]int // problems
	progress     Progress
	report       Report
}

// statements are the files that speak of the whole bag, once they are read; nil before.
type statements struct {
	info         []sink.Field
	request      *bagfile.Request[json.RawMessage]
	export       *bagfile.Export
	inventory    *inventory
	deletion     *bagfile.Deletion
	verification *bagfile.Verification
	digests      map[shape]string // SHA-256 of the files as they were read
}

// problem notes a problem. Text of the bag must come quoted.
func (v *verifier) problem(path sink.Path, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.note(path, format, args...)
}

// note is problem for a caller that holds the lock.
func (v *verifier) note(path sink.Path, format string, args ...any) {
	if _, ok := v.perFile[path]; ok || len(v.perFile) < maxTagFiles {
		v.perFile[path]++
	}
	if len(v.report.Problems) >= v.o.MaxProblems {
		v.report.Omitted++
		return
	}
	v.report.Problems = append(v.report.Problems, Problem{Path: shown(string(path)), What: bagfile.Printable(fmt.Sprintf(format, args...))})
}

// enough reports whether a file has so many problems that its content is not looked at further.
func (v *verifier) enough(path sink.Path) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.perFile[path] >= maxPerFile
}

// hasProblem reports whether a problem with a file was noted.
func (v *verifier) hasProblem(path sink.Path) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.perFile[path] > 0
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
	if err := v.readReceipt(ctx); err != nil {
		return err
	}
	if err := v.readSignature(ctx); err != nil {
		return err
	}
	if _, failed := v.tagFiles[sink.FailureFile]; failed && v.receipt == nil {
		return v.readFailure(ctx)
	}
	if err := v.checkNames(ctx); err != nil {
		return err
	}
	tags, err := v.readTagManifest(ctx)
	if err != nil {
		return err
	}
	manifestDigest, err := v.readManifest(ctx)
	if err != nil {
		return err
	}
	if manifestDigest != "" && tags[sink.ManifestFile] != "" && tags[sink.ManifestFile] != manifestDigest {
		v.problem(sink.ManifestFile, "its SHA-256 is %s, the tag manifest has %s", manifestDigest, tags[sink.ManifestFile])
	}
	v.checkSubject(sink.ManifestFile, manifestDigest)
	err = v.nameFiles(ctx, func(i int) bool { return !v.payload[i].listed }, "it is not in the manifest")
	if err == nil {
		err = v.readFiles(ctx, tags, manifestDigest)
	}
	if err != nil {
		return err
	}
	v.checkRequired()
	v.checkStatements()
	if v.kind == sink.DeleteBag {
		return v.checkDeletion(ctx)
	}
	return v.checkExport(ctx)
}

// checkRequired names the files that are missing and were not missed yet.
func (v *verifier) checkRequired() {
	for _, name := range required(v.kind) {
		_, ok := v.tagFiles[name]
		if !ok && (!name.IsPayload() || v.locate(name) < 0) && !v.hasProblem(name) {
			v.problem(name, "it is missing")
		}
	}
}
