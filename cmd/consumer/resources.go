package main

import (
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/cvconsumer/cvconsumer/internal/keyfile"
)

// resource is a configured Custom Vision resource.
type resource struct {
	Alias    string
	Endpoint string
	Key      Secret
	MaxRPS   float64 // Training API calls a second
	Account  string  // its name, where the endpoint's host does not identify it
	InFile   bool    // CONSUMER_RESOURCES has it
}

// resources reads the one resource of the VISION_ variables, those of the file, or both.
func (s visionSettings) resources(p *problems, rps float64) []resource {
	var all []resource
	single := s.Endpoint != "" || s.Key != "" || s.KeyFile != ""
	if single || s.Resources == "" {
		one := resource{Alias: defaultResource, Endpoint: s.Endpoint, MaxRPS: rps, Key: p.secret("VISION_TRAINING_KEY", s.Key, s.KeyFile)}
		if s.Endpoint == "" {
			p.add("VISION_TRAINING_ENDPOINT", "is needed: https://NAME.cognitiveservices.azure.com/ of the training resource")
		} else {
			p.endpoint("VISION_TRAINING_ENDPOINT", "", s.Endpoint)
		}
		if s.Key == "" && s.KeyFile == "" {
			p.add("VISION_TRAINING_KEY", "is needed, or VISION_TRAINING_KEY_FILE (Entra ID is not supported yet)")
		}
		all = append(all, one)
	}
	if s.Resources == "" {
		return all
	}
	all = append(all, readResources(p, s.Resources, rps)...)
	defaults := 0
	for _, r := range all {
		if r.Alias == defaultResource {
			defaults++
		}
	}
	switch {
	case defaults > 1:
		p.add("CONSUMER_RESOURCES", "has an alias default, and VISION_TRAINING_ENDPOINT is that too: set one of them")
	case defaults == 0:
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
func readResources(p *problems, path string, rps float64) []resource {
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
		p.endpoint(variable, alias+": ", entry.Endpoint)
		switch {
		case entry.Entra:
			complain("entra is not supported yet: key_file is needed")
		case entry.KeyFile == "":
			complain("key_file is needed (Entra ID is not supported yet)")
		default:
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
