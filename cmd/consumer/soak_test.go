package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// How much TestSoak does; `make soak` says more than what an ordinary run can wait for.
var (
	soakSeed     = flag.Uint64("seed", 1, "seed of TestSoak's choices and faults")
	soakCommands = flag.Int("commands", 40, "commands of TestSoak")
	soakKills    = flag.Int("kills", 3, "replicas that TestSoak kills")
	soakDrains   = flag.Int("drains", 1, "replicas that TestSoak stops as an operator does")
	soakNATS     = flag.Int("nats-restarts", 1, "restarts of NATS in TestSoak")
	soakStore    = flag.Int("s3-restarts", 1, "restarts of the S3 server in TestSoak")
	soakLimit    = flag.Duration("soak-limit", 5*time.Minute, "how long TestSoak waits for the last command")
)

const (
	soakReplicas = 3
	apiFaults    = 0.10 // share of API calls and downloads that fail
	storeFaults  = 0.05 // share of S3 requests that fail
	soakWindow   = 48   // commands under way at most
)

// Three replicas carry out a mixed load while they are killed and stopped, NATS and S3 restart, and
// the service, its blobs and S3 fail at random. Afterwards every promise is looked for in what is
// left: streams, bucket, and the service's own account of what was done to it.
func TestSoak(t *testing.T) {
	s := newSoak(t)
	begun := time.Now()
	s.reference()
	s.vision.FaultRate(apiFaults, int64(*soakSeed)) //nolint:gosec // a seed
	s.gate.faults.FaultRate(storeFaults, *soakSeed)
	s.storm()
	s.settle()
	stormy := time.Since(begun)
	s.calm()
	s.stop()
	s.check()
	t.Logf("seed %d: %d messages, %d commands ended %v; %d kills, %d drains, %d restarts of NATS, %d of S3; storm %s, in all %s",
		*soakSeed, s.messages, len(s.asked), s.ends, s.kills, s.drains, s.natsRestarts, s.storeRestarts, stormy.Round(time.Second), time.Since(begun).Round(time.Second))
	t.Logf("%d API calls (%d in ledgers, %d answered ones lost with killed replicas; %d change something, %d intents), %d downloads, %d S3 faults; %d bags of %d files verified; %d attempts at most",
		s.calls, s.inLedgers, s.lost, s.destructive, s.intents, s.vision.BlobCount(), s.gate.faults.Injected(), s.bags, s.files, s.mostAttempts)
	t.Logf("replicas after the first and the second calm spell: %v", s.spells)
}

// asked is a command that was published, and how it may end.
type asked struct {
	id     string
	action contract.Action
	data   string
	ends   []ending
	victim *victim // of a delete, and of the exports around it
	cancel string  // id of the cancel that was published for it
	event  contract.EventData
}

// ending is one way to end.
type ending struct {
	status  contract.Status
	outcome contract.Outcome
	code    string
}

var (
	complete  = ending{status: contract.StatusCompleted, outcome: contract.OutcomeComplete}
	nothing   = ending{status: contract.StatusCompleted, outcome: contract.OutcomeNothingFound}
	planned   = ending{status: contract.StatusCompleted, outcome: contract.OutcomePlanned}
	answered  = ending{status: contract.StatusCompleted}
	cancelled = ending{status: contract.StatusCancelled}
)

func refusedAs(c string) ending { return ending{status: contract.StatusRefused, code: c} }
func failedAs(c string) ending  { return ending{status: contract.StatusFailed, code: c} }

// soak is one run of TestSoak.
type soak struct {
	*fixture
	t       *testing.T
	ctx     context.Context
	random  *rand.Rand
	gate    *storeGate
	program replicaProgram
	queue   *natsq.Queue
	js      jetstream.JetStream

	replicas []*replica // running
	retired  []*replica // killed or stopped
	stopping sync.WaitGroup

	sample  []*cvtest.Project
	fixed   map[string]bool // projects that nothing changes
	before  cvtest.State
	asked   map[string]*asked
	over    map[string][]contract.Status // terminal events, by "<action>.<id>"
	victims []*victim
	truths  map[string]string // payload of the fixed projects, by the data that asked for it

	messages, kills, drains, natsRestarts, storeRestarts int
	ends                                                 map[string]int
	calls, inLedgers, lost, destructive, intents         int
	bags, files, mostAttempts                            int
	quiet                                                int // calls received before the last calm spell
	spells                                               []string
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	s := &soak{
		t: t, ctx: t.Context(), random: rand.New(rand.NewPCG(*soakSeed, 1)), program: itself(t),
		asked: map[string]*asked{}, fixed: map[string]bool{}, truths: map[string]string{}, ends: map[string]int{},
	}
	keepInMemory(t, 2<<30)
	s.gate = openGate(t)
	s.fixture = &fixture{nats: natstest.NewWith(t, natstest.Options{Addr: "127.0.0.1:0"}), store: s.gate.server, vision: cvtest.New(cvtest.Options{Seed: 5, Compact: true}).Start(), log: &lockedBuffer{}}
	t.Cleanup(s.vision.Close)
	s.config = config{NATS: natsConfig{URL: s.nats.URL(), Subjects: "cv"}, Bucket: "soak", BlobHosts: []string{strings.TrimPrefix(s.vision.BlobURL(), "http://")}}
	if err := s.store.CreateBucket(s.ctx, s.config.Bucket, sinktest.BucketOptions{Versioned: true}); err != nil {
		t.Fatal(err)
	}
	s.sample = s.vision.Sample()
	s.sample = append(s.sample, s.vision.AddProject(cvtest.ProjectSpec{Name: "Many", Images: 300, Untagged: 20, ImageBytes: cvtest.Tiny, Iterations: []cvtest.IterationSpec{{DropFromWorkspace: 30}}}))
	for _, p := range s.sample {
		s.fixed[p.ID.String()] = true
	}
	s.before = s.vision.Snapshot()
	s.program = s.program.with(s.environment()...).with("AWS_ENDPOINT_URL_S3="+s.gate.url, "CONSUMER_LOG_LEVEL=info")
	for range soakReplicas {
		s.replicas = append(s.replicas, s.program.start(t))
	}
	for _, r := range s.replicas {
		r.await(t)
	}
	conn := s.nats.Dial(t)
	var err error
	if s.js, err = jetstream.New(conn); err != nil {
		t.Fatal(err)
	}
	if s.queue, err = natsq.Open(s.ctx, conn, natsq.Options{Retention: time.Minute, AckWait: time.Second}); err != nil {
		t.Fatal(err)
	}
	return s
}

