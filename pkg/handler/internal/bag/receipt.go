package bag

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// MaxReceipt bounds receipt.json, request.json and failure.json, in bytes.
const MaxReceipt = 16 << 20

// StoreReceipt writes a receipt, and with it commits the bag.
func StoreReceipt(ctx context.Context, bag *sink.Bag, receipt sink.Receipt) error {
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
	predicate := sink.ExportPredicateType
	if kind == sink.DeleteBag {
		predicate = sink.DeletePredicateType
	}
	says := receipt.Predicate.Command
	place := strings.TrimPrefix(string(b.Layout.Bag(kind)), b.Prefix)
	return receipt.PredicateType == predicate && says.ID == b.Command.ID && says.Action == string(b.Command.Action) &&
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

// ReceiptPlan is a plan as receipts name it; nil without one.
func ReceiptPlan(digest string) *sink.ReceiptPlan {
	if digest == "" {
		return nil
	}
	return &sink.ReceiptPlan{SHA256: digest}
}

// ReceiptCommand is the command as receipts name it, with its account when it began and the digest
// of its request.
func (b Bags) ReceiptCommand(account, request string) sink.ReceiptCommand {
	c := b.Command
	return sink.ReceiptCommand{ID: c.ID, Action: string(c.Action), Reference: c.Data.Reference, Resource: c.Data.Resource, Account: account, SHA256: request}
}
