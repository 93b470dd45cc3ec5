package contract

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Limits of a command. Lengths of text are in characters (Unicode code points), not bytes.
const (
	// MaxCommandBytes is the most a command's data may have, in bytes.
	MaxCommandBytes = 512 << 10
	// MaxProjectIDs is the most project_ids may name.
	MaxProjectIDs = 100
	// MaxNarrowingIDs is the most each of iteration_ids, tag_ids and image_ids may name.
	MaxNarrowingIDs = 10000
	// MaxMetadataObjects is the most objects image_metadata may have.
	MaxMetadataObjects = 100
	// MaxMetadataPairs is the most pairs one object of image_metadata may have.
	MaxMetadataPairs = 10
	// MaxMetadataKey and MaxMetadataValue bound one pair of image_metadata, in characters.
	MaxMetadataKey, MaxMetadataValue = 256, 512
	// MaxReference is the length of a reference, in characters.
	MaxReference = 256
	// MaxResource is the length of a resource alias, in characters.
	MaxResource = 128
	// MaxProjectName is the length of expect.project_name, in characters.
	MaxProjectName = 512
	// MaxExpectImages is the greatest expect.max_images: the greatest integer every JSON reader
	// keeps exactly.
	MaxExpectImages = 1<<53 - 1
)

// DefaultResource is the resource a command means that names none.
const DefaultResource = "default"

// Header names of commands. They are matched in any letter case.
const (
	// HeaderMsgID carries a plain command's id.
	HeaderMsgID = "Nats-Msg-Id"
	// HeaderReplayOf names the dead command this one repeats; `consumer dead replay` sets it.
	HeaderReplayOf = "Cv-Replay-Of"
	// HeaderSignature carries a command's signature, and HeaderApproval that of its approver; see
	// package trust.
	HeaderSignature, HeaderApproval = "Cv-Signature", "Cv-Approval"
)

// Action is what a command asks for. It is the last token of the subject the command was published
// on.
type Action string

// The actions.
const (
	ActionExport Action = "export"
	ActionDelete Action = "delete"
	ActionCancel Action = "cancel"
)

// Category is a kind of user data.
type Category string

// The categories, in the order of Categories.
const (
	CategoryProjects    Category = "projects"
	CategoryIterations  Category = "iterations"
	CategoryPerformance Category = "performance"
	CategoryTags        Category = "tags"
	CategoryImages      Category = "images"
	CategoryExports     Category = "exports"
	CategoryPredictions Category = "predictions"
)

// Categories returns all categories in their fixed order, which is the order they have in a decoded
// Data.
func Categories() []Category {
	return []Category{
		CategoryProjects, CategoryIterations, CategoryPerformance, CategoryTags, CategoryImages, CategoryExports, CategoryPredictions,
	}
}

// Narrowing is the field that narrows a command to a part of its projects; empty for whole
// projects.
type Narrowing string

// The narrowings, named as their fields.
const (
	NarrowNone       Narrowing = ""
	NarrowIterations Narrowing = "iteration_ids"
	NarrowTags       Narrowing = "tag_ids"
	NarrowImages     Narrowing = "image_ids"
	NarrowMetadata   Narrowing = "image_metadata"
)

// DefaultCategories returns what a command takes that names no categories, in the order of
// Categories.
func DefaultCategories(a Action, n Narrowing) []Category {
	switch n {
	case NarrowIterations:
		if a == ActionDelete {
			return []Category{CategoryIterations}
		}
		return []Category{CategoryIterations, CategoryPerformance, CategoryImages, CategoryExports}
	case NarrowTags:
		if a == ActionDelete {
			return []Category{CategoryTags}
		}
		return []Category{CategoryTags, CategoryImages}
	case NarrowImages, NarrowMetadata:
		return []Category{CategoryImages}
	default:
		return Categories()
	}
}

// AllowedCategories returns what a command may name as categories, in the order of Categories. An
// export narrowed to iterations may take anything (the tags, images and predictions are then those
// of the iterations); one narrowed to tags or images may add the project and its tags, which say
// what the images' tags mean. A narrowed delete takes only what the narrowing names and what goes
// with it: never the project.
func AllowedCategories(a Action, n Narrowing) []Category {
	if n == NarrowNone {
		return Categories()
	}
	if a == ActionDelete {
		switch n {
		case NarrowIterations:
			return []Category{CategoryIterations, CategoryPerformance, CategoryExports}
		case NarrowTags:
			return []Category{CategoryTags, CategoryImages}
		default:
			return []Category{CategoryImages}
		}
	}
	if n == NarrowIterations {
		return Categories()
	}
	return []Category{CategoryProjects, CategoryTags, CategoryImages}
}

