package handler_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// publishedMessages are all messages published in a world.
type publishedMessages struct {
	mu       sync.Mutex
	messages []*nats.Msg
}

func (w *world) recordMessages(t *testing.T) *publishedMessages {
	t.Helper()
	o := &publishedMessages{}
	for _, subject := range []string{"cv.>", "cv-signal.>", "$KV.>"} {
		sub, err := w.conn.Subscribe(subject, func(m *nats.Msg) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.messages = append(o.messages, m)
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sub.Unsubscribe() })
	}
	return o
}

// publishedNowhere is what must not be told, and to whom it was not.
type publishedNowhere struct{ values, secrets []string }

// check fails when a content has a secret, or a value in any form.
func (p publishedNowhere) check(t *testing.T, where string, content []byte) {
	t.Helper()
	for _, secret := range p.secrets {
		if bytes.Contains(content, []byte(secret)) {
			t.Errorf("%s tells %q", where, secret)
		}
	}
	for _, value := range p.values {
		escaped := encode(t, value)
		escaped = escaped[1 : len(escaped)-1]
		twice := encode(t, string(escaped)) // a record in a string of a record
		for _, form := range [][]byte{[]byte(value), escaped, twice[1 : len(twice)-1], []byte(url.QueryEscape(value)), []byte(url.PathEscape(value))} {
			if bytes.Contains(content, form) {
				t.Errorf("%s tells the value %q", where, value)
				break
			}
		}
	}
}

// checkMessages checks all messages but commands and dead letters, of which only the headers; it
// fails when none of a kind was seen.
func (p publishedNowhere) checkMessages(t *testing.T, heard *publishedMessages, kinds ...string) {
	t.Helper()
	heard.mu.Lock()
	defer heard.mu.Unlock()
	seen := map[string]bool{}
	for _, m := range heard.messages {
		kind := strings.Join(strings.Split(m.Subject, ".")[:2], ".")
		seen[kind] = true
		if kind == "cv.commands" || kind == "cv.dead" {
			for name, values := range m.Header {
				p.check(t, m.Subject+" "+name, []byte(strings.Join(values, "\n")))
			}
			continue
		}
		p.check(t, m.Subject, []byte(m.Subject))
		p.check(t, m.Subject, m.Data)
	}
	for _, kind := range kinds {
		if !seen[kind] {
			t.Errorf("no message of %s was looked at", kind)
		}
	}
}

// sentRequests are all requests that replicas sent to the store: keys, metadata and tags, and the
// bodies of writes.
type sentRequests struct {
	next http.RoundTripper
	mu   sync.Mutex
	sent []sentRequest
}

type sentRequest struct {
	name   string // method and URL
	header http.Header
	body   []byte
}

// RoundTrip implements http.RoundTripper.
func (s *sentRequests) RoundTrip(req *http.Request) (*http.Response, error) {
	r := sentRequest{name: req.Method + " " + req.URL.RequestURI(), header: req.Header.Clone()}
	if req.Body != nil {
		var err error
		if r.body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		_ = req.Body.Close()
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(r.body))
	}
	s.mu.Lock()
	s.sent = append(s.sent, r)
	s.mu.Unlock()
	return s.next.RoundTrip(req)
}

// hasRecords reports whether a request writes records of images, which have the values of those
// that were asked for.
func (r sentRequest) hasRecords() bool {
	return isRecords(r.name)
}

// isRecords reports whether an object has records of images, or shows them.
func isRecords(name string) bool {
	return strings.Contains(name, "/images.jsonl") || strings.Contains(name, "/.work/units/") || strings.Contains(name, "/pages/") && strings.Contains(name, "/images-")
}

// withoutRecorded is records of images, or a page of them, without the subject that was asked for.
func withoutRecorded(content []byte, subject string) []byte {
	content = bytes.ReplaceAll(content, []byte(`"subject":"`+subject+`"`), nil)
	return bytes.ReplaceAll(content, []byte("<dt><bdi>subject</bdi></dt><dd><bdi>"+subject+"<"), nil)
}

// checkSent checks all requests; records of images may have the one value that was asked for.
func (p publishedNowhere) checkSent(t *testing.T, s *sentRequests, askedFor string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	tagged, sealed := 0, 0
	for _, r := range s.sent {
		r.header.Del("Authorization") // a signature; what it signs with is looked for below
		if r.header.Get("X-Amz-Tagging") != "" {
			tagged++
		}
		if r.header.Get("X-Amz-Meta-Cv-Seal") != "" {
			sealed++
		}
		p.check(t, r.name, []byte(r.name))
		for name, values := range r.header {
			p.check(t, r.name+", "+name, []byte(strings.Join(values, "\n")))
		}
		body := r.body
		if r.hasRecords() {
			body = withoutRecorded(body, askedFor)
		}
		p.check(t, r.name+", body", body)
	}
	if tagged == 0 || sealed == 0 {
		t.Errorf("of %d requests %d had tags, and %d metadata", len(s.sent), tagged, sealed)
	}
}

