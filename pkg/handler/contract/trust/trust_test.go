package trust_test

import (
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/trust"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/trust/trusttest"
)

var (
	alice = trusttest.Person{Name: "alice"} // signs
	bob   = trusttest.Person{Name: "bob"}   // approves
	carol = trusttest.Person{Name: "carol"} // both
	eve   = trusttest.Person{Name: "eve"}   // neither
)

var published = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

const (
	audience = "cvconsumer.example"
	project  = `"project_ids":["0f3b2a77-3a57-4b8c-9a67-5c1c1df0a111"]`
	inTime   = `,"not_after":"2026-12-01T00:00:00Z"`
)

var policy = trust.Policy{
	Audience: audience, Signers: []string{alice.Key(), carol.Key()}, Approvers: []string{bob.Key(), carol.Key()}, SignExports: true,
}

// plain is a plain message.
func plain(action, id, body string, headers map[string]string) contract.Message {
	m := contract.Message{Subject: "cv.commands." + action, Body: []byte(body), Seq: 17, Time: published, Header: map[string][]string{}}
	if id != "" {
		m.Header["Nats-Msg-Id"] = []string{id}
	}
	for name, value := range headers {
		m.Header[name] = []string{value}
	}
	return m
}

// two is the headers of a command that alice signed and bob approved.
func two(subject, id, body string) map[string]string {
	return map[string]string{
		"Cv-Signature": alice.Sign("cv1", audience, subject, id, body),
		"Cv-Approval":  bob.Sign("cv1-approval", audience, subject, id, body),
	}
}

