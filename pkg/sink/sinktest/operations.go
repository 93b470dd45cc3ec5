package sinktest

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"strings"
)

// deleteEntry is an object that a DeleteObjects names.
type deleteEntry struct {
	Key       string `xml:"Key"`
	VersionID string `xml:"VersionId"`
}

// deleted lists the objects that the body of a DeleteObjects names.
func deleted(body []byte) []deleteEntry {
	var list struct {
		Objects []deleteEntry `xml:"Object"`
	}
	_ = xml.Unmarshal(body, &list)
	return list.Objects
}

// identify gives a request's operation and key. The request it gives is the one to send: the body
// may have been read.
func identify(req *http.Request) (op, key string, _ *http.Request, err error) {
	_, key, _ = strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
	q := req.URL.Query()
	if key == "" {
		op = bucketOperation(req.Method, q.Has)
		key = q.Get("prefix")
		if op == "DeleteObjects" && req.Body != nil {
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return "", "", nil, err
			}
			closeBody(req)
			req = req.Clone(req.Context())
			req.Body = io.NopCloser(bytes.NewReader(body))
			if objects := deleted(body); len(objects) > 0 {
				key = objects[0].Key
			}
		}
		return op, key, req, nil
	}
	return objectOperation(req, q.Has), key, req, nil
}

// bucketOperation is the name of an operation on a bucket.
func bucketOperation(method string, has func(string) bool) string {
	switch method {
	case http.MethodHead:
		return "HeadBucket"
	case http.MethodDelete:
		return "DeleteBucket"
	case http.MethodPost:
		return "DeleteObjects"
	case http.MethodPut:
		switch {
		case has("versioning"):
			return "PutBucketVersioning"
		case has("object-lock"):
			return "PutObjectLockConfiguration"
		}
		return "CreateBucket"
	}
	switch {
	case has("versioning"):
		return "GetBucketVersioning"
	case has("versions"):
		return "ListObjectVersions"
	case has("uploads"):
		return "ListMultipartUploads"
	case has("object-lock"):
		return "GetObjectLockConfiguration"
	case has("list-type"):
		return "ListObjectsV2"
	}
	return "ListObjects"
}

// objectOperation is the name of an operation on an object.
func objectOperation(req *http.Request, has func(string) bool) string {
	verb := map[string]string{http.MethodGet: "Get", http.MethodPut: "Put", http.MethodDelete: "Delete", http.MethodHead: "Head"}[req.Method]
	switch {
	case has("retention"):
		return verb + "ObjectRetention"
	case has("legal-hold"):
		return verb + "ObjectLegalHold"
	case has("tagging"):
		return verb + "ObjectTagging"
	case req.Method == http.MethodPost && has("uploads"):
		return "CreateMultipartUpload"
	case req.Method == http.MethodPost && has("uploadId"):
		return "CompleteMultipartUpload"
	case req.Method == http.MethodPut && has("uploadId"):
		return "UploadPart"
	case req.Method == http.MethodDelete && has("uploadId"):
		return "AbortMultipartUpload"
	case req.Method == http.MethodGet && has("uploadId"):
		return "ListParts"
	case req.Method == http.MethodPut && req.Header.Get("X-Amz-Copy-Source") != "":
		return "CopyObject"
	}
	return verb + "Object"
}
