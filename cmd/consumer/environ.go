package main

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

// environ is the environment settings are read from. A variable that is set to nothing counts as
// not set.
type environ struct {
	vars  map[string]string
	known []string // the variables that name settings

	contexts map[string]natsContext // that were read, by name
}

func newEnviron(vars []string) *environ {
	e := &environ{vars: make(map[string]string, len(vars))}
	for _, v := range vars {
		name, value, _ := strings.Cut(v, "=")
		if value == "" {
			delete(e.vars, name) // the last of several counts
			continue
		}
		e.vars[name] = value
	}
	return e
}

// get is the value of a variable; empty where it is not set.
func (e *environ) get(name string) string { return e.vars[name] }

// variables are the names of the environment variables a flag may be set by, the first that is set
// counts.
func variables(t *kong.Tag) []string {
	if !t.Has("var") {
		return nil
	}
	return strings.Split(t.Get("var"), ",")
}

// Resolve implements kong.Resolver: the value of a flag that was not given on the command line.
func (e *environ) Resolve(parsed *kong.Context, _ *kong.Path, f *kong.Flag) (any, error) {
	for _, name := range variables(f.Tag) {
		if value, ok := e.vars[name]; ok {
			return value, nil
		}
	}
	if value, err := e.contextValue(parsed, f); value != "" || err != nil {
		return value, err
	}
	return nil, nil
}

// Validate implements kong.Resolver.
func (e *environ) Validate(app *kong.Application) error {
	e.known = slices.Concat(settingNames(app.Node), unsupportedNames())
	return nil
}

// serviceLink matches what Kubernetes puts into every pod beside a Service named "consumer":
// CONSUMER_SERVICE_HOST, CONSUMER_PORT_8080_TCP_ADDR. They are not settings.
var serviceLink = regexp.MustCompile(`^CONSUMER_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// unknown reports CONSUMER_* variables that name no setting, each with the nearest that does. A
// misspelt variable must not silently leave its default in force.
func (e *environ) unknown() problems {
	var p problems
	for name := range e.vars {
		if strings.HasPrefix(name, "CONSUMER_") && !slices.Contains(e.known, name) && !serviceLink.MatchString(name) {
			p.add(name, "is not a setting of this program; did you mean %s?", nearest(name, e.known))
		}
	}
	return p
}

// settingNames are all variables that some flag below n is set by.
func settingNames(n *kong.Node) []string {
	var names []string
	for _, f := range n.Flags {
		names = append(names, variables(f.Tag)...)
	}
	for _, child := range n.Children {
		names = append(names, settingNames(child)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// nearest is the CONSUMER_* name with the least edit distance to name.
func nearest(name string, known []string) string {
	if others := strings.TrimPrefix(name, "CONSUMER_"); slices.Contains(known, others) {
		return others // of NATS, AWS or Custom Vision, which have no prefix
	}
	best, least := "", int(^uint(0)>>1)
	for _, k := range known {
		if !strings.HasPrefix(k, "CONSUMER_") {
			continue
		}
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the Levenshtein distance of two ASCII strings.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(row[j]+1, row[j-1]+1, cost)
		}
	}
	return row[len(b)]
}

// unsupported are settings of features that this version does not have. They are refused, never
// ignored: an operator who sets one relies on it.
var unsupported = []struct{ name, feature string }{
	{"CONSUMER_METADATA_FILTER", "preselection by $filter"},
}

func unsupportedNames() []string {
	names := make([]string, 0, len(unsupported))
	for _, u := range unsupported {
		names = append(names, u.name)
	}
	return names
}

// refuseUnsupported reports settings of features that do not exist yet. A switch that is off asks
// for nothing.
func (e *environ) refuseUnsupported(p *problems) {
	for _, u := range unsupported {
		value, set := e.vars[u.name]
		if on, err := strconv.ParseBool(value); set && (err != nil || on) {
			p.add(u.name, "is not supported yet (%s)", u.feature)
		}
	}
}
