package handler_test

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

const (
	signIn = "\r\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Construct your password</body></html>\n"
	// opaque is of no known format, and no text either.
	opaque = "\x00\x01\x02 a format of tomorrow \xfe\xff"
)

// instead lets every download whose path holds name answer with body, as often as times says.
func instead(api *cvtest.Server, operation, name, body string, times int) {
	api.Fault(cvtest.Fault{
		Operation: operation, Path: name, Times: times, Header: http.Header{"Content-Type": {"text/html"}},
		Rewrite: func([]byte) []byte { return []byte(body) },
	})
}

func blobName(id uuid.UUID) string { return strings.ReplaceAll(id.String(), "-", "") }

// What comes in place of a picture is kept as it came, and is an exception: the bag verifies, and
// says so.
func TestTextInPlaceOfPictures(t *testing.T) {
	t.Parallel()
	for n, c := range []struct {
		name, body string
		o          cvtest.Options
	}{
		{name: "a page", body: signIn},
		{name: "a page of a protected resource", body: signIn, o: cvtest.Options{VNet: true}},
		{name: "nothing"},
		{name: "XML", body: "\ufeff<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>AuthenticationFailed</Code></Error>"},
		{name: "JSON", body: `{"error":{"code":"503","message":"try later"}}`},
		{name: "other text", body: "Zugriff verweigert – bitte später noch einmal versuchen"},
		{name: "a page too long for memory", body: signIn + strings.Repeat("<p>line</p>\n", 750_000)},
	} {
		if leftOut(n) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			c.o.Seed = 5
			w := newWorld(t, worldOptions{api: c.o})
			p := smallProject(w.api)
			ids := []uuid.UUID{p.Images[0], p.Images[2], p.Predictions[1]} // the first is only in an iteration
			operation := cvtest.OperationBlob
			if c.o.VNet {
				operation = "GetArtifact"
			}
			for _, name := range []string{blobName(ids[0]), blobName(ids[1]), blobName(ids[2]), "TensorFlow"} {
				instead(w.api, operation, name, c.body, -1)
			}
			w.start(t, replicaOptions{})
			files, e, inventory := w.exceptions(t, `{"all_projects":true}`, 4)
			folder := "data/projects/" + p.ID.String() + "/"
			for _, f := range inventory.Projects[0].Categories["images"].Failed {
				if f.Code != "not_an_image" || f.Message == "" {
					t.Errorf("%s is an exception: %s %s", f.ID, f.Code, f.Message)
				}
			}
			for i, id := range ids {
				lines, category := "images.jsonl", "images"
				if i == 0 {
					lines = "iterations/" + p.Iterations[0].String() + "/images.jsonl"
				}
				if i == 2 {
					lines, category = "predictions.jsonl", "predictions"
				}
				if !slices.ContainsFunc(inventory.Projects[0].Categories[category].Failed, func(f bagfile.Failure) bool { return f.ID == id.String() && f.Code == "not_an_image" }) {
					t.Errorf("the inventory does not list %s", id)
				}
				line := lineOf(t, files[folder+lines], id)
				if line.File == nil || line.Error == nil || line.Error.Code != "not_an_image" || line.Bytes != int64(len(c.body)) {
					t.Fatalf("the line of %s is %+v", id, line)
				}
				if content, there := files[folder+*line.File]; !there || string(content) != c.body || *line.File != category+"/"+id.String()+".bin" {
					t.Errorf("%s is %.100q, %v", *line.File, content, there)
				}
			}
			model := folder + "iterations/" + p.Iterations[0].String() + "/exports/TensorFlow-TensorFlowLite.bin"
			if content, there := files[model]; !there || string(content) != c.body {
				t.Errorf("the model is %.100q, %v", content, there)
			}
			exports := inventory.Projects[0].Categories["exports"]
			if f := exports.Failed; len(f) != 1 || f[0].Code != "not_a_model" || f[0].ID != p.Iterations[0].String()+"/TensorFlow-TensorFlowLite" {
				t.Errorf("the inventory lists %+v", f)
			}
			if images := inventory.Projects[0].Categories["images"]; images.Exported != 2 || exports.Exported != 0 {
				t.Errorf("the inventory counts %d images and %d models", images.Exported, exports.Exported)
			}
			if e.Counts.Images != 4 || e.Counts.Exports != 0 || e.Counts.Predictions != 2 {
				t.Errorf("the event counts %+v", e.Counts)
			}
			var bytes int64
			for name, content := range files {
				if strings.HasPrefix(name, "data/") && name != "data/export.json" {
					bytes += int64(len(content))
				}
			}
			if e.Counts.Bytes != bytes {
				t.Errorf("the event counts %d bytes, the bag has %d", e.Counts.Bytes, bytes)
			}
		})
	}
}

