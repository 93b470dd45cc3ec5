package main

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/keyfile"
	"github.com/cvconsumer/cvconsumer/internal/secret"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
)

// errSettings matches every error about settings.
var errSettings = errors.New("settings")

// settingsError is an error about settings, as it is printed.
type settingsError string

func (e settingsError) Error() string        { return string(e) }
func (e settingsError) Is(target error) bool { return target == errSettings }

// problems collects everything that is wrong with the settings, so that they can be fixed in one
// go.
type problems []problem

type problem struct{ variable, what string }

func (p *problems) add(variable, format string, args ...any) {
	*p = append(*p, problem{variable, fmt.Sprintf(format, args...)})
}

// err is nil when there are no problems, else an errSettings that lists all.
func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	p = p.sorted()
	width := 0
	for _, one := range p {
		width = max(width, len(one.variable))
	}
	var b strings.Builder
	if len(p) == 1 {
		b.WriteString("1 setting is wrong:")
	} else {
		fmt.Fprintf(&b, "%d settings are wrong:", len(p))
	}
	for _, one := range p {
		fmt.Fprintf(&b, "\n  %-*s  %s", width, one.variable, one.what)
	}
	return settingsError(b.String())
}

// sorted are the problems by variable.
func (p problems) sorted() problems {
	return slices.SortedStableFunc(slices.Values(p), func(a, b problem) int { return strings.Compare(a.variable, b.variable) })
}

// list splits a comma list, without blanks and empty entries.
func list(text string) []string {
	var out []string
	for s := range strings.SplitSeq(text, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// Readers of one value each. On a problem they report it and give the zero value.

func (p *problems) duration(variable, text string, least time.Duration) time.Duration {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		p.add(variable, "%q is not a duration such as 30s or 15m", text)
		return 0
	case d < least:
		p.add(variable, "%s is less than %s", d, least)
		return 0
	}
	return d
}

func (p *problems) integer(variable, text string, least, most int) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		p.add(variable, "%q is not a whole number from %d to %d", text, least, most)
		return 0
	}
	return n
}

func (p *problems) rate(variable, text string) float64 {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f > 0) || math.IsInf(f, 0) {
		p.add(variable, "%q is not a number above 0", text)
		return 0
	}
	return f
}

func (p *problems) fraction(variable, text string) float64 {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f >= 0 && f <= 1) {
		p.add(variable, "%q is not a number from 0 to 1", text)
		return 0
	}
	return f
}

func (p *problems) boolean(variable, text string) bool {
	b, err := strconv.ParseBool(text)
	if err != nil {
		p.add(variable, "%q is neither true nor false", text)
	}
	return b
}

func (p *problems) choice(variable, text string, of ...string) string {
	if !slices.Contains(of, text) {
		p.add(variable, "%q is not one of %s", text, strings.Join(of, ", "))
		return ""
	}
	return text
}

var sizeForm = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([kKMGT]?i?B?)$`)

// size reads bytes with a unit: KiB, MiB, GiB, TiB of 1024, kB, MB, GB, TB of 1000; none is bytes.
func (p *problems) size(variable, text string, least int64) int64 {
	m := sizeForm.FindStringSubmatch(text)
	factor, known := map[string]float64{
		"": 1, "B": 1,
		"kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	}[unit(m)]
	if m == nil || !known {
		p.add(variable, "%q is not a size such as 64MiB", text)
		return 0
	}
	number, err := strconv.ParseFloat(m[1], 64)
	bytes := number * factor
	if err != nil || bytes < float64(least) || bytes >= math.MaxInt64 {
		p.add(variable, "%q is less than %d bytes, or too much", text, least)
		return 0
	}
	return int64(bytes)
}

func unit(match []string) string {
	if match == nil {
		return ""
	}
	return match[2]
}

// file checks that a file can be read, where one is named.
func (p *problems) file(variable, path string) string {
	if path == "" {
		return ""
	}
	f, err := keyfile.Open(path)
	if err != nil {
		p.add(variable, "cannot be read: %v", err)
		return ""
	}
	f.Close()
	return path
}

// secret takes a secret from a value or a file, and checks that the file has one.
func (p *problems) secret(variable, value, file string) Secret {
	if value != "" && file != "" {
		p.add(variable, "and %s_FILE are both set: set one of them", variable)
		return Secret{}
	}
	s := Secret{value: secret.New(value), file: file}
	if _, err := s.Reveal(); err != nil {
		p.add(variable+"_FILE", "%v", err)
		return Secret{}
	}
	return s
}

// A key under which values are replaced by pseudonyms must not be guessed, or every value that is
// suspected can be looked for.
const (
	leastKeyBytes  = 16
	leastKeyDigits = 5 // different bytes: random digits in hex have more
)

// macKey takes a key from a file, and refuses one that can be guessed.
func (p *problems) macKey(variable, file string) Secret {
	s := p.secret(variable, "", file)
	key, err := s.Reveal()
	if !s.IsSet() || err != nil {
		return s
	}
	different := map[byte]bool{}
	for _, b := range []byte(key) {
		different[b] = true
	}
	if len(key) < leastKeyBytes || len(different) < leastKeyDigits {
		p.add(variable+"_FILE", "the key has %d bytes, %d of them different, so it can be guessed: use at least %d random bytes, as openssl rand -hex 32 makes them", len(key), len(different), leastKeyBytes)
		return Secret{}
	}
	return s
}

// endpoint checks the endpoint of a Custom Vision resource. where comes before the complaint. The
// training key goes there with every call, so plain text must not leave the machine unasked.
func (p *problems) endpoint(variable, where, text string, allowHTTP bool) {
	client, err := cv.New(text, cv.TrainingKey("any"), cv.Options{})
	switch {
	case err != nil:
		p.add(variable, "%s%v", where, err)
	case client.Endpoint().Scheme == "http" && !allowHTTP && !withinMachine(client.Endpoint().Hostname()):
		p.add(variable, "%sis http://, so key and data would go to %s in plain text: use https://, or set CONSUMER_ALLOW_HTTP=true", where, client.Host())
	}
}

// withinMachine reports whether a host is this machine whatever a resolver says.
func withinMachine(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

// entraEndpoint checks the endpoint of a resource that is used with Entra ID: it has to be the
// resource's own sub-domain. Regional endpoints refuse tokens; and behind any other host there may
// be another resource tomorrow, of which the same identity has roles too, so that a 404 from there
// would prove nothing.
func (p *problems) entraEndpoint(variable, where, text string) {
	client, err := cv.New(text, cv.TrainingKey("any"), cv.Options{})
	switch {
	case err != nil:
		p.add(variable, "%s%v", where, err)
	case !client.OwnHost() || client.Endpoint().Scheme != "https":
		p.add(variable, "%sits tokens are taken at the resource's own sub-domain only, https://NAME.cognitiveservices.azure.com/ (.azure.us, .azure.cn), not at %s: "+
			"give the resource one (az cognitiveservices account update --custom-domain NAME), or use a training key", where, client.Host())
	}
}

func (p *problems) httpURL(variable, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		p.add(variable, "is not a URL such as https://host/")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		p.add(variable, "is a base URL: user, query and fragment do not belong there")
	}
}
