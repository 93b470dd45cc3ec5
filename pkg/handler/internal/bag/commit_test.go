package bag_test

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// golden is where the golden bags are; the S3 server changes the working directory.
var golden, _ = filepath.Abs(filepath.Join("..", "..", "..", "..", "testdata", "bundles", "two-tags"))

const project = "data/projects/a2e7570a-5d0e-4e96-ba6d-125f56a98544/"

// production is what is about to be committed.
type production struct {
	t     *testing.T
	files map[string]string
	says  bag.Statement
}

// swap replaces a text in a file.
func (p *production) swap(name, old, new string) {
	p.t.Helper()
	if !strings.Contains(p.files[name], old) {
		p.t.Fatalf("no %s in %s", old, name)
	}
	p.files[name] = strings.Replace(p.files[name], old, new, 1)
}

// firstLine is the first line of a file.
func (p *production) firstLine(name string) string {
	line, _, _ := strings.Cut(p.files[name], "\n")
	return line + "\n"
}

// load is the golden export, and what its receipt says.
func load(t *testing.T) *production {
	t.Helper()
	p := &production{t: t, files: map[string]string{}}
	for file, err := range verify.Dir(golden).List(t.Context()) {
		must(t, err)
		content, err := os.ReadFile(filepath.Join(golden, filepath.FromSlash(file.Name)))
		must(t, err)
		p.files[file.Name] = string(content)
	}
	receipt, err := sink.ParseReceipt([]byte(p.files["receipt.json"]))
	must(t, err)
	for _, made := range []string{"receipt.json", "bagit.txt", "bag-info.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt"} {
		delete(p.files, made)
	}
	r := receipt.Predicate
	var verification bagfile.ExportVerification
	must(t, json.Unmarshal(r.Verification, &verification))
	p.says = bag.Statement{
		Account: r.Command.Account, Request: r.Command.SHA256, Outcome: contract.Outcome(r.Outcome), Counts: contract.Counts(bagfile.CountsByName(r.Counts)),
		Exceptions: r.Exceptions, Verification: verification, Tool: r.Tool.Version, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt,
		Ledger: ledger.Ref{Entries: r.Ledger.Entries, Head: r.Ledger.Head},
	}
	must(t, json.Unmarshal(r.Scope, &p.says.Scope))
	return p
}

// commit commits it, and reports whether there is a receipt then.
func (p *production) commit(s *sinktest.Server) (receipt bool, err error) {
	p.t.Helper()
	b := p.bags(sink.NewStore(s.Client(), sink.StoreOptions{Bucket: s.Bucket(p.t, sinktest.BucketOptions{})}))
	_, err = p.attempt(b)
	return p.stored(b, sink.ReceiptFile), err
}

// bags are its bag in a store.
func (p *production) bags(store *sink.Store) bag.Bags {
	p.t.Helper()
	layout, err := sink.NewLayout("", "two-tags")
	must(p.t, err)
	b := bag.Bags{Store: store, Layout: layout, SpoolDir: p.t.TempDir(), Now: time.Now}
	b.Command = contract.Command{ID: "two-tags", Action: contract.ActionExport}
	b.Command.Data.Reference, b.Command.Data.Resource = p.says.Scope.Reference, p.says.Scope.Resource
	return b
}

// attempt is an attempt at committing it.
func (p *production) attempt(b bag.Bags) (bag.Proof, error) {
	t := p.t
	t.Helper()
	out, err := sink.NewBag(b.Store, b.Layout.Bag(sink.ExportBag), b.SpoolDir)
	must(t, err)
	defer func() { must(t, out.Close()) }()
	for _, name := range slices.Sorted(maps.Keys(p.files)) { // as an attempt does, which has the order of the one before
		put := out.PutTag
		if strings.HasPrefix(name, "data/") {
			put = out.Put
		}
		if name == string(sink.IndexFile) { // it comes after the payload, whose manifest it names
			p.files[name] = manifestOnPage.ReplaceAllString(p.files[name], "${1}"+out.ManifestSHA256())
		}
		_, err := put(t.Context(), sink.Path(name), sink.Bytes([]byte(p.files[name]), ""))
		must(t, err)
	}
	info := b.Info(p.says.FinishedAt, p.says.Tool, "Export of user data from Azure Custom Vision, vision.test")
	return b.Commit(t.Context(), sink.ExportBag, out, info, p.says)
}

// manifestOnPage is where the first page names the digest of the payload's manifest.
var manifestOnPage = regexp.MustCompile(`(Digest of the payload's manifest</th><td><code>)[0-9a-f]{64}`)

