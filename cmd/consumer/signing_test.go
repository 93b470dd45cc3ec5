package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature/signaturetest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// goldenBag is a bundle that verifies; the S3 server changes the working directory.
var goldenBag, _ = filepath.Abs(filepath.Join("..", "..", "testdata", "bundles", "two-tags"))

// consumer runs a command line in this process.
func consumer(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, nil, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// keyPair makes a key pair in a folder, and gives the name of both files.
func keyPair(t *testing.T, dir, name, kind string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if code, _, errs := consumer(t, "keys", "new", path, "--type", kind); code != exitDone {
		t.Fatalf("exit %d\n%s", code, errs)
	}
	return path
}

// signBag makes a signed copy of the golden bag in a folder, with a time stamp if there is an
// authority.
func signBag(t *testing.T, dir, key string, tsa *signature.Authority) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.CopyFS(dir, os.DirFS(goldenBag)))
	raw, err := os.ReadFile(filepath.Join(dir, "receipt.json"))
	must(err)
	receipt, err := sink.ParseReceipt(raw)
	must(err)
	signer, err := readSigner(key + ".key")
	must(err)
	policy := signature.None
	if tsa != nil {
		policy = signature.Required
	}
	receipt.Sign(signer.ID(), policy)
	raw, err = receipt.Encode()
	must(err)
	made, err := signer.Sign(raw)
	must(err)
	if tsa != nil {
		made.TimeStamp, err = tsa.Stamp(t.Context(), made.Signature)
		must(err)
	}
	bundle, err := made.Encode()
	must(err)
	must(os.WriteFile(filepath.Join(dir, "receipt.json"), raw, 0o600))
	must(os.WriteFile(filepath.Join(dir, "receipt.sigstore.json"), bundle, 0o600))
}

func TestKeysNew(t *testing.T) {
	dir := t.TempDir()
	for _, kind := range []string{signature.P256, signature.Ed25519} {
		name := filepath.Join(dir, kind)
		code, out, errs := consumer(t, "keys", "new", name, "--type", kind)
		if code != exitDone {
			t.Fatalf("exit %d\n%s", code, errs)
		}
		signer, err := readSigner(name + ".key")
		if err != nil {
			t.Fatal(err)
		}
		public, err := readPublicKeys([]string{name + ".pub"})
		if err != nil || public.keys[0].ID() != signer.ID() || !strings.Contains(out, signer.ID()) || !strings.Contains(out, "CONSUMER_SIGNING_KEY_FILE="+name+".key") {
			t.Errorf("%v\n%s", err, out)
		}
		info, err := os.Stat(name + ".key")
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the private key has mode %v, %v", info.Mode(), err)
		}
		before, _ := os.ReadFile(name + ".key")
		for _, left := range []string{".key", ".pub"} { // either is never overwritten
			if code, _, errs := consumer(t, "keys", "new", name); code != exitUsage || !strings.Contains(errs, "is not overwritten: choose another name") {
				t.Errorf("exit %d\n%s", code, errs)
			}
			if err := os.Rename(name+left, name+left+".moved"); err != nil {
				t.Fatal(err)
			}
			code, _, _ := consumer(t, "keys", "new", name)
			if err := os.Rename(name+left+".moved", name+left); err != nil {
				t.Fatal(err)
			}
			if after, _ := os.ReadFile(name + ".key"); code != exitUsage || !bytes.Equal(before, after) {
				t.Errorf("exit %d where only the other file was there", code)
			}
		}
	}
}

func TestVerifyKey(t *testing.T) {
	dir := t.TempDir()
	tsa, err := signature.NewAuthority(signaturetest.New(t, nil).URL, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	key, other := keyPair(t, dir, "key", "p256"), keyPair(t, dir, "other", "ed25519")
	bags := map[string]string{"unsigned": goldenBag}
	for name, authority := range map[string]*signature.Authority{"signed": nil, "stamped": tsa} {
		bags[name] = filepath.Join(dir, name)
		signBag(t, bags[name], key, authority)
	}
	bags["missing"] = filepath.Join(dir, "missing")
	signBag(t, bags["missing"], key, nil)
	if err := os.Remove(filepath.Join(bags["missing"], "receipt.sigstore.json")); err != nil {
		t.Fatal(err)
	}
	bags["zipped"] = archive(t, bags["signed"])
	for _, c := range []struct {
		bag       string
		keys      []string
		code      int
		signature verify.Signature
		says      string // in the output for people
	}{
		{"unsigned", nil, exitDone, verify.Unsigned, "none: the receipt is unsigned"},
		{"unsigned", []string{key}, exitVerify, verify.Unsigned, "it is missing: the receipt is unsigned"},
		{"signed", nil, exitDone, verify.Unchecked, "not checked: there is a file that should hold one; --key takes the public key"},
		{"signed", []string{key}, exitDone, verify.Signed, "by key "},
		{"signed", []string{other, key}, exitDone, verify.Signed, "by key "},
		{"signed", []string{other}, exitVerify, verify.Wrong, "none of the given keys made it"},
		{"zipped", nil, exitDone, verify.Unchecked, "not checked"},
		{"zipped", []string{key}, exitDone, verify.Signed, "by key "},
		{"zipped", []string{other}, exitVerify, verify.Wrong, "none of the given keys made it"},
		{"stamped", []string{key}, exitDone, verify.Signed, `by "CN=Test authority", as it says itself`},
		{"stamped", nil, exitDone, verify.Unchecked, "not checked"},
		{"missing", nil, exitVerify, verify.Unsigned, "it is missing: the receipt says that it is signed"},
		{"missing", []string{key}, exitVerify, verify.Unsigned, "it is missing: the receipt says that it is signed"},
	} {
		args := []string{"verify", bags[c.bag]}
		for _, k := range c.keys {
			args = append(args, "--key", k+".pub")
		}
		code, out, errs := consumer(t, args...)
		if code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%v: exit %d, want %d with %q\n%s%s", args, code, c.code, c.says, out, errs)
		}
		var v verified
		code, out, errs = consumer(t, append(args, "-o", "json")...)
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatalf("%v\n%s", err, errs)
		}
		if code != c.code || v.Signature != c.signature || (v.SignedBy != "") != (c.signature == verify.Signed) || (v.TimeStamp != nil) != (c.bag == "stamped") || v.TimeStamp != nil && v.TimeStamp.AuthorityChecked {
			t.Errorf("%v: exit %d, %+v", args, code, v)
		}
		if c.signature == verify.Signed && v.KeyFile != key+".pub" {
			t.Errorf("%v: the key is in %s", args, v.KeyFile)
		}
	}
	if code, out, _ := consumer(t, "verify", t.TempDir()); code != exitVerify || !strings.Contains(out, "none: no receipt was read") {
		t.Errorf("exit %d of an empty folder\n%s", code, out)
	}
	if code, _, errs := consumer(t, "verify", "--key", key+".key", goldenBag); code != exitUsage || !strings.Contains(errs, `it holds a PEM block "PRIVATE KEY"`) {
		t.Errorf("exit %d with a private key\n%s", code, errs)
	}
}