// Values of image_metadata are personal data, and keys and signed links are secrets. The former are
// in commands, dead letters and image records only, and the latter nowhere, whether the command
// works, is refused, finds nothing or fails. What must be named has a pseudonym, or none.
func TestMetadataValuesAndSecretsAreToldToNobody(t *testing.T) {
	t.Parallel()
	for name, key := range map[string][]byte{"without a key": nil, "with a key": []byte("a key of the operator's")} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}, ackWait: redelivery})
			heard := w.recordMessages(t)
			pseudonym := contract.NewPseudonymizer(key)
			// The replica dies with the working objects of the first export in place, so that those
			// are seen, too.
			configure := func(o *handler.Config) { o.Pseudonym = *pseudonym }
			f := newFate("DeleteObjects found/.work/cut.json#1", false)
			r := w.start(t, replicaOptions{fate: f, configure: configure})
			values := []string{"Jane Q. Public", `Zoë "Z" Ångström`, "4711-0815-secret"}
			w.api.AddProject(cvtest.ProjectSpec{
				Images: 4, Untagged: 2, Iterations: []cvtest.IterationSpec{{DropFromWorkspace: 1}}, ImageBytes: cvtest.Tiny,
				Metadata: func(i int) map[string]string { return map[string]string{"subject": values[i%len(values)]} },
			})
			command := func(scope, value string) string {
				return fmt.Sprintf(`{%s,"image_metadata":[{"subject":%s},{"subject":"nobody","site":%s}]}`, scope, encode(t, value), encode(t, value))
			}
			objects := map[string][]byte{}
			look := func() {
				for name, content := range w.fetch(t, "") {
					objects[name] = content
				}
			}

			// Errors that are met are logged, and what was asked for with them.
			w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Times: 2, Status: 503})
			w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Path: "/i-", Call: 2, Times: 3, CutBody: true})
			w.api.Fault(cvtest.Fault{Operation: "GetTaggedImages", Times: 9, Reset: true})
			h := w.publish(t, "export", "found", command(`"all_projects":true`, values[0]))
			<-f.died
			r.stop()
			w.api.ClearFaults()
			look()
			if len(objects["found/.work/cut.json"]) == 0 {
				t.Fatal("there are no working objects to be looked at")
			}
			// Fault after fault, so that there are error messages, too.
			r = w.start(t, replicaOptions{configure: func(o *handler.Config) {
				configure(o)
				o.MaxAttempts = 1
			}})
			// The dead replica's delivery comes back after the ack wait: the rest goes first.
			w.api.Fault(cvtest.Fault{Operation: "GetUntaggedImages", Times: -1, Status: 400, Code: "BadRequest"})
			r.faults.Add(sinktest.Fault{Op: "PutObject", Key: "fails/export/*", Times: -1, Status: http.StatusInternalServerError})
			for _, c := range []struct {
				id, data string
				want     contract.Status
			}{
				{"fails", command(`"all_projects":true`, values[1]), contract.StatusFailed},
				{"missing", command(`"project_ids":["00000000-1111-4222-8333-444444444444"]`, values[2]), contract.StatusFailed},
				{"refused", strings.Replace(command(`"all_projects":true`, values[2]), `"nobody"`, `""`, 1), contract.StatusRefused},
				{"torn", command(`"all_projects":true`, values[2]) + "}", contract.StatusRefused},
				{"elsewhere", command(`"resource":"other","all_projects":true`, values[1]), contract.StatusRefused},
			} {
				if e := w.run(t, c.id, c.data); e.Status != c.want {
					t.Errorf("%s ended %s: %v", c.id, e.Status, e.Error)
				}
			}
			w.api.ClearFaults()
			if e := w.run(t, "nothing", command(`"all_projects":true`, "4711-0815-SECRET")); e.Outcome != contract.OutcomeNothingFound {
				t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			values = append(values, "4711-0815-SECRET")
			if e := w.wait(t, h); e.Status != contract.StatusCompleted || e.Counts.Images != 2 {
				t.Errorf("ended %s with %+v: %v", e.Status, e.Counts, e.Error)
			}
			r.stop()
			look()

			nowhere := publishedNowhere{values, []string{w.api.Key(), w.s3.SecretKey, "sig=", "Authorization"}}
			records := 0
			for name, content := range objects {
				if isRecords(name) {
					records += bytes.Count(content, []byte(values[0]))
					// The values of images that were not asked for are not recorded at all.
					content = withoutRecorded(content, values[0])
				}
				nowhere.check(t, name, content)
			}
			if records == 0 {
				t.Error("no image record was looked at")
			}
			nowhere.checkMessages(t, heard, "cv.commands", "cv.dead", "cv.events", "cv.work", "cv.ledger", "$KV.CV_JOBS")
			nowhere.check(t, "the log", []byte(w.log.String()))
			if !strings.Contains(w.log.String(), "missing") {
				t.Error("the log holds nothing to be looked at")
			}

			// What stands for them.
			request := string(objects["found/export/evidence/request.json"])
			if want := fmt.Sprintf(`"subject":%q`, pseudonym.Value(values[0])); !strings.Contains(request, want) {
				t.Errorf("request.json is %s, without %s", request, want)
			}
			if key != nil && pseudonym.Value(values[0]) == pseudonym.Value(values[1]) {
				t.Error("two values have one pseudonym")
			}
		})
	}
}

