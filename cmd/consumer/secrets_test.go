package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/trust"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature/signaturetest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// told is what a deployment told: texts by where they were found.
type told struct {
	mu    sync.Mutex
	texts map[string][]string
}

func (o *told) add(where, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.texts == nil {
		o.texts = map[string][]string{}
	}
	o.texts[where] = append(o.texts[where], text)
}

// hear adds all messages of the subjects, with their headers.
func (o *told) hear(t *testing.T, nc *nats.Conn, subjects ...string) {
	t.Helper()
	for _, subject := range subjects {
		if _, err := nc.Subscribe(subject, func(m *nats.Msg) {
			o.add(strings.Join(strings.SplitN(m.Subject, ".", 3)[:2], "."), fmt.Sprint(m.Subject, m.Header, string(m.Data)))
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// holdsNone looks for secrets, as they are and as they may be encoded, in all that was told.
func (o *told) holdsNone(t *testing.T, secrets map[string]string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for name, secret := range secrets {
		forms := []string{secret, url.QueryEscape(secret), hex.EncodeToString([]byte(secret)), fmt.Sprintf("%X", secret)}
		for shift := range 3 { // within a longer text that is encoded
			encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
			if whole := encoded[4 : len(encoded)-4]; len(whole) > 8 {
				forms = append(forms, whole)
			}
		}
		for where, texts := range o.texts {
			for _, text := range texts {
				for _, form := range forms {
					if i := strings.Index(text, form); i >= 0 {
						t.Errorf("%s has the %s: …%.200s", where, name, text[max(0, i-100):])
						break
					}
				}
			}
		}
	}
}

// TestSecretsAreToldToNobody runs exports and deletes with faults, whose answers repeat what was
// asked with which credential, at the level of the log that tells most. No key, password or
// signature of a link is in the log, on the pages, in any message, job, dead letter or span, or in
// the bucket.
func TestSecretsAreToldToNobody(t *testing.T) {
	t.Parallel()
	const password, pseudonymKey, revoked = "a-password-of-nats-4711", "a-pseudonym-key-0123456789abcdef", "a-training-key-that-was-revoked"
	const tsaToken = "a-token-of-the-time-stamp-authority"
	f := newFixtureOn(t, natstest.NewWith(t, natstest.Options{Addr: "127.0.0.1:0", User: "service", Password: password}), cvtest.Options{Seed: 1})
	f.config.NATS.User, f.config.NATS.Password = "service", Secret{file: filepath.Join(t.TempDir(), "password")}
	if err := os.WriteFile(f.config.NATS.Password.File(), []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	f.config.PseudonymKey = Secret{file: file("pseudonyms", pseudonymKey)}
	f.config.Resources[0].Key = Secret{file: file("training", revoked)}
	f.config.MaxAttempts = 2
	signingKey, _, err := signature.Generate(signature.P256)
	if err != nil {
		t.Fatal(err)
	}
	tsa := signaturetest.New(t, nil)
	sets := workSettings{SigningKey: file("signing", string(signingKey)), TSAURL: tsa.URL + "/?token=" + tsaToken, TSARequired: "true"}
	if f.config.Signing = sets.signing(&problems{}); f.config.Signing.Authority == nil {
		t.Fatal("receipts get no time stamps")
	}
	f.config.Trust = trust.Policy{Audience: here, Signers: []string{alice.Key()}}
	spans := newCollector(t)
	f.config.Traces, f.config.Page.On = spans.config, true
	gate := f.store.Gateway(t)
	f.config.S3.Endpoint, f.config.S3.Transport = gate.Endpoint, nil
	one := f.vision.AddProject(cvtest.ProjectSpec{Images: 3, Untagged: 1, Iterations: []cvtest.IterationSpec{{}}, Predictions: 2, ImageBytes: cvtest.Tiny})
	echo := fmt.Sprintf(`{"error":{"code":"Echo","message":"Training-Key: %s, Authorization: Bearer %s at https://host.example/x?sv=1&sig=abc%%2Fdef&se=2"}}`, f.vision.Key(), f.vision.Key())
	for _, fault := range []cvtest.Fault{
		{Operation: "GetTaggedImages", Status: 500, Body: echo}, {Operation: "GetTaggedImages", Call: 1, Reset: true},
		{Operation: "GetIterations", Status: 403, Body: echo},
		{Operation: cvtest.OperationBlob, Status: 403, Body: `<Error><Code>AuthenticationFailed</Code><Message>sig=abc%2Fdef of ` + f.vision.Key() + `</Message></Error>`},
		{Operation: cvtest.OperationBlob, Call: 2, Status: 302, Header: http.Header{"Location": {"https://elsewhere.example/?sig=abc%2Fdef"}}},
		{Operation: "DeleteImages", Status: 503, Body: echo},
	} {
		f.vision.Fault(fault)
	}
	gate.Faults.Add(sinktest.Fault{Op: "PutObject", Key: "*", Times: 2, Status: http.StatusInternalServerError})

	heard := &told{}
	nc, err := f.nats.Connect(nats.UserInfo("service", password))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	heard.hear(t, nc, "cv.>", "cv-signal.>", "cv-over.>", "$KV.CV_JOBS.>", "$KV.CV_HOLDS.>", "$JS.EVENT.>")
	r := f.start(t)
	r.await("the key is refused", isDown("training:default", "401"))
	page := func(path string) { heard.add("page "+path, r.page(t, path)) }
	page("/readyz")
	file("training", f.vision.Key())
	r.await("all is well", isReady)
	tsa.Fail(signaturetest.Fault{Status: http.StatusForbidden})
	r.await("the time stamp authority refuses", isDown("timestamp", "status 403"))
	page("/readyz")
	tsa.Fail(signaturetest.Fault{})
	r.await("all is well again", isReady)
	soon := fmt.Sprintf(`,"not_after":%q}`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	for _, c := range []struct {
		action   contract.Action
		id, data string
		want     contract.Status
	}{
		{contract.ActionExport, "good", `{"all_projects":true,"reference":"case 1"}`, contract.StatusCompleted},
		{contract.ActionExport, "missing", `{"project_ids":["00000000-1111-4222-8333-444444444444"]}`, contract.StatusFailed},
		{contract.ActionExport, "elsewhere", `{"resource":"other","all_projects":true}`, contract.StatusRefused},
		{contract.ActionDelete, "gone", `{"project_ids":["` + one.ID.String() + `"]` + soon, contract.StatusCompleted},
		{contract.ActionDelete, "bad", `{"shade":"red"` + soon, contract.StatusRefused},
	} {
		by := &signer{pair: pairOf(t, alice), key: alice.Key(), audience: here}
		header := map[string][]string{"traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
		e, err := request(t.Context(), f.config.NATS, order{action: c.action, id: c.id, data: []byte(c.data), header: header, signer: by}, func(contract.Event) {})
		if err != nil {
			t.Fatal(err)
		}
		if e.Data.Status != c.want {
			t.Errorf("%s: %s", c.id, describeEvent(e))
		}
	}
	page("/readyz")
	page("/metrics")
	page("/")
	r.end()

	store := sink.NewStore(f.store.Client(), sink.StoreOptions{Bucket: f.config.Bucket})
	for o, err := range store.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		b, err := store.ReadAll(t.Context(), o.Key, 1<<24)
		if err != nil {
			t.Fatal(err)
		}
		heard.add("the bucket", string(o.Key)+"\n"+string(b))
	}
	heard.add("the log", f.log.String())
	heard.add("the spans", spans.text.String())
	for _, where := range []string{"cv.events", "cv.dead", "cv.ledger", "cv.work", "$KV.CV_JOBS", "the bucket", "the log", "the spans", "page /metrics", "page /"} {
		if len(heard.texts[where]) == 0 {
			t.Errorf("nothing of %s was looked at", where)
		}
	}
	heard.holdsNone(t, map[string]string{
		"training key": f.vision.Key(), "revoked training key": revoked, "S3 key": f.store.SecretKey, "password of NATS": password, "pseudonym key": pseudonymKey,
		"key of digests": digestKey(t, nc), "signature of a link": "sig=", "signing key": pemLine(signingKey), "token of the time stamp authority": tsaToken,
	})
	// A command's signature is with its message, in the queue and as a dead letter, and only there.
	for where, texts := range heard.texts {
		signed := strings.Contains(strings.Join(texts, ""), alice.Key()+".")
		if may := where == "cv.commands" || where == "cv.dead"; signed != may {
			t.Errorf("a signature of a command is in %s: %v", where, signed)
		}
	}
	if leaks := f.vision.Leaks(); len(leaks) > 0 {
		t.Errorf("the training key went elsewhere: %q", leaks)
	}
}

// digestKey is the key that CV_SECRETS keeps, for the service alone.
func digestKey(t *testing.T, nc *nats.Conn) string {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "CV_SECRETS")
	if err != nil {
		t.Fatal(err)
	}
	entry, err := kv.Get(t.Context(), contract.SecretDigest)
	if err != nil {
		t.Fatal(err)
	}
	return string(entry.Value())
}

// pemLine is the first line of a PEM file's content.
func pemLine(text []byte) string { return strings.Split(string(text), "\n")[1] }
