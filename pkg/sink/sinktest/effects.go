package sinktest

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// send carries a request out, or not, as a fault has it.
func send(next http.RoundTripper, req *http.Request, op string, fault *Fault) (*http.Response, error) {
	switch {
	case fault == nil:
		return next.RoundTrip(req)
	case fault.Effect == Cut && req.ContentLength > 0:
		cut := req.Clone(req.Context())
		cut.Body = &cutBody{ReadCloser: req.Body, left: req.ContentLength / 2, err: errReset("write")}
		return next.RoundTrip(cut)
	case fault.Effect == Cut:
		return halve(next, req, io.ErrUnexpectedEOF)
	case fault.Effect == End:
		return halve(next, req, io.EOF)
	}
	if fault.After {
		resp, err := next.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		discard(resp)
	}
	switch fault.Effect {
	case Reset:
		closeBody(req)
		return nil, errReset("read")
	case Hang:
		closeBody(req)
		<-req.Context().Done()
		return nil, context.Cause(req.Context())
	case Lie:
		return lie(req, op)
	default:
		closeBody(req)
		return refusal(req, fault), nil
	}
}

// halve has half of an answer's body arrive, and then an error.
func halve(next http.RoundTripper, req *http.Request, end error) (*http.Response, error) {
	resp, err := next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	length := resp.ContentLength
	if length < 0 { // it is counted
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, err
		}
		_ = resp.Body.Close()
		resp.Body, length = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	}
	resp.Body = &cutBody{ReadCloser: resp.Body, left: length / 2, err: end}
	return resp, nil
}

// errReset is what a broken connection looks like.
func errReset(op string) error {
	return &net.OpError{Op: op, Net: "tcp", Err: os.NewSyscallError(op, syscall.ECONNRESET)}
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

func discard(resp *http.Response) {
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}

// cutBody is a body that ends early.
type cutBody struct {
	io.ReadCloser
	left int64
	err  error
}

// Read implements io.Reader.
func (c *cutBody) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, c.err
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// refusal is an error answer.
func refusal(req *http.Request, fault *Fault) *http.Response {
	code := fault.Code
	if code == "" {
		code = map[int]string{
			http.StatusForbidden:           "AccessDenied",
			http.StatusNotFound:            "NoSuchKey",
			http.StatusConflict:            "ConditionalRequestConflict",
			http.StatusPreconditionFailed:  "PreconditionFailed",
			http.StatusInternalServerError: "InternalError",
			http.StatusNotImplemented:      "NotImplemented",
			http.StatusServiceUnavailable:  "SlowDown",
		}[fault.Status]
	}
	var body string
	if code != "" && req.Method != http.MethodHead {
		body = errorBody(code)
	}
	resp := answer(req, fault.Status, body)
	if fault.RetryAfter > 0 {
		resp.Header.Set("Retry-After", strconv.Itoa(int(fault.RetryAfter/time.Second)))
	}
	return resp
}

// errorBody is the body of an error answer.
func errorBody(code string) string {
	return fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>scripted fault</Message></Error>", code)
}

// answer makes an answer.
func answer(req *http.Request, status int, body string) *http.Response {
	resp := &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}
	if body != "" {
		resp.Header.Set("Content-Type", "application/xml")
	}
	return resp
}

// lie is the answer of a store that says it did what it did not do.
func lie(req *http.Request, op string) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		defer closeBody(req)
		into := io.Writer(io.Discard)
		if op == "DeleteObjects" {
			into = writer(func(p []byte) { body = append(body, p...) })
		}
		if _, err := io.Copy(into, req.Body); err != nil {
			return nil, err
		}
	}
	switch op {
	case "DeleteObject", "AbortMultipartUpload":
		return answer(req, http.StatusNoContent, ""), nil
	case "DeleteObjects":
		var b strings.Builder
		b.WriteString("<DeleteResult>")
		for _, object := range deleted(body) {
			b.WriteString("<Deleted><Key>")
			_ = xml.EscapeText(&b, []byte(object.Key))
			b.WriteString("</Key>")
			if object.VersionID != "" {
				b.WriteString("<VersionId>" + object.VersionID + "</VersionId>")
			}
			b.WriteString("</Deleted>")
		}
		return answer(req, http.StatusOK, b.String()+"</DeleteResult>"), nil
	case "CompleteMultipartUpload":
		return answer(req, http.StatusOK, `<CompleteMultipartUploadResult><ETag>"0-1"</ETag></CompleteMultipartUploadResult>`), nil
	default:
		resp := answer(req, http.StatusOK, "")
		resp.Header.Set("Etag", `"00000000000000000000000000000000"`)
		if checksum := req.Header.Get(checksumHeader); checksum != "" {
			resp.Header.Set(checksumHeader, checksum)
		}
		return resp, nil
	}
}

// writer is a function as an io.Writer.
type writer func([]byte)

// Write implements io.Writer.
func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}
