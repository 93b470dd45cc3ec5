package main

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
)

// metrics are what /metrics shows; docs/metrics.md lists them. All counters are of this process.
// Every series is there from the start, so that increase() sees the first of anything: a label has
// a fixed set of values.
type metrics struct {
	registry *prometheus.Registry

	commands      *prometheus.CounterVec   // terminal events published, by action and status
	failures      *prometheus.CounterVec   // those that say refused or failed, by action and error code
	durations     *prometheus.HistogramVec // from the beginning of a command to its end, by action
	verifications *prometheus.CounterVec   // what became of the verification of deletes, by result
	deleted       *prometheus.CounterVec   // things that deletes removed, by category
	letters       *prometheus.CounterVec   // dead letters, by action
	left          *prometheus.CounterVec   // commands that ended with objects left behind, by action

	deliveries   *prometheus.CounterVec // deliveries settled, by queue and verb
	redeliveries *prometheus.CounterVec // deliveries that were not a message's first, by queue
	busy         *prometheus.GaugeVec   // deliveries being worked on, by queue
	units        *prometheus.CounterVec // units settled, by kind and verb
	queued       *prometheus.GaugeVec   // messages in JetStream, by queue
	oldest       prometheus.Gauge       // age of the oldest command, in seconds

	calls     *prometheus.CounterVec   // Training API exchanges, by resource, operation and status
	latency   *prometheus.HistogramVec // of these, by resource and operation
	throttled *prometheus.CounterVec   // those answered 429, by resource
	blobs     *prometheus.CounterVec   // downloads, by resource and status
	blobBytes *prometheus.CounterVec   // bytes downloaded, by resource
	stores    *prometheus.CounterVec   // S3 requests, by method and status
	stored    *prometheus.CounterVec   // bytes to and from S3, by direction
	retries   *prometheus.CounterVec   // exchanges that have to be retried, by side

	down *prometheus.GaugeVec // 1 while a dependency is unavailable
}

// The values of labels.
const (
	sideTraining = "training"
	sideBlob     = "blob"
	sideStorage  = "storage"

	queueCommands = "commands"
	queueWork     = "work"

	sent     = "sent"
	received = "received"

	resultVerified   = "verified"
	resultUnverified = "unverified"

	// other is the value for what is in no set.
	other = "other"
)

var (
	sides    = []string{sideTraining, sideBlob, sideStorage}
	queues   = []string{queueCommands, queueWork}
	actions  = []string{string(contract.ActionExport), string(contract.ActionDelete), string(contract.ActionCancel)}
	endings  = []string{string(contract.StatusCompleted), string(contract.StatusFailed), string(contract.StatusRefused), string(contract.StatusCancelled)}
	codes    = append(contract.Codes(), other)
	verbs    = []string{delivery.Ack.String(), delivery.Nak.String(), delivery.Term.String(), delivery.Abandon.String()}
	kinds    = append(handler.UnitKinds(), other)
	methods  = []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete}
	statuses = []string{"0", "200", "204", "206", "400", "401", "403", "404", "409", "412", "413", "429", "500", "502", "503", "504", other}
)

// Buckets of the histograms, in seconds: from a cancel to an export of a day, and from a call on
// loopback to one that ends at its deadline.
var (
	durationBuckets = []float64{1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600}
	latencyBuckets  = []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}
)

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return register(m, prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "cvconsumer", Name: name, Help: help}, labels))
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return register(m, prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "cvconsumer", Name: name, Help: help}, labels))
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return register(m, prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "cvconsumer", Name: name, Help: help, Buckets: buckets}, labels))
	}
	m.commands = counter("commands_total", "Terminal events published by this process.", "action", "status")
	m.failures = counter("command_errors_total", "Terminal events that say refused or failed, by error code.", "action", "code")
	m.durations = histogram("command_duration_seconds", "From the beginning of a command to its end, waiting included.", durationBuckets, "action")
	m.verifications = counter("delete_verifications_total", "Deletes whose result was seen (verified), or not in time (unverified).", "result")
	m.deleted = counter("deleted_total", "Things that deletes removed.", "category")
	m.letters = counter("dead_letters_total", "Dead letters stored.", "action")
	m.left = counter("left_behind_total", "Commands that ended with objects in storage that could not be removed: see consumer gc.", "action")
	m.deliveries = counter("deliveries_total", "Deliveries settled, by queue (commands, work) and JetStream verb.", "queue", "verb")
	m.redeliveries = counter("redeliveries_total", "Deliveries that were not the first of their message.", "queue")
	m.busy = gauge("deliveries_in_flight", "Deliveries being worked on, by queue.", "queue")
	m.units = counter("units_total", "Units of work settled, by kind and JetStream verb.", "kind", "verb")
	m.queued = gauge("queue_messages", "Messages in JetStream's queue, those at work included; the same on every replica.", "queue")
	m.oldest = gauge("queue_oldest_command_seconds", "Age of the oldest command that has not ended; the same on every replica.").WithLabelValues()
	m.calls = counter("api_calls_total", "Training API exchanges, retries included; status 0: there was no answer.", "resource", "operation", "status")
	m.latency = histogram("api_call_duration_seconds", "Time to the head of the answer of Training API exchanges.", latencyBuckets, "resource", "operation")
	m.throttled = counter("api_throttled_total", "Training API exchanges answered 429.", "resource")
	m.blobs = counter("blobs_total", "Blob downloads tried; status 0: there was no answer.", "resource", "status")
	m.blobBytes = counter("blob_bytes_total", "Bytes downloaded from blob storage.", "resource")
	m.stores = counter("storage_requests_total", "S3 requests, retries included; status 0: there was no answer.", "method", "status")
	m.stored = counter("storage_bytes_total", "Bytes of bodies sent to and received from S3, retries included.", "direction")
	m.retries = counter("retries_total", "Exchanges that failed in a way that is retried, by side (training, blob, storage).", "side")
	m.down = gauge("dependency_down", "1 while a dependency is unavailable; /readyz says why.", "dependency")
	b := build()
	register(m, prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "cvconsumer", Name: "build_info", Help: "Always 1; what this binary was made of.",
		ConstLabels: prometheus.Labels{"version": b.Version, "commit": b.Commit, "go": b.Go},
	})).Set(1)
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.begin()
	return m
}