// A page that comes once is no exception: with a fresh link the picture comes.
func TestTextOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	w.start(t, replicaOptions{})
	p := smallProject(w.api)
	for _, id := range []uuid.UUID{p.Images[0], p.Images[1], p.Images[2], p.Predictions[1]} {
		instead(w.api, cvtest.OperationBlob, blobName(id), signIn, 1)
	}
	instead(w.api, cvtest.OperationBlob, "TensorFlow", signIn, 1)
	files, e, _ := w.exceptions(t, `{"all_projects":true}`, 0)
	w.checkTruth(t, files, e, w.truthOf(t, w.api.Snapshot(), selection{}))
	fresh := 0
	for _, call := range w.api.Calls() {
		if call.Operation == "GetImagesByIds" && call.Status == 200 {
			fresh++
		}
	}
	if fresh < 2 {
		t.Errorf("images were asked for by their ids %d times", fresh)
	}
}

// Binary of no known format is kept, and is no exception.
func TestUnknownBinary(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	w.start(t, replicaOptions{})
	p := smallProject(w.api)
	instead(w.api, cvtest.OperationBlob, blobName(p.Images[2]), opaque, -1)
	instead(w.api, cvtest.OperationBlob, "TensorFlow", opaque, -1)
	files, _, _ := w.exceptions(t, `{"all_projects":true}`, 0)
	folder := "data/projects/" + p.ID.String() + "/"
	for _, name := range []string{"images/" + p.Images[2].String() + ".bin", "iterations/" + p.Iterations[0].String() + "/exports/TensorFlow-TensorFlowLite.bin"} {
		if string(files[folder+name]) != opaque {
			t.Errorf("%s is %q", name, files[folder+name])
		}
	}
}

// A page that quotes the link it came by is not kept: nothing in a bag holds a signature.
func TestTextThatQuotesItsLink(t *testing.T) {
	t.Parallel()
	for _, model := range []bool{false, true} {
		w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
		p := smallProject(w.api)
		name, category, code := blobName(p.Images[2]), "images", "not_an_image"
		if model {
			name, category, code = "TensorFlow", "exports", "not_a_model"
		}
		instead(w.api, cvtest.OperationBlob, name, `<a href="https://login.test/?to=x&amp;sv=2021-08-06&amp;sig=c2VjcmV0">sign in</a>`, -1)
		w.start(t, replicaOptions{})
		files, _, inventory := w.exceptions(t, `{"all_projects":true}`, 1)
		if f := inventory.Projects[0].Categories[category].Failed; len(f) != 1 || f[0].Code != code {
			t.Errorf("the inventory lists %+v", f)
		}
		for name, content := range files {
			if strings.Contains(string(content), "sig=") {
				t.Errorf("%s holds a signature", name)
			}
		}
		if !model {
			if line := lineOf(t, files["data/projects/"+p.ID.String()+"/images.jsonl"], p.Images[2]); line.File != nil || line.Error == nil {
				t.Errorf("the line is %+v", line)
			}
		}
	}
}

// A delete that exports first deletes nothing when a page came in place of a picture, a
// prediction's picture or a model.
func TestExportFirstMeetsText(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"image", "prediction", "model"} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
			w.start(t, replicaOptions{})
			p := smallProject(w.api)
			instead(w.api, cvtest.OperationBlob, map[string]string{
				"image": blobName(p.Images[2]), "prediction": blobName(p.Predictions[1]), "model": "TensorFlow",
			}[what], signIn, -1)
			before := w.api.Snapshot()
			e := w.wait(t, w.publish(t, "delete", "del-1", `{"project_ids":["`+p.ID.String()+`"],"export_first":true}`))
			if e.Status != contract.StatusRefused || e.Error == nil || e.Error.Code != contract.CodePreconditionFailed {
				t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			if calls := w.api.DestructiveCalls(); len(calls) > 0 {
				t.Errorf("calls that destroy: %v", calls)
			}
			if !reflect.DeepEqual(before, w.api.Snapshot()) {
				t.Error("the account is not as before")
			}
			w.bag(t, "del-1", sink.ExportBag)
		})
	}
}

