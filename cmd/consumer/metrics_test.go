package main

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
)

// metricsPage is the page that documents the metrics, and alertRules the rules of their alerts.
const (
	metricsPage = "../../docs/metrics.md"
	alertRules  = "../../deploy/prometheus/alerts.yml"
)

// readText is a text file of the repository.
func readText(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// ourFamilies are the metrics of this program, by name, as "type label label…".
func ourFamilies(t *testing.T, m *metrics) map[string]string {
	t.Helper()
	ours := map[string]string{}
	for _, f := range m.families {
		if len(f.set.ListMetricNames()) == 0 {
			t.Errorf("%s has no series", f.name)
		}
		ours[f.name] = strings.Join(slices.Insert(slices.Sorted(slices.Values(f.labels)), 0, f.kind), " ")
	}
	return ours
}

// TestMetricsAreDocumented compares docs/metrics.md with the metrics, in both directions: names,
// types and labels.
func TestMetricsAreDocumented(t *testing.T) {
	m := newMetrics()
	m.expectResource(defaultResource, func() float64 { return 1 })
	m.down.with("nats")
	documented := map[string]string{}
	quoted := regexp.MustCompile("`([^`]+)`")
	for _, row := range regexp.MustCompile("(?m)^\\| `(cvconsumer_[a-z_]+)` \\| (\\w+) \\| ([^|]*)\\|").FindAllStringSubmatch(readText(t, metricsPage), -1) {
		labels := []string{}
		for _, l := range quoted.FindAllStringSubmatch(row[3], -1) {
			labels = append(labels, l[1])
		}
		slices.Sort(labels)
		documented[row[1]] = strings.Join(slices.Insert(labels, 0, row[2]), " ")
	}
	have := ourFamilies(t, m)
	for name, is := range have {
		if documented[name] != is {
			t.Errorf("%s is %q, and documented as %q", name, is, documented[name])
		}
	}
	for name := range documented {
		if _, ok := have[name]; !ok {
			t.Errorf("%s is documented, and is not there", name)
		}
	}
}

// TestAlertsAreOfMetrics holds that the rules name metrics that are there, with labels that they
// have, and that docs/metrics.md lists the alerts.
func TestAlertsAreOfMetrics(t *testing.T) {
	m := newMetrics()
	m.expectResource(defaultResource, func() float64 { return 1 })
	m.down.with("nats")
	have, rules := ourFamilies(t, m), readText(t, alertRules)
	for _, use := range regexp.MustCompile(`(cvconsumer_[a-z_]+)(\{[^}]*\})?`).FindAllStringSubmatch(rules, -1) {
		labels := strings.Fields(have[use[1]])
		if len(labels) == 0 {
			t.Errorf("a rule is about %s, which is no metric", use[1])
			continue
		}
		for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(use[2], -1) {
			if !slices.Contains(labels, l[1]) {
				t.Errorf("a rule is about %s of %s, which has no such label", l[1], use[1])
			}
		}
	}
	names := func(pattern, text string) []string {
		var all []string
		for _, found := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			all = append(all, found[1])
		}
		return slices.Sorted(slices.Values(all))
	}
	rulesHave, pageHas := names(`alert: (\w+)`, rules), names("(?m)^\\| `(CVConsumer\\w+)` \\|", readText(t, metricsPage))
	if !slices.Equal(rulesHave, pageHas) {
		t.Errorf("the rules are %v, and documented are %v", rulesHave, pageHas)
	}
}

// series are the names with labels on the page of the metrics that are this program's own.
func (r *running) series(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for line := range strings.Lines(r.page(t, "/metrics")) {
		if strings.HasPrefix(line, "cvconsumer_") {
			all[line[:strings.LastIndexByte(line, ' ')]] = true
		}
	}
	return all
}

// awaitMetric looks at a metric until it has a value: an event is there before it is counted.
func (r *running) awaitMetric(t *testing.T, name, want string) {
	t.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		got := r.metric(t, name)
		if got == want {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s is %q, not %s", name, got, want)
		}
	}
}

// TestEverySeriesIsThereFromTheStart carries out commands that complete, are refused and fail, and
// finds no series after them that was not there before. What they did is counted.
func TestEverySeriesIsThereFromTheStart(t *testing.T) {
	f := newFixture(t, cvtest.Options{Seed: 1})
	project := f.tinyProject().String()
	r := f.start(t)
	before := r.series(t)
	r.await("all is well", isReady)
	for _, c := range []struct {
		exits int
		args  string
	}{
		{exitDone, "export --project " + project + " --id exp"},
		{exitCommand, "export --project " + project + " --resource nowhere --id refused"},
		{exitCommand, "export --project " + f.tinyProject().String() + " --iteration " + project + " --id failed"},
		{exitDone, "jobs cancel unknown"},
		{exitDone, "delete --project " + project + " --yes --id del"},
	} {
		if code, out, errs := f.command(t, strings.Fields(c.args)...); code != c.exits {
			t.Errorf("consumer %s exits %d: %s%s", c.args, code, out, errs)
		}
	}
	for name, want := range map[string]string{
		`cvconsumer_commands_total{action="export",status="completed"}`:                         "1",
		`cvconsumer_command_errors_total{action="export",code="unknown_resource"}`:              "1",
		`cvconsumer_commands_total{action="cancel",status="completed"}`:                         "1",
		`cvconsumer_command_duration_seconds_count{action="delete"}`:                            "1",
		`cvconsumer_delete_verifications_total{result="verified"}`:                              "1",
		`cvconsumer_deleted_total{category="projects"}`:                                         "1",
		`cvconsumer_deleted_total{category="images"}`:                                           "1",
		`cvconsumer_dead_letters_total{action="export"}`:                                        "2",
		`cvconsumer_api_pace{resource="default"}`:                                               "1000",
		`cvconsumer_queue_messages{queue="work"}`:                                               "0",
		`cvconsumer_api_throttled_total{resource="default"}`:                                    "0",
		`cvconsumer_redeliveries_total{queue="commands"}`:                                       "0",
		`cvconsumer_api_calls_total{operation="DeleteProject",resource="default",status="204"}`: "1",
	} {
		r.awaitMetric(t, name, want)
	}
	after := r.series(t)
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if !before[name] {
			t.Errorf("%s was not there before the first command", name)
		}
	}
	r.end()
}