// stored reports whether a file of the bag is stored.
func (p *production) stored(b bag.Bags, path sink.Path) bool {
	p.t.Helper()
	_, err := b.Store.Unsealed().Head(p.t.Context(), b.Layout.Key(sink.ExportBag, path))
	if err != nil && !errors.Is(err, sink.ErrNotFound) {
		p.t.Fatal(err)
	}
	return err == nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Whatever goes wrong in the making of a bag: what contradicts itself gets no receipt, and the
// error names the finding.
func TestNoReceiptForAContradiction(t *testing.T) {
	s := sinktest.Shared(t)
	if receipt, err := load(t).commit(s); !receipt || err != nil {
		t.Fatalf("the golden bag got a receipt: %t, %v", receipt, err)
	}
	const summary, inventory, request, ledgerFile, records = "data/export.json", "evidence/inventory.json", "evidence/request.json", "evidence/ledger.jsonl", project + "images.jsonl"
	for _, c := range []struct {
		name   string
		change func(p *production)
		want   string
	}{
		{"a wrong count in the receipt", func(p *production) { p.says.Counts.Images++ }, "data/export.json: it counts 4 images, the receipt 5"},
		{"a wrong count everywhere", func(p *production) {
			p.says.Counts.Tags++
			p.swap(summary, `"tags":2`, `"tags":3`)
			p.swap(inventory, `"tags":{"listed":2,"exported":2`, `"tags":{"listed":3,"exported":3`)
		}, "it has 3 tags, there are 2"},
		{"a wrong number of bytes", func(p *production) { p.says.Counts.Bytes-- }, "bytes, the receipt"},
		{"another outcome", func(p *production) { p.says.Outcome = contract.OutcomeExceptions }, "the outcome is"},
		{"an exception that is not counted", func(p *production) {
			p.swap(inventory, `"failed":[]`, `"failed":[{"id":"be487c5a-c3f7-4b61-8804-9312fcd9bb6a","code":"gone","message":"gone"}]`)
		}, "the inventory has 1"},
		{"another scope", func(p *production) { p.says.Scope.Categories = p.says.Scope.Categories[1:] }, "it asks for something else than the receipt says"},
		{"another account", func(p *production) { p.says.Account = "another" }, `the account is "vision.test/default", the receipt has "another"`},
		{"another request", func(p *production) { p.swap(request, `"digest":"`, `"digest":"x`) }, "evidence/request.json: its SHA-256 is"},
		{"a plan", func(p *production) { p.says.Plan = strings.Repeat("0", 64) }, "it does not name a plan by its digest, or one that it cannot have"},
		{"no version of the tool", func(p *production) { p.says.Tool = "" }, "not a version of cvconsumer"},
		{"an end before the start", func(p *production) { p.says.FinishedAt = p.says.StartedAt.AddDate(0, 0, -1) }, "it was finished at"},
		{"a verification of something else", func(p *production) { p.says.Verification = bagfile.ExportVerification{PayloadObjects: 1} }, "its verification is not that of 25 files"},
		{"a ledger that is longer", func(p *production) { p.says.Ledger.Entries++ }, "lines and head"},
		{"a ledger with a gap", func(p *production) { p.swap(ledgerFile, p.firstLine(ledgerFile), "") }, "the chain breaks"},
		{"a record lost", func(p *production) { p.swap(records, p.firstLine(records), "") }, "bytes, there are"},
		{"a record of another picture", func(p *production) { p.swap(records, `"sha256":"`, `"sha256":"0`) }, "has a different SHA-256 in the manifest"},
		{"a record twice", func(p *production) { p.files[records] += p.firstLine(records) }, "is in it twice"},
		{"a picture lost", func(p *production) { delete(p.files, project+"images/be487c5a-c3f7-4b61-8804-9312fcd9bb6a.jpg") }, "is not in the bag"},
		{"a picture without a record", func(p *production) { p.files[project+"images/cccccccc-5d0e-4e96-ba6d-125f56a98544.jpg"] = "x" }, "no record speaks of it"},
		{"a document lost", func(p *production) { delete(p.files, project+"tags.json") }, "tags.json: it is missing"},
		{"a signed link", func(p *production) {
			p.swap(project+"project.json", `"Sun`, `"https://x.blob.core.windows.net/a?sv=1&sig=2 Sun`)
		}, "has a link with its query"},
		{"a file of another bag", func(p *production) { p.files["evidence/plan.json"] = "{}" }, "no bag of this kind has a file of this name"},
		{"much at once", func(p *production) { p.files[records] = strings.Repeat("x\n", 10) }, "more findings"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := load(t)
			c.change(p)
			receipt, err := p.commit(s)
			var ended *contract.Error
			if receipt || !errors.As(err, &ended) || ended.Code != contract.CodeInternal || !strings.Contains(ended.Message, c.want) {
				t.Errorf("there is a receipt: %t; want %q in: %v", receipt, c.want, err)
			}
		})
	}
}
