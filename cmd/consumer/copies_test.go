package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// storage is a bucket with golden bundles, and a command line that reaches it. There is no NATS.
type storage struct {
	server *sinktest.Server
	gate   *sinktest.Gateway // closes connections that clients opened and did not use: the server would wait for them
	bucket string
	store  *sink.Store
	width  int // of the terminal that does shows its output on; 0: none
}

func newStorage(t *testing.T, bundles map[string]string) *storage {
	t.Helper()
	dir := folder(t, bundles) // before the server changes the working directory
	s := &storage{server: sinktest.Shared(t)}
	s.gate = s.server.Gateway(t)
	s.bucket = s.server.Bucket(t, sinktest.BucketOptions{})
	s.store = sink.NewStore(s.server.Client(), sink.StoreOptions{Bucket: s.bucket, Log: zerolog.Nop()})
	for file, err := range verify.Dir(dir).List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(dir, file.Name))
		if err != nil {
			t.Fatal(err)
		}
		s.put(t, file.Name, string(content))
	}
	return s
}

func (s *storage) put(t *testing.T, key, content string) {
	t.Helper()
	if err := s.store.Replace(t.Context(), sink.Key(key), sink.Bytes([]byte(content), "")); err != nil {
		t.Fatal(err)
	}
}

// does runs a command line, which must exit with a code and print a text on either stream.
func (s *storage) does(t *testing.T, code int, says string, args ...string) (stdout string) {
	t.Helper()
	out, errs := &fakeTerminal{width: s.width}, &bytes.Buffer{}
	got := run(t.Context(), args, []string{
		"CONSUMER_BUCKET=" + s.bucket, "AWS_ENDPOINT_URL_S3=" + s.gate.Endpoint, "AWS_REGION=" + s.server.Region,
		"AWS_ACCESS_KEY_ID=" + s.server.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s.server.SecretKey,
	}, strings.NewReader(""), out, errs)
	if got != code || !strings.Contains(out.String()+errs.String(), says) {
		t.Fatalf("consumer %s: exit %d\n%s%s", strings.Join(args, " "), got, out.String(), errs.String())
	}
	return out.String()
}

