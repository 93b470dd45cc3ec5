package sink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

const (
	// BagItText is the whole of bagit.txt.
	BagItText = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
	// OxumField is the field of bag-info.txt that a bag fills in itself: "<bytes>.<objects>" of the
	// payload.
	OxumField = "Payload-Oxum"
	// maxNamed bounds how many objects an error names.
	maxNamed = 5

	textPlain       = "text/plain; charset=utf-8"
	applicationJSON = "application/json"
)

// SealedBag is what a sealed bag amounts to: the digests of its manifests, and its size. To seal a
// bag is to write these; seals of objects are another thing ([Sealer]).
type SealedBag struct {
	ManifestSHA256    string // hex
	TagManifestSHA256 string // hex
	Objects           int    // every object of the bag, receipt.json included; receipt.sigstore.json not
	Signature         bool   // receipt.sigstore.json was there already
	Receipt           bool   // so was receipt.json, which is looked for if there is a signature
	PayloadObjects    int    // objects below data/
	PayloadBytes      int64  // their size
}

// Bag writes one bag below a root key: payload by Put and Add, tag files by PutTag, then Seal, then
// PutSignature (signed.go) and PutReceipt. Every object is written once, so a bag can be written
// again after a crash at any point, and ends in the same bytes if it is given the same content in
// the same order. Before the receipt is made, Files and Open read the sealed bag again
// (bagread.go). Its memory is a few bytes for each object (while it is sealed, 24 more) and up to
// 4 MiB of small files; the manifest grows on disk. A Bag is used by one goroutine at a time,
// beside which others may put pages (PutPage) until it is sealed.
type Bag struct {
	store    *Store
	root     Key
	manifest *Spool
	line     []byte
	objects  int      // below data/
	sizes    []byte   // of these, in the order of the manifest, as varints
	payload  []extent // of these, sorted, while the bag is sealed
	bytes    int64
	mu       sync.Mutex // guards the following ones until the bag is sealed
	tags     []ManifestLine
	written  map[Path]written // by put
	kept     int64            // bytes of their contents
	sealed   *SealedBag
	found    struct{ signature, looked, receipt bool } // when the bag was made exact
	locked   *Retention                                // of all that the manifests name; nil: none

	leaveUploads bool // Seal does not look for unfinished uploads
}

// NewBag begins a bag below root, which ends in a slash ([Layout.Bag]). Manifests are collected in
// spoolDir (empty: the system's folder for temporary files). Close it in any case.
func NewBag(store *Store, root Key, spoolDir string) (*Bag, error) {
	if !strings.HasSuffix(string(root), "/") {
		return nil, fmt.Errorf("begin bag: root %q does not end in a slash", root)
	}
	return &Bag{store: store, root: root, manifest: NewSpool(spoolDir)}, nil
}

// LeaveUploads has Seal not look for unfinished uploads: the caller knows that no other process can
// have begun one below the bag.
func (b *Bag) LeaveUploads() { b.leaveUploads = true }

// Add lists a payload object that the store already holds with this digest (hex) and size (bytes).
// Seal compares the size with what the store says.
func (b *Bag) Add(path Path, sha256 string, size int64) error {
	switch err := path.Check(); {
	case err != nil:
		return fmt.Errorf("add %s to bag: %w", path, err)
	case !path.IsPayload():
		return fmt.Errorf("add %s to bag: it is not below data/", path)
	case !ValidDigest(sha256) || size < 0:
		return fmt.Errorf("add %s to bag: SHA-256 %q and size %d describe no object", path, sha256, size)
	case b.sealed != nil:
		return fmt.Errorf("add %s to bag: it is sealed", path)
	}
	b.line = AppendManifestLine(b.line[:0], ManifestLine{SHA256: sha256, Path: path})
	if _, err := b.manifest.Write(b.line); err != nil {
		return fmt.Errorf("add %s to bag: %w", path, err)
	}
	b.sizes = binary.AppendUvarint(b.sizes, uint64(size)) //nolint:gosec // it is not negative
	b.objects++
	b.bytes += size
	return nil
}

