package cv_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
)

// TestMissing tells what a 404 speaks of.
func TestMissing(t *testing.T) {
	for _, c := range []struct {
		err  error
		want cv.Thing
	}{
		{&cv.Error{Op: "GetTags", Status: 404, Code: "NotFoundProject"}, cv.ThingProject},
		{&cv.Error{Op: "GetImagesByIds", Status: 404, Code: "NotFoundImage"}, cv.ThingImage},
		{&cv.Error{Op: "GetImagesByIds", Status: 404, Code: "NotFoundIteration"}, cv.ThingIteration},
		{fmt.Errorf("read: %w", &cv.Error{Op: "GetTag", Status: 404, Code: "NotFoundTag"}), cv.ThingTag},
		{&cv.Error{Op: "GetTag", Status: 404, Code: "NotFound"}, cv.ThingTag},
		{&cv.Error{Op: "GetProject", Status: 404, Code: "NotFound"}, cv.ThingProject},
		{&cv.Error{Op: "GetTags", Status: 404, Code: "NotFound"}, ""},
		{&cv.Error{Op: "GetTag", Status: 404, Code: "NotFoundDomain"}, ""},
		{&cv.Error{Op: "GetTag", Status: 404, Code: "NotFoundProjectDefaultIteration"}, ""},
		{&cv.Error{Op: "GetIterationPerformance", Status: 404, Code: "NotFoundIterationPerformance"}, ""}, // untrained
		{&cv.Error{Op: "GetTag", Status: 404}, ""},                                                        // the gateway
		{&cv.Error{Op: "GetProject", Status: 500, Code: "NotFoundProject"}, ""},
		{errors.New("NotFoundProject"), ""},
	} {
		if got := cv.Missing(c.err); got != c.want {
			t.Errorf("%v: says that a %q is not there, want %q", c.err, got, c.want)
		}
	}
}
