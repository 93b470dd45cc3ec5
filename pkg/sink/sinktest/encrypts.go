package sinktest

import (
	"net/http"
	"slices"
	"sync"
)

// Headers of server-side encryption.
const (
	sseHeader = "X-Amz-Server-Side-Encryption"
	kmsHeader = "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"
)

// Encryption is a transport to a server, which does not encrypt, that has its answers say it does.
type Encryption struct {
	next      http.RoundTripper
	kind, key string

	mu    sync.Mutex
	asked []string
}

// Encrypts is a transport to the server whose answers say that objects are encrypted in this way,
// with the key that has this ARN. What is empty they do not say.
func (s *Server) Encrypts(kind, key string) *Encryption {
	return &Encryption{next: s.transport, kind: kind, key: key}
}

// RoundTrip implements http.RoundTripper.
func (e *Encryption) RoundTrip(req *http.Request) (*http.Response, error) {
	op, _, req, err := identify(req)
	if err != nil {
		return nil, err
	}
	resp, err := e.next.RoundTrip(req)
	if err != nil || !slices.Contains([]string{"PutObject", "CreateMultipartUpload", "CompleteMultipartUpload", "CopyObject", "HeadObject", "GetObject"}, op) {
		return resp, err
	}
	if op == "PutObject" || op == "CreateMultipartUpload" || op == "CopyObject" {
		e.mu.Lock()
		e.asked = append(e.asked, op+" "+req.Header.Get(sseHeader)+" "+req.Header.Get(kmsHeader))
		e.mu.Unlock()
	}
	for name, value := range map[string]string{sseHeader: e.kind, kmsHeader: e.key} {
		resp.Header.Del(name)
		if value != "" {
			resp.Header.Set(name, value)
		}
	}
	return resp, nil
}

// Asked is what the writes so far asked for, each once, in order: "<operation> <kind> <key>".
func (e *Encryption) Asked() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := slices.Sorted(slices.Values(e.asked))
	return slices.Compact(all)
}
