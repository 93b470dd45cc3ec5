package verify_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// endless is a bag one of whose files is made while it is read: a head, and then a text again and
// again up to a size.
type endless struct {
	memory
	name       string
	head, text string
	size       int64
	read       *atomic.Int64
}

// List implements verify.Source.
func (e endless) List(ctx context.Context) iter.Seq2[verify.File, error] {
	return func(yield func(verify.File, error) bool) {
		for file, err := range e.memory.List(ctx) {
			if file.Name == e.name {
				file.Bytes = e.size
			}
			if !yield(file, err) {
				return
			}
		}
	}
}

// Open implements verify.Source.
func (e endless) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if name != e.name {
		return e.memory.Open(ctx, name)
	}
	pattern := strings.Repeat(e.text, 1+(1<<16)/len(e.text))
	return io.NopCloser(&repeated{e: e, left: e.size, now: e.head, pattern: pattern}), nil
}

type repeated struct {
	e            endless
	left         int64
	now, pattern string
}

// Read implements io.Reader.
func (r *repeated) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	if r.now == "" {
		r.now = r.pattern
	}
	n := copy(p[:min(int64(len(p)), r.left)], r.now)
	r.now = r.now[n:]
	r.left -= int64(n)
	r.e.read.Add(int64(n))
	return n, nil
}

// Sizes of what is only hashed: the race detector makes reading slow.
const (
	lineBytes   = 1<<30 - race*(900<<20)
	streamBytes = 600 << 20
)

// TestBounded: whatever one file of a bag holds, the verification reads each byte once or twice, in
// bounded memory, and ends with a finding.
func TestBounded(t *testing.T) {
	export, deleted := load(t, "two-tags"), deletion(t, false)
	for _, c := range []struct {
		name, file string
		bag        memory
		head, text string
		size       int64
		want       string
	}{
		{"inventory of one string", inventory, export, `{"v":1,"projects":[{"id":"`, "x", 8 << 20, "a value of more than 1 MiB"},
		{"inventory of projects", inventory, export, `{"v":1,"projects":[`, `{"id":"x","categories":{}},`, 8 << 20, `project "x" has no id`},
		{"inventory of brackets", inventory, export, `{"x":`, "[", 8 << 20, "it is nested too deeply"},
		{"inventory of blanks", inventory, export, "", " ", 8 << 20, "a value of more than 1 MiB"},
		{"inventory of failures", inventory, export, `{"v":1,"projects":[{"categories":{"images":{"failed":[`, `{"id":"x","code":"y","message":"z"},`, streamBytes, "it is larger than 536870912 bytes"},
		{"plan of one string", planJSON, deleted, `{"host":"`, "x", 8 << 20, "a value of more than 1 MiB"},
		{"statement", summary, export, `{"id":"`, "x", 40 << 20, "it is larger than"},
		{"document", project + "tags.json", export, `[`, "[", 40 << 20, "it is larger than"},
		{"line of records", project + "images.jsonl", export, "", "x", lineBytes, "a line of more than"},
		{"lines of records", project + "images.jsonl", export, "", "\n", 10 << 20, "it is not valid JSON"},
		{"lines of deletions", deletedLines, deleted, "", "{}\n", 30 << 20, "is no category"},
		{"line of the ledger", ledger, export, "", "x", 8 << 20, "the chain breaks"},
		{"lines of a manifest", "manifest-sha256.txt", export, "", "x\n", 20 << 20, "line 1"},
		{"line of a manifest", "manifest-sha256.txt", export, "", "x", 8 << 20, "a line of more than"},
		{"tag manifest", "tagmanifest-sha256.txt", export, "", "x\n", 40 << 20, "it is larger than"},
		{"receipt", receipt, export, "", "x", 40 << 20, "it is larger than"},
		{"bag-info.txt", "bag-info.txt", export, "", "x", 8 << 20, "it is larger than"},
		{"page", "index.html", deleted, "", "x", 40 << 20, "it is larger than"},
		{"picture", picture, export, "", "x", 1 << 40, "it is larger than"},
		{"model", iter1 + "exports/TensorFlow-TensorFlowLite.zip", export, "", "x", 1 << 50, "it is larger than"},
		{"manifest", "manifest-sha256.txt", export, "", "\x00", 1 << 60, "it is larger than"},
		{"ledger", ledger, export, "", "\x00", 1 << 60, "it is larger than"},
		{"records", project + "images.jsonl", export, "", "\x00", 1 << 60, "it is larger than"},
		{"summary of objects", summary, export, `{"x":[`, `{},`, 15 << 20, "more values than there is room for"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			e := endless{memory: c.bag, name: c.file, head: c.head, text: c.text, size: c.size, read: &atomic.Int64{}}
			runtime.ReadMemStats(&before)
			report, err := verify.Bag(t.Context(), e, verify.Options{})
			runtime.ReadMemStats(&after)
			must(t, err)
			if !strings.Contains(fmt.Sprint(report.Problems), c.want) {
				t.Errorf("want %q in %v", c.want, report.Problems)
			}
			most := 2 * c.size
			if c.want == "it is larger than" {
				most = 0 // its size was listed
			}
			if n := e.read.Load(); n > most {
				t.Errorf("%d bytes were read of %d", n, c.size)
			}
			if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 160<<20 {
				t.Errorf("the heap grew by %d MiB", grown>>20)
			}
		})
	}
}

