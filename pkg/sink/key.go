package sink

import "github.com/google/uuid"

// Key is the key of an object in a bucket, made from ids and fixed names only.
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

// Layout knows where the objects of one command are.
type Layout struct{ root Key }

// NewLayout makes the layout of a command below a literal prefix (may be empty).
func NewLayout(prefix, commandID string) (Layout, error) { return Layout{}, errSkeleton }

// Root is the prefix of all of the command's objects, "<prefix><id>/".
func (l Layout) Root() Key { return l.root }

// Bag is the root of a bag, "<prefix><id>/export/".
func (l Layout) Bag(kind BagKind) Key { return "" }

// Work is the key of a working object, "<prefix><id>/.work/<name>".
func (l Layout) Work(name string) Key { return "" }

// Key is the key of a bag's file.
func (l Layout) Key(kind BagKind, path Path) Key { return "" }

// ProjectPath is data/projects/<project>/<name>.
func ProjectPath(project uuid.UUID, name string) Path { return "" }

// ImageStem is data/projects/<project>/images/<image>, without an extension.
func ImageStem(project, image uuid.UUID) Path { return "" }

// PredictionStem is data/projects/<project>/predictions/<prediction>, without an extension.
func PredictionStem(project, prediction uuid.UUID) Path { return "" }

// IterationPath is data/projects/<project>/iterations/<iteration>/<name>.
func IterationPath(project, iteration uuid.UUID, name string) Path { return "" }

// ModelPath is data/projects/<project>/iterations/<iteration>/exports/<platform>[-<flavor>].<ext>.
func ModelPath(project, iteration uuid.UUID, platform, flavor, ext string) Path { return "" }

// Extension tells a blob's file extension and media type from its first bytes (512 are enough).
func Extension(head []byte, contentType string) (ext, mediaType string) { return "bin", "" }
