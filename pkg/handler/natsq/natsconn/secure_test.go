package natsconn_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/natsconn"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// files writes files of one test.
type files struct {
	t   *testing.T
	dir string
}

func (f files) write(name string, content []byte) string {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// authority issues certificates.
type authority struct {
	files

	file string // its own certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(f files, name string) *authority {
	f.t.Helper()
	a := &authority{files: f}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.file, _ = a.issue(name, template)
	return a
}

// issue makes a certificate, the first one that of the authority itself, and gives its file and
// that of its key.
func (a *authority) issue(name string, template *x509.Certificate) (cert, key string) {
	a.t.Helper()
	must := func(err error) {
		a.t.Helper()
		if err != nil {
			a.t.Fatal(err)
		}
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = template, private
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, by)
	must(err)
	if a.cert == nil {
		a.key = private
		a.cert, err = x509.ParseCertificate(der)
		must(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	must(err)
	return a.write(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		a.write(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// person is a new NKey.
func (f files) person(create func() (nkeys.KeyPair, error)) (pair nkeys.KeyPair, public, seedFile string) {
	f.t.Helper()
	pair, err := create()
	if err != nil {
		f.t.Fatal(err)
	}
	public, err = pair.PublicKey()
	if err != nil {
		f.t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		f.t.Fatal(err)
	}
	return pair, public, f.write(public+".nk", append(seed, '\n'))
}

// connects tries to connect and to get an answer, and says how that failed.
func connects(t *testing.T, o natsconn.Options) error {
	t.Helper()
	o.FailFast = true
	nc, err := natsconn.Connect(t.Context(), o)
	if err != nil {
		return err
	}
	defer nc.Close()
	if nc.Status() != nats.CONNECTED {
		t.Errorf("it is %s", nc.Status())
	}
	return nc.FlushTimeout(time.Minute)
}

// TestMutualTLSAndNKey connects to a server that demands a certificate and an NKey.
func TestMutualTLSAndNKey(t *testing.T) {
	f := files{t, t.TempDir()}
	ours, others := newAuthority(f, "ours"), newAuthority(f, "others")
	serverCert, serverKey := ours.issue("server", &x509.Certificate{
		Subject: pkix.Name{CommonName: "server"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	client := func(a *authority, name string) (cert, key string) {
		return a.issue(name, &x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	}
	cert, key := client(ours, "client")
	strange, strangeKey := client(others, "stranger")
	_, public, seed := f.person(nkeys.CreateUser)
	_, _, otherSeed := f.person(nkeys.CreateUser)
	server := natstest.NewWith(t, natstest.Options{Addr: "127.0.0.1:0", Config: func() string {
		return fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }\nauthorization { users: [ { nkey: %s } ] }", serverCert, serverKey, ours.file, public)
	}})
	address := strings.Replace(server.URL(), "nats://", "tls://", 1)
	good := natsconn.Options{URL: address, CA: ours.file, Cert: cert, Key: key, NKey: seed}
	for _, c := range []struct {
		name   string
		change func(*natsconn.Options)
		want   string
	}{
		{"all is right", func(*natsconn.Options) {}, ""},
		{"no certificate", func(o *natsconn.Options) { o.Cert, o.Key = "", "" }, "tls"},
		{"another authority's certificate", func(o *natsconn.Options) { o.Cert, o.Key = strange, strangeKey }, "tls"},
		{"another authority is trusted", func(o *natsconn.Options) { o.CA = others.file }, "unknown authority"},
		{"no authority is given", func(o *natsconn.Options) { o.CA = "" }, "unknown authority"},
		{"another seed", func(o *natsconn.Options) { o.NKey = otherSeed }, "Authorization Violation"},
		{"no seed", func(o *natsconn.Options) { o.NKey = "" }, "Authorization Violation"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := good
			c.change(&o)
			err := connects(t, o)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(c.want))) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestCredentialsFile connects with the JWT of a user, as nsc writes it, to a server that knows its
// operator and account.
func TestCredentialsFile(t *testing.T) {
	f := files{t, t.TempDir()}
	must := func(text string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	operator, operatorKey, _ := f.person(nkeys.CreateOperator)
	account, accountKey, _ := f.person(nkeys.CreateAccount)
	stranger, _, _ := f.person(nkeys.CreateAccount)
	operatorJWT := must(jwt.NewOperatorClaims(operatorKey).Encode(operator))
	accountJWT := must(jwt.NewAccountClaims(accountKey).Encode(operator))
	credentials := func(name string, by nkeys.KeyPair) string {
		user, public, _ := f.person(nkeys.CreateUser)
		seed, err := user.Seed()
		if err != nil {
			t.Fatal(err)
		}
		content, err := jwt.FormatUserConfig(must(jwt.NewUserClaims(public).Encode(by)), seed)
		if err != nil {
			t.Fatal(err)
		}
		return f.write(name, content)
	}
	withoutJetStream := func(o *server.Options) { o.JetStream = false } // which needs an account of the system here
	server := natstest.NewWith(t, natstest.Options{Addr: "127.0.0.1:0", Configure: withoutJetStream, Config: func() string {
		return fmt.Sprintf("operator: %s\nresolver: MEMORY\nresolver_preload { %s: %s }", operatorJWT, accountKey, accountJWT)
	}})
	if err := connects(t, natsconn.Options{URL: server.URL(), Creds: credentials("good.creds", account)}); err != nil {
		t.Errorf("with a user of the account: %v", err)
	}
	if err := connects(t, natsconn.Options{URL: server.URL(), Creds: credentials("bad.creds", stranger)}); err == nil || !strings.Contains(err.Error(), "Authorization Violation") {
		t.Errorf("with a user of another account: %v", err)
	}
}
