package cvtest

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// Call is one request the Training API received, in the order of arrival; refused and faulted ones
// included, downloads of blobs not.
type Call struct {
	Time      time.Time // of arrival, by Options.Now
	Operation string    // Swagger operation id; "" for an unknown route
	Method    string
	Path      string     // below the base path, as received, without leading slash: "projects/<id>/images"
	Query     url.Values // as received
	IDs       []string   // the ids named by imageIds or ids in the query, lower case
	Status    int        // as answered; 0 when the connection was closed without an answer, or there is none yet
	RequestID string     // apim-request-id and Request-Id of the answer
	// Changes is true for operations that change the account or create something in it, whether or
	// not they were carried out.
	Changes bool
}

// Target is Path, followed by a blank and the comma-joined IDs when the query names any.
func (c Call) Target() string {
	if len(c.IDs) == 0 {
		return c.Path
	}
	return c.Path + " " + strings.Join(c.IDs, ",")
}

// received is a Call in the log, whose Query is parsed when asked for.
type received struct {
	Call
	rawQuery string
}

// callLog is what was received.
type callLog struct {
	calls     []*received
	counts    map[string]int
	received  int // requests of all time, for request ids
	leaks     []string
	elsewhere int // calls of all time that other accounts answered
}

// count counts a call of an operation and says how many there were.
func (l *callLog) count(operation string) int {
	if l.counts == nil {
		l.counts = map[string]int{}
	}
	l.counts[operation]++
	return l.counts[operation]
}

// Calls returns every Training API call received since the start or the last ResetCalls.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Call, 0, len(s.log.calls))
	for _, c := range s.log.calls {
		call := c.Call
		call.IDs = slices.Clone(c.IDs)
		call.Query, _ = url.ParseQuery(c.rawQuery)
		all = append(all, call)
	}
	return all
}

// Count is how many calls of one operation were received (OperationBlob: downloads).
func (s *Server) Count(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.counts[operation]
}

// CountElsewhere is how many calls other accounts at the same endpoint answered, see OtherAccount.
func (s *Server) CountElsewhere() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.elsewhere
}

// BlobCount is how many downloads of blobs were asked for, refused ones included; GetArtifact is an
// API call and not among them.
func (s *Server) BlobCount() int { return s.Count(OperationBlob) }

// DestructiveCalls returns the calls with Changes: deletions, unpublishing, and all else that is
// not reading.
func (s *Server) DestructiveCalls() []Call {
	return slices.DeleteFunc(s.Calls(), func(c Call) bool { return !c.Changes })
}

// ResetCalls forgets the calls, downloads and leaks received so far.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.calls, s.log.counts, s.log.leaks = nil, nil, nil
}

// Leaks returns one line for every download that carried a credential of the Training API
// (Training-Key or Authorization).
func (s *Server) Leaks() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log.leaks)
}

// OnCall sets a function that is called before each answer with the operation (OperationBlob for
// downloads) and how many calls of it were received by then, this one included. It may change the
// account. It may be called from several goroutines at once. nil ends it.
func (s *Server) OnCall(hook func(operation string, n int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}
