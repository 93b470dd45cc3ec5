//go:build !lean

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/internal/human"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// demo does what a requester and an auditor would: it publishes an export of everything through
// NATS, waits for its event, fetches the bundle, checks it in the store and in the folder, and says
// what there is; then it has a project exported, deleted and proved to be gone.
func (w *world) demo(p *program) error {
	api, err := s3Client(p.ctx, w.config.S3, nil)
	if err != nil {
		return err
	}
	d := demonstration{world: w, p: p, store: sink.NewStore(api, sink.StoreOptions{Bucket: devBucket, Log: zerolog.Nop()})}
	fmt.Fprintf(p.stdout, "exporting %d simulated projects from %s to %s\n", len(w.sample), w.vision.URL(), w.store.Endpoint)
	event, err := d.request(contract.ActionExport, `{"all_projects":true,"reference":"demo"}`)
	if err != nil {
		return err
	}
	bundle, err := d.check(event.Data.Bundle)
	if err != nil {
		return err
	}
	bundle.print(p.stdout, "bundle")
	gone := w.sample[len(w.sample)-2]
	fmt.Fprintf(p.stdout, "\ndeleting project %s, exported first\n", gone.ID)
	event, err = d.request(contract.ActionDelete, fmt.Sprintf(`{"project_ids":[%q],"export_first":true,"reference":"demo"}`, gone.ID))
	if err != nil {
		return err
	}
	exported, err := d.check(event.Data.ExportBundle)
	if err != nil {
		return err
	}
	proof, err := d.check(event.Data.Bundle)
	if err != nil {
		return err
	}
	exported.print(p.stdout, "exported before")
	proof.print(p.stdout, "proof")
	fmt.Fprintf(p.stdout, "certificate       %s\n", w.relative(filepath.Join(proof.dir, string(sink.IndexFile))))
	for _, r := range event.Data.Residuals {
		fmt.Fprintf(p.stdout, "remains           %s: %s\n", r.Category, r.Reason)
	}
	fmt.Fprintf(p.stdout, "\ncheck it yourself:\n\n  cd %s && sha256sum --check manifest-sha256.txt\n", w.relative(bundle.dir))
	return errors.Join(bundle.err(), exported.err(), proof.err())
}

// demonstration is what the steps of a demo share.
type demonstration struct {
	*world
	p     *program
	store *sink.Store
}

// request publishes a command, waits for its end and prints its result.
func (d demonstration) request(action contract.Action, data string) (contract.Event, error) {
	begun := time.Now() //nolint:forbidigo // a duration for people
	id := "demo-" + uuid.NewString()[:8]
	event, err := request(d.p.ctx, d.config.NATS, order{action: action, id: id, data: []byte(data)}, func(contract.Event) {})
	if err != nil {
		return event, err
	}
	if err := completed(event); err != nil {
		return event, err
	}
	took := time.Since(begun) //nolint:forbidigo // a duration for people
	fmt.Fprintf(d.p.stdout, "\n%s in %s: %s\n\n", event.Data.Status, took.Round(time.Millisecond), event.Data.Outcome)
	t := newTable(d.p.stdout)
	printCounts(t, event.Data.Counts)
	return event, t.Flush()
}

// checked is a bundle of the demo, verified in the store and as a folder.
type checked struct {
	ref             *contract.BundleRef
	dir             string
	stored, fetched verify.Report
}

// check fetches a bundle, and verifies it in the store and in the folder.
func (d demonstration) check(ref *contract.BundleRef) (checked, error) {
	c := checked{ref: ref}
	if ref == nil {
		return c, fmt.Errorf("%w: the event names no bundle", errCommandFailed)
	}
	root := sink.Key(strings.TrimPrefix(ref.URI, "s3://"+devBucket+"/"))
	var err error
	if c.dir, err = d.bundleDir(string(root)); err != nil {
		return c, err
	}
	if err := fetch(d.p.ctx, d.store, root, c.dir); err != nil {
		return c, err
	}
	if c.stored, err = verify.Bag(d.p.ctx, verify.Stored(d.store, root), verify.Options{}); err != nil {
		return c, fmt.Errorf("verify the bundle in the store: %w", err)
	}
	if c.fetched, err = verify.Bag(d.p.ctx, verify.Dir(c.dir), verify.Options{}); err != nil {
		return c, fmt.Errorf("verify the fetched bundle: %w", err)
	}
	return c, nil
}

func (c checked) err() error {
	return errors.Join(resultError(c.stored.Result), resultError(c.fetched.Result))
}

// print says where the bundle is, and how it was checked.
func (c checked) print(out io.Writer, name string) {
	fmt.Fprintln(out)
	t := newTable(out)
	fmt.Fprintf(t, "%-16s\t%s  %d objects\n", name, c.ref.URI, c.ref.Objects)
	fmt.Fprintf(t, "manifest\tsha256 %s\n", c.ref.ManifestSHA256)
	fmt.Fprintf(t, "receipt\tsha256 %s  %s\n", c.ref.ReceiptSHA256, signedText(*c.ref))
	fmt.Fprintf(t, "API calls\t%d lines in the ledger\n", c.stored.Ledger.Lines)
	fmt.Fprintf(t, "in the store\t%s: %d files, %s read again\n", c.stored.Result, c.stored.Files, human.Bytes(c.stored.Bytes))
	fmt.Fprintf(t, "fetched\t%s: %d files, %s read again\n", c.fetched.Result, c.fetched.Files, human.Bytes(c.fetched.Bytes))
	for _, r := range []verify.Report{c.stored, c.fetched} {
		for _, one := range r.Problems {
			fmt.Fprintf(t, "problem\t%s: %s\n", one.Path, one.What)
		}
	}
	t.Flush()
}

// bundleDir is where the demo leaves the bundle: below --dir, else in a folder of its own that
// stays.
func (w *world) bundleDir(name string) (string, error) {
	base := filepath.Join(w.dir, "bundle")
	if w.temporary {
		var err error
		if base, err = os.MkdirTemp("", "consumer-demo-*"); err != nil {
			return "", fmt.Errorf("make a folder for the bundle: %w", err)
		}
	}
	return filepath.Join(base, filepath.FromSlash(name)), nil
}

// relative is a path as seen from the user's folder.
func (w *world) relative(path string) string {
	if r, err := filepath.Rel(w.workDir, path); err == nil && !strings.HasPrefix(r, "..") {
		return r
	}
	return path
}

// fetch downloads every object of a bundle into a new folder.
func fetch(ctx context.Context, store *sink.Store, root sink.Key, dir string) error {
	for o, err := range store.List(ctx, root) {
		if err != nil {
			return fmt.Errorf("list the bundle: %w", err)
		}
		name := filepath.FromSlash(strings.TrimPrefix(string(o.Key), string(root)))
		if !filepath.IsLocal(name) {
			return fmt.Errorf("fetch the bundle: %q is not a path within it", o.Key)
		}
		if err := fetchOne(ctx, store, o.Key, filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("fetch %s: %w", o.Key, err)
		}
	}
	return nil
}

func fetchOne(ctx context.Context, store *sink.Store, key sink.Key, path string) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	body, _, err := store.Open(ctx, key)
	if err != nil {
		return err
	}
	defer body.Close()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, body)
	return err
}