// storeGate stands before the S3 server: what goes through it fails at random, and while the server
// restarts it is as if nobody were there.
type storeGate struct {
	server *sinktest.Server
	dir    string
	url    string
	faults *sinktest.Faults

	transport *http.Transport
	mu        sync.Mutex
	open      context.Context // nil while the server is away
	shut      context.CancelFunc
	passing   sync.WaitGroup
}

func openGate(t *testing.T) *storeGate {
	t.Helper()
	g := &storeGate{dir: t.TempDir(), transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}
	var err error
	if g.server, err = sinktest.Start(g.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.close(); err != nil {
			t.Error(err)
		}
	})
	g.open, g.shut = context.WithCancel(context.Background())
	g.faults = sinktest.NewFaults(g.transport)
	target, err := url.Parse(g.server.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		Transport:     g.faults,
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.url = "http://" + l.Addr().String()
	front := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		open := g.open
		if open != nil {
			g.passing.Add(1)
		}
		g.mu.Unlock()
		if open == nil {
			panic(http.ErrAbortHandler)
		}
		defer g.passing.Done()
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(open, cancel)()
		proxy.ServeHTTP(w, r.WithContext(ctx))
	})}
	served := make(chan struct{})
	go func() { _ = front.Serve(l); close(served) }()
	t.Cleanup(func() { _ = front.Close(); <-served })
	return g
}

// close takes the server away: what is on its way through the gate breaks.
func (g *storeGate) close() error {
	g.mu.Lock()
	g.open = nil
	g.shut()
	g.mu.Unlock()
	g.passing.Wait()
	g.transport.CloseIdleConnections()
	return g.server.Close()
}

// restart takes the server away and brings it back with all it stored.
func (g *storeGate) restart() error {
	if err := g.close(); err != nil {
		return err
	}
	old := g.server
	server, err := sinktest.StartWith(sinktest.Options{
		Dir: g.dir, Addr: strings.TrimPrefix(old.Endpoint, "http://"), AccessKey: old.AccessKey, SecretKey: old.SecretKey, Region: old.Region,
	})
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.server = server
	g.open, g.shut = context.WithCancel(context.Background())
	return nil
}

// publish publishes a message and notes what must become of it. An id of "" is for a message that
// cannot have one.
func (s *soak) publish(a asked, body string) *asked {
	s.t.Helper()
	m := contract.Message{Subject: "cv.commands." + string(a.action), Body: []byte(body)}
	if a.id != "" {
		m.Header = map[string][]string{contract.HeaderMsgID: {a.id}}
	}
	seq, err := s.queue.PublishCommand(s.ctx, m)
	if err != nil {
		s.t.Fatalf("publish: %v", err)
	}
	s.messages++
	a.data = body
	if a.id == "" || len(a.ends) == 1 && a.ends[0].code == contract.CodeIDConflict {
		a.id = contract.SeqID(seq)
	}
	s.asked[a.id] = &a
	return &a
}

func (s *soak) newID() string { return fmt.Sprintf("soak-%d-%04d", *soakSeed, s.messages) }

// pick chooses one of several.
func pick[T any](s *soak, from []T) T { return from[s.random.IntN(len(from))] }

// want publishes a well-formed command.
func (s *soak) want(action contract.Action, data string, ends ...ending) *asked {
	return s.publish(asked{id: s.newID(), action: action, ends: ends}, data)
}

// soakKind is a kind of load.
type soakKind struct {
	name   string
	weight int
	ask    func(s *soak)
}

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

