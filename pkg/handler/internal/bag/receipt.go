package bag

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// MaxReceipt bounds receipt.json, request.json and failure.json, in bytes.
const MaxReceipt = 16 << 20

// MaxFindings bounds what the error of a bag that does not verify names.
const MaxFindings = 3

// Statement is what the receipt of either kind of bag says beside what the command says.
type Statement struct {
	Account               string // of the resource when the command began
	Request               string // digest of request.json
	Signer, Approver      string // of the request
	Scope                 contract.Scope
	Outcome               contract.Outcome
	Counts                contract.Counts
	Exceptions            int64
	Verification          any
	Residuals             []contract.Residual
	Tool                  string // its version
	StartedAt, FinishedAt time.Time
	Ledger                ledger.Ref
	Method                string              // of a delete
	Plan                  string              // digest of the plan; of an export, that of the delete it goes before
	ExportBundle          *contract.BundleRef // of a delete
	Signed                bool                // it gets a signature
}

// Commit seals a bag, with these fields in bag-info.txt, and writes the receipt, which says so,
// once the bag agrees with it; before it the signature, if it is to have one. Without one, bag and
// receipt are compared while the store is being listed. A bag that is to be kept is locked between:
// nothing is locked that was not verified. After a crash before the receipt the bag is none: the
// next attempt seals it again, with the same manifests, and passes over what is locked.
func (b Bags) Commit(ctx context.Context, kind sink.BagKind, out *sink.Bag, info []sink.Field, says Statement) (Proof, error) {
	if says.Signed {
		sealed, err := out.Seal(ctx, info)
		if err != nil {
			return Proof{}, err //nolint:wrapcheck // it says that it seals
		}
		made, err := b.signed(ctx, kind, out, sealed, says)
		if err != nil {
			return Proof{}, err
		}
		return Proof{Signed: true, TimeStamped: made.TimeStamp != nil, receipt: made.Payload}, storeReceipt(ctx, out, made.Payload)
	}
	var (
		kept    *sink.ReceiptRetention
		receipt []byte
	)
	sealed, err := out.SealBeside(ctx, info, func(ctx context.Context, sealed sink.SealedBag) error {
		kept = b.retention(kind, sealed)
		statement, err := b.statement(kind, sealed, kept, says)
		if err != nil {
			return err
		}
		if receipt, err = statement.Encode(); err != nil {
			return fmt.Errorf("encode the receipt: %w", err)
		}
		return agree(ctx, out, receipt, false)
	})
	if err != nil {
		return Proof{}, err //nolint:wrapcheck // it says that it seals, or what it compares
	}
	if sealed.Signature && !sealed.Receipt { // no attempt at this command stores one
		if err := out.RemoveSignature(ctx); err != nil {
			return Proof{}, fmt.Errorf("remove the signature of another receipt: %w", err)
		}
	}
	if err := b.lock(ctx, kind, out, kept); err != nil {
		return Proof{}, err
	}
	return Proof{receipt: receipt}, storeReceipt(ctx, out, receipt)
}

