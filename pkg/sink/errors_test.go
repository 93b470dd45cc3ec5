package sink_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

func TestErrorsHaveTheirKind(t *testing.T) {
	kinds := map[string]error{
		"not found": sink.ErrNotFound, "conflict": sink.ErrConflict, "throttled": sink.ErrThrottled,
		"unavailable": sink.ErrUnavailable, "misconfigured": sink.ErrMisconfigured, "not kept": sink.ErrNotKept,
	}
	for _, tc := range []struct {
		name  string
		fault sinktest.Fault
		want  string // "" is none of them
	}{
		{"throttled to the end", sinktest.Fault{Status: 503, Times: -1}, "throttled"},
		{"429 to the end", sinktest.Fault{Status: 429, Times: -1}, "throttled"},
		{"long Retry-After is not waited for", sinktest.Fault{Status: 503, RetryAfter: time.Hour}, "throttled"},
		{"500 to the end", sinktest.Fault{Status: 500, Times: -1}, "unavailable"},
		{"502 to the end", sinktest.Fault{Status: 502, Times: -1}, "unavailable"},
		{"409 to the end", sinktest.Fault{Status: 409, Times: -1}, "unavailable"},
		{"resets to the end", sinktest.Fault{Effect: sinktest.Reset, Times: -1}, "unavailable"},
		{"access denied", sinktest.Fault{Status: 403}, "misconfigured"},
		{"no bucket", sinktest.Fault{Status: 404, Code: "NoSuchBucket"}, "misconfigured"},
		{"a 404 of something else", sinktest.Fault{Status: 404, Code: " "}, "misconfigured"},
		{"disk full", sinktest.Fault{Status: 507, Code: "XMinioStorageFull", Times: -1}, "misconfigured"},
		{"too large", sinktest.Fault{Status: 400, Code: "EntityTooLarge"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, sinktest.BucketOptions{})
			tc.fault.Op = "PutObject"
			store, _ := w.faulty(t, tc.fault)
			_, err := store.Put(t.Context(), "the/key", sink.Bytes([]byte("x"), ""))
			if err == nil {
				t.Fatal("no error")
			}
			for name, kind := range kinds {
				if errors.Is(err, kind) != (name == tc.want) {
					t.Errorf("errors.Is(%v, %s) is %v", err, name, errors.Is(err, kind))
				}
			}
			var e *sink.Error
			if !errors.As(err, &e) || e.Op != "put object" || e.Key != "the/key" || e.RetryAfter != min(tc.fault.RetryAfter, 5*time.Minute) {
				t.Errorf("error is %#v", err)
			}
			if strings.Contains(err.Error(), w.server.SecretKey) || strings.Contains(err.Error(), "Signature") {
				t.Errorf("error shows a secret: %v", err)
			}
		})
	}
}

func TestErrorsOfRealRefusals(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	ctx := t.Context()
	if _, err := w.store.Head(ctx, "nothing"); !errors.Is(err, sink.ErrNotFound) {
		t.Errorf("Head of nothing: %v", err)
	}
	if _, _, err := w.store.Open(ctx, "nothing"); !errors.Is(err, sink.ErrNotFound) {
		t.Errorf("Open of nothing: %v", err)
	}
	o := w.options()
	o.Bucket = "no-such-bucket"
	if _, err := sink.NewStore(w.server.Client(), o).Put(ctx, "k", sink.Bytes(nil, "")); !errors.Is(err, sink.ErrMisconfigured) {
		t.Errorf("Put into no bucket: %v", err)
	}
	settings := w.server.Settings(nil)
	settings.Endpoint, settings.MaxAttempts = "http://127.0.0.1:1", 2
	away, err := sink.Client(ctx, settings)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.NewStore(away, w.options()).Put(ctx, "k", sink.Bytes(nil, "")); !errors.Is(err, sink.ErrMisconfigured) {
		t.Errorf("Put to an address without a server: %v", err)
	}
	wrong := w.server.Client(func(o *s3.Options) { o.Credentials = wrongKey{} })
	if _, err := sink.NewStore(wrong, w.options()).Put(ctx, "k", sink.Bytes(nil, "")); !errors.Is(err, sink.ErrMisconfigured) {
		t.Errorf("Put with a wrong key: %v", err)
	}
}

// What a server of credentials answers (of the machine's metadata, of web identities) says nothing
// of the store, whatever its status and code: no key was asked for, and no request is at fault.
func TestErrorsOfCredentials(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	for status, code := range map[int]string{400: "InvalidIdentityToken", 404: "NoSuchKey", 412: "PreconditionFailed", 503: "SlowDown"} {
		refused := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{}, &smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRoleWithWebIdentity", Err: &smithyhttp.ResponseError{
				Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {"9"}}}}, Err: &smithy.GenericAPIError{Code: code, Message: "refused by STS"},
			}}
		})
		store := sink.NewStore(w.server.Client(func(o *s3.Options) { o.Credentials = refused }), w.options())
		_, err := store.Head(t.Context(), "the/key")
		var e *sink.Error
		if !errors.As(err, &e) || e.Status != 0 || e.Code != "" || e.RetryAfter != 0 || !errors.Is(err, sink.ErrMisconfigured) || errors.Is(err, sink.ErrNotFound) {
			t.Errorf("%d %s: %#v", status, code, err)
		}
		if text := err.Error(); !strings.Contains(text, "get credentials: ") || !strings.Contains(text, "refused by STS") {
			t.Errorf("%d %s: it says %s", status, code, text)
		}
	}
}
