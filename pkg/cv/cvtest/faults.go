package cvtest

import (
	"net/http"
	"time"
)

// OperationBlob is the name under which downloads of blobs are counted and faulted; API operations have the names of the Swagger.
const OperationBlob = "Blob"

// Fault is scripted trouble. It applies to calls that match Operation and Path; after Call of them have gone by unharmed it strikes
// Times of them. The first fault that strikes a call decides it.
type Fault struct {
	// Operation is a Swagger operation id or OperationBlob; empty is any API operation, not blobs.
	Operation string
	// Path, when set, must occur in the call's path and query (letter case ignored): an id, for example.
	Path string
	// Call is how many matching calls go by first; 0 strikes the next one.
	Call int
	// Times is how many calls are struck; 0 is 1, and a negative number is all of them.
	Times int

	// Status is answered in place of the operation, which is not carried out. The body is Body, else an error in the API's own shape
	// when Code is set, else in the gateway's (for blobs: in Azure Storage's).
	Status     int
	Code       string
	Body       string
	Header     http.Header
	RetryAfter time.Duration // as whole seconds in Retry-After

	// Delay is waited before anything else. A fault of nothing but Delay answers normally.
	Delay time.Duration
	// Hang answers nothing until the client leaves; the operation is not carried out.
	Hang bool
	// Reset closes the connection without an answer; the operation is not carried out, unless AfterEffect.
	Reset bool
	// AfterEffect carries the operation out first and then spoils its answer by Status or Reset.
	AfterEffect bool
	// CutBody carries the operation out, declares the full length and closes the connection after half of the body.
	CutBody bool
	// Corrupt carries the operation out and changes one byte of the body, without telling in length or checksum.
	Corrupt bool
}

// Fault arms f.
func (s *Server) Fault(f Fault) { panic("not yet") }

// FaultRate makes the given share (0 to 1) of all API calls and downloads fail at random: with 500, 503, 429, a reset (before or
// after the effect) or a cut body. The same seed gives the same sequence of decisions. 0 ends it.
func (s *Server) FaultRate(rate float64, seed int64) { panic("not yet") }

// ClearFaults disarms all faults, the random ones included, and forgets which were not hit.
func (s *Server) ClearFaults() { panic("not yet") }

// Unhit returns the armed faults that have not struck as often as they should: Times of them, or once when Times is negative.
func (s *Server) Unhit() []Fault { panic("not yet") }
