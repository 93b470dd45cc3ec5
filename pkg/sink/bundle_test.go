package sink_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

const testRoot sink.Key = "pre/req-1/export/"

var testInfo = []sink.Field{
	{Name: "Bagging-Date", Value: "2026-03-04"},
	{Name: "Bag-Software-Agent", Value: "cvconsumer test"},
	{Name: "External-Identifier", Value: "req-1"},
	{Name: "Internal-Sender-Identifier", Value: ""},
	{Name: "External-Description", Value: "Export of user data from Azure Custom Vision, vision.test"},
}

// testScope is what the test bag is an export of.
var testScope = `{"resource":"default","project_ids":["` + project.String() + `"],"categories":["projects","images","exports"]}`

// testTime is when it was finished.
var testTime = time.Date(2026, time.March, 4, 5, 6, 7, 0, time.UTC)

// writeBag writes a small export whole, as the handler would: the blobs by workers, the rest by the
// coordinator. It gives the same bytes each time.
func writeBag(ctx context.Context, store *sink.Store, spoolDir string) (sink.SealedBag, error) {
	bag, err := sink.NewBag(store, testRoot, spoolDir)
	if err != nil {
		return sink.SealedBag{}, err
	}
	defer func() { _ = bag.Close() }()

	var (
		records bytes.Buffer
		size    int64 // of the payload
	)
	for i, image := range []uuid.UUID{imageA, imageB} {
		content := append([]byte("\xff\xd8\xff"), noise(uint64(20+i), 2000)...)
		ext, media := sink.Extension(content, "")
		path := sink.ImageStem(project, image) + sink.Path("."+ext)
		object, err := store.Put(ctx, testRoot+sink.Key(path), sink.Bytes(content, media)) // a worker
		if err != nil {
			return sink.SealedBag{}, err
		}
		if err := bag.Add(path, object.SHA256, object.Bytes); err != nil {
			return sink.SealedBag{}, err
		}
		size += object.Bytes
		fmt.Fprintf(&records, `{"image":{"id":%q},"file":"images/%s.jpg","sha256":%q,"bytes":%d,"content_type":"image/jpeg","source":"original"}`+"\n", image, image, object.SHA256, object.Bytes)
	}
	lost := uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000003")
	fmt.Fprintf(&records, `{"image":{"id":%q},"file":null,"error":{"code":"NotFoundImage","message":"gone"}}`+"\n", lost)

	model := sink.Bytes(noise(30, 7<<20), "application/zip") // by multipart
	put := func(path sink.Path, body sink.Body) error {
		object, err := bag.Put(ctx, path, body)
		size += object.Bytes
		return err
	}
	for _, file := range []struct {
		path sink.Path
		body sink.Body
	}{
		{sink.ProjectPath(project, "project.json"), sink.Bytes([]byte(`{"id":"`+project.String()+`"}`), "application/json")},
		{sink.ProjectPath(project, "images.jsonl"), sink.Bytes(records.Bytes(), "application/x-ndjson")},
		{sink.IterationPath(project, iteration, "images.jsonl"), sink.Bytes(records.Bytes(), "application/x-ndjson")},
		{sink.IterationPath(project, iteration, "exports.json"), sink.Bytes([]byte(`[{"platform":"TensorFlow","status":"Done"}]`), "application/json")},
		{sink.ModelStem(project, iteration, "TensorFlow", "") + ".zip", model},
	} {
		if err := put(file.path, file.body); err != nil {
			return sink.SealedBag{}, err
		}
	}
	counts := bagfile.Counts{Projects: 1, Images: 3, Exports: 1, Bytes: size}
	summary, err := json.Marshal(bagfile.Export{
		V: 1, ID: "req-1", Endpoint: "vision.test", APIVersion: "v3.3", Scope: json.RawMessage(testScope), Outcome: bagfile.OutcomeExceptions, Counts: counts, Exceptions: 1,
		StartedAt: testTime, FinishedAt: testTime, Tool: "test",
	})
	if err != nil {
		return sink.SealedBag{}, err
	}
	if err := put(sink.ExportFile, sink.Bytes(summary, "application/json")); err != nil {
		return sink.SealedBag{}, err
	}

	chain, err := sink.NewChain(nil)
	if err != nil {
		return sink.SealedBag{}, err
	}
	var lines []byte
	for i := range 3 {
		line, err := chain.Append(sink.LedgerLine{Time: ledgerTime.Add(time.Duration(i) * time.Second), Kind: sink.LedgerCall, Operation: "GetProject", Target: "projects/" + project.String(), Status: 200, Attempt: 1})
		if err != nil {
			return sink.SealedBag{}, err
		}
		lines = append(lines, line...)
	}
	inventory, err := json.Marshal(bagfile.Inventory{V: 1, Projects: []bagfile.InventoryProject{{ID: project.String(), Categories: map[string]*bagfile.InventoryCategory{
		bagfile.Projects: {Listed: 1, Exported: 1},
		bagfile.Images:   {Listed: 3, Exported: 2, Bytes: 4006, Failed: []bagfile.Failure{{ID: lost.String(), Code: "NotFoundImage", Message: "gone"}}},
		bagfile.Exports:  {Listed: 1, Exported: 1, Bytes: 7 << 20},
	}, Untrained: []string{}, Unstable: []string{}}}})
	if err != nil {
		return sink.SealedBag{}, err
	}
	request := []byte(`{"v":1,"id":"req-1","action":"export","account":"vision.test/default","published":"2026-03-04T05:06:00Z","data":` + testScope + `,"digest":"salt.0"}`)
	for path, text := range map[sink.Path]string{
		sink.RequestFile:   string(request),
		sink.InventoryFile: strings.ReplaceAll(string(inventory), `"failed":null`, `"failed":[]`),
		sink.LedgerFile:    string(lines),
	} {
		if _, err := bag.PutTag(ctx, path, sink.Bytes([]byte(text), "application/json")); err != nil {
			return sink.SealedBag{}, err
		}
	}
	seal, err := bag.Seal(ctx, testInfo)
	if err != nil {
		return seal, err
	}
	r := sink.NewReceipt(sink.ExportPredicateType, seal, sink.Predicate{
		Command: sink.ReceiptCommand{ID: "req-1", Action: "export", Resource: "default", Account: "vision.test/default", SHA256: sink.Bytes(request, "").SHA256},
		Scope:   json.RawMessage(testScope), Outcome: bagfile.OutcomeExceptions, Counts: counts.ByName(), Exceptions: 1,
		Verification: json.RawMessage(fmt.Sprintf(`{"payload_objects_listed":%d,"unstable":0}`, seal.PayloadObjects)),
		Tool:         sink.ReceiptTool{Name: "cvconsumer", Version: "test"}, StartedAt: testTime, FinishedAt: testTime,
		Ledger: sink.ReceiptLedger{Entries: chain.Seq(), Head: chain.Head()},
		Bundle: sink.ReceiptBundle{URI: store.URI(testRoot)},
	})
	statement, err := r.Encode()
	if err != nil {
		return seal, err
	}
	_, err = bag.PutReceipt(ctx, statement)
	return seal, err
}