type fields map[string]any

// exportData is an export's selection of what nothing changes.
func (s *soak) exportData(kind string) string {
	p := pick(s, s.sample[:4])
	switch kind {
	case "project":
		return jsonOf(fields{"project_ids": []uuid.UUID{p.ID}})
	case "projects":
		return jsonOf(fields{"project_ids": []uuid.UUID{s.sample[0].ID, s.sample[2].ID, s.sample[4].ID}})
	case "many":
		return jsonOf(fields{"project_ids": []uuid.UUID{s.sample[5].ID}})
	case "iteration":
		return jsonOf(fields{"project_ids": []uuid.UUID{p.ID}, "iteration_ids": p.Iterations[:1]})
	case "tag":
		return jsonOf(fields{"project_ids": []uuid.UUID{p.ID}, "tag_ids": p.Tags[:1]})
	case "images":
		return jsonOf(fields{"project_ids": []uuid.UUID{p.ID}, "image_ids": p.Images[:5]})
	case "metadata":
		return jsonOf(fields{"project_ids": []uuid.UUID{s.sample[3].ID}, "image_metadata": fields{"subject": fmt.Sprintf("person-%03d", 1+s.random.IntN(3))}})
	default:
		return jsonOf(fields{"project_ids": []uuid.UUID{p.ID}, "categories": []string{"predictions", "exports"}})
	}
}

func (s *soak) kinds() []soakKind {
	export := func(kind string, weight int) soakKind {
		return soakKind{kind, weight, func(s *soak) { s.want(contract.ActionExport, s.exportData(kind), complete) }}
	}
	return []soakKind{
		export("project", 8), export("projects", 3), export("many", 2), export("iteration", 2), export("tag", 2), export("images", 3), export("metadata", 2), export("categories", 2),
		{"nobody", 1, func(s *soak) {
			s.want(contract.ActionExport, jsonOf(fields{"project_ids": []uuid.UUID{s.sample[3].ID}, "image_metadata": fields{"subject": "nobody"}}), nothing)
		}},
		{"no such project", 1, func(s *soak) {
			s.want(contract.ActionExport, jsonOf(fields{"project_ids": []string{"00000000-0000-4000-8000-000000000000"}}), failedAs(contract.CodeNotFound))
		}},
		{"expired", 1, func(s *soak) {
			s.want(contract.ActionExport, `{"all_projects":true,"not_after":"2020-01-01T00:00:00Z"}`, refusedAs(contract.CodeExpired))
		}},
		{"unknown resource", 1, func(s *soak) {
			s.want(contract.ActionExport, `{"all_projects":true,"resource":"other"}`, refusedAs(contract.CodeUnknownResource))
		}},
		{"malformed", 3, func(s *soak) {
			s.publish(asked{action: contract.ActionExport, ends: []ending{refusedAs(contract.CodeInvalidCommand)}}, pick(s, []string{`{`, `{"all_projects":true}`, `[]`, `{"All_projects":true}`, ""}))
		}},
		{"again", 3, func(s *soak) {
			if a := s.earlier(); a != nil { // its end stands
				s.messages++
				if _, err := s.queue.PublishCommand(s.ctx, contract.Message{Subject: "cv.commands." + string(a.action), Header: map[string][]string{contract.HeaderMsgID: {a.id}}, Body: []byte(a.data)}); err != nil {
					s.t.Fatalf("publish: %v", err)
				}
			}
		}},
		{"conflict", 2, func(s *soak) {
			if a := s.earlier(); a != nil {
				s.publish(asked{id: a.id, action: contract.ActionExport, ends: []ending{refusedAs(contract.CodeIDConflict)}}, `{"all_projects":true,"reference":"another"}`)
			}
		}},
		{"cancel an export", 2, func(s *soak) {
			s.cancel(s.want(contract.ActionExport, s.exportData("many"), complete, cancelled))
		}},
		{"delete a project", 3, func(s *soak) { s.erase(fields{"unpublish": true}, (*victim).loseAll, complete) }},
		{"delete images", 3, func(s *soak) { s.erase(fields{"image_ids": true}, (*victim).loseImages, complete) }},
		{"delete a tag", 1, func(s *soak) { s.erase(fields{"tag_ids": true}, (*victim).loseTag, complete) }},
		{"delete an iteration", 1, func(s *soak) {
			s.erase(fields{"iteration_ids": true, "unpublish": true}, (*victim).loseIteration, complete)
		}},
		{"export first", 2, func(s *soak) { s.erase(fields{"export_first": true, "unpublish": true}, (*victim).loseAll, complete) }},
		{"dry run", 1, func(s *soak) { s.erase(fields{"dry_run": true, "unpublish": true}, nil, planned) }},
		{"delete what is published", 1, func(s *soak) { s.erase(fields{}, nil, refusedAs(contract.CodeIterationPublished)) }},
		{"cancel a delete", 1, func(s *soak) {
			s.cancel(s.erase(fields{"unpublish": true}, (*victim).loseAll, complete, cancelled))
		}},
		{"delete between exports", 2, func(s *soak) {
			v := s.newVictim()
			export := jsonOf(fields{"project_ids": []uuid.UUID{v.project.ID}})
			s.want(contract.ActionExport, export, complete).victim = v
			s.eraseVictim(v, fields{"unpublish": true}, (*victim).loseAll, complete)
			s.want(contract.ActionExport, export, failedAs(contract.CodeNotFound))
		}},
	}
}