// Put stores a payload object whose content every rerun derives alike, and lists it. ErrMixed when
// the store holds different content at its key; else errors as of Store.Put.
func (b *Bag) Put(ctx context.Context, path Path, body Body) (Object, error) {
	object, err := b.put(ctx, path, body)
	if err != nil {
		return Object{}, err
	}
	return object, b.Add(path, object.SHA256, object.Bytes)
}

// PutTag stores a tag file (evidence, index.html), listed in the tag manifest only. Errors as of
// Put.
func (b *Bag) PutTag(ctx context.Context, path Path, body Body) (Object, error) {
	switch {
	case path.IsPayload():
		return Object{}, fmt.Errorf("store tag file %s: it is below data/", path)
	case path == TagManifestFile || path == ReceiptFile || path == SignatureFile:
		return Object{}, fmt.Errorf("store tag file %s: the tag manifest does not list it", path)
	case b.sealed != nil:
		return Object{}, fmt.Errorf("store tag file %s: the bag is sealed", path)
	case b.isTag(path):
		return Object{}, fmt.Errorf("store tag file %s: it is there already", path)
	}
	return b.putTag(ctx, path, body)
}

// isTag reports whether a tag file was put.
func (b *Bag) isTag(path Path) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, there := b.written[path]
	return there
}

// ManifestSHA256 is the digest of the payload's manifest, if nothing more is added to it: pages may
// quote it.
func (b *Bag) ManifestSHA256() string { return b.manifest.SHA256() }

func (b *Bag) putTag(ctx context.Context, path Path, body Body) (Object, error) {
	object, err := b.put(ctx, path, body)
	if err != nil {
		return Object{}, err
	}
	b.list(path, object)
	return object, nil
}

// list lists a tag file.
func (b *Bag) list(path Path, object Object) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tags = append(b.tags, ManifestLine{SHA256: object.SHA256, Path: path})
}

// put stores a file of the bag, or finds it stored.
func (b *Bag) put(ctx context.Context, path Path, body Body) (Object, error) {
	if err := path.Check(); err != nil {
		return Object{}, fmt.Errorf("store %s: %w", path, err)
	}
	body, err := fillIn(body)
	if err != nil {
		return Object{}, fmt.Errorf("store %s: %w", path, err)
	}
	body.lock = b.locked
	object, err := b.store.Put(ctx, b.root+Key(path), body)
	if err != nil {
		return Object{}, err
	}
	if object.SHA256 != body.SHA256 {
		return Object{}, newError("store", object.Key, ErrMixed, "the store holds SHA-256 %s, this bag has %s", object.SHA256, body.SHA256)
	}
	if b.locked != nil {
		// What the object was written with is read back, and set where the store ignored it then.
		if err := b.takeBack(ctx, object, b.store.retain(ctx, object.Key, object.SHA256, false, *b.locked)); err != nil {
			return Object{}, err
		}
	}
	return object, b.keep(path, body)
}

// Seal writes bag-info.txt with the fields given and Payload-Oxum, bagit.txt, and the two
// manifests. Then it lists the bag and makes it exact: what no manifest lists is removed, with all
// versions, and unfinished uploads are aborted (but see LeaveUploads). It fails when an object was
// listed twice or none at all, and with ErrNotKept when a listed object is not there or has another
// size. On a store without conditional writes every digest is compared too (ErrMixed).
//
// A bag that has its receipt is never changed: something unlisted in it is ErrMixed.
// Errors else: those of Store.Put, List and Remove.
func (b *Bag) Seal(ctx context.Context, info []Field) (SealedBag, error) {
	return b.SealBeside(ctx, info, func(context.Context, SealedBag) error { return nil })
}

