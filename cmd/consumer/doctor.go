package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/shortage"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
)

type doctorCmd struct {
	outputFlag `embed:""`
	Settings   serviceSettings `embed:""`
}

// Help implements kong.HelpProvider.
func (doctorCmd) Help() string {
	return "Takes the settings of consumer run, and tries NATS, the bucket and the Training API with them as the service does. It may run beside the service: what it writes has names of its own, and is removed again. " +
		"It calls the Training API three times at most for each resource. Exits 0 when all is well, 2 when settings are wrong, 5 when something that is needed cannot be used."
}

// Results of what the doctor tries.
const (
	resultOK      = "ok"
	resultNote    = "note"    // it works, but not as it should, or with less than commands may ask for
	resultFailed  = "failed"  // the service cannot work like this
	resultSkipped = "skipped" // something else has to work first
)

// finding is what the doctor found out about one thing.
type finding struct {
	Check    string `json:"check"` // what was tried
	Result   string `json:"result"`
	Detail   string `json:"detail"`
	Setting  string `json:"setting,omitempty"`  // the variable to look at first
	Cure     string `json:"cure,omitempty"`     // what to do
	Document string `json:"document,omitempty"` // where to read more
}

// doctor tries what the service needs, and notes on the way what servers say of the time.
type doctor struct {
	c   config
	now func() time.Time

	mu   sync.Mutex
	skew map[string]time.Duration // how far the clocks of servers are ahead of this machine's
}

// area is a part of the settings, and the dependency that they are for.
type area struct {
	check    string
	document string
	prefixes []string // of its variables
}

// Areas of the settings. Each variable belongs to the first one that has a prefix of it.
var (
	areaNATS    = area{"nats", "docs/operators.md#nats", []string{"NATS_", "CONSUMER_NATS_", "CONSUMER_SUBJECT_PREFIX", "CONSUMER_PROVISION", "CONSUMER_REPLICAS", "CONSUMER_STREAM_MAX_BYTES", "CONSUMER_TRACE_RETENTION"}}
	areaVision  = area{"training", "docs/operators.md#custom-vision", []string{"VISION_", "AZURE_", "CONSUMER_RESOURCES", "CONSUMER_MAX_RPS", "CONSUMER_BLOB_HOSTS", "CONSUMER_ALLOW_HTTP", "CONSUMER_PERFORMANCE_"}}
	areaStorage = area{"storage", "docs/operators.md#storage", []string{"AWS_", "CONSUMER_BUCKET", "CONSUMER_WORK_BUCKET", "CONSUMER_PREFIX", "CONSUMER_ADOPT_PREFIX", "CONSUMER_S3_", "CONSUMER_SSE", "CONSUMER_OBJECT_LOCK_MODE"}}
	areaTraces  = area{"traces", "docs/traces.md", []string{"OTEL_"}}
	areaService = area{"service", "docs/operators.md#service", nil}
)

// has reports whether a variable belongs to the area.
func (a area) has(variable string) bool {
	return slices.ContainsFunc(a.prefixes, func(prefix string) bool { return strings.HasPrefix(variable, prefix) })
}

// areaOf is the area of a variable.
func areaOf(variable string) area {
	for _, a := range []area{areaNATS, areaVision, areaStorage, areaTraces} {
		if a.has(variable) {
			return a
		}
	}
	return areaService
}

// Run tries everything and prints what it found.
func (c doctorCmd) Run(p *program) error {
	conf, wrong := c.Settings.check(p.ctx, p.env)
	d := &doctor{c: conf, now: time.Now, skew: map[string]time.Duration{}} //nolint:forbidigo // the process's clock enters here
	var all []finding
	show := func(found ...finding) {
		all = append(all, found...)
		for _, f := range found {
			if !c.json() {
				f.print(p)
			}
		}
	}
	for group := range d.examine(p.ctx, wrong) {
		show(group...)
	}
	if p.ctx.Err() != nil {
		return fmt.Errorf("%w: what was tried is removed", context.Cause(p.ctx))
	}
	failed := slices.ContainsFunc(all, func(f finding) bool { return f.Result == resultFailed })
	if c.json() {
		if err := printJSON(p.stdout, map[string]any{"ok": !failed, "checks": all}); err != nil {
			return err
		}
	}
	switch {
	case len(wrong) > 0:
		return printedError{errSettings}
	case failed:
		return printedError{errUnreachable}
	}
	return nil
}

