package report_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/links"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/report"
)

// full is a certificate with something in every part of it.
func full() report.Certificate {
	at := time.Date(2026, 1, 2, 15, 4, 5, 0, time.FixedZone("", 3600))
	return report.Certificate{
		Command: "del-1", Reference: "case 7", Source: "urn:desk", Published: at, Selection: []string{"2 named images"}, Categories: []string{"images"}, Host: "vision.test", APIVersion: "v3.3", Method: "logical deletion",
		PlanSHA256: strings.Repeat("a", 64), Started: at, Finished: at.Add(time.Minute), Tool: "cvconsumer test",
		Counts:   []report.Count{{Category: "images", N: 4711}, {Category: "tags", N: 2}},
		Projects: []report.Project{{ID: "p-1", Name: "Shelves", Whole: true, Counts: []int64{4700, 1}}, {ID: "p-2", Counts: []int64{11, 1}}},
		Checks: []bagfile.Check{
			{Project: "p-1", Category: "images", Items: 4700, How: "counted", First: at, Last: at.Add(30 * time.Second)},
		},
		Residuals:     []report.Residual{{Category: "exports", Reason: "they go with the account"}},
		LedgerEntries: 815, LedgerHead: strings.Repeat("b", 64),
		ExportURI: "s3://bucket/del-1/export/", ExportReceiptSHA256: strings.Repeat("c", 64),
	}
}

func page(t *testing.T, c report.Certificate) string {
	t.Helper()
	b, err := c.HTML()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCertificateSays(t *testing.T) {
	const (
		went    = "was deleted from the Azure Custom Vision service"
		planned = "<strong>Nothing was deleted.</strong>"
		nothing = "Nothing of what was asked for was found when its turn came, so nothing was deleted."
		checked = "how it was verified"
	)
	for _, c := range []struct {
		name      string
		change    func(*report.Certificate)
		says, not []string
	}{
		{
			name: "complete", change: func(*report.Certificate) {},
			says: []string{
				"<h1>Certificate of deletion</h1>", went, checked, "What was deleted", "Annex B: how it was verified", "Annex C", "del-1", "case 7", "vision.test", "v3.3", "logical deletion", strings.Repeat("a", 64),
				"2026-01-02 14:04:05 UTC", "2026-01-02 14:05:05 UTC", "2026-01-02 14:04:35 UTC", // begun, finished, last seen to be gone: all in UTC
				"4711", "4700", "<bdi>Shelves</bdi><br><code>p-1</code></th>", "Project <bdi>Shelves</bdi> <code>p-1</code>", "urn:desk", "2 named images", "<th scope=\"row\"><code>p-2</code><br>", "counted", "they go with the account", "815 lines", strings.Repeat("b", 64),
				"s3://bucket/del-1/export/", strings.Repeat("c", 64), "cvconsumer test", "receipt.json",
			},
			not: []string{planned, nothing, "nothing to verify"},
		},
		{
			name: "planned", change: func(c *report.Certificate) { c.Planned, c.Checks, c.ExportURI = true, nil, "" },
			says: []string{"<h1>Plan of a deletion</h1>", planned, "What would be deleted", strings.Repeat("a", 64), "4711", "they go with the account"},
			not:  []string{"Certificate", went, nothing, checked, "What was deleted", "deleted.jsonl", "logical deletion", "Exported before"},
		},
		{
			name: "nothing found", change: func(c *report.Certificate) {
				c.NothingFound, c.Checks, c.Projects, c.Counts, c.Reference, c.ExportURI = true, nil, nil, []report.Count{{Category: "images"}}, "", ""
			},
			says: []string{"<h1>Certificate of deletion</h1>", nothing, "there was nothing to verify", "they go with the account"},
			not:  []string{planned, went, "Reference", "Exported before", "the project itself"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			certificate := full()
			c.change(&certificate)
			html := page(t, certificate)
			for _, s := range c.says {
				if !strings.Contains(html, s) {
					t.Errorf("it does not say %q", s)
				}
			}
			for _, s := range c.not {
				if strings.Contains(html, s) {
					t.Errorf("it says %q", s)
				}
			}
			if t.Failed() {
				t.Log(html)
			}
		})
	}
}

// TestCertificateEscapes puts markup, a line break and characters that turn the direction of text
// into every text: they are shown, and nothing more.
func TestCertificateEscapes(t *testing.T) {
	const evil = `</title></code><script>alert("1")</script><img src=x onerror='x'>&amp;` + "\n\x1b[2J\u202e\u2066"
	c := full()
	for _, text := range []*string{
		&c.Command, &c.Reference, &c.Source, &c.Selection[0], &c.Categories[0], &c.Projects[0].Name, &c.Host, &c.APIVersion, &c.Method, &c.PlanSHA256, &c.Tool, &c.LedgerHead, &c.ExportURI, &c.ExportReceiptSHA256,
		&c.Counts[0].Category, &c.Projects[0].ID, &c.Checks[0].Project, &c.Checks[0].Category, &c.Checks[0].How, &c.Residuals[0].Category, &c.Residuals[0].Reason,
	} {
		before := *text
		*text = evil
		html := page(t, c)
		if strings.Contains(html, "<script") || strings.Contains(html, "<img") || strings.Count(html, "</title>") != 1 {
			t.Errorf("markup in the place of %q is not escaped", before)
		}
		if strings.ContainsAny(html, "\x1b\u202e\u2066") || !strings.Contains(html, `\n\x1b[2J\u202e\u2066`) {
			t.Errorf("control and direction characters in the place of %q are not shown as such", before)
		}
		if !strings.Contains(html, "&lt;script&gt;") || !strings.Contains(html, "&amp;amp;") {
			t.Errorf("the text in the place of %q is not shown as it is", before)
		}
		*text = before
	}
}

// TestCertificateHasNoSignedLink puts names on the certificate that become a signed link when they
// are escaped: verification would refuse the bundle of a delete that is done.
func TestCertificateHasNoSignedLink(t *testing.T) {
	for _, name := range evil {
		c := full()
		c.Projects[0].Name = name
		if links.InText(page(t, c)) {
			t.Errorf("there is a signed link on the certificate of %q", name)
		}
	}
}

func TestCertificateIsTheSameEveryTime(t *testing.T) {
	first := page(t, full())
	for range 3 {
		if again := page(t, full()); again != first {
			t.Fatal("the same input gives other bytes")
		}
	}
	other := full()
	other.LedgerEntries++
	if page(t, other) == first {
		t.Error("another input gives the same bytes")
	}
	if b := []byte(first); !bytes.HasPrefix(b, []byte("<!DOCTYPE html>")) || bytes.Contains(b, []byte("<no value>")) || bytes.Contains(b, []byte("http://")) || bytes.Contains(b, []byte("https://")) {
		t.Error("the page is not whole, or leads elsewhere")
	}
}
