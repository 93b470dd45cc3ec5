package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// natsPage is the page with the rights of all roles.
const natsPage = "../../docs/nats.md"

// roleInboxes are the inbox prefixes of the documented users, whose passwords are their names.
var roleInboxes = map[string]string{
	"service": serviceInbox, "requester": "_INBOX_requester", "exporter": "_INBOX_exporter", "approver": "_INBOX_approver", "auditor": "_INBOX_auditor", "operator": "_INBOX_operator",
}

// roleDomains are the JetStream domains under which those of the account of clients have the API.
var roleDomains = map[string]string{"requester": "cv", "exporter": "cv", "approver": "cv", "auditor": "cv"}

// documentedServer is the server's configuration of natsPage.
func documentedServer(t *testing.T) func() string {
	t.Helper()
	page, err := os.ReadFile(natsPage)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```conf\n(.*?)```").FindSubmatch(page)
	if block == nil {
		t.Fatalf("%s has no configuration", natsPage)
	}
	for role := range roleInboxes {
		t.Setenv("CV_"+strings.ToUpper(role)+"_PASSWORD", role)
	}
	return func() string { return string(block[1]) }
}

// newRoles is a service that runs with exactly its documented rights, and the other roles beside
// it.
func newRoles(t *testing.T) *fixture {
	t.Helper()
	f := newFixtureOn(t, natstest.NewWith(t, natstest.Options{Addr: "127.0.0.1:0", Config: documentedServer(t)}), cvtest.Options{Seed: 1})
	f.config.NATS.User, f.config.NATS.Password, f.config.NATS.Inbox = "service", secretOf("service"), serviceInbox
	return f
}

// inboxOf is the inbox prefix of a user.
func inboxOf(user string) string { return cmp.Or(roleInboxes[user], "_INBOX_"+user) }

// as runs a command line as one of the roles, or another user whose password is its name.
func (f *fixture) as(t *testing.T, role string, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), args, []string{
		"NATS_URL=" + f.nats.URL(), "NATS_USER=" + role, "NATS_PASSWORD=" + role, "CONSUMER_NATS_INBOX_PREFIX=" + inboxOf(role), "CONSUMER_NATS_DOMAIN=" + roleDomains[role],
		"AWS_ENDPOINT_URL_S3=" + f.store.Endpoint, "AWS_REGION=" + f.store.Region,
		"AWS_ACCESS_KEY_ID=" + f.store.AccessKey, "AWS_SECRET_ACCESS_KEY=" + f.store.SecretKey,
	}, nil, &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// exits is as for a command line that must exit with a code.
func (f *fixture) exits(t *testing.T, want int, role string, args ...string) string {
	t.Helper()
	code, out, errs := f.as(t, role, args...)
	if code != want {
		t.Errorf("%s: consumer %s exits %d, not %d: %s%s", role, strings.Join(args, " "), code, want, out, errs)
	}
	return out + errs
}

// denied is as for a command line that the server must deny at once, naming subject and permission.
func (f *fixture) denied(t *testing.T, permission, role string, args ...string) {
	t.Helper()
	if said := f.exits(t, exitUnreachable, role, args...); !strings.Contains(said, "lacks the permission to "+permission) {
		t.Errorf("%s: consumer %s does not say that it may not %s: %s", role, strings.Join(args, " "), permission, said)
	}
}

// TestRoles runs the commands of each role with exactly the rights that docs/nats.md gives it, and
// some of others' commands: these fail at once, with subject and permission.
func TestRoles(t *testing.T) {
	f := newRoles(t)
	project := f.tinyProject().String()
	r := f.start(t)
	r.await("all is well", isReady)

	f.exits(t, exitDone, "requester", "export", "--project", project, "--id", "exp")
	f.exits(t, exitDone, "requester", "export", "--project", project, "--id", "exp")
	f.exits(t, exitDone, "requester", "export", "--project", project, "--id", "later", "--no-wait")
	f.exits(t, exitDone, "requester", "jobs", "watch", "later")
	f.exits(t, exitDone, "requester", "jobs", "watch", "exp", "--seq", "1")
	f.exits(t, exitDone, "requester", "jobs")
	f.exits(t, exitDone, "requester", "jobs", "show", "exp")
	f.exits(t, exitCommand, "requester", "jobs", "show", "unknown")
	f.exits(t, exitCommand, "requester", "jobs", "watch", "unknown", "--known")
	f.exits(t, exitDone, "requester", "jobs", "cancel", "unknown")
	f.exits(t, exitDone, "requester", "plan", "--project", project, "--unpublish")
	f.exits(t, exitCommand, "requester", "export", "--project", project, "--resource", "nowhere", "--id", "refused")
	f.exits(t, exitCommand, "requester", "export", "--project", project, "--resource", "elsewhere", "--id", "refused")

	f.exits(t, exitDone, "exporter", "export", "--project", project)
	f.exits(t, exitDone, "exporter", "jobs", "show", "exp")
	f.exits(t, exitDone, "approver", "plan", "--project", project, "--unpublish")

	f.exits(t, exitDone, "auditor", "jobs")
	f.exits(t, exitDone, "auditor", "jobs", "show", "exp")
	f.exits(t, exitDone, "auditor", "jobs", "watch", "exp")
	f.exits(t, exitDone, "auditor", "jobs", "watch", "exp", "--seq", "1")

	f.exits(t, exitDone, "operator", "jobs")
	f.exits(t, exitCommand, "operator", "jobs", "show", "unknown")
	f.exits(t, exitDone, "operator", "jobs", "cancel", "unknown-too")
	f.exits(t, exitDone, "operator", "dead")
	f.exits(t, exitDone, "operator", "dead", "show", "refused", "--payload")
	f.exits(t, exitCommand, "operator", "dead", "replay", "refused")
	f.exits(t, exitDone, "operator", "dead", "rm", "refused")
	f.exits(t, exitDone, "operator", "holds", "add", project)
	f.exits(t, exitDone, "operator", "holds")
	f.exits(t, exitCommand, "requester", "delete", "--project", project, "--yes")
	f.exits(t, exitDone, "operator", "holds", "rm", project)
	f.exits(t, exitDone, "operator", "forget", "exp")
	f.exits(t, exitCommand, "operator", "forget", "exp")
	f.exits(t, exitDone, "operator", "gc", "--orphans", "--bucket", f.config.Bucket)

	f.exits(t, exitDone, "requester", "delete", "--project", project, "--unpublish", "--yes", "--id", "del")

	f.denied(t, `publish on "$JS.cv.API.STREAM.INFO.CV_DEAD"`, "requester", "dead")
	f.denied(t, `publish on "$JS.cv.API.$KV.CV_HOLDS.`+project+`"`, "requester", "holds", "add", project)
	f.denied(t, `publish on "$JS.cv.API.STREAM.MSG.GET.CV_COMMANDS"`, "requester", "forget", "later")
	f.denied(t, `publish on "cv.commands.export"`, "auditor", "export", "--project", project)
	f.denied(t, `publish on "cv.commands.export"`, "auditor", "export", "--project", project, "--no-wait")
	f.denied(t, `publish on "cv.commands.cancel"`, "auditor", "jobs", "cancel", "exp")
	f.denied(t, `publish on "cv.commands.delete"`, "exporter", "delete", "--project", project, "--yes")
	f.denied(t, `publish on "cv.commands.delete"`, "exporter", "delete", "--project", project, "--yes", "--no-wait")
	f.denied(t, `publish on "cv.commands.cancel"`, "exporter", "jobs", "cancel", "exp")
	f.denied(t, `publish on "cv.commands.export"`, "approver", "export", "--project", project)
	r.end()
	if strings.Contains(strings.ToLower(f.log.String()), "permission") {
		t.Errorf("the service was denied something: %s", f.log)
	}
}

