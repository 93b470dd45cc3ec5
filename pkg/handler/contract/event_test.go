package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// stream is when the command stream of the golden events was made.
const stream = "2026-01-02T03:04:05.678901234Z"

const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// goldenEvents are one event of every kind. Times are given outside UTC where that must make no
// difference.
func goldenEvents() map[string]Event {
	started, finished := published.Add(2*time.Second).In(time.FixedZone("", 3600)), published.Add(90*time.Second)
	until := time.Date(2041, 1, 1, 1, 0, 0, 0, time.FixedZone("", 3600))
	counts := Counts{Projects: 1, Iterations: 2, Performance: 2, Tags: 4, Images: 1000, Exports: 1, Predictions: 7, Bytes: 123456}
	bundle := func(kind string) *BundleRef {
		return &BundleRef{URI: "s3://bucket/prefix/req-1/" + kind + "/", ManifestSHA256: sha, ReceiptSHA256: strings.Repeat("0", 64), Objects: 1023}
	}
	signed := bundle("export")
	signed.Signed, signed.RetainUntil = true, &until
	plan := &PlanRef{SHA256: sha, URI: "s3://bucket/prefix/req-1/delete/evidence/plan.json"}
	waiting := &Waiting{For: WaitCommand, Detail: "waits for req-0, an earlier delete of a common project", Since: started}
	base := func(action Action, status Status) EventData {
		return EventData{CommandID: "req-1", Seq: 17, Stream: stream, Action: action, Status: status, Reference: "CASE-17 <a&b>", Attempt: 1, StartedAt: &started}
	}
	with := func(d EventData, change func(*EventData)) EventData {
		if d.Status.Terminal() {
			d.FinishedAt = &finished
		}
		change(&d)
		return d
	}
	return map[string]Event{
		"export-accepted":         NewEvent(base(ActionExport, StatusAccepted), started, trace),
		"export-progress":         NewProgressEvent(with(base(ActionExport, StatusAccepted), func(d *EventData) { d.Progress = &Progress{Done: 3, Total: 9, Bytes: 4096} }), 7, started, trace),
		"export-progress-waiting": NewProgressEvent(with(base(ActionExport, StatusAccepted), func(d *EventData) { d.Progress, d.Waiting = &Progress{}, waiting }), 1, started, ""),
		"export-completed": NewEvent(with(base(ActionExport, StatusCompleted), func(d *EventData) {
			d.Outcome, d.Counts, d.Bundle = OutcomeComplete, counts, signed
		}), finished, trace),
		"export-completed-exceptions": NewEvent(with(base(ActionExport, StatusCompleted), func(d *EventData) {
			d.Outcome, d.Counts, d.Bundle, d.Exceptions, d.Attempt = OutcomeExceptions, counts, bundle("export"), 2, 3
		}), finished, trace),
		"export-completed-nothing-found": NewEvent(with(base(ActionExport, StatusCompleted), func(d *EventData) {
			d.Outcome, d.Bundle, d.Reference = OutcomeNothingFound, bundle("export"), ""
		}), finished, ""),
		"export-failed": NewEvent(with(base(ActionExport, StatusFailed), func(d *EventData) {
			d.Error = &Error{Code: CodeNotFound, Message: "GetProject: 404 NotFoundProject", RequestID: "5d2c7b1e-0c0c-4a8e-8f61-0d0b5a7f1c11"}
		}), finished, trace),
		"export-failed-exhausted-replay": NewEvent(with(base(ActionExport, StatusFailed), func(d *EventData) {
			d.ReplayOf, d.Attempt, d.Error = "req-0", 10, &Error{Code: CodeExhausted, Message: "gave up after 10 attempts", Retryable: true}
		}), finished, trace),
		"export-refused-undecodable": NewEvent(with(base(ActionExport, StatusRefused), func(d *EventData) {
			d.CommandID, d.Reference, d.Attempt, d.StartedAt, d.Error = SeqID(17), "", 0, nil, &Error{Code: CodeInvalidCommand, Message: "shade: unknown field: leave it out"}
		}), finished, ""),
		"export-refused-conflict": NewEvent(with(base(ActionExport, StatusRefused), func(d *EventData) {
			d.CommandID, d.Seq, d.GivenID, d.Attempt, d.StartedAt, d.ConflictsWith = SeqID(18), 18, "req-1", 0, nil, "req-1"
			d.Error = &Error{Code: CodeIDConflict, Message: "id: req-1 is another command's: publish this one under an id of its own"}
		}), finished, trace),
		"export-cancelled": NewEvent(with(base(ActionExport, StatusCancelled), func(*EventData) {}), finished, trace),
		"delete-completed": NewEvent(with(base(ActionDelete, StatusCompleted), func(d *EventData) {
			d.Outcome, d.Counts, d.Bundle, d.ExportBundle, d.Plan = OutcomeComplete, counts, bundle("delete"), signed, plan
			d.Residuals = []Residual{{CategoryExports, "the service offers no deletion of exported models; they go with the account"}}
		}), finished, trace),
		"delete-completed-planned": NewEvent(with(base(ActionDelete, StatusCompleted), func(d *EventData) {
			d.Outcome, d.Bundle, d.Plan = OutcomePlanned, bundle("delete"), plan
		}), finished, trace),
		"delete-failed-unverified": NewEvent(with(base(ActionDelete, StatusFailed), func(d *EventData) {
			d.Plan, d.Error = plan, &Error{Code: CodeUnverified, Message: "3 images are still listed after 15m0s", Retryable: true}
		}), finished, trace),
		"cancel-completed":      NewEvent(with(base(ActionCancel, StatusCompleted), func(d *EventData) { d.Reference = "" }), finished, trace),
		"cancel-completed-kept": NewEvent(with(base(ActionCancel, StatusCompleted), func(d *EventData) { d.Reference, d.Outcome = "", OutcomeKept }), finished, trace),
		"export-duplicate": NewEvent(with(base(ActionExport, StatusDuplicate), func(d *EventData) {
			d.CommandID, d.Seq, d.GivenID, d.Attempt, d.StartedAt = SeqID(19), 19, "req-1", 0, nil
			d.DuplicateOf = &MessageOf{ID: "req-1", Seq: 17, Stream: stream, State: StateRunning}
		}), finished, trace),
		"cancel-refused": NewEvent(with(base(ActionCancel, StatusRefused), func(d *EventData) {
			d.Reference, d.Error = "", &Error{Code: CodeTooLate, Message: "req-1 has begun to delete and finishes"}
		}), finished, trace),
	}
}

