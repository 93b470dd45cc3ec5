package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// commonRight is the name of the row with the rights that every command needs.
const commonRight = "every command"

// documentedRights are what each command publishes on, as the table of natsPage has it: by the
// command's words.
func documentedRights(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile(natsPage)
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "### Rights of each command")
	if !found {
		t.Fatalf("%s has no rights of each command", natsPage)
	}
	section, _, _ = strings.Cut(section, "\n#")
	rights := map[string][]string{}
	quoted := regexp.MustCompile("`([^`]+)`")
	for _, row := range regexp.MustCompile(`(?m)^\| (.+?) \| (.+) \|$`).FindAllStringSubmatch(section, -1) {
		var subjects []string
		for _, s := range quoted.FindAllStringSubmatch(row[2], -1) {
			subjects = append(subjects, s[1])
		}
		names := quoted.FindAllStringSubmatch(row[1], -1)
		if row[1] == commonRight {
			names = [][]string{{"", commonRight}}
		}
		for _, name := range names {
			rights[name[1]] = subjects
		}
	}
	return rights
}

// connectingCommands are the words of every command line that connects to NATS, but for `run` and
// `doctor`, which have the rights of the service.
func connectingCommands(t *testing.T) []string {
	t.Helper()
	parser, err := kong.New(&cli{}, kong.Bind(&program{}))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, leaf := range parser.Model.Leaves(true) {
		words := strings.Fields(leaf.Path())
		var name []string
		for _, w := range words {
			if !strings.HasPrefix(w, "<") {
				name = append(name, w)
			}
		}
		connects := slices.ContainsFunc(leaf.Flags, func(f *kong.Flag) bool { return f.Name == "nats-url" })
		if text := strings.Join(name, " "); connects && text != "run" && text != "doctor" {
			all = append(all, text)
		}
	}
	slices.Sort(all)
	return all
}

// commandLine is a command line of a test, and how it exits where nothing is denied.
type commandLine struct {
	exits int
	args  string
}

// limitedUser is a user with the right to publish on some subjects only.
type limitedUser struct {
	name   string
	rights []string
	lacks  string // of the command's rights; empty when none
}

// usersOf are a user with the rights of a command, and one for each right who lacks it.
func usersOf(command string, rights []string) []limitedUser {
	name := strings.ReplaceAll(command, " ", "-")
	all := []limitedUser{}
	for i, lacks := range rights {
		all = append(all, limitedUser{fmt.Sprint(name, "-", i), slices.Delete(slices.Clone(rights), i, i+1), lacks})
	}
	return append(all, limitedUser{name: name, rights: rights})
}

// config is the user as a server's configuration has it: its password is its name.
func (u limitedUser) config() string {
	return fmt.Sprintf("{user: %q, password: %[1]q, permissions { publish { allow: [%s] }, subscribe { allow: [%q] } } }",
		u.name, `"`+strings.Join(u.rights, `", "`)+`"`, inboxOf(u.name)+".>")
}

// newRights is a fixture whose server has these users, and the user "all", whom nothing is denied.
// The service is that one.
func newRights(t *testing.T, users []limitedUser) *fixture {
	t.Helper()
	var config strings.Builder
	fmt.Fprint(&config, "accounts { CV { jetstream: enabled, users: [ {user: all, password: all}")
	for _, u := range users {
		config.WriteString("\n" + u.config())
	}
	config.WriteString(" ] } }")
	f := newFixtureOn(t, natstest.NewWith(t, natstest.Options{Addr: "127.0.0.1:0", Config: config.String}), cvtest.Options{Seed: 1})
	f.config.NATS.User, f.config.NATS.Password = "all", secretOf("all")
	return f
}

// tinyProject makes a project with one image.
func (f *fixture) tinyProject() uuid.UUID {
	return f.vision.AddProject(cvtest.ProjectSpec{Images: 1, ImageBytes: cvtest.Tiny}).ID
}

