package main

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
)

// metrics are what /metrics shows. All counters are of this process.
type metrics struct {
	registry *prometheus.Registry

	commands   *prometheus.CounterVec // terminal events published, by action and status
	deliveries *prometheus.CounterVec // deliveries settled, by queue and verb
	busy       *prometheus.GaugeVec   // deliveries being worked on, by queue
	units      *prometheus.CounterVec // units settled, by kind and verb
	calls      *prometheus.CounterVec // Training API exchanges, by resource, operation and status
	blobs      *prometheus.CounterVec // downloads, by resource and status
	blobBytes  *prometheus.CounterVec // bytes downloaded, by resource
	stores     *prometheus.CounterVec // S3 requests, by method and status
	retries    *prometheus.CounterVec // exchanges that have to be retried, by side
	left       *prometheus.CounterVec // commands that ended with objects left behind, by action
	down       *prometheus.GaugeVec   // 1 while a dependency is unavailable
}

// The sides of metrics.retries.
const (
	sideTraining = "training"
	sideBlob     = "blob"
	sideStorage  = "storage"
)

func newMetrics() *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "cvconsumer", Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "cvconsumer", Name: name, Help: help}, labels)
	}
	m := &metrics{
		registry:   prometheus.NewRegistry(),
		commands:   counter("commands_total", "Terminal events published by this process.", "action", "status"),
		deliveries: counter("deliveries_total", "Deliveries settled, by queue (commands, work) and JetStream verb.", "queue", "verb"),
		busy:       gauge("deliveries_in_flight", "Deliveries being worked on, by queue.", "queue"),
		units:      counter("units_total", "Units of work settled, by kind and JetStream verb.", "kind", "verb"),
		calls:      counter("api_calls_total", "Training API exchanges, retries included; status 0: there was no answer.", "resource", "operation", "status"),
		blobs:      counter("blobs_total", "Blob downloads tried; status 0: there was no answer.", "resource", "status"),
		blobBytes:  counter("blob_bytes_total", "Bytes downloaded from blob storage.", "resource"),
		stores:     counter("storage_requests_total", "S3 requests, retries included; status 0: there was no answer.", "method", "status"),
		retries:    counter("retries_total", "Exchanges that failed in a way that is retried, by side (training, blob, storage).", "side"),
		left:       counter("left_behind_total", "Commands that ended with objects in storage that could not be removed: see consumer gc.", "action"),
		down:       gauge("dependency_down", "1 while a dependency is unavailable; /readyz says why.", "dependency"),
	}
	b := build()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "cvconsumer", Name: "build_info", Help: "Always 1; what this binary was made of.",
		ConstLabels: prometheus.Labels{"version": b.Version, "commit": b.Commit, "go": b.Go},
	})
	info.Set(1)
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), info,
		m.commands, m.deliveries, m.busy, m.units, m.calls, m.blobs, m.blobBytes, m.stores, m.retries, m.left, m.down,
	)
	for _, side := range []string{sideTraining, sideBlob, sideStorage} {
		m.retries.WithLabelValues(side)
	}
	m.left.WithLabelValues(string(contract.ActionExport))
	for _, status := range []contract.Status{contract.StatusCompleted, contract.StatusFailed, contract.StatusRefused, contract.StatusCancelled} {
		m.commands.WithLabelValues(string(contract.ActionExport), string(status))
	}
	return m
}

// The queues of metrics.deliveries.
const (
	queueCommands = "commands"
	queueWork     = "work"
)

// countDelivery counts what handle decides about a delivery.
func (m *metrics) countDelivery(queue string, handle func() delivery.Disposition) delivery.Disposition {
	busy := m.busy.WithLabelValues(queue)
	busy.Inc()
	defer busy.Dec()
	d := handle()
	m.deliveries.WithLabelValues(queue, d.Verb.String()).Inc()
	return d
}

// countUnit is countDelivery for a unit.
func (m *metrics) countUnit(u delivery.UnitDelivery, handle func() delivery.Disposition) delivery.Disposition {
	d := m.countDelivery(queueWork, handle)
	m.units.WithLabelValues(handler.UnitKind(u.Body), d.Verb.String()).Inc()
	return d
}

// countedQueue counts terminal events as they are published, and ends that left objects behind as
// they are decided.
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
		q.m.left.WithLabelValues(string(j.Action)).Inc()
	}
	return rev, err
}

// PublishEvent implements handler.Publisher.
func (q countedQueue) PublishEvent(ctx context.Context, e contract.Event) error {
	err := q.Queue.PublishEvent(ctx, e)
	if err == nil && e.Data.Status.Terminal() {
		q.m.commands.WithLabelValues(string(e.Data.Action), string(e.Data.Status)).Inc()
	}
	return err
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
			resp, err := next.RoundTrip(req)
			status := statusOf(resp)
			if operation, ok := operationOf(req); ok {
				m.calls.WithLabelValues(alias, operation, strconv.Itoa(status)).Inc()
				m.countRetry(sideTraining, status, err)
				return resp, err
			}
			m.blobs.WithLabelValues(alias, strconv.Itoa(status)).Inc()
			m.countRetry(sideBlob, status, err)
			if resp != nil && resp.Body != nil {
				resp.Body = &countedBody{ReadCloser: resp.Body, bytes: m.blobBytes.WithLabelValues(alias)}
			}
			return resp, err
		})
	}
}

// countStorage counts S3 requests.
func (m *metrics) countStorage(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		status := statusOf(resp)
		m.stores.WithLabelValues(req.Method, strconv.Itoa(status)).Inc()
		m.countRetry(sideStorage, status, err)
		return resp, err
	})
}

func (m *metrics) countRetry(side string, status int, err error) {
	if err != nil || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= http.StatusInternalServerError {
		m.retries.WithLabelValues(side).Inc()
	}
}

func statusOf(resp *http.Response) int {
	if resp == nil {
		return 0
	}
	return resp.StatusCode
}

// countedBody counts the bytes read from a body.
type countedBody struct {
	io.ReadCloser
	bytes prometheus.Counter
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.bytes.Add(float64(n))
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
	return "other", true
}
