//go:build browser

package browser

import (
	"os"
	"sync"
)

// axeVariable names the environment variable with the path of axe-core's axe.min.js.
const axeVariable = "CVCONSUMER_AXE"

// checks is the source of axe-core.
var checks = sync.OnceValues(func() (string, error) {
	source, err := os.ReadFile(os.Getenv(axeVariable))
	return string(source), err //nolint:wrapcheck // Violations names it
})

// Violation is a rule of accessibility that a page breaks.
type Violation struct {
	ID     string   `json:"id"`
	Impact string   `json:"impact"` // minor, moderate, serious or critical
	Help   string   `json:"help"`
	Nodes  []string `json:"nodes"` // what breaks it, as HTML
}

// Violations are what axe-core finds wrong with the page as it is shown now, whatever its impact.
// It needs a page that runs scripts.
func (p *Page) Violations() []Violation {
	p.t.Helper()
	source, err := checks()
	if err != nil {
		p.t.Fatalf("read axe-core: %v; `make browser` gets it by npm, and sets %s", err, axeVariable)
	}
	p.Run(source+";0", nil)
	var found []Violation
	p.Run(`axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations.map(v => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.slice(0, 3).map(n => n.html + " " + (n.failureSummary || ""))})))`, &found)
	return found
}
