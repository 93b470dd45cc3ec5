package sink

import "context"

// Field is one line of bag-info.txt.
type Field struct{ Name, Value string }

// Seal is what a sealed bag amounts to.
type Seal struct {
	ManifestSHA256    string // hex
	TagManifestSHA256 string // hex
	Objects           int    // every object of the bag, receipt.json included
	PayloadObjects    int    // objects below data/
	PayloadBytes      int64  // their size
}

// Bag writes one bag. It is used by one goroutine at a time.
type Bag struct{}

// NewBag begins a bag below root.
func NewBag(store *Store, root Key, spoolDir string) (*Bag, error) { return nil, errSkeleton }

// Add lists a payload object that the store already holds.
func (b *Bag) Add(path Path, sha256 string, size int64) error { return errSkeleton }

// Put stores a payload object and lists it.
func (b *Bag) Put(ctx context.Context, path Path, body Body) (Object, error) {
	return Object{}, errSkeleton
}

// PutTag stores a tag file and lists it in the tag manifest.
func (b *Bag) PutTag(ctx context.Context, path Path, body Body) (Object, error) {
	return Object{}, errSkeleton
}

// Seal writes bagit.txt, bag-info.txt and the manifests, and makes the bag exact.
func (b *Bag) Seal(ctx context.Context, info []Field) (Seal, error) { return Seal{}, errSkeleton }

// PutReceipt stores receipt.json, the bag's last object.
func (b *Bag) PutReceipt(ctx context.Context, statement []byte) (Object, error) {
	return Object{}, errSkeleton
}

// Close removes the bag's temporary files.
func (b *Bag) Close() error { return nil }
