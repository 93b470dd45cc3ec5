package sink

import (
	"context"
	"errors"
	"strings"
)

// makeExact compares what the store lists with what the manifests list, and removes what only the
// store has.
func (b *Bag) makeExact(ctx context.Context) error {
	listed := map[Path]bool{TagManifestFile: true, ReceiptFile: true, SignatureFile: true}
	for _, l := range b.tags {
		listed[l.Path] = true
	}
	seen := newBitset(len(b.payload))
	var strays []Key
	list := b.store.List
	if len(b.tags)+len(b.payload) < fewObjects/2 {
		list = b.store.ListFew
	}
	for object, err := range list(ctx, b.root) {
		if err != nil {
			return err
		}
		path := Path(strings.TrimPrefix(string(object.Key), string(b.root)))
		if listed[path] {
			if path == SignatureFile {
				b.found.signature = true
				if err := b.lookForReceipt(ctx); err != nil {
					return err
				}
			}
			continue
		}
		i := -1
		if path.IsPayload() {
			i = b.find(path)
		}
		if i >= 0 && object.Bytes < 0 { // the listing does not say
			if object, err = b.store.measure(ctx, object.Key, b.payload[i].size); err != nil {
				return err
			}
		}
		switch {
		case i >= 0 && object.Bytes != b.payload[i].size:
			return newError("seal", object.Key, ErrNotKept, "the store holds %d bytes, %d were listed", object.Bytes, b.payload[i].size)
		case i >= 0:
			seen.set(i)
			continue
		}
		if err := b.lookForReceipt(ctx); err != nil {
			return err
		}
		if b.found.receipt {
			return newError("seal", object.Key, ErrMixed, "the bag has its receipt, and this object is in no manifest")
		}
		b.store.o.Log.Info().Str("key", string(object.Key)).Int64("bytes", object.Bytes).Msg("removing an object that is in no manifest")
		if strays = append(strays, object.Key); len(strays) == removeBatch {
			if err := b.store.Remove(ctx, strays...); err != nil {
				return err
			}
			strays = strays[:0]
		}
	}
	if err := b.store.Remove(ctx, strays...); err != nil {
		return err
	}
	if err := b.abortUploads(ctx); err != nil {
		return err
	}
	if missing := len(b.payload) - seen.count(); missing > 0 {
		return b.explainMissing(ctx, seen, missing)
	}
	return nil
}

// abortUploads aborts the unfinished uploads below the bag. Those that processes began and did not
// finish before they died would stay for ever: nothing looks below a finished bag again.
func (b *Bag) abortUploads(ctx context.Context) error {
	if b.leaveUploads {
		return nil
	}
	err := b.store.AbortUploads(ctx, b.root)
	if errors.Is(err, ErrMisconfigured) {
		b.store.o.Log.Warn().Err(err).Str("root", string(b.root)).Msg("cannot look for unfinished uploads")
		return nil
	}
	return err
}

// lookForReceipt asks once whether the bag has its receipt, where that matters: a listing may lag
// behind.
func (b *Bag) lookForReceipt(ctx context.Context) error {
	if b.found.looked {
		return nil
	}
	_, err := b.store.Head(ctx, b.root+Key(ReceiptFile))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	b.found.looked, b.found.receipt = true, err == nil
	return nil
}

// explainMissing asks for the objects that a listing did not have one by one, since listings of
// some stores lag behind.
func (b *Bag) explainMissing(ctx context.Context, seen bitset, missing int) error {
	if missing > removeBatch {
		return newError("seal", b.root, ErrNotKept, "%d of %d objects are not there", missing, len(b.payload))
	}
	var gone []string
	for l, err := range ManifestLines(b.manifest.ReadSeeker()) {
		if err != nil {
			return err
		}
		i := b.find(l.Path)
		if seen.has(i) {
			continue
		}
		object, err := b.store.describeKnown(ctx, b.root+Key(l.Path))
		switch {
		case errors.Is(err, ErrNotFound):
			gone = append(gone, string(l.Path))
		case err != nil:
			return err
		case object.Bytes != b.payload[i].size || object.SHA256 != l.SHA256:
			return newError("seal", object.Key, ErrNotKept, "the store holds %d bytes with SHA-256 %s, %d bytes with %s were listed", object.Bytes, object.SHA256, b.payload[i].size, l.SHA256)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return newError("seal", b.root, ErrNotKept, "%d of %d objects are not there: %s", len(gone), len(b.payload), strings.Join(gone[:min(len(gone), maxNamed)], ", "))
}

// compareDigests looks at every payload object: without conditional writes another writer may have
// replaced one after it was listed.
func (b *Bag) compareDigests(ctx context.Context) error {
	for l, err := range ManifestLines(b.manifest.ReadSeeker()) {
		if err != nil {
			return err
		}
		object, err := b.store.Unsealed().Describe(ctx, b.root+Key(l.Path))
		if err != nil {
			return err
		}
		if object.SHA256 != l.SHA256 {
			return newError("seal", object.Key, ErrMixed, "the store holds SHA-256 %s, %s was listed", object.SHA256, l.SHA256)
		}
	}
	return nil
}