// seedTraces leaves a command that has failed, with all its traces, and a hold on a project.
func seedTraces(t *testing.T, q *natsq.Queue, id, project string) {
	t.Helper()
	ctx := t.Context()
	failed := &contract.Error{Code: contract.CodeExhausted, Message: "gave up"}
	_, rev, err := q.Job(ctx, id)
	if err != nil && !errors.Is(err, contract.ErrNoJob) {
		t.Fatal(err)
	}
	if _, err := q.PutJob(ctx, contract.Job{ID: id, Action: contract.ActionExport, State: contract.StateFailed, Error: failed, LeftBehind: "something"}, rev); err != nil {
		t.Fatal(err)
	}
	_, _ = q.AppendLedger(ctx, id, []byte("{}\n"), 0)
	for _, err := range []error{
		q.PublishUnit(ctx, id, 0, []byte("{}")),
		q.PublishEvent(ctx, contract.Event{Data: contract.EventData{CommandID: id, Action: contract.ActionExport, Status: contract.StatusFailed, Error: failed}}),
		q.PublishDead(ctx, contract.DeadLetter{ID: id, Action: contract.ActionExport, Error: *failed, Message: contract.Message{
			Header: map[string][]string{contract.HeaderMsgID: {id}}, Body: []byte(`{"all_projects":true}`),
		}}),
		q.PutHold(ctx, project, nil),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// linesOf are the command lines that show what each command needs, in the order in which they can
// be run: first those that need the service. P is a project, OTHER one that may be deleted, gone a
// command that has failed; FILE is a signed delete, and SEED its approver's.
var linesOf = []struct {
	command string
	lines   []commandLine
	offline bool // the service is not to run, and seedTraces has to be called before
}{
	{"export", []commandLine{{exitDone, "export --project P --id exp"}, {exitDone, "export --project P --id later --no-wait"}, {exitCommand, "export --project P --resource nowhere --id refused"}}, false},
	{"plan", []commandLine{{exitDone, "plan --project P --unpublish"}}, false},
	{"delete", []commandLine{{exitDone, "delete --project OTHER --unpublish --yes --id del"}}, false},
	{"approve", []commandLine{{exitDone, "approve FILE --seed SEED --yes --no-wait"}}, false},
	{"jobs ls", []commandLine{{exitDone, "jobs"}}, false},
	{"jobs show", []commandLine{{exitDone, "jobs show exp"}, {exitCommand, "jobs show unknown"}}, false},
	{"jobs watch", []commandLine{{exitDone, "jobs watch exp"}, {exitDone, "jobs watch exp --seq SEQ"}, {exitCommand, "jobs watch unknown --known"}}, false},
	{"jobs cancel", []commandLine{{exitDone, "jobs cancel unknown"}, {exitCommand, "jobs cancel exp --wait"}}, false},
	{"dead replay", []commandLine{{exitCommand, "dead replay refused"}, {exitDone, "dead replay refused --no-wait"}}, false},
	{"dead ls", []commandLine{{exitDone, "dead"}}, false},
	{"dead show", []commandLine{{exitDone, "dead show refused"}}, false},
	{"dead rm", []commandLine{{exitDone, "dead rm gone"}}, true},
	{"holds ls", []commandLine{{exitDone, "holds"}}, true},
	{"holds add", []commandLine{{exitDone, "holds add P"}}, true},
	{"holds rm", []commandLine{{exitDone, "holds rm P"}}, true},
	{"forget", []commandLine{{exitDone, "forget gone"}}, true},
	{"gc", []commandLine{{exitDone, "gc --bucket BUCKET"}}, true},
	{"gc --orphans", []commandLine{{exitDone, "gc --orphans --bucket BUCKET"}}, true},
}

// TestRightsOfEveryCommand runs each command line with exactly the rights that docs/nats.md lists
// for it, and nothing is denied. With one right less it fails at once, and names that one. Nothing
// that it asks for makes or changes a stream, a bucket or a consumer.
func TestRightsOfEveryCommand(t *testing.T) {
	documented := documentedRights(t)
	users := map[string][]limitedUser{}
	var all []limitedUser
	for command, rights := range documented {
		if command != commonRight {
			users[command] = usersOf(command, append(slices.Clone(documented[commonRight]), rights...))
			all = append(all, users[command]...)
		}
	}
	for _, command := range connectingCommands(t) {
		if users[command] == nil {
			t.Errorf("%s has no row for the rights of consumer %s", natsPage, command)
		}
	}
	f := newRights(t, all)
	words := map[string]string{"P": f.tinyProject().String(), "OTHER": f.tinyProject().String(), "SEQ": "2", "BUCKET": f.config.Bucket, "SEED": seedFile(t, bob)}
	r := f.start(t)
	r.await("all is well", isReady)
	nc := f.nats.Dial(t, nats.UserInfo("all", "all"))
	q, err := natsq.Open(t.Context(), nc, natsq.Options{Retention: f.config.TraceRetention, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	var changes heard
	changes.listen(t, nc, "$JS.API.STREAM.CREATE.>", "$JS.API.STREAM.UPDATE.>", "$JS.API.STREAM.DELETE.>",
		"$JS.API.CONSUMER.CREATE.>", "$JS.API.CONSUMER.DURABLE.CREATE.>", "$JS.API.CONSUMER.DELETE.>")
	words["FILE"] = f.signedDelete(t, "all") // its plan is message 1
	offline := false
	for _, of := range linesOf {
		if of.offline && !offline {
			r.end()
			offline = true
		}
		for _, user := range users[of.command] {
			f.tryRights(t, q, user, of.lines, words, of.offline)
		}
		delete(users, of.command)
	}
	for command := range users {
		t.Errorf("no command line shows what consumer %s needs", command)
	}
	if heard := changes.all(t, nc); heard != "" {
		t.Errorf("a command asks for %.300s", heard)
	}
}

// tryRights runs command lines as a user, until one is denied the right that the user lacks.
func (f *fixture) tryRights(t *testing.T, q *natsq.Queue, user limitedUser, lines []commandLine, words map[string]string, seed bool) {
	t.Helper()
	subject := strings.NewReplacer(".", `\.`, "$", `\$`, "*", `[^."]+`).Replace(user.lacks)
	for _, line := range lines {
		if seed {
			seedTraces(t, q, "gone", words["P"])
		}
		var args []string
		for arg := range strings.FieldsSeq(line.args) {
			args = append(args, cmp.Or(words[arg], arg))
		}
		code, out, errs := f.as(t, user.name, args...)
		if user.lacks == "" && (code != line.exits || strings.Contains(errs, "lacks the permission")) {
			t.Errorf("consumer %s exits %d, not %d: %s%s", line.args, code, line.exits, out, errs)
		}
		if user.lacks != "" && code == exitUnreachable && regexp.MustCompile(`lacks the permission to publish on "`+subject+`"`).MatchString(errs) {
			return
		}
	}
	if user.lacks != "" {
		t.Errorf("%s: nothing needs %s", user.name, user.lacks)
	}
}
