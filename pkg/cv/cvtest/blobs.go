package cvtest

import (
	"archive/zip"
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// blobPath is where blobs are, on either listener.
const blobPath = "/blobs/"

// sasVersion is the storage version of the links.
const sasVersion = "2017-04-17"

// Names of blobs: container and name, as the service's own links have them.

func plain(id uuid.UUID) string { return strings.ReplaceAll(id.String(), "-", "") }

func imageBlob(project uuid.UUID, letter byte, img uuid.UUID) string {
	return "i-" + plain(project) + "/" + string(letter) + "-" + plain(img)
}

func predictionBlob(project uuid.UUID, letter byte, id uuid.UUID) string {
	return "predictionimages/" + project.String() + "/" + string(letter) + "-" + plain(id)
}

func modelBlob(project, iteration uuid.UUID, e export) string {
	name := "m-" + plain(project) + "/" + iteration.String() + "." + e.platform
	if e.flavor != "" {
		name += "." + e.flavor
	}
	return name + ".zip"
}

// linker makes the URIs of one answer.
type linker struct {
	s      *Server
	origin string
	expiry string // "": links without query, for Truth
}

func (s *Server) linker(q *request) linker {
	l := linker{s: s, origin: s.blobURL}
	if l.origin == "" {
		l.origin = q.origin
	}
	end := q.now.UTC().Add(s.o.LinkTTL)
	if whole := end.Truncate(time.Second); whole.Before(end) {
		end = whole.Add(time.Second)
	}
	l.expiry = end.Format("2006-01-02T15:04:05Z")
	return l
}

// uri is the link to a blob, or its relative path on a VNet-protected resource.
func (l linker) uri(blob string) string {
	if l.s.o.VNet {
		return blob
	}
	uri := l.origin + blobPath + blob
	if l.expiry == "" {
		return uri
	}
	return uri + "?sv=" + sasVersion + "&sr=b&sig=" + url.QueryEscape(l.s.sign(blob, sasVersion, l.expiry)) + "&se=" + url.QueryEscape(l.expiry) + "&sp=r"
}

// sign makes a link's signature.
func (s *Server) sign(blob, version, expiry string) string {
	mac := hmac.New(sha256.New, s.secret)
	_, _ = fmt.Fprintf(mac, "r\n%s\n/blob/%s\n%s\n", expiry, blob, version)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// checkLink says what is wrong with a link: "" nothing.
func (s *Server) checkLink(blob string, query url.Values, now time.Time) string {
	expiry := query.Get("se")
	if !hmac.Equal([]byte(query.Get("sig")), []byte(s.sign(blob, query.Get("sv"), expiry))) {
		return "Signature did not match."
	}
	end, err := time.Parse(time.RFC3339, expiry)
	if err != nil || now.After(end) {
		return fmt.Sprintf("Signature not valid in the specified time frame: Expiry [%s] - Current [%s]", end.Format(time.RFC1123), now.UTC().Format(time.RFC1123))
	}
	return ""
}

// serveBlobs is Azure Storage: no key, only signed links, errors in XML.
func (s *Server) serveBlobs(w http.ResponseWriter, r *http.Request) {
	defer s.enter()()
	name := strings.TrimPrefix(r.URL.Path, blobPath)

	s.mu.Lock()
	now := s.o.Now()
	s.log.received++
	id := s.requestID("blob", s.log.received)
	n := s.log.count(OperationBlob)
	if r.Header.Get("Training-Key") != "" || r.Header.Get("Authorization") != "" {
		s.log.leaks = append(s.log.leaks, "credential sent with the download of "+name)
	}
	fault := s.faults.strike(OperationBlob, r.URL.Path+"?"+r.URL.RawQuery)
	hook := s.hook
	s.mu.Unlock()
	if hook != nil {
		hook(OperationBlob, n)
	}

	x := &exchange{s: s, w: w, r: r, fault: fault, sent: func(int) {}}
	h := w.Header()
	h.Set("Server", "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0")
	h.Set("x-ms-request-id", id)
	h.Set("x-ms-version", sasVersion)
	fail := func(status int, code, message string, header http.Header) {
		if header == nil {
			header = http.Header{}
		}
		header.Set("x-ms-error-code", code)
		header.Set("Content-Type", "application/xml")
		x.send(status, header, bytesFile(storageError(code, message, id, now)), "application/xml")
	}
	x.pause(s.o.BlobLatency)
	if x.spoilsBefore() || x.spoilsAfter() {
		if fault.Body != "" {
			x.send(fault.Status, fault.headers(), bytesFile([]byte(fault.Body)), "application/xml")
			return
		}
		code := fault.Code
		if code == "" {
			code = storageCode(fault.Status)
		}
		fail(fault.Status, code, "The request failed as scripted.", fault.headers())
		return
	}

	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		fail(http.StatusMethodNotAllowed, "UnsupportedHttpVerb", "The resource doesn't support specified Http Verb.", nil)
		return
	case !strings.HasPrefix(r.URL.Path, blobPath):
		fail(http.StatusBadRequest, "InvalidUri", "The requested URI does not represent any resource on the server.", nil)
		return
	case r.Header.Get("Authorization") != "" || r.Header.Get("Training-Key") != "":
		fail(http.StatusBadRequest, "InvalidAuthenticationInfo", "Authentication information is not given in the correct format. Check the value of Authorization header.", nil)
		return
	case s.o.VNet:
		fail(http.StatusForbidden, "AuthorizationFailure", "This request is not authorized to perform this operation.", nil)
		return
	}
	if wrong := s.checkLink(name, r.URL.Query(), now); wrong != "" {
		fail(http.StatusForbidden, "AuthenticationFailed", "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature. "+wrong, nil)
		return
	}
	f := s.openBlob(name, uuid.Nil)
	if f == nil {
		fail(http.StatusNotFound, "BlobNotFound", "The specified blob does not exist.", nil)
		return
	}
	header := http.Header{
		"Last-Modified":  {epoch.Format(http.TimeFormat)},
		"Etag":           {`"0x` + strings.ToUpper(f.sha256[:15]) + `"`},
		"X-Ms-Blob-Type": {"BlockBlob"},
		"Accept-Ranges":  {"bytes"},
	}
	if !s.o.NoMD5 {
		header["Content-Md5"] = []string{f.contentMD5()}
	}
	x.send(http.StatusOK, header, f, "application/octet-stream")
}

func storageCode(status int) string {
	switch status {
	case http.StatusForbidden:
		return "AuthenticationFailed"
	case http.StatusNotFound:
		return "BlobNotFound"
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return "ServerBusy"
	case http.StatusInternalServerError:
		return "InternalError"
	default:
		return "OperationTimedOut"
	}
}

func storageError(code, message, requestID string, now time.Time) []byte {
	var b bytes.Buffer
	b.WriteString("\ufeff" + `<?xml version="1.0" encoding="utf-8"?><Error><Code>` + code + `</Code><Message>`)
	_ = xml.EscapeText(&b, []byte(message))
	b.WriteString("\nRequestId:" + requestID + "\nTime:" + now.UTC().Format("2006-01-02T15:04:05.0000000Z") + "</Message></Error>")
	return b.Bytes()
}

// source makes a blob's content; it is called outside the lock.
type source struct {
	write  func(w io.Writer) error
	stream bool // too big to hold: written twice, first to measure it
}

// openBlob finds a blob by container and name, of one project only unless that is uuid.Nil; nil
// when there is none.
func (s *Server) openBlob(name string, only uuid.UUID) *file {
	s.mu.Lock()
	src := s.findBlob(name, only)
	s.mu.Unlock()
	if src == nil {
		return nil
	}
	return s.files.open(name, src)
}

// findBlob returns what makes a blob's content; nil when there is no such blob. The caller holds
// the lock.
func (s *Server) findBlob(name string, only uuid.UUID) *source {
	s.account.settle(s.o.Now())
	parts := strings.Split(name, "/")
	container, base := parts[0], parts[len(parts)-1]
	switch {
	case len(parts) == 3 && container == "predictionimages":
		id, valid := parseID(parts[1])
		if p := s.account.project(id); valid && p != nil && (only == uuid.Nil || only == id) {
			return p.findPredictionBlob(base)
		}
	case len(parts) == 2 && len(container) == 34:
		id, err := uuid.Parse(container[2:])
		p := s.account.project(id)
		if err != nil || p == nil || (only != uuid.Nil && only != id) {
			return nil
		}
		switch container[:2] {
		case "i-":
			return p.findImageBlob(base)
		case "m-":
			return p.findModel(name)
		}
	}
	return nil
}

// splitBlob reads "<letter>-<id>".
func splitBlob(base string) (letter byte, id uuid.UUID) {
	if len(base) != 34 || base[1] != '-' {
		return 0, uuid.Nil
	}
	id, err := uuid.Parse(base[2:])
	if err != nil {
		return 0, uuid.Nil
	}
	return base[0], id
}

func (p *project) findImageBlob(base string) *source {
	letter, id := splitBlob(base)
	img := p.image(id)
	if letter == 0 || img == nil || (letter == 'o' && !img.picture.resized) {
		return nil
	}
	return img.picture.source(letter)
}

func (p *project) findPredictionBlob(base string) *source {
	letter, id := splitBlob(base)
	x := p.prediction(id)
	if x == nil || (letter != 'o' && letter != 't') {
		return nil
	}
	return x.picture.source(letter)
}

// source makes the file behind the blob of a letter: i(mage), o(riginal) or t(humbnail).
func (p picture) source(letter byte) *source {
	v, known := map[byte]version{'i': versionResized, 'o': versionOriginal, 't': versionThumbnail}[letter]
	if !known {
		return nil
	}
	return &source{write: func(w io.Writer) error {
		_, err := w.Write(p.draw(v))
		return err
	}}
}

func (p *project) findModel(name string) *source {
	for _, it := range p.iterations {
		for _, e := range it.exports {
			if e.status == StatusDone && modelBlob(p.id, it.id, e) == name {
				tags, size := it.scope.tags, e.bytes
				return &source{stream: true, write: func(w io.Writer) error { return writeModel(w, name, tags, size) }}
			}
		}
	}
	return nil
}

// writeModel writes a zip like an exported model's: a description, the labels, and weights of at
// least size bytes.
func writeModel(w io.Writer, name string, tags []*tag, size int64) error {
	z := zip.NewWriter(w)
	create := func(name string) (io.Writer, error) {
		return z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store, Modified: epoch})
	}
	f, err := create("labels.txt")
	if err != nil {
		return err
	}
	for _, t := range tags {
		if _, err := io.WriteString(f, t.name+"\n"); err != nil {
			return err
		}
	}
	if f, err = create("model.pb"); err != nil {
		return err
	}
	sum := fnv.New64a()
	_, _ = io.WriteString(sum, name)
	seed := sum.Sum64()
	if size <= 0 {
		size = 4 << 10
	}
	for done := int64(0); done < size; {
		b := filler(seed+uint64(done), int(min(size-done, 256<<10)))
		if _, err := f.Write(b); err != nil {
			return err
		}
		done += int64(len(b))
	}
	return z.Close()
}