// A replica dies when it has stored a page. The next attempt finds it, knows it for what it is, and
// asks again: what it has in the end is in the bag.
func TestTextFoundByALaterAttempt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		again   string // what comes the second time; empty: the picture
		outcome contract.Outcome
	}{
		{name: "the picture comes at last", outcome: contract.OutcomeComplete},
		{name: "the page comes again", again: signIn, outcome: contract.OutcomeExceptions},
		{name: "another page comes", again: "<html>later</html>", outcome: contract.OutcomeExceptions},
		{name: "unknown binary comes, whose name the page has", again: opaque, outcome: contract.OutcomeExceptions},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}, ackWait: redelivery})
			p := smallProject(w.api)
			instead(w.api, cvtest.OperationBlob, blobName(p.Images[2]), signIn, 2)
			if c.again != "" {
				instead(w.api, cvtest.OperationBlob, blobName(p.Images[2]), c.again, -1)
			}
			file := "data/projects/" + p.ID.String() + "/images/" + p.Images[2].String() + ".bin"
			f := newFate("PutObject exp/export/"+file+"#1", true)
			first := w.start(t, replicaOptions{fate: f})
			h := w.publish(t, "export", "exp", `{"all_projects":true}`)
			select {
			case <-f.died:
			case <-time.After(patience):
				t.Fatalf("no page is stored; these effects happened:\n%s", strings.Join(f.effects, "\n"))
			}
			first.stop()
			w.start(t, replicaOptions{})
			e := w.wait(t, h)
			if e.Outcome != c.outcome {
				t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			files := w.bag(t, "exp", sink.ExportBag)
			if c.outcome == contract.OutcomeComplete {
				w.checkTruth(t, files, e, w.truthOf(t, w.api.Snapshot(), selection{}))
				return
			}
			line := lineOf(t, files["data/projects/"+p.ID.String()+"/images.jsonl"], p.Images[2])
			if line.Error == nil || line.Error.Code != "not_an_image" || line.File == nil || string(files[file]) != signIn {
				t.Errorf("the line is %+v, the file %.100q", line, files[file])
			}
		})
	}
}

// What a slow worker left in the store counts where the unit gave the blob up: a picture does, a
// page does not.
func TestStrayText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, ext, stray string
		fault            cvtest.Fault // of the image's own downloads
		exceptions       int64
		code             string
	}{
		{name: "a page beside nothing", ext: "bin", stray: signIn, fault: cvtest.Fault{Status: 404, Code: "BlobNotFound"}, exceptions: 1, code: "BlobNotFound"},
		{name: "unknown binary beside nothing", ext: "bin", stray: opaque, fault: cvtest.Fault{Status: 404, Code: "BlobNotFound"}},
		{name: "a picture beside a page", ext: "gif", stray: "GIF89a\x01\x00\x01\x00\x80\x00\x00", fault: cvtest.Fault{Rewrite: func([]byte) []byte { return []byte(signIn) }}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
			p := smallProject(w.api)
			c.fault.Operation, c.fault.Path, c.fault.Times = cvtest.OperationBlob, blobName(p.Images[2]), -1
			w.api.Fault(c.fault)
			name := "data/projects/" + p.ID.String() + "/images/" + p.Images[2].String() + "." + c.ext
			stray := sink.Bytes([]byte(c.stray), "application/octet-stream")
			stray.Meta = map[string]string{unit.MetaSource: "original"}
			var once sync.Once
			w.api.OnCall(func(string, int) { // what is there before the command begins is removed
				once.Do(func() {
					if err := w.sealed(t, "disturbed").Replace(t.Context(), sink.Key("disturbed/export/"+name), stray); err != nil {
						t.Error(err)
					}
				})
			})
			w.start(t, replicaOptions{})
			files, _, inventory := w.exceptions(t, `{"all_projects":true}`, c.exceptions)
			line := lineOf(t, files["data/projects/"+p.ID.String()+"/images.jsonl"], p.Images[2])
			if c.exceptions == 0 {
				if line.Error != nil || string(files[name]) != c.stray {
					t.Errorf("the line is %+v, the file %q", line, files[name])
				}
				return
			}
			if f := inventory.Projects[0].Categories["images"].Failed; len(f) != 1 || f[0].Code != c.code || line.File != nil {
				t.Errorf("the inventory lists %+v, the line is %+v", f, line)
			}
		})
	}
}
