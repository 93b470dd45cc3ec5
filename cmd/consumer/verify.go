package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

type verifyCmd struct {
	Where  []string    `arg:"" name:"where" help:"A folder that holds a bundle, or s3://bucket/prefix/ of one."`
	Output string      `name:"output" short:"o" enum:"table,json" default:"table" placeholder:"FORMAT" help:"table or json; default ${default}."`
	Key    string      `name:"key" placeholder:"FILE" help:"Public key for the receipt's signature (not supported yet)."`
	S3     storeAccess `embed:"" group:"Storage, for s3://:"`
}

// Help implements kong.HelpProvider.
func (verifyCmd) Help() string {
	return "Reads every file of each bundle and checks manifests, sizes, receipt and ledger chain. " +
		"Exits 0 when all are ok, 4 when one failed, 6 when one could not be checked completely, 5 when storage is not reachable."
}

// verified is the result for one place, as -o json prints it.
type verified struct {
	Where         string          `json:"where"`
	Result        sink.Result     `json:"result"`
	Files         int             `json:"files"`
	Bytes         int64           `json:"bytes"`
	Problems      []sink.Problem  `json:"problems"`
	Omitted       int             `json:"problems_omitted"`
	Unread        string          `json:"unread,omitempty"` // what could not be read, of one that is inconclusive
	Signature     string          `json:"signature"`        // "none" or "unchecked"
	ReceiptSHA256 string          `json:"receipt_sha256,omitempty"`
	CommandID     string          `json:"command_id,omitempty"`
	Outcome       string          `json:"outcome,omitempty"`
	LedgerLines   int64           `json:"ledger_lines"`
	LedgerHead    string          `json:"ledger_head,omitempty"`
	Failure       json.RawMessage `json:"failure,omitempty"`
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
		r, err := sink.Verify(p.ctx, src, sink.VerifyOptions{})
		if err != nil && (r.Files == 0 || p.ctx.Err() != nil) { // nothing was found, or the user gave up
			return fmt.Errorf("verify %s: %w", where, markUnreachable(err))
		}
		v := describeReport(where, r)
		if err != nil {
			v.Unread = err.Error()
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
func (c verifyCmd) source(ctx context.Context, env *environ, where string) (sink.Source, error) {
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
		return sink.StoreSource(sink.NewStore(api, sink.StoreOptions{Bucket: bucket, Log: zerolog.Nop()}), sink.Key(prefix)), nil
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
	return sink.DirSource(where), nil
}

func describeReport(where string, r sink.Report) verified {
	v := verified{
		Where: where, Result: r.Result, Files: r.Files, Bytes: r.Bytes,
		Problems: r.Problems, Omitted: r.Omitted,
		Signature: "none", ReceiptSHA256: r.ReceiptSHA256,
		LedgerLines: r.Ledger.Lines, LedgerHead: r.Ledger.Head, Failure: r.Failure,
	}
	if v.Problems == nil {
		v.Problems = []sink.Problem{}
	}
	if r.Signed {
		v.Signature = "unchecked"
	}
	if r.Receipt != nil {
		v.CommandID = r.Receipt.Predicate.Command.ID
		v.Outcome = r.Receipt.Predicate.Outcome
	}
	return v
}

// print prints the result for people.
func (v verified) print(w io.Writer) {
	fmt.Fprintf(w, "%s: %s\n", v.Where, v.Result)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	if v.CommandID != "" {
		fmt.Fprintf(t, "  command\t%s\n", v.CommandID)
		fmt.Fprintf(t, "  outcome\t%s\n", v.Outcome)
	}
	fmt.Fprintf(t, "  files read\t%d (%s)\n", v.Files, humanBytes(v.Bytes))
	if v.LedgerHead != "" {
		fmt.Fprintf(t, "  ledger\t%d lines, head %s\n", v.LedgerLines, v.LedgerHead)
	}
	if v.ReceiptSHA256 != "" {
		fmt.Fprintf(t, "  receipt\t%s\n", v.ReceiptSHA256)
	}
	switch v.Signature {
	case "none":
		fmt.Fprintf(t, "  signature\tnone: the receipt is unsigned\n")
	default:
		fmt.Fprintf(t, "  signature\tpresent, not checked\n")
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

// worse keeps the more serious of an earlier result and a new one: failed, then inconclusive, then
// ok.
func worse(before error, r sink.Result) error {
	switch {
	case r == sink.Failed:
		return errVerifyFailed
	case r == sink.Inconclusive && before == nil:
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