// register registers a collector.
func register[C prometheus.Collector](m *metrics, c C) C {
	m.registry.MustRegister(c)
	return c
}

// begin makes every series that does not depend on the settings.
func (m *metrics) begin() {
	every(m.commands, actions, endings)
	every(m.failures, actions, codes)
	every(m.verifications, []string{resultVerified, resultUnverified})
	for category := range categories(contract.Counts{}) {
		m.deleted.WithLabelValues(category)
	}
	every(m.letters, actions)
	every(m.left, actions)
	every(m.deliveries, queues, verbs)
	every(m.redeliveries, queues)
	every(m.units, kinds, verbs)
	every(m.stores, methods, statuses)
	every(m.stored, []string{sent, received})
	every(m.retries, sides)
	for _, a := range actions {
		m.durations.WithLabelValues(a)
	}
	for _, q := range queues {
		m.busy.WithLabelValues(q)
		m.queued.WithLabelValues(q)
	}
}

// every makes the series of all combinations of label values.
func every(c *prometheus.CounterVec, values ...[]string) {
	combine(nil, values, func(labels []string) { c.WithLabelValues(labels...) })
}

// combine calls use with each combination of values that begins with these.
func combine(begin []string, values [][]string, use func([]string)) {
	if len(values) == 0 {
		use(begin)
		return
	}
	for _, v := range values[0] {
		combine(append(slices.Clone(begin), v), values[1:], use)
	}
}

// expectResource makes every series of a resource; pace is how many calls a second it may be sent
// now.
func (m *metrics) expectResource(alias string, pace func() float64) {
	resource := []string{alias}
	var names []string
	for _, operation := range operations {
		names = append(names, operation)
	}
	names = append(names, other)
	every(m.calls, resource, names, statuses)
	for _, operation := range names {
		m.latency.WithLabelValues(alias, operation)
	}
	every(m.throttled, resource)
	every(m.blobs, resource, statuses)
	every(m.blobBytes, resource)
	register(m, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "cvconsumer", Name: "api_pace", Help: "Training API calls a second that this process allows itself now.",
		ConstLabels: prometheus.Labels{"resource": alias},
	}, pace))
}

// within is a label's value, or other when it is not in the set.
func within(set []string, value string) string {
	if slices.Contains(set, value) {
		return value
	}
	return other
}

// statusOf is the status of an answer as a label: "0" when there is none.
func statusOf(resp *http.Response) string {
	if resp == nil {
		return "0"
	}
	return within(statuses, strconv.Itoa(resp.StatusCode))
}

// categories are the counts of an event, by category.
func categories(c contract.Counts) map[string]int64 {
	return map[string]int64{
		"projects": c.Projects, "iterations": c.Iterations, "performance": c.Performance, "tags": c.Tags,
		"images": c.Images, "exports": c.Exports, "predictions": c.Predictions,
	}
}

// showBacklog shows what is in the queues, at a time.
func (m *metrics) showBacklog(b natsq.Backlog, now time.Time) {
	m.queued.WithLabelValues(queueCommands).Set(float64(b.Commands))
	m.queued.WithLabelValues(queueWork).Set(float64(b.Units))
	age := 0.0
	if b.Commands > 0 {
		age = max(0, now.Sub(b.Oldest).Seconds())
	}
	m.oldest.Set(age)
}