// goldenJobs are one job of every state.
func goldenJobs() map[string]Job {
	events := goldenEvents()
	created := published.In(time.FixedZone("", -7200))
	job := func(state State, phase string) Job {
		return Job{
			ID: "req-1", Action: ActionExport, State: state, Attempt: 1, Created: created, Updated: created.Add(time.Minute), Phase: phase, Holder: "HOLDER", Counted: []Text{"HOLDER"},
			Command: CommandRef{Seq: 17, Stream: stream, Published: published, Digest: "SALT." + sha, Resource: "default"},
		}
	}
	terminal := func(name string) Job {
		e := events[name]
		j := job(State(e.Data.Status), "done")
		j.ID, j.Action, j.Outcome, j.Error, j.ReplayOf, j.Event = e.Subject, e.Data.Action, e.Data.Outcome, e.Data.Error, e.Data.ReplayOf, &e
		j.GivenID, j.Command.Seq = e.Data.GivenID, e.Data.Seq
		if e.Data.Status == StatusCompleted {
			j.Progress.Bytes = e.Data.Counts.Bytes
		}
		if e.Data.Bundle != nil {
			j.Bundle = Text(e.Data.Bundle.URI)
		}
		return j
	}
	running := job(StateRunning, "fetch")
	running.Progress = Progress{Done: 3, Total: 9, Bytes: 4096}
	waiting := job(StateAccepted, "wait")
	waiting.Waiting = events["export-progress-waiting"].Data.Waiting
	cancelled := terminal("export-cancelled")
	cancelled.Cancel = &Cancel{ID: "stop-1", Time: created}
	return map[string]Job{
		"job-not-yet-cancelled": {ID: "req-1", Cancel: &Cancel{ID: "stop-1", Time: created}},
		"job-accepted-waiting":  waiting, "job-running": running, "job-completed": terminal("export-completed"),
		"job-failed": terminal("export-failed-exhausted-replay"), "job-refused": terminal("export-refused-conflict"), "job-cancelled": cancelled,
	}
}

func TestGoldenEventsAndJobs(t *testing.T) {
	goldens := map[string]any{}
	for name, e := range goldenEvents() {
		goldens[name] = e
	}
	for name, j := range goldenJobs() {
		goldens[name] = j
	}
	for name, v := range goldens {
		t.Run(name, func(t *testing.T) {
			raw, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, append(raw, '\n'), "", "  "); err != nil {
				t.Fatal(err)
			}
			checkGolden(t, filepath.Join("events", name+".json"), pretty.Bytes())
			checkSchema(t, v, raw)
			again := reflect.New(reflect.TypeOf(v))
			if err := json.Unmarshal(raw, again.Interface()); err != nil {
				t.Fatal(err)
			}
			if rewritten, err := json.Marshal(again.Elem().Interface()); err != nil || !bytes.Equal(rewritten, raw) {
				t.Errorf("read and written again it is %s, %v; was %s", rewritten, err, raw)
			}
		})
	}
}

