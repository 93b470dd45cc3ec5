package cvtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
)

// A server, an account of one project, and a fault that must be met.
func Example() {
	srv := cvtest.New(cvtest.Options{Seed: 1, BasePath: "/base"}).Start()
	defer srv.Close()
	project := srv.AddProject(cvtest.ProjectSpec{Name: "Fruit", Tags: []string{"apple", "pear"}, Images: 12, ImageBytes: cvtest.Tiny})
	srv.Fault(cvtest.Fault{Operation: "GetTags", Status: http.StatusServiceUnavailable})

	get := func(path string, v any) int {
		req, err := http.NewRequest(http.MethodGet, srv.URL()+"/customvision/v3.3/training/projects/"+project.ID.String()+path, nil)
		if err != nil {
			panic(err)
		}
		req.Header.Set("Training-Key", srv.Key())
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			panic(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
			panic(err)
		}
		return resp.StatusCode
	}
	var tags []struct {
		Name       string
		ImageCount int
	}
	var failure any
	fmt.Println(get("/tags", &failure), len(srv.Unhit()))
	fmt.Println(get("/tags", &tags), tags)
	for _, call := range srv.Calls() {
		fmt.Println(call.Operation, call.Status)
	}
	// Output:
	// 503 0
	// 200 [{apple 6} {pear 6}]
	// GetTags 503
	// GetTags 200
}
