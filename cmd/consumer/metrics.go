package main

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	vm "github.com/VictoriaMetrics/metrics"

	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
)

// metrics are what /metrics shows; docs/metrics.md lists them. All counters are of this process.
// Every series is there from the start, so that increase() sees the first of anything: a label has
// a fixed set of values.
type metrics struct {
	families []*family

	commands      *counters   // terminal events published, by action and status
	failures      *counters   // those that say refused or failed, by action and error code
	durations     *histograms // from the beginning of a command to its end, by action
	verifications *counters   // what became of the verification of deletes, by result
	deleted       *counters   // things that deletes removed, by category
	letters       *counters   // dead letters, by action
	left          *counters   // commands that ended with objects left behind, by action

	deliveries   *counters // deliveries settled, by queue and verb
	redeliveries *counters // deliveries that were not a message's first, by queue
	busy         *gauges   // deliveries being worked on, by queue
	units        *counters // units settled, by kind and verb
	queued       *gauges   // messages in JetStream, by queue
	oldest       *vm.Gauge // age of the oldest command, in seconds

	calls     *counters   // Training API exchanges, by resource, operation and status
	latency   *histograms // of these, by resource and operation
	pace      *gauges     // calls a second that are allowed, by resource
	throttled *counters   // those answered 429, by resource
	blobs     *counters   // downloads, by resource and status
	blobBytes *counters   // bytes downloaded, by resource
	stores    *counters   // S3 requests, by method and status
	stored    *counters   // bytes to and from S3, by direction
	retries   *counters   // exchanges that have to be retried, by side

	down *gauges // 1 while a dependency is unavailable
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
	m := &metrics{}
	m.commands = m.counter("commands_total", "Terminal events published by this process.", "action", "status")
	m.failures = m.counter("command_errors_total", "Terminal events that say refused or failed, by error code.", "action", "code")
	m.durations = m.histogram("command_duration_seconds", "From the beginning of a command to its end, waiting included.", durationBuckets, "action")
	m.verifications = m.counter("delete_verifications_total", "Deletes whose result was seen (verified), or not in time (unverified).", "result")
	m.deleted = m.counter("deleted_total", "Things that deletes removed.", "category")
	m.letters = m.counter("dead_letters_total", "Dead letters stored.", "action")
	m.left = m.counter("left_behind_total", "Commands that ended with objects in storage that could not be removed: see consumer gc.", "action")
	m.deliveries = m.counter("deliveries_total", "Deliveries settled, by queue (commands, work) and JetStream verb.", "queue", "verb")
	m.redeliveries = m.counter("redeliveries_total", "Deliveries that were not the first of their message.", "queue")
	m.busy = m.gauge("deliveries_in_flight", "Deliveries being worked on, by queue.", "queue")
	m.units = m.counter("units_total", "Units of work settled, by kind and JetStream verb.", "kind", "verb")
	m.queued = m.gauge("queue_messages", "Messages in JetStream's queue, those at work included; the same on every replica.", "queue")
	m.oldest = m.gauge("queue_oldest_command_seconds", "Age of the oldest command that has not ended; the same on every replica.").with()
	m.calls = m.counter("api_calls_total", "Training API exchanges, retries included; status 0: there was no answer.", "resource", "operation", "status")
	m.latency = m.histogram("api_call_duration_seconds", "Time to the head of the answer of Training API exchanges.", latencyBuckets, "resource", "operation")
	m.throttled = m.counter("api_throttled_total", "Training API exchanges answered 429.", "resource")
	m.blobs = m.counter("blobs_total", "Blob downloads tried; status 0: there was no answer.", "resource", "status")
	m.blobBytes = m.counter("blob_bytes_total", "Bytes downloaded from blob storage.", "resource")
	m.stores = m.counter("storage_requests_total", "S3 requests, retries included; status 0: there was no answer.", "method", "status")
	m.stored = m.counter("storage_bytes_total", "Bytes of bodies sent to and received from S3, retries included.", "direction")
	m.retries = m.counter("retries_total", "Exchanges that failed in a way that is retried, by side (training, blob, storage).", "side")
	m.down = m.gauge("dependency_down", "1 while a dependency is unavailable; /readyz says why.", "dependency")
	b := build()
	m.gauge("build_info", "Always 1; what this binary was made of.", "version", "commit", "go").with(b.Version, b.Commit, b.Go).Set(1)
	m.pace = m.gauge("api_pace", "Training API calls a second that this process allows itself now.", "resource")
	m.begin()
	return m
}

// begin makes every series that does not depend on the settings.
func (m *metrics) begin() {
	every(m.commands, actions, endings)
	every(m.failures, actions, codes)
	every(m.verifications, []string{resultVerified, resultUnverified})
	for category := range categories(contract.Counts{}) {
		m.deleted.with(category)
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
		m.durations.with(a)
	}
	for _, q := range queues {
		m.busy.with(q)
		m.queued.with(q)
	}
}

// every makes the series of all combinations of label values.
func every(c *counters, values ...[]string) {
	combine(nil, values, func(labels []string) { c.with(labels...) })
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
		m.latency.with(alias, operation)
	}
	every(m.throttled, resource)
	every(m.blobs, resource, statuses)
	every(m.blobBytes, resource)
	m.pace.set.GetOrCreateGauge(m.pace.series(resource), pace)
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
	m.queued.with(queueCommands).Set(float64(b.Commands))
	m.queued.with(queueWork).Set(float64(b.Units))
	age := 0.0
	if b.Commands > 0 {
		age = max(0, now.Sub(b.Oldest).Seconds())
	}
	m.oldest.Set(age)
}