// fetch copies the test bag into a new folder.
func (w *world) fetch(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := sinktest.Fetch(t.Context(), w.server.Client(), w.bucket, string(testRoot), dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tree is the content of a folder by name.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for file, err := range verify.Dir(dir).List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, file.Name))
		if err != nil {
			t.Fatal(err)
		}
		files[file.Name] = string(b)
	}
	return files
}

// verifyOK fails unless a bag verifies.
func verifyOK(t *testing.T, src verify.Source) verify.Report {
	t.Helper()
	report, err := verify.Bag(t.Context(), src, verify.Options{})
	if err != nil || report.Result != verify.OK {
		t.Fatalf("verify says %s, %v, %+v", report.Result, err, report.Problems)
	}
	return report
}

func TestBag(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{Versioned: true})
	seal, err := writeBag(t.Context(), w.store, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := w.fetch(t)
	files := tree(t, dir)
	if len(files) != seal.Objects {
		t.Errorf("the bag has %d objects, seal says %d", len(files), seal.Objects)
	}
	if strings.Count(w.left(t, ""), "\n")+1 != seal.Objects {
		t.Errorf("the bucket keeps more than the bag:\n%s", w.left(t, ""))
	}
	for name, want := range map[string]string{
		"bagit.txt": "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n",
		"bag-info.txt": "Bagging-Date: 2026-03-04\nBag-Software-Agent: cvconsumer test\nExternal-Identifier: req-1\nInternal-Sender-Identifier: \n" +
			"External-Description: Export of user data from Azure Custom Vision, vision.test\n" + fmt.Sprintf("Payload-Oxum: %d.8\n", seal.PayloadBytes),
	} {
		if files[name] != want {
			t.Errorf("%s is\n%s want\n%s", name, files[name], want)
		}
	}
	var tags []string
	for l, err := range sink.ManifestLines(strings.NewReader(files["tagmanifest-sha256.txt"])) {
		if err != nil {
			t.Fatal(err)
		}
		tags = append(tags, string(l.Path))
	}
	if want := []string{"bag-info.txt", "bagit.txt", "evidence/inventory.json", "evidence/ledger.jsonl", "evidence/request.json", "manifest-sha256.txt"}; !slices.Equal(tags, want) {
		t.Errorf("tag manifest lists %q", tags)
	}
	for _, manifest := range []string{"manifest-sha256.txt", "tagmanifest-sha256.txt"} {
		check := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", manifest)
		check.Dir = dir
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("sha256sum -c %s: %v\n%s", manifest, err, out)
		}
	}
	report := verifyOK(t, verify.Dir(dir))
	if report.Files != seal.Objects || report.Signature != verify.Unsigned || report.Ledger.Lines != 3 || report.Receipt.CommandID != "req-1" {
		t.Errorf("report is %+v", report)
	}
	if fromStore := verifyOK(t, verify.Stored(w.store, testRoot)); fromStore.ReceiptSHA256 != report.ReceiptSHA256 || fromStore.Bytes != report.Bytes {
		t.Errorf("the store's report is %+v", fromStore)
	}
	if _, err := json.Marshal(report); err != nil {
		t.Error(err)
	}
}

