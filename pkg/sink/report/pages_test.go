package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/report"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	projectA = "0f3b2a77-3a57-4b8c-9a67-5c1c1df0a111"
	projectB = "7f0ce8b1-5a5a-4c6e-9d0e-3f2b6d1c9a11"
)

func at(second int) time.Time {
	return time.Date(2026, time.November, 25, 9, 30, second, 0, time.FixedZone("", 3600)) // shown in UTC
}

// deleted is the certificate of a delete of a whole project and of an image of another, of two that
// were planned.
func deleted() report.Certificate {
	return report.Certificate{
		Command: "del-1", Reference: "CASE-17", Source: "urn:desk", Published: at(0), Selection: []string{"images whose metadata has subject = hmac-sha256:0123456789abcdef"}, Categories: []string{"images", "exports"},
		Host: "vision.example.net", APIVersion: "v3.3", Method: "logical deletion through the service's API",
		PlanSHA256: strings.Repeat("ab", 32), Started: at(0), Finished: at(30), Tool: "cvconsumer test",
		Counts: []report.Count{{"projects", 1}, {"images", 5}, {"exports", 0}},
		Projects: []report.Project{
			{ID: projectA, Name: "Shelves <east>", Whole: true, Counts: []int64{1, 4, 0}},
			{ID: projectB, Counts: []int64{0, 1, 0}},
		},
		Checks: []bagfile.Check{
			{Project: projectA, Category: "images", Items: 4, How: "the counts are 0", First: at(10), Last: at(11)},
			{Project: projectA, Category: "projects", Items: 1, How: "GetProject answers 404", First: at(12), Last: at(12)},
			{Project: projectB, Category: "images", Items: 2, AlreadyGone: 1, How: "the counts are 0", First: at(20), Last: at(20)},
		},
		Residuals:     []report.Residual{{"exports", "they go with the account"}, {"projects", "the service itself removes the data within 30 days of its deletion"}},
		LedgerEntries: 78, LedgerHead: strings.Repeat("cd", 32),
		ExportURI: "s3://bundles/del-1/export/", ExportReceiptSHA256: strings.Repeat("ef", 32),
	}
}

// planned is the page of a dry run.
func planned() report.Certificate {
	c := deleted()
	c.Planned, c.Checks, c.ExportURI, c.ExportReceiptSHA256 = true, nil, "", ""
	return c
}

// nothing is the certificate of a delete that found nothing.
func nothing() report.Certificate {
	c := deleted()
	c.NothingFound, c.Checks, c.Projects, c.ExportURI, c.ExportReceiptSHA256, c.Reference = true, nil, nil, "", "", ""
	for i := range c.Counts {
		c.Counts[i].N = 0
	}
	return c
}

// TestGoldenPages holds the pages to their bytes, and the same input to the same bytes.
func TestGoldenPages(t *testing.T) {
	for name, make := range map[string]func() report.Certificate{"deleted.html": deleted, "planned.html": planned, "nothing.html": nothing} {
		t.Run(name, func(t *testing.T) {
			got := []byte(page(t, make()))
			if !bytes.Equal(got, []byte(page(t, make()))) {
				t.Error("the same input gives two pages")
			}
			file := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil { //nolint:gosec // a golden file
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("the page differs from %s; look at it, then run with -update:\n%s", file, got)
			}
		})
	}
}

// regexpScript is a script, which is no XML.
var regexpScript = regexp.MustCompile(`(?s)<script>.*?</script>`)

// tags counts the elements of a page by name. It fails when the page is not well nested.
func tags(t *testing.T, page []byte) map[string]int {
	t.Helper()
	counts := map[string]int{}
	page = regexpScript.ReplaceAll(page, nil)
	page = regexp.MustCompile(`<((?:meta|img|input) [^>]*|br|wbr)>`).ReplaceAll(page, []byte("<$1/>"))
	d := xml.NewDecoder(bytes.NewReader(page))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return counts
		}
		if err != nil {
			t.Fatalf("not well formed: %v\n%s", err, page)
		}
		if e, ok := token.(xml.StartElement); ok {
			counts[e.Name.Local]++
		}
	}
}

// TestPagesAreForOffline shows that a page asks for nothing: no script, no link, nothing to load.
func TestPagesAreForOffline(t *testing.T) {
	for _, c := range []report.Certificate{deleted(), planned(), nothing()} {
		got := []byte(page(t, c))
		if found := regexp.MustCompile(`(?i)<script|<link|<img|<iframe|<a |src=|href=|url\(|@import|https?:`).Find(got); found != nil {
			t.Errorf("there is %q in the page", found)
		}
		if !bytes.Contains(got, []byte(`content="default-src &#39;none&#39;; base-uri &#39;none&#39;; form-action &#39;none&#39;; style-src &#39;sha256-`)) {
			t.Error("the page does not say that it loads nothing")
		}
		tags(t, got)
	}
}