// fileCache keeps length and digests of streams; with Options.KeepBlobs whole blobs.
type fileCache struct {
	keep  bool // whole blobs
	mu    sync.Mutex
	files map[string]*file
}

func (c *fileCache) open(name string, src *source) *file {
	if !src.stream && !c.keep {
		return measure(src)
	}
	c.mu.Lock()
	f := c.files[name]
	c.mu.Unlock()
	if f != nil {
		return f
	}
	f = measure(src)
	if src.stream && c.keep {
		b := bytes.NewBuffer(make([]byte, 0, f.size))
		_ = f.writeTo(b) // a buffer takes everything
		f.writeTo = bytesFile(b.Bytes()).writeTo
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files == nil {
		c.files = map[string]*file{}
	}
	c.files[name] = f
	return f
}

// measure makes a file of a source, held in memory unless it is a stream.
func measure(src *source) *file {
	var b bytes.Buffer
	size, sum5, sum256 := counter(0), md5.New(), sha256.New()
	out := []io.Writer{&size, sum5, sum256}
	if !src.stream {
		out = append(out, &b)
	}
	if err := src.write(io.MultiWriter(out...)); err != nil {
		panic(fmt.Sprintf("cvtest: make a blob: %v", err)) // nothing here fails
	}
	f := &file{size: int64(size), md5: [md5.Size]byte(sum5.Sum(nil)), sha256: hex.EncodeToString(sum256.Sum(nil)), writeTo: src.write}
	if !src.stream {
		f.writeTo = bytesFile(b.Bytes()).writeTo
	}
	return f
}

type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}