// earlier is a command that was published before, and has an id of its own.
func (s *soak) earlier() *asked {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(s.asked)) {
		if !strings.HasPrefix(id, "seq-") {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return s.asked[pick(s, ids)]
}

func (s *soak) cancel(a *asked) {
	c := s.want(contract.ActionCancel, jsonOf(fields{"id": a.id}), answered, refusedAs(contract.CodeTooLate))
	a.cancel = c.id
}

// victim is a project that a delete is for, and no other.
type victim struct {
	project *cvtest.Project
	deletes bool                  // the delete is one that deletes
	loses   func(*victim, *truth) // what it takes away
	command string                // id of the delete
}

// truth is which things a project has.
type truth struct {
	Gone        bool
	Workspace   []string
	Iterations  map[string][]string // images, by iteration
	Tags        []string            // of the workspace
	Predictions int
}

func (s *soak) newVictim() *victim {
	v := &victim{project: s.vision.AddProject(cvtest.ProjectSpec{
		Name: "Victim", Images: 12, Untagged: 2, Predictions: 3, ImageBytes: cvtest.Tiny, Iterations: []cvtest.IterationSpec{{DropFromWorkspace: 2}, {Published: true}},
	})}
	s.victims = append(s.victims, v)
	return v
}

// erase publishes a delete for a project of its own.
func (s *soak) erase(what fields, loses func(*victim, *truth), ends ...ending) *asked {
	return s.eraseVictim(s.newVictim(), what, loses, ends...)
}

func (s *soak) eraseVictim(v *victim, what fields, loses func(*victim, *truth), ends ...ending) *asked {
	p := v.project
	what["project_ids"] = []uuid.UUID{p.ID}
	for name, ids := range map[string][]uuid.UUID{"image_ids": p.Images[:4], "tag_ids": p.Tags[:1], "iteration_ids": p.Iterations[1:]} {
		if what[name] != nil {
			what[name] = ids
		}
	}
	v.loses, v.deletes = loses, loses != nil
	a := s.want(contract.ActionDelete, jsonOf(what), ends...)
	a.victim, v.command = v, a.id
	return a
}

func (*victim) loseAll(h *truth) { *h = truth{Gone: true} }

func (v *victim) loseImages(h *truth) {
	gone := func(id string) bool {
		return slices.ContainsFunc(v.project.Images[:4], func(u uuid.UUID) bool { return u.String() == id })
	}
	h.Workspace = slices.DeleteFunc(h.Workspace, gone)
	for it, images := range h.Iterations {
		h.Iterations[it] = slices.DeleteFunc(images, gone)
	}
}

func (v *victim) loseTag(h *truth) {
	h.Tags = slices.DeleteFunc(h.Tags, func(id string) bool { return id == v.project.Tags[0].String() })
}

func (v *victim) loseIteration(h *truth) { delete(h.Iterations, v.project.Iterations[1].String()) }

// truthOf is what the service has of a project.
func truthOf(state cvtest.State, id uuid.UUID) truth {
	i := slices.IndexFunc(state.Projects, func(p cvtest.ProjectState) bool { return p.ID == id })
	if i < 0 {
		return truth{Gone: true}
	}
	p := state.Projects[i]
	ids := func(items []cvtest.ItemState) []string {
		out := []string{}
		for _, item := range items {
			out = append(out, item.ID.String())
		}
		slices.Sort(out)
		return out
	}
	h := truth{Workspace: ids(p.Workspace.Images), Iterations: map[string][]string{}, Tags: []string{}, Predictions: len(p.Predictions)}
	for _, it := range p.Iterations {
		h.Iterations[it.ID.String()] = ids(it.Images)
	}
	for _, raw := range p.Workspace.Tags {
		var tag struct{ ID string }
		_ = json.Unmarshal(raw, &tag) // our own
		h.Tags = append(h.Tags, tag.ID)
	}
	slices.Sort(h.Tags)
	return h
}

// reference exports what nothing changes before anything goes wrong: what the storm gives must be
// the same.
func (s *soak) reference() {
	s.t.Helper()
	for _, kind := range []string{"projects", "many"} {
		s.want(contract.ActionExport, s.exportData(kind), complete)
	}
	for _, p := range s.sample[:4] {
		s.want(contract.ActionExport, jsonOf(fields{"project_ids": []uuid.UUID{p.ID}}), complete)
	}
	s.settle()
}

// storm publishes the load and makes trouble at random moments of it.
func (s *soak) storm() {
	s.t.Helper()
	var trouble []func()
	for _, kind := range []struct {
		n  int
		do func()
	}{{*soakKills, s.kill}, {*soakDrains, s.drain}, {*soakNATS, s.restartNATS}, {*soakStore, s.restartStore}} {
		for range kind.n {
			trouble = append(trouble, kind.do)
		}
	}
	kinds := s.kinds()
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	next := make([]int, len(trouble)) // before which message each trouble comes
	for i := range next {
		next[i] = s.messages + *soakCommands/8 + s.random.IntN(max(1, *soakCommands-*soakCommands/8))
	}
	for goal := s.messages + *soakCommands; s.messages < goal; {
		s.await(fmt.Sprintf("fewer than %d commands under way", soakWindow), func() bool { return s.underWay() < soakWindow })
		for i, f := range trouble {
			if f != nil && next[i] <= s.messages {
				f()
				trouble[i] = nil
			}
		}
		n := s.random.IntN(total)
		for _, k := range kinds {
			if n -= k.weight; n < 0 {
				k.ask(s)
				break
			}
		}
	}
	for _, f := range trouble {
		if f != nil {
			f()
		}
	}
}

// kill takes a replica away and starts another.
func (s *soak) kill() {
	i := s.random.IntN(len(s.replicas))
	s.alive()
	s.replicas[i].kill()
	s.retired = append(s.retired, s.replicas[i])
	s.replicas[i] = s.program.start(s.t)
	s.kills++
}

// drain stops a replica and starts another at once.
func (s *soak) drain() {
	i := s.random.IntN(len(s.replicas))
	old := s.replicas[i]
	old.base(s.t) // before that it knows no signals
	s.retired = append(s.retired, old)
	s.stopping.Go(func() { old.stop(s.t) })
	s.replicas[i] = s.program.start(s.t)
	s.drains++
}

func (s *soak) restartNATS() {
	if err := s.nats.Restart(); err != nil {
		s.t.Fatalf("restart NATS: %v", err)
	}
	s.natsRestarts++
}

func (s *soak) restartStore() {
	if err := s.gate.restart(); err != nil {
		s.t.Fatalf("restart the S3 server: %v", err)
	}
	s.store = s.gate.server
	s.storeRestarts++
}

// alive demands that no replica ended by itself.
func (s *soak) alive() {
	s.t.Helper()
	for _, r := range s.replicas {
		select {
		case <-r.ended:
			s.t.Fatalf("a replica ended by itself: %v\n%s", r.exit, tail(r.log.String()))
		default:
		}
	}
}

// await looks until something is so.
func (s *soak) await(what string, so func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, *soakLimit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		s.alive()
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("in vain: %s\n%s", what, s.stuck())
		}
	}
}

