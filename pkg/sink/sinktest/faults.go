package sinktest

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Effect is what a fault does to a request.
type Effect string

// Effects of faults.
const (
	Status Effect = "status" // answers Fault.Status with Fault.Code
	Reset  Effect = "reset"  // the connection breaks
	Cut    Effect = "cut"    // half of the body arrives: the request's when it has one, else the answer's
	End    Effect = "end"    // half of the answer's body arrives, and it looks as if it were all
	Hang   Effect = "hang"   // no answer until the request is given up
	Lie    Effect = "lie"    // answers success and does nothing
)

// Fault is one scripted fault. Requests are matched by operation and key.
type Fault struct {
	Op         string        // S3 operation, "PutObject"; empty: any
	Key        string        // pattern of the object key (of listings: the prefix; of DeleteObjects: the first key), * matches any run; empty: any
	Nth        int           // the matching request it begins with, from 1; 0: 1
	Times      int           // how many requests it hits from there on, 0: 1, negative: all
	Effect     Effect        // empty: Status
	Status     int           // with Status
	Code       string        // with Status; empty: the usual one of the status
	RetryAfter time.Duration // with Status: the Retry-After header, whole seconds
	After      bool          // the request is carried out, and its answer lost to the fault (Status, Reset, Hang)
}

// String names the fault in a test's failure.
func (f Fault) String() string {
	effect := string(f.Effect)
	if f.Effect == "" || f.Effect == Status {
		effect = strconv.Itoa(f.Status)
	}
	when := "before"
	if f.After {
		when = "after"
	}
	return fmt.Sprintf("%s %s %q (from match %d)", effect, when, f.Op+" "+f.Key, max(f.Nth, 1))
}

// script is a fault and how often it was met.
type script struct {
	Fault
	seen, hits int
}

// Faults is a transport that breaks requests by a script. It stands below the real SDK
// ([Server.FaultyClient]), so that keys, headers and retries are exercised. Use it for path-style
// requests. It is safe for use by several goroutines.
type Faults struct {
	// OnRequest, when set, is called before each request is sent and after it was carried out. An
	// error before keeps the request from being sent; an error after loses its answer. So a test
	// can cut at each effect. Set it before the first request.
	OnRequest func(op, key string, before bool) error

	mu       sync.Mutex
	next     http.RoundTripper
	scripts  []*script
	calls    map[string]int
	injected int
	rate     float64
	random   *rand.Rand
}

// NewFaults makes a transport on top of next; nil: the transport of the server whose FaultyClient
// is made of it.
func NewFaults(next http.RoundTripper) *Faults {
	return &Faults{next: next, calls: map[string]int{}}
}

// Script makes a transport with faults that must all be hit before the test ends.
func Script(t TB, faults ...Fault) *Faults {
	f := NewFaults(nil)
	f.Add(faults...)
	t.Cleanup(func() { f.Check(t) })
	return f
}

func (f *Faults) setNext(next http.RoundTripper) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == nil {
		f.next = next
	}
}

// Add scripts more faults. The first that matches a request and is due hits it.
func (f *Faults) Add(faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fault := range faults {
		f.scripts = append(f.scripts, &script{Fault: fault})
	}
}

// Clear forgets all scripted faults.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.scripts = nil
}

// FaultRate breaks a share of all requests (0 to 1) at random from a seed: 503 SlowDown, 500,
// resets before and after the effect, cut bodies.
func (f *Faults) FaultRate(rate float64, seed uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rate, f.random = rate, rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // repeatable on purpose
}

// Calls counts the requests of an operation seen so far, or all when op is empty.
func (f *Faults) Calls(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if op != "" {
		return f.calls[op]
	}
	n := 0
	for _, calls := range f.calls {
		n += calls
	}
	return n
}

// Injected counts the requests broken so far, scripted or at random.
func (f *Faults) Injected() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.injected
}

// Check fails the test for each scripted fault that was not hit.
func (f *Faults) Check(t TB) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.scripts {
		if s.hits == 0 {
			t.Errorf("fault not hit: %s", s.Fault)
		}
	}
}

// choose counts a request and finds the fault that hits it, nil when none does.
func (f *Faults) choose(op, key string, hasBody bool) (*Fault, http.RoundTripper) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[op]++
	var hit *Fault
	for _, s := range f.scripts {
		if s.Op != "" && s.Op != op || s.Key != "" && !match(s.Key, key) {
			continue
		}
		s.seen++
		if hit == nil && s.seen >= max(s.Nth, 1) && (s.Times < 0 || s.hits < max(s.Times, 1)) {
			s.hits++
			hit = &s.Fault
		}
	}
	if hit == nil && f.rate > 0 && f.random.Float64() < f.rate {
		random := []Fault{
			{Status: http.StatusServiceUnavailable, Code: "SlowDown"},
			{Status: http.StatusInternalServerError},
			{Effect: Reset},
			{Effect: Reset, After: true},
			{Effect: Cut},
		}
		hit = &random[f.random.IntN(len(random))]
		if hit.Effect == Cut && !hasBody && op != "GetObject" {
			hit = &Fault{Effect: Reset}
		}
	}
	if hit != nil {
		f.injected++
	}
	return hit, f.next
}

// match reports whether a string matches a pattern in which * stands for any run of characters.
func match(pattern, s string) bool {
	first, rest, found := strings.Cut(pattern, "*")
	if !found {
		return pattern == s
	}
	s, found = strings.CutPrefix(s, first)
	if !found {
		return false
	}
	for i := range len(s) + 1 {
		if match(rest, s[i:]) {
			return true
		}
	}
	return false
}

// RoundTrip implements http.RoundTripper.
func (f *Faults) RoundTrip(req *http.Request) (*http.Response, error) {
	op, key, req, err := identify(req)
	if err != nil {
		return nil, err
	}
	fault, next := f.choose(op, key, req.ContentLength > 0)
	if next == nil {
		closeBody(req)
		return nil, fmt.Errorf("sinktest: these faults have no transport below: use Server.FaultyClient")
	}
	if f.OnRequest != nil {
		if err := f.OnRequest(op, key, true); err != nil {
			closeBody(req)
			return nil, err
		}
	}
	resp, err := send(next, req, op, fault)
	if f.OnRequest != nil {
		if hookErr := f.OnRequest(op, key, false); hookErr != nil {
			if err == nil {
				discard(resp)
			}
			return nil, hookErr
		}
	}
	return resp, err
}
