package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/trust"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

var regexpSeq = regexp.MustCompile(`seq-[0-9]+`)

// desk is where a person works.
type desk struct {
	t    *testing.T
	vars []string
	dir  string
}

// newDesk is the desk of a person with the rights of a role; files go into a folder that all share.
func newDesk(t *testing.T, f *fixture, role, dir string) desk {
	return desk{t, append(f.environment(), "NATS_USER="+role, "NATS_PASSWORD="+role, "CONSUMER_NATS_INBOX_PREFIX="+inboxOf(role), "CONSUMER_NATS_DOMAIN="+roleDomains[role], "CONSUMER_AUDIENCE="+here), dir}
}

func (d desk) file(name string) string { return filepath.Join(d.dir, name) }

// does runs a command line, which must exit with a code and say something, and returns what it
// printed.
func (d desk) does(code int, says string, args ...string) string {
	d.t.Helper()
	var out, errs bytes.Buffer
	got := run(d.t.Context(), args, d.vars, strings.NewReader(""), &out, &errs)
	said := errs.String() + out.String()
	if got != code || !strings.Contains(said, says) {
		d.t.Fatalf("consumer %s exits %d, not %d, or does not say %q:\n%s", strings.Join(args, " "), got, code, says, said)
	}
	return said
}

// signedDelete plans and signs, as a NATS user, the delete of an image, and returns the file.
func (f *fixture) signedDelete(t *testing.T, user string) string {
	t.Helper()
	project := f.vision.AddProject(cvtest.ProjectSpec{}).ID
	selection := []string{"--project", project.String(), "--image", f.vision.AddImage(project, cvtest.ImageSpec{}).String(), "--sign", seedFile(t, alice), "--audience", here}
	code, out, errs := f.as(t, user, append([]string{"plan", "--id", "planned-" + user, "-o", "json"}, selection...)...)
	var e contract.Event
	if err := json.Unmarshal([]byte(out), &e); code != exitDone || err != nil {
		t.Fatalf("plan exits %d: %s", code, errs)
	}
	file := filepath.Join(t.TempDir(), "delete.json")
	code, _, errs = f.as(t, user, append([]string{"delete", "--yes", "--save", file, "--approved-plan", e.Data.Plan.SHA256}, selection...)...)
	prepared, err := loadPrepared(file)
	if code != exitDone || err != nil {
		t.Fatalf("delete --save exits %d: %s", code, errs)
	}
	prepared.Plan = "planned-" + user // as where the plan was made and shown by consumer delete
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := prepared.save(file); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestTwoPersons has one person sign a delete, and another look at its plan, approve it and publish
// it, as docs/requesters.md tells it.
func TestTwoPersons(t *testing.T) {
	f := newRoles(t)
	project, other := f.vision.AddProject(cvtest.ProjectSpec{Name: "Faces \x1b[2J"}).ID, f.vision.AddProject(cvtest.ProjectSpec{Name: "Other"}).ID
	image, left := f.vision.AddImage(project, cvtest.ImageSpec{}).String(), f.vision.AddImage(other, cvtest.ImageSpec{}).String()
	f.config.Trust = trust.Policy{Audience: here, Signers: []string{alice.Key()}, Approvers: []string{bob.Key()}}
	r := f.start(t)
	r.await("all is well", isReady)
	d := newDesk(t, f, "requester", t.TempDir())
	second, operator := newDesk(t, f, "approver", d.dir), newDesk(t, f, "operator", d.dir)
	hers, his := seedFile(t, alice), seedFile(t, bob)
	its := func(command string, more ...string) []string {
		return append([]string{command, "--project", project.String(), "--image", image}, more...)
	}

	// The plan is signed, too.
	d.does(exitCommand, "sign it with --sign", its("plan", "--id", "plan-0")...)
	_, digest, _ := strings.Cut(d.does(exitDone, "would be deleted", its("plan", "--id", "plan-1", "--sign", hers)...), "sha256 ")
	digest = digest[:64]
	d.does(exitDone, "would be deleted", "plan", "--project", other.String(), "--image", left, "--id", "plan-2", "--sign", hers)

	// The first person signs the delete into a file.
	d.does(exitUsage, "use it with --sign", its("delete", "--yes", "--save", d.file("no.json"))...)
	d.does(exitUsage, "there is no terminal", its("delete", "--sign", hers)...)
	d.does(exitDone, "not published", its("delete", "--id", "del-1", "--approved-plan", digest, "--yes", "--sign", hers, "--save", d.file("del.json"))...)
	d.does(exitUsage, "exists", its("delete", "--yes", "--sign", hers, "--save", d.file("del.json"))...)
	unapproved := d.does(exitCommand, "consumer approve FILE", "delete", "--command", d.file("del.json"))
	if !strings.Contains(unapproved, "unsigned: Cv-Approval") {
		t.Errorf("refused with %s", unapproved)
	}

	// The second looks at the plan, approves and publishes it.
	second.does(exitUsage, "must be another person", "approve", d.file("del.json"), "--seed", hers, "--plan", "plan-1", "--yes")
	second.does(exitUsage, "which dry run", "approve", d.file("del.json"), "--seed", his, "--yes")
	second.does(exitCommand, "no answer to plan-9", "approve", d.file("del.json"), "--seed", his, "--plan", "plan-9", "--yes")
	second.does(exitCommand, "names the plan "+digest, "approve", d.file("del.json"), "--seed", his, "--plan", "plan-2", "--yes")
	second.does(exitUsage, "another service", "approve", d.file("del.json"), "--seed", his, "--plan", "plan-1", "--yes", "--audience", "other")
	shown := second.does(exitUsage, "there is no terminal", "approve", d.file("del.json"), "--seed", his, "--plan", "plan-1")
	for _, text := range []string{"del-1", alice.Key(), digest, project.String(), `"Faces \x1b[2J"`, "images 1", "would remain", here} {
		if !strings.Contains(shown, text) {
			t.Errorf("the approver is not shown %s:\n%s", text, shown)
		}
	}
	second.does(exitDone, "to be approved", "approve", d.file("del.json"), "--seed", his, "--plan", "s3://"+f.config.Bucket+"/plan-1/delete/", "--yes", "--save", d.file("approved.json"))
	file, err := loadPrepared(d.file("approved.json"))
	if m := file.message(); err != nil || !signedBy(alice, m, "Cv-Signature", "cv1", here, "del-1") || !signedBy(bob, m, "Cv-Approval", "cv1-approval", here, "del-1") {
		t.Fatalf("the file holds %v, %v", m.Header, err)
	}
	second.does(exitDone, "complete", "approve", d.file("del.json"), "--seed", his, "--plan", "plan-1", "--yes")
	d.does(exitDone, "complete", "delete", "--command", d.file("approved.json")) // the same message: its end stands
	var says verified
	if err := json.Unmarshal([]byte(d.does(exitDone, "ok", "verify", "-o", "json", "s3://"+f.config.Bucket+"/del-1/delete/")), &says); err != nil || says.Signer != alice.Key() || says.Approver != bob.Key() {
		t.Errorf("verified as %+v, %v", says, err)
	}

	// The replay of a dead letter is signed for its new id.
	letter := regexpSeq.FindString(operator.does(exitDone, "seq-", "dead"))
	operator.does(exitUsage, "for one id: sign it with --sign", "dead", "replay", letter)
	replayed := operator.does(exitDone, "not published", "dead", "replay", letter, "--sign", hers, "--save", d.file("again.json"))
	if !strings.Contains(replayed, "a delete that another published") || !strings.Contains(replayed, project.String()) {
		t.Errorf("it does not show what is signed: %s", replayed)
	}
	if file, err = loadPrepared(d.file("again.json")); err != nil || !signedBy(alice, file.message(), "Cv-Signature", "cv1", here, file.Headers["Nats-Msg-Id"]) || !strings.HasSuffix(file.Headers["Nats-Msg-Id"], "-r1") {
		t.Errorf("the replay is %+v, %v", file, err)
	}
	d.does(exitCommand, "unsigned", "jobs", "cancel", "nothing")
	d.does(exitDone, "nothing was cancelled", "jobs", "cancel", "nothing", "--sign", hers)

	// What keeps a copy of a signed delete from being carried out stays as long as the copy counts.
	operator.does(exitDone, "plan-1 is forgotten", "forget", "plan-1")
	operator.does(exitCommand, "is a signed delete that counts until 20", "forget", "del-1")
	operator.does(exitDone, "del-1 is forgotten", "forget", "--force", "del-1")
}

// TestPreparedFiles reads files that hold no signed delete that can be approved.
func TestPreparedFiles(t *testing.T) {
	d := desk{t, []string{"CONSUMER_AUDIENCE=" + here}, t.TempDir()}
	his := seedFile(t, bob)
	soon := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	body := func(more string) string {
		return fmt.Sprintf(`{"project_ids":["0f3b2a77-3a57-4b8c-9a67-5c1c1df0a111"],"not_after":%q%s}`, soon, more)
	}
	plan := `,"approved_plan":"` + strings.Repeat("0", 64) + `"`
	prepare := func(audience, subject, body string) prepared {
		o := order{id: "del-1", data: []byte(body), signer: &signer{pair: pairOf(t, alice), key: alice.Key(), audience: audience}}
		o.action = "delete"
		file, err := o.prepare("cv", "plan-1")
		if err != nil {
			t.Fatal(err)
		}
		file.Subject = subject
		return file
	}
	const subject = "cv.commands.delete"
	good := prepare(here, subject, body(plan))
	changed := func(change func(*prepared)) prepared {
		file := good
		file.Headers = maps.Clone(good.Headers)
		change(&file)
		return file
	}
	for name, c := range map[string]struct {
		file prepared
		says string
	}{
		"another id":        {changed(func(f *prepared) { f.Headers["Nats-Msg-Id"] = "del-2" }), "is not a signature"},
		"another body":      {changed(func(f *prepared) { f.Body = body(plan + `,"unpublish":true`) }), "is not a signature"},
		"no signature":      {changed(func(f *prepared) { delete(f.Headers, "Cv-Signature") }), "there is none"},
		"another subject":   {changed(func(f *prepared) { f.Subject = "cv.commands.export" }), "holds no delete"},
		"another prefix":    {changed(func(f *prepared) { f.Subject = "other.commands.delete" }), "is not a signature"},
		"another audience":  {prepare("elsewhere", subject, body(plan)), "another service"},
		"no plan":           {prepare(here, subject, body("")), "names no plan"},
		"a dry run":         {prepare(here, subject, body(`,"dry_run":true`)), "needs no approval"},
		"over":              {prepare(here, subject, strings.Replace(body(plan), soon, "2026-01-01T00:00:00Z", 1)), "over"},
		"no limit":          {prepare(here, subject, strings.Replace(body(plan), `,"not_after":"`+soon+`"`, "", 1)), "no not_after"},
		"a plan of its own": {changed(func(f *prepared) { f.Plan = "s3://elsewhere/plan-1/delete/" }), "names a place for its plan"},
		"a newer version":   {changed(func(f *prepared) { f.V = 2 }), "is not a signed command"},
	} {
		t.Run(name, func(t *testing.T) {
			file := d.file(strings.ReplaceAll(name, " ", "-"))
			if err := c.file.save(file); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the file is %v, %v", info.Mode(), err)
			}
			desk{t, d.vars, d.dir}.does(exitUsage, c.says, "approve", file, "--seed", his, "--yes")
		})
	}
	var shown bytes.Buffer
	until := time.Date(2061, time.January, 2, 3, 4, 5, 0, time.UTC)
	showApproval(&shown, good, contract.Command{Data: contract.Data{NotAfter: &until, ExportRetainUntil: &until}}, bagfile.Deletion{})
	if !strings.Contains(shown.String(), "the bundle of the export cannot be removed until 2061-01-02T03:04:05Z") {
		t.Errorf("the approver is not shown what is locked:\n%s", &shown)
	}
	d.does(exitUsage, "no such file", "approve", d.file("none"), "--seed", his)
	d.does(exitUsage, "is not a signed command", "approve", his, "--seed", his)
	d.does(exitUsage, "has no NKey seed", "export", "--all-projects", "--sign", d.file("a-dry-run"))
	d.vars = nil
	d.does(exitUsage, "--audience", "export", "--all-projects", "--sign", his)
}
