package bag

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/account"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
)

// ToolName is the product's name in bags and receipts.
const ToolName = "cvconsumer"

// PredictionsFile is the name of a project's predictions in the bag.
const PredictionsFile = "predictions.jsonl"

// Bags are the bags of one command, and its working objects.
type Bags struct {
	Store    *sink.Store // holds the bags, sealed
	Work     *sink.Store // holds the working objects, sealed
	Layout   sink.Layout
	Prefix   string // of every key, which the layout has too
	SpoolDir string // for temporary files

	Command contract.Command    // as it came
	Account string              // that its resource means; empty when the alias is not configured
	Keys    contract.DigestKeys // of the digest of its data, where that has metadata values
	Digest  string              // that the command's job has; empty before there is one
	Fresh   bool                // this is the first attempt, and nothing was stored under the id when its job was made

	LockMode string           // of the retention of bags: sink.Governance or sink.Compliance
	Signing  *signature.Maker // signs receipts; nil: they are unsigned
	Now      func() time.Time

	Log zerolog.Logger
}

// KindOf is the bag that an action ends with.
func KindOf(a contract.Action) sink.BagKind {
	if a == contract.ActionDelete {
		return sink.DeleteBag
	}
	return sink.ExportBag
}

// SealedBy are the bags with seals by a sealer.
func (b Bags) SealedBy(by *sink.Sealer) Bags {
	b.Store, b.Work = b.Store.Sealed(by), b.Work.Sealed(by)
	return b
}

// URI is where a bag is, "s3://<bucket>/<prefix><id>/<kind>/".
func (b Bags) URI(kind sink.BagKind) string {
	return "s3://" + b.Store.Bucket() + "/" + string(b.Layout.Bag(kind))
}

// WorkKey is the key of a working object.
func (b Bags) WorkKey(name string) sink.Key { return b.Layout.Work(name) }

// Alone reports whether nothing can be stored under the id but by this attempt, which is the first
// one of a command without units: then there are no unfinished uploads of other processes.
func (b Bags) Alone() bool {
	return b.Fresh && b.Command.Action == contract.ActionDelete && !b.Command.Data.ExportFirst
}

// ClearWork removes the working objects.
func (b Bags) ClearWork(ctx context.Context) error {
	remove := b.Work.RemoveAll
	if b.Alone() {
		remove = b.Work.RemoveObjects
	}
	if _, err := remove(ctx, b.Layout.Work("")); err != nil {
		return fmt.Errorf("remove the working objects: %w", err)
	}
	return nil
}

// SameAccount reports whether the command is about the account that an earlier one was about.
func (b Bags) SameAccount(earlier contract.CommandRef) bool {
	return account.Same(b.Account, b.Command.Data.Resource, earlier)
}

// CheckUnmoved fails, as misconfigured, when the resource's alias, which means this command's
// account at host now, meant another account when the command began.
func (b Bags) CheckUnmoved(host string, begun account.Endpoint) error {
	return account.CheckUnmoved(b.Command.Data.Resource, account.Endpoint{Host: host, Name: b.Account}, begun)
}

// Request is the command as it may be kept.
func (b Bags) Request(scope contract.Scope, digest, account string) Request {
	return Request{
		V: bagfile.Version, ID: b.Command.ID, Action: string(b.Command.Action), Source: b.Command.Source, Published: b.Command.Published,
		Data: scope, Digest: digest, Account: account, Signer: b.Command.Signer, Approver: b.Command.Approver,
	}
}

// Request is evidence/request.json.
type Request = bagfile.Request[contract.Scope]

// EarlierRequest reports whether a bag exists under the command's id, and whether it was made for
// the same data and account. A bag that this deployment did not seal exists if it is whole, or
// evidence of a failed delete, but is never the same: an older version may have made it, or one
// whose CV_SECRETS was lost, and nothing tells it from a forged one.
func (b Bags) EarlierRequest(ctx context.Context) (exists, same bool, err error) {
	for _, kind := range []sink.BagKind{sink.DeleteBag, sink.ExportBag} {
		raw, same, err := b.request(ctx, kind)
		if errors.Is(err, sink.ErrUnsealed) {
			exists, err = b.unsealed(ctx, kind)
			same = false
		}
		if raw != nil || exists || err != nil {
			return raw != nil || exists, same, err
		}
	}
	return false, false, nil
}

