package sink_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// memory is a bag held in memory.
type memory map[string]string

func (m memory) List(context.Context) iter.Seq2[sink.File, error] {
	return func(yield func(sink.File, error) bool) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			if !yield(sink.File{Name: name, Bytes: int64(len(m[name]))}, nil) {
				return
			}
		}
	}
}

func (m memory) Open(_ context.Context, name string) (io.ReadCloser, error) {
	content, ok := m[name]
	if !ok {
		return nil, sink.ErrNotFound
	}
	return io.NopCloser(strings.NewReader(content)), nil
}

// unsized is a bag whose listing does not say how large its files are.
type unsized struct{ memory }

func (u unsized) List(ctx context.Context) iter.Seq2[sink.File, error] {
	return func(yield func(sink.File, error) bool) {
		for file, err := range u.memory.List(ctx) {
			file.Bytes = -1
			if !yield(file, err) {
				return
			}
		}
	}
}

// with is a copy with one file changed.
func (m memory) with(name, content string) memory {
	out := maps.Clone(m)
	out[name] = content
	return out
}

// without is a copy without one file.
func (m memory) without(name string) memory {
	out := maps.Clone(m)
	delete(out, name)
	return out
}

// reseal makes manifests and the receipt fit the content again: what a forger without a signing key
// can do.
func (m memory) reseal(t *testing.T) memory {
	t.Helper()
	out := maps.Clone(m)
	manifest := func(name string, keep func(string) bool) string {
		var lines []byte
		for _, file := range slices.Sorted(maps.Keys(out)) {
			if keep(file) {
				lines = sink.AppendManifestLine(lines, sink.ManifestLine{SHA256: digest(out[file]), Path: sink.Path(file)})
			}
		}
		out[name] = string(lines)
		return digest(out[name])
	}
	var seal sink.Seal
	for name, content := range out {
		if strings.HasPrefix(name, "data/") {
			seal.PayloadObjects++
			seal.PayloadBytes += int64(len(content))
		}
	}
	seal.ManifestSHA256 = manifest("manifest-sha256.txt", func(n string) bool { return strings.HasPrefix(n, "data/") })
	seal.TagManifestSHA256 = manifest("tagmanifest-sha256.txt", func(n string) bool {
		return !strings.HasPrefix(n, "data/") && n != "tagmanifest-sha256.txt" && n != "receipt.json" && n != "receipt.sigstore.json"
	})
	old, err := sink.ParseReceipt([]byte(m["receipt.json"]))
	must(t, err)
	receipt, err := sink.NewReceipt(old.PredicateType, seal, old.Predicate).Encode()
	must(t, err)
	out["receipt.json"] = string(receipt)
	return out
}

func digest(s string) string { return sink.Bytes([]byte(s), "").SHA256 }

// sample is the test bag, with a small model.
func sample(t *testing.T) memory {
	t.Helper()
	w := newWorld(t, sinktest.BucketOptions{})
	_, err := writeBag(t.Context(), w.store, t.TempDir())
	must(t, err)
	bag := memory(tree(t, w.fetch(t)))
	bag[string(testModel)] = "a small model"
	seal := bag.reseal(t)
	seal["bag-info.txt"] = oxum(seal)
	return seal.reseal(t)
}

// oxum is a bag-info.txt that fits a bag's payload.
func oxum(m memory) string {
	n, size := 0, 0
	for name, content := range m {
		if strings.HasPrefix(name, "data/") {
			n, size = n+1, size+len(content)
		}
	}
	return fmt.Sprintf("External-Identifier: req-1\nPayload-Oxum: %d.%d\n", size, n)
}

// problems verifies a bag and gives what is wrong with it. What is wrong is seen also where a
// listing says no sizes, and what is good is good.
func problems(t *testing.T, src sink.Source) string {
	t.Helper()
	got := problemsOf(t, src)
	if m, ok := src.(memory); ok {
		if other := problemsOf(t, unsized{m}); (got == "") != (other == "") {
			t.Errorf("with sizes there is wrong:\n%s\nwithout:\n%s", got, other)
		}
	}
	return got
}

