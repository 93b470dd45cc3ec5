package bag

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// MaxReceipt bounds receipt.json, request.json and failure.json, in bytes.
const MaxReceipt = 16 << 20

// Statement is what the receipt of either kind of bag says beside what the command says.
type Statement struct {
	Account               string // of the resource when the command began
	Request               string // digest of request.json
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
}

// Commit writes the receipt of a sealed bag, which says so.
func (b Bags) Commit(ctx context.Context, kind sink.BagKind, out *sink.Bag, seal sink.Seal, says Statement) error {
	scope, err := contract.Marshal(says.Scope)
	if err != nil {
		return fmt.Errorf("encode the scope: %w", err)
	}
	verification, err := contract.Marshal(says.Verification)
	if err != nil {
		return fmt.Errorf("encode the verification: %w", err)
	}
	var exported json.RawMessage
	if says.ExportBundle != nil {
		if exported, err = contract.Marshal(says.ExportBundle); err != nil {
			return fmt.Errorf("encode the export bundle: %w", err)
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
	return storeReceipt(ctx, out, sink.NewReceipt(predicateOf(kind), seal, sink.Predicate{
		Command: sink.ReceiptCommand{
			ID: c.ID, Action: string(c.Action), Reference: c.Data.Reference, Resource: c.Data.Resource, Account: says.Account, SHA256: says.Request,
		},
		Scope: scope, Outcome: string(says.Outcome), Counts: says.Counts.ByName(), Exceptions: says.Exceptions,
		Verification: verification, Residuals: residuals,
		Tool: sink.ReceiptTool{Name: ToolName, Version: says.Tool}, StartedAt: says.StartedAt, FinishedAt: says.FinishedAt,
		Ledger: sink.ReceiptLedger{Entries: says.Ledger.Entries, Head: says.Ledger.Head},
		Bundle: sink.ReceiptBundle{URI: b.URI(kind)},
		Method: says.Method, Plan: plan, ExportBundle: exported,
	}))
}

// predicateOf is the predicate type of the receipts of a kind of bag.
func predicateOf(kind sink.BagKind) string {
	if kind == sink.DeleteBag {
		return sink.DeletePredicateType
	}
	return sink.ExportPredicateType
}

func storeReceipt(ctx context.Context, bag *sink.Bag, receipt sink.Receipt) error {
	b, err := receipt.Encode()
	if err != nil {
		return fmt.Errorf("encode the receipt: %w", err)
	}
	o, err := bag.PutReceipt(ctx, b)
	if err != nil {
		return fmt.Errorf("store the receipt: %w", err)
	}
	if o.Adopted && o.SHA256 != HexSHA256(b) {
		return &contract.Error{Code: contract.CodeInternal, Message: fmt.Sprintf("%s is there already and is not the receipt of this bundle: "+
			"the bucket was changed from outside; publish the command again under a new id", o.Key)}
	}
	return nil
}

// Receipt is what the receipt of a bag says, as a terminal event tells it; nil when there is none,
// or one that belongs to another command or account.
func (b Bags) Receipt(ctx context.Context, kind sink.BagKind) (*contract.EventData, error) {
	raw, err := b.Store.ReadAll(ctx, b.Layout.Key(kind, sink.ReceiptFile), MaxReceipt)
	if errors.Is(err, sink.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for a receipt: %w", err)
	}
	receipt, err := sink.ParseReceipt(raw)
	if err != nil {
		return nil, fmt.Errorf("read the receipt: %w", err)
	}
	if !b.owns(kind, receipt) {
		b.Log.Warn().Str("key", string(b.Layout.Key(kind, sink.ReceiptFile))).Msg("receipt ignored: it belongs to another command or account")
		return nil, nil
	}
	says := receipt.Predicate
	data := &contract.EventData{
		Status: contract.StatusCompleted, Outcome: contract.Outcome(says.Outcome), StartedAt: &says.StartedAt, FinishedAt: &says.FinishedAt,
		Counts: contract.CountsByName(says.Counts), Exceptions: says.Exceptions,
		Bundle: &contract.BundleRef{
			URI: b.URI(kind), ManifestSHA256: manifestDigest(receipt), ReceiptSHA256: HexSHA256(raw),
			Objects: int64(says.Bundle.Objects),
		},
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

// Committed is what the receipt of a bag that was just committed says.
func (b Bags) Committed(ctx context.Context, kind sink.BagKind) (*contract.EventData, error) {
	end, err := b.Receipt(ctx, kind)
	if err == nil && end == nil {
		err = fmt.Errorf("%s is missing although it was just stored", b.Layout.Key(kind, sink.ReceiptFile))
	}
	return end, err
}

// owns reports whether a receipt belongs to this command, kind of bag, account and key.
func (b Bags) owns(kind sink.BagKind, receipt *sink.Receipt) bool {
	says := receipt.Predicate.Command
	place := strings.TrimPrefix(string(b.Layout.Bag(kind)), b.Prefix)
	return receipt.PredicateType == predicateOf(kind) && says.ID == b.Command.ID && says.Action == string(b.Command.Action) &&
		strings.HasSuffix(receipt.Predicate.Bundle.URI, place) &&
		says.Account != "" && b.SameAccount(contract.CommandRef{Resource: says.Resource, Account: says.Account})
}

func manifestDigest(r *sink.Receipt) string {
	for _, s := range r.Subject {
		if s.Name == string(sink.ManifestFile) {
			return s.Digest["sha256"]
		}
	}
	return ""
}
