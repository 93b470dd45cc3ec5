package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/cvconsumer/cvconsumer/internal/keyfile"
)

// natsContext is a context of the nats command line (nats context add): the members that this
// program knows, by name. A flag with the tag context takes the member that the tag names, where
// neither flag nor variable is given.
type natsContext map[string]string

// contextError is why a context cannot be used. It is told as it is, not as the error of the flag
// whose value was looked for.
type contextError struct{ error }

// contextIgnored are members of a context that have no effect here.
var contextIgnored = []string{"description", "color_scheme", "jetstream_event_prefix"}

// contextMembers are the members that a flag takes its value from: the first that is set.
func contextMembers(f *kong.Flag) []string {
	if !f.Tag.Has("context") {
		return nil
	}
	return strings.Split(f.Tag.Get("context"), ",")
}

// contextValue is the value of a flag in the context that the command line, or NATS_CONTEXT, names;
// empty when there is none.
func (e *environ) contextValue(parsed *kong.Context, f *kong.Flag) (string, error) {
	members := contextMembers(f)
	name := e.vars["NATS_CONTEXT"]
	if parsed != nil {
		for _, path := range parsed.Path {
			if path.Flag != nil && path.Flag.Name == "context" && !path.Resolved {
				name, _ = parsed.FlagValue(path.Flag).(string)
			}
		}
	}
	if name == "" || len(members) == 0 {
		return "", nil
	}
	c, err := e.loadContext(name)
	if err != nil {
		return "", &contextError{fmt.Errorf("--context (NATS_CONTEXT) %s: %w", name, err)}
	}
	for _, member := range members {
		if c[member] != "" {
			return c[member], nil
		}
	}
	return "", nil
}

// loadContext reads a context once.
func (e *environ) loadContext(name string) (natsContext, error) {
	if c, ok := e.contexts[name]; ok {
		return c, nil
	}
	home := cmp.Or(e.vars["HOME"], e.vars["USERPROFILE"])
	dir := filepath.Join(cmp.Or(e.vars["XDG_CONFIG_HOME"], filepath.Join(home, ".config")), "nats", "context")
	if strings.ContainsAny(name, `/\`) || strings.HasPrefix(name, ".") {
		return nil, errors.New("this is not the name of a context")
	}
	text, err := keyfile.Read(filepath.Join(dir, name+".json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is none in %s; %s", dir, contextsIn(dir))
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the file
	}
	c, err := parseContext(text, home)
	if err != nil {
		return nil, err
	}
	if e.contexts == nil {
		e.contexts = map[string]natsContext{}
	}
	e.contexts[name] = c
	return c, nil
}

// contextsIn lists the contexts of a folder, for an error.
func contextsIn(dir string) string {
	files, _ := filepath.Glob(filepath.Join(dir, "*.json")) // only a hint
	if len(files) == 0 {
		return "make one with nats context add"
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".json")
	}
	return "there are " + strings.Join(files, ", ")
}

// parseContext reads a context. A member that this program does not support is an error: without it
// the program might reach another server, or be another user.
func parseContext(text []byte, home string) (natsContext, error) {
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, errors.New("it is not a JSON object") // not quoted: it may hold a password
	}
	c := natsContext{}
	var foreign []string
	for name, value := range members {
		set := value != nil && value != "" && value != false
		switch text, isText := value.(string); {
		case !set || slices.Contains(contextIgnored, name):
		case !isText || !slices.Contains(contextKnown, name):
			foreign = append(foreign, name)
		default:
			if rest, ok := strings.CutPrefix(text, "~/"); ok && slices.Contains(contextFiles, name) {
				text = filepath.Join(home, rest)
			}
			c[name] = text
		}
	}
	if len(foreign) > 0 {
		slices.Sort(foreign)
		return nil, fmt.Errorf("it sets %s, which this program does not support: give the settings by NATS_URL, NATS_CREDS, NATS_USER and the like", strings.Join(foreign, ", "))
	}
	return c, nil
}

// Members of contexts that flags take, and those of them that name files.
var (
	contextFiles = []string{"creds", "nkey", "ca", "cert", "key"}
	contextKnown = append([]string{"url", "user", "token", "password", "inbox_prefix", "jetstream_domain"}, contextFiles...)
)
