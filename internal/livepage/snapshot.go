package livepage

import (
	"bytes"
	_ "embed" // the page
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/cvconsumer/cvconsumer/internal/human"
	"github.com/cvconsumer/cvconsumer/internal/webpage"
)

// Snapshot is what the page shows.
type Snapshot struct {
	At              time.Time
	Version         string
	Ready, Stopping bool
	Dependencies    []Dependency // by name
	Queue           *Queue       // nil: not known
	Rates           []Rate       // of this process
	Problem         string       // why jobs and queue are not known, or may be old

	Unended, Waiting int   // jobs, those that are not shown included
	AtLeast          bool  // there may be more of them
	Active           []Job // those that have not ended
	Ended            []Job
}

// Dependency is the health of one thing that the service needs.
type Dependency struct {
	Name   string
	OK     bool
	Reason string // why it is not
	Since  time.Time
	Notes  []string
}

// Queue is what JetStream holds.
type Queue struct {
	Commands, Units, Dead int64
	Oldest                time.Duration // age of the oldest command
}

// Rate is how much of something there is each second.
type Rate struct {
	Name      string
	PerSecond float64
	Bytes     bool // it is bytes that are counted
}

//go:embed page.html
var pageText string

// page has the whole page, and its parts by their names.
var page = webpage.MustParse(funcs, webpage.Text{Name: "page", Text: pageText})

// funcs are the functions of the page.
var funcs = webpage.Funcs{
	"text": shown, "clock": clock, "stamp": stamp, "bytes": human.Bytes, "rate": rate, "age": age, "percent": Job.Percent,
	"byterate": func(n float64) string { return human.Bytes(int64(n)) + "/s" },
	"part":     func(rendered webpage.HTML) webpage.HTML { return rendered },
}

// parts are the parts of the page that change, in order. Each is an element with its id.
var parts = []string{"status", "dependencies", "queue", "active", "ended"}

// maxText bounds texts from outside on the page, in runes.
const maxText = 300

// shown is a text from outside as the page shows it. Characters that cannot be seen become spaces,
// since some of them change the direction of text. The template escapes the rest.
func shown(text string) string {
	runes := []rune(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text))
	if len(runes) > maxText {
		return string(runes[:maxText-1]) + "…"
	}
	return string(runes)
}

// clock is a time as people read it.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// stamp is a time as programs read it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// age is a duration in coarse steps, so that the page seldom changes for it.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d h", d/time.Hour)
}

// rate is a number a second.
func rate(n float64) string {
	if n >= 10 {
		return fmt.Sprintf("%.0f/s", n)
	}
	return fmt.Sprintf("%.1f/s", n)
}

// rendered is a part of the page as it was rendered last.
type rendered struct {
	html    webpage.HTML
	message string // the part as a member of a JSON object: "name":"html"
	changed uint64 // the version of the page that changed it last
}

// view is the page as it is now: what all viewers see.
type view struct {
	version uint64
	parts   []rendered // as parts has them
}

// next is the view after a snapshot.
func (v view) next(s Snapshot) (view, error) {
	n := view{version: v.version + 1, parts: make([]rendered, len(parts))}
	for i, name := range parts {
		var b bytes.Buffer
		if err := page.Execute(&b, name, s, nil); err != nil {
			return v, fmt.Errorf("render %s: %w", name, err)
		}
		part := webpage.HTML(b.String()) // a template made it
		if len(v.parts) > 0 && v.parts[i].html == part {
			n.parts[i] = v.parts[i]
			continue
		}
		key, _ := json.Marshal(name) // a string
		value, err := json.Marshal(string(part))
		if err != nil {
			return v, fmt.Errorf("encode %s: %w", name, err)
		}
		n.parts[i] = rendered{part, string(key) + ":" + string(value), n.version}
	}
	return n, nil
}

// since is the message for a viewer that has an earlier version: the parts that changed; empty if
// none did.
func (v view) since(version uint64) string {
	var changed []string
	for _, p := range v.parts {
		if p.changed > version {
			changed = append(changed, p.message)
		}
	}
	if len(changed) == 0 {
		return ""
	}
	return "{" + strings.Join(changed, ",") + "}"
}
