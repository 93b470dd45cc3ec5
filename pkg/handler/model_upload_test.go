package handler_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// modelBytes is the size of a model that goes to the store in three parts.
const modelBytes = 11 << 20

// uploadWorld has one model, which is streamed to the store.
type uploadWorld struct {
	*world
	project *cvtest.Project
	key     string // of the model
	content []byte
}

func newUploadWorld(t *testing.T, quirks ...sinktest.Quirk) uploadWorld {
	t.Helper()
	return newUploadWorldThatWaits(t, 0, quirks...)
}

// newUploadWorldThatWaits is newUploadWorld whose queue waits so long for the dead; 0 is the usual
// time.
func newUploadWorldThatWaits(t *testing.T, ackWait time.Duration, quirks ...sinktest.Quirk) uploadWorld {
	t.Helper()
	w := newWorld(t, worldOptions{
		api: cvtest.Options{Seed: 5}, bucket: sinktest.BucketOptions{Versioned: true}, ackWait: ackWait, quirks: quirks,
		store: sink.StoreOptions{MultipartAbove: 64 << 10, PartBytes: 5 << 20},
	})
	p := modelProject(w.api, cvtest.ExportSpec{Platform: "TensorFlow", Flavor: "TensorFlowLite", Bytes: modelBytes})
	return uploadWorld{
		w, p, fmt.Sprintf("disturbed/export/data/projects/%s/iterations/%s/exports/TensorFlow-TensorFlowLite.zip", p.ID, p.Iterations[0]),
		w.api.Model(p.ID, p.Iterations[0], "TensorFlow", "TensorFlowLite"),
	}
}

// truth checks that the export ends complete, with the model as the service has it.
func (w uploadWorld) truth(t *testing.T, h *history) {
	t.Helper()
	e := w.wait(t, h)
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
		t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
	w.checkTruth(t, w.bag(t, "disturbed", sink.ExportBag), e, w.truthOf(t, w.api.Snapshot(), selection{}))
}

// saying is a working object that says that content is the model's, as one of unit n does. It has
// no seal.
func (w uploadWorld) saying(n int, content []byte) (key string, object []byte) {
	m := unit.Model{
		V: unit.Version, N: n, Path: sink.Path(strings.TrimPrefix(w.key, "disturbed/export/")), Bytes: int64(len(content)), SHA256: sink.Bytes(content, "").SHA256,
	}
	return "disturbed/.work/" + m.Name(), fmt.Appendf(nil, `{"v":%d,"n":%d,"path":%q,"bytes":%d,"sha256":%q}`, m.V, m.N, m.Path, m.Bytes, m.SHA256)
}