// TestJudge judges messages that are signed and approved as the contract says, and all that is near
// to them.
func TestJudge(t *testing.T) {
	const (
		subject = "cv.commands.delete"
		body    = `{` + project + inTime + `}`
	)
	with := func(change map[string]string) map[string]string {
		h := two(subject, "del-1", body)
		for name, value := range change {
			if h[name] = value; value == "" {
				delete(h, name)
			}
		}
		return h
	}
	sign := func(p trusttest.Person, parts ...string) map[string]string {
		return with(map[string]string{"Cv-Signature": p.Sign("cv1", parts[0], parts[1], parts[2], parts[3])})
	}
	approve := func(p trusttest.Person, domain string, parts ...string) map[string]string {
		return with(map[string]string{"Cv-Approval": p.Sign(domain, parts[0], parts[1], parts[2], parts[3])})
	}
	good := with(nil)
	padded := with(map[string]string{"Cv-Signature": good["Cv-Signature"] + "=="})
	lower := map[string]string{"cv-signature": good["Cv-Signature"], "CV-APPROVAL": " " + good["Cv-Approval"] + " "}
	alien := trusttest.Person{Name: "alice"}.As(nkeys.PrefixByteAccount)
	accounts := policy
	accounts.Approvers = append([]string{alien.Key()}, policy.Approvers...)
	dry := `{` + project + inTime + `,"dry_run":true}`
	mistaken := `{"colour":1,` + dry[1:]
	cases := map[string]struct {
		policy   *trust.Policy
		m        contract.Message
		signer   string
		approver string
		code     string // of the refusal
		field    string
		given    string
	}{
		"signed and approved":  {m: plain("delete", "del-1", body, good), signer: alice.Key(), approver: bob.Key()},
		"with padding":         {m: plain("delete", "del-1", body, padded), signer: alice.Key(), approver: bob.Key()},
		"headers in any case":  {m: plain("delete", "del-1", body, lower), signer: alice.Key(), approver: bob.Key()},
		"carol approves alice": {m: plain("delete", "del-1", body, approve(carol, "cv1-approval", audience, subject, "del-1", body)), signer: alice.Key(), approver: carol.Key()},
		"no signature needed":  {policy: &trust.Policy{}, m: plain("delete", "del-1", body, nil)},
		"exports are not asked": {policy: &trust.Policy{Audience: audience, Signers: policy.Signers},
			m: plain("export", "exp-1", `{`+project+`}`, nil)},
		"a signed export": {m: plain("export", "exp-1", `{`+project+`}`, two("cv.commands.export", "exp-1", `{`+project+`}`)), signer: alice.Key()},
		"a signed cancel": {m: plain("cancel", "c-1", `{"id":"x"}`, two("cv.commands.cancel", "c-1", `{"id":"x"}`)), signer: alice.Key()},
		"a dry run needs no approval": {
			m: plain("delete", "p-1", dry, map[string]string{"Cv-Signature": two(subject, "p-1", dry)["Cv-Signature"]}), signer: alice.Key(),
		},
		"no approvers": {policy: &trust.Policy{Audience: audience, Signers: policy.Signers},
			m: plain("delete", "del-1", body, with(map[string]string{"Cv-Approval": ""})), signer: alice.Key()},

		"without a signature":    {m: plain("delete", "del-1", body, with(map[string]string{"Cv-Signature": ""})), code: "unsigned", field: "Cv-Signature", given: "del-1"},
		"another id":             {m: plain("delete", "del-2", body, good), code: "unsigned", field: "Cv-Signature", given: "del-2"},
		"another body":           {m: plain("delete", "del-1", body+" ", good), code: "unsigned", field: "Cv-Signature", given: "del-1"},
		"another subject":        {m: plain("cancel", "del-1", body, good), code: "unsigned", field: "Cv-Signature", given: "del-1"},
		"another audience":       {m: plain("delete", "del-1", body, sign(alice, "other.example", subject, "del-1", body)), code: "unsigned", field: "Cv-Signature", given: "del-1"},
		"another signer":         {m: plain("delete", "del-1", body, sign(eve, audience, subject, "del-1", body)), code: "unsigned", field: "Cv-Signature", given: "del-1"},
		"an approver signs":      {m: plain("delete", "del-1", body, sign(bob, audience, subject, "del-1", body)), code: "unsigned", field: "Cv-Signature", given: "del-1"},
		"approval for signature": {m: plain("delete", "del-1", body, with(map[string]string{"Cv-Signature": good["Cv-Approval"]})), code: "unsigned", field: "Cv-Signature", given: "del-1"},
		"another key's name": {m: plain("delete", "del-1", body, with(map[string]string{
			"Cv-Signature": carol.Key() + good["Cv-Signature"][len(alice.Key()):]})), code: "unsigned", field: "Cv-Signature", given: "del-1"},
		"no id":         {m: plain("delete", "", body, good), code: "unsigned", field: "Cv-Signature"},
		"no usable id":  {m: plain("delete", "seq-3", body, good), code: "unsigned", field: "Cv-Signature"},
		"not approved":  {m: plain("delete", "del-1", body, with(map[string]string{"Cv-Approval": ""})), code: "unsigned", field: "Cv-Approval", given: "del-1"},
		"the signature": {m: plain("delete", "del-1", body, with(map[string]string{"Cv-Approval": good["Cv-Signature"]})), code: "unsigned", field: "Cv-Approval", given: "del-1"},
		"an approval that is a signature": {m: plain("delete", "del-1", body, approve(bob, "cv1", audience, subject, "del-1", body)),
			code: "unsigned", field: "Cv-Approval", given: "del-1"},
		"another approver": {m: plain("delete", "del-1", body, approve(eve, "cv1-approval", audience, subject, "del-1", body)),
			code: "unsigned", field: "Cv-Approval", given: "del-1"},
		"approved under another id": {m: plain("delete", "del-1", body, approve(bob, "cv1-approval", audience, subject, "del-2", body)),
			code: "unsigned", field: "Cv-Approval", given: "del-1"},
		"approved by the signer": {m: plain("delete", "del-1", body, map[string]string{
			"Cv-Signature": carol.Sign("cv1", audience, subject, "del-1", body),
			"Cv-Approval":  carol.Sign("cv1-approval", audience, subject, "del-1", body),
		}), code: "unsigned", field: "Cv-Approval", given: "del-1"},
		"approved by the signer as an account": {policy: &accounts, m: plain("delete", "del-1", body, map[string]string{
			"Cv-Signature": alice.Sign("cv1", audience, subject, "del-1", body),
			"Cv-Approval":  alien.Sign("cv1-approval", audience, subject, "del-1", body),
		}), code: "unsigned", field: "Cv-Approval", given: "del-1"},
		"what may be a dry run needs an approval": {m: plain("delete", "p-1", dry[1:], map[string]string{"Cv-Signature": two(subject, "p-1", dry[1:])["Cv-Signature"]}),
			code: "unsigned", field: "Cv-Approval", given: "p-1"},
		"a dry run with a mistake needs none, and is told of it elsewhere": {
			m: plain("delete", "p-1", mistaken, map[string]string{"Cv-Signature": two(subject, "p-1", mistaken)["Cv-Signature"]}), signer: alice.Key(),
		},
		// What is signed and approved is told what else is wrong with it: that is judged elsewhere.
		"a broken delete": {m: plain("delete", "del-1", body[1:], two(subject, "del-1", body[1:])), signer: alice.Key(), approver: bob.Key()},
		"headers that do not fit": {m: plain("delete", "", body, map[string]string{
			"ce-specversion": "1.0", "ce-id": "del-1", "ce-type": "cv.cancel.requested", "ce-source": "/test", "Cv-Signature": good["Cv-Signature"], "Cv-Approval": good["Cv-Approval"],
		}), signer: alice.Key(), approver: bob.Key()},

		"no not_after": {m: plain("delete", "del-1", `{`+project+`}`, two(subject, "del-1", `{`+project+`}`)),
			signer: alice.Key(), approver: bob.Key(), code: "invalid_command", field: "not_after", given: "del-1"},
		"a week": {m: plain("delete", "del-1", `{`+project+`,"not_after":"2026-12-06T12:00:00Z"}`, two(subject, "del-1", `{`+project+`,"not_after":"2026-12-06T12:00:00Z"}`)),
			signer: alice.Key(), approver: bob.Key()},
		"more than a week": {m: plain("delete", "del-1", `{`+project+`,"not_after":"2026-12-06T12:00:01Z"}`, two(subject, "del-1", `{`+project+`,"not_after":"2026-12-06T12:00:01Z"}`)),
			signer: alice.Key(), approver: bob.Key(), code: "invalid_command", field: "not_after", given: "del-1"},
		"a dry run without not_after": {m: plain("delete", "p-1", `{`+project+`,"dry_run":true}`, two(subject, "p-1", `{`+project+`,"dry_run":true}`)),
			signer: alice.Key(), code: "invalid_command", field: "not_after", given: "p-1"},
	}
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			p := policy
			if later := name == "more than a week" || name == "headers that do not fit"; (p.Judge("cv", tt.m).NotAfter != nil) != later {
				t.Errorf("a copy counts: %v", !later)
			}
			if tt.policy != nil {
				p = *tt.policy
			}
			got := p.Judge("cv", tt.m)
			r := got.Refusal
			if r == nil {
				if tt.code != "" || got.Signer != tt.signer || got.Approver != tt.approver || got.Detail != nil {
					t.Fatalf("got %+v", got)
				}
				return
			}
			if r.Code != tt.code || r.Field != tt.field || r.Given != tt.given || string(r.Action) != strings.TrimPrefix(tt.m.Subject, "cv.commands.") {
				t.Fatalf("refused %+v (%v)", r, got.Detail)
			}
			if !strings.HasPrefix(r.Message, tt.field+": ") {
				t.Errorf("the message does not name the field: %s", r.Message)
			}
			if id := "seq-17"; r.Code == "unsigned" && (r.ID != id || got.Signer+got.Approver != "" || got.Detail == nil) {
				t.Errorf("refused as %s, with %+v", r.ID, got)
			}
		})
	}
}

