package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
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
	soakKeys     = flag.Int("key-swaps", 0, "times that TestSoak gives a refused key, that of another account by mistake, and a new one for good")
	soakRemakes  = flag.Int("remakes", 0, "times that TestSoak makes CV_COMMANDS again")
	soakBursts   = flag.Int("bursts", 0, "times that the service answers many calls of TestSoak with 403 or 404")
	soakLimit    = flag.Duration("soak-limit", 5*time.Minute, "how long TestSoak waits for the last command")
)

const (
	soakReplicas = 3
	apiFaults    = 0.10 // share of API calls and downloads that fail
	storeFaults  = 0.05 // share of S3 requests that fail
	soakWindow   = 48   // commands under way at most
)

// Three replicas carry out a mixed load while they are killed and stopped, NATS and S3 restart, and
// the service, its blobs and S3 fail at random. Afterwards every promise is checked in what is
// left: streams, bucket, and the service's own account of what was done to it.
func TestSoak(t *testing.T) {
	s := newSoak(t)
	begun := time.Now()
	s.reference()
	s.vision.FaultRate(apiFaults, int64(*soakSeed)) //nolint:gosec // a seed
	s.gate.faults.FaultRate(storeFaults, *soakSeed)
	s.vision.OnCall(s.label)
	s.storm()
	s.settle()
	s.vision.OnCall(nil)
	stormy := time.Since(begun)
	s.calm()
	s.stop()
	s.check()
	t.Logf("seed %d: %d messages, %d commands ended %v; %d kills, %d drains, %d restarts of NATS, %d of S3, %d keys, %d streams made again, %d bursts, %d moves of labellers; storm %s, in all %s",
		*soakSeed, s.messages, len(s.asked), s.ends, s.kills, s.drains, s.natsRestarts, s.storeRestarts, len(s.keys), s.remakes, s.bursts, s.labels.moves(), stormy.Round(time.Second), time.Since(begun).Round(time.Second))
	t.Logf("%d API calls (%d in ledgers, %d answered ones lost with killed replicas; %d change something, %d intents), %d downloads, %d S3 faults; %d bags of %d files verified; %d attempts at most",
		s.calls, s.inLedgers, s.lost, s.destructive, s.intents, s.vision.BlobCount(), s.gate.faults.Injected(), s.bags, s.files, s.mostAttempts)
	t.Logf("replicas after the first and the second calm spell: %v", s.spells)
}

// soak is one run of TestSoak.
type soak struct {
	*fixture
	t       *testing.T
	ctx     context.Context
	random  *rand.Rand
	gate    *storeGate
	program replicaProgram
	keyFile string   // from which the replicas read the training key
	keys    []string // that they were given
	queue   *natsq.Queue
	js      jetstream.JetStream

	replicas []*replica // running
	retired  []*replica // killed or stopped
	stopping sync.WaitGroup

	sample    []*cvtest.Project
	fixed     map[string]bool // projects that nothing changes
	before    cvtest.State
	asked     map[string]*asked
	replaced  map[string]bool              // ids made of a sequence of an earlier stream
	over      map[string][]contract.Status // terminal events, by "<action>.<id>"
	victims   []*victim
	sent      []message // into stream
	stream    string    // identity of CV_COMMANDS
	labels    labellers
	labelling sync.Mutex        // guards labels
	truths    map[string]string // payload of the fixed projects, by the data that asked for it

	messages, kills, drains, natsRestarts, storeRestarts int
	remakes, bursts                                      int
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
		asked: map[string]*asked{}, replaced: map[string]bool{}, fixed: map[string]bool{}, truths: map[string]string{}, ends: map[string]int{},
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
	s.keyFile = filepath.Join(t.TempDir(), "key")
	s.giveKey(s.vision.Key())
	s.program = s.program.with(s.environment()...).with("VISION_TRAINING_KEY=", "VISION_TRAINING_KEY_FILE="+s.keyFile)
	s.program = s.program.with("AWS_ENDPOINT_URL_S3="+s.gate.url, "CONSUMER_LOG_LEVEL=info", trainingProbe+"=2s")
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
	s.identifyStream()
	return s
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

// await polls until a condition holds.
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
			s.t.Fatalf("not reached: %s\n%s", what, s.stuck())
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
	n := 0
	for id, a := range s.asked {
		if s.over[string(a.action)+"."+id] == nil {
			n++
		}
	}
	return n
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

// stuck describes the commands that did not end.
func (s *soak) stuck() string {
	var b strings.Builder
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), 20*time.Second)
	defer cancel()
	for id, a := range s.asked {
		if s.over[string(a.action)+"."+id] == nil {
			j, _, err := s.queue.Job(ctx, contract.Key(a.action, id))
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

// stop ends the replicas, and searches all their logs.
func (s *soak) stop() {
	s.t.Helper()
	for _, r := range s.replicas {
		r.stop(s.t)
	}
	for _, r := range append(s.retired, s.replicas...) {
		log := r.log.String()
		for _, bad := range append([]string{"DATA RACE", "panic:", "fatal error:", "sig=", s.store.SecretKey}, s.keys...) {
			if i := strings.Index(log, bad); i >= 0 {
				s.t.Errorf("a replica's log has %q:\n%s", bad, log[max(0, i-2000):min(len(log), i+4000)])
			}
		}
	}
}
