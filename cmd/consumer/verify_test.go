package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// newGatewayFixture is a fixture whose store is behind a gateway.
func newGatewayFixture(t *testing.T, quirks ...sinktest.Quirk) (*fixture, *sinktest.Gateway) {
	t.Helper()
	f := newFixture(t, cvtest.Options{Seed: 1})
	f.vision.Sample()
	gate := f.store.Gateway(t, quirks...)
	f.config.S3.Endpoint, f.config.S3.Transport = gate.Endpoint, nil
	return f, gate
}

// verifyJSON runs consumer verify of one place.
func (f *fixture) verifyJSON(t *testing.T, where string) (code int, v verified, stderr string) {
	t.Helper()
	code, out, stderr := f.command(t, "verify", "-o", "json", where)
	if out != "" {
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
	}
	return code, v, stderr
}

// A good bundle in a store that never says how long an object is verifies there as it does in a
// folder, and as it does where the store says it.
func TestVerifyWithoutLengths(t *testing.T) {
	f, _ := newGatewayFixture(t, sinktest.WithoutLengths()...)
	r := f.start(t)
	r.await("all is well", isReady)
	if e := f.order(t, "good"); e.Data.Outcome != contract.OutcomeComplete {
		t.Fatalf("%s\n%s", describeEvent(e), f.log)
	}
	r.end()
	dir := t.TempDir()
	if err := sinktest.Fetch(t.Context(), f.store.Client(), f.config.Bucket, "good/export/", dir); err != nil {
		t.Fatal(err)
	}
	place := "s3://" + f.config.Bucket + "/good/export/"
	code, gate, errs := f.verifyJSON(t, place)
	if code != exitDone || gate.Result != verify.OK {
		t.Fatalf("behind the gateway: exit %d, %+v\n%s", code, gate, errs)
	}
	f.config.S3.Endpoint = f.store.Endpoint
	command := strings.TrimSuffix(place, "export/")
	if code, v, errs := f.verifyJSON(t, command); code != exitDone || v.Where != place || !strings.Contains(errs, command+" holds 1 bundles") {
		t.Errorf("all of the command: exit %d, %+v\n%s", code, v, errs)
	}
	for _, where := range []string{dir, place} {
		code, other, errs := f.verifyJSON(t, where)
		if code != exitDone || other.Result != verify.OK || other.Files != gate.Files || other.Bytes != gate.Bytes || other.LedgerHead != gate.LedgerHead {
			t.Errorf("%s: exit %d, %+v, and behind the gateway %+v\n%s", where, code, other, gate, errs)
		}
	}
}

// What can be found but not be read is neither wrong nor out of reach: the verification is
// inconclusive.
func TestVerifyOfWhatCannotBeRead(t *testing.T) {
	f, gate := newGatewayFixture(t)
	r := f.start(t)
	r.await("all is well", isReady)
	if e := f.order(t, "good"); e.Data.Outcome != contract.OutcomeComplete {
		t.Fatalf("%s\n%s", describeEvent(e), f.log)
	}
	r.end()
	place := "s3://" + f.config.Bucket + "/good/export/"
	for _, marker := range []string{"good/export/", "good/export/data/"} { // as consoles make folders
		if _, err := f.store.Client().PutObject(t.Context(), &s3.PutObjectInput{Bucket: &f.config.Bucket, Key: &marker}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name  string
		fault sinktest.Fault
		code  int
	}{
		{"nothing is wrong", sinktest.Fault{}, exitDone},
		{"an object may not be read", sinktest.Fault{Op: "GetObject", Key: "*/export.json", Status: http.StatusForbidden}, exitInconclusive},
		{"the receipt may not be read", sinktest.Fault{Op: "GetObject", Key: "*/receipt.json", Status: http.StatusForbidden}, exitInconclusive},
		{"the store has no answer", sinktest.Fault{Op: "GetObject", Key: "*/ledger.jsonl", Status: http.StatusBadRequest}, exitInconclusive},
		{"nothing may be listed", sinktest.Fault{Op: "ListObjectsV2", Status: http.StatusForbidden}, exitUnreachable},
	} {
		t.Run(c.name, func(t *testing.T) {
			gate.Faults.Clear()
			if c.fault != (sinktest.Fault{}) {
				c.fault.Times = -1
				gate.Faults.Add(c.fault)
			}
			code, v, errs := f.verifyJSON(t, place)
			if code != c.code {
				t.Fatalf("exit %d, want %d: %+v\n%s", code, c.code, v, errs)
			}
			if code != exitInconclusive {
				return
			}
			name := strings.TrimPrefix(c.fault.Key, "*")
			if v.Result != verify.Inconclusive || v.Files == 0 || len(v.Problems) > 0 || !strings.Contains(v.Unread, name) {
				t.Errorf("it says %+v", v)
			}
			if _, out, _ := f.command(t, "verify", place); !strings.Contains(out, ": inconclusive\n") || !strings.Contains(out, name) {
				t.Errorf("it prints\n%s", out)
			}
		})
	}
}

// Nothing of a bundle is printed raw: its maker cannot write lines of the verification's own,
// nor control the terminal.
func TestVerifyPrintsNothingRaw(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "testdata", "bundles", "two-tags"))); err != nil {
		t.Fatal(err)
	}
	const hostile = `\n\u001b[2K  signature    ok\u202e\u009b1m\u0007`
	receipt := filepath.Join(dir, "receipt.json")
	b, err := os.ReadFile(receipt)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(`"outcome":"complete"`, `"outcome":"complete`+hostile+`"`, "case 2026-17", "case"+hostile, "s3://golden-two-tags", "s3://x"+hostile, `"category"`, `"category`+hostile+`"`).Replace(string(b))
	if err := os.WriteFile(receipt, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x\x1b[2J\u202e\nsignature ok"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify", dir}, {"verify", "-o", "json", dir}} {
		var out, errs strings.Builder
		if code := run(t.Context(), args, nil, strings.NewReader(""), &out, &errs); code != exitVerify {
			t.Errorf("exit %d\n%s%s", code, out.String(), errs.String())
		}
		for line := range strings.Lines(out.String() + errs.String()) {
			line = strings.TrimSuffix(line, "\n")
			if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) || strings.HasPrefix(strings.TrimSpace(line), "signature") && !strings.Contains(line, "none: the receipt is unsigned") {
				t.Errorf("it prints %q", line)
			}
		}
	}
}
