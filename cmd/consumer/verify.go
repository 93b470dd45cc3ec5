package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/rs/zerolog"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

type verifyCmd struct {
	Where  []string    `arg:"" name:"where" help:"A folder that holds a bundle, or s3://bucket/prefix/ of one."`
	Output string      `name:"output" short:"o" enum:"table,json" default:"table" placeholder:"FORMAT" help:"table or json; default ${default}."`
	Key    string      `name:"key" placeholder:"FILE" help:"Public key for the receipt's signature (not supported yet)."`
	S3     storeAccess `embed:"" group:"Storage, for s3://:"`
}

// Help implements kong.HelpProvider.
func (verifyCmd) Help() string {
	return "Reads every file of each bundle. Checks that it holds what its manifests list, and that receipt, summary, request, inventory, plan, ledger and records agree. " +
		"Exits 0 when all are ok, 4 when one failed, 6 when one could not be checked completely, 5 when storage is not reachable."
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

	Retention *sink.ReceiptRetention `json:"retention,omitempty"` // as the receipt says
}

// Run checks each place and prints what it found. Its error is the worst result.
func (c verifyCmd) Run(p *program) error {
	if c.Key != "" {
		return fmt.Errorf("%w: --key is not supported yet", errUsage)
	}
	var worst error
	var all []verified
	for _, where := range c.Where {
		src, err := c.source(p.ctx, p.env, where)
		if err != nil {
			return err
		}
		show := newReading(p.stderr, where)
		r, err := verify.Bag(p.ctx, src, verify.Options{Progress: show.progress})
		show.end()
		if err != nil && (r.Files == 0 || p.ctx.Err() != nil) { // nothing was found, or the user gave up
			return fmt.Errorf("verify %s: %w", where, markUnreachable(err))
		}
		v := describeReport(where, r)
		if err != nil {
			v.Unread = bagfile.Printable(err.Error())
		}
		all = append(all, v)
		worst = worse(worst, r.Result)
	}
	for _, v := range all {
		if c.Output == "json" { // one object a place
			if err := printJSON(p.stdout, v); err != nil {
				return err
			}
			continue
		}
		v.print(p.stdout)
	}
	if worst != nil {
		return printedError{worst}
	}
	return nil
}

// source opens a place that holds a bundle.
func (c verifyCmd) source(ctx context.Context, env *environ, where string) (verify.Source, error) {
	if rest, ok := strings.CutPrefix(where, "s3://"); ok {
		bucket, prefix, _ := strings.Cut(rest, "/")
		if bucket == "" || prefix == "" {
			return nil, fmt.Errorf("%w: %s: a bundle is at s3://bucket/prefix/", errUsage, where)
		}
		if !strings.HasSuffix(prefix, "/") {
			prefix += "/"
		}
		bad := env.unknown()
		access := c.S3.config(&bad)
		if err := bad.err(); err != nil {
			return nil, err
		}
		api, err := s3Client(ctx, access, nil)
		if err != nil {
			return nil, err
		}
		return verify.Stored(sink.NewStore(api, sink.StoreOptions{Bucket: bucket, Log: zerolog.Nop()}), sink.Key(prefix)), nil
	}
	if scheme, _, ok := strings.Cut(where, "://"); ok {
		return nil, fmt.Errorf("%w: %s: a bundle is in a folder or at s3://bucket/prefix/; %s:// is not supported", errUsage, where, scheme)
	}
	info, err := os.Stat(where)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	case !info.IsDir() && strings.HasSuffix(strings.ToLower(where), ".zip"):
		return nil, fmt.Errorf("%w: %s: .zip is not supported yet; unpack it and name the folder", errUsage, where)
	case !info.IsDir():
		return nil, fmt.Errorf("%w: %s is not a folder", errUsage, where)
	}
	return verify.Dir(where), nil
}