// Command is a request as published: immutable, and its ID names all that follows from it.
type Command struct {
	ID          string // [A-Za-z0-9_-]{1,120}, not beginning with "seq-"
	Action      Action
	Seq         uint64    // the message's sequence in the command stream
	Stream      string    // which stream that is; see Message
	Published   time.Time // when the stream stored it, UTC
	Traceparent string    // W3C trace context, empty when none or malformed
	Source      string    // the CloudEvents source, empty for a plain message
	ReplayOf    string    // the id of the dead command this one repeats, empty when none
	Data        Data

	// Signer and Approver are the NKey public keys by which the message was found to be signed and
	// approved. They are empty where that was not demanded, and until it was judged: DecodeCommand
	// looks at no signature.
	Signer, Approver string
}

// SignedUntil is until when a copy of a signed delete counts that is published under the same id;
// nil for every other command. Until then only the traces of the first one keep a copy from being
// carried out.
func (c Command) SignedUntil() *time.Time {
	if c.Action != ActionDelete || c.Signer == "" || c.Data.DryRun || IsSeqID(c.ID) {
		return nil
	}
	return c.Data.NotAfter
}

// Data is what a command asks for, after defaults. Sets are sorted and without duplicates; ids are
// in byte order, categories in the order of Categories. ImageMetadata has real values, which are
// personal data: the JSON and the text of a Data have them redacted, and only Canonical shows them.
type Data struct {
	Resource                                   string
	AllProjects                                bool
	ProjectIDs, IterationIDs, TagIDs, ImageIDs []uuid.UUID
	ImageMetadata                              []map[string]string // an image matches when its metadata equals all pairs of any one object
	Categories                                 []Category
	Reference                                  string
	NotAfter, RetainUntil, ExportRetainUntil   *time.Time // UTC
	DryRun                                     bool
	ApprovedPlan                               string // 64 lower-case hex digits
	ExportFirst, Unpublish                     bool
	Expect                                     *Expect
	CancelID                                   string // of a cancel: the command to cancel; a cancel has nothing else
}

// Expect is what must be true before a delete touches anything.
type Expect struct {
	ProjectName string `json:"project_name,omitempty"` // the name every selected project must have; empty when not asked for
	MaxImages   *int64 `json:"max_images,omitempty"`   // the most images the selection may have; nil when not asked for
}

// Has reports whether the command takes category c.
func (d Data) Has(c Category) bool { return slices.Contains(d.Categories, c) }

// Narrowing returns the field that narrows the command, NarrowNone for whole projects.
func (d Data) Narrowing() Narrowing {
	switch {
	case len(d.IterationIDs) > 0:
		return NarrowIterations
	case len(d.TagIDs) > 0:
		return NarrowTags
	case len(d.ImageIDs) > 0:
		return NarrowImages
	case len(d.ImageMetadata) > 0:
		return NarrowMetadata
	default:
		return NarrowNone
	}
}

// Canonical returns the command's data as canonical JSON: defaults filled in, sets sorted, times in
// UTC, no space. Two commands of one action ask for the same exactly when their canonical bytes are
// equal, and the bytes decode to the same command again. They hold metadata values: hash them,
// never store or log them.
func (c Command) Canonical() []byte {
	return encodeCanonical(c.Data.scope(func(v string) string { return v }))
}

// AsExport is the command as its export reads it: of a delete, the same selection with all its
// categories.
func (c Command) AsExport() Command {
	if c.Action == ActionDelete {
		c.Data.Categories = DefaultCategories(ActionExport, c.Data.Narrowing())
	}
	return c
}

// encodeCanonical prints v as Marshal does. It is for values that cannot fail to encode.
func encodeCanonical(v any) []byte {
	b, err := Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode canonical JSON: %v", err)) // times are held to years 1 to 9999 by the decoder
	}
	return b
}

// normalized returns d with sorted sets, as Data promises.
func (d Data) normalized() Data {
	for _, ids := range []*[]uuid.UUID{&d.ProjectIDs, &d.IterationIDs, &d.TagIDs, &d.ImageIDs} {
		*ids = sortedSet(*ids, CompareIDs)
	}
	order := Categories()
	d.Categories = sortedSet(d.Categories, func(a, b Category) int {
		return cmp.Compare(slices.Index(order, a), slices.Index(order, b))
	})
	d.ImageMetadata = sortedSet(d.ImageMetadata, compareMetadata)
	return d
}

// CompareIDs is the order of ids: that of their bytes.
func CompareIDs(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }

// SortedIDs is a sorted set of ids, which is an empty list in JSON when there are none.
func SortedIDs(ids []uuid.UUID) []uuid.UUID {
	return append([]uuid.UUID{}, sortedSet(ids, CompareIDs)...)
}

func sortedSet[T any](s []T, compare func(a, b T) int) []T {
	if len(s) == 0 {
		return nil
	}
	s = slices.Clone(s)
	slices.SortFunc(s, compare)
	return slices.CompactFunc(s, func(a, b T) bool { return compare(a, b) == 0 })
}

// compareMetadata orders metadata objects by their sorted keys and values.
func compareMetadata(a, b map[string]string) int {
	ka, kb := slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b))
	for i := range min(len(ka), len(kb)) {
		if c := cmp.Or(cmp.Compare(ka[i], kb[i]), cmp.Compare(a[ka[i]], b[kb[i]])); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(ka), len(kb))
}
