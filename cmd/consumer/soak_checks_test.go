package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// check checks every promise.
func (s *soak) check() {
	s.t.Helper()
	s.checkEnds()
	s.checkAnswers()
	s.checkJobs()
	s.checkDead()
	s.checkBags()
	s.checkBucket()
	s.checkService()
	s.checkLabelled()
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
			if s.replaced[id] {
				continue
			}
			s.t.Errorf("%s ended %v, and was not published; what was said of it:\n%s", key, statuses, s.said(id))
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

// checkAnswers: every message has one answer with its sequence, under its id or under its sequence.
func (s *soak) checkAnswers() {
	s.t.Helper()
	for _, m := range s.sent {
		var answers []string
		for _, id := range []string{m.id, contract.SeqID(m.seq)} {
			if id == "" {
				continue
			}
			e, err := s.queue.Answer(s.ctx, contract.Key(m.action, id))
			switch {
			case err == nil && e.Data.Seq == m.seq && string(e.Data.Stream) == s.stream:
				answers = append(answers, describeEvent(e))
			case err != nil && !errors.Is(err, contract.ErrNoMessage):
				s.t.Fatal(err)
			}
		}
		if len(answers) != 1 {
			s.t.Errorf("message %d (%s %s) has the answers %q; what was said of it:\n%s", m.seq, m.action, m.id, answers, s.said(m.id))
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
		a := s.asked[j.ID]
		if s.replaced[j.ID] && (a == nil || a.action != j.Action) {
			continue
		}
		n++
		if a == nil || contract.Status(j.State) != a.event.Status || j.Waiting != nil {
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
	for subject := range dead {
		if s.replaced[subject[strings.LastIndex(subject, ".")+1:]] {
			delete(dead, subject)
		}
	}
	if len(dead) > 0 {
		s.t.Errorf("dead letters of commands that were not published: %v", dead)
	}
}

// bagsOf are the bags that a command must have left.
func (a *asked) bagsOf() []sink.BagKind {
	switch {
	case a.event.ExportBundle != nil && a.event.Status != contract.StatusCompleted: // the export has exceptions, and is kept
		return []sink.BagKind{sink.ExportBag}
	case a.event.Status != contract.StatusCompleted || a.action == contract.ActionCancel:
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
			report, err := verify.Bag(s.ctx, verify.Stored(store, root), verify.Options{})
			if err != nil || report.Result != verify.OK {
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
			if v := a.victim; v != nil && a.action == contract.ActionExport && a.event.Outcome == contract.OutcomeComplete && a.event.Counts.Images != int64(len(v.project.Images)) {
				s.t.Errorf("export %s of a project that was deleted later has %d images of %d", id, a.event.Counts.Images, len(v.project.Images))
			}
			if kind == sink.ExportBag && a.victim == nil && a.event.Outcome == contract.OutcomeComplete {
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

// checkBucket: there is nothing but finished bags, each object in one version, and no unfinished
// upload.
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

// checkLedgers: the chains hold; a line records a call that the service received, and no two lines
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
				s.t.Errorf("no replica was killed, and no ledger has call %+v", c)
			}
		}
	}
	for call, n := range made {
		if intents[call] < n {
			s.t.Errorf("%d calls %s have %d intents", n, call, intents[call])
		}
	}
}
