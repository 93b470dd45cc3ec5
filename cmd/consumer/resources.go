package main

import (
	"errors"
	"math"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/cvconsumer/cvconsumer/internal/keyfile"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/entra"
)

// resource is a configured Custom Vision resource.
type resource struct {
	Alias    string
	Endpoint string
	Key      Secret  // not set: Entra ID
	MaxRPS   float64 // Training API calls a second
	Account  string  // its name, where the endpoint's host does not identify it
	InFile   bool    // CONSUMER_RESOURCES has it
}

// credential is what the resource is called with: its key, or without one an identity of Entra ID.
func (r resource) credential() (cv.Credential, error) {
	if r.Key.File() != "" {
		return cv.TrainingKeyFile(r.Key.File()), nil
	}
	if r.Key.IsSet() {
		key, err := r.Key.Reveal()
		return cv.TrainingKey(key), err
	}
	u, err := url.Parse(r.Endpoint)
	if err != nil {
		return nil, errors.New("its endpoint is not a URL")
	}
	tokens, err := entra.New(u.Hostname(), entra.Options{})
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the variable
	}
	return cv.BearerToken(tokens), nil
}

// resources reads the one resource of the VISION_ variables, those of the file, or both.
func (s visionSettings) resources(p *problems, rps float64) []resource {
	var all []resource
	allowHTTP := p.boolean("CONSUMER_ALLOW_HTTP", s.AllowHTTP)
	single := s.Endpoint != "" || s.Key != "" || s.KeyFile != ""
	if single || s.Resources == "" {
		one := resource{Alias: defaultResource, Endpoint: s.Endpoint, MaxRPS: rps, Key: p.secret("VISION_TRAINING_KEY", s.Key, s.KeyFile)}
		switch {
		case s.Endpoint == "":
			p.add("VISION_TRAINING_ENDPOINT", "is needed: https://NAME.cognitiveservices.azure.com/ of the training resource")
		case s.Key == "" && s.KeyFile == "":
			p.entraEndpoint("VISION_TRAINING_ENDPOINT", "without VISION_TRAINING_KEY or VISION_TRAINING_KEY_FILE Entra ID is used: ", s.Endpoint)
		default:
			p.endpoint("VISION_TRAINING_ENDPOINT", "", s.Endpoint, allowHTTP)
		}
		all = append(all, one)
	}
	if s.Resources == "" {
		return all
	}
	inFile := readResources(p, s.Resources, rps, allowHTTP)
	all = append(all, inFile...)
	defaults := 0
	for _, r := range all {
		if r.Alias == defaultResource {
			defaults++
		}
	}
	switch {
	case defaults > 1:
		p.add("CONSUMER_RESOURCES", "has an alias default, and VISION_TRAINING_ENDPOINT is that too: set one of them")
	case defaults == 0 && len(inFile) > 0: // else the file cannot be read, and is told of already
		p.add("CONSUMER_RESOURCES", "has no alias default, and VISION_TRAINING_ENDPOINT is not set: commands that name no resource mean default")
	}
	slices.SortFunc(all, func(a, b resource) int { return strings.Compare(a.Alias, b.Alias) })
	return all
}

// defaultResource is the alias that commands without a resource mean.
const defaultResource = "default"

var aliasForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

var accountForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}$`)

// readResources reads the YAML file of CONSUMER_RESOURCES. A relative key_file is relative to that
// file.
func readResources(p *problems, path string, rps float64, allowHTTP bool) []resource {
	const variable = "CONSUMER_RESOURCES"
	text, err := keyfile.Read(path)
	if err != nil {
		p.add(variable, "cannot be read: %v", err)
		return nil
	}
	var entries map[string]struct {
		Endpoint string   `yaml:"endpoint"`
		KeyFile  string   `yaml:"key_file"`
		Entra    bool     `yaml:"entra"`
		MaxRPS   *float64 `yaml:"max_rps"`
		Account  *string  `yaml:"account"`
	}
	if err := yaml.UnmarshalWithOptions(text, &entries, yaml.Strict()); err != nil {
		p.add(variable, "%s: %s", path, strings.ReplaceAll(yaml.FormatError(err, false, false), "\n", " "))
		return nil
	}
	if len(entries) == 0 {
		p.add(variable, "%s names no resource", path)
	}
	aliases := make([]string, 0, len(entries))
	for alias := range entries {
		aliases = append(aliases, alias)
	}
	slices.Sort(aliases)
	var all []resource
	for _, alias := range aliases {
		entry := entries[alias]
		r := resource{Alias: alias, Endpoint: entry.Endpoint, MaxRPS: rps, InFile: true}
		complain := func(format string, args ...any) { p.add(variable, alias+": "+format, args...) }
		if slices.ContainsFunc(all, func(o resource) bool { return strings.EqualFold(o.Alias, alias) }) {
			complain("differs from another alias only in the case of letters")
		}
		if !aliasForm.MatchString(alias) {
			complain("is not an alias of letters, digits, _ . and - (at most 64)")
		}
		switch {
		case entry.Entra && entry.KeyFile != "":
			complain("key_file and entra are both set: set one of them")
		case entry.Entra:
			p.entraEndpoint(variable, alias+": entra: ", entry.Endpoint)
		case entry.KeyFile == "":
			complain("key_file is needed, or entra: true")
			p.endpoint(variable, alias+": ", entry.Endpoint, allowHTTP)
		default:
			p.endpoint(variable, alias+": ", entry.Endpoint, allowHTTP)
			if !filepath.IsAbs(entry.KeyFile) {
				entry.KeyFile = filepath.Join(filepath.Dir(path), entry.KeyFile)
			}
			r.Key = Secret{file: entry.KeyFile}
			if _, err := r.Key.Reveal(); err != nil {
				complain("key_file: %v", err)
			}
		}
		if entry.MaxRPS != nil {
			r.MaxRPS = *entry.MaxRPS
			if !(r.MaxRPS > 0) || math.IsInf(r.MaxRPS, 0) {
				complain("max_rps %v is not a number above 0", r.MaxRPS)
			}
		}
		if entry.Account != nil {
			r.Account = *entry.Account
			if !accountForm.MatchString(r.Account) {
				complain("account is not a name of letters, digits, and _ . : / - (at most 128)")
			}
		}
		all = append(all, r)
	}
	return all
}

// accounts are the names that resources give to their accounts, by alias.
func (c config) accounts() map[string]string {
	names := map[string]string{}
	for _, r := range c.Resources {
		if r.Account != "" {
			names[r.Alias] = r.Account
		}
	}
	return names
}