// examine gives the findings, in groups and in a fixed order, each as soon as it is there.
func (d *doctor) examine(ctx context.Context, wrong problems) iter.Seq[[]finding] {
	var reached triedNATS
	groups := []func() []finding{func() []finding { return d.settings(wrong) }}
	natsTried := make(chan struct{})
	groups = append(groups, func() []finding {
		defer close(natsTried)
		if blocked(wrong, areaNATS) {
			return []finding{areaNATS.skipped()}
		}
		return d.tryNATS(ctx, &reached)
	}, func() []finding {
		if blocked(wrong, areaStorage) {
			return []finding{areaStorage.skipped()}
		}
		return d.tryStorage(ctx, func() *triedNATS { <-natsTried; return &reached })
	})
	if blocked(wrong, areaVision) {
		groups = append(groups, func() []finding { return []finding{areaVision.skipped()} })
	} else {
		for _, r := range d.c.Resources {
			groups = append(groups, func() []finding { return d.tryTraining(ctx, r) })
		}
	}
	groups = append(groups, func() []finding { return d.trySigning(ctx) }, func() []finding { return d.tryHost() })
	return func(yield func([]finding) bool) {
		defer reached.close()
		results := make([]chan []finding, len(groups))
		for i, try := range groups {
			results[i] = make(chan []finding, 1)
			go func() { results[i] <- try() }()
		}
		stopped := false
		for _, r := range results {
			found := <-r
			stopped = stopped || !yield(found)
		}
		if !stopped {
			yield(d.clock())
		}
	}
}

// blocked reports whether settings of an area are wrong, so that trying it would tell nothing.
func blocked(wrong problems, a area) bool {
	return slices.ContainsFunc(wrong, func(p problem) bool { return a.has(p.variable) })
}

func (a area) skipped() finding {
	return finding{Check: a.check, Result: resultSkipped, Detail: "not tried, because its settings are wrong: correct them first"}
}

// settings are the findings about the settings themselves.
func (d *doctor) settings(wrong problems) []finding {
	var found []finding
	for _, p := range wrong.sorted() {
		found = append(found, finding{Check: p.variable, Result: resultFailed, Detail: p.what, Setting: p.variable, Document: areaOf(p.variable).document})
	}
	files := d.c.keyFiles()
	for _, path := range openKeyFiles(files) {
		found = append(found, finding{Check: "settings", Result: resultNote, Detail: "every user of this machine may read " + path, Setting: files[path], Cure: closeKeyFile, Document: "docs/security.md"})
	}
	if len(wrong) == 0 {
		found = slices.Insert(found, 0, finding{Check: "settings", Result: resultOK, Detail: "all can be read"})
	}
	return found
}

// works is the finding that something works.
func works(check, format string, args ...any) finding {
	return finding{Check: check, Result: resultOK, Detail: fmt.Sprintf(format, args...)}
}

// documentName finds the document that a cure names.
var documentName = regexp.MustCompile(`docs/[a-z]+\.md`)

// failure is the finding that something does not work, in the words of /readyz.
func (a area) failure(check string, err error) finding {
	f := finding{Check: check, Result: resultFailed, Detail: err.Error(), Document: a.document}
	var c *cured
	if !errors.As(err, &c) {
		return f
	}
	f.Detail, f.Setting, f.Cure = strings.TrimSuffix(f.Detail, "; "+c.cure), c.setting, c.cure
	if page := documentName.FindString(c.cure); page != "" {
		f.Document = page
	} else if f.Setting != "" {
		f.Document = areaOf(f.Setting).document
	}
	return f
}

