package verify

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// readFailure reports the evidence that a failed delete leaves: no bag, but its ledger can be
// checked.
func (v *verifier) readFailure(ctx context.Context) error {
	v.problem(sink.FailureFile, "this is the evidence of a delete that failed, not a bundle: nothing is proved by it")
	b, _, err := v.readSmall(ctx, sink.FailureFile)
	if err != nil {
		return err
	}
	var f bagfile.Failed
	switch {
	case b == nil:
	case json.Unmarshal(b, &f) != nil:
		v.problem(sink.FailureFile, "it is not valid JSON")
	default:
		v.report.Failure = &Failure{CommandID: word(f.ID), Code: word(f.Error.Code), Message: cut(f.Error.Message)}
	}
	if _, ok := v.tagFiles[sink.LedgerFile]; !ok {
		v.problem(sink.LedgerFile, "it is missing")
		return nil
	}
	v.kind = sink.DeleteBag
	return v.readFile(ctx, job{name: sink.LedgerFile})
}

// readTagManifest reads tagmanifest-sha256.txt and compares its names with the files outside data/.
// It gives the digests by name.
func (v *verifier) readTagManifest(ctx context.Context) (map[sink.Path]string, error) {
	tags := map[sink.Path]string{}
	b, digest, err := v.readSmall(ctx, sink.TagManifestFile)
	if err != nil || b == nil {
		return tags, err
	}
	for l, err := range sink.ManifestLines(bytes.NewReader(b)) {
		if v.enough(sink.TagManifestFile) {
			break
		}
		switch {
		case err != nil:
			v.problem(sink.TagManifestFile, "%v", err)
			continue
		case l.Path.IsPayload() || l.Path == sink.TagManifestFile || l.Path == sink.ReceiptFile || l.Path == sink.SignatureFile:
			v.problem(sink.TagManifestFile, "it lists %s, which does not belong there", quote(string(l.Path)))
			continue
		case tags[l.Path] != "":
			v.problem(sink.TagManifestFile, "it lists %s twice", quote(string(l.Path)))
		}
		tags[l.Path] = l.SHA256
		if _, ok := v.tagFiles[l.Path]; !ok {
			v.problem(l.Path, "it is missing: the tag manifest lists it")
		}
	}
	for name := range v.tagFiles {
		if tags[name] == "" && name != sink.TagManifestFile && name != sink.ReceiptFile && name != sink.SignatureFile {
			v.problem(name, "it is not in the tag manifest")
		}
	}
	v.checkSubject(sink.TagManifestFile, digest)
	return tags, nil
}

// checkSubject compares a manifest's digest with the receipt's.
func (v *verifier) checkSubject(name sink.Path, digest string) {
	if v.receipt == nil || digest == "" {
		return
	}
	for _, subject := range v.receipt.Subject {
		if want := subject.Digest["sha256"]; subject.Name == string(name) && want != digest {
			v.problem(name, "its SHA-256 is %s, the receipt has %s", digest, want)
		}
	}
}

// readManifest reads manifest-sha256.txt for the first time and notes the digests of all files. It
// gives the manifest's own digest.
func (v *verifier) readManifest(ctx context.Context) (string, error) {
	f, err := v.open(ctx, sink.ManifestFile)
	if f == nil || err != nil {
		return "", err
	}
	n := 0
	for l, err := range sink.ManifestLines(f) {
		var readErr *sink.ReadError
		if errors.As(err, &readErr) || v.enough(sink.ManifestFile) {
			break // finish tells an error of reading
		}
		if err != nil {
			v.problem(sink.ManifestFile, "%v", err)
			continue
		}
		n++
		i := v.locate(l.Path)
		switch {
		case !l.Path.IsPayload():
			v.problem(sink.ManifestFile, "it lists %s, which is not below data/", quote(string(l.Path)))
		case i < 0:
			v.problem(l.Path, "it is missing: the manifest lists it")
		case v.payload[i].listed:
			v.problem(sink.ManifestFile, "it lists %s twice", quote(string(l.Path)))
		default:
			v.payload[i].listed = true
			v.payload[i].digest = v.digestOf(l.SHA256)
		}
	}
	if n == 0 && f.err == nil {
		v.problem(sink.ManifestFile, "it lists no file")
	}
	return v.finish(f, "")
}

// readPayload reads the manifest again and has its files read, but for those of records, which it
// returns.
func (v *verifier) readPayload(ctx context.Context, read func(job), manifestDigest string) (records []job, err error) {
	if manifestDigest == "" || v.enough(sink.ManifestFile) {
		return nil, nil
	}
	body, err := v.src.Open(ctx, string(sink.ManifestFile))
	if err != nil {
		return nil, err
	}
	f := &file{name: sink.ManifestFile, body: body, hash: newHash(), size: v.listedSize(sink.ManifestFile), most: maxLines}
	defer func() { _ = body.Close() }()
	for l, err := range sink.ManifestLines(f) {
		var readErr *sink.ReadError
		switch {
		case errors.As(err, &readErr):
			return nil, fmt.Errorf("read %s: %w", sink.ManifestFile, readErr.Err)
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil || v.locate(l.Path) < 0:
			continue // noted at the first reading
		case placeOf(l.Path).records():
			records = append(records, job{l.Path, l.SHA256})
			continue
		case v.unopened && placeOf(l.Path).opaque():
			continue
		}
		read(job{l.Path, l.SHA256})
	}
	if got := hex.EncodeToString(f.hash.Sum(nil)); got != manifestDigest {
		v.problem(sink.ManifestFile, "it changed while it was read")
	}
	return records, nil
}
