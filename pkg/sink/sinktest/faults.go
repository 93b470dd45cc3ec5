package sinktest

import (
	"net/http"
	"time"
)

// Effect is what a fault does.
type Effect string

// Effects of faults.
const (
	Status Effect = "status" // answers Status with Code
	Reset  Effect = "reset"  // the connection breaks
	Cut    Effect = "cut"    // half of the body arrives: the request's of a write, the answer's of a read
	Hang   Effect = "hang"   // no answer until the request is given up
	Lie    Effect = "lie"    // answers success and does nothing
)

// Fault is one scripted fault.
type Fault struct {
	Op         string // S3 operation, "PutObject"; empty: any
	Key        string // pattern of the object key, * matches any run; empty: any
	Nth        int    // which matching request it begins with, from 1; 0: 1
	Times      int    // how many matching requests it hits, 0: 1, negative: all
	Effect     Effect // empty: Status
	Status     int    // with Status
	Code       string // with Status, empty: the usual one of the status
	RetryAfter time.Duration
	After      bool // the request is carried out, then the answer is lost to the fault (with Status and Reset)
}

// Faults is a transport that breaks requests as told.
type Faults struct {
	// OnRequest is called before each request is sent and after it was answered. An error before keeps it from being sent; an error after loses the answer.
	OnRequest func(op, key string, before bool) error
}

// NewFaults makes a transport on top of next (nil: a plain one).
func NewFaults(next http.RoundTripper) *Faults { return &Faults{} }

// Add scripts faults.
func (f *Faults) Add(faults ...Fault) {}

// FaultRate breaks a share of all requests, at random from a seed.
func (f *Faults) FaultRate(rate float64, seed uint64) {}

// RoundTrip implements http.RoundTripper.
func (f *Faults) RoundTrip(req *http.Request) (*http.Response, error) { return nil, errSkeleton }

// Calls counts the requests of an operation seen so far, all when op is empty.
func (f *Faults) Calls(op string) int { return 0 }

// Check fails the test when a scripted fault was not hit.
func (f *Faults) Check(t TB) {}
