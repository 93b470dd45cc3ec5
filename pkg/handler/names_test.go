package handler_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// atAnotherName is a client of the service at another name of its host.
func (w *world) atAnotherName(t *testing.T) *cv.Client {
	t.Helper()
	u, err := url.Parse(w.api.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.Host = "localhost:" + u.Port()
	client, err := cv.New(u.String(), cv.TrainingKey(w.api.Key()), cv.Options{MaxRPS: 10000, BlobHosts: []string{"127.0.0.1"}, MaxAttempts: 2})
	if err != nil {
		t.Fatalf("make the client: %v", err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// TestTwoNamesOfAnAccount has one account under two aliases, whose endpoints have two names, and
// nothing that says that it is one: an export under one of them waits for a delete under the other,
// whether the two name the project or find it.
func TestTwoNamesOfAnAccount(t *testing.T) {
	t.Parallel()
	named := func(account testAccount) string { return `"project_ids":` + idList(account.small.ID) }
	all := func(testAccount) string { return `"all_projects":true,"unpublish":true` }
	allToRead := func(testAccount) string { return `"all_projects":true` }
	for _, c := range []struct {
		name           string
		delete, export func(testAccount) string
	}{
		{"both name it", named, named},
		{"the delete finds it", all, named},
		{"the export finds it", named, allToRead},
		{"both find it", all, allToRead},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			account := fillAccount(w.api)
			w.api.Fault(cvtest.Fault{Operation: "DeleteImages", Status: 401, Times: -1}) // so that the delete stands still half-way
			w.start(t, replicaOptions{configure: func(config *handler.Config) {
				noWait(config)
				config.Resources["other"] = w.atAnotherName(t)
			}})
			del := w.publish(t, "delete", "del-1", "{"+c.delete(account)+"}")
			w.waitsFor(t, "del-1", contract.WaitCredential)
			exp := w.publish(t, "export", "exp-1", "{"+c.export(account)+`,"resource":"other"}`)
			w.waitsFor(t, "exp-1", contract.WaitCommand)
			if n := w.api.Count("GetTaggedImages"); len(exp.ends()) > 0 || w.job(t, "exp-1").Attempt > 0 {
				t.Errorf("the export has begun: %d listings, %+v", n, w.job(t, "exp-1"))
			}
			w.api.ClearFaults()
			if e := w.wait(t, del); e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
				t.Errorf("the delete ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			deleted := w.job(t, "del-1").Event.Time
			// An export that looks for its projects when this one is gone has nothing to wait for.
			e := w.wait(t, exp)
			took := slices.ContainsFunc(w.objects(t, "exp-1"), func(key string) bool { return strings.Contains(key, account.small.ID.String()) })
			if took && e.Status == contract.StatusCompleted && e.FinishedAt.Before(deleted) {
				t.Errorf("the export ended at %s, the delete at %s", e.FinishedAt, deleted)
			}
		})
	}
}

// TestEndpointRenamed gives the account of a delete that was begun another endpoint, as when a
// resource gets a custom sub-domain. The account had no name of its own, so the delete waits until
// the setting has the one that followed from the endpoint, and goes on under that.
func TestEndpointRenamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	h := w.deleteUntil(t, "DeleteIteration", `{"project_ids":`+idList(account.small.ID)+`}`)
	u, err := url.Parse(w.api.URL())
	if err != nil {
		t.Fatal(err)
	}
	named := u.Host + "/default"
	renamed := func(account string) func(*handler.Config) {
		return func(config *handler.Config) {
			noWait(config)
			config.Resources[contract.DefaultResource] = w.atAnotherName(t)
			config.Accounts = map[string]string{contract.DefaultResource: account}
		}
	}
	second := w.start(t, replicaOptions{configure: renamed("")})
	w.await(t, "del-1", "waiting for the account", func(j contract.Job) bool {
		return j.Waiting != nil && strings.Contains(j.Waiting.Detail, "set account to "+named)
	})
	second.stop()
	w.start(t, replicaOptions{configure: renamed(named)})
	if e := w.wait(t, h); e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Counts.Projects != 1 {
		t.Errorf("ended %s %s with %+v: %v", e.Status, e.Outcome, e.Counts, e.Error)
	}
	w.bag(t, "del-1", sink.DeleteBag)
}

// TestCommandsOfTwoNamesMeet publishes exports and deletes of one account under its two names at
// once, some of which find what others name: all of them end, and between the first and the last
// call of a delete there is none of an export, but for those that find the projects.
func TestCommandsOfTwoNamesMeet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	named, all := `"project_ids":`+idList(account.small.ID), `"all_projects":true`
	const other, tags, images = `,"resource":"other"`, `,"categories":["tags"]`, `,"categories":["images"]`
	commands := []struct {
		action contract.Action
		id     string
		data   string
	}{
		{contract.ActionExport, "exp-1", all},
		{contract.ActionDelete, "del-1", all + other + tags},
		{contract.ActionExport, "exp-2", named + other},
		{contract.ActionDelete, "del-2", named + images},
		{contract.ActionExport, "exp-3", all + other},
	}
	histories := make([]*history, 0, len(commands))
	for _, c := range commands {
		histories = append(histories, w.publish(t, c.action, c.id, "{"+c.data+"}"))
	}
	for range 2 {
		w.start(t, replicaOptions{configure: func(config *handler.Config) {
			noWait(config)
			config.Resources["other"] = w.atAnotherName(t)
		}})
	}
	type span struct{ from, to time.Time }
	spans := map[string]span{} // of calls
	for i, c := range commands {
		e := w.wait(t, histories[i])
		if e.Status != contract.StatusCompleted || e.Attempt != 1 {
			t.Errorf("%s ended %s in attempt %d: %v", c.id, e.Status, e.Attempt, e.Error)
		}
		kind := sink.ExportBag
		if c.action == contract.ActionDelete {
			kind = sink.DeleteBag
		}
		s := span{}
		for line := range strings.Lines(string(w.bag(t, c.id, kind)["evidence/ledger.jsonl"])) {
			var l sink.LedgerLine
			unmarshal(t, []byte(line), &l)
			if l.Operation == "GetProjects" || l.Kind == sink.LedgerTakeover {
				continue
			}
			if s.from.IsZero() || l.Time.Before(s.from) {
				s.from = l.Time
			}
			if l.Time.After(s.to) {
				s.to = l.Time
			}
		}
		spans[c.id] = s
	}
	for _, exp := range []string{"exp-1", "exp-2", "exp-3"} {
		for _, del := range []string{"del-1", "del-2"} {
			e, d := spans[exp], spans[del]
			if e.from.IsZero() || d.from.IsZero() || e.from.Before(d.to) && d.from.Before(e.to) {
				t.Errorf("%s calls from %v to %v, %s from %v to %v", exp, e.from, e.to, del, d.from, d.to)
			}
		}
	}
}
