package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/human"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

type verifyCmd struct {
	Where      []string `arg:"" name:"where" help:"A folder, a .zip file or s3://bucket/prefix/ that holds a bundle, or several in folders of it."`
	outputFlag `embed:""`
	keyFlag    `embed:""`
	S3         storeAccess `embed:"" group:"Storage, for s3://:"`
}

// Help implements kong.HelpProvider.
func (verifyCmd) Help() string {
	return "Reads every file of each bundle. Checks that it holds what its manifests list, and that receipt, summary, request, inventory, plan, ledger and records agree. " +
		"With --key, an unsigned receipt and a signature by another key are failures; without it, signatures are not checked. A time stamp's authority is never checked here: see docs/verify.md. " +
		"Of a place that holds several bundles it checks each. Of a BagIt bag that another tool made it checks the manifests alone, and says so. " +
		"Exits 0 when all are ok, 4 when one failed; else 5 when storage is not reachable; else 6 when one could not be checked completely."
}

// verified is the result for one place, as -o json prints it.
type verified struct {
	Where         string           `json:"where"`
	Result        verify.Result    `json:"result"`
	Files         int              `json:"files"`
	Bytes         int64            `json:"bytes"`
	Problems      []verify.Problem `json:"problems"`
	Omitted       int              `json:"problems_omitted"`
	Unread        string           `json:"unread,omitempty"` // what could not be read, of one that is inconclusive
	Signature     verify.Signature `json:"signature"`
	SignedBy      string           `json:"signed_by,omitempty"` // id of the key, where the signature is "signed"
	KeyFile       string           `json:"key_file,omitempty"`  // that it is in
	TimeStamp     *timeStamp       `json:"timestamp,omitempty"` // of the signature
	ReceiptSHA256 string           `json:"receipt_sha256,omitempty"`
	CommandID     string           `json:"command_id,omitempty"`
	Action        string           `json:"action,omitempty"`
	Outcome       string           `json:"outcome,omitempty"`
	Exceptions    int64            `json:"exceptions"`
	Reference     string           `json:"reference,omitempty"`
	Signer        string           `json:"signer,omitempty"` // of the command, as the receipt says: NKey public keys
	Approver      string           `json:"approver,omitempty"`
	MadeAt        string           `json:"made_at,omitempty"` // where the bundle was made; it may be a copy
	LedgerLines   int64            `json:"ledger_lines"`
	LedgerHead    string           `json:"ledger_head,omitempty"`
	Failure       *verify.Failure  `json:"failure,omitempty"`
	Plain         *verify.Plain    `json:"plain,omitempty"` // of a bag that another tool made

	Retention *sink.ReceiptRetention `json:"retention,omitempty"` // as the receipt says
}

// timeStamp is what a signature's time stamp says of itself.
type timeStamp struct {
	Time             time.Time `json:"time"`
	Authority        string    `json:"authority"`
	AuthorityChecked bool      `json:"authority_checked"` // false: no authority is known here
}

// Run checks each place and prints what it found. Its error is the worst result.
func (c verifyCmd) Run(p *program) error {
	keys, err := readPublicKeys(c.Key)
	if err != nil {
		return err
	}
	places, err := c.open(p)
	defer func() {
		for _, at := range places {
			at.close()
		}
	}()
	if err != nil {
		return err
	}
	show := newBundleProgress(p.stderr)
	results, remarks, worst, err := c.check(p, places, keys, show)
	show.end()
	if err != nil {
		return err
	}
	for _, remark := range remarks {
		fmt.Fprintf(p.stderr, "consumer: %s\n", bagfile.Printable(remark))
	}
	for _, v := range results {
		if err := c.printResult(p, v); err != nil { // of JSON, one object for each bundle
			return err
		}
	}
	if worst != nil {
		return printedError{worst}
	}
	return nil
}

func describeReport(where string, r verify.Report) verified {
	v := verified{
		Where: where, Result: r.Result, Files: r.Files, Bytes: r.Bytes,
		Problems: r.Problems, Omitted: r.Omitted,
		Signature: r.Signature, SignedBy: r.Signer, ReceiptSHA256: r.ReceiptSHA256,
		LedgerLines: r.Ledger.Lines, LedgerHead: r.Ledger.Head, Failure: r.Failure, Plain: r.Plain,
	}
	if v.Problems == nil {
		v.Problems = []verify.Problem{}
	}
	if t := r.TimeStamp; t != nil {
		v.TimeStamp = &timeStamp{Time: t.Time, Authority: t.Authority}
	}
	if says := r.Receipt; says != nil {
		v.CommandID, v.Action, v.Outcome, v.Exceptions, v.Reference, v.MadeAt = says.CommandID, says.Action, says.Outcome, says.Exceptions, says.Reference, says.URI
		v.Signer, v.Approver = says.Signer, says.Approver
		v.Retention = says.Retention
	}
	return v
}