// TestKeysNewNKey makes a key that commands are signed with.
func TestKeysNewNKey(t *testing.T) {
	name := filepath.Join(t.TempDir(), "alice")
	code, out, errs := consumer(t, "keys", "new", "--type", "nkey", name)
	if code != exitDone {
		t.Fatalf("exit %d\n%s", code, errs)
	}
	var warned bytes.Buffer
	s, err := newSigner(&program{stderr: &warned}, "--sign", name+".key", here)
	if err != nil || warned.Len() > 0 {
		t.Fatal(err, warned.String())
	}
	public, err := os.ReadFile(name + ".pub")
	if err != nil || string(public) != s.key+"\n" || !strings.Contains(out, s.key) {
		t.Errorf("the public key is %s, %v\n%s", public, err, out)
	}
	seed, err := os.ReadFile(name + ".key")
	if err != nil || strings.Contains(out, strings.TrimSpace(string(seed))) {
		t.Errorf("the seed is shown: %v\n%s", err, out)
	}
	if code, _, errs := consumer(t, "keys", "new", "--type", "nkey", name); code != exitUsage || !strings.Contains(errs, "is not overwritten: choose another name") {
		t.Errorf("exit %d\n%s", code, errs)
	}
}

// TestAuthorityInReadiness shows in /readyz whether the time stamp authority answers: at start,
// when a receipt finds out, and when it answers again. Where it is not required, that is a note.
func TestAuthorityInReadiness(t *testing.T) {
	tsa := signaturetest.New(t, nil)
	authority, err := signature.NewAuthority(tsa.URL, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	down := signaturetest.Fault{Status: http.StatusServiceUnavailable}
	for _, optional := range []bool{false, true} {
		m := &signature.Maker{Authority: authority, Optional: optional}
		s, err := newService(t.Context(), config{Signing: m, S3: storeConfig{Region: "us-east-1"}}, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		check := s.checkAuthority()
		asked := len(tsa.Requests())
		shows := func(when string, answers bool, requests int) {
			t.Helper()
			if err := check(t.Context()); (err != nil) != (!answers && !optional) {
				t.Errorf("%s: the check says %v", when, err)
			} else {
				s.monitor.found(delivery.DependencyTimestamp, err)
			}
			d := s.monitor.readiness().Dependencies["timestamp"]
			said := d.Reason + strings.Join(d.Notes, "")
			if d.OK != (answers || optional) || (said == "") != answers || !answers && !strings.Contains(said, "status 503") {
				t.Errorf("%s: /readyz says %+v", when, d)
			}
			if !answers && !optional && !strings.Contains(said, "CONSUMER_TSA_REQUIRED=false") {
				t.Errorf("%s: it names no setting: %s", when, said)
			}
			if asked += requests; len(tsa.Requests()) != asked {
				t.Errorf("%s: %d requests, not %d", when, len(tsa.Requests()), asked)
			}
		}
		shows("at start", true, 1)
		tsa.Fail(down)
		for range askEvery - 2 {
			shows("before the next look", true, 0)
		}
		shows("at the next look", false, 1)
		tsa.Fail(signaturetest.Fault{})
		if _, err := s.c.Signing.Stamp(t.Context(), []byte("a receipt's signature")); err != nil {
			t.Fatal(err)
		}
		asked++
		shows("after a receipt", true, 0)
		tsa.Fail(down)
		_, _ = s.c.Signing.Stamp(t.Context(), []byte("a receipt's signature"))
		asked++
		more := 1
		if optional { // a note is no failure: receipts tell when it is over
			more = 0
		}
		shows("after a receipt without", false, more)
		tsa.Fail(signaturetest.Fault{})
		called, cancel := context.WithCancel(t.Context())
		cancel()
		_, _ = s.c.Signing.Stamp(called, []byte("a receipt's signature")) // called off: it says nothing of the authority
		shows("when it answers again", !optional, more)
	}
}
