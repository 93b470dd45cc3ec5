package handler_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/trust"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/trust/trusttest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

const deployment = "cvconsumer.test"

// signs adds a person's signature to a plain message.
func signs(p trusttest.Person, m contract.Message, header, domain string) contract.Message {
	m.Header[header] = []string{p.Sign(domain, deployment, m.Subject, m.Header[contract.HeaderMsgID][0], string(m.Body))}
	return m
}

var (
	alice = trusttest.Person{Name: "alice"} // signs
	bob   = trusttest.Person{Name: "bob"}   // approves
)

func signed(action contract.Action, id, data string) contract.Message {
	return signs(alice, plain(action, id, data), "Cv-Signature", "cv1")
}

func approved(id, data string) contract.Message {
	return signs(bob, signed("delete", id, data), "Cv-Approval", "cv1-approval")
}

// trusting sets whose signatures a replica demands.
func trusting(p trust.Policy) func(*handler.Config) {
	p.Audience = deployment
	return func(c *handler.Config) {
		noWait(c)
		c.Trust = p
	}
}

// soon is a not_after as a field of a command's data.
func soon() string {
	return fmt.Sprintf(`,"not_after":%q`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
}

// TestSignedCommands carries out what is signed and approved, names who did, and refuses all else
// under a sequence: it takes no id.
func TestSignedCommands(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	w.start(t, replicaOptions{configure: trusting(trust.Policy{
		Signers: []string{alice.Key()}, Approvers: []string{alice.Key(), bob.Key()}, SignExports: true,
	})})
	project := `{"project_ids":` + idList(account.small.ID)
	before := w.api.Snapshot()
	refused := func(id, header string, m contract.Message) {
		t.Helper()
		h := w.publishMessage(t, id, m)
		w.eventually(t, "the message is answered", func() bool { return !w.queued(t, h) })
		e := w.refusedBySeq(t, h.action, h, id, contract.CodeUnsigned)
		if !strings.HasPrefix(e.Error.Message, header+": ") || e.Error.Retryable {
			t.Errorf("refused with %+v", e.Error)
		}
	}
	data := project + soon() + `}`
	refused("del-1", "Cv-Signature", plain("delete", "del-1", data))
	refused("del-1", "Cv-Signature", signs(bob, plain("delete", "del-1", data), "Cv-Signature", "cv1"))
	refused("del-1", "Cv-Approval", signed("delete", "del-1", data))
	refused("del-1", "Cv-Approval", signs(alice, signed("delete", "del-1", data), "Cv-Approval", "cv1-approval"))
	refused("del-1", "Cv-Signature", plain("delete", "del-1", `{"shade":"red"}`)) // whatever else is wrong with it
	refused("", "Cv-Signature", contract.Message{Subject: "cv.commands.delete", Body: []byte(data)})
	refused("can-1", "Cv-Signature", plain("cancel", "can-1", `{"id":"plan-1"}`))
	refused("exp-1", "Cv-Signature", plain("export", "exp-1", project+`}`))
	moved := approved("del-2", data)
	moved.Header[contract.HeaderMsgID] = []string{"del-1"}
	refused("del-1", "Cv-Signature", moved)

	plan := w.wait(t, w.publishMessage(t, "plan-1", signed("delete", "plan-1", project+soon()+`,"dry_run":true}`)))
	if plan.Outcome != contract.OutcomePlanned || plan.Plan == nil {
		t.Fatalf("the plan ended %s: %v", plan.Status, plan.Error)
	}
	w.bag(t, "plan-1", sink.DeleteBag)
	for id, m := range map[string]contract.Message{
		"late":   approved("late", project+`,"approved_plan":"`+plan.Plan.SHA256+`"}`),
		"far":    approved("far", project+`,"not_after":"2099-01-01T00:00:00Z","approved_plan":"`+plan.Plan.SHA256+`"}`),
		"colour": signed("delete", "colour", project+soon()+`,"dry_run":true,"colour":"red"}`),
		"blind":  approved("blind", data),
		"exp-1":  signed("export", "exp-1", `{"project_ids":[]}`),
		"broken": approved("broken", data[1:]),
	} {
		want := contract.CodeInvalidCommand
		if id == "blind" {
			want = contract.CodeDeletesDisabled // approvers imply CONSUMER_DELETES=approved
		}
		if e := w.wait(t, w.publishMessage(t, id, m)); e.Status != contract.StatusRefused || e.CommandID != id || e.Error.Code != want {
			t.Errorf("%s: %s of %s: %v", id, e.Status, e.CommandID, e.Error)
		}
		until := w.job(t, id).Command.SignedUntil
		if counts := id == "far" || id == "blind"; counts != (until != nil) || id == "far" && until.Year() != 2099 {
			t.Errorf("a copy of %s counts until %v", id, until)
		}
	}
	w.checkState(t, before)

	asked := approved("del-1", project+soon()+`,"approved_plan":"`+plan.Plan.SHA256+`"}`)
	if e := w.wait(t, w.publishMessage(t, "del-1", asked)); e.Status != contract.StatusCompleted || e.CommandID != "del-1" {
		t.Fatalf("ended %s: %v", e.Status, e.Error)
	}
	w.names(t, "del-1", alice, bob)
	if e := w.wait(t, w.publishMessage(t, "can-2", signed("cancel", "can-2", `{"id":"nothing"}`))); e.Status != contract.StatusCompleted {
		t.Errorf("the cancel ended %s: %v", e.Status, e.Error)
	}
	// The same message again is a duplicate; without its signature it is nothing.
	refused("del-1", "Cv-Signature", plain("delete", "del-1", string(asked.Body)))
	h := w.publishMessage(t, "del-1", asked)
	w.eventually(t, "the duplicate is answered", func() bool { return !w.queued(t, h) })
	if e := w.answer(t, h); e.Status != contract.StatusDuplicate {
		t.Errorf("answered %s", e.Status)
	}
}

// names demands that job, request, receipt and certificate of a delete name who signed and approved
// it.
func (w *world) names(t *testing.T, id string, signer, approver trusttest.Person) {
	t.Helper()
	files := w.bag(t, id, sink.DeleteBag)
	if j := w.job(t, id); string(j.Command.Signer) != signer.Key() || string(j.Command.Approver) != approver.Key() {
		t.Errorf("the job names %+v", j.Command)
	}
	var says struct {
		Signer, Approver string
		Predicate        struct {
			Command struct{ Signer, Approver string }
		}
	}
	for _, name := range []string{"evidence/request.json", "receipt.json"} {
		if err := json.Unmarshal(files[name], &says); err != nil {
			t.Fatal(err)
		}
	}
	if by := says.Predicate.Command; says.Signer != signer.Key() || by.Signer != says.Signer || says.Approver != approver.Key() || by.Approver != says.Approver {
		t.Errorf("request and receipt name %+v", says)
	}
	if page := string(files["index.html"]); !strings.Contains(page, signer.Key()) || !strings.Contains(page, approver.Key()) {
		t.Error("the certificate does not name them")
	}
}

// TestSignerRemoved restarts the service without the key that signed a delete under way. As long as
// nothing was destroyed the delete is refused; once something was it is finished.
func TestSignerRemoved(t *testing.T) {
	for _, c := range []struct {
		at     string // the call that waits for a credential
		status contract.Status
	}{{"GetTaggedImages", contract.StatusRefused}, {"DeleteProject", contract.StatusCompleted}} {
		t.Run(c.at, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			account := fillAccount(w.api)
			before := w.api.Snapshot()
			w.api.Fault(cvtest.Fault{Operation: c.at, Status: 401, Times: -1})
			r := w.start(t, replicaOptions{configure: trusting(trust.Policy{Signers: []string{alice.Key()}, Approvers: []string{bob.Key()}})})
			project, digest := `{"project_ids":`+idList(account.small.ID)+soon(), strings.Repeat("0", 64)
			if c.status == contract.StatusCompleted {
				digest = w.wait(t, w.publishMessage(t, "plan-1", signed("delete", "plan-1", project+`,"dry_run":true}`))).Plan.SHA256
			}
			h := w.publishMessage(t, "del-1", approved("del-1", project+`,"approved_plan":"`+digest+`"}`))
			w.waitsFor(t, "del-1", contract.WaitCredential)
			r.stop()
			w.api.ClearFaults()
			w.start(t, replicaOptions{configure: trusting(trust.Policy{Signers: []string{bob.Key()}, Approvers: []string{bob.Key()}})})
			e := w.wait(t, h)
			if e.Status != c.status || e.CommandID != "del-1" {
				t.Fatalf("ended %s: %v", e.Status, e.Error)
			}
			if c.status == contract.StatusCompleted {
				w.names(t, "del-1", alice, bob)
				return
			}
			if e.Error.Code != contract.CodeUnsigned || !strings.Contains(e.Error.Message, "nothing was deleted") {
				t.Errorf("refused with %+v", e.Error)
			}
			w.checkState(t, before)
		})
	}
}