// print prints the result for people.
func (v verified) print(w io.Writer) error {
	fmt.Fprintf(w, "%s: %s\n", bagfile.Printable(v.Where), v.Result)
	if v.Plain != nil {
		return v.printPlain(w)
	}
	t := newTable(w)
	if v.CommandID != "" {
		fmt.Fprintf(t, "  command\t%s, %s\n", v.CommandID, v.Action)
		fmt.Fprintf(t, "  outcome\t%s, %d exceptions\n", v.Outcome, v.Exceptions)
		fmt.Fprintf(t, "  made at\t%s\n", strconv.Quote(v.MadeAt))
	}
	if v.Signer != "" {
		fmt.Fprintf(t, "  command signed\tby %s, as the receipt says\n", v.Signer)
	}
	if v.Approver != "" {
		fmt.Fprintf(t, "  approved\tby %s, as the receipt says\n", v.Approver)
	}
	if kept := v.Retention; kept != nil && kept.Lapsed {
		fmt.Fprintf(t, "  retention\tnone: its time was over when the bundle was made\n")
	} else if kept != nil {
		fmt.Fprintf(t, "  retention\t%s, by its receipt\n", sink.Retention{Mode: kept.Mode, Until: kept.RetainUntil})
	}
	if v.Reference != "" {
		fmt.Fprintf(t, "  reference\t%s\n", strconv.Quote(v.Reference))
	}
	fmt.Fprintf(t, "  files read\t%d (%s)\n", v.Files, human.Bytes(v.Bytes))
	if v.LedgerHead != "" {
		fmt.Fprintf(t, "  ledger\t%d lines, head %s\n", v.LedgerLines, v.LedgerHead)
	}
	if v.ReceiptSHA256 != "" {
		fmt.Fprintf(t, "  receipt\t%s\n", v.ReceiptSHA256)
	}
	fmt.Fprintf(t, "  signature\t%s\n", v.signature())
	if stamp := v.TimeStamp; stamp != nil {
		fmt.Fprintf(t, "  time stamp\t%s by %s, as it says itself: this authority is not checked here\n", stamp.Time.Format(time.RFC3339), strconv.Quote(stamp.Authority))
	}
	if f := v.Failure; f != nil {
		fmt.Fprintf(t, "  failure\t%s: %s\n", f.Code, strconv.Quote(f.Message))
	}
	v.printFindings(t)
	return t.Flush()
}

// signature says what is known of the signature.
func (v verified) signature() string {
	switch v.Signature {
	case verify.Unknown:
		return "not known: the files could not be listed"
	case verify.Unsigned:
		if v.ReceiptSHA256 == "" {
			return "none: no receipt was read"
		}
		return "none: the receipt is unsigned"
	case verify.Signed:
		return fmt.Sprintf("by key %s (%s)", v.SignedBy, strconv.Quote(v.KeyFile))
	case verify.Wrong:
		return "not by a given key, or not of this receipt: it counts for nothing"
	}
	return "not checked: there is a file that should hold one; --key takes the public key"
}

// printPlain prints the result of a bag that another tool made: it proves no export and no delete.
func (v verified) printPlain(w io.Writer) error {
	said := map[verify.Result]string{verify.OK: "manifests ok", verify.Failed: "the problems are below", verify.Inconclusive: "not all could be checked"}
	fmt.Fprintf(w, "  a BagIt bag that cvconsumer did not make: %s; it proves no export and no delete\n", said[v.Result])
	t := newTable(w)
	fmt.Fprintf(t, "  version\t%s, tag files in %s\n", v.Plain.Version, bagfile.Printable(v.Plain.Encoding))
	fmt.Fprintf(t, "  manifests\t%s\n", strings.Join(v.Plain.Algorithms, ", "))
	fmt.Fprintf(t, "  files\t%d (%s)\n", v.Files, human.Bytes(v.Bytes))
	for _, one := range v.Plain.Notes {
		fmt.Fprintf(t, "  note\t%s: %s\n", one.Path, one.What)
	}
	v.printFindings(t)
	return t.Flush()
}

// printFindings prints what is wrong, and what was not read.
func (v verified) printFindings(t io.Writer) {
	for _, one := range v.Problems {
		fmt.Fprintf(t, "  problem\t%s: %s\n", cmp.Or(one.Path, "all of it"), one.What)
	}
	if v.Omitted > 0 {
		fmt.Fprintf(t, "  problem\tand %d more\n", v.Omitted)
	}
	if v.Unread != "" {
		fmt.Fprintf(t, "  not read\t%s\n", v.Unread)
	}
}