// filesIn is how many files a folder has.
func filesIn(t *testing.T, dir string) (n int) {
	t.Helper()
	for _, err := range verify.Dir(dir).List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// left is what the bucket has below a prefix, unfinished uploads included.
func (s *storage) left(t *testing.T, prefix string) []string {
	t.Helper()
	found, err := sinktest.Versions(t.Context(), s.server.Client(), s.bucket, prefix)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func asPacked(t *testing.T, out string) (p packed) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return p
}

// TestPack packs bundles from a folder, a store and an archive, to disk and to a store: always the
// same archive, which other tools read, and which verifies as it is and unpacked.
func TestPack(t *testing.T) {
	local := folder(t, map[string]string{"": "two-tags"})
	dir := t.TempDir()
	s := newStorage(t, map[string]string{"two-tags/export": "two-tags", "many/1": "nothing-found", "many/2": "nothing-found"})
	stored := "s3://" + s.bucket + "/two-tags/export/"

	first := asPacked(t, s.does(t, exitDone, "", "pack", "-o", "json", local, dir))
	archive := filepath.Join(dir, "two-tags-export.zip")
	if first.Dest != archive || first.Files != filesIn(t, local) {
		t.Errorf("%+v", first)
	}
	second := asPacked(t, s.does(t, exitDone, "", "pack", "-o", "json", archive, "s3://"+s.bucket+"/packed/"))
	third := asPacked(t, s.does(t, exitDone, "", "pack", "-o", "json", stored, filepath.Join(dir, "other.zip")))
	if second.SHA256 != first.SHA256 || third.SHA256 != first.SHA256 || second.Dest != "s3://"+s.bucket+"/packed/two-tags-export.zip" {
		t.Errorf("another archive: %+v, %+v", second, third)
	}
	content, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	there, err := s.store.ReadAll(t.Context(), "packed/two-tags-export.zip", 1<<20)
	if err != nil || !bytes.Equal(there, content) || int64(len(content)) != first.Bytes {
		t.Errorf("in the store there are %d bytes, %v; on disk %d", len(there), err, len(content))
	}
	s.does(t, exitDone, "ok", "verify", archive)

	unpacked := t.TempDir()
	for _, command := range [][]string{
		{"unzip", "-tq", archive},
		{"unzip", "-q", archive, "-d", unpacked},
		{"sh", "-c", "cd " + unpacked + "/two-tags-export && sha256sum --check --strict --quiet manifest-sha256.txt tagmanifest-sha256.txt"},
	} {
		if out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", command, err, out)
		}
	}
	s.does(t, exitDone, "ok", "verify", unpacked)

	for _, dest := range []string{archive, "s3://" + s.bucket + "/packed/"} {
		s.does(t, exitUsage, "already, and it is not overwritten", "pack", local, dest)
	}
	s.does(t, exitUsage, "holds 2 bundles: name one of them", "pack", "s3://"+s.bucket+"/many/", dir)
	inside := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(local, inside); err != nil {
		t.Fatal(err)
	}
	for from, dests := range map[string][]string{local: {local, local + "/x.zip", local + "/data/../data/", inside + "/data"}, stored: {stored, stored + "data/x.zip"}} {
		for _, dest := range dests {
			s.does(t, exitUsage, "is within the bundle", "pack", from, dest)
		}
	}
	s.does(t, exitUsage, "does not end in .zip", "pack", local, filepath.Join(dir, "x.tar"))
	s.does(t, exitUsage, "is not supported", "pack", local, "https://host.example/x.zip")
	s.does(t, exitVerify, "no finished bundle is here", "pack", "s3://"+s.bucket+"/packed/", filepath.Join(dir, "none.zip"))
	s.does(t, exitVerify, "receipt is unsigned", "pack", "--key", writeKey(t), local, filepath.Join(dir, "unsigned.zip"))

	refusing := s.server.Gateway(t, sinktest.RefusesChecksums, sinktest.RefusesConditions)
	s.does(t, exitDone, "files verified and packed", "pack", "--aws-endpoint-url-s3", refusing.Endpoint, local, "s3://"+s.bucket+"/refusing/")
	s.does(t, exitUsage, "already, and it is not overwritten", "pack", "--aws-endpoint-url-s3", refusing.Endpoint, local, "s3://"+s.bucket+"/refusing/")

	const picture = "data/projects/a2e7570a-5d0e-4e96-ba6d-125f56a98544/images/9a755530-012e-4b1d-947f-e4e00a6e4e9e.gif"
	s.put(t, "two-tags/export/"+picture, strings.Repeat("x", 76))
	before := s.left(t, "packed/")
	s.does(t, exitVerify, picture+": its SHA-256 is ", "pack", stored, filepath.Join(dir, "changed.zip"))
	s.does(t, exitVerify, picture+": its SHA-256 is ", "pack", stored, "s3://"+s.bucket+"/packed/changed.zip")
	if after := s.left(t, "packed/"); len(after) != len(before) {
		t.Errorf("in the store there is %q", after)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Errorf("in the folder there is %v, %v", files, err)
	}
}

// writeKey makes a key pair and gives the file with the public key.
func writeKey(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "k")
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"keys", "new", name}, nil, strings.NewReader(""), &out, &errs); code != exitDone {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	return name + ".pub"
}

// TestFetchAndLink downloads the bundles of a command, takes up what is there, and signs links to
// them.
func TestFetchAndLink(t *testing.T) {
	all := filesIn(t, folder(t, map[string]string{"": "two-tags"}))
	s := newStorage(t, map[string]string{"two-tags/export": "two-tags", "two-tags/delete": "nothing-found", "begun/export/data": "nothing-found/data"})
	dir := filepath.Join(t.TempDir(), "here")
	var first, again fetched
	for _, into := range []*fetched{&first, &again} {
		out := s.does(t, exitDone, "", "fetch", "-o", "json", "--kind", "export", "two-tags", dir)
		if err := json.Unmarshal([]byte(out), into); err != nil {
			t.Fatal(err)
		}
	}
	if first.Files != all || first.Kept != 0 || again.Files != all || again.Kept != all-2 || // the last two are always written
		first.Dest != filepath.Join(dir, "export") {
		t.Errorf("%+v, then %+v", first, again)
	}
	s.does(t, exitDone, "ok", "verify", dir)
	s.does(t, exitDone, "files fetched and verified", "fetch", "two-tags", dir)
	s.does(t, exitDone, "files verified and packed", "fetch", "--zip", "two-tags", filepath.Join(dir, "zips"))
	s.does(t, exitDone, "ok", "verify", filepath.Join(dir, "zips", "two-tags-export.zip"))
	s.does(t, exitVerify, "the receipt is unsigned", "fetch", "--key", writeKey(t), "two-tags", dir)
	s.does(t, exitCommand, "no finished bundle is at s3://"+s.bucket+"/begun/", "fetch", "begun", dir)
	s.does(t, exitUsage, "it must match", "fetch", "../x", dir)
	overwrite(t, filepath.Join(dir, "export", "data", "more.json"), "{}")
	s.does(t, exitVerify, "data/more.json", "fetch", "two-tags", dir)

	out := s.does(t, exitDone, "There is no archive of all files", "link", "two-tags", "--kind", "export")
	_, command, _ := strings.Cut(out, "This makes one: consumer ")
	s.does(t, exitDone, "packed", strings.Fields(command)...)
	var signed links
	out = s.does(t, exitDone, "", "link", "-o", "json", "--kind", "export", "--expires", "1h", "two-tags")
	if err := json.Unmarshal([]byte(out), &signed); err != nil || !signed.Archive || signed.Temporary || len(signed.Links) != 3 {
		t.Fatalf("%v: %s", err, out)
	}
	for _, one := range signed.Links {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, one.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.server.Transport().RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK || len(content) < 1000 {
			t.Errorf("%s: status %d, %d bytes, %v", one.What, resp.StatusCode, len(content), err)
		}
	}
	s.does(t, exitUsage, "168h (7 days", "link", "--expires", "200h", "two-tags")
	s.does(t, exitCommand, "no finished bundle", "link", "other")
}