// SealBeside is Seal that calls beside while the store is being listed: the manifests are stored by
// then, so the bag's Files may be read; Signature and Receipt are not known yet. The context of
// beside ends when the bag is not exact. SealBeside fails with what is wrong with the bag or, when
// nothing is, with the error of beside.
func (b *Bag) SealBeside(ctx context.Context, info []Field, beside func(context.Context, SealedBag) error) (SealedBag, error) {
	if b.sealed != nil {
		return *b.sealed, beside(ctx, *b.sealed)
	}
	if b.objects == 0 {
		return SealedBag{}, errors.New("seal bag: it has no payload")
	}
	if err := b.sortPayload(); err != nil {
		return SealedBag{}, fmt.Errorf("seal bag: %w", err)
	}
	defer func() { b.payload = nil }()
	tags := b.tags
	fail := func(err error) (SealedBag, error) {
		b.tags, b.sealed = tags, nil // so that Seal can be called again
		return SealedBag{}, err
	}
	tagManifest, err := b.putManifests(ctx, info)
	if err != nil {
		return fail(fmt.Errorf("seal bag: %w", err))
	}
	b.sealed = &SealedBag{
		ManifestSHA256:    b.manifest.SHA256(),
		TagManifestSHA256: tagManifest.SHA256,
		Objects:           b.objects + len(b.tags) + 2, // the tag manifest and the receipt
		PayloadObjects:    b.objects,
		PayloadBytes:      b.bytes,
	}
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	compared := make(chan error, 1)
	go func() {
		err := b.compare(ctx)
		if err != nil {
			stop(err)
		}
		compared <- err
	}()
	err = beside(running, *b.sealed)
	if wrong := <-compared; wrong != nil {
		return fail(fmt.Errorf("seal bag: %w", wrong))
	}
	if err != nil {
		return fail(err)
	}
	b.sealed.Signature, b.sealed.Receipt = b.found.signature, b.found.receipt
	return *b.sealed, nil
}

// putManifests stores bagit.txt, bag-info.txt and the manifests, and returns the last one.
func (b *Bag) putManifests(ctx context.Context, info []Field) (Object, error) {
	text, err := bagInfo(append(slices.Clone(info), Field{OxumField, fmt.Sprintf("%d.%d", b.bytes, b.objects)}))
	if err != nil {
		return Object{}, err
	}
	for _, file := range []struct {
		path Path
		body Body
	}{
		{BagItFile, Bytes([]byte(BagItText), textPlain)},
		{BagInfoFile, Bytes(text, textPlain)},
		{ManifestFile, b.manifest.Body(textPlain)},
	} {
		if _, err := b.putTag(ctx, file.path, file.body); err != nil {
			return Object{}, err
		}
	}
	slices.SortFunc(b.tags, func(x, y ManifestLine) int { return strings.Compare(string(x.Path), string(y.Path)) })
	var lines []byte
	for _, l := range b.tags {
		lines = AppendManifestLine(lines, l)
	}
	return b.put(ctx, TagManifestFile, Bytes(lines, textPlain))
}

// compare compares the bag with the store.
func (b *Bag) compare(ctx context.Context) error {
	if err := b.makeExact(ctx); err != nil || !b.store.lacks(conditions) {
		return err
	}
	return b.compareDigests(ctx)
}

// PutReceipt stores receipt.json, the last object and the commit point of a bag that was sealed: of
// a locked one with the retention that Retain set on the others. The statement's subjects must be
// the bag's manifests. How it is encrypted is read back. ErrMixed when another receipt is there;
// ErrNotKept when it is not locked or encrypted as asked, and then it is removed; else errors as of
// Store.Put.
func (b *Bag) PutReceipt(ctx context.Context, statement []byte) (Object, error) {
	if b.sealed == nil {
		return Object{}, errors.New("store receipt: the bag is not sealed")
	}
	r, err := ParseReceipt(statement)
	if err != nil {
		return Object{}, fmt.Errorf("store receipt: %w", err)
	}
	if r.Subject[0].Digest["sha256"] != b.sealed.ManifestSHA256 || r.Subject[1].Digest["sha256"] != b.sealed.TagManifestSHA256 {
		return Object{}, errors.New("store receipt: its subjects are not this bag's manifests")
	}
	object, err := b.put(ctx, ReceiptFile, Bytes(statement, applicationJSON))
	if err == nil && !object.Adopted {
		err = b.takeBack(ctx, object, b.store.checkEncrypted(ctx, object.Key))
	}
	return object, err
}

// Close removes the bag's temporary file. What is stored stays.
func (b *Bag) Close() error { return b.manifest.Close() }