func describeReport(where string, r verify.Report) verified {
	v := verified{
		Where: where, Result: r.Result, Files: r.Files, Bytes: r.Bytes,
		Problems: r.Problems, Omitted: r.Omitted,
		Signature: r.Signature, ReceiptSHA256: r.ReceiptSHA256,
		LedgerLines: r.Ledger.Lines, LedgerHead: r.Ledger.Head, Failure: r.Failure,
	}
	if v.Problems == nil {
		v.Problems = []verify.Problem{}
	}
	if says := r.Receipt; says != nil {
		v.CommandID, v.Action, v.Outcome, v.Exceptions, v.Reference, v.MadeAt = says.CommandID, says.Action, says.Outcome, says.Exceptions, says.Reference, says.URI
		v.Signer, v.Approver = says.Signer, says.Approver
		v.Retention = says.Retention
	}
	return v
}

// print prints the result for people.
func (v verified) print(w io.Writer) {
	fmt.Fprintf(w, "%s: %s\n", bagfile.Printable(v.Where), v.Result)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
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
	fmt.Fprintf(t, "  files read\t%d (%s)\n", v.Files, humanBytes(v.Bytes))
	if v.LedgerHead != "" {
		fmt.Fprintf(t, "  ledger\t%d lines, head %s\n", v.LedgerLines, v.LedgerHead)
	}
	if v.ReceiptSHA256 != "" {
		fmt.Fprintf(t, "  receipt\t%s\n", v.ReceiptSHA256)
	}
	switch v.Signature {
	case verify.Unsigned:
		fmt.Fprintf(t, "  signature\tnone: the receipt is unsigned\n")
	default:
		fmt.Fprintf(t, "  signature\tnot checked: there is a file that should hold one\n")
	}
	if f := v.Failure; f != nil {
		fmt.Fprintf(t, "  failure\t%s: %s\n", f.Code, strconv.Quote(f.Message))
	}
	for _, one := range v.Problems {
		fmt.Fprintf(t, "  problem\t%s: %s\n", one.Path, one.What)
	}
	if v.Omitted > 0 {
		fmt.Fprintf(t, "  problem\tand %d more\n", v.Omitted)
	}
	if v.Unread != "" {
		fmt.Fprintf(t, "  not read\t%s\n", v.Unread)
	}
	t.Flush()
}

// reading shows how far the verification of one place is, on a terminal.
type reading struct {
	bars *mpb.Progress // nil without a terminal
	bar  *mpb.Bar
	name string
}

func newReading(w io.Writer, where string) *reading {
	r := &reading{name: bagfile.Printable(where)}
	if f, ok := w.(*os.File); ok && isTerminal(f) {
		r.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(48))
	}
	return r
}

// progress shows a step.
func (r *reading) progress(p verify.Progress) {
	if r.bars == nil {
		return
	}
	if r.bar == nil {
		r.bar = r.bars.AddBar(p.AllBytes, mpb.PrependDecorators(decor.Name(r.name+" ")), mpb.AppendDecorators(decor.CountersKibiByte("% .1f of % .1f")))
	}
	r.bar.SetCurrent(p.Bytes)
}

// end removes the bar before the result is printed.
func (r *reading) end() {
	if r.bar != nil {
		r.bar.Abort(true)
	}
	if r.bars != nil {
		r.bars.Wait()
	}
}

// worse keeps the more serious of an earlier result and a new one: failed, then inconclusive, then
// ok.
func worse(before error, r verify.Result) error {
	switch {
	case r == verify.Failed:
		return errVerifyFailed
	case r == verify.Inconclusive && before == nil:
		return errInconclusive
	}
	return before
}

// markUnreachable marks errors that say that something needed could not be reached, for the exit
// code.
func markUnreachable(err error) error {
	for _, sentinel := range []error{sink.ErrUnavailable, sink.ErrThrottled, sink.ErrMisconfigured, context.DeadlineExceeded} {
		if errors.Is(err, sentinel) {
			return fmt.Errorf("%w: %w", errUnreachable, err)
		}
	}
	return err
}
