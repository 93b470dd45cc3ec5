package main

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const dashboardFile = "../../deploy/grafana/dashboard.json"

// dashboard is what a test looks at of Grafana's model.
type dashboard struct {
	Panels []struct {
		ID          int                                   `json:"id"`
		Type        string                                `json:"type"`
		Title       string                                `json:"title"`
		Description string                                `json:"description"`
		Place       struct{ X, Y, W, H int }              `json:"gridPos"`
		Targets     []struct{ Expr, LegendFormat string } `json:"targets"`
	} `json:"panels"`
}

// TestDashboardIsOfMetrics holds that the queries of the dashboard name metrics that are there,
// with labels and values that they have, that its legends name labels that the queries leave, and
// that it shows every metric.
func TestDashboardIsOfMetrics(t *testing.T) {
	m := newMetrics()
	m.expectResource(defaultResource, func() float64 { return 1 })
	m.down.with("nats")
	have, values := ourFamilies(t, m), labelValues(t, m)
	var d dashboard
	if err := json.Unmarshal([]byte(readText(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	var (
		selector = regexp.MustCompile(`(cvconsumer_[a-z_]+|process_[a-z_]+)(\{[^}]*\})?`)
		matcher  = regexp.MustCompile(`(\w+)(=~?)"([^"]*)"`)
		grouping = regexp.MustCompile(`\bby \(([^)]*)\)`)
		legend   = regexp.MustCompile(`\{\{(\w+)\}\}`)
		ofScrape = []string{"job", "instance"} // labels that Prometheus adds
	)
	shown, ids := map[string]bool{}, map[int]bool{}
	for i, p := range d.Panels {
		if ids[p.ID] || p.Title == "" || p.Type != "row" && (p.Description == "" || len(p.Targets) == 0) {
			t.Errorf("panel %d, %q, has an id of another one, or no title, description or query", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, q := range d.Panels[:i] {
			if a, b := p.Place, q.Place; a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("panels %q and %q overlap", p.Title, q.Title)
			}
		}
		for _, target := range p.Targets {
			labels := slices.Clone(ofScrape)
			for _, use := range selector.FindAllStringSubmatch(target.Expr, -1) {
				name := use[1]
				if strings.HasPrefix(name, "process_") {
					continue
				}
				if base := strings.TrimSuffix(name, "_bucket"); strings.HasPrefix(have[base], "histogram") {
					name, labels = base, append(labels, "le")
				}
				is := strings.Fields(have[name])
				if len(is) == 0 {
					t.Errorf("%s: %s is no metric", p.Title, name)
					continue
				}
				shown[name] = true
				labels = append(labels, is[1:]...)
				for _, l := range matcher.FindAllStringSubmatch(use[2], -1) {
					if !slices.Contains(labels, l[1]) || l[2] == "=" && !values[name+" "+l[1]+" "+l[3]] {
						t.Errorf("%s: %s has no label %s=%q", p.Title, name, l[1], l[3])
					}
				}
			}
			left := labels
			if by := grouping.FindStringSubmatch(target.Expr); by != nil {
				left = strings.Split(by[1], ", ")
			}
			for _, l := range left {
				if !slices.Contains(labels, l) {
					t.Errorf("%s: there is no label %s to group by", p.Title, l)
				}
			}
			for _, l := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
				if !slices.Contains(left, l[1]) {
					t.Errorf("%s: the legend names %s, which the query does not leave", p.Title, l[1])
				}
			}
		}
	}
	for name := range have {
		if !shown[name] {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
}

// labelValues has "metric label value" of all series.
func labelValues(t *testing.T, m *metrics) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, f := range m.families {
		for _, series := range f.set.ListMetricNames() {
			for _, l := range regexp.MustCompile(`(\w+)="([^"]*)"`).FindAllStringSubmatch(series, -1) {
				all[f.name+" "+l[1]+" "+l[2]] = true
			}
		}
	}
	return all
}