// heard collects what a connection hears.
type heard struct {
	mu   sync.Mutex
	what []string
}

// listen subscribes to subjects, each of which the server may deny.
func (h *heard) listen(t *testing.T, nc *nats.Conn, subjects ...string) {
	t.Helper()
	for _, s := range subjects {
		if _, err := nc.Subscribe(s, func(m *nats.Msg) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.what = append(h.what, fmt.Sprintf("%s %v %s", m.Subject, m.Header, m.Data))
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushTimeout(limit); err != nil {
		t.Fatal(err)
	}
}

// all is what was heard until now.
func (h *heard) all(t *testing.T, nc *nats.Conn) string {
	t.Helper()
	if err := nc.FlushTimeout(limit); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.what, "\n")
}

// TestNobodyHearsTheCommandsOfOthers listens as each role to all that it may, while a command with
// personal data is carried out, and hears nothing. A user who may listen to the service's inbox
// hears the personal data: so the test would notice it.
func TestNobodyHearsTheCommandsOfOthers(t *testing.T) {
	f := newRoles(t)
	f.tinyProject()
	ears := map[string]*heard{}
	conns := map[string]*nats.Conn{}
	for role, inbox := range roleInboxes {
		nc, err := f.nats.Connect(nats.UserInfo(role, role), nats.CustomInboxPrefix(inbox))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		ears[role], conns[role] = &heard{}, nc
		ears[role].listen(t, nc, ">", "*.>", "_INBOX.>", "_INBOX_requester.>", "_INBOX_auditor.>", "_INBOX_operator.>", serviceInbox+".>",
			"cv.>", "cv.commands.>", "cv.commands.*", "cv.events.>", "cv.dead.>", "cv.work.>", "cv.ledger.>", "cv-over.*", "cv-signal.*",
			"$KV.>", "$KV.CV_JOBS.>", "$JS.>", "$JS.ACK.>", "$JS.API.>", "$JS.EVENT.>", "$SYS.>")
	}
	r := f.start(t)
	r.await("all is well", isReady)
	const secret = "jane-doe-4711"
	// The requester of the command answers under another inbox: what this role hears is others'.
	nc, err := f.nats.Connect(nats.UserInfo("operator", "operator"), nats.CustomInboxPrefix("_INBOX_operator"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for id, subject := range map[string]string{"exp": "cv.commands.export", "del": "cv.commands.delete", "bad": "cv.commands.export"} {
		data := `{"all_projects":true,"image_metadata":{"subject":"` + secret + `"}}`
		if id == "bad" {
			data = data[1:]
		}
		if _, err := nc.RequestMsg(&nats.Msg{Subject: subject, Header: nats.Header{contract.HeaderMsgID: {id}}, Data: []byte(data)}, limit); err != nil {
			t.Fatal(err)
		}
		f.as(t, "operator", "jobs", "watch", id)
	}
	r.end()
	for _, role := range []string{"requester", "auditor"} {
		if heard := ears[role].all(t, conns[role]); heard != "" {
			t.Errorf("the %s hears %d bytes, such as %.300s", role, len(heard), heard)
		}
	}
	if heard := ears["operator"].all(t, conns["operator"]); strings.Contains(heard, secret) {
		t.Errorf("the operator hears %.300s", heard)
	}
	if !strings.Contains(ears["service"].all(t, conns["service"]), secret) {
		t.Error("the service's inbox did not bring the commands: the test listens to nothing")
	}
}
