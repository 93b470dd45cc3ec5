package handler_test

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// TestLinksThatAreNoURI holds what is known at the first try to be beyond repair against the time
// that ten tries take: the image, the prediction or the model is an exception at once.
func TestLinksThatAreNoURI(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	p := smallProject(w.api)
	lost := []uuid.UUID{p.Images[0], p.Images[2], p.Predictions[1]} // the first is only in an iteration
	spoil := func(b []byte) []byte {
		for _, id := range lost {
			name := strings.ReplaceAll(id.String(), "-", "")
			for _, letter := range []string{"i-", "o-"} {
				b = bytes.ReplaceAll(b, []byte("/"+letter+name), []byte("/%zz/"+letter+name))
			}
		}
		return bytes.ReplaceAll(b, []byte(".TensorFlow"), []byte("%zz.TensorFlow"))
	}
	for _, operation := range []string{"GetTaggedImages", "GetUntaggedImages", "GetImagesByIds", "QueryPredictions", "GetExports"} {
		w.api.Fault(cvtest.Fault{Operation: operation, Times: -1, Rewrite: spoil})
	}
	w.start(t, replicaOptions{configure: func(o *handler.Config) { o.MaxAttempts = 2 }})
	files, _, inventory := w.exceptions(t, `{"all_projects":true}`, 4)
	want := append(strs(lost), p.Iterations[0].String()+"/TensorFlow-TensorFlowLite")
	var failed []string
	for _, category := range inventory.Projects[0].Categories {
		for _, f := range category.Failed {
			failed = append(failed, f.ID)
			if f.Code != "bad_link" || strings.Contains(f.Message, "zz") {
				t.Errorf("%s could not be had: %s %s", f.ID, f.Code, f.Message)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(failed)
	if !slices.Equal(failed, want) {
		t.Errorf("the inventory lists %v, want %v", failed, want)
	}
	for _, id := range lost[:2] {
		line := lineOf(t, files["data/projects/"+p.ID.String()+"/iterations/"+p.Iterations[0].String()+"/images.jsonl"], id)
		if line.File != nil || line.Error == nil || line.Error.Code != "bad_link" {
			t.Errorf("the line of %s is %+v", id, line)
		}
	}
	if strings.Contains(w.log.String(), "unit failed") {
		t.Error("a unit is tried again, although that cannot help")
	}
	for _, call := range w.api.Calls() {
		if call.Operation == "GetArtifact" {
			t.Errorf("%s is asked for", call.Query)
		}
	}
}

// TestAnswersThatAreNoFile lets storage answer with success and no file, or with a redirect to
// nowhere: that costs one image, not the export.
func TestAnswersThatAreNoFile(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusNoContent, http.StatusPartialContent, http.StatusMultipleChoices, http.StatusMovedPermanently, http.StatusNotModified} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
			p := smallProject(w.api)
			w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Path: strings.ReplaceAll(p.Images[2].String(), "-", ""), Status: status, Body: "x", Times: -1})
			w.start(t, replicaOptions{configure: func(o *handler.Config) { o.MaxAttempts = 1 }})
			_, _, inventory := w.exceptions(t, `{"all_projects":true}`, 1)
			if f := inventory.Projects[0].Categories["images"].Failed; len(f) != 1 || f[0].ID != p.Images[2].String() {
				t.Errorf("the inventory lists %+v", f)
			}
		})
	}
}

// blobLine is a line of images.jsonl or predictions.jsonl.
type blobLine struct {
	Image, Prediction struct{ ID uuid.UUID }
	File              *string
	SHA256            string
	Bytes             int64
	Source            string
	Error             *bagfile.Blame
}

// lineOf finds the line of an image or prediction.
func lineOf(t *testing.T, lines []byte, id uuid.UUID) blobLine {
	t.Helper()
	for line := range bytes.Lines(lines) {
		var l blobLine
		unmarshal(t, line, &l)
		if l.Image.ID == id || l.Prediction.ID == id {
			return l
		}
	}
	t.Fatalf("%s has no line", id)
	panic("unreachable")
}
