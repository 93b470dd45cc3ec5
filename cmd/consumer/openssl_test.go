package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
)

// authorityConfig is what `openssl req` and `openssl ts` need to be an authority.
const authorityConfig = `
[req]
distinguished_name = name
prompt = no
[name]
CN = An authority
[root]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[tsa]
serial = serial
crypto_device = builtin
signer_cert = leaf.pem
signer_key = leaf.key
certs = tsa-root.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
`

// opensslAuthority is an authority made of openssl in a folder: its certificates are tsa-root.pem
// and tsa-chain.pem there.
func opensslAuthority(t *testing.T, dir string) *signature.Authority {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "tsa.cnf"), authorityConfig)
	mustShell(t, dir, `set -e
openssl req -new -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out tsa-root.pem -days 3650 -config tsa.cnf -extensions root -subj '/CN=A root'
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -out leaf.csr -config tsa.cnf
openssl x509 -req -in leaf.csr -CA tsa-root.pem -CAkey root.key -set_serial 7 -days 3650 -extfile tsa.cnf -extensions leaf -out leaf.pem
cat leaf.pem tsa-root.pem > tsa-chain.pem
echo 01 > serial`)
	var one sync.Mutex // openssl keeps the serial number in a file
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		one.Lock()
		defer one.Unlock()
		query, err := io.ReadAll(r.Body)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "query"), query, 0o600)
		}
		if err == nil {
			_, err = shell(r.Context(), dir, "openssl ts -reply -queryfile query -out reply -config tsa.cnf -section tsa")
		}
		var reply []byte
		if err == nil {
			reply, err = os.ReadFile(filepath.Join(dir, "reply"))
		}
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(reply)
	}))
	t.Cleanup(server.Close)
	a, err := signature.NewAuthority(server.URL, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// shell runs commands in a folder, and gives all that they print.
func shell(ctx context.Context, dir, commands string) (string, error) {
	c := exec.CommandContext(ctx, "sh", "-c", commands)
	c.Dir = dir
	out, err := c.CombinedOutput()
	return string(out), err
}

func mustShell(t *testing.T, dir, commands string) string {
	t.Helper()
	out, err := shell(t.Context(), dir, commands)
	if err != nil {
		t.Fatalf("%s\n%v\n%s", commands, err, out)
	}
	return out
}

// guide is docs/verify.md.
type guide string

func readGuide(t *testing.T) guide {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(goldenBag, "..", "..", "..", "docs", "verify.md"))
	if err != nil {
		t.Fatal(err)
	}
	return guide(text)
}

// block is the commands after a text.
func (g guide) block(t *testing.T, after string) string {
	t.Helper()
	_, rest, ok := strings.Cut(string(g), after)
	_, rest, found := strings.Cut(rest, "```sh\n")
	commands, _, _ := strings.Cut(rest, "```\n")
	if !ok || !found {
		t.Fatalf("no commands after %q", after)
	}
	return commands
}

// signedBag is a signed bag in a folder, beside its public key and the certificates of its
// authority, as docs/verify.md has it.
type signedBag struct {
	dir, key  string
	authority *signature.Authority
}

func newSignedBag(t *testing.T, kind string) signedBag {
	t.Helper()
	above := t.TempDir()
	b := signedBag{filepath.Join(above, "bag"), keyPair(t, above, "receipts", kind), opensslAuthority(t, filepath.Join(above, "authority"))}
	signBag(t, b.dir, b.key, b.authority)
	mustShell(t, above, "cp -r bag good && cp authority/tsa-root.pem authority/tsa-chain.pem .")
	return b
}

// restore undoes changes.
func (b signedBag) restore(t *testing.T) {
	t.Helper()
	mustShell(t, b.dir, "cp ../good/*.* .")
}

// changes are what a check of a signed bag must find. The last one changes the time stamp only.
func (b signedBag) changes(t *testing.T) []struct{ name, how string } {
	t.Helper()
	above := t.TempDir()
	signBag(t, filepath.Join(above, "other"), keyPair(t, above, "others", signature.P256), b.authority)
	return []struct{ name, how string }{
		{"the manifest is changed", "printf x >> manifest-sha256.txt"},
		{"the receipt is changed", `sed -i 's/"images":4/"images":5/' receipt.json`},
		{"the receipt is changed, and what is signed with it", `sed -i 's/"images":4/"images":5/' receipt.json &&
jq -c --arg p "$(base64 -w 0 receipt.json)" '.dsseEnvelope.payload = $p' ../good/receipt.sigstore.json > receipt.sigstore.json`},
		{"another key signed", "cp " + above + "/other/receipt.json " + above + "/other/receipt.sigstore.json ."},
		{"it has the time stamp of another signature", "jq -c --slurpfile o " + above + `/other/receipt.sigstore.json \
'.verificationMaterial.timestampVerificationData = $o[0].verificationMaterial.timestampVerificationData' ../good/receipt.sigstore.json > receipt.sigstore.json`},
	}
}

// The commands of docs/verify.md that need openssl accept a good bag, and none that was changed.
// The time stamps are made by openssl too.
func TestVerifyWithOpenSSL(t *testing.T) {
	g := readGuide(t)
	for kind, verified := range map[string]struct{ after, prints string }{
		signature.P256: {"With a P-256 key", "Verified OK"}, signature.Ed25519: {"With an Ed25519 key", "Signature Verified Successfully"},
	} {
		t.Run(kind, func(t *testing.T) {
			b := newSignedBag(t, kind)
			check := func() (ok bool, out string) {
				ok = true
				for _, step := range []struct{ after, prints string }{
					{"It prints `same`", "same"}, {"with their lengths before them", ""}, verified, {"This prints `Verification: OK`", "Verification: OK"}, {"## And the files", "ok"},
				} {
					printed, err := shell(t.Context(), b.dir, g.block(t, step.after))
					out += printed
					ok = ok && err == nil && strings.Contains("\n"+printed, "\n"+step.prints)
				}
				return ok, out
			}
			if ok, out := check(); !ok {
				t.Fatalf("a good bag is refused:\n%s", out)
			}
			ids := strings.Fields(mustShell(t, b.dir, g.block(t, "This prints the id")))
			signer, err := readSigner(b.key + ".key")
			if err != nil || len(ids) != 2 || ids[0] != signer.ID() || ids[1] != ids[0] {
				t.Errorf("the ids are %q, %v", ids, err)
			}
			if out := mustShell(t, b.dir, g.block(t, "And this shows its time")); !strings.Contains(out, "Time stamp: ") {
				t.Errorf("no time:\n%s", out)
			}
			for _, c := range b.changes(t) {
				b.restore(t)
				mustShell(t, b.dir, c.how)
				if ok, out := check(); ok {
					t.Errorf("%s, and it is accepted:\n%s", c.name, out)
				}
			}
		})
	}
}
