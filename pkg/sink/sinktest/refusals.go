package sinktest

import (
	"io"
	"net/http"
	"slices"
	"strings"
)

// Quirks of a Gateway that refuses or changes requests, with the stores that do so.
const (
	RefusesChecksums  Quirk = "refuses checksum headers"                   // Backblaze B2
	RefusesConditions Quirk = "refuses If-None-Match: 501"                 // Alibaba OSS
	DeniesConditions  Quirk = "refuses If-None-Match: 400"                 // other stores with a code of their own
	WantsContentMD5   Quirk = "refuses DeleteObjects without Content-MD5"  // Alibaba OSS, older stores
	RefusesBatches    Quirk = "refuses DeleteObjects: 501"                 // Google Cloud Storage, for long
	ChangesEncoding   Quirk = "changes Accept-Encoding on its way"         // Google Cloud Storage
	RefusesUploads    Quirk = "refuses multipart uploads: 501"             // small servers
	NoUploadLists     Quirk = "refuses ListMultipartUploads: NoSuchUpload" // older servers on gofakes3
	RefusesLists      Quirk = "refuses ListMultipartUploads: 501"          // gateways
)

// refusing is how a quirk refuses requests.
type refusing struct {
	quirk  Quirk
	status int
	code   string
	meets  func(op string, req *http.Request) bool
}

var refusals = []refusing{
	{RefusesChecksums, http.StatusBadRequest, "InvalidArgument", func(_ string, req *http.Request) bool { return hasChecksum(req.Header) }},
	{RefusesConditions, http.StatusNotImplemented, "NotImplemented", conditionalWrite},
	{DeniesConditions, http.StatusBadRequest, "InvalidArgument", conditionalWrite},
	{WantsContentMD5, http.StatusBadRequest, "MissingArgument", operation("DeleteObjects")},
	{RefusesBatches, http.StatusNotImplemented, "NotImplemented", operation("DeleteObjects")},
	{RefusesUploads, http.StatusNotImplemented, "NotImplemented", operation("CreateMultipartUpload", "ListMultipartUploads")},
	{NoUploadLists, http.StatusNotFound, "NoSuchUpload", operation("ListMultipartUploads")},
	{RefusesLists, http.StatusNotImplemented, "NotImplemented", operation("ListMultipartUploads")},
}

// hasChecksum reports whether a request sends one of S3's own checksums, or asks for one.
func hasChecksum(h http.Header) bool {
	for name := range h {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-checksum-") || name == "x-amz-sdk-checksum-algorithm" {
			return true
		}
	}
	return false
}

// conditionalWrite reports whether a request is a write with If-None-Match.
func conditionalWrite(_ string, req *http.Request) bool {
	return req.Header.Get("If-None-Match") != "" && (req.Method == http.MethodPut || req.Method == http.MethodPost)
}

// operation makes a test for requests of the named operations.
func operation(names ...string) func(string, *http.Request) bool {
	return func(op string, _ *http.Request) bool { return slices.Contains(names, op) }
}

// gate stands before the server and refuses or changes requests as the quirks of a gateway say.
type gate struct {
	g    *Gateway
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t gate) RoundTrip(req *http.Request) (*http.Response, error) {
	op, _, req, err := identify(req)
	if err != nil {
		return nil, err
	}
	for _, r := range refusals {
		if r.meets(op, req) && t.g.has(r.quirk) && !(r.quirk == WantsContentMD5 && req.Header.Get("Content-MD5") != "") {
			if req.Body != nil {
				_, _ = io.Copy(io.Discard, req.Body)
			}
			closeBody(req)
			return refusal(req, &Fault{Status: r.status, Code: r.code}), nil
		}
	}
	if t.g.has(ChangesEncoding) {
		req = req.Clone(req.Context())
		req.Header.Set("Accept-Encoding", strings.TrimPrefix(req.Header.Get("Accept-Encoding")+",gzip(gfe)", ","))
	}
	return t.next.RoundTrip(req)
}