// subjects is how many messages each subject of a stream has; nil while NATS does not answer.
func (s *soak) subjects(stream string) map[string]uint64 {
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	st, err := s.js.Stream(ctx, stream)
	if err != nil {
		return nil
	}
	info, err := st.Info(ctx, jetstream.WithSubjectFilter(">"))
	if err != nil {
		return nil
	}
	if info.State.Subjects == nil {
		return map[string]uint64{}
	}
	return info.State.Subjects
}

// underWay is how many commands have not ended.
func (s *soak) underWay() int {
	subjects := s.subjects("CV_EVENTS")
	if subjects == nil {
		return math.MaxInt
	}
	s.over = map[string][]contract.Status{}
	for subject, n := range subjects {
		parts := strings.Split(subject, ".")
		if status := contract.Status(parts[4]); status.Terminal() {
			for range n {
				s.over[parts[2]+"."+parts[3]] = append(s.over[parts[2]+"."+parts[3]], status)
			}
		}
	}
	return len(s.asked) - len(s.over)
}

// settle waits until everything has ended and nothing is queued.
func (s *soak) settle() {
	s.t.Helper()
	s.await("every command ends", func() bool { return s.underWay() <= 0 })
	s.await("empty queues", func() bool {
		commands, work := s.subjects("CV_COMMANDS"), s.subjects("CV_WORK")
		return commands != nil && work != nil && len(commands) == 0 && len(work) == 0
	})
}

// stuck tells of the commands that did not end.
func (s *soak) stuck() string {
	var b strings.Builder
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), 20*time.Second)
	defer cancel()
	for id, a := range s.asked {
		if s.over[string(a.action)+"."+id] == nil {
			j, _, err := s.queue.Job(ctx, id)
			fmt.Fprintf(&b, "%s %s: %s (%v)\n", a.action, id, jsonOf(j), err)
		}
	}
	fmt.Fprintf(&b, "queues: %v %v\n", s.subjects("CV_COMMANDS"), s.subjects("CV_WORK"))
	for i, r := range s.replicas {
		fmt.Fprintf(&b, "replica %d:\n%s\n", i, tail(r.log.String()))
	}
	return b.String()
}

