package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/internal/human"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/transfer"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

type fetchCmd struct {
	ID         string `arg:"" name:"id" help:"Id of the command."`
	Dir        string `arg:"" name:"dir" help:"Folder to write into; made when missing."`
	Zip        bool   `name:"zip" help:"Write each bundle as one archive, DIR/ID-export.zip or DIR/ID-delete.zip, as consumer pack does."`
	kindFlag   `embed:""`
	Parallel   int `name:"parallel" default:"16" placeholder:"N" help:"Files downloaded at once; default ${default}."`
	keyFlag    `embed:""`
	outputFlag `embed:""`
	S3         storeAccess    `embed:"" group:"Storage:"`
	Bucket     bundleSettings `embed:"" group:"Storage:"`
}

// Help implements kong.HelpProvider.
func (fetchCmd) Help() string {
	return "Downloads the finished bundles of a command into DIR/export and DIR/delete, and verifies them. " +
		"A file has its name only once it was compared with its manifest, and the receipt comes last. A download that was interrupted is taken up where it was: files that are there and right are not fetched again. " +
		"Exits 3 when the command has no finished bundle, 4 when one failed verification."
}

// fetched is a bundle that was downloaded, as -o json prints it.
type fetched struct {
	Where string `json:"where"`
	Dest  string `json:"dest"`
	transfer.Fetched
	Signature verify.Signature `json:"signature"`
	SignedBy  string           `json:"signed_by,omitempty"`
}

// Run downloads the bundles of one command.
func (c fetchCmd) Run(p *program) error {
	keys, err := readPublicKeys(c.Key)
	if err != nil {
		return err
	}
	if c.Parallel < 1 || c.Parallel > 256 {
		return fmt.Errorf("%w: --parallel is 1 to 256, not %d", errUsage, c.Parallel)
	}
	bundles, err := c.S3.bundlesOf(p, c.Bucket, c.ID, c.Kind)
	if err != nil {
		return err
	}
	for _, b := range bundles {
		if c.Zip {
			err = c.pack(p, b, keys)
		} else {
			err = c.fetch(p, b, keys)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pack downloads a bundle as an archive.
func (c fetchCmd) pack(p *program, b commandBundle, keys publicKeys) error {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	done, err := b.pack(p, keys, c.S3, encryptionSettings{}, c.Dir+"/")
	if err != nil {
		return err
	}
	return c.printResult(p, done)
}

// fetch downloads a bundle into a folder.
func (c fetchCmd) fetch(p *program, b commandBundle, keys publicKeys) error {
	bag, err := transfer.Open(p.ctx, b.bag)
	if err != nil {
		return b.failed(fmt.Errorf("%s: %w", b.name, err), nil)
	}
	done := fetched{Where: b.name, Dest: filepath.Join(c.Dir, string(b.kind))}
	show := newBundleProgress(p.stderr)
	progress, end := show.copying(done.Dest, bag.Receipt.Predicate.Bundle.PayloadBytes)
	done.Fetched, err = bag.Fetch(p.ctx, done.Dest, transfer.FetchOptions{Files: c.Parallel, Progress: progress})
	end()
	show.end()
	if errors.Is(err, transfer.ErrOther) {
		return fmt.Errorf("%w: %s: %w", errUsage, done.Dest, err)
	}
	if err != nil {
		return b.failed(fmt.Errorf("fetch %s: %w", b.name, err), nil)
	}
	copied := bundle{name: done.Dest, bag: verify.Dir(done.Dest)}
	report, err := copied.checkStatements(p, keys)
	if err != nil {
		return err
	}
	done.Signature, done.SignedBy = report.Signature, report.Signer
	return c.printResult(p, done)
}

func (f fetched) print(w io.Writer) error {
	fmt.Fprintf(w, "%s: %d files fetched and verified\n", bagfile.Printable(f.Where), f.Files)
	t := newTable(w)
	fmt.Fprintf(t, "  folder\t%s\n", bagfile.Printable(f.Dest))
	fmt.Fprintf(t, "  size\t%s\n", human.Bytes(f.Bytes))
	if f.Kept > 0 {
		fmt.Fprintf(t, "  there before\t%d files\n", f.Kept)
	}
	fmt.Fprintf(t, "  signature\t%s\n", signatureWord(f.Signature, f.SignedBy))
	return t.Flush()
}

// commandBundle is a finished bundle of a command.
type commandBundle struct {
	bundle
	kind  sink.BagKind
	store *sink.Store
	root  sink.Key
}

// bundlesOf finds the finished bundles of a command in the bucket. There is at least one.
func (s storeAccess) bundlesOf(p *program, at bundleSettings, id, kind string) ([]commandBundle, error) {
	bad := p.env.unknown()
	at.check(&bad)
	api, access, err := s.client(p.ctx, bad)
	if err != nil {
		return nil, err
	}
	layout, err := sink.NewLayout(at.Prefix, id)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	store := sink.NewStore(api, sink.StoreOptions{Bucket: at.Bucket, Log: zerolog.Nop()})
	var found []commandBundle
	for _, k := range []sink.BagKind{sink.ExportBag, sink.DeleteBag} {
		if kind != "all" && kind != string(k) {
			continue
		}
		_, err := store.Head(p.ctx, layout.Key(k, sink.ReceiptFile))
		switch {
		case errors.Is(err, sink.ErrNotFound):
			continue
		case err != nil:
			return nil, access.unreachable(err)
		}
		b := commandBundle{kind: k, store: store, root: layout.Bag(k)}
		b.name, b.access, b.bag = "s3://"+at.Bucket+"/"+string(b.root), access, verify.Stored(store, b.root)
		found = append(found, b)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: no finished bundle is at s3://%s/%s: the command has not completed, or CONSUMER_BUCKET and CONSUMER_PREFIX are not those that it was run with", errRefused, at.Bucket, layout.Root())
	}
	return found, nil
}
