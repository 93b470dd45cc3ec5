package cvtest

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// OperationBlob is the name under which downloads of blobs are counted and faulted; API operations
// have the names of the Swagger.
const OperationBlob = "Blob"

// Fault is scripted trouble. It applies to calls that match Operation and Path; after Call of them
// have gone by unharmed it strikes Times of them. Every armed fault counts the calls that match it;
// the first one that strikes a call decides it.
type Fault struct {
	// Operation is a Swagger operation id or OperationBlob; empty is any API operation, not blobs.
	Operation string
	// Path, when set, must occur in the call's path and query (letter case ignored): an id, for
	// example.
	Path string
	// Call is how many matching calls go by first; 0 strikes the next one.
	Call int
	// Times is how many calls are struck; 0 is 1, and a negative number is all of them.
	Times int

	// Status is answered in place of the operation, which is not carried out. The body is Body,
	// else an error in the API's own shape when Code is set, else in the gateway's (for blobs: in
	// Azure Storage's).
	Status     int
	Code       string
	Body       string
	Header     http.Header
	RetryAfter time.Duration // as whole seconds, rounded up, in Retry-After

	// Delay is waited before anything else. A fault of nothing but Delay answers normally.
	Delay time.Duration
	// Hang answers nothing until the client leaves; the operation is not carried out, unless
	// AfterEffect.
	Hang bool
	// Reset closes the connection without an answer; the operation is not carried out, unless
	// AfterEffect.
	Reset bool
	// AfterEffect carries the operation out first and then spoils its answer by Status, Hang or
	// Reset.
	AfterEffect bool
	// Past answers a read from the account as it was, as a replica that lags behind does: what is
	// new is not found, and what is gone is still listed. Operations that change something have
	// their effect all the same. It may be combined with the faults that spoil an answer after its
	// effect.
	Past *Past
	// CutBody carries the operation out, declares the full length and closes the connection after
	// half of the body; an answer without body is a Reset.
	CutBody bool
	// Corrupt carries the operation out and changes one byte in the middle of the body, without
	// telling in length or checksum.
	Corrupt bool
	// Rewrite carries the operation out and answers with what it makes of the body, its own length
	// and no checksum: a page in place of a picture, for example, or a list in another order.
	Rewrite func(body []byte) []byte
}

// Past is the account as it was when it was taken.
type Past struct {
	account account
}

// Past takes the account as it is now, for a Fault that answers from it later.
func (s *Server) Past() *Past {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account.settle(s.o.Now())
	return &Past{s.account.clone()}
}

// LagRate has a share of all reads (0 to 1) answered from the account as it was some API calls
// before, at most as many as calls says, beside all other faults. A rate of 0 ends it. The same
// seed gives the same sequence of decisions.
func (s *Server) LagRate(rate float64, calls int, seed int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lag = lag{rate: rate, calls: calls, rnd: rand.New(rand.NewPCG(uint64(seed), 2))}
}

// lag is what the replicas of the service that lag behind still know.
type lag struct {
	rate  float64
	calls int
	rnd   *rand.Rand
	pasts []*Past // before the last calls, oldest first
}

// see notes the account before a call, and returns the one that the call is answered from; nil for
// the present one.
func (l *lag) see(now *account) *Past {
	if l.rate <= 0 {
		return nil
	}
	var past *Past
	if len(l.pasts) > 0 && l.rnd.Float64() < l.rate {
		past = l.pasts[l.rnd.IntN(len(l.pasts))]
	}
	l.pasts = append(l.pasts[max(0, len(l.pasts)+1-l.calls):], &Past{now.clone()})
	return past
}

// Null is a fault that answers 200 with null: a success that says nothing. Times is as in Fault.
func Null(operation string, times int) Fault {
	return Fault{Operation: operation, Times: times, Status: http.StatusOK, Body: "null"}
}

// faultSet is the trouble that is armed.
type faultSet struct {
	armed []*armedFault
	rate  float64
	rnd   *rand.Rand
}

type armedFault struct {
	Fault
	matched, struck int
}

// strike returns the fault for a call, nil for none.
func (f *faultSet) strike(operation, path string) *Fault {
	var found *Fault
	for _, a := range f.armed {
		if a.Operation != operation && (a.Operation != "" || operation == OperationBlob) {
			continue
		}
		if a.Path != "" && !strings.Contains(strings.ToLower(path), strings.ToLower(a.Path)) {
			continue
		}
		a.matched++
		if found != nil || a.matched <= a.Call || (a.Times >= 0 && a.struck >= max(1, a.Times)) {
			continue
		}
		a.struck++
		c := a.Fault
		found = &c
	}
	if found != nil || f.rate <= 0 || f.rnd.Float64() >= f.rate {
		return found
	}
	blob := operation == OperationBlob
	switch f.rnd.IntN(6) {
	case 0:
		return &Fault{Status: http.StatusInternalServerError, Code: map[bool]string{true: "InternalError", false: "ErrorUnknown"}[blob]}
	case 1:
		return &Fault{Status: http.StatusServiceUnavailable}
	case 2:
		if blob {
			return &Fault{Status: http.StatusServiceUnavailable, Code: "ServerBusy"}
		}
		if f.rnd.IntN(4) == 0 {
			return &Fault{Status: http.StatusTooManyRequests, RetryAfter: time.Second}
		}
		return &Fault{Status: http.StatusTooManyRequests}
	case 3:
		return &Fault{Reset: true}
	case 4:
		return &Fault{Reset: true, AfterEffect: true}
	default:
		return &Fault{CutBody: true}
	}
}

// Fault arms f.
func (s *Server) Fault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.armed = append(s.faults.armed, &armedFault{Fault: f})
}

// FaultRate makes the given share (0 to 1) of all API calls and downloads fail at random: with 500,
// 503, 429, a reset (before or after the effect) or a cut body. The same seed gives the same
// sequence of decisions. 0 ends it.
func (s *Server) FaultRate(rate float64, seed int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.rate, s.faults.rnd = rate, rand.New(rand.NewPCG(uint64(seed), 1))
}

// ClearFaults disarms all faults, the random ones included, and forgets which were not hit.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.lag = faultSet{}, lag{}
}

// Unhit returns the armed faults that have not struck as often as they should: Times of them, or
// once when Times is negative.
func (s *Server) Unhit() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	var unhit []Fault
	for _, a := range s.faults.armed {
		if a.struck < max(1, a.Times) {
			unhit = append(unhit, a.Fault)
		}
	}
	return unhit
}
