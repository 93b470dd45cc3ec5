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

// shelf is a store with objects of these sizes, which can be listed and read. A listing does not
// say the sizes if they are hidden.
type shelf struct {
	objects []shelved
	hidden  bool
}

type shelved struct {
	key  string
	size int
}

// RoundTrip implements http.RoundTripper.
func (s shelf) RoundTrip(req *http.Request) (*http.Response, error) {
	listed, body := "", ""
	for _, o := range s.objects {
		size := fmt.Sprintf("<Size>%d</Size>", o.size)
		if s.hidden {
			size = ""
		}
		listed += fmt.Sprintf("<Contents><Key>%s</Key>%s</Contents>", o.key, size)
		if req.URL.Path == "/b/"+o.key {
			body = strings.Repeat("x", o.size)
		}
	}
	if req.URL.Query().Has("list-type") {
		body = "<ListBucketResult><IsTruncated>false</IsTruncated>" + listed + "</ListBucketResult>"
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/xml"}}, ContentLength: int64(len(body)),
		Body: io.NopCloser(strings.NewReader(body)), Request: req,
	}, nil
}

// The empty objects that consoles make of folders are no files of a bag, also where a listing does
// not say how long they are; one that holds something is a finding.
func TestFolderMarkersAreNoFiles(t *testing.T) {
	objects := []shelved{{"id/export/", 0}, {"id/export/bagit.txt", 5}, {"id/export/data/", 0}, {"id/export/data/empty.txt", 0}, {"id/export/data/full/", 7}}
	for _, hidden := range []bool{false, true} {
		api, err := sink.Client(t.Context(), sink.Options{
			Endpoint: "http://store.example", Region: "us-east-1", PathStyle: true, Transport: shelf{objects, hidden}, Credentials: aws.AnonymousCredentials{},
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
			t.Errorf("sizes hidden: %v: the files are %q, want %q", hidden, names, want)
		}
		report, err := verify.Bag(t.Context(), source, verify.Options{})
		if !slices.ContainsFunc(report.Problems, func(p verify.Problem) bool { return p.Path == "data/full/" }) && err == nil {
			t.Errorf("sizes hidden: %v: no finding about data/full/: %+v", hidden, report)
		}
	}
}