// TestNoOracle shows that a publisher is not told which part of a signature is wrong, and that only
// the operator's log names keys.
func TestNoOracle(t *testing.T) {
	const subject, body = "cv.commands.delete", `{` + project + inTime + `}`
	said := map[string]bool{}
	details := map[string]bool{}
	good := two(subject, "del-1", body)
	for _, value := range []string{
		"", "x", alice.Key(), alice.Key() + ".", alice.Key() + ".%%%", alice.Key() + ".AAAA", good["Cv-Approval"], "SU" + alice.Key()[2:] + ".AA",
		eve.Sign("cv1", audience, subject, "del-1", body), alice.Sign("cv1", "other", subject, "del-1", body),
	} {
		v := policy.Judge("cv", plain("delete", "del-1", body, map[string]string{"Cv-Signature": value, "Cv-Approval": good["Cv-Approval"]}))
		if v.Refusal == nil || v.Refusal.Code != "unsigned" {
			t.Fatalf("%q: %+v", value, v)
		}
		said[v.Refusal.Message] = true
		details[v.Detail.Error()] = true
		if value != "" && strings.Contains(v.Refusal.Message, value) {
			t.Errorf("the message repeats %s", value)
		}
	}
	if len(said) != 1 || len(details) < 6 {
		t.Errorf("the publisher is told %d things, the operator %d", len(said), len(details))
	}
}