// TestBagSurvivesACutAtEveryEffect writes the bag, dies before or after each request in turn, and
// writes it again: the end is always the same, byte for byte.
func TestBagSurvivesACutAtEveryEffect(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{Versioned: true})
	if _, err := writeBag(t.Context(), w.store, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	golden := tree(t, w.fetch(t))
	kept := w.left(t, "")

	for cut := 1; ; cut++ {
		w.bucket = w.server.Bucket(t, sinktest.BucketOptions{Versioned: true})
		w.store = sink.NewStore(w.server.Client(), w.options())
		golden := golden
		ctx, die := context.WithCancel(t.Context())
		died := errors.New("killed")
		faults := sinktest.NewFaults(nil)
		n, where := 0, ""
		faults.OnRequest = func(op, key string, before bool) error {
			if n++; n < cut {
				return nil
			}
			if where == "" {
				where = fmt.Sprintf("%s %s before=%v", op, key, before)
			}
			die()
			return died
		}
		_, err := writeBag(ctx, sink.NewStore(w.server.FaultyClient(faults), w.options()), t.TempDir())
		die()
		if where == "" {
			if err != nil {
				t.Fatal(err)
			}
			if cut < 40 {
				t.Fatalf("only %d cuts", cut)
			}
			return // there were no more effects to cut
		}
		// An object of the dead that nothing will list.
		if !strings.Contains(w.left(t, ""), "receipt.json") {
			if _, err := w.store.Put(t.Context(), testRoot+"data/projects/11111111-2222-4333-8444-555555555555/images/stray.png", sink.Bytes([]byte("x"), "")); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := writeBag(t.Context(), w.store, t.TempDir()); err != nil {
			t.Fatalf("cut %d (%s): written again: %v", cut, where, err)
		}
		got := tree(t, w.fetch(t))
		// The bucket's name is in the receipt.
		golden = withReceipt(golden, got)
		if len(got) != len(golden) {
			t.Errorf("cut %d (%s): %d files, want %d", cut, where, len(got), len(golden))
		}
		for name, content := range golden {
			if got[name] != content {
				t.Errorf("cut %d (%s): %s differs", cut, where, name)
			}
		}
		verifyOK(t, verify.Stored(w.store, testRoot))
		if left := w.left(t, ""); left != kept {
			t.Errorf("cut %d (%s): the bucket keeps\n%s", cut, where, left)
		}
		if _, err := w.store.RemoveAll(t.Context(), "pre/"); err != nil {
			t.Fatal(err)
		}
		if left := w.left(t, ""); left != "" {
			t.Errorf("cut %d (%s): after RemoveAll the bucket keeps %q", cut, where, left)
		}
	}
}

// withReceipt is a tree with the receipt of another, which names another bucket.
func withReceipt(files, other map[string]string) map[string]string {
	out := map[string]string{}
	for name, content := range files {
		out[name] = content
	}
	out["receipt.json"] = other["receipt.json"]
	return out
}

func TestBagThroughRandomFaults(t *testing.T) {
	for seed := range uint64(5) {
		w := newWorld(t, sinktest.BucketOptions{Versioned: true})
		faults := sinktest.NewFaults(nil)
		faults.FaultRate(0.1, seed)
		store := sink.NewStore(w.server.FaultyClient(faults), w.options())
		if _, err := writeBag(t.Context(), store, t.TempDir()); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		verifyOK(t, verify.Stored(store, testRoot))
		if faults.Injected() == 0 {
			t.Errorf("seed %d: no fault", seed)
		}
		t.Logf("seed %d: %d faults in %d requests", seed, faults.Injected(), faults.Calls(""))
	}
}

func TestSealMakesExact(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{Versioned: true})
	ctx := t.Context()
	for _, path := range []sink.Key{"data/projects/" + sink.Key(project.String()) + "/images/stray.jpg", "data/old.json", "evidence/old.json", "zzz"} {
		for range 2 {
			if err := w.store.Replace(ctx, testRoot+path, sink.Bytes(nil, "")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.store.Replace(ctx, "pre/req-1/export.other", sink.Bytes(nil, "")); err != nil {
		t.Fatal(err)
	}
	seal, err := writeBag(ctx, w.store, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	left := strings.Split(w.left(t, string(testRoot)), "\n")
	if len(left) != seal.Objects {
		t.Errorf("the bag keeps\n%s", strings.Join(left, "\n"))
	}
	if w.left(t, "pre/req-1/export.") == "" {
		t.Error("a neighbor was removed")
	}
	// Once the receipt is there, nothing may change the bag.
	if err := w.store.Replace(ctx, testRoot+"data/late.json", sink.Bytes(nil, "")); err != nil {
		t.Fatal(err)
	}
	if _, err := writeBag(ctx, w.store, t.TempDir()); !errors.Is(err, sink.ErrMixed) || !strings.Contains(err.Error(), "data/late.json") {
		t.Errorf("got %v", err)
	}
	if w.left(t, string(testRoot)+"data/late.json") == "" {
		t.Error("a committed bag was changed")
	}
}

func TestSealFails(t *testing.T) {
	path := sink.ImageStem(project, imageA) + ".jpg"
	key := testRoot + sink.Key(path)
	body := sink.Bytes([]byte("\xff\xd8\xff picture"), "image/jpeg")
	for _, tc := range []struct {
		name  string
		setup func(t *testing.T, w *world, bag *sink.Bag)
		fault []sinktest.Fault
		want  error
		text  string
	}{
		{"no payload", nil, nil, nil, "no payload"},
		{"object missing", func(t *testing.T, _ *world, bag *sink.Bag) {
			must(t, bag.Add(path, body.SHA256, body.Size))
		}, nil, sink.ErrNotKept, string(path)},
		{"object of another size", func(t *testing.T, w *world, bag *sink.Bag) {
			must(t, w.store.Replace(t.Context(), key, sink.Bytes([]byte("shorter"), "")))
			must(t, bag.Add(path, body.SHA256, body.Size))
		}, nil, sink.ErrNotKept, string(path)},
		{"store that dropped what it took", func(t *testing.T, _ *world, bag *sink.Bag) {
			_, err := bag.Put(t.Context(), path, body)
			must(t, err)
		}, []sinktest.Fault{{Op: "PutObject", Key: "*.jpg", Effect: sinktest.Lie}}, sink.ErrNotKept, string(path)},
		{"listed twice", func(t *testing.T, _ *world, bag *sink.Bag) {
			for range 2 {
				_, err := bag.Put(t.Context(), path, body)
				must(t, err)
			}
		}, nil, nil, string(path)},
		{"another manifest is there", func(t *testing.T, w *world, bag *sink.Bag) {
			_, err := bag.Put(t.Context(), path, body)
			must(t, err)
			must(t, w.store.Replace(t.Context(), testRoot+"manifest-sha256.txt", sink.Bytes([]byte("x"), "")))
		}, nil, sink.ErrMixed, "manifest-sha256.txt"},
		{"no access", func(t *testing.T, _ *world, bag *sink.Bag) {
			_, err := bag.Put(t.Context(), path, body)
			must(t, err)
		}, []sinktest.Fault{{Op: "ListObjectsV2", Status: 403, Times: -1}}, sink.ErrMisconfigured, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, sinktest.BucketOptions{})
			store, _ := w.faulty(t, tc.fault...)
			bag, err := sink.NewBag(store, testRoot, t.TempDir())
			must(t, err)
			defer func() { _ = bag.Close() }()
			if tc.setup != nil {
				tc.setup(t, w, bag)
			}
			_, err = bag.Seal(t.Context(), testInfo)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %v", err)
			}
			if _, err := bag.PutReceipt(t.Context(), []byte("{}")); err == nil {
				t.Error("a receipt for a bag that is not sealed")
			}
		})
	}
}

// TestSealLooksAgain: what a lagging listing does not show is looked for by name.
func TestSealLooksAgain(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	path := sink.ImageStem(project, imageA) + ".jpg"
	store, _ := w.faulty(t, sinktest.Fault{Op: "ListObjectsV2", Effect: sinktest.Lie})
	bag, err := sink.NewBag(store, testRoot, t.TempDir())
	must(t, err)
	defer func() { _ = bag.Close() }()
	_, err = bag.Put(t.Context(), path, sink.Bytes([]byte("x"), ""))
	must(t, err)
	if _, err := bag.Seal(t.Context(), nil); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestBagNeverMixes(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	bag, err := sink.NewBag(w.store, testRoot, t.TempDir())
	must(t, err)
	defer func() { _ = bag.Close() }()
	ctx := t.Context()
	must(t, w.store.Replace(ctx, testRoot+"data/export.json", sink.Bytes([]byte("one truth"), "")))
	if _, err := bag.Put(ctx, sink.ExportFile, sink.Bytes([]byte("another"), "")); !errors.Is(err, sink.ErrMixed) {
		t.Errorf("Put: %v", err)
	}
	if o, err := bag.Put(ctx, sink.ExportFile, sink.Bytes([]byte("one truth"), "")); err != nil || !o.Adopted {
		t.Errorf("Put of the same: %+v, %v", o, err)
	}
	must(t, w.store.Replace(ctx, testRoot+"index.html", sink.Bytes([]byte("one truth"), "")))
	if _, err := bag.PutTag(ctx, sink.IndexFile, sink.Bytes([]byte("another"), "")); !errors.Is(err, sink.ErrMixed) {
		t.Errorf("PutTag: %v", err)
	}

	// But for a page for people, which another version may have made of the same.
	if o, err := bag.PutPage(ctx, sink.IndexFile, sink.Bytes([]byte("another"), "")); err != nil || !o.Adopted || o.Bytes != 9 {
		t.Errorf("PutPage: %+v, %v", o, err)
	}
	if _, err := bag.PutPage(ctx, sink.IndexFile, sink.Bytes([]byte("another"), "")); err == nil {
		t.Error("a page was taken twice")
	}

	// On a store that ignores If-None-Match another writer may replace a payload unseen, in the
	// same size.
	unconditional := sink.NewStore(w.server.Client(sinktest.IgnoreConditions), w.options())
	unconditional.LookFirst()
	bag, err = sink.NewBag(unconditional, "pre/req-2/export/", t.TempDir())
	must(t, err)
	defer func() { _ = bag.Close() }()
	_, err = bag.Put(ctx, sink.ExportFile, sink.Bytes([]byte("one truth"), ""))
	must(t, err)
	must(t, w.store.Replace(ctx, "pre/req-2/export/data/export.json", sink.Bytes([]byte("two lies!"), "")))
	if _, err := bag.Seal(ctx, nil); !errors.Is(err, sink.ErrMixed) {
		t.Errorf("Seal: %v", err)
	}
}

func TestBagRefuses(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	bag, err := sink.NewBag(w.store, testRoot, t.TempDir())
	must(t, err)
	defer func() { _ = bag.Close() }()
	ctx, x := t.Context(), sink.Bytes([]byte("x"), "")
	for _, path := range []sink.Path{"", "data/", "data/../x", "/data/x", "data//x", "data/a b", "data/é", "data/x\n", "data/.hidden", "data/projects/P/x", sink.Path("data/" + strings.Repeat("x", 500))} {
		if _, err := bag.Put(ctx, path, x); err == nil {
			t.Errorf("payload at %q was taken", path)
		}
		if err := bag.Add(path, x.SHA256, 1); err == nil {
			t.Errorf("payload at %q was listed", path)
		}
	}
	if err := bag.Add("index.html", x.SHA256, 1); err == nil {
		t.Error("a tag file was listed as payload")
	}
	if err := bag.Add("data/x", "digest", 1); err == nil {
		t.Error("a payload without a digest was listed")
	}
	for _, path := range []sink.Path{"data/x", sink.ReceiptFile, sink.SignatureFile, sink.TagManifestFile, "evidence/../x"} {
		if _, err := bag.PutTag(ctx, path, x); err == nil {
			t.Errorf("tag file %q was taken", path)
		}
	}
	if _, err := sink.NewBag(w.store, "pre/req-1/export", ""); err == nil {
		t.Error("a root without a slash was taken")
	}
	_, err = bag.Put(ctx, sink.ExportFile, x)
	must(t, err)
	for name, info := range map[string][]sink.Field{
		"colon in the name": {{"A:B", ""}}, "no name": {{"", "x"}}, "newline in the name": {{"A\nB", ""}}, "the bag's own field": {{"payload-oxum", "1.1"}},
	} {
		if _, err := bag.Seal(ctx, info); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
	_, err = bag.PutTag(ctx, sink.IndexFile, x)
	must(t, err)
	if _, err := bag.PutTag(ctx, sink.IndexFile, x); err == nil {
		t.Error("a tag file was taken twice")
	}
	seal, err := bag.Seal(ctx, nil)
	must(t, err)
	if again, err := bag.Seal(ctx, nil); err != nil || again != seal {
		t.Errorf("sealed again: %+v, %v", again, err)
	}
	if err := bag.Add("data/y", x.SHA256, 1); err == nil {
		t.Error("payload was added to a sealed bag")
	}
	if _, err := bag.PutTag(ctx, "evidence/x.json", x); err == nil {
		t.Error("a tag file was added to a sealed bag")
	}
	other := sink.NewReceipt(sink.ExportPredicateType, sink.SealedBag{ManifestSHA256: digestA, TagManifestSHA256: digestA}, sink.Predicate{Ledger: sink.ReceiptLedger{Head: digestA}})
	statement, err := other.Encode()
	must(t, err)
	if _, err := bag.PutReceipt(ctx, statement); err == nil {
		t.Error("another bag's receipt was stored")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func digest(s string) string { return sink.Bytes([]byte(s), "").SHA256 }
