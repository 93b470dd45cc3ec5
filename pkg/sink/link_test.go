package sink_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// TestLink reads an object by its link without credentials, and another one not.
func TestLink(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	if _, err := w.store.Put(t.Context(), "a/b.zip", sink.Bytes([]byte("content"), "application/zip")); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, time.November, 30, 12, 0, 0, 0, time.UTC)
	link, err := w.store.Link(t.Context(), "a/b.zip", "b.zip", time.Hour, now)
	if err != nil || link.Temporary || !link.Expires.Equal(now.Add(time.Hour)) {
		t.Fatalf("%+v, %v", link, err)
	}
	get := func(url string) (int, string, http.Header) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := w.server.Transport().RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b), resp.Header
	}
	code, body, header := get(link.URL)
	if code != http.StatusOK || body != "content" || header.Get("Content-Disposition") != "attachment; filename=b.zip" {
		t.Errorf("status %d, %q, %v", code, body, header)
	}
	for _, other := range []string{strings.Replace(link.URL, "b.zip", "c.zip", 1), strings.Replace(link.URL, "Expires=3600", "Expires=7200", 1)} {
		if code, _, _ := get(other); code != http.StatusForbidden {
			t.Errorf("a changed link gets status %d", code)
		}
	}
	for _, lasts := range []time.Duration{0, -time.Hour, sink.MaxLink + time.Second} {
		if _, err := w.store.Link(t.Context(), "a", "", lasts, now); err == nil {
			t.Errorf("one may last %s", lasts)
		}
	}
}

// TestLinkOfTemporaryCredentials does not promise more than the credentials do.
func TestLinkOfTemporaryCredentials(t *testing.T) {
	now := time.Date(2026, time.November, 30, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		end  time.Time // zero: not known
		want time.Time
	}{
		"not known": {want: now.Add(time.Hour)},
		"earlier":   {end: now.Add(time.Minute), want: now.Add(time.Minute)},
		"later":     {end: now.Add(2 * time.Hour), want: now.Add(time.Hour)},
	} {
		api := s3.New(s3.Options{Region: "us-east-1", Credentials: aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "a", SecretAccessKey: "b", SessionToken: "c", CanExpire: !c.end.IsZero(), Expires: c.end}, nil
		})})
		link, err := sink.NewStore(api, sink.StoreOptions{Bucket: "b"}).Link(t.Context(), "k", "", time.Hour, now)
		if err != nil || !link.Temporary || !link.Expires.Equal(c.want) {
			t.Errorf("%s: %+v, %v", name, link, err)
		}
	}
}
