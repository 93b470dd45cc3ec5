package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	vm "github.com/VictoriaMetrics/metrics"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
)

// countDelivery counts a delivery, the nth of its message, and what handle decides about it.
func (m *metrics) countDelivery(queue string, nth uint64, handle func() delivery.Disposition) delivery.Disposition {
	busy := m.busy.with(queue)
	busy.Inc()
	defer busy.Dec()
	if nth > 1 {
		m.redeliveries.with(queue).Inc()
	}
	d := handle()
	m.deliveries.with(queue, d.Verb.String()).Inc()
	return d
}

// countUnit is countDelivery for a unit.
func (m *metrics) countUnit(u delivery.UnitDelivery, handle func() delivery.Disposition) delivery.Disposition {
	d := m.countDelivery(queueWork, u.Delivered, handle)
	m.units.with(within(kinds, handler.UnitKind(u.Body)), d.Verb.String()).Inc()
	return d
}

// countedQueue counts terminal events and dead letters as they are published, and makes spans of
// that; and it counts ends that left objects behind as they are decided.
type countedQueue struct {
	*natsq.Queue
	m *metrics
}

// parts is the queue as a handler sees it.
func (q countedQueue) parts() handler.Queue {
	return handler.Queue{Jobs: q, Commands: q, Units: q, Notices: q, Ledger: q, Events: q, Holds: q, Secrets: q}
}

// PutJob implements handler.JobStore.
func (q countedQueue) PutJob(ctx context.Context, j contract.Job, rev uint64) (uint64, error) {
	rev, err := q.Queue.PutJob(ctx, j, rev)
	if err == nil && j.State.Terminal() && j.LeftBehind != "" {
		q.m.left.with(string(j.Action)).Inc()
	}
	return rev, err
}

// PublishEvent implements handler.Publisher.
func (q countedQueue) PublishEvent(ctx context.Context, e contract.Event) error {
	err := tracedEvent(ctx, e, func(ctx context.Context) error { return q.Queue.PublishEvent(ctx, e) })
	if err == nil && e.Data.Status.Terminal() {
		q.m.countEnd(e.Data)
	}
	return err
}

// PublishDead implements handler.Publisher.
func (q countedQueue) PublishDead(ctx context.Context, d contract.DeadLetter) error {
	err := tracedPublish(ctx, "dead letter", d.ID, func(ctx context.Context) error { return q.Queue.PublishDead(ctx, d) })
	if err == nil {
		q.m.letters.with(string(d.Action)).Inc()
	}
	return err
}

// countEnd counts a command that has ended.
func (m *metrics) countEnd(d contract.EventData) {
	action := string(d.Action)
	m.commands.with(action, string(d.Status)).Inc()
	if d.Error != nil {
		m.failures.with(action, within(codes, d.Error.Code)).Inc()
	}
	if d.StartedAt != nil && d.FinishedAt != nil {
		m.durations.with(action).Update(d.FinishedAt.Sub(*d.StartedAt).Seconds())
	}
	if d.Action != contract.ActionDelete || d.Outcome == contract.OutcomePlanned {
		return
	}
	switch {
	case d.Status == contract.StatusCompleted:
		m.verifications.with(resultVerified).Inc()
	case d.Error != nil && d.Error.Code == contract.CodeUnverified:
		m.verifications.with(resultUnverified).Inc()
	}
	for category, n := range categories(d.Counts) {
		m.deleted.with(category).AddInt64(n)
	}
}

// roundTripper is a function as an http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// countTraining counts what goes to a resource's Training API and to the blobs it links to. It fits
// cv.Options.Wrap.
func (m *metrics) countTraining(alias string) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			began := time.Now() //nolint:forbidigo // how long it takes is measured, not decided on
			resp, err := next.RoundTrip(req)
			if operation, ok := operationOf(req); ok {
				m.latency.with(alias, operation).Update(time.Since(began).Seconds()) //nolint:forbidigo // as above
				m.calls.with(alias, operation, statusOf(resp)).Inc()
				if resp != nil && resp.StatusCode == http.StatusTooManyRequests {
					m.throttled.with(alias).Inc()
				}
				m.countRetry(sideTraining, resp, err)
				return resp, err
			}
			m.blobs.with(alias, statusOf(resp)).Inc()
			m.countRetry(sideBlob, resp, err)
			if resp != nil && resp.Body != nil {
				resp.Body = &countedBody{ReadCloser: resp.Body, bytes: m.blobBytes.with(alias)}
			}
			return resp, err
		})
	}
}