// unsealed reports whether a bag without seals is whole, or evidence of a failed delete.
func (b Bags) unsealed(ctx context.Context, kind sink.BagKind) (bool, error) {
	store := b.Store.Unsealed()
	request, err := store.ReadAll(ctx, b.Layout.Key(kind, sink.RequestFile), MaxReceipt)
	if err != nil {
		return false, fmt.Errorf("read the request of an earlier bundle: %w", err)
	}
	receipt, err := fitting(ctx, store, b.Layout, b.Prefix, kind)
	whole := receipt != nil && receipt.Predicate.Command.SHA256 == sink.HexSHA256(request)
	if whole || err != nil || kind != sink.DeleteBag {
		return whole, err
	}
	_, err = store.Head(ctx, b.Layout.Key(kind, sink.FailureFile))
	if err != nil && !errors.Is(err, sink.ErrNotFound) {
		return false, fmt.Errorf("look for the evidence of a failed delete: %w", err)
	}
	return err == nil, nil
}

// SameRequest reports whether what is stored of a bag was made for this command: its data, and the
// account of it.
func (b Bags) SameRequest(ctx context.Context, kind sink.BagKind) (bool, error) {
	_, same, err := b.request(ctx, kind)
	if errors.Is(err, sink.ErrUnsealed) {
		return false, nil
	}
	return same, err
}

// request is the request that a stored bag was made for, in whichever life of the id, nil when
// there is none, and whether that is this command's, of the same account. It fails with ErrUnsealed
// where the request has no right seal.
func (b Bags) request(ctx context.Context, kind sink.BagKind) (raw []byte, same bool, err error) {
	key := b.Layout.Key(kind, sink.RequestFile)
	if b.Store.PlainlyAbsent(ctx, key) { // as for nearly every command
		return nil, false, nil
	}
	raw, err = b.Store.OfAnyMessage().ReadAll(ctx, key, MaxReceipt)
	if errors.Is(err, sink.ErrNotFound) && !errors.Is(err, sink.ErrUnsealed) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the request of an earlier bundle: %w", err)
	}
	var record Request
	if err := contract.DecodeVersioned(raw, "request.json", &record); err != nil {
		return nil, false, err
	}
	earlier := contract.CommandRef{Resource: record.Data.Resource, Account: record.Account}
	same = b.Made(record) && record.Account != "" && b.SameAccount(earlier)
	return raw, same, nil
}

// Made reports whether a stored request is this command: it has the digest that the command's job
// has, whatever keys there are now, or a digest of the same data. The account is compared apart.
func (b Bags) Made(r Request) bool {
	if r.ID != b.Command.ID || r.Action != string(b.Command.Action) {
		return false
	}
	earlier := contract.CommandRef{Digest: r.Digest, Account: r.Account}
	return b.Digest != "" && r.Digest == b.Digest || b.Command.SameAs(contract.Job{ID: r.ID, Action: b.Command.Action, Command: earlier}, b.Keys)
}

// Info is the fields of bag-info.txt.
func (b Bags) Info(finished time.Time, version, description string) []sink.Field {
	return []sink.Field{
		{Name: "Bagging-Date", Value: finished.Format(time.DateOnly)},
		{Name: "Bag-Software-Agent", Value: ToolName + " " + version},
		{Name: "External-Identifier", Value: b.Command.ID},
		{Name: "Internal-Sender-Identifier", Value: b.Command.Data.Reference},
		{Name: "External-Description", Value: description},
	}
}

// Spoiled says that a working object which decides what is deleted is not the one that was stored.
func Spoiled(name, how string) error {
	return &contract.Error{Code: contract.CodeInternal, Message: fmt.Sprintf("the working object %s %s: the bucket was changed from outside, so nothing more is deleted; "+
		"restrict who may write to it, and publish the command again under a new id", name, how)}
}

// Spooled gives do a spool, which ends with it.
func (b Bags) Spooled(do func(*sink.Spool) error) error {
	s := sink.NewSpool(b.SpoolDir)
	return errors.Join(do(s), s.Close())
}

// Putter stores a file under a bag's root.
type Putter func(ctx context.Context, path sink.Path, body sink.Body) (sink.Object, error)

// PutJSON stores a JSON file.
func PutJSON(ctx context.Context, put Putter, path sink.Path, v any) (sink.Object, error) {
	b, err := contract.Marshal(v)
	if err != nil {
		return sink.Object{}, fmt.Errorf("encode %s: %w", path, err)
	}
	o, err := put(ctx, path, sink.Bytes(append(b, '\n'), "application/json"))
	if err != nil {
		return sink.Object{}, fmt.Errorf("store %s: %w", path, err)
	}
	return o, nil
}

// PutLedger stores ledger.jsonl, as far as ref says, after it was held against ref.
func (b Bags) PutLedger(ctx context.Context, l *ledger.Ledger, put Putter, ref ledger.Ref) error {
	err := b.Spooled(func(s *sink.Spool) error {
		if err := l.CopyTo(ctx, s, ref); err != nil {
			return err
		}
		_, err := put(ctx, sink.LedgerFile, s.Body("application/jsonl"))
		return err
	})
	if err != nil {
		return fmt.Errorf("store the ledger: %w", err)
	}
	return nil
}
