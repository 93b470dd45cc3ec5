package sink

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// readReceipt reads the receipt; nil when there is none that can be used.
func (v *verifier) readReceipt(ctx context.Context) (*Receipt, error) {
	if _, ok := v.tagFiles[ReceiptFile]; !ok {
		if _, failed := v.tagFiles[FailureFile]; !failed {
			v.problem(ReceiptFile, "there is no receipt: the bundle was not committed")
		}
		return nil, nil
	}
	b, err := v.readSmall(ctx, ReceiptFile)
	if err != nil || b == nil {
		return nil, err
	}
	receipt, err := ParseReceipt(b)
	if err != nil {
		v.problem(ReceiptFile, "%v", err)
		return nil, nil
	}
	if canonical, err := CanonicalJSON(json.RawMessage(b)); err != nil || string(canonical)+"\n" != string(b) {
		v.problem(ReceiptFile, "it is not in canonical form: another program wrote it")
	}
	if _, failed := v.tagFiles[FailureFile]; failed {
		v.problem(FailureFile, "there is evidence of a failed delete beside a receipt")
	}
	v.report.Receipt, v.report.ReceiptSHA256 = receipt, hexSHA256(b)
	return receipt, nil
}

// readFailure reports the evidence that a failed delete leaves: no bag, but its ledger can be
// checked.
func (v *verifier) readFailure(ctx context.Context) error {
	v.problem(FailureFile, "this is the evidence of a delete that failed, not a bundle: nothing is proved by it")
	b, err := v.readSmall(ctx, FailureFile)
	if err != nil {
		return err
	}
	if json.Valid(b) {
		v.report.Failure = b
	} else if b != nil {
		v.problem(FailureFile, "it is not valid JSON")
	}
	if _, ok := v.tagFiles[LedgerFile]; !ok {
		v.problem(LedgerFile, "it is missing")
		return nil
	}
	return v.readFile(ctx, LedgerFile, "")
}

// readTagManifest reads tagmanifest-sha256.txt and compares its names with the files outside data/.
// It gives the digests by name.
func (v *verifier) readTagManifest(ctx context.Context) (map[Path]string, error) {
	tags := map[Path]string{}
	b, err := v.readSmall(ctx, TagManifestFile)
	if err != nil || b == nil {
		return tags, err
	}
	for l, err := range ManifestLines(bytes.NewReader(b)) {
		switch {
		case err != nil:
			v.problem(TagManifestFile, "%v", err)
			continue
		case l.Path.payload() || l.Path == TagManifestFile || l.Path == ReceiptFile || l.Path == SignatureFile:
			v.problem(TagManifestFile, "it lists %s, which does not belong there", l.Path)
			continue
		case tags[l.Path] != "":
			v.problem(TagManifestFile, "it lists %s twice", l.Path)
		}
		tags[l.Path] = l.SHA256
		if _, ok := v.tagFiles[l.Path]; !ok {
			v.problem(l.Path, "it is missing: the tag manifest lists it")
		}
	}
	for name := range v.tagFiles {
		if tags[name] == "" && name != TagManifestFile && name != ReceiptFile && name != SignatureFile {
			v.problem(name, "it is not in the tag manifest")
		}
	}
	v.checkSubject(v.report.Receipt, TagManifestFile, hexSHA256(b))
	return tags, nil
}

// checkSubject compares a manifest's digest with the receipt's.
func (v *verifier) checkSubject(receipt *Receipt, name Path, digest string) {
	if receipt == nil || digest == "" {
		return
	}
	for _, subject := range receipt.Subject {
		if want := subject.Digest["sha256"]; subject.Name == string(name) && want != digest {
			v.problem(name, "its SHA-256 is %s, the receipt has %s", digest, want)
		}
	}
}

// readManifest reads manifest-sha256.txt for the first time and notes the digests of all files. It
// gives the manifest's own digest.
func (v *verifier) readManifest(ctx context.Context) (string, error) {
	body, err := v.src.Open(ctx, string(ManifestFile))
	if missing(err) {
		v.problem(ManifestFile, "it is missing")
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = body.Close() }()
	h := sha256.New()
	sum := &sumReader{r: body, h: h}
	n := 0
	for l, err := range ManifestLines(sum) {
		var readErr *ReadError
		if errors.As(err, &readErr) {
			return "", fmt.Errorf("read %s: %w", ManifestFile, readErr.Err)
		}
		if err != nil {
			v.problem(ManifestFile, "%v", err)
			continue
		}
		n++
		file := v.find(l.Path)
		switch {
		case !l.Path.payload():
			v.problem(ManifestFile, "it lists %s, which is not below data/", l.Path)
		case file == nil:
			v.problem(l.Path, "it is missing: the manifest lists it")
		case file.listed:
			v.problem(ManifestFile, "it lists %s twice", l.Path)
		default:
			file.listed = true
			_, _ = hex.Decode(file.digest[:], []byte(l.SHA256[:32])) // valid: the line was parsed
		}
	}
	if n == 0 {
		v.problem(ManifestFile, "it lists no file")
	}
	v.recordSize(ManifestFile, sum.n)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// nameUnlisted names the files below data/ that the manifest does not list.
func (v *verifier) nameUnlisted(ctx context.Context) error {
	if !slices.ContainsFunc(v.payload, func(f payloadFile) bool { return !f.listed }) {
		return nil
	}
	for file, err := range v.src.List(ctx) {
		if err != nil {
			return err
		}
		if name := Path(file.Name); name.payload() {
			if known := v.find(name); known == nil || !known.listed {
				v.problem(name, "it is not in the manifest")
			}
		}
	}
	return nil
}

// readPayload reads the manifest again and has its files read, but for those of records, which it
// returns.
func (v *verifier) readPayload(ctx context.Context, read func(Path, string), manifestDigest string) (records []ManifestLine, err error) {
	if manifestDigest == "" {
		return nil, nil
	}
	body, err := v.src.Open(ctx, string(ManifestFile))
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	h := sha256.New()
	for l, err := range ManifestLines(io.TeeReader(body, h)) {
		var readErr *ReadError
		if errors.As(err, &readErr) {
			return nil, fmt.Errorf("read %s: %w", ManifestFile, readErr.Err)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil || v.find(l.Path) == nil {
			continue // noted at the first reading
		}
		if isRecords(l.Path) {
			records = append(records, l)
			continue
		}
		read(l.Path, l.SHA256)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != manifestDigest {
		v.problem(ManifestFile, "it changed while it was read")
	}
	return records, nil
}
