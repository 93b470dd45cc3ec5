package unit

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// Version is the version of the JSON of units, readings and their results. Since version 2 a page
// may be one of all images, tagged or not, a unit has the thresholds of its export, and a result
// may say what the service did not give. Since version 3 what is stored of a unit has seals, which
// older workers do not make. Since version 4 a unit may read several pages of a witness, and large
// exported models are streamed to the store; all other units are still of version 3. What a worker
// stores of a unit has the unit's version. Version changes, too, when an export is cut into other
// units: the numbers of the former ones mean nothing then (see bag.Bags.Own).
const Version = 4

// versionBefore is that of what older workers can do, too.
const versionBefore = 3

// MaxPages bounds the pages of a unit.
const MaxPages = 16

// Kind says what a unit of work does.
type Kind string

// The kinds of units of an export.
const (
	// KindProject reads the few things of a project (itself, iterations, tags, performance) and
	// counts the many.
	KindProject Kind = "project"
	// KindPage reads one page of one image listing and, where Fetch is set, the blobs of its
	// images.
	KindPage Kind = "page"
	// KindBatch reads up to 256 images by their ids and, where Fetch is set, their blobs.
	KindBatch Kind = "batch"
	// KindPerformances reads one page of an iteration's image performances.
	KindPerformances Kind = "performances"
	// KindExports reads the exported models of one iteration.
	KindExports Kind = "exports"
	// KindPredictions reads a run of stored predictions, and their images.
	KindPredictions Kind = "predictions"
	// KindCounts counts again what was listed.
	KindCounts Kind = "counts"
)

// Kinds are all kinds that this build can do.
func Kinds() []Kind {
	return []Kind{KindProject, KindPage, KindBatch, KindPerformances, KindExports, KindPredictions, KindCounts}
}

// Known reports whether this build can do units of this kind.
func (k Kind) Known() bool { return slices.Contains(Kinds(), k) }

// Unit is the smallest piece of a job that is done whole and can be done again. It carries all its
// worker needs to know, except the values of image metadata: those stay in the command, which the
// worker reads from the queue.
type Unit struct {
	V        int              `json:"v"`
	Command  string           `json:"command"`          // the command's id
	Action   contract.Action  `json:"action,omitempty"` // the command's: with id, digest and place it is what the worker knows the command by
	Seq      uint64           `json:"seq"`              // the command's stream sequence
	Stream   contract.Text    `json:"stream,omitempty"` // which stream that is
	Digest   string           `json:"digest,omitempty"` // of the command's data; see CommandRef
	N        int              `json:"n"`
	Kind     Kind             `json:"kind"`
	Project  uuid.UUID        `json:"project"`
	Listing  *survey.Listing  `json:"listing,omitempty"`  // of a page
	Pass     int              `json:"reading,omitempty"`  // which reading of its listings this is, 0 at first
	Skip     int              `json:"skip,omitempty"`     // of a page: how many items come before it
	Pages    int              `json:"pages,omitempty"`    // of a witness: how many pages it reads from there on; 0 is one
	Fetch    bool             `json:"fetch,omitempty"`    // blobs too
	Again    bool             `json:"again,omitempty"`    // a batch of images that were not there: they are asked for a while later
	Scope    uuid.UUID        `json:"scope,omitzero"`     // of a batch and of exports: an iteration; zero is the workspace
	IDs      []uuid.UUID      `json:"ids,omitempty"`      // of a batch
	Listings []survey.Listing `json:"listings,omitempty"` // of counts: what to count
	Scopes   []uuid.UUID      `json:"scopes,omitempty"`   // of predictions: the scopes still to read, the first with Token
	Token    *survey.Token    `json:"token,omitempty"`    // of predictions
	Named    bool             `json:"named,omitempty"`    // the project was named by the requester: its absence is a failure
	Host     string           `json:"host,omitempty"`     // of the Training API when the export was planned
	Proven   string           `json:"proven,omitempty"`   // fingerprint of the credential that read the project; see account.Control
	Known    []uuid.UUID      `json:"known,omitempty"`    // projects that the account listed when the export was planned
	Measure  *Measure         `json:"measure,omitempty"`  // of a project: what its performance is asked with
	Asked    string           `json:"asked,omitempty"`    // the attempt of the coordinator that queued it, in hex: what the unit waits for is told to no other one
	Seal     string           `json:"seal,omitempty"`     // see Seal
}

