package cv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
)

// answers is a service that gives one answer to everything.
type answers []byte

func (a answers) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(a))}, nil
}

// choices are decisions made by the bytes that the fuzzer gives; the last ones count to 0.
type choices struct{ left []byte }

func (c *choices) choose(n int) int {
	if len(c.left) == 0 {
		return 0
	}
	b := int(c.left[0])
	if c.left = c.left[1:]; n > 256 && len(c.left) > 0 {
		b |= int(c.left[0]) << 8
		c.left = c.left[1:]
	}
	return b % n
}

// fuzzAnswers damages good answers of operations, as plan says, and holds what is made of each: it
// takes bounded memory, it is ErrUnavailable and nothing else, or else the answer had all that it
// must have.
func fuzzAnswers(f *testing.F, seeds []string, operations ...string) {
	f.Helper()
	byName := map[string]reading{}
	for _, r := range readings() {
		if _, ok := byName[r.name]; !ok {
			byName[r.name] = r
		}
	}
	for i := range operations {
		for _, answer := range append(seeds, byName[operations[i]].good) {
			for plan := range byte(24) {
				f.Add(uint8(i), []byte(answer), []byte{plan, plan * 7, plan, plan / 3, plan}) //nolint:gosec // few
			}
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, answer, plan []byte) {
		if len(answer) > 1<<16 || len(plan) > 64 {
			t.Skip()
		}
		r := byName[operations[int(which)%len(operations)]]
		body, c := answer, choices{plan}
		for range c.choose(4) {
			if len(body) < mib {
				body = cvtest.Damage(body, c.choose)
			}
		}
		client, err := New("http://127.0.0.1:1", TrainingKey(testKey), Options{
			Transport: answers(body), MaxAttempts: 1, Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		})
		if err != nil {
			t.Fatal(err)
		}
		var got any
		spent := allocated(func() { got, err = r.get(t.Context(), client) })
		if limit := most(answerBounds[r.name]); spent > limit {
			t.Errorf("%d KiB were allocated, at most %d", spent/kib, limit/kib)
		}
		if err != nil {
			if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrGone) || errors.Is(err, ErrMisconfigured) || errors.Is(err, ErrThrottled) || errors.Is(err, ErrUntrained) {
				t.Errorf("%q: error %v", short(body), err)
			}
			return
		}
		checkTaken(t, r.name, body, got)
	})
}

func short(b []byte) []byte { return b[:min(len(b), 2000)] }

// checkTaken holds an answer that was taken against the rules for all answers, by other code than
// that which reads them.
func checkTaken(t *testing.T, operation string, body []byte, got any) {
	t.Helper()
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	if !json.Valid(body) || !utf8.Valid(body) {
		t.Fatalf("%q was taken", short(body))
	}
	if twice := memberTwice(body); twice != "" {
		t.Errorf("%q was taken, which has %q twice", short(body), twice)
	}
	var whole any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&whole); err != nil {
		t.Fatal(err)
	}
	switch v := reflect.ValueOf(got); v.Kind() {
	case reflect.Int:
		if n := got.(int); n < 0 || n > 10_000_000 || fmt.Sprint(n) != fmt.Sprint(whole) && fmt.Sprint(whole) != "-0" {
			t.Errorf("%q was taken for %d", short(body), n)
		}
	case reflect.Slice:
		list, ok := whole.([]any)
		if !ok || v.Len() > len(list) || v.Len() < len(list) && !distinctLists[operation] {
			t.Fatalf("%q was taken for %d elements", short(body), v.Len())
		}
		for _, element := range list {
			checkObject(t, operation, element)
		}
	default:
		if result, ok := got.(PredictionQueryResult); ok {
			object, _ := whole.(map[string]any)
			list, ok := folded(object, "results").([]any)
			if !ok || len(list) != len(result.Results) {
				t.Fatalf("%q was taken for %d results", short(body), len(result.Results))
			}
			for _, element := range list {
				checkObject(t, operation, element)
			}
			token, _ := folded(object, "token").(map[string]any)
			if more, _ := folded(token, "continuation").(string); more != result.Token.Continuation {
				t.Errorf("%q was taken for the continuation %q", short(body), result.Token.Continuation)
			}
			return
		}
		checkObject(t, operation, whole)
	}
}

// distinctLists are the operations whose lists have each thing once.
var distinctLists = map[string]bool{"GetProjects": true, "GetIterations": true, "GetTags": true}