// Deletes by metadata tell no value either: not in the plan, the ledger, the certificate or the
// evidence of a failure, nor in keys, metadata and tags of objects. A dry run, a delete after an
// export, one that fails half-way and one that is refused leave a pseudonym, or none.
func TestMetadataValuesOfDeletesAreToldToNobody(t *testing.T) {
	t.Parallel()
	for name, key := range map[string][]byte{"without a key": nil, "with a key": []byte("a key of the operator's")} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 6}})
			heard := w.recordMessages(t)
			sent := &sentRequests{next: w.s3.Transport()}
			pseudonym := contract.NewPseudonymizer(key)
			values := []string{"Jane Q. Public", `Zoë "Z" Ångström`, "4711-0815-secret"}
			w.api.AddProject(cvtest.ProjectSpec{
				Images: 4, Untagged: 2, Iterations: []cvtest.IterationSpec{{DropFromWorkspace: 1}}, ImageBytes: cvtest.Tiny,
				Metadata: func(i int) map[string]string { return map[string]string{"subject": values[i%len(values)]} },
			})
			r := w.start(t, replicaOptions{faults: sinktest.NewFaults(sent), configure: func(o *handler.Config) {
				noWait(o)
				o.Pseudonym, o.MaxAttempts, o.Deletes = *pseudonym, 1, contract.DeletesEnabled
			}})
			by := func(value, more string) string {
				return fmt.Sprintf(`{"all_projects":true,"image_metadata":{"subject":%s}%s}`, encode(t, value), more)
			}
			refuses := cvtest.Fault{Operation: "DeleteImages", Times: -1, Status: 400, Code: "BadRequest"}
			for _, c := range []struct {
				id, data string
				fault    *cvtest.Fault
				want     contract.Status
			}{
				{"planned", by(values[0], `,"dry_run":true`), &cvtest.Fault{Operation: "GetTaggedImages", Times: 2, Reset: true}, contract.StatusCompleted},
				{"refused", by(values[0], `,"approved_plan":"`+strings.Repeat("0", 64)+`"`), nil, contract.StatusRefused},
				{"broken", by(values[1], ""), &refuses, contract.StatusFailed},
				{"erased", by(values[0], `,"export_first":true`), &cvtest.Fault{Operation: "DeleteImages", Times: 1, Status: 503}, contract.StatusCompleted},
			} {
				if c.fault != nil {
					w.api.Fault(*c.fault)
				}
				if e := w.delete(t, c.id, c.data); e.Status != c.want {
					t.Errorf("%s ended %s: %v", c.id, e.Status, e.Error)
				}
				w.api.ClearFaults()
			}
			r.stop()
			nowhere := publishedNowhere{values, []string{w.api.Key(), w.s3.SecretKey, "sig="}}
			nowhere.checkSent(t, sent, values[0])
			nowhere.checkMessages(t, heard, "cv.commands", "cv.dead", "cv.events", "cv.work", "cv.ledger", "$KV.CV_JOBS")
			nowhere.check(t, "the log", []byte(w.log.String()))
			files := w.fetch(t, "")
			for _, name := range []string{"planned/delete/evidence/plan.json", "broken/delete/evidence/failure.json", "erased/delete/index.html", "erased/export/receipt.json"} {
				if len(files[name]) == 0 {
					t.Errorf("%s is not there to be looked at", name)
				}
			}
			if want := fmt.Sprintf(`"subject":%q`, pseudonym.Value(values[0])); !strings.Contains(string(files["erased/delete/receipt.json"]), want) {
				t.Errorf("the receipt is %s, without %s", files["erased/delete/receipt.json"], want)
			}
		})
	}
}
