package verify_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// listing is a store that holds nothing but what it lists.
type listing string

// RoundTrip implements http.RoundTripper.
func (l listing) RoundTrip(req *http.Request) (*http.Response, error) {
	body := "<ListBucketResult><IsTruncated>false</IsTruncated>" + string(l) + "</ListBucketResult>"
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/xml"}}, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
}

// The empty objects that consoles make of folders are no files of a bag; one that holds something
// is a finding.
func TestFolderMarkersAreNoFiles(t *testing.T) {
	var objects listing
	for _, o := range []struct {
		key  string
		size int
	}{{"id/export/", 0}, {"id/export/bagit.txt", 5}, {"id/export/data/", 0}, {"id/export/data/empty.txt", 0}, {"id/export/data/full/", 7}} {
		objects += listing(fmt.Sprintf("<Contents><Key>%s</Key><Size>%d</Size></Contents>", o.key, o.size))
	}
	api, err := sink.Client(t.Context(), sink.Options{
		Endpoint: "http://store.example", Region: "us-east-1", PathStyle: true, Transport: objects, Credentials: aws.AnonymousCredentials{},
	})
	if err != nil {
		t.Fatal(err)
	}
	source := verify.Stored(sink.NewStore(api, sink.StoreOptions{Bucket: "b"}), "id/export/")
	var names []string
	for file, err := range source.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, file.Name)
	}
	if want := []string{"bagit.txt", "data/empty.txt", "data/full/"}; !slices.Equal(names, want) {
		t.Errorf("the files are %q, want %q", names, want)
	}
	report, err := verify.Bag(t.Context(), verify.Stored(sink.NewStore(api, sink.StoreOptions{Bucket: "b"}), "id/export/"), verify.Options{})
	if !slices.ContainsFunc(report.Problems, func(p verify.Problem) bool { return p.Path == "data/full/" }) && err == nil {
		t.Errorf("no finding about data/full/: %+v", report)
	}
}