// TestModelUploadDisturbed streams a large model to the store, and disturbs that: the bag has the
// model as the service has it, and nothing else is left.
func TestModelUploadDisturbed(t *testing.T) {
	t.Parallel()
	forged := func(w uploadWorld) []byte { // of the model's size
		content := slices.Clone(w.content)
		content[len(content)/2] ^= 1
		return content
	}
	for _, c := range []struct {
		name    string
		quirks  []sinktest.Quirk
		disturb func(t *testing.T, w uploadWorld)
		faults  []sinktest.Fault
		uploads int // begun
		makes   int // calls that may make the object
	}{
		{name: "not at all", uploads: 1, makes: 1},
		{name: "the download breaks off", uploads: 2, makes: 1, disturb: func(_ *testing.T, w uploadWorld) {
			w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Path: "TensorFlowLite", CutBody: true})
		}},
		{name: "other bytes come", uploads: 2, makes: 1, disturb: func(_ *testing.T, w uploadWorld) {
			w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Path: "TensorFlowLite", Corrupt: true})
		}},
		{name: "text comes first", uploads: 1, makes: 1, disturb: func(_ *testing.T, w uploadWorld) {
			w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Path: "TensorFlowLite", Rewrite: func([]byte) []byte {
				return []byte(strings.Repeat(signIn, 1000))
			}})
		}},
		{
			name: "parts are cut, and answers get lost", uploads: 1, makes: 2,
			faults: []sinktest.Fault{
				{Op: "UploadPart", Effect: sinktest.Cut},
				{Op: "UploadPart", Effect: sinktest.Reset, After: true, Nth: 2},
				{Op: "CompleteMultipartUpload", Key: "disturbed/*", Effect: sinktest.Reset, After: true},
			},
		},
		{
			name: "another process aborts the upload", uploads: 2, makes: 1,
			faults: []sinktest.Fault{{Op: "UploadPart", Nth: 2, Status: 404, Code: "NoSuchUpload"}},
		},
		{name: "the store does not say how long objects are, nor confirms checksums", quirks: append(sinktest.WithoutLengths(), sinktest.NoChecksums), uploads: 1, makes: 1},
		{name: "a stranger's object is there before", uploads: 1, makes: 1, disturb: func(t *testing.T, w uploadWorld) {
			w.before("GetExports", 1, func() { w.overwrite(t, w.key, forged(w)) })
		}},
		{name: "a stranger's object is there before, with what says that it is ours", uploads: 1, makes: 1, disturb: func(t *testing.T, w uploadWorld) {
			w.before("GetExports", 1, func() {
				for n := range 20 {
					key, object := w.saying(n, forged(w))
					w.overwrite(t, key, object)
				}
				w.overwrite(t, w.key, forged(w))
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newUploadWorld(t, c.quirks...)
			if c.disturb != nil {
				c.disturb(t, w)
			}
			r := w.start(t, replicaOptions{configure: noWait})
			faults := r.faults
			faults.Add(c.faults...)
			w.truth(t, w.publish(t, "export", "disturbed", everything))
			faults.Check(t)
			if begun, made := faults.Calls("CreateMultipartUpload"), faults.Calls("CompleteMultipartUpload"); begun != c.uploads || made != c.makes {
				t.Errorf("%d uploads were begun and %d completed, not %d and %d", begun, made, c.uploads, c.makes)
			}
			if unhit := w.api.Unhit(); len(unhit) > 0 {
				t.Errorf("faults not hit: %+v", unhit)
			}
		})
	}
}

// TestModelUploadMeanwhile has a stranger store an object at a model's key while the upload goes
// on: it gives way.
func TestModelUploadMeanwhile(t *testing.T) {
	t.Parallel()
	w := newUploadWorld(t)
	r := w.start(t, replicaOptions{configure: noWait})
	next := r.faults.OnRequest
	var once sync.Once
	put := false // a stranger's object
	r.faults.OnRequest = func(op, key string, before bool) error {
		if op == "CompleteMultipartUpload" && before {
			once.Do(func() {
				w.overwrite(t, w.key, []byte("PK\x03\x04 another one"))
				put = true
			})
		}
		return next(op, key, before)
	}
	w.truth(t, w.publish(t, "export", "disturbed", everything))
	if begun := r.faults.Calls("CreateMultipartUpload"); !put || begun != 2 {
		t.Errorf("a stranger's object was there: %t; %d uploads were begun, not 2", put, begun)
	}
}

