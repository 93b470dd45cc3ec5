package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

type linkCmd struct {
	ID         string        `arg:"" name:"id" help:"Id of the command."`
	Expires    time.Duration `name:"expires" default:"24h" placeholder:"DURATION" help:"How long the links work, at most 168h (7 days); default ${default}."`
	kindFlag   `embed:""`
	outputFlag `embed:""`
	S3         storeAccess    `embed:"" group:"Storage:"`
	Bucket     bundleSettings `embed:"" group:"Storage:"`
}

// Help implements kong.HelpProvider.
func (linkCmd) Help() string {
	return "Prints signed links to the receipt, its signature, the page and, if there is one, the archive of each finished bundle of a command, for auditors without access to the store. " +
		"The archive is looked for beside the bundle: consumer pack s3://BUCKET/PREFIX/ID/export/ s3://BUCKET/PREFIX/ID/ puts it there. " +
		"Each holder of a link can read what it leads to until it expires; it cannot be taken back but by removing the key that signed it. S3 allows at most 7 days. " +
		"Links that temporary credentials sign (a role, a web identity, an instance) end with these, which is often within hours: sign with a key that does not expire where they have to last."
}

// links are those of one bundle, as -o json prints them.
type links struct {
	Where     string    `json:"where"`
	Expires   time.Time `json:"expires"`
	Temporary bool      `json:"temporary_credentials"` // that signed them: they may end earlier
	Links     []link    `json:"links"`
	Archive   bool      `json:"archive"` // there is a link to one

	pack string // the command line that makes an archive
}

// link leads to one object.
type link struct {
	What string `json:"what"`
	URL  string `json:"url"`
}

// Run prints links.
func (c linkCmd) Run(p *program) error {
	if c.Expires < time.Second || c.Expires > sink.MaxLink {
		return fmt.Errorf("%w: --expires is 1s to 168h (7 days, the most that S3 allows), not %s", errUsage, c.Expires)
	}
	bundles, err := c.S3.bundlesOf(p, c.Bucket, c.ID, c.Kind)
	if err != nil {
		return err
	}
	for _, b := range bundles {
		all, err := b.links(p, c.ID, c.Expires)
		if err != nil {
			return err
		}
		if err := c.printResult(p, all); err != nil {
			return err
		}
	}
	return nil
}

// links signs links to what is there of a bundle.
func (b commandBundle) links(p *program, id string, lasts time.Duration) (links, error) {
	name := id + "-" + string(b.kind)
	above := b.root[:len(b.root)-len(b.kind)-1]
	archive := above + sink.Key(name+".zip")
	all := links{Where: b.name, pack: shellLine("consumer", "pack", b.name, fmt.Sprintf("s3://%s/%s", b.store.Bucket(), above))}
	for _, one := range []struct {
		what   string
		key    sink.Key
		saveAs string // empty: browsers show it
	}{
		{"archive", archive, name + ".zip"},
		{"page", b.root + sink.Key(sink.IndexFile), ""},
		{"receipt", b.root + sink.Key(sink.ReceiptFile), name + "-" + string(sink.ReceiptFile)},
		{"signature", b.root + sink.Key(sink.SignatureFile), name + "-" + string(sink.SignatureFile)},
	} {
		_, err := b.store.Head(p.ctx, one.key)
		if errors.Is(err, sink.ErrNotFound) {
			continue
		}
		if err != nil {
			return all, b.access.unreachable(err)
		}
		signed, err := b.store.Link(p.ctx, one.key, one.saveAs, lasts, time.Now()) //nolint:forbidigo // what the signature's time is
		if err != nil {
			return all, b.access.unreachable(err)
		}
		all.Links = append(all.Links, link{one.what, signed.URL})
		all.Archive = all.Archive || one.key == archive
		all.Expires, all.Temporary = signed.Expires, signed.Temporary
	}
	return all, nil
}

func (l links) print(w io.Writer) error {
	fmt.Fprintf(w, "%s: links that work until %s, for each holder of one\n", l.Where, l.Expires.Format(time.RFC3339))
	t := newTable(w)
	for _, one := range l.Links {
		fmt.Fprintf(t, "  %s\t%s\n", one.What, one.URL)
	}
	if l.Temporary {
		fmt.Fprintln(t, "  The credentials that signed them are temporary, and the links end with these, perhaps earlier.")
	}
	if l.Archive {
		fmt.Fprintln(t, "  By its link the page comes alone: its pictures and its further pages are in the archive.")
	} else {
		fmt.Fprintf(t, "  There is no archive of all files. This makes one: %s\n", l.pack)
	}
	return t.Flush()
}