// statement is the receipt that says so.
func (b Bags) statement(kind sink.BagKind, sealed sink.SealedBag, retention *sink.ReceiptRetention, says Statement) (sink.Receipt, error) {
	scope, err := contract.Marshal(says.Scope)
	if err != nil {
		return sink.Receipt{}, fmt.Errorf("encode the scope: %w", err)
	}
	verification, err := contract.Marshal(says.Verification)
	if err != nil {
		return sink.Receipt{}, fmt.Errorf("encode the verification: %w", err)
	}
	var exported json.RawMessage
	if says.ExportBundle != nil {
		if exported, err = contract.Marshal(says.ExportBundle); err != nil {
			return sink.Receipt{}, fmt.Errorf("encode the export bundle: %w", err)
		}
	}
	residuals := []sink.ReceiptResidual{}
	for _, r := range says.Residuals {
		residuals = append(residuals, sink.ReceiptResidual{Category: string(r.Category), Reason: r.Reason})
	}
	var plan *sink.ReceiptPlan
	if says.Plan != "" {
		plan = &sink.ReceiptPlan{SHA256: says.Plan}
	}
	c := b.Command
	return sink.NewReceipt(predicateOf(kind), sealed, sink.Predicate{
		Command: sink.ReceiptCommand{
			ID: c.ID, Action: string(c.Action), Reference: c.Data.Reference, Resource: c.Data.Resource, Account: says.Account, SHA256: says.Request,
			Signer: says.Signer, Approver: says.Approver,
		},
		Scope: scope, Outcome: string(says.Outcome), Counts: bagfile.Counts(says.Counts).ByName(), Exceptions: says.Exceptions,
		Verification: verification, Residuals: residuals, Retention: retention, Encryption: b.Store.Encryption(),
		Tool: sink.ReceiptTool{Name: ToolName, Version: says.Tool}, StartedAt: says.StartedAt, FinishedAt: says.FinishedAt,
		Ledger: sink.ReceiptLedger{Entries: says.Ledger.Entries, Head: says.Ledger.Head},
		Bundle: sink.ReceiptBundle{URI: b.URI(kind)},
		Method: says.Method, Plan: plan, ExportBundle: exported,
	}), nil
}

// predicateOf is the predicate type of the receipts of a kind of bag.
func predicateOf(kind sink.BagKind) string {
	if kind == sink.DeleteBag {
		return sink.DeletePredicateType
	}
	return sink.ExportPredicateType
}

// agree fails unless a sealed bag and its receipt say the same of each other, of the command, and
// of the records and files that they speak of. It is what `consumer verify` checks, but for the
// content of pictures and models: these were stored under the digests of the manifest.
func agree(ctx context.Context, out *sink.Bag, receipt []byte, signed bool) error {
	report, err := verify.Statements(ctx, verify.Sealed(out, receipt, signed), verify.Options{MaxProblems: MaxFindings})
	if err != nil {
		return fmt.Errorf("check the bundle before its receipt is stored: %w", err)
	}
	if report.Result == verify.OK {
		return nil
	}
	return &contract.Error{Code: contract.CodeInternal, Message: "the bundle contradicts itself, so it gets no receipt: either it was changed from outside while it was made, or this is a fault of the program: " +
		report.Findings(MaxFindings)}
}

func storeReceipt(ctx context.Context, bag *sink.Bag, b []byte) error {
	o, err := bag.PutReceipt(ctx, b)
	if err != nil {
		return fmt.Errorf("store the receipt: %w", err)
	}
	if o.Adopted && o.SHA256 != sink.HexSHA256(b) {
		return &contract.Error{Code: contract.CodeInternal, Message: fmt.Sprintf("%s is there already and is not the receipt of this bundle: "+
			"the bucket was changed from outside; publish the command again under a new id", o.Key)}
	}
	return nil
}

// Receipt is what the receipt of a bag says, as a terminal event tells it; nil when there is none,
// or one that is not believed: it was not sealed by this deployment for the id, belongs to another
// command, account or data, or contradicts what is stored, as one does that was written after the
// bag was given up.
func (b Bags) Receipt(ctx context.Context, kind sink.BagKind) (*contract.EventData, error) {
	key := b.Layout.Key(kind, sink.ReceiptFile)
	raw, err := b.Store.OfAnyMessage().ReadAll(ctx, key, MaxReceipt)
	if errors.Is(err, sink.ErrUnsealed) {
		b.Log.Warn().Str("key", string(key)).Str("reason", "it has no seal of this deployment").Msg("receipt ignored")
	}
	if errors.Is(err, sink.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for a receipt: %w", err)
	}
	receipt, doubt, err := parseReceipt(raw)
	if err == nil && doubt == "" {
		doubt, err = b.doubt(ctx, kind, receipt)
	}
	if err != nil {
		return nil, err
	}
	if doubt != "" {
		b.Log.Warn().Str("key", string(key)).Str("reason", doubt).Msg("receipt ignored")
		return nil, nil
	}
	proof, err := b.proof(ctx, kind, raw, receipt)
	if err != nil {
		return nil, err
	}
	return b.endOf(kind, raw, receipt, proof)
}