// TestModelUploadCutShort kills a replica around the end of a model's upload. Another one takes
// what is stored for its own where the first one said what it is, and by nothing else.
func TestModelUploadCutShort(t *testing.T) {
	t.Parallel()
	undisturbed := newUploadWorldThatWaits(t, redelivery)
	r := undisturbed.start(t, replicaOptions{configure: noWait})
	undisturbed.truth(t, undisturbed.publish(t, "export", "disturbed", everything))
	r.stop()
	at := slices.IndexFunc(r.fate.effects, func(e string) bool { return strings.HasPrefix(e, "PutObject") && strings.Contains(e, ".model-") })
	if at < 0 {
		t.Fatalf("nothing says what the model is; these effects happened:\n%s", strings.Join(r.fate.effects, "\n"))
	}
	said := r.fate.effects[at]
	others := []byte("PK\x03\x04" + strings.Repeat("another model ", modelBytes/14))
	for _, c := range []struct {
		name   string
		after  bool
		effect string // empty: the end of the upload
		change func(t *testing.T, w uploadWorld)
		again  bool   // it is uploaded once more
		want   []byte // nil: the service's
	}{
		{name: "before what it is was stored", effect: said, again: true},
		{name: "before it is made", again: true},
		{name: "once it is made", after: true},
		{name: "once it is made, and the service has another one", after: true, change: func(_ *testing.T, w uploadWorld) {
			w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Path: "TensorFlowLite", Times: -1, Rewrite: func([]byte) []byte { return others }})
		}},
		{name: "before it is made, and the service has another one", again: true, want: others, change: func(_ *testing.T, w uploadWorld) {
			w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Path: "TensorFlowLite", Times: -1, Rewrite: func([]byte) []byte { return others }})
		}},
		{name: "once it is made, and a stranger replaces it", after: true, again: true, change: func(t *testing.T, w uploadWorld) {
			w.overwrite(t, w.key, others[:len(w.content)-len(w.content)%14])
		}},
		{name: "once it is made, and what it is gets lost", after: true, again: true, change: func(t *testing.T, w uploadWorld) {
			for _, key := range w.objects(t, "disturbed") {
				if strings.Contains(key, ".model-") {
					if err := w.store.Remove(t.Context(), sink.Key("disturbed/"+key)); err != nil {
						t.Error(err)
					}
					return
				}
			}
			t.Error("nothing says what the model is")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newUploadWorldThatWaits(t, redelivery)
			f := newFate(cmp.Or(c.effect, "CompleteMultipartUpload "+w.key+"#1"), c.after)
			first := w.start(t, replicaOptions{fate: f})
			h := w.publish(t, "export", "disturbed", everything)
			select {
			case <-f.died:
			case <-time.After(patience):
				t.Fatalf("it never comes to that; these effects happened:\n%s", strings.Join(f.effects, "\n"))
			}
			first.stop()
			if c.change != nil {
				c.change(t, w)
			}
			second := w.start(t, replicaOptions{configure: noWait})
			if c.want == nil {
				w.truth(t, h)
			} else if e := w.wait(t, h); e.Outcome != contract.OutcomeComplete {
				t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			files := w.bag(t, "disturbed", sink.ExportBag)
			want := w.content
			if c.want != nil {
				want = c.want
			}
			if !slices.Equal(files[strings.TrimPrefix(w.key, "disturbed/export/")], want) {
				t.Error("the bag has another model")
			}
			if again := second.faults.Calls("CompleteMultipartUpload") > 0; again != c.again {
				t.Errorf("it is uploaded again: %t", again)
			}
		})
	}
}

// TestLongTextInPlaceOfAModel downloads text of a model's length: it is an exception, and is kept
// where it holds no signed link.
func TestLongTextInPlaceOfAModel(t *testing.T) {
	t.Parallel()
	const link = "https://s.blob.core.windows.net/c/b?sv=2017-04-17&sr=b&sig=c2VjcmV0&se=2026-03-02T12%3A00%3A00Z&sp=r"
	for _, c := range []struct {
		name, text string
		kept       bool
	}{
		{"without a link", strings.Repeat(signIn, 1000), true},
		{"with a link", strings.Repeat(signIn, 1000) + link, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newUploadWorld(t)
			instead(w.api, cvtest.OperationBlob, "TensorFlowLite", c.text, -1)
			r := w.start(t, replicaOptions{configure: noWait})
			files, _, inventory := w.exceptions(t, everything, 1)
			failed := inventory.Projects[0].Categories["exports"].Failed
			if !slices.ContainsFunc(failed, func(f bagfile.Failure) bool { return f.Code == unit.CodeNotModel }) {
				t.Errorf("the inventory says %+v", failed)
			}
			kept := string(files[strings.TrimSuffix(strings.TrimPrefix(w.key, "disturbed/export/"), ".zip")+".bin"])
			want, uploads := "", 0
			if c.kept {
				want, uploads = c.text, 1
			}
			if kept != want {
				t.Errorf("%d bytes are kept of %d", len(kept), len(c.text))
			}
			if n := r.faults.Calls("CompleteMultipartUpload"); n != uploads {
				t.Errorf("%d uploads were completed, not %d", n, uploads)
			}
		})
	}
}
