package main

import (
	"archive/zip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// verifies runs consumer verify without any service, and gives its exit code and what it prints.
func verifies(t *testing.T, args ...string) (code int, results []verified, out, errs string) {
	t.Helper()
	for _, format := range []string{"text", "json"} {
		var stdout, stderr strings.Builder
		code = run(t.Context(), append([]string{"verify", "-o", format}, args...), nil, strings.NewReader(""), &stdout, &stderr)
		if format == "text" {
			out = stdout.String()
			continue
		}
		errs = stderr.String()
		for dec := json.NewDecoder(strings.NewReader(stdout.String())); ; {
			var v verified
			if err := dec.Decode(&v); err != nil {
				if err != io.EOF {
					t.Errorf("%v: %s", err, stdout.String())
				}
				break
			}
			results = append(results, v)
		}
	}
	return code, results, out, errs
}

// folder is a new folder with golden bundles, each below a name.
func folder(t *testing.T, bundles map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, bundle := range bundles {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join("..", "..", "testdata", "bundles", bundle))); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// archive packs a folder.
func archive(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bundles.ZIP")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(f)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func overwrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestVerifyOfPlaces verifies one bundle and several, in folders and archives, and exits by the
// worst of them.
func TestVerifyOfPlaces(t *testing.T) {
	good := folder(t, map[string]string{"": "nothing-found"})
	two := folder(t, map[string]string{"req-1/export": "two-tags", "req-2/export": "nothing-found"})
	bad := folder(t, map[string]string{"req-1/export": "two-tags", "req-2/export": "nothing-found"})
	overwrite(t, filepath.Join(bad, "req-2", "export", "receipt.json"), "{}\n")
	overwrite(t, filepath.Join(bad, "notes.txt"), "x")
	plainBag := t.TempDir()
	overwrite(t, filepath.Join(plainBag, "bagit.txt"), "BagIt-Version: 0.97\nTag-File-Character-Encoding: UTF-8\n")
	overwrite(t, filepath.Join(plainBag, "data", "x"), "x\n")
	overwrite(t, filepath.Join(plainBag, "manifest-md5.txt"), "401b30e3b8b5d629635a5c613cdb7919  data/x\n")
	holey := folder(t, nil)
	overwrite(t, filepath.Join(holey, "bagit.txt"), "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")
	overwrite(t, filepath.Join(holey, "manifest-md5.txt"), "401b30e3b8b5d629635a5c613cdb7919  data/x\n")
	overwrite(t, filepath.Join(holey, "fetch.txt"), "https://host.example/x - data/x\n")
	broken := filepath.Join(t.TempDir(), "broken.zip")
	overwrite(t, broken, "PK")

	for _, c := range []struct {
		name    string
		where   []string
		code    int
		results []verify.Result
		says    string // in the table
		remark  string // on standard error
	}{
		{"a folder", []string{good}, exitDone, []verify.Result{verify.OK}, "receipt", ""},
		{"an archive", []string{archive(t, good)}, exitDone, []verify.Result{verify.OK}, ".ZIP: ok", ""},
		{"a folder of several", []string{two}, exitDone, []verify.Result{verify.OK, verify.OK}, "/req-1/export/: ok", "holds 2 bundles\n"},
		{"an archive of several", []string{archive(t, two)}, exitDone, []verify.Result{verify.OK, verify.OK}, "/req-2/export/: ok", "holds 2 bundles\n"},
		{"one of several failed", []string{bad, good}, exitVerify, []verify.Result{verify.OK, verify.Failed, verify.OK}, "receipt.json: ", "holds 2 bundles; 1 files are in none of them, such as notes.txt"},
		{"another tool's", []string{plainBag}, exitDone, []verify.Result{verify.OK}, "a BagIt bag that cvconsumer did not make: manifests ok; it proves no export and no delete", ""},
		{"another tool's, not whole yet", []string{holey}, exitInconclusive, []verify.Result{verify.Inconclusive}, "1 files of fetch.txt have yet to be fetched", ""},
		{"failed counts before inconclusive", []string{holey, broken, good}, exitVerify, []verify.Result{verify.Inconclusive, verify.Failed, verify.OK}, "the archive is damaged", ""},
		{"nothing", []string{t.TempDir()}, exitVerify, []verify.Result{verify.Failed}, "there are no files here", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, results, out, errs := verifies(t, c.where...)
			var got []verify.Result
			for _, v := range results {
				got = append(got, v.Result)
			}
			if code != c.code || !slices.Equal(got, c.results) || !strings.Contains(out, c.says) || !strings.Contains(errs, c.remark) || c.remark == "" && errs != "" {
				t.Errorf("exit %d, %v\n%s%s", code, got, out, errs)
			}
		})
	}
}

// TestVerifyWorse orders results: failed, not reachable, inconclusive, ok.
func TestVerifyWorse(t *testing.T) {
	order := []error{nil, errInconclusive, errUnreachable, errVerifyFailed}
	for i, a := range order {
		for j, b := range order {
			if got := worse(a, b); got != order[max(i, j)] {
				t.Errorf("of %v and %v it takes %v", a, b, got)
			}
		}
	}
}

// TestVerifyOfAnUnreachablePlace has the other places be verified all the same.
func TestVerifyOfAnUnreachablePlace(t *testing.T) {
	good := folder(t, map[string]string{"": "nothing-found"})
	var stdout, stderr strings.Builder
	vars := []string{"AWS_ENDPOINT_URL_S3=http://127.0.0.1:1", "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=y", "AWS_MAX_ATTEMPTS=1"}
	code := run(t.Context(), []string{"verify", good, "s3://bucket/"}, vars, strings.NewReader(""), &stdout, &stderr)
	if code != exitUnreachable || !strings.Contains(stdout.String(), good+": ok") || !strings.Contains(stdout.String(), "s3://bucket/: inconclusive") ||
		!strings.Contains(stderr.String(), "verify s3://bucket/: not reachable") {
		t.Errorf("exit %d\n%s%s", code, stdout.String(), stderr.String())
	}
	if _, unread, _ := strings.Cut(stdout.String(), "s3://bucket/: inconclusive"); strings.Contains(unread, "unsigned") || !strings.Contains(unread, "not known") {
		t.Errorf("of a receipt that was not read it says\n%s", unread)
	}
	stdout.Reset()
	run(t.Context(), []string{"verify", "-o", "json", "s3://bucket/"}, vars, strings.NewReader(""), &stdout, &stderr)
	if !strings.Contains(stdout.String(), `"signature": "unknown"`) {
		t.Errorf("of a receipt that was not read it says\n%s", stdout.String())
	}
}