// countStorage counts S3 requests, and the bytes of their bodies.
func (m *metrics) countStorage(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		m.stores.with(within(methods, req.Method), statusOf(resp)).Inc()
		m.countRetry(sideStorage, resp, err)
		if resp != nil {
			m.stored.with(sent).AddInt64(max(req.ContentLength, 0))
		}
		if resp != nil && resp.Body != nil {
			resp.Body = &countedBody{ReadCloser: resp.Body, bytes: m.stored.with(received)}
		}
		return resp, err
	})
}

// countRetry counts an exchange that has to be retried.
func (m *metrics) countRetry(side string, resp *http.Response, err error) {
	status := 0
	if resp != nil {
		status = resp.StatusCode
	}
	if err != nil || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= http.StatusInternalServerError {
		m.retries.with(side).Inc()
	}
}

// countedBody counts the bytes read from a body.
type countedBody struct {
	io.ReadCloser
	bytes *vm.Counter
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.bytes.Add(n)
	return n, err //nolint:wrapcheck // an io.Reader's error is its reader's
}

// apiMarker is part of the path of every Training API call and of nothing else.
const apiMarker = "/customvision/" + cv.APIVersion + "/training/"

// operations names the Training API's operations by method and the words of their path.
var operations = map[string]string{
	"GET domains":                                          "GetDomains",
	"GET domains/*":                                        "GetDomain",
	"GET projects":                                         "GetProjects",
	"GET projects/*":                                       "GetProject",
	"DELETE projects/*":                                    "DeleteProject",
	"GET projects/*/artifacts":                             "GetArtifact",
	"GET projects/*/iterations":                            "GetIterations",
	"GET projects/*/iterations/*":                          "GetIteration",
	"DELETE projects/*/iterations/*":                       "DeleteIteration",
	"DELETE projects/*/iterations/*/publish":               "UnpublishIteration",
	"GET projects/*/iterations/*/performance":              "GetIterationPerformance",
	"GET projects/*/iterations/*/performance/images":       "GetImagePerformances",
	"GET projects/*/iterations/*/performance/images/count": "GetImagePerformanceCount",
	"GET projects/*/iterations/*/export":                   "GetExports",
	"GET projects/*/tags":                                  "GetTags",
	"GET projects/*/tags/*":                                "GetTag",
	"DELETE projects/*/tags/*":                             "DeleteTag",
	"GET projects/*/images":                                "GetImages",
	"GET projects/*/images/count":                          "GetImageCount",
	"GET projects/*/images/tagged":                         "GetTaggedImages",
	"GET projects/*/images/tagged/count":                   "GetTaggedImageCount",
	"GET projects/*/images/untagged":                       "GetUntaggedImages",
	"GET projects/*/images/untagged/count":                 "GetUntaggedImageCount",
	"GET projects/*/images/id":                             "GetImagesByIds",
	"DELETE projects/*/images":                             "DeleteImages",
	"POST projects/*/predictions/query":                    "QueryPredictions",
	"DELETE projects/*/predictions":                        "DeletePrediction",
}

// operationOf names the Training API operation of a request; false for a download.
func operationOf(req *http.Request) (string, bool) {
	_, rest, ok := strings.Cut(req.URL.Path, apiMarker)
	if !ok {
		return "", false
	}
	words := strings.Split(strings.Trim(rest, "/"), "/")
	for i, w := range words {
		if len(w) == len("00000000-0000-0000-0000-000000000000") && strings.Count(w, "-") == 4 {
			words[i] = "*"
		}
	}
	if operation, ok := operations[req.Method+" "+strings.Join(words, "/")]; ok {
		return operation, true
	}
	return other, true
}