// Measure is the thresholds that the performance of iterations is asked with, as the export's plan
// froze them.
type Measure struct {
	Threshold float64 `json:"threshold"`
	Overlap   float64 `json:"overlap"`
}

// Summary is the first line of a unit's result: all the coordinator needs to go on.
type Summary struct {
	V     int             `json:"v"`
	N     int             `json:"n"`
	Kind  Kind            `json:"kind"`
	Error *contract.Error `json:"error,omitempty"` // the unit failed for good, and with it the command
	Gone  bool            `json:"gone,omitempty"`  // the project is not there any more, and the command does not name it

	// Of a project.
	Proven     string           `json:"proven,omitempty"` // fingerprint of the credential that read it
	Iterations []IterationInfo  `json:"iterations,omitempty"`
	Tags       int              `json:"tags,omitempty"` // distinct tags, of the workspace and iterations
	Listings   []survey.Listing `json:"listings,omitempty"`

	// Of pages, batches and runs.
	Listed int       `json:"listed"`          // items the service gave
	First  string    `json:"first,omitempty"` // id of the first item
	Last   string    `json:"last,omitempty"`  // id of the last item
	Torn   bool      `json:"torn,omitempty"`  // its pages did not overlap as they must
	IDs    PackedIDs `json:"ids,omitempty"`   // ids of the items selected, in order
	Lost   PackedIDs `json:"lost,omitempty"`  // those whose blob was gone when it was asked for
	Bytes  int64     `json:"bytes,omitempty"`
	Failed int       `json:"failed,omitempty"` // blobs that could not be had, or are no pictures or models

	// Of predictions.
	Scopes []uuid.UUID   `json:"scopes,omitempty"`
	Token  *survey.Token `json:"token,omitempty"`

	Calls []ledger.Call `json:"calls"`
}

// IterationInfo is what later units need to know of an iteration.
type IterationInfo struct {
	ID          uuid.UUID `json:"id"`
	Trained     bool      `json:"trained"`
	Performance bool      `json:"performance"` // performance.json exists
}

// PackedIDs is a list of ids as base64 of their bytes: a page of 256 is 5.5 kB.
type PackedIDs []uuid.UUID

// MarshalText packs the ids.
func (p PackedIDs) MarshalText() ([]byte, error) {
	raw := make([]byte, 0, 16*len(p))
	for _, id := range p {
		raw = append(raw, id[:]...)
	}
	return []byte(base64.RawStdEncoding.EncodeToString(raw)), nil
}

// UnmarshalText unpacks them; a length that is no multiple of 16 bytes is an error.
func (p *PackedIDs) UnmarshalText(text []byte) error {
	raw, err := base64.RawStdEncoding.DecodeString(string(text))
	if err != nil {
		return fmt.Errorf("unpack ids: %w", err)
	}
	if len(raw)%16 != 0 {
		return errors.New("unpack ids: the length is no multiple of 16 bytes")
	}
	out := make(PackedIDs, 0, len(raw)/16)
	for ; len(raw) > 0; raw = raw[16:] {
		out = append(out, uuid.UUID(raw[:16]))
	}
	*p = out
	return nil
}

