package main

import (
	"fmt"
	"io"

	"github.com/cvconsumer/cvconsumer/internal/human"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// printEnd prints a terminal event; any but completed is an errCommandFailed.
func printEnd(p *program, event contract.Event, asJSON bool) error {
	if asJSON {
		if err := printJSON(p.stdout, event); err != nil {
			return err
		}
	} else if event.Data.Status == contract.StatusCompleted {
		printEvent(p.stdout, event)
	}
	return completed(event)
}

// describeEvent is a terminal event in a few words.
func describeEvent(e contract.Event) string {
	text := string(e.Data.Status)
	if e.Data.Error != nil {
		text += ": " + inFlags(e.Data.Error.Error())
	}
	if hint := unsignedHint(e.Data.Error); hint != "" {
		text += "; " + hint
	}
	if e.Data.ConflictsWith != "" {
		text += " (the id belongs to " + string(e.Data.ConflictsWith) + ")"
	}
	return text
}

// printEvent prints the result of a completed command.
func printEvent(w io.Writer, e contract.Event) {
	d := e.Data
	fmt.Fprintf(w, "%s: %s\n", d.Status, d.Outcome)
	t := newTable(w)
	fmt.Fprintf(t, "  command\t%s\n", d.CommandID)
	printCounts(t, d.Counts)
	if d.Exceptions > 0 {
		fmt.Fprintf(t, "  exceptions\t%d, listed in evidence/inventory.json\n", d.Exceptions)
	}
	if d.Plan != nil {
		fmt.Fprintf(t, "  plan\tsha256 %s\n", d.Plan.SHA256)
	}
	printBundle(t, "bundle", d.Bundle)
	printBundle(t, "exported before", d.ExportBundle)
	for _, r := range d.Residuals {
		fmt.Fprintf(t, "  remains\t%s: %s\n", r.Category, r.Reason)
	}
	t.Flush()
}

// printBundle prints where a bundle is and what it is to be checked against.
func printBundle(w io.Writer, name string, b *contract.BundleRef) {
	if b == nil {
		return
	}
	fmt.Fprintf(w, "  %s\t%s\n  objects\t%d\n  manifest\tsha256 %s\n  receipt\tsha256 %s, %s\n", name, b.URI, b.Objects, b.ManifestSHA256, b.ReceiptSHA256, signedText(*b))
}

func printCounts(w io.Writer, c contract.Counts) {
	printThings(w, c)
	fmt.Fprintf(w, "  payload\t%s\n", human.Bytes(c.Bytes))
}

func printThings(w io.Writer, c contract.Counts) {
	for _, row := range []struct {
		name string
		n    int64
	}{
		{"projects", c.Projects},
		{"iterations", c.Iterations},
		{"performance", c.Performance},
		{"tags", c.Tags},
		{"images", c.Images},
		{"exported models", c.Exports},
		{"predictions", c.Predictions},
	} {
		fmt.Fprintf(w, "  %s\t%d\n", row.name, row.n)
	}
}

// signedText says of a receipt whether it is signed.
func signedText(b contract.BundleRef) string {
	switch {
	case b.Signed && b.TimeStamped:
		return "signed, with a time stamp"
	case b.Signed:
		return "signed"
	}
	return "unsigned"
}