// endOf is what a receipt says, as a terminal event tells it.
func (b Bags) endOf(kind sink.BagKind, raw []byte, receipt *sink.Receipt, proof Proof) (*contract.EventData, error) {
	says := receipt.Predicate
	data := &contract.EventData{
		Status: contract.StatusCompleted, Outcome: contract.Outcome(says.Outcome), StartedAt: &says.StartedAt, FinishedAt: &says.FinishedAt,
		Counts: contract.Counts(bagfile.CountsByName(says.Counts)), Exceptions: says.Exceptions,
		Bundle: &contract.BundleRef{
			URI: b.URI(kind), ManifestSHA256: manifestDigest(receipt), ReceiptSHA256: sink.HexSHA256(raw),
			Objects: int64(says.Bundle.Objects), Signed: proof.Signed, TimeStamped: proof.TimeStamped,
		},
	}
	if kept := says.Retention; kept != nil {
		data.Bundle.RetainUntil = &kept.RetainUntil
	}
	for _, left := range says.Residuals {
		data.Residuals = append(data.Residuals, contract.Residual{Category: contract.Category(left.Category), Reason: left.Reason})
	}
	if says.Plan != nil {
		data.Plan = &contract.PlanRef{SHA256: says.Plan.SHA256, URI: b.URI(sink.DeleteBag) + string(sink.PlanFile)}
	}
	if len(says.ExportBundle) > 0 {
		if err := json.Unmarshal(says.ExportBundle, &data.ExportBundle); err != nil {
			return nil, fmt.Errorf("read the receipt's export bundle: %w", err)
		}
	}
	return data, nil
}

// parseReceipt reads a receipt, and says why it is none; it fails with a NewerError where a newer
// version wrote it.
func parseReceipt(raw []byte) (_ *sink.Receipt, doubt string, err error) {
	receipt, err := sink.ParseReceipt(raw)
	if err == nil {
		return receipt, "", nil
	}
	var head struct {
		Predicate struct {
			V int `json:"v"`
		} `json:"predicate"`
	}
	if json.Unmarshal(raw, &head) == nil && head.Predicate.V > contract.FormatVersion {
		return nil, "", &contract.NewerError{What: string(sink.ReceiptFile), V: head.Predicate.V}
	}
	return nil, err.Error(), nil
}

// Committed is what the receipt of a bag that was just committed says. It is not read back: Commit
// checked the bag against it, and the store has confirmed it.
func (b Bags) Committed(kind sink.BagKind, proof Proof) (*contract.EventData, error) {
	receipt, err := sink.ParseReceipt(proof.receipt)
	if err != nil {
		return nil, fmt.Errorf("read the receipt that was just stored: %w", err)
	}
	return b.endOf(kind, proof.receipt, receipt, proof)
}

// doubt is why a receipt is not believed; empty for one that belongs to this command, and fits what
// is stored.
func (b Bags) doubt(ctx context.Context, kind sink.BagKind, receipt *sink.Receipt) (string, error) {
	says := receipt.Predicate.Command
	if says.Action != string(b.Command.Action) || says.Account == "" || !b.SameAccount(contract.CommandRef{Resource: says.Resource, Account: says.Account}) {
		return "it belongs to another command or account", nil
	}
	request, same, err := b.request(ctx, kind)
	switch {
	case errors.Is(err, sink.ErrUnsealed):
		return string(sink.RequestFile) + " has no seal of this deployment", nil
	case err != nil:
		return "", err
	case !same || sink.HexSHA256(request) != says.SHA256:
		return "it belongs to another request than " + string(sink.RequestFile), nil
	}
	return unfit(ctx, b.Store.Unsealed(), b.Layout, b.Prefix, kind, receipt)
}

// Whole reports whether a bag has a receipt that fits it, whichever command it belongs to.
func Whole(ctx context.Context, store *sink.Store, layout sink.Layout, prefix string, kind sink.BagKind) (bool, error) {
	receipt, err := fitting(ctx, store, layout, prefix, kind)
	return receipt != nil, err
}