// calm has the replicas do the same twice, undisturbed but for faults: the second time must leave
// them as the first did, and every call that was answered must be in a ledger.
func (s *soak) calm() {
	s.t.Helper()
	s.stopping.Wait()
	for _, r := range s.replicas {
		r.await(s.t)
	}
	var first []usage
	for spell := range 2 {
		s.quiet = len(s.vision.Calls())
		for i := range max(8, *soakCommands/5) {
			s.want(contract.ActionExport, s.exportData([]string{"many", "project", "images", "projects", "project", "images", "tag", "iteration"}[i%8]), complete)
		}
		s.settle()
		if spell == 0 {
			first = s.usage()
			continue
		}
		var now []usage
		s.await("no more goroutines and files than after the same work before", func() bool {
			now = s.usage()
			for i, u := range now {
				if u.goroutines > first[i].goroutines+30 || u.files > first[i].files+15 {
					return false
				}
			}
			return true
		})
		for i, u := range now {
			if u.memory > first[i].memory+first[i].memory/3+16<<20 {
				s.t.Errorf("replica %d grows: %s, before %s", i, u, first[i])
			}
		}
		s.spells = append(s.spells, fmt.Sprint(first), fmt.Sprint(now))
	}
}

// usage is what a replica holds.
type usage struct {
	memory            int64 // bytes
	goroutines, files int
}

func (u usage) String() string {
	return fmt.Sprintf("%d MiB %d goroutines %d files", u.memory>>20, u.goroutines, u.files)
}

func (s *soak) usage() []usage {
	s.t.Helper()
	var all []usage
	for _, r := range s.replicas {
		m := r.metrics(s.t)
		now, _ := r.memory(s.t)
		all = append(all, usage{now, int(m["go_goroutines"]), int(m["process_open_fds"])})
	}
	return all
}

// stop ends the replicas, and looks through what all of them said.
func (s *soak) stop() {
	s.t.Helper()
	for _, r := range s.replicas {
		r.stop(s.t)
	}
	for _, r := range append(s.retired, s.replicas...) {
		log := r.log.String()
		for _, bad := range []string{"DATA RACE", "panic:", "fatal error:", "sig=", s.vision.Key(), s.store.SecretKey} {
			if i := strings.Index(log, bad); i >= 0 {
				s.t.Errorf("a replica's log has %q:\n%s", bad, log[max(0, i-2000):min(len(log), i+4000)])
			}
		}
	}
}

// check looks for every promise.
func (s *soak) check() {
	s.t.Helper()
	s.checkEnds()
	s.checkJobs()
	s.checkDead()
	s.checkBags()
	s.checkBucket()
	s.checkService()
	s.checkLedgers()
}

// checkEnds: every command has exactly one terminal event, and one that it may have; nothing else
// has one.
func (s *soak) checkEnds() {
	s.t.Helper()
	s.underWay()
	for key, statuses := range s.over {
		action, id, _ := strings.Cut(key, ".")
		a := s.asked[id]
		if a == nil || string(a.action) != action {
			s.t.Errorf("%s ended %v, and nobody asked for it", key, statuses)
			continue
		}
		if len(statuses) != 1 {
			s.t.Errorf("%s ended %d times: %v", key, len(statuses), statuses)
			continue
		}
		e, err := s.queue.Event(s.ctx, a.action, id, statuses[0])
		if err != nil {
			s.t.Fatal(err)
		}
		a.event = e.Data
		got := ending{status: e.Data.Status, outcome: e.Data.Outcome}
		if e.Data.Error != nil {
			got.code = e.Data.Error.Code
		}
		if !slices.Contains(a.ends, got) {
			s.t.Errorf("%s %s ended %+v (%s), want one of %+v; data %s", a.action, id, got, describeEvent(e), a.ends, a.data)
		}
		s.ends[string(got.status)]++
		s.mostAttempts = max(s.mostAttempts, e.Data.Attempt)
	}
	for id, a := range s.asked {
		if s.over[string(a.action)+"."+id] == nil {
			s.t.Errorf("%s %s has no end", a.action, id)
		}
		if c := s.asked[a.cancel]; a.cancel != "" && (c.event.Status == contract.StatusCompleted) != (a.event.Status == contract.StatusCancelled) {
			s.t.Errorf("%s ended %s, and its cancel %s", id, a.event.Status, c.event.Status)
		}
	}
}

// checkJobs: every job says what the event says.
func (s *soak) checkJobs() {
	s.t.Helper()
	n := 0
	for j, err := range s.queue.Jobs(s.ctx) {
		if err != nil {
			s.t.Fatal(err)
		}
		n++
		if a := s.asked[j.ID]; a == nil || contract.Status(j.State) != a.event.Status || j.Waiting != nil {
			s.t.Errorf("job %s", jsonOf(j))
		}
	}
	if n != len(s.asked) {
		s.t.Errorf("%d jobs of %d commands", n, len(s.asked))
	}
}

