package cvtest

import (
	"net/url"
	"time"
)

// Call is one request the Training API received, in the order of arrival; refused and faulted ones included, downloads of blobs not.
type Call struct {
	Time      time.Time // of arrival, by Options.Now
	Operation string    // Swagger operation id; "" for an unknown route
	Method    string
	Path      string     // below the base path, as received, without leading slash: "projects/<id>/images"
	Query     url.Values // as received
	IDs       []string   // the ids named by imageIds or ids in the query, lower case
	Status    int        // as answered; 0 when the connection was closed without an answer
	RequestID string     // apim-request-id and Request-Id of the answer
	// Changes is true for operations that change the account or create something in it, whether or not they were carried out.
	Changes bool
}

// Target is Path, followed by a blank and the comma-joined IDs when the query names any.
func (c Call) Target() string { panic("not yet") }

// Calls returns every Training API call received since the start or the last ResetCalls.
func (s *Server) Calls() []Call { panic("not yet") }

// Count is how many calls of one operation were received (OperationBlob: downloads).
func (s *Server) Count(operation string) int { panic("not yet") }

// BlobCount is how many downloads of blobs were asked for, refused ones included; GetArtifact is an API call and not among them.
func (s *Server) BlobCount() int { panic("not yet") }

// DestructiveCalls returns the calls with Changes: deletions, unpublishing, and all else that is not reading.
func (s *Server) DestructiveCalls() []Call { panic("not yet") }

// ResetCalls forgets the calls received so far.
func (s *Server) ResetCalls() { panic("not yet") }

// Leaks returns one line for every download that carried a credential of the Training API (Training-Key or Authorization).
func (s *Server) Leaks() []string { panic("not yet") }

// OnCall sets a function that is called before each answer with the operation (OperationBlob for downloads) and how many calls of it
// were received by then, this one included. It may change the account. It may be called from several goroutines at once. nil ends it.
func (s *Server) OnCall(hook func(operation string, n int)) { panic("not yet") }
