package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// demo does what a requester and an auditor would: it publishes an export of everything through NATS, waits for its event, fetches the bundle, checks it in
// the store and in the folder, and says what there is.
func (w *world) demo(p *program) error {
	fmt.Fprintf(p.stdout, "exporting %d simulated projects from %s to %s\n", len(w.sample), w.vision.URL(), w.store.Endpoint)
	begun := time.Now() //nolint:forbidigo // a duration for people
	id := "demo-" + uuid.NewString()[:8]
	event, err := request(p.ctx, w.config.NATS, order{action: handler.ActionExport, id: id, data: []byte(`{"all_projects":true,"reference":"demo"}`)}, func(handler.Event) {})
	if err != nil {
		return err
	}
	took := time.Since(begun) //nolint:forbidigo // a duration for people
	if event.Data.Status != handler.StatusCompleted || event.Data.Bundle == nil {
		return fmt.Errorf("%w: %s", errCommandFailed, describeEvent(event))
	}
	api, err := s3Client(p.ctx, w.config.S3, nil)
	if err != nil {
		return err
	}
	store := sink.NewStore(api, sink.StoreOptions{Bucket: devBucket, Log: zerolog.Nop()})
	root := sink.Key(strings.TrimPrefix(event.Data.Bundle.URI, "s3://"+devBucket+"/"))
	dir, err := w.bundleDir(id)
	if err != nil {
		return err
	}
	if err := fetch(p.ctx, store, root, dir); err != nil {
		return err
	}
	stored, err := sink.Verify(p.ctx, sink.StoreSource(store, root), sink.VerifyOptions{})
	if err != nil {
		return fmt.Errorf("verify the bundle in the store: %w", err)
	}
	fetched, err := sink.Verify(p.ctx, sink.DirSource(dir), sink.VerifyOptions{})
	if err != nil {
		return fmt.Errorf("verify the fetched bundle: %w", err)
	}
	account(p.stdout, event, took, stored, fetched, w.relative(dir))
	return errors.Join(worse(nil, stored.Result), worse(nil, fetched.Result))
}

// bundleDir is where the demo leaves the bundle: below --dir, else in a folder of its own that stays.
func (w *world) bundleDir(id string) (string, error) {
	base := filepath.Join(w.dir, "bundle")
	if w.temporary {
		var err error
		if base, err = os.MkdirTemp("", "consumer-demo-*"); err != nil {
			return "", fmt.Errorf("make a folder for the bundle: %w", err)
		}
	}
	return filepath.Join(base, id), nil
}

// relative is a path as somebody in the user's folder would write it.
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
			return fmt.Errorf("fetch the bundle: %q is no path within it", o.Key)
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

// account prints what was exported and how it was checked.
func account(out io.Writer, e handler.Event, took time.Duration, stored, fetched sink.Report, dir string) {
	d := e.Data
	fmt.Fprintf(out, "\n%s in %s: %s\n\n", d.Status, took.Round(time.Millisecond), d.Outcome)
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	printCounts(t, d.Counts)
	fmt.Fprintf(t, "  API calls\t%d\n", stored.Ledger.Lines)
	t.Flush()
	fmt.Fprintln(out)
	fmt.Fprintf(t, "bundle\t%s  %d objects\n", d.Bundle.URI, d.Bundle.Objects)
	fmt.Fprintf(t, "manifest\tsha256 %s\n", d.Bundle.ManifestSHA256)
	fmt.Fprintf(t, "receipt\tsha256 %s  %s\n", d.Bundle.ReceiptSHA256, signedText(d.Bundle.Signed))
	fmt.Fprintf(t, "in the store\t%s: %d files, %s read again\n", stored.Result, stored.Files, humanBytes(stored.Bytes))
	fmt.Fprintf(t, "fetched\t%s: %d files, %s read again\n", fetched.Result, fetched.Files, humanBytes(fetched.Bytes))
	for _, r := range []sink.Report{stored, fetched} {
		for _, one := range r.Problems {
			fmt.Fprintf(t, "problem\t%s: %s\n", one.Path, one.What)
		}
	}
	t.Flush()
	fmt.Fprintf(out, "\ncheck it yourself:\n\n  cd %s && sha256sum --check manifest-sha256.txt\n", dir)
}
