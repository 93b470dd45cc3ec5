package verify

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

var (
	commandID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,120}$`)
	publicKey = regexp.MustCompile(`^[A-Z][A-Z2-7]{55}$`) // an NKey's
	plainWord = regexp.MustCompile(`^[A-Za-z0-9_-]{1,120}$`)
)

// word is a text of the bag that must be a word or an id; empty when it is not.
func word(text string) string {
	if !plainWord.MatchString(text) {
		return ""
	}
	return text
}

// readReceipt reads the receipt, which decides what kind of bag this is.
func (v *verifier) readReceipt(ctx context.Context) error {
	if _, ok := v.tagFiles[sink.ReceiptFile]; !ok {
		if _, failed := v.tagFiles[sink.FailureFile]; !failed {
			v.problem(sink.ReceiptFile, "there is no receipt: the bundle was not committed")
		}
		v.kind = v.likelyKind()
		return nil
	}
	b, digest, err := v.readSmall(ctx, sink.ReceiptFile)
	if err != nil || b == nil {
		v.kind = v.likelyKind()
		return err
	}
	if _, failed := v.tagFiles[sink.FailureFile]; failed {
		v.problem(sink.FailureFile, "there is evidence of a failed delete beside a receipt")
	}
	receipt, err := sink.ParseReceipt(b)
	if err != nil {
		v.problem(sink.ReceiptFile, "%v", err)
		v.kind = v.likelyKind()
		return nil
	}
	if canonical, err := sink.CanonicalJSON(json.RawMessage(b)); err != nil || string(canonical)+"\n" != string(b) {
		v.problem(sink.ReceiptFile, "it is not in canonical form: another program wrote it")
	}
	v.kind, v.receipt, v.raw, v.report.ReceiptSHA256 = receipt.Kind(), receipt, b, digest
	v.checkReceipt(b)
	return nil
}

// likelyKind is the kind of a bag whose receipt does not tell it.
func (v *verifier) likelyKind() sink.BagKind {
	if v.locate(sink.DeletionFile) >= 0 {
		return sink.DeleteBag
	}
	return sink.ExportBag
}

// checkReceipt checks the receipt's words, and takes what the report tells of it.
func (v *verifier) checkReceipt(b []byte) {
	bad := func(format string, args ...any) { v.problem(sink.ReceiptFile, format, args...) }
	if err := checkMembers(b, true); err != nil {
		bad("%v", err)
	}
	p := &v.receipt.Predicate
	r := &Receipt{Kind: v.kind, URI: cut(p.Bundle.URI), Reference: cut(p.Command.Reference), Exceptions: p.Exceptions}
	if commandID.MatchString(p.Command.ID) {
		r.CommandID = p.Command.ID
	} else {
		bad("its command's id %s is not one", quote(p.Command.ID))
	}
	actions := []string{bagfile.ActionDelete}
	outcomes := []string{bagfile.OutcomeComplete, bagfile.OutcomeNothingFound, bagfile.OutcomePlanned}
	if v.kind == sink.ExportBag {
		actions = []string{bagfile.ActionExport, bagfile.ActionDelete} // the latter with export_first
		outcomes = []string{bagfile.OutcomeComplete, bagfile.OutcomeExceptions, bagfile.OutcomeNothingFound}
	}
	if r.Action = p.Command.Action; !slices.Contains(actions, r.Action) {
		bad("its action is %s, which has no such bag", quote(r.Action))
		r.Action = ""
	}
	if r.Outcome = p.Outcome; !slices.Contains(outcomes, r.Outcome) {
		bad("its outcome is %s, which is none of such a bag", quote(r.Outcome))
		r.Outcome = ""
	}
	v.report.Receipt = r
	for name := range p.Counts {
		if name != "bytes" && !bagfile.KnownCategory(name) {
			bad("it counts %s, which is no category", quote(name))
		}
	}
	if len(p.Counts) != len(bagfile.Categories())+1 {
		bad("it has %d counts, not one for each category and the bytes", len(p.Counts))
	}
	if !sink.ValidDigest(p.Command.SHA256) {
		bad("it has no digest of the request")
	}
	if p.Command.Account == "" {
		bad("it names no account")
	}
	if p.Tool.Name != bagfile.Tool || p.Tool.Version == "" {
		bad("its tool is %s %s, not a version of %s", quote(p.Tool.Name), quote(p.Tool.Version), bagfile.Tool)
	}
	if place := "/" + p.Command.ID + "/" + string(v.kind) + "/"; !strings.HasPrefix(p.Bundle.URI, "s3://") || !strings.HasSuffix(p.Bundle.URI, place) {
		bad("its URI %s is not that of a bag at …%s", quote(p.Bundle.URI), quote(place))
	}
	if p.StartedAt.IsZero() || p.FinishedAt.Before(p.StartedAt) {
		bad("it was finished at %s and started at %s", stamp(p.FinishedAt), stamp(p.StartedAt))
	}
	if err := json.Unmarshal(p.Scope, &v.scope); err != nil {
		bad("its scope is not one: %v", err)
	}
	v.sortScope(bad)
	v.checkKind(bad)
	v.checkCommandKeys(r, bad)
}

// checkCommandKeys checks the public keys of the command's signer and approver in the receipt.
func (v *verifier) checkCommandKeys(r *Receipt, bad func(format string, args ...any)) {
	says := v.receipt.Predicate.Command
	for _, by := range []struct {
		what, key string
		to        *string
	}{{"signer", says.Signer, &r.Signer}, {"approver", says.Approver, &r.Approver}} {
		switch {
		case publicKey.MatchString(by.key):
			*by.to = by.key
		case by.key != "":
			bad("its %s %s is not an NKey public key", by.what, quote(by.key))
		}
	}
	switch {
	case says.Approver == "":
	case says.Signer == "" || says.Approver[1:] == says.Signer[1:]:
		bad("its approver is the signer, or there is no signer")
	case v.scope.ApprovedPlan == "" || v.scope.DryRun:
		bad("it names an approver, and its command approves no plan")
	}
}

// sortScope sorts the ids that the scope names, for the searches to come. A scope that names more
// than a command can is emptied.
func (v *verifier) sortScope(bad func(format string, args ...any)) {
	s := &v.scope
	if len(s.Categories) > maxScopeWords || len(s.ImageMetadata) > maxScopeWords {
		bad("its scope names more than a command can")
		*s = bagfile.Scope{}
	}
	for _, list := range []*[]uuid.UUID{&s.ProjectIDs, &s.IterationIDs, &s.TagIDs, &s.ImageIDs} {
		limit := maxScopeIDs
		if list == &s.ProjectIDs {
			limit = maxScopeWords
		}
		if len(*list) > limit {
			bad("its scope names more than a command can")
			*s = bagfile.Scope{}
			return
		}
		var twice uuid.UUID
		if *list, twice = sorted(*list); twice != uuid.Nil {
			bad("its scope names %s twice", twice)
		}
	}
}

// checkKind checks what only receipts of one kind of bag have.
func (v *verifier) checkKind(bad func(format string, args ...any)) {
	p := &v.receipt.Predicate
	deletes := v.kind == sink.DeleteBag
	first := !deletes && p.Command.Action == bagfile.ActionDelete
	switch {
	case (deletes || first) != (p.Plan != nil), p.Plan != nil && !sink.ValidDigest(p.Plan.SHA256):
		bad("it does not name a plan by its digest, or one that it cannot have")
	case deletes && p.Method != bagfile.Method:
		bad("its method is %s, not %s", quote(p.Method), quote(bagfile.Method))
	case !deletes && (p.Method != "" || len(p.ExportBundle) > 0 || len(p.Residuals) > 0):
		bad("it is of an export, and has a method, an export bundle or residuals")
	}
	if deletes && (len(p.Residuals) == 0 || p.Exceptions != 0) {
		bad("it is of a delete, and has no residuals, or exceptions")
	}
	for _, r := range p.Residuals {
		if !bagfile.KnownCategory(r.Category) || r.Reason == "" {
			bad("it has a residual of %s, which is no category, or without a reason", quote(r.Category))
		}
	}
	until := v.scope.RetainUntil
	if first {
		until = v.scope.ExportRetainUntil
	}
	switch got := p.Retention; {
	case (got == nil) != (until == nil), got != nil && !got.RetainUntil.Equal(*until):
		bad("its retention is not what the command asked for")
	case got == nil:
	case got.Mode != sink.Governance && got.Mode != sink.Compliance:
		bad("its retention has the mode %s, which is none", quote(got.Mode))
	case got.Lapsed != (got.Objects == 0), !got.Lapsed && (got.Objects <= p.Bundle.PayloadObjects || got.Objects >= p.Bundle.Objects):
		bad("it says that %d of the bundle's %d objects were locked before it", got.Objects, p.Bundle.Objects)
	default:
		v.report.Receipt.Retention = got
	}
	if first && !v.scope.ExportFirst || first && v.scope.DryRun {
		bad("it is of the export before a delete that asks for none")
	}
}
