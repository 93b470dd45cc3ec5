package sink

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Key is the key of an object in a bucket, or a prefix of keys. It is made from the configured
// prefix, ids and fixed names only.
type Key string

// Path is the path of a file relative to its bag's root, with slashes.
type Path string

// BagKind names one of a command's bags.
type BagKind string

// The bags a command can have.
const (
	ExportBag BagKind = "export"
	DeleteBag BagKind = "delete"
)

// Names of a bag's fixed files.
const (
	BagItFile        Path = "bagit.txt"
	BagInfoFile      Path = "bag-info.txt"
	ManifestFile     Path = "manifest-sha256.txt"
	TagManifestFile  Path = "tagmanifest-sha256.txt"
	IndexFile        Path = "index.html"
	PagesFolder      Path = "pages/" // of the pages below index.html
	ReceiptFile      Path = "receipt.json"
	SignatureFile    Path = "receipt.sigstore.json"
	ExportFile       Path = "data/export.json"
	DeletionFile     Path = "data/deletion.json"
	RequestFile      Path = "evidence/request.json"
	InventoryFile    Path = "evidence/inventory.json"
	LedgerFile       Path = "evidence/ledger.jsonl"
	PlanFile         Path = "evidence/plan.json"
	VerificationFile Path = "evidence/verification.json"
	FailureFile      Path = "evidence/failure.json"
)

// Where a bag's payload and its evidence are.
const (
	payloadPrefix  = "data/"
	evidencePrefix = "evidence/"
)

// maxPrefixBytes leaves room for the longest path of a bag below S3's limit of 1024 bytes a key.
const maxPrefixBytes = 512

var (
	commandIDs = regexp.MustCompile(`^[A-Za-z0-9_-]{1,120}$`)
	extensions = regexp.MustCompile(`^[a-z0-9]{1,8}$`)
	plainWords = regexp.MustCompile(`^[A-Za-z0-9]{1,40}$`)
)

// Layout knows where the objects of one command are. Make it with NewLayout.
type Layout struct{ root Key }

// NewLayout makes the layout of a command below a literal prefix, which may be empty and need not
// end in a slash. It refuses ids outside [A-Za-z0-9_-]{1,120}, and prefixes that would not survive
// as a path: a leading slash, empty, "." or ".." segments, control characters, backslashes.
func NewLayout(prefix, commandID string) (Layout, error) {
	if err := checkPrefix(prefix); err != nil {
		return Layout{}, fmt.Errorf("use key prefix %q: %w", prefix, err)
	}
	if !commandIDs.MatchString(commandID) {
		return Layout{}, fmt.Errorf("use command id %q in keys: it must match %s", commandID, commandIDs)
	}
	return Layout{root: Key(prefix + commandID + "/")}, nil
}

// checkPrefix returns an error for a prefix that cannot be used.
func checkPrefix(prefix string) error {
	switch {
	case prefix == "":
		return nil
	case len(prefix) > maxPrefixBytes:
		return fmt.Errorf("it has %d bytes, at most %d are allowed", len(prefix), maxPrefixBytes)
	case !utf8.ValidString(prefix):
		return fmt.Errorf("it is not valid UTF-8")
	case strings.ContainsFunc(prefix, func(r rune) bool { return unicode.IsControl(r) || r == '\\' || r == utf8.RuneError || r > 0xffff }):
		return fmt.Errorf("it has a character that stores or file systems do not keep")
	}
	parts := strings.Split(prefix, "/")
	for i, part := range parts {
		last := i == len(parts)-1
		if part == "" && !last || part == "." || part == ".." {
			return fmt.Errorf("it has an empty, \".\" or \"..\" segment")
		}
	}
	return nil
}

// Root is the prefix of all of the command's objects, "<prefix><id>/".
func (l Layout) Root() Key { return l.root }

// Bag is the root of a bag, "<prefix><id>/export/".
func (l Layout) Bag(kind BagKind) Key { return l.root + Key(kind) + "/" }

// Work is the key of a working object, "<prefix><id>/.work/<name>". The name is one of the
// program's own: fixed words and numbers. With an empty name it is the prefix of all of them.
func (l Layout) Work(name string) Key { return l.root + ".work/" + Key(name) }

// Key is the key of a bag's file.
func (l Layout) Key(kind BagKind, path Path) Key { return l.Bag(kind) + Key(path) }

// ProjectPath is data/projects/<project>/<name>.
func ProjectPath(project uuid.UUID, name string) Path {
	return Path(payloadPrefix + "projects/" + project.String() + "/" + name)
}

// ImageStem is data/projects/<project>/images/<image>, without an extension.
func ImageStem(project, image uuid.UUID) Path {
	return ProjectPath(project, "images/"+image.String())
}

// PredictionStem is data/projects/<project>/predictions/<prediction>, without an extension.
func PredictionStem(project, prediction uuid.UUID) Path {
	return ProjectPath(project, "predictions/"+prediction.String())
}

// IterationPath is data/projects/<project>/iterations/<iteration>/<name>.
func IterationPath(project, iteration uuid.UUID, name string) Path {
	return ProjectPath(project, "iterations/"+iteration.String()+"/"+name)
}

// ModelStem is data/projects/<project>/iterations/<iteration>/exports/<platform>[-<flavor>],
// without an extension. Platform and flavor are words of the API; one that is anything but letters
// and digits is reduced to those and gets a digest of the original, so that no two meet.
func ModelStem(project, iteration uuid.UUID, platform, flavor string) Path {
	name := modelWord(platform)
	if flavor != "" {
		name += "-" + modelWord(flavor)
	}
	return IterationPath(project, iteration, "exports/"+name)
}

// modelWord is a word that is safe in a key, and different for different words.
func modelWord(word string) string {
	if plainWords.MatchString(word) {
		return word
	}
	kept := strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return r
		}
		return -1
	}, word)
	return kept[:min(len(kept), 24)] + "_" + HexSHA256([]byte(word))[:16]
}

// ValidExtension reports whether ext is a file extension without its dot: one lower-case word.
func ValidExtension(ext string) bool { return extensions.MatchString(ext) }

// Check returns an error for a path that a bag cannot have: a path must be made of plain segments,
// and below data/projects/ the first is a project's id.
func (p Path) Check() error {
	const projects = payloadPrefix + "projects/"
	if p == "" || len(p) > 400 {
		return fmt.Errorf("path of %d bytes", len(p))
	}
	for segment := range strings.SplitSeq(string(p), "/") {
		if !plainSegment(segment) {
			return fmt.Errorf("segment %q is not a plain name", segment)
		}
	}
	if rest, ok := strings.CutPrefix(string(p), projects); ok {
		id, _, _ := strings.Cut(rest, "/")
		if parsed, err := uuid.Parse(id); err != nil || parsed.String() != id {
			return fmt.Errorf("segment %q is not a project id", id)
		}
	}
	return nil
}

// plainSegment reports whether a segment is made of letters, digits, and after the first character
// of dots and hyphens too. Verification asks for every file, so it is no regular expression.
func plainSegment(segment string) bool {
	for i := range len(segment) {
		switch c := segment[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
		case i > 0 && (c == '.' || c == '-'):
		default:
			return false
		}
	}
	return segment != ""
}

// IsPayload reports whether a path is below data/.
func (p Path) IsPayload() bool { return strings.HasPrefix(string(p), payloadPrefix) }