// fitting is the receipt of a bag if it fits that, whichever command it belongs to; nil else.
func fitting(ctx context.Context, store *sink.Store, layout sink.Layout, prefix string, kind sink.BagKind) (*sink.Receipt, error) {
	raw, err := store.ReadAll(ctx, layout.Key(kind, sink.ReceiptFile), MaxReceipt)
	if errors.Is(err, sink.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for a receipt: %w", err)
	}
	receipt, doubt, err := parseReceipt(raw)
	if err == nil && doubt == "" {
		doubt, err = unfit(ctx, store, layout, prefix, kind, receipt)
	}
	if doubt != "" || err != nil {
		return nil, err
	}
	return receipt, nil
}

// unfit is why a receipt does not belong where it is; empty for one that names the id, kind and
// place of its bag, has the digests of the manifests, and says what the bag's own record says.
func unfit(ctx context.Context, store *sink.Store, layout sink.Layout, prefix string, kind sink.BagKind, receipt *sink.Receipt) (string, error) {
	place := strings.TrimPrefix(string(layout.Bag(kind)), prefix)
	id, _, _ := strings.Cut(place, "/")
	says := receipt.Predicate
	if receipt.PredicateType != predicateOf(kind) || says.Command.ID != id || !strings.HasSuffix(says.Bundle.URI, place) {
		return "it belongs to another bundle", nil
	}
	recordFile := sink.ExportFile
	if kind == sink.DeleteBag {
		recordFile = sink.DeletionFile
	}
	recordSHA256 := ""
	for _, subject := range receipt.Subject {
		digest, err := digestOf(ctx, store, layout.Key(kind, sink.Path(subject.Name)), mostOf(says.Bundle.PayloadObjects), func(l sink.ManifestLine) {
			if l.Path == recordFile {
				recordSHA256 = l.SHA256
			}
		})
		if err != nil {
			return "", err
		}
		if digest != subject.Digest["sha256"] {
			return "it has another digest of " + subject.Name + " than is stored", nil
		}
	}
	raw, err := store.ReadAll(ctx, layout.Key(kind, recordFile), MaxReceipt)
	if errors.Is(err, sink.ErrNotFound) {
		return string(recordFile) + " is missing", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the record of a bundle: %w", err)
	}
	var record struct {
		Outcome    string         `json:"outcome"`
		Counts     bagfile.Counts `json:"counts"`
		Exceptions int64          `json:"exceptions"`
	}
	if sink.HexSHA256(raw) != recordSHA256 || json.Unmarshal(raw, &record) != nil {
		return string(recordFile) + " is not the one in the manifest", nil
	}
	if record.Outcome != says.Outcome || record.Counts != bagfile.CountsByName(says.Counts) || record.Exceptions != says.Exceptions {
		return "its outcome and counts are not those of " + string(recordFile), nil
	}
	return "", nil
}

// mostOf is how large a manifest of so many files can be, in bytes; tag manifests have few lines.
func mostOf(files int) int64 {
	const line = 1200 // a key has 1024 bytes at most
	return line * int64(min(max(files, 1000), 10*cv.MaxCount))
}

// digestOf is the SHA-256 of a stored manifest, each line of which it shows; empty when there is
// none of at most so many bytes.
func digestOf(ctx context.Context, store *sink.Store, key sink.Key, most int64, show func(sink.ManifestLine)) (string, error) {
	stored, _, err := store.Open(ctx, key)
	if errors.Is(err, sink.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("open a manifest: %w", err)
	}
	defer stored.Close()
	hash := sha256.New()
	rest := &io.LimitedReader{R: stored, N: most + 1}
	for line, err := range sink.ManifestLines(io.TeeReader(rest, hash)) {
		var unread *sink.ReadError
		switch {
		case errors.As(err, &unread):
			return "", fmt.Errorf("read a manifest: %w", err)
		case err == nil:
			show(line)
		}
	}
	if rest.N == 0 {
		return "", nil
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func manifestDigest(r *sink.Receipt) string {
	for _, s := range r.Subject {
		if s.Name == string(sink.ManifestFile) {
			return s.Digest["sha256"]
		}
	}
	return ""
}
