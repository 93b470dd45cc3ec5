package handler_test

import (
	"net/url"
	"strings"
	"testing"

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
			if e := w.wait(t, exp); e.StartedAt != nil && e.Status == contract.StatusCompleted && e.FinishedAt.Before(deleted) {
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