func problemsOf(t *testing.T, src sink.Source) string {
	t.Helper()
	report, err := sink.Verify(t.Context(), src, sink.VerifyOptions{})
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	if (report.Result == sink.Failed) != (len(report.Problems) > 0) {
		t.Fatalf("result %s with %+v", report.Result, report.Problems)
	}
	var b strings.Builder
	for _, p := range report.Problems {
		fmt.Fprintf(&b, "%s: %s\n", p.Path, p.What)
	}
	return b.String()
}

// TestVerifySeesEveryTamper flips a byte of, truncates, extends, removes, empties and renames every
// file of a bag in turn.
func TestVerifySeesEveryTamper(t *testing.T) {
	bag := sample(t)
	verifyOK(t, bag)
	for name, content := range bag {
		flipped := []byte(content)
		flipped[len(flipped)/2] ^= 0x01
		ext := filepath.Ext(name)
		for how, tampered := range map[string]memory{
			"byte flipped": bag.with(name, string(flipped)),
			"truncated":    bag.with(name, content[:len(content)-1]),
			"extended":     bag.with(name, content+"\n"),
			"emptied":      bag.with(name, ""),
			"removed":      bag.without(name),
			"renamed":      bag.without(name).with(strings.TrimSuffix(name, ext)+"x"+ext, content),
			"doubled":      bag.with(strings.TrimSuffix(name, ext)+"-2"+ext, content),
		} {
			got := problems(t, tampered)
			if name == "receipt.json" && how == "byte flipped" && got == "" {
				continue // without a signature, nothing vouches for a receipt's own text
			}
			if got == "" {
				t.Errorf("%s %s: not seen", name, how)
			}
			if !strings.Contains(got, name) && how != "renamed" && how != "doubled" {
				t.Errorf("%s %s: not named in\n%s", name, how, got)
			}
		}
	}
}