// Record is a line of a unit's result after the first: a thing read, or a stored entry. Exactly one
// of Entry, Image, Prediction and Performance is set.
type Record struct {
	Entry       *EntryRecord    `json:"entry,omitempty"`
	Image       json.RawMessage `json:"image,omitempty"`
	Prediction  json.RawMessage `json:"prediction,omitempty"`
	Performance json.RawMessage `json:"performance,omitempty"`
	ID          uuid.UUID       `json:"id,omitzero"`
	Blob        *BlobRecord     `json:"blob,omitempty"`
}

// EntryRecord is a payload object of the bag that a unit stored as it is.
type EntryRecord struct {
	Path     string            `json:"path"`
	SHA256   string            `json:"sha256"`
	Bytes    int64             `json:"bytes"`
	Category contract.Category `json:"category"`
	ID       uuid.UUID         `json:"id,omitzero"` // the iteration, of its files
	Model    bool              `json:"model,omitempty"`
	Failed   *bagfile.Failure  `json:"failed,omitempty"` // why nothing was stored, or what is wrong with what was

	Unfinished *bagfile.Unfinished `json:"unfinished,omitempty"` // a model that the service lists and does not offer
}

// BlobRecord is what the store holds of an image's or prediction's blob, or why it holds nothing,
// or both where what came is no picture.
type BlobRecord struct {
	File        string         `json:"file,omitempty"` // relative to the project's folder
	SHA256      string         `json:"sha256,omitempty"`
	Bytes       int64          `json:"bytes,omitempty"`
	ContentType string         `json:"content_type,omitempty"`
	Source      string         `json:"source,omitempty"` // original or resized
	Error       *bagfile.Blame `json:"error,omitempty"`
}

// Decode reads a unit as the coordinator published it. ErrNewer says that the unit claims a newer
// version, which its seal has to confirm (SealedBody); it comes with what can be read of the unit.
func Decode(body []byte) (Unit, error) {
	var u Unit
	if err := json.Unmarshal(body, &u); err != nil {
		return Unit{}, fmt.Errorf("decode unit: %w", err)
	}
	if u.V > Version {
		return u, fmt.Errorf("decode unit: %w", contract.ErrNewer)
	}
	if err := u.check(); err != nil {
		return Unit{}, fmt.Errorf("decode unit: %w", err)
	}
	return u, nil
}

// Identity is the digest of what the unit asks for, whichever message its command came with. What
// is stored of a unit is sealed to it, so that nothing of another unit with this number counts.
func (u Unit) Identity() (string, error) {
	body, err := contract.Marshal(u)
	if err != nil {
		return "", fmt.Errorf("encode unit %d: %w", u.N, err)
	}
	return identity(body)
}

// identity is Identity of a unit of any version, as it is encoded.
func identity(body []byte) (string, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return "", fmt.Errorf("decode unit: %w", err)
	}
	for _, name := range []string{"seq", "stream", "digest", "asked", "seal"} {
		delete(members, name)
	}
	b, err := json.Marshal(members) // in the order of their names
	if err != nil {
		return "", fmt.Errorf("encode unit: %w", err)
	}
	return sink.HexSHA256(b), nil
}

// kindOfSeal tells the seals of units from others.
const kindOfSeal = "unit"

// Seal is the unit with the seal of its command's coordinator. A publisher without the key cannot
// make one, and a worker does not carry out a unit without it.
func Seal(work *sink.Store, u Unit) (Unit, error) {
	identity, err := u.Identity()
	u.Seal = work.SealText(kindOfSeal, identity)
	return u, err
}

// Sealed reports whether the coordinator of the unit's command sealed it.
func Sealed(work *sink.Store, u Unit) (bool, error) {
	identity, err := u.Identity()
	return err == nil && work.SealedText(kindOfSeal, identity, u.Seal), err
}

// SealedBody is Sealed of a unit that a newer version wrote, seal being its seal.
func SealedBody(work *sink.Store, body []byte, seal string) (bool, error) {
	identity, err := identity(body)
	return err == nil && work.SealedText(kindOfSeal, identity, seal), err
}