// TestOneAnswerWhateverKeys delivers a message to replicas that trust different keys, as while the
// service is being restarted: what the first said stands.
func TestOneAnswerWhateverKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	w.project("one")
	w.start(t, replicaOptions{units: 4})
	at := func(key trusttest.Person) *replica {
		return w.start(t, replicaOptions{idle: true, configure: trusting(trust.Policy{Signers: []string{key.Key()}, SignExports: true})})
	}
	hers, his := at(alice), at(bob)
	for n, c := range []struct {
		message contract.Message
		first   *replica
		status  contract.Status
	}{
		{signed("export", "exp-0", everything), his, contract.StatusRefused},
		{signed("export", "exp-1", everything), hers, contract.StatusCompleted},
		{signed("export", "exp-2", `{}`), hers, contract.StatusRefused},
		{signed("cancel", "exp-3", `{"id":"exp-1"}`), his, contract.StatusRefused},
	} {
		h := w.publishMessage(t, fmt.Sprintf("exp-%d", n), c.message)
		for _, r := range []*replica{c.first, hers, his} {
			if d := w.given(t, r, h); d.Verb != delivery.Ack {
				t.Fatalf("message %d is settled %s: %s", n, d.Verb, d.Reason)
			}
		}
		if e := w.answer(t, h); e.Status != c.status {
			t.Errorf("message %d is answered %s: %v", n, e.Status, e.Error)
		}
		w.acknowledged(t, h)
	}
	if _, _, err := w.queue.Job(t.Context(), "exp-0"); !errors.Is(err, contract.ErrNoJob) {
		t.Errorf("what was refused has a job: %v", err)
	}
}