// TestEncodings signs each encoding: the id is the command's, and the body is the message's.
func TestEncodings(t *testing.T) {
	const data = `{` + project + inTime + `}`
	event, err := json.Marshal(map[string]any{"specversion": "1.0", "id": "ev-1", "source": "/test", "type": "cv.delete.requested", "data": json.RawMessage(data)})
	if err != nil {
		t.Fatal(err)
	}
	binary := map[string]string{"ce-specversion": "1.0", "ce-id": "ev-1", "ce-source": "/test", "ce-type": "cv.delete.requested"}
	for name, tt := range map[string]struct {
		body    string
		headers map[string]string
	}{
		"structured": {string(event), map[string]string{"content-type": "application/cloudevents+json", "Nats-Msg-Id": "other"}},
		"undeclared": {string(event), nil},
		"binary":     {data, binary},
		"plain":      {data, map[string]string{"Nats-Msg-Id": "ev-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			headers := two("cv.commands.delete", "ev-1", tt.body)
			for k, v := range tt.headers {
				headers[k] = v
			}
			m := plain("delete", "", tt.body, headers)
			if v := policy.Judge("cv", m); v.Refusal != nil || v.Signer != alice.Key() || v.Approver != bob.Key() {
				t.Errorf("got %+v", v)
			}
			c, err := contract.DecodeCommand("cv", m)
			if err != nil || c.ID != "ev-1" {
				t.Errorf("decoded %+v, %v", c, err)
			}
		})
	}
}

// TestSign shows that what this package signs is what the contract says.
func TestSign(t *testing.T) {
	const subject, body = "cv.commands.cancel", `{"id":"x"}`
	seed := sha256.Sum256([]byte(alice.Name))
	pair, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, seed[:])
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct {
		kind   trust.Kind
		domain string
	}{{trust.Signature, "cv1"}, {trust.Approval, "cv1-approval"}} {
		got, err := k.kind.Sign(pair, trust.Statement{Audience: audience, Subject: subject, ID: "c-1", Body: []byte(body)})
		if want := alice.Sign(k.domain, audience, subject, "c-1", body); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", k.kind.Header, got, err, want)
		}
	}
	public, err := nkeys.FromPublicKey(alice.Key())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trust.Signature.Sign(public, trust.Statement{}); err == nil {
		t.Error("signed without a seed")
	}
}

func TestCheckKey(t *testing.T) {
	seed, err := nkeys.Encode(nkeys.PrefixByteUser, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	private, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{alice.Key(), trusttest.Person{Name: "alice"}.As(nkeys.PrefixByteAccount).Key(), string(seed)} {
		if err := trust.CheckKey(key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	for _, key := range []string{"", "x", strings.ToLower(alice.Key()), alice.Key()[1:], alice.Key() + "A", string(private), "X" + alice.Key()[1:]} {
		if err := trust.CheckKey(key); err == nil || key != "" && len(key) > 1 && strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if !trust.SameKey(alice.Key(), trusttest.Person{Name: "alice"}.As(nkeys.PrefixByteAccount).Key()) || trust.SameKey(alice.Key(), bob.Key()) {
		t.Error("keys are compared by their names")
	}
}

// FuzzSignature reads headers of any form: none passes but the one that was made.
func FuzzSignature(f *testing.F) {
	const subject, body = "cv.commands.cancel", `{"id":"x"}`
	good := alice.Sign("cv1", audience, subject, "c-1", body)
	f.Add(good)
	f.Add(good + "==")
	f.Add(eve.Sign("cv1", audience, subject, "c-1", body))
	for _, value := range []string{"", ".", alice.Key(), alice.Key() + ".", good[:len(good)-1], good + "=", good + "\n", good + "." + good, strings.ToLower(good)} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		v := policy.Judge("cv", plain("cancel", "c-1", body, map[string]string{"Cv-Signature": value}))
		made := strings.Trim(value, " \t")
		if passed := v.Refusal == nil; passed != (made == good || made == good+"==") {
			t.Errorf("%q passes: %v (%v)", value, passed, v.Detail)
		}
	})
}