// checkDead: what was refused or failed is a dead letter as it was published, and nothing else is.
func (s *soak) checkDead() {
	s.t.Helper()
	st, err := s.js.Stream(s.ctx, "CV_DEAD")
	if err != nil {
		s.t.Fatal(err)
	}
	dead := s.subjects("CV_DEAD")
	for id, a := range s.asked {
		subject := "cv.dead." + string(a.action) + "." + id
		want := uint64(0)
		if a.event.Status == contract.StatusFailed || a.event.Status == contract.StatusRefused {
			want = 1
		}
		if dead[subject] != want {
			s.t.Errorf("%s %s ended %s and has %d dead letters", a.action, id, a.event.Status, dead[subject])
			continue
		}
		delete(dead, subject)
		if want == 0 {
			continue
		}
		m, err := st.GetLastMsgForSubject(s.ctx, subject)
		if err != nil {
			s.t.Fatal(err)
		}
		if string(m.Data) != a.data {
			s.t.Errorf("the dead letter of %s holds %q, published was %q", id, m.Data, a.data)
		}
	}
	if len(dead) > 0 {
		s.t.Errorf("dead letters that nobody asked for: %v", dead)
	}
}

// bagsOf are the bags that a command must have left.
func (a *asked) bagsOf() []sink.BagKind {
	if a.event.Status != contract.StatusCompleted || a.action == contract.ActionCancel {
		return nil
	}
	if a.action == contract.ActionExport {
		return []sink.BagKind{sink.ExportBag}
	}
	if strings.Contains(a.data, "export_first") {
		return []sink.BagKind{sink.ExportBag, sink.DeleteBag}
	}
	return []sink.BagKind{sink.DeleteBag}
}

// checkBags: every bag is whole and says what its event says, and the same selection of what
// nothing changed has the same payload everywhere.
func (s *soak) checkBags() {
	s.t.Helper()
	store := sink.NewStore(s.store.Client(), sink.StoreOptions{Bucket: s.config.Bucket})
	for id, a := range s.asked {
		layout, err := sink.NewLayout("", id)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, kind := range a.bagsOf() {
			root := layout.Bag(kind)
			report, err := sink.Verify(s.ctx, sink.StoreSource(store, root), sink.VerifyOptions{})
			if err != nil || report.Result != sink.OK {
				s.t.Errorf("bag %s: %s %v %v", root, report.Result, report.Problems, err)
				continue
			}
			s.bags++
			s.files += report.Files
			if b := a.event.Bundle; kind != sink.ExportBag || a.action == contract.ActionExport {
				if b == nil || b.ReceiptSHA256 != report.ReceiptSHA256 || int(b.Objects) != report.Files {
					s.t.Errorf("bag %s has %d files and receipt %s, its event says %+v", root, report.Files, report.ReceiptSHA256, b)
				}
			}
			if v := a.victim; v != nil && a.action == contract.ActionExport && a.event.Counts.Images != int64(len(v.project.Images)) {
				s.t.Errorf("export %s of a project that was deleted later has %d images of %d", id, a.event.Counts.Images, len(v.project.Images))
			}
			if kind == sink.ExportBag && a.victim == nil {
				s.compare(store, root, a)
			}
		}
	}
}

// compare holds the payload of the projects that nothing changes against that of the first bag of
// the same selection.
func (s *soak) compare(store *sink.Store, root sink.Key, a *asked) {
	s.t.Helper()
	b, err := store.ReadAll(s.ctx, root+sink.Key(sink.ManifestFile), 1<<30)
	if err != nil {
		s.t.Fatal(err)
	}
	var lines []string
	for l, err := range sink.ManifestLines(bytes.NewReader(b)) {
		if err != nil {
			s.t.Fatal(err)
		}
		if project, ok := strings.CutPrefix(string(l.Path), "data/projects/"); ok {
			if id, _, _ := strings.Cut(project, "/"); s.fixed[id] {
				lines = append(lines, l.SHA256+" "+string(l.Path))
			}
		}
	}
	slices.Sort(lines)
	got := strings.Join(lines, "\n")
	if want, ok := s.truths[a.data]; ok && want != got {
		s.t.Errorf("%s has another payload than an export of the same before it, %s:\n%s\nbefore:\n%s", root, a.data, got, want)
	}
	s.truths[a.data] = got
}