// NewAsked makes a name for an attempt of a coordinator; see Unit.Asked.
func NewAsked() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }

// check fails for numbers that no unit has, since they are used as indices and in sums, and for an
// Asked that NewAsked did not make, since it becomes part of a key.
func (u Unit) check() error {
	if _, err := hex.DecodeString(u.Asked); err != nil || len(u.Asked) > 32 {
		return errors.New("the name of the attempt that asked for it is not of at most 32 hex digits")
	}
	if u.N < 0 || u.N > cv.MaxCount || u.Skip < 0 || u.Skip > cv.MaxCount || u.Pass < 0 || u.Pass > cv.MaxCount || u.Pages < 0 || u.Pages > MaxPages {
		return fmt.Errorf("n %d, skip %d, reading %d or pages %d is out of bounds", u.N, u.Skip, u.Pass, u.Pages)
	}
	return nil
}

// check fails for a summary that is not of the unit, or has numbers that none has.
func (s Summary) check(u Unit) error {
	if s.N != u.N || s.Kind != u.Kind {
		return fmt.Errorf("it is of unit %d (%s)", s.N, s.Kind)
	}
	for _, n := range []int{s.Listed, s.Tags, s.Failed} {
		if n < 0 || n > cv.MaxCount {
			return fmt.Errorf("a count of %d is out of bounds", n)
		}
	}
	for _, l := range s.Listings {
		if l.Count < 0 || l.Count > cv.MaxCount {
			return fmt.Errorf("a count of %d images is out of bounds", l.Count)
		}
	}
	if s.Bytes < 0 {
		return fmt.Errorf("%d bytes are none", s.Bytes)
	}
	return nil
}

// check fails for a record with a size that nothing has.
func (r Record) check() error {
	if r.Entry != nil && r.Entry.Bytes < 0 || r.Blob != nil && r.Blob.Bytes < 0 {
		return errors.New("a negative size")
	}
	return nil
}

// ImageScope is the scope whose images a page or batch lists.
func (u Unit) ImageScope() uuid.UUID {
	if u.Listing != nil {
		return u.Listing.Scope
	}
	return u.Scope
}

// Witness reports whether a page is of a listing that only tells which images there are.
func (u Unit) Witness() bool { return u.Listing != nil && u.Listing.Kind == survey.All }

// Oldest is the oldest version whose workers do the unit: in a rolling upgrade they share the work
// of a newer coordinator.
func (u Unit) Oldest() int {
	if u.Pages > 1 || u.Kind == KindExports {
		return Version
	}
	return versionBefore
}

// Streams reports whether large models of the unit are streamed to the store. Workers that share a
// unit of an earlier version would remove such a model, since it has no seal.
func (u Unit) Streams() bool { return u.V > versionBefore }

// Tally counts blobs in a summary.
func (s *Summary) Tally(blobs []BlobRecord) {
	for _, b := range blobs {
		if b.Error != nil {
			s.Failed++
		}
		if b.File != "" {
			s.Bytes += b.Bytes
		}
	}
}

// Freezes reports whether the unit stores something beside its result. What it read is then stored
// first, so that every attempt works on that. Else its result alone says what was read.
func (u Unit) Freezes() bool {
	return u.Fetch || u.Kind == KindProject || u.Kind == KindExports || u.Kind == KindPredictions
}

// Shares reports whether an item of a page is the one that the page before ends with, when first is
// the first item of the page. Pages overlap by one: the image belongs to the page before, whose
// unit fetches its blob.
func (u Unit) Shares(id uuid.UUID, first string) bool {
	return u.Kind == KindPage && u.Skip > 0 && id.String() == first
}

// Job is what a job would remember of the unit's command.
func (u Unit) Job() contract.Job {
	return contract.Job{ID: u.Command, Action: u.Action, Command: contract.CommandRef{Seq: u.Seq, Stream: u.Stream, Digest: u.Digest}}
}
