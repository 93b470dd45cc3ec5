package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/cvconsumer/cvconsumer/internal/human"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/transfer"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

type packCmd struct {
	Where      string `arg:"" name:"where" help:"A folder, a .zip file or s3://bucket/prefix/ that holds one bundle."`
	Dest       string `arg:"" name:"dest" help:"The archive to write: a .zip file or s3://bucket/key.zip. In a folder, or below s3://bucket/prefix/, it is called ID-export.zip or ID-delete.zip."`
	outputFlag `embed:""`
	keyFlag    `embed:""`
	S3         storeAccess        `embed:"" group:"Storage, for s3://:"`
	SSE        encryptionSettings `embed:"" group:"Storage, for s3://:"`
}

// Help implements kong.HelpProvider.
func (packCmd) Help() string {
	return "Verifies the bundle, and writes all of it as one zip archive: each file is read once, and compared with its manifest on its way. " +
		"The archive is a stream: it needs no room for temporary files, and little memory. It is there when it is whole, and not before; nothing is overwritten. " +
		"The same bundle always gives the same archive."
}

// packed is what an archive holds, as -o json prints it.
type packed struct {
	Where     string           `json:"where"`
	Dest      string           `json:"dest"`
	Bytes     int64            `json:"bytes"`
	SHA256    string           `json:"sha256"`
	Files     int              `json:"files"`
	Unpacked  int64            `json:"unpacked_bytes"`
	Signature verify.Signature `json:"signature"`
	SignedBy  string           `json:"signed_by,omitempty"`
}

// Run packs one bundle.
func (c packCmd) Run(p *program) error {
	keys, err := readPublicKeys(c.Key)
	if err != nil {
		return err
	}
	if _, err := zipName(c.Dest, "any.zip"); err != nil {
		return err
	}
	from, err := c.S3.openBundle(p.ctx, p.env, c.Where)
	if err != nil {
		return err
	}
	defer from.close()
	done, err := from.pack(p, keys, c.S3, c.SSE, c.Dest)
	if err != nil {
		return err
	}
	return c.printResult(p, done)
}

// pack writes a bundle as an archive.
func (b bundle) pack(p *program, keys publicKeys, s3 storeAccess, sse encryptionSettings, dest string) (done packed, err error) {
	bag, err := transfer.Open(p.ctx, b.bag)
	if err != nil {
		return done, b.failed(fmt.Errorf("%s: %w", b.name, err), nil)
	}
	if dest, err = zipName(dest, bag.Name()+".zip"); err != nil {
		return done, err
	}
	if err := b.checkOutside(dest); err != nil {
		return done, err
	}
	report, err := b.checkStatements(p, keys)
	if err != nil {
		return done, err
	}
	const perFile = 1 << 10 // of the archive's headers and directory, at most
	out, err := s3.create(p, sse, dest, "application/zip", report.Bytes+int64(report.Files)*perFile)
	if err != nil {
		return done, err
	}
	show := newBundleProgress(p.stderr)
	progress, end := show.copying(dest, report.Bytes)
	counted := &countedWriter{w: out}
	hash := sha256.New()
	err = bag.Pack(p.ctx, io.MultiWriter(counted, hash), func(files int, bytes int64) {
		done.Files, done.Unpacked = files, bytes
		progress(files, bytes)
	})
	end()
	show.end()
	if err != nil {
		out.Abort()
		return done, b.failed(fmt.Errorf("pack %s: %w", b.name, err), nil)
	}
	if err := out.Commit(); err != nil {
		return done, err
	}
	done.Where, done.Dest, done.Bytes, done.SHA256 = b.name, dest, counted.n, hex.EncodeToString(hash.Sum(nil))
	done.Signature, done.SignedBy = report.Signature, report.Signer
	return done, nil
}

func (d packed) print(w io.Writer) error {
	fmt.Fprintf(w, "%s: %d files verified and packed\n", bagfile.Printable(d.Where), d.Files)
	t := newTable(w)
	fmt.Fprintf(t, "  archive\t%s\n", bagfile.Printable(d.Dest))
	fmt.Fprintf(t, "  size\t%s (unpacked %s)\n", human.Bytes(d.Bytes), human.Bytes(d.Unpacked))
	fmt.Fprintf(t, "  sha256\t%s\n", d.SHA256)
	fmt.Fprintf(t, "  signature\t%s\n", signatureWord(d.Signature, d.SignedBy))
	return t.Flush()
}

// signatureWord says in a word what is known of the signature of a bundle that was copied.
func signatureWord(s verify.Signature, by string) string {
	switch s {
	case verify.Signed:
		return "by key " + by
	case verify.Unsigned:
		return "none: the receipt is unsigned"
	}
	return "not checked: --key takes the public key"
}

// countedWriter counts what is written.
type countedWriter struct {
	w io.Writer
	n int64
}

func (c *countedWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err //nolint:wrapcheck // it names the place
}