// checkBucket: there is nothing but finished bags, each object in one version, and no upload that
// nobody finished.
func (s *soak) checkBucket() {
	s.t.Helper()
	api := s.store.Client()
	var strays []string
	pages := s3.NewListObjectVersionsPaginator(api, &s3.ListObjectVersionsInput{Bucket: &s.config.Bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(s.ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, m := range page.DeleteMarkers {
			strays = append(strays, "delete marker "+aws.ToString(m.Key))
		}
		for _, v := range page.Versions {
			if aws.ToString(v.Key) == deploymentKey && aws.ToBool(v.IsLatest) {
				continue
			}
			id, rest, _ := strings.Cut(aws.ToString(v.Key), "/")
			kind, _, _ := strings.Cut(rest, "/")
			if a := s.asked[id]; !aws.ToBool(v.IsLatest) || a == nil || !slices.Contains(a.bagsOf(), sink.BagKind(kind)) {
				strays = append(strays, fmt.Sprintf("%s (latest %v)", aws.ToString(v.Key), aws.ToBool(v.IsLatest)))
			}
		}
	}
	uploads, err := api.ListMultipartUploads(s.ctx, &s3.ListMultipartUploadsInput{Bucket: &s.config.Bucket})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, u := range uploads.Uploads {
		strays = append(strays, "unfinished upload of "+aws.ToString(u.Key))
	}
	if len(strays) > 0 {
		s.t.Errorf("%d strays in the bucket: %s", len(strays), strings.Join(strays[:min(20, len(strays))], "\n"))
		for _, stray := range strays[:min(3, len(strays))] {
			id, _, _ := strings.Cut(stray, "/")
			s.t.Logf("what was said of %s:\n%s", id, s.said(id))
		}
	}
}

// said is every line of a log that names a command.
func (s *soak) said(id string) string {
	var b strings.Builder
	for i, r := range append(slices.Clone(s.retired), s.replicas...) {
		for line := range strings.Lines(r.log.String()) {
			if strings.Contains(line, `"`+id+`"`) {
				fmt.Fprintf(&b, "%d %s", i, line)
			}
		}
	}
	return b.String()
}

// checkService: what was deleted is gone, and nothing else is.
func (s *soak) checkService() {
	s.t.Helper()
	now := s.vision.Snapshot()
	for _, p := range s.before.Projects {
		i := slices.IndexFunc(now.Projects, func(q cvtest.ProjectState) bool { return q.ID == p.ID })
		if i < 0 || jsonOf(now.Projects[i]) != jsonOf(p) {
			s.t.Errorf("project %s is not as it was", p.ID)
		}
	}
	for _, v := range s.victims {
		p := v.project
		want := truth{Iterations: map[string][]string{}, Predictions: len(p.Predictions)}
		kept := func(from []uuid.UUID) []string {
			out := []string{}
			for _, id := range from {
				out = append(out, id.String())
			}
			slices.Sort(out)
			return out
		}
		want.Tags = kept(p.Tags)
		remaining := slices.DeleteFunc(slices.Clone(p.Images), func(id uuid.UUID) bool { return slices.Contains(p.Dropped, id) })
		want.Workspace = kept(remaining)
		want.Iterations[p.Iterations[0].String()] = kept(p.Images)
		want.Iterations[p.Iterations[1].String()] = kept(remaining)
		if a := s.asked[v.command]; v.deletes && a.event.Status == contract.StatusCompleted {
			v.loses(v, &want)
		}
		if got := truthOf(now, p.ID); jsonOf(got) != jsonOf(want) {
			s.t.Errorf("the project of %s\n has %s\nwant %s", v.command, jsonOf(got), jsonOf(want))
		}
	}
	if leaks := s.vision.Leaks(); len(leaks) > 0 {
		s.t.Errorf("credentials were sent to the blob host: %v", leaks)
	}
}

// checkLedgers: the chains hold; a line tells of a call that the service received, and no two lines
// of the same one; a call that changes something has an intent.
func (s *soak) checkLedgers() {
	s.t.Helper()
	received := map[string]cvtest.Call{}
	intents := map[string]int{}
	for _, c := range s.vision.Calls() {
		received[c.RequestID] = c
	}
	attributed := map[string]string{}
	for id := range s.asked {
		var whole bytes.Buffer
		for message, err := range s.queue.Ledger(s.ctx, id, math.MaxUint64) {
			if err != nil {
				s.t.Fatal(err)
			}
			whole.Write(message)
		}
		if whole.Len() == 0 {
			continue
		}
		if _, err := sink.VerifyLedger(bytes.NewReader(whole.Bytes())); err != nil {
			s.t.Errorf("the ledger of %s: %v", id, err)
		}
		for line := range bytes.Lines(whole.Bytes()) {
			var l sink.LedgerLine
			if err := json.Unmarshal(line, &l); err != nil {
				s.t.Fatalf("the ledger of %s: %v", id, err)
			}
			if l.Kind == sink.LedgerIntent {
				intents[l.Operation+" "+l.Target]++
				s.intents++
				continue
			}
			if l.RequestID == "" {
				continue // no answer came
			}
			s.inLedgers++
			if other, twice := attributed[l.RequestID]; twice {
				s.t.Errorf("call %s %s is in the ledgers of %s and %s", l.Operation, l.RequestID, other, id)
			}
			attributed[l.RequestID] = id
			c, known := received[l.RequestID]
			if known && (c.Operation != l.Operation || c.Status != l.Status) {
				s.t.Errorf("the ledger of %s says %s %d, the service %s %d", id, l.Operation, l.Status, c.Operation, c.Status)
			}
		}
	}
	made := map[string]int{}
	for i, c := range s.vision.Calls() {
		s.calls++
		if c.Changes {
			s.destructive++
			made[c.Operation+" "+c.Target()]++
		}
		if _, ok := attributed[c.RequestID]; !ok && c.Status != 0 && c.Operation != "GetDomains" {
			s.lost++
			if i >= s.quiet {
				s.t.Errorf("nobody was killed, and no ledger has call %+v", c)
			}
		}
	}
	for call, n := range made {
		if intents[call] < n {
			s.t.Errorf("%d calls %s have %d intents", n, call, intents[call])
		}
	}
}