// TestConvert makes training sets of bundles in a folder, an archive and a store, in a folder and
// in a store.
func TestConvert(t *testing.T) {
	local := folder(t, map[string]string{"": "detection"})
	s := newStorage(t, map[string]string{"det/export": "detection", "none/export": "nothing-found"})
	const project, url = "a2e7570a-5d0e-4e96-ba6d-125f56a98544/", "azureml://subscriptions/s/datastores/d/paths/p/"
	dest := filepath.Join(t.TempDir(), "sets")
	s.width = 60
	out := s.does(t, exitDone, "images 2, boxes 4", "convert", "--to", "coco,azureml,yolo", "--images", "link", "--image-url", url, local, dest)
	narrow(t, out)
	s.width = 0
	if !strings.Contains(out, "left out 2: YOLO ignores") {
		t.Error(out)
	}
	there := "s3://" + s.bucket + "/sets/"
	s.does(t, exitDone, "", "pack", local, filepath.Join(filepath.Dir(dest), "b.zip"))
	for i, from := range []string{filepath.Join(filepath.Dir(dest), "b.zip"), "s3://" + s.bucket + "/det/"} {
		to := fmt.Sprintf("%s%d/", there, i)
		s.does(t, exitDone, `"boxes_cut": 0`, "convert", "-o", "json", "--to", "azureml,coco", "--images", "copy", "--image-url", url, from, to)
		for _, name := range []string{project + "coco/instances_train.json", project + "azureml/training-mltable-folder/training_annotations.jsonl"} {
			stored, err := s.store.ReadAll(t.Context(), sink.Key(fmt.Sprintf("sets/%d/%s", i, name)), 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if same, err := os.ReadFile(filepath.Join(dest, name)); err != nil || !bytes.Equal(stored, same) {
				t.Errorf("%s: %v\n%s\n%s", name, err, stored, same)
			}
		}
		if left := s.left(t, fmt.Sprintf("sets/%d/%simages/", i, project)); len(left) != 2 {
			t.Errorf("pictures: %q", left)
		}
	}
	for says, args := range map[string][]string{
		"name a folder, or a prefix, that is new or empty": {local, dest},
		"that is new or empty":                             {local, there},
		"within the bundle":                                {local, local + "/new/sets"},
		"take --images copy":                               {"--images", "link", local, there + "x/"},
		"--image-url: azureml needs it":                    {"--to", "azureml", local, dest},
		"the formats are coco":                             {"--to", "voc", local, dest},
		"between 0 and 1":                                  {"--split", "80", local, dest},
		"is not supported":                                 {local, "gs://bucket/x/"},
	} {
		s.does(t, exitUsage, says, append([]string{"convert", "--to", "coco"}, args...)...)
	}
	s.does(t, exitCommand, "nothing to make a training set of", "convert", "--to", "coco", "s3://"+s.bucket+"/none/", there+"none/")
	s.does(t, exitVerify, "the receipt is unsigned", "convert", "--to", "coco", "--key", writeKey(t), local, there+"key/")
}