func checkSchema(t *testing.T, v any, raw []byte) {
	t.Helper()
	id := "urn:cvconsumer:schema:event:1"
	if _, ok := v.(Job); ok {
		id = "urn:cvconsumer:schema:job:1"
	}
	if err := contractSchema(t, id).Validate(schemaValue(t, raw)); err != nil {
		t.Errorf("%s: %v", raw, err)
	}
}

func TestEventIDsAreDeterministic(t *testing.T) {
	d := EventData{CommandID: "req-1", Action: ActionDelete, Status: StatusCompleted}
	if e := NewEvent(d, published, ""); e.ID != "req-1.completed" || e.Type != "cv.delete.completed" || e.Subject != "req-1" || e.Data.V != 1 {
		t.Errorf("%+v", e)
	}
	if e := NewProgressEvent(d, 3, published, ""); e.ID != "req-1.progress.3" || e.Type != "cv.delete.progress" || e.Data.Status != StatusProgress {
		t.Errorf("%+v", e)
	}
}

func TestTerminal(t *testing.T) {
	for status, want := range map[Status]bool{
		StatusAccepted: false, StatusProgress: false, StatusCompleted: true, StatusFailed: true, StatusRefused: true, StatusCancelled: true, StatusDuplicate: false, "": false,
	} {
		if status.Terminal() != want || State(status).Terminal() != want {
			t.Errorf("%q: terminal is %v", status, !want)
		}
	}
	if StateRunning.Terminal() {
		t.Error("running is terminal")
	}
}

// TestFieldsOfTheContract says that an event and a job have exactly the fields the contract names,
// whatever they carry.
func TestFieldsOfTheContract(t *testing.T) {
	keys := func(v any) []string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		return slices.Sorted(maps.Keys(m))
	}
	for name, tt := range map[string]struct {
		v    any
		want string
	}{
		"event":    {Event{}, "data datacontenttype id source specversion subject time type"},
		"data":     {EventData{}, "action attempt bundle command_id conflicts_with counts duplicate_of error exceptions export_bundle finished_at given_id outcome plan reference replay_of residuals seq started_at status stream v waiting"},
		"progress": {EventData{Progress: &Progress{}}, "action attempt bundle command_id conflicts_with counts duplicate_of error exceptions export_bundle finished_at given_id outcome plan progress reference replay_of residuals seq started_at status stream v waiting"},
		"counts":   {Counts{}, "bytes exports images iterations performance predictions projects tags"},
		"bundle":   {BundleRef{}, "manifest_sha256 objects receipt_sha256 retain_until signed uri"},
		"stamped":  {BundleRef{TimeStamped: true}, "manifest_sha256 objects receipt_sha256 retain_until signed timestamped uri"},
		"error":    {Error{}, "code message request_id retryable"},
		"job":      {Job{}, "action attempt begun bundle cancel claim command counted created deletion error event first given_id holder id irrevocable left_behind outcome phase progress replay_of state updated v waiting"},
		"command":  {CommandRef{}, "account approver digest published resource seq signed_until signer stream"},
	} {
		if got := strings.Join(keys(tt.v), " "); got != tt.want {
			t.Errorf("%s has the fields\n%s, want\n%s", name, got, tt.want)
		}
	}
}

func TestDecodeJob(t *testing.T) {
	for name, want := range goldenJobs() {
		raw, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeJob(raw)
		if err != nil || got.V != 1 || got.ID != want.ID || got.State != want.State || got.Outcome != want.Outcome || got.Command != want.Command || (got.Event == nil) != (want.Event == nil) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	for name, tt := range map[string]struct {
		raw   string
		newer bool
	}{
		"newer":               {`{"v":3,"id":"req-1"}`, true},
		"newer, and strange":  {`{"v":3,"id":{"scheme":"x"},"state":7}`, true},
		"no version":          {`{"id":"req-1"}`, false},
		"version zero":        {`{"v":0}`, false},
		"null":                {`null`, false},
		"not JSON":            {`{"v":1`, false},
		"not this shape":      {`{"v":1,"id":7}`, false},
		"version not numeric": {`{"v":"2"}`, false},
		"empty":               {``, false},
	} {
		_, err := DecodeJob([]byte(tt.raw))
		if err == nil || errors.Is(err, ErrNewer) != tt.newer {
			t.Errorf("%s: %v", name, err)
		}
		var n *NewerError
		if errors.As(err, &n) != tt.newer || tt.newer && (n.What != "job" || n.V < 2) {
			t.Errorf("%s: %+v", name, n)
		}
	}
	if _, err := DecodeJob([]byte(`{"v":1,"id":"req-1","state":"running","added_later":{}}`)); err != nil {
		t.Errorf("an added field: %v", err)
	}
}