// flaky is a source one of whose files cannot be read.
type flaky struct {
	memory
	name string
	how  string
	err  error
}

// List implements verify.Source.
func (f flaky) List(ctx context.Context) iter.Seq2[verify.File, error] {
	if f.how != "list" {
		return f.memory.List(ctx)
	}
	return func(yield func(verify.File, error) bool) { yield(verify.File{}, f.err) }
}

// Open implements verify.Source.
func (f flaky) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if name != f.name || f.how == "list" {
		return f.memory.Open(ctx, name)
	}
	if f.how == "open" {
		return nil, f.err
	}
	return io.NopCloser(io.MultiReader(strings.NewReader(f.memory[name][:min(len(f.memory[name]), 1)]), errReader{f.err})), nil
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// What cannot be read is neither right nor wrong.
func TestInconclusive(t *testing.T) {
	gone := errors.New("the network is gone")
	for _, bag := range []memory{load(t, "two-tags"), deletion(t, false)} {
		for name := range bag {
			for _, how := range []string{"list", "open", "read"} {
				report, err := verify.Bag(t.Context(), flaky{bag, name, how, gone}, verify.Options{})
				if report.Result != verify.Inconclusive || !errors.Is(err, gone) {
					t.Errorf("%s of %s: %s, %v, %+v", how, name, report.Result, err, report.Problems)
				}
			}
		}
		// What is wrong all the same is said.
		without := maps.Clone(bag)
		delete(without, receipt)
		report, err := verify.Bag(t.Context(), flaky{without, "bagit.txt", "read", gone}, verify.Options{})
		if report.Result != verify.Failed || err != nil {
			t.Errorf("%s, %v", report.Result, err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(gone)
		if report, err := verify.Bag(ctx, bag, verify.Options{}); report.Result != verify.Inconclusive || !errors.Is(err, gone) {
			t.Errorf("stopped: %s, %v", report.Result, err)
		}
	}
}

// unsized is a bag whose listing does not say how large its files are.
type unsized struct{ memory }

// List implements verify.Source.
func (u unsized) List(ctx context.Context) iter.Seq2[verify.File, error] {
	return func(yield func(verify.File, error) bool) {
		for file, err := range u.memory.List(ctx) {
			file.Bytes = -1
			if !yield(file, err) {
				return
			}
		}
	}
}

func TestUnknownSizes(t *testing.T) {
	for _, bag := range []memory{load(t, "two-tags"), deletion(t, false), deletion(t, true)} {
		if got := problems(t, unsized{bag}); got != "" {
			t.Error(got)
		}
	}
	e := &editor{t: t, m: load(t, "two-tags")}
	e.put(picture, e.m[picture]+"x")
	if got := problems(t, unsized{forge(t, e.m)}); !strings.Contains(got, "has a different SHA-256") {
		t.Error(got)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	bag := load(t, "two-tags")
	for i := range 300 {
		bag[fmt.Sprintf("data/extra-%d", i)] = "x"
	}
	report, err := verify.Bag(t.Context(), bag, verify.Options{MaxProblems: 10})
	if err != nil || report.Result != verify.Failed || len(report.Problems) != 10 || report.Omitted < 290 {
		t.Errorf("%d problems, %d omitted, %v", len(report.Problems), report.Omitted, err)
	}
}

// A file that is called a signature and was not looked at is not called one.
func TestUncheckedSignature(t *testing.T) {
	bag := load(t, "two-tags")
	report, err := verify.Bag(t.Context(), bag, verify.Options{})
	if err != nil || report.Signature != verify.Unsigned {
		t.Errorf("%s, %v", report.Signature, err)
	}
	bag["receipt.sigstore.json"] = "{}"
	report, err = verify.Bag(t.Context(), bag, verify.Options{})
	if err != nil || report.Result != verify.OK || report.Signature != verify.Unchecked {
		t.Errorf("%s, %s, %v, %v", report.Result, report.Signature, report.Problems, err)
	}
}

func TestProgress(t *testing.T) {
	bag, last := load(t, "two-tags"), verify.Progress{}
	report, err := verify.Bag(t.Context(), bag, verify.Options{Progress: func(p verify.Progress) {
		if p.Files != last.Files+1 || p.Bytes < last.Bytes {
			t.Errorf("%+v after %+v", p, last)
		}
		last = p
	}})
	if err != nil || last.Files != last.AllFiles || last.Bytes != last.AllBytes || last.AllFiles != report.Files {
		t.Errorf("it ended at %+v of %d files, %v", last, report.Files, err)
	}
}

// The evidence that a failed delete leaves is no bag; its ledger is checked all the same.
func TestFailedDelete(t *testing.T) {
	d := deletion(t, false)
	evidence := memory{request: d[request], planJSON: d[planJSON], ledger: d[ledger], "evidence/failure.json": `{"v":1,"id":"gone-1","error":{"code":"unverified","message":"\u001b[2J"}}`}
	report, err := verify.Bag(t.Context(), evidence, verify.Options{})
	if err != nil || report.Result != verify.Failed || len(report.Problems) != 1 || report.Failure == nil || report.Failure.Code != "unverified" || report.Ledger.Lines == 0 {
		t.Errorf("report %+v, %v", report, err)
	}
	evidence[ledger] = "x\n"
	if got := problems(t, evidence); !strings.Contains(got, "the chain breaks") {
		t.Errorf("broken ledger:\n%s", got)
	}
	delete(evidence, ledger)
	if got := problems(t, evidence); !strings.Contains(got, "ledger.jsonl: it is missing") {
		t.Errorf("no ledger:\n%s", got)
	}
	if got := problems(t, memory{}); !strings.Contains(got, "no files") {
		t.Errorf("nothing:\n%s", got)
	}
}

// A list of models that all have one name takes time as its length does, not as its square.
func TestModelsOfOneName(t *testing.T) {
	e := &editor{t: t, m: load(t, "two-tags")}
	e.put(iter1+"exports.json", "["+strings.Repeat(`{"status":"Done"},`, 200_000)+`{"status":"Done"}]`)
	if got := problems(t, forge(t, e.m)); !strings.Contains(got, "200001 are missing") {
		t.Error(got)
	}
}

// TestBoundedWithoutSizes: a file whose size the source does not say is read as far as a file of
// its kind can be.
func TestBoundedWithoutSizes(t *testing.T) {
	for name, most := range map[string]int64{summary: 16 << 20, "bag-info.txt": 64 << 10, "data/x": 16 << 20} {
		bag := load(t, "two-tags")
		bag[name] = ""
		e := endless{memory: forge(t, bag), name: name, text: "x", size: 1 << 40, read: &atomic.Int64{}}
		report, err := verify.Bag(t.Context(), unsizedEndless{e}, verify.Options{})
		must(t, err)
		if !strings.Contains(fmt.Sprint(report.Problems), "it is larger than") {
			t.Errorf("%s: %v", name, report.Problems)
		}
		if n := e.read.Load(); n > most+(1<<20) {
			t.Errorf("%s: %d bytes were read, at most %d are there", name, n, most)
		}
	}
}

// unsizedEndless is an endless bag whose listing does not say how large its files are.
type unsizedEndless struct{ endless }

// List implements verify.Source.
func (u unsizedEndless) List(ctx context.Context) iter.Seq2[verify.File, error] {
	return unsized{u.memory}.List(ctx)
}

// TestMoreThanACommandNames: a receipt of more ids than a command can name, or of one twice, speaks
// of none, so that nothing is looked for among them. So does an inventory of more projects than
// there can be.
func TestMoreThanACommandNames(t *testing.T) {
	ids := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"%08x-e859-44d3-ac36-b68cb5dbfcf1"`, i)
		}
		return b.String()[1:]
	}
	scope := func(members string) func(*editor) {
		return func(e *editor) {
			for _, name := range []string{request, summary, receipt} {
				e.swap(name, `"all_projects":true`, members)
			}
		}
	}
	for _, c := range []struct {
		name   string
		change func(*editor)
		want   string
	}{
		{"projects", scope(`"project_ids":[` + ids(101) + `]`), "names more than a command can"},
		{"images", scope(`"image_ids":[` + ids(10_001) + `]`), "names more than a command can"},
		{"tags", scope(`"tag_ids":[` + ids(10_001) + `]`), "names more than a command can"},
		{"iterations", scope(`"iteration_ids":[` + ids(10_001) + `]`), "names more than a command can"},
		{"an image twice", scope(`"image_ids":[` + ids(1) + `,` + ids(1) + `]`), "twice"},
		{"values of a document", func(e *editor) { e.put(project+"tags.json", "["+strings.Repeat("{},", 600_000)+"{}]") }, "more values than there is room for"},
		{"values of a record", func(e *editor) {
			e.put(project+"images.jsonl", `{"image":{"id":"`+img1.String()+`","x":[`+strings.Repeat("[],", 3_000_000)+"[]]}}\n")
		}, "more values than there is room for"},
		{"projects of the inventory", func(e *editor) {
			projects := strings.ReplaceAll(ids(10_001), `"00`, `{"categories":{},"id":"00`)
			e.put(inventory, `{"projects":[`+strings.ReplaceAll(projects, `1",`, `1"},`)+`}],"v":1}`)
		}, "one of too many"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &editor{t: t, m: load(t, "two-tags")}
			c.change(e)
			if got := problems(t, forge(t, e.m)); !strings.Contains(got, c.want) {
				t.Errorf("want %q in\n%.2000s", c.want, got)
			}
		})
	}
}