func TestVerifySeesMore(t *testing.T) {
	bag := sample(t)
	const p = "data/projects/11111111-2222-4333-8444-555555555555/"
	images := p + "images.jsonl"
	first := "images/" + imageA.String() + ".jpg"
	replace := func(name, old, new string) memory {
		if !strings.Contains(bag[name], old) {
			t.Fatalf("%s has no %q", name, old)
		}
		return bag.with(name, strings.Replace(bag[name], old, new, 1))
	}
	sealed := func(m memory) memory {
		out := m.reseal(t)
		out["bag-info.txt"] = oxum(out)
		return out.reseal(t)
	}
	manifest := bag["manifest-sha256.txt"]
	line, _, _ := strings.Cut(manifest, "\n")
	for _, tc := range []struct {
		name string
		bag  memory
		want string
	}{
		{"nothing there", memory{}, "no files"},
		{"no receipt", bag.without("receipt.json"), "receipt.json: there is no receipt: the bundle was not committed"},
		{"receipt is no JSON", bag.with("receipt.json", "hello"), "receipt.json: parse receipt"},
		{"receipt written by hand", replace("receipt.json", `"v":1`, `"v": 1`), "receipt.json: it is not in canonical form"},
		{"receipt of another manifest", replace("receipt.json", digest(manifest), digestA), "manifest-sha256.txt: its SHA-256 is"},
		{"receipt of another tag manifest", replace("receipt.json", digest(bag["tagmanifest-sha256.txt"]), digestA), "tagmanifest-sha256.txt: its SHA-256 is"},
		{"receipt of another ledger", replace("receipt.json", `"entries":3`, `"entries":4`), "evidence/ledger.jsonl: it has 3 lines"},
		{"receipt of another payload", replace("receipt.json", `"payload_objects":7`, `"payload_objects":8`), "receipt.json: it speaks of 8 files"},
		{"file listed twice", bag.with("manifest-sha256.txt", manifest+line+"\n").reseal2(t), "twice"},
		{"manifest lists a tag file", bag.with("manifest-sha256.txt", manifest+digest(bag["bagit.txt"])+"  bagit.txt\n").reseal2(t), "not below data/"},
		{"manifest lists what is not there", bag.with("manifest-sha256.txt", manifest+digestA+"  data/nothing\n").reseal2(t), "data/nothing: it is missing"},
		{"manifest with an odd line", bag.with("manifest-sha256.txt", manifest+"hello\n").reseal2(t), "manifest-sha256.txt: line 8"},
		{"empty manifest", bag.with("manifest-sha256.txt", "").reseal2(t), "lists no file"},
		{"unlisted payload", bag.with("data/extra", "x"), "data/extra: it is not in the manifest"},
		{"unlisted tag file", bag.with("extra", "x"), "extra: it is not in the tag manifest"},
		{"tag manifest lists payload", bag.with("tagmanifest-sha256.txt", bag["tagmanifest-sha256.txt"]+digestA+"  data/export.json\n"), "does not belong there"},
		{"another BagIt version", sealed(bag.with("bagit.txt", "BagIt-Version: 0.97\n")), "bagit.txt: it does not declare BagIt 1.0"},
		{"wrong Payload-Oxum", bag.with("bag-info.txt", "Payload-Oxum: 1.1\n").reseal(t), "bag-info.txt: Payload-Oxum is 1.1"},
		{"no Payload-Oxum", bag.with("bag-info.txt", "A: b\n").reseal(t), "0 Payload-Oxum fields"},
		{"bag-info.txt of nonsense", bag.with("bag-info.txt", " x\n").reseal(t), "bag-info.txt: parse"},
		{"no export.json", sealed(bag.without("data/export.json")), "data/export.json: it is missing"},
		{"no inventory", sealed(bag.without("evidence/inventory.json")), "evidence/inventory.json: it is missing"},
		{"no request", sealed(bag.without("evidence/request.json")), "evidence/request.json: it is missing"},
		{"no ledger", sealed(bag.without("evidence/ledger.jsonl")), "evidence/ledger.jsonl: it is missing"},
		{"a ledger line changed", sealed(replace("evidence/ledger.jsonl", `"attempt":1`, `"attempt":2`)), "evidence/ledger.jsonl: the chain breaks: line 2"},
		{"ledger cut at a line", sealed(bag.with("evidence/ledger.jsonl", bag["evidence/ledger.jsonl"][:strings.Index(bag["evidence/ledger.jsonl"], "\n")+1])), "evidence/ledger.jsonl: it has 1 lines"},
		{"inventory of another project", sealed(replace("evidence/inventory.json", project.String(), iteration.String())), "the inventory does not name this project"},
		{"inventory of nonsense", sealed(bag.with("evidence/inventory.json", "{")), "evidence/inventory.json: it is not valid JSON"},
		{"inventory of later times", sealed(replace("evidence/inventory.json", `"v":1`, `"v":2`)), "evidence/inventory.json: it has version 2"},
		{"record of a missing file", sealed(replace(images, first, "images/"+iteration.String()+".jpg")), "images.jsonl: line 1: its file"},
		{"record of a file elsewhere", sealed(replace(images, first, "../"+project.String()+"/"+first)), "not a well-formed name"},
		{"record with another digest", sealed(replace(images, `"sha256":"`, `"sha256":"00`)), "a different SHA-256"},
		{"record with another size", sealed(replace(images, `"bytes":2003`, `"bytes":2004`)), "2003 bytes, not 2004"},
		{"record of another image", sealed(replace(images, `"id":"`+imageA.String(), `"id":"`+imageB.String())), "is not that of"},
		{"record with neither file nor error", sealed(replace(images, `"error":{"code":"NotFoundImage","message":"gone"}`, `"error":null`)), "neither a file nor an error"},
		{"record of nonsense", sealed(bag.with(images, "{}\nx\n")), "line 2: it is not a record"},
		{"record of an iteration", sealed(replace(p+"iterations/"+iteration.String()+"/images.jsonl", first, "images/x.jpg")), "iterations/" + iteration.String() + "/images.jsonl: line 1"},
		{"signed link in JSON", sealed(bag.with(p+"project.json", `{"u":"see https:\/\/x/y?sv=1\u0026sig=abc%3D"}`)), "project.json: there is a signed link"},
		{"signed link in a page", sealed(bag.with("index.html", `<a href="https://x/y?a=b&amp;sv=1&amp;sig=abc">`)), "index.html: there is a signed link"},
		{"signed link in the receipt", replace("receipt.json", `"uri":"s3://`, `"uri":"https://x?sv=1&sig=abc`), "receipt.json: there is a signed link"},
		{"signed link far behind", sealed(bag.with("data/export.json", strings.Repeat("x", 32<<10-3)+"http://x?sv=1&sig=abc")), "data/export.json: there is a signed link, whose query begins at byte 32773"},
		{"name that escapes", bag.with("data/../../etc/passwd", "x"), "not well-formed"},
		{"name of user text", bag.with("data/my picture.jpg", "x"), "not well-formed"},
		{"project without an id", bag.with("data/projects/mine/project.json", "x"), "not well-formed"},
		{"evidence of failure beside a receipt", sealed(bag.with("evidence/failure.json", "{}")), "evidence of a failed delete beside a receipt"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := problems(t, tc.bag); !strings.Contains(got, tc.want) {
				t.Errorf("want %q in\n%s", tc.want, got)
			}
		})
	}
	for name, harmless := range map[string]memory{
		"a tag about sig=":        sealed(bag.with(p+"project.json", `{"description":"sig=3, design=4; the sig= of it","name":"a&sig=b"}`)),
		"a picture with a link":   sealed(bag.with("data/blob.bin", "https://x?sv=1&sig=abc")),
		"two projects' inventory": sealed(bag.with("evidence/inventory.json", `{"v":1,"projects":[{"id":"`+iteration.String()+`"},{"id":"`+project.String()+`"}]}`)),
	} {
		if got := problems(t, harmless); got != "" {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

// reseal2 makes the tag manifest and the receipt fit a manifest that is to stay as it is.
func (m memory) reseal2(t *testing.T) memory {
	t.Helper()
	out := m.reseal(t)
	forged, fitting := m["manifest-sha256.txt"], out["manifest-sha256.txt"]
	out["manifest-sha256.txt"] = forged
	out["tagmanifest-sha256.txt"] = strings.Replace(out["tagmanifest-sha256.txt"], digest(fitting), digest(forged), 1)
	receipt := strings.Replace(out["receipt.json"], digest(fitting), digest(forged), 1)
	old, err := sink.ParseReceipt([]byte(receipt))
	must(t, err)
	old.Subject[1].Digest["sha256"] = digest(out["tagmanifest-sha256.txt"])
	b, err := old.Encode()
	must(t, err)
	out["receipt.json"] = string(b)
	return out
}

func TestVerifyDelete(t *testing.T) {
	bag := sample(t)
	for name := range bag {
		if strings.HasPrefix(name, "data/") || name == "evidence/inventory.json" {
			delete(bag, name)
		}
	}
	bag["data/deletion.json"] = `{"v":1}`
	bag["data/projects/"+project.String()+"/deleted.jsonl"] = "{}\n"
	bag["evidence/plan.json"] = "{}"
	bag["evidence/verification.json"] = "{}"
	bag["receipt.json"] = strings.Replace(bag["receipt.json"], "export/v1", "delete/v1", 1)
	bag["bag-info.txt"] = oxum(bag)
	bag = bag.reseal(t)
	if report := verifyOK(t, bag); report.Receipt.Kind() != sink.DeleteBag {
		t.Errorf("report %+v", report)
	}
	if got := problems(t, bag.without("evidence/plan.json").reseal(t)); !strings.Contains(got, "evidence/plan.json: it is missing") {
		t.Errorf("without a plan:\n%s", got)
	}
}

func TestVerifyFailedDelete(t *testing.T) {
	all, chain := ledger(t, 3)
	evidence := memory{"evidence/request.json": "{}", "evidence/plan.json": "{}", "evidence/ledger.jsonl": string(all), "evidence/failure.json": `{"called":1}`}
	report, err := sink.Verify(t.Context(), evidence, sink.VerifyOptions{})
	if err != nil || report.Result != sink.Failed || len(report.Problems) != 1 || string(report.Failure) != `{"called":1}` || report.Ledger.Head != chain.Head() {
		t.Errorf("report %+v, %v", report, err)
	}
	if !strings.Contains(report.Problems[0].What, "evidence of a delete that failed") {
		t.Errorf("problem %+v", report.Problems[0])
	}
	if got := problems(t, evidence.with("evidence/ledger.jsonl", "x\n")); !strings.Contains(got, "the chain breaks") {
		t.Errorf("broken ledger:\n%s", got)
	}
	if got := problems(t, evidence.without("evidence/ledger.jsonl")); !strings.Contains(got, "ledger.jsonl: it is missing") {
		t.Errorf("no ledger:\n%s", got)
	}
}

func TestVerifyIsBounded(t *testing.T) {
	bag := sample(t)
	for i := range 300 {
		bag[fmt.Sprintf("data/extra-%d", i)] = "x"
	}
	report, err := sink.Verify(t.Context(), bag, sink.VerifyOptions{MaxProblems: 10})
	if err != nil || report.Result != sink.Failed || len(report.Problems) != 10 || report.Omitted < 290 {
		t.Errorf("%d problems, %d omitted, %v", len(report.Problems), report.Omitted, err)
	}
	if !slices.IsSortedFunc(report.Problems, func(a, b sink.Problem) int { return strings.Compare(a.Path, b.Path) }) {
		t.Error("problems are not sorted")
	}
}

// flaky is a source one of whose files cannot be read.
type flaky struct {
	memory
	name string
	how  string
	err  error
}

func (f flaky) List(ctx context.Context) iter.Seq2[sink.File, error] {
	if f.how != "list" {
		return f.memory.List(ctx)
	}
	return func(yield func(sink.File, error) bool) { yield(sink.File{}, f.err) }
}

func (f flaky) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if name != f.name || f.how == "list" {
		return f.memory.Open(ctx, name)
	}
	if f.how == "open" {
		return nil, f.err
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader([]byte(f.memory[name][:1])), errReader{f.err})), nil
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestVerifyInconclusive(t *testing.T) {
	bag := sample(t)
	gone := errors.New("the network is gone")
	for name := range bag {
		for _, how := range []string{"list", "open", "read"} {
			report, err := sink.Verify(t.Context(), flaky{bag, name, how, gone}, sink.VerifyOptions{})
			if report.Result != sink.Inconclusive || !errors.Is(err, gone) {
				t.Errorf("%s of %s: %s, %v, %+v", how, name, report.Result, err, report.Problems)
			}
		}
	}
	// What is wrong all the same is said.
	report, err := sink.Verify(t.Context(), flaky{bag.without("receipt.json"), "data/export.json", "read", gone}, sink.VerifyOptions{})
	if report.Result != sink.Failed || err != nil {
		t.Errorf("%s, %v", report.Result, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if report, err := sink.Verify(ctx, bag, sink.VerifyOptions{}); report.Result != sink.Inconclusive || !errors.Is(err, gone) {
		t.Errorf("stopped: %s, %v", report.Result, err)
	}
	if report, err := sink.Verify(t.Context(), sink.DirSource(filepath.Join(t.TempDir(), "nothing")), sink.VerifyOptions{}); report.Result != sink.Inconclusive || err == nil {
		t.Errorf("no folder: %s, %v", report.Result, err)
	}
	w := newWorld(t, sinktest.BucketOptions{})
	store, _ := w.faulty(t, sinktest.Fault{Op: "ListObjectsV2", Status: 403})
	if report, err := sink.Verify(t.Context(), sink.StoreSource(store, testRoot), sink.VerifyOptions{}); report.Result != sink.Inconclusive || !errors.Is(err, sink.ErrMisconfigured) {
		t.Errorf("no access: %s, %v", report.Result, err)
	}
	if got := problems(t, sink.StoreSource(w.store, testRoot)); !strings.Contains(got, "no files") {
		t.Errorf("empty prefix:\n%s", got)
	}
}

func TestVerifyFolderWithLinks(t *testing.T) {
	bag := sample(t)
	dir := t.TempDir()
	for name, content := range bag {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	verifyOK(t, sink.DirSource(dir))
	outside := filepath.Join(t.TempDir(), "export.json")
	must(t, os.Rename(filepath.Join(dir, "data/export.json"), outside))
	must(t, os.Symlink(outside, filepath.Join(dir, "data/export.json")))
	if got := problems(t, sink.DirSource(dir)); !strings.Contains(got, "data/export.json: it is not a regular file") {
		t.Errorf("a link out of the folder:\n%s", got)
	}
}

// TestVerifyThroughRandomFaults: what can be read at the second try is no failure.
func TestVerifyThroughRandomFaults(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	_, err := writeBag(t.Context(), w.store, t.TempDir())
	must(t, err)
	for seed := range uint64(10) {
		faults := sinktest.NewFaults(nil)
		faults.FaultRate(0.1, seed)
		verifyOK(t, sink.StoreSource(sink.NewStore(w.server.FaultyClient(faults), w.options()), testRoot))
	}
}
