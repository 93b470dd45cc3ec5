package main

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestRepliesReachNothing: a server answers on whatever subject a request names, and asks no rights
// for it. So a client that may ask for anything can have an answer stored as a job, a ledger line,
// an event, a hold or a secret, unless it has another account than the service. Here requester and
// auditor try, with all that they may publish.
func TestRepliesReachNothing(t *testing.T) {
	f := newRoles(t)
	f.vision.Sample()
	r := f.start(t)
	r.await("all is well", isReady)
	for _, role := range []string{"requester", "auditor"} {
		nc, err := f.nats.Connect(nats.UserInfo(role, role), nats.CustomInboxPrefix(roleInboxes[role]))
		if err != nil {
			t.Fatal(err)
		}
		for _, reply := range []string{
			"cv.ledger.victim", "cv.events.export.victim.completed", "cv.events.export.victim.accepted", "cv.dead.export.victim", "$KV.CV_JOBS.victim", "$KV.CV_HOLDS.x", "$KV.CV_SECRETS.x",
			"cv.work.victim.0", "cv-over.victim", "cv-signal.victim", "$JS.API.STREAM.PURGE.CV_EVENTS", "$JS.API.STREAM.DELETE.CV_DEAD",
		} {
			for _, subject := range []string{"$JS.API.STREAM.INFO.CV_COMMANDS", "$JS.cv.API.STREAM.INFO.CV_COMMANDS", "$JS.cv.API.STREAM.MSG.GET.CV_EVENTS", "cv.commands.cancel"} {
				if err := nc.PublishMsg(&nats.Msg{Subject: subject, Reply: reply, Data: []byte("{}")}); err != nil {
					t.Error(err)
				}
			}
		}
		if err := nc.Flush(); err != nil {
			t.Error(err)
		}
		nc.Close()
	}
	f.exits(t, exitDone, "requester", "export", "--all-projects", "--id", "victim")

	nc, err := f.nats.Connect(nats.UserInfo("service", "service"), nats.CustomInboxPrefix("_INBOX_cvconsumer"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for name, known := range map[string]string{"KV_CV_HOLDS": "none", "KV_CV_SECRETS": "deployment digest", "CV_DEAD": "cancel.seq-", "CV_LEDGER": "victim"} {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(">"))
		if err != nil {
			t.Fatal(err)
		}
		for subject := range info.State.Subjects {
			if key := subject[strings.LastIndex(subject, ".")+1:]; !strings.Contains(known, key) && !strings.Contains(subject, known) {
				t.Errorf("%s has %s", name, subject)
			}
		}
	}
	e := f.exits(t, exitDone, "auditor", "jobs", "show", "victim")
	if !strings.Contains(e, "complete") {
		t.Errorf("the job is %s", e)
	}
}
