package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	vm "github.com/VictoriaMetrics/metrics"
)

// family is a metric with all its series, in the format of Prometheus.
type family struct {
	name, kind, help string
	labels           []string
	set              *vm.Set
}

// series is the name of a series with its labels in alphabetical order.
func (f *family) series(values []string) string {
	if len(values) != len(f.labels) {
		panic(fmt.Sprintf("%s has labels %v, not %v", f.name, f.labels, values))
	}
	pairs := make([]string, len(values))
	for i, label := range f.labels {
		pairs[i] = label + "=" + strconv.Quote(values[i])
	}
	slices.Sort(pairs)
	if len(pairs) == 0 {
		return f.name
	}
	return f.name + "{" + strings.Join(pairs, ",") + "}"
}

// write writes the series with what they mean; nothing where there is none.
func (f *family) write(w io.Writer) {
	if len(f.set.ListMetricNames()) == 0 {
		return
	}
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
	f.set.WritePrometheus(w)
}

// vec is a family whose series are told apart by the values of its labels.
type vec[T any] struct {
	*family

	create func(series string) T
	mu     sync.RWMutex
	of     map[string]T // by values
}

// with is the series with these values of labels, which it makes if there is none.
func (v *vec[T]) with(values ...string) T {
	key := strings.Join(values, "\x00")
	v.mu.RLock()
	one, ok := v.of[key]
	v.mu.RUnlock()
	if ok {
		return one
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if one, ok = v.of[key]; !ok {
		one = v.create(v.series(values))
		v.of[key] = one
	}
	return one
}

type (
	counters   = vec[*vm.Counter]
	gauges     = vec[*vm.Gauge]
	histograms = vec[*vm.PrometheusHistogram]
)

// total is the sum of all series.
func total(c *counters) float64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	sum := 0.0
	for one := range maps.Values(c.of) {
		sum += float64(one.Get())
	}
	return sum
}

// family adds a metric of this program.
func (m *metrics) family(kind, name, help string, labels ...string) *family {
	f := &family{name: "cvconsumer_" + name, kind: kind, help: help, labels: labels, set: vm.NewSet()}
	m.families = append(m.families, f)
	return f
}

func (m *metrics) counter(name, help string, labels ...string) *counters {
	f := m.family("counter", name, help, labels...)
	return &counters{family: f, create: f.set.NewCounter, of: map[string]*vm.Counter{}}
}

func (m *metrics) gauge(name, help string, labels ...string) *gauges {
	f := m.family("gauge", name, help, labels...)
	return &gauges{family: f, create: func(series string) *vm.Gauge { return f.set.NewGauge(series, nil) }, of: map[string]*vm.Gauge{}}
}

func (m *metrics) histogram(name, help string, buckets []float64, labels ...string) *histograms {
	f := m.family("histogram", name, help, labels...)
	return &histograms{
		family: f, of: map[string]*vm.PrometheusHistogram{},
		create: func(series string) *vm.PrometheusHistogram { return f.set.NewPrometheusHistogramExt(series, buckets) },
	}
}

// write writes all metrics, and those of the Go runtime and of the process.
func (m *metrics) write(w io.Writer) {
	for _, f := range slices.SortedFunc(slices.Values(m.families), func(a, b *family) int { return cmp.Compare(a.name, b.name) }) {
		f.write(w)
	}
	vm.WriteProcessMetrics(w)
}