// checkObject holds what every object has that is taken.
func checkObject(t *testing.T, operation string, v any) {
	t.Helper()
	object, ok := v.(map[string]any)
	if !ok {
		t.Errorf("%v was taken for an object", v)
	}
	var need []string
	switch {
	case operation == "GetIterationPerformance":
		need = []string{"precision", "recall"}
	case operation == "GetExports":
		need = []string{"platform", "status"}
	case strings.HasPrefix(operation, "GetProject"), strings.HasPrefix(operation, "GetTag") && !strings.HasPrefix(operation, "GetTagged"), strings.HasPrefix(operation, "GetDomain"):
		need = []string{"id", "name"}
	case strings.HasPrefix(operation, "GetIteration"):
		need = []string{"id", "name", "status"}
		if folded(object, "status") == "Completed" {
			need = append(need, "trainedAt")
		}
	default:
		need = []string{"id"}
	}
	for _, name := range need {
		if folded(object, name) == nil {
			t.Errorf("%.2000v was taken without %s", object, name)
		}
	}
	if need[0] == "id" {
		if id, err := uuid.Parse(fmt.Sprint(folded(object, "id"))); err != nil || id == uuid.Nil {
			t.Errorf("%.2000v was taken with its id", object)
		}
	}
	for _, name := range []string{"project", "projectId"} {
		text, _ := folded(object, name).(string)
		if id, err := uuid.Parse(text); err == nil && id != idP && id != uuid.Nil && (name == "project") == (operation == "QueryPredictions") && strings.Contains("QueryPredictions GetIterations GetIteration", operation) {
			t.Errorf("%.2000v of another project was taken", object)
		}
	}
}

// folded is a member by its name, whatever its letter case.
func folded(object map[string]any, name string) any {
	for n, v := range object {
		if strings.EqualFold(n, name) {
			return v
		}
	}
	return nil
}

// memberTwice is a name that some object has twice.
func memberTwice(body []byte) string {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var look func(free bool) string
	look = func(free bool) string {
		token, err := d.Token()
		delim, composed := token.(json.Delim)
		if err != nil || !composed {
			return ""
		}
		seen := map[string]bool{}
		for d.More() {
			inner := free
			if delim == '{' {
				name, _ := d.Token()
				key := name.(string)
				inner = free || strings.EqualFold(key, "metadata")
				if !free {
					key = strings.ToUpper(strings.ToLower(key))
				}
				if seen[key] {
					return key
				}
				seen[key] = true
			}
			if twice := look(inner); twice != "" {
				return twice
			}
		}
		_, _ = d.Token()
		return ""
	}
	return look(false)
}

func FuzzCounts(f *testing.F) {
	fuzzAnswers(f, []string{"0", "10000000", "10000001", "-1", "1.0"}, "GetImageCount", "GetTaggedImageCount", "GetUntaggedImageCount", "GetImagePerformanceCount")
}

func FuzzDomains(f *testing.F) {
	fuzzAnswers(f, []string{`[{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","name":"General","type":"Classification","exportable":false,"enabled":true,"exportablePlatforms":[],"modelInformation":null}]`}, "GetDomains", "GetDomain")
}

func FuzzProjects(f *testing.F) {
	fuzzAnswers(f, []string{`[` + testProject + `,` + testProject + `]`, testProject}, "GetProjects", "GetProject")
}

func FuzzIterations(f *testing.F) {
	fuzzAnswers(f, []string{`[` + testIteration + `,` + testUntrained + `]`, testIteration}, "GetIterations", "GetIteration")
}

func FuzzTags(f *testing.F) {
	fuzzAnswers(f, []string{`[{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","name":"Tag #1","description":null,"type":"Regular","imageCount":7}]`}, "GetTags", "GetTag")
}

func FuzzImages(f *testing.F) {
	fuzzAnswers(f, []string{imagePage(1, 3), `[{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","metadata":{"a":"b","A":"c"},"tags":[]}]`},
		"GetImages", "GetTaggedImages", "GetUntaggedImages", "GetImagesByIds")
}

func FuzzPerformances(f *testing.F) {
	fuzzAnswers(f, []string{`[{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","predictions":[{"probability":1.1920929E-07,"tagId":"e3049fbe-e509-4ceb-95c6-f6427b972543","boundingBox":{"left":0}}]}]`,
		`{"perTagPerformance":[{"id":"e3049fbe-e509-4ceb-95c6-f6427b972543","precision":1.0}],"precision":1.0,"recall":0.5,"averagePrecision":null}`},
		"GetImagePerformances", "GetIterationPerformance")
}

func FuzzExports(f *testing.F) {
	fuzzAnswers(f, []string{`[{"platform":"TensorFlow","status":"Done","downloadUri":"https://h/x?sig=s","flavor":null,"newerVersionAvailable":false}]`}, "GetExports")
}

func FuzzPredictions(f *testing.F) {
	fuzzAnswers(f, []string{`{"token":` + testToken + `,"results":[` + testPrediction + `,` + testPrediction + `]}`, `{"results":[]}`}, "QueryPredictions")
}
