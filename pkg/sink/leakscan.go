package sink

import (
	"bytes"
	"io"
	"path"
	"strings"
)

// scanText looks for signatures in a text held in memory.
func (v *verifier) scanText(name Path, b []byte) {
	scan := newLeakScan()
	_, _ = scan.Write(b)
	v.noteLeak(name, scan)
}

// noteLeak notes what a scan found.
func (v *verifier) noteLeak(name Path, scan *leakScan) {
	if scan.at >= 0 {
		v.problem(name, "there is a shared access signature (sig=) at byte %d", scan.at)
	}
}

// isText reports whether a file is text by its name, to be searched for signatures.
func isText(name Path) bool {
	switch path.Ext(string(name)) {
	case ".json", ".jsonl", ".txt", ".html", ".htm", ".csv", ".md", ".xml", ".yaml", ".yml", ".js", ".css":
		return true
	}
	return false
}

// leakScan looks for the signature of a shared access link in a stream: "sig=" as a parameter of a
// query, plain or escaped as in JSON, HTML or a URL.
type leakScan struct {
	at   int64 // where one was found, -1: nowhere
	off  int64 // of the next byte
	tail []byte
}

// leakLead is the longest text that can stand before "sig=" as a separator.
const leakLead = len(`\u0026`)

func newLeakScan() *leakScan { return &leakScan{at: -1, tail: make([]byte, 0, 32<<10+16)} }

// HoldsSignature reports whether there is a shared access signature in a text.
func HoldsSignature(r io.Reader) (bool, error) {
	scan := newLeakScan()
	_, err := io.Copy(scan, r)
	return scan.at >= 0, err
}

var sigParam = []byte("sig=")

// Write implements io.Writer. It never fails.
func (s *leakScan) Write(p []byte) (int, error) {
	n := len(p)
	for s.at < 0 && len(p) > 0 {
		piece := p[:min(len(p), 32<<10)]
		p = p[len(piece):]
		buf := append(s.tail, piece...)
		start := s.off - int64(len(s.tail))
		for from := 0; ; {
			i := bytes.Index(buf[from:], sigParam)
			if i < 0 {
				break
			}
			i += from
			if separates(buf[max(0, i-leakLead):i]) {
				s.at = start + int64(i)
				return n, nil
			}
			from = i + len(sigParam)
		}
		s.off += int64(len(piece))
		keep := min(len(buf), leakLead+len(sigParam)-1)
		s.tail = append(s.tail[:0], buf[len(buf)-keep:]...)
	}
	return n, nil
}

// separates reports whether a text ends in a separator of query parameters.
func separates(lead []byte) bool {
	if len(lead) == 0 {
		return false
	}
	switch lead[len(lead)-1] {
	case '?', '&', ';':
		return true
	}
	lower := strings.ToLower(string(lead))
	for _, escaped := range []string{`\u0026`, `\u003f`, "%26", "%3f"} {
		if strings.HasSuffix(lower, escaped) {
			return true
		}
	}
	return false
}