// trySigning tries the key of receipts, and the time stamp authority.
func (d *doctor) trySigning(ctx context.Context) []finding {
	if d.c.Signing == nil {
		return []finding{{Check: "signing", Result: resultNote, Detail: "receipts will not be signed", Setting: "CONSUMER_SIGNING_KEY_FILE", Cure: "make a key pair with consumer keys new", Document: "docs/operators.md#signed-receipts"}}
	}
	key, err := d.c.Signing.Key()
	if err != nil {
		return nil // settings tells of it
	}
	found := []finding{works("signing", "receipts will be signed with key %s", key.ID())}
	if d.c.Signing.Authority == nil {
		return found
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err = d.c.Signing.Try(ctx)
	if err == nil {
		return append(found, works("timestamp", "the authority gives time stamps"))
	}
	f := areaService.failure("timestamp", d.c.explain(delivery.DependencyTimestamp, err))
	if d.c.Signing.Policy() == signature.Optional {
		f.Result, f.Cure = resultNote, "receipts go without time stamps meanwhile"
	}
	return append(found, f)
}

// tryHost looks whether this machine lacks anything; see package shortage.
func (d *doctor) tryHost() []finding {
	dir := os.TempDir()
	if err := shortage.Check(dir, nil); err != nil {
		return []finding{{Check: "host", Result: resultFailed, Detail: err.Error(), Cure: "free what is short", Document: "docs/operators.md#service"}}
	}
	return []finding{works("host", "files can be written in %s", dir)}
}

// maxSkew is how far a clock may be off: tokens, signatures of S3 and times of commands depend on
// clocks.
const maxSkew = time.Minute

// noteTime records the time that a server gives.
func (d *doctor) noteTime(server string, date time.Time) {
	if date.IsZero() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.skew[server] = date.Sub(d.now()).Round(time.Second)
}

// clock compares this machine's clock with those of the servers.
func (d *doctor) clock() []finding {
	d.mu.Lock()
	defer d.mu.Unlock()
	var found []finding
	for _, server := range slices.Sorted(maps.Keys(d.skew)) {
		if off := d.skew[server]; off.Abs() > maxSkew {
			found = append(found, finding{Check: "clock", Result: resultFailed, Detail: fmt.Sprintf("this machine's clock is %s %s that of %s", off.Abs(), map[bool]string{true: "behind", false: "ahead of"}[off > 0], server),
				Cure: "set the clock of this machine (NTP)", Document: "docs/operators.md#before-you-start"})
		}
	}
	switch {
	case len(found) > 0:
		return found
	case len(d.skew) == 0:
		return []finding{{Check: "clock", Result: resultSkipped, Detail: "no server said what time it is"}}
	}
	return []finding{works("clock", "agrees with %s", strings.Join(slices.Sorted(maps.Keys(d.skew)), ", "))}
}

// print prints a finding for people.
func (f finding) print(p *program) {
	const indent = 9
	color := map[string]string{resultOK: green, resultNote: yellow, resultFailed: red}[f.Result]
	lines := []string{plainText(p.screen.wrap(f.Check+": "+f.Detail, indent, indent))}
	for _, one := range []struct{ name, text string }{{"setting", f.Setting}, {"to do", f.Cure}, {"see", f.Document}} {
		if one.text != "" && one.text != f.Check {
			lines = append(lines, plainText(fmt.Sprintf("%-*s%-9s%s", indent, "", one.name, p.screen.wrap(one.text, 2*indent, 2*indent))))
		}
	}
	result := f.Result
	if color != "" {
		result = p.screen.paint(color, f.Result)
	}
	fmt.Fprintf(p.raw, "%s%s%s\n", result, strings.Repeat(" ", indent-len(f.Result)), strings.Join(lines, "\n"))
}
