package cv

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// reading is one operation that reads.
type reading struct {
	name string
	good string   // an answer
	bad  []string // unusable answers, besides null and an empty body
	do   func(ctx context.Context, c *Client) error
	get  func(ctx context.Context, c *Client) (any, error) // do, with what was read
}

// reads makes a reading of a method's call.
func reads[T any](name, good string, bad []string, do func(context.Context, *Client) (T, error)) reading {
	return reading{name, good, bad, func(ctx context.Context, c *Client) error {
		_, err := do(ctx, c)
		return err
	}, func(ctx context.Context, c *Client) (any, error) { return do(ctx, c) }}
}

// readings are all operations that read.
func readings() []reading {
	const (
		thing       = `{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","name":"n"}`
		nameless    = `{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3"}`
		named7      = `{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","name":7}`
		iteration   = `{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","name":"n","status":"Completed","trainedAt":"2020-11-06T16:48:03.816Z"}`
		untrained   = `{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","name":"n","status":"Completed","trainedAt":null}`
		trained7    = `{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","name":"n","status":"Completed","trainedAt":7}`
		elsewhere   = `{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","name":"n","status":"New","projectId":"468e679e-ad7e-4707-9622-2d8d8ce71e2e"}`
		published7  = `{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","name":"n","status":"New","publishName":7}`
		export      = `{"platform":"ONNX","status":"Done"}`
		performance = `{"precision":"NaN","recall":0.5}`
		noPlatform  = `{"status":"Done","downloadUri":"https://h/x"}`
		noStatus    = `{"platform":"ONNX","downloadUri":"https://h/x"}`
		another     = `{"id":"468e679e-ad7e-4707-9622-2d8d8ce71e2e","name":"n","status":"New"}` // of which nothing was asked
	)
	noThing := []string{`{}`, `[]`, `"x"`, `7`, `{"id":null}`, `{"id":""}`, `{"id":"x"}`, `{"id":7}`, `{"code":"NotFound","message":"m"}`}
	noCount := []string{`-1`, `1.5`, `"7"`, `[]`, `{}`, `true`, `1e3`, `10000001`, `200000000`, `9223372036854775807`, `9223372036854775808`, `99999999999999999999`}
	noList := []string{`{}`, `7`, `"x"`, `[null]`, `["x"]`, `[7]`, `[[]]`, `[{}]`, `[{"name":"x"}]`}
	of := func(good string, bad []string) []string { // a list of more than one
		return append([]string{`[` + good + `,null]`, `[` + good + `,{}]`, `{"value":[` + good + `]}`}, bad...)
	}
	unnamed := append([]string{`[` + nameless + `]`, `[` + named7 + `]`, `[` + thing + `,` + nameless + `]`}, noList...)
	odd := func(members ...string) (list []string) { // things with members of another type
		for _, m := range members {
			list = append(list, `[{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3",`+m+`}]`)
		}
		return list
	}
	items := of(thing, noList)
	images := append(odd(`"tags":"x"`, `"tags":{}`, `"tags":[null]`, `"tags":[{}]`, `"tags":[7]`, `"tags":[{"tagId":"x"}]`, `"metadata":"x"`, `"metadata":[]`, `"metadata":{"k":7}`, `"originalImageUri":7`, `"resizedImageUri":{}`), items...)
	notThis := append([]string{another, nameless, named7}, noThing...)
	return []reading{
		reads("GetDomains", `[`+thing+`]`, of(thing, unnamed), func(ctx context.Context, c *Client) ([]Domain, error) { return c.GetDomains(ctx) }),
		reads("GetDomain", thing, notThis, func(ctx context.Context, c *Client) (Domain, error) { return c.GetDomain(ctx, idI) }),
		reads("GetProjects", `[]`, of(thing, unnamed), func(ctx context.Context, c *Client) ([]Project, error) { return c.GetProjects(ctx) }),
		reads("GetProject", thing, notThis, func(ctx context.Context, c *Client) (Project, error) { return c.GetProject(ctx, idI) }),
		reads("GetIterations", `[`+iteration+`]`, append(of(iteration, unnamed), `[`+thing+`]`, `[`+untrained+`]`, `[`+trained7+`]`, `[`+elsewhere+`]`, `[`+published7+`]`),
			func(ctx context.Context, c *Client) ([]Iteration, error) { return c.GetIterations(ctx, idP) }),
		reads("GetIteration", iteration, append(notThis, thing, untrained, trained7, elsewhere, published7, `{"status":"Completed"}`),
			func(ctx context.Context, c *Client) (Iteration, error) { return c.GetIteration(ctx, idP, idI) }),
		reads("GetIterationPerformance", performance, []string{`{}`, `[]`, `7`, `{"precision":null,"recall":null}`, `{"precision":1}`, `{"recall":1}`},
			func(ctx context.Context, c *Client) (IterationPerformance, error) {
				return c.GetIterationPerformance(ctx, idP, idI, 0.5, 0.3)
			}),
		reads("GetImagePerformances", `[`+thing+`]`, items,
			func(ctx context.Context, c *Client) ([]ImagePerformance, error) {
				return c.GetImagePerformances(ctx, idP, idI, PageQuery{})
			}),
		reads("GetImagePerformanceCount", `0`, noCount, func(ctx context.Context, c *Client) (int, error) { return c.GetImagePerformanceCount(ctx, idP, idI) }),
		reads("GetExports", `[`+export+`]`, append(of(export, noList), `[{"platform":"ONNX","status":"Done","flavor":7}]`, `[{"platform":"ONNX","status":"Done","downloadUri":[]}]`, `[`+noPlatform+`]`, `[`+noStatus+`]`, `[`+export+`,`+noStatus+`]`),
			func(ctx context.Context, c *Client) ([]Export, error) { return c.GetExports(ctx, idP, idI) }),
		reads("GetTags", `[]`, of(thing, unnamed), func(ctx context.Context, c *Client) ([]Tag, error) { return c.GetTags(ctx, idP, idI) }),
		reads("GetTag", thing, notThis, func(ctx context.Context, c *Client) (Tag, error) { return c.GetTag(ctx, idP, idI, uuid.Nil) }),
		reads("GetImages", `[]`, images, func(ctx context.Context, c *Client) ([]Image, error) { return c.GetImages(ctx, idP, ImageQuery{}) }),
		reads("GetTaggedImages", `[`+thing+`]`, images, func(ctx context.Context, c *Client) ([]Image, error) {
			return c.GetTaggedImages(ctx, idP, ImageQuery{})
		}),
		reads("GetTaggedImages", `[{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","tags":[{"tagId":"e3049fbe-e509-4ceb-95c6-f6427b972543"}]}]`,
			append(odd(`"tags":null`, `"tags":[]`), append(images, `[`+thing+`]`)...), func(ctx context.Context, c *Client) ([]Image, error) {
				return c.GetTaggedImages(ctx, idP, ImageQuery{TagIDs: []uuid.UUID{idT}})
			}),
		reads("GetUntaggedImages", `[]`, images, func(ctx context.Context, c *Client) ([]Image, error) {
			return c.GetUntaggedImages(ctx, idP, ImageQuery{})
		}),
		reads("GetImagesByIds", `[]`, append(images, `[`+another+`]`, `[`+thing+`,`+another+`]`),
			func(ctx context.Context, c *Client) ([]Image, error) {
				return c.GetImagesByIDs(ctx, idP, uuid.Nil, []uuid.UUID{idI})
			}),
		reads("GetImageCount", `7`, noCount, func(ctx context.Context, c *Client) (int, error) { return c.GetImageCount(ctx, idP, ImageQuery{}) }),
		reads("GetTaggedImageCount", `0`, noCount,
			func(ctx context.Context, c *Client) (int, error) { return c.GetTaggedImageCount(ctx, idP, idI, nil) }),
		reads("GetUntaggedImageCount", `0`, noCount,
			func(ctx context.Context, c *Client) (int, error) { return c.GetUntaggedImageCount(ctx, idP, idI) }),
		reads("QueryPredictions", `{"token":{"continuation":null},"results":[`+thing+`]}`,
			append(noThing, `{"token":{"continuation":"next"}}`, `{"token":{"continuation":""},"results":null}`, `{"token":{"continuation":""},"results":{}}`,
				`{"token":{"continuation":""},"results":[null]}`, `{"token":{"continuation":""},"results":[`+thing+`,7]}`, `{"token":{"continuation":""},"results":[`+thing+`,{}]}`,
				`{"results":[`+thing+`]}`, `{"token":null,"results":[`+thing+`]}`, `{"token":{},"results":[`+thing+`]}`, `{"token":{"continuation":7},"results":[`+thing+`]}`,
				`{"token":7,"results":[]}`, `{"token":[],"results":[]}`, `{"results":[],"Results":[]}`, `{"token":{"continuation":null},"token":null,"results":[]}`,
				`{"token":{"continuation":null},"results":[{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","project":"468e679e-ad7e-4707-9622-2d8d8ce71e2e"}]}`,
				`{"token":{"continuation":null},"results":[{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","iteration":7}]}`,
				`{"token":{"continuation":null},"results":[{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","originalImageUri":7}]}`),
			func(ctx context.Context, c *Client) (PredictionQueryResult, error) {
				return c.QueryPredictions(ctx, idP, PredictionQueryToken{})
			}),
	}
}

// damaged is an answer that was good, in ways that spoil every one. (The text of a count has no
// members to be damaged.)
func damaged(good string) []string {
	list := []string{good + "x", good + "]", good + "\x00", good + " " + good, good + "\n" + good, good + "null", good[:len(good)-1] + "\xff", "\xff\xfe" + good}
	at := strings.Index(good, `{"`)
	if at < 0 {
		return list
	}
	first, _, _ := strings.Cut(good[at+2:], `"`)
	for _, member := range []string{
		`"text":"` + "\xff" + `"`, `"` + "\xc3" + `":1`, `"a":1,"a":1`, `"a":1,"b":{},"A":2`, `"a":1,"\u0061":2`, `"a":[{"b":[],"c":1,"B":null}]`, `"metadata":{"k":"v","k":"w"}`,
		`"` + first + `":null`, `"` + strings.ToUpper(first) + `":null`,
		`"deep":` + strings.Repeat(`[`, 40) + strings.Repeat(`]`, 40), `"deep":` + strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40),
	} {
		list = append(list, good[:at+1]+member+`,`+good[at+1:])
	}
	return list
}

// TestUnusableAnswers gives each operation that reads answers that are unusable to it. The call is
// retried; if no usable answer comes, it is ErrUnavailable, and not "nothing there".
func TestUnusableAnswers(t *testing.T) {
	for _, r := range readings() {
		t.Run(r.name, func(t *testing.T) {
			for _, bad := range slices.Concat([]string{``, "\ufeff", `null`, " null\r\n", "\ufeffnull"}, damaged(r.good), r.bad) {
				w := newWorld(t, script(status(200, bad), status(200, "\ufeff\r\n "+r.good+"\r\n ")))
				if err := r.do(t.Context(), w.Client); err != nil || len(w.requests()) != 2 {
					t.Errorf("%q, then a good answer: %v after %d tries", bad, err, len(w.requests()))
				}
				w = newWorld(t, status(200, bad))
				err := r.do(t.Context(), w.Client)
				var e *Error
				if !errors.Is(err, ErrUnavailable) || !errors.As(err, &e) || e.Op != r.name || e.Status != 200 || len(w.requests()) != defaultMaxAttempts {
					t.Errorf("%q every time: %v after %d tries", bad, err, len(w.requests()))
				}
				for _, kind := range []error{ErrGone, ErrThrottled, ErrMisconfigured, ErrUntrained} {
					if errors.Is(err, kind) {
						t.Errorf("%q every time: %v is %v", bad, err, kind)
					}
				}
			}
		})
	}
}

// TestSuccessThatIsNone: answers with a 2xx status that are unusable.
func TestSuccessThatIsNone(t *testing.T) {
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		kind   error
		tries  int
		text   string
	}{
		"a login page": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "text/html")
			_, _ = rw.Write([]byte("<html>sign in</html>"))
		}, ErrMisconfigured, 1, "answer of type text/html, not JSON"},
		"empty":      {status(200, ""), ErrUnavailable, 5, "the answer is truncated or invalid JSON, within its first 0 bytes"},
		"no content": {status(204, ""), ErrUnavailable, 5, "the answer is truncated or invalid JSON, within its first 0 bytes"},
		"half of it": {status(200, `[{"id":"`), ErrUnavailable, 5, "the answer is truncated or invalid JSON, within its first 8 bytes"},
		"cut": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "100")
			answer(rw, 200, `[]`)
		}, ErrUnavailable, 5, "read answer: unexpected EOF"},
		"cut chunks": {func(rw http.ResponseWriter, _ *http.Request) {
			answer(rw, 200, `[`)
			_ = http.NewResponseController(rw).Flush()
			panic(http.ErrAbortHandler)
		}, ErrUnavailable, 5, "read answer: unexpected EOF"},
		"other JSON":  {status(200, `{"projects":[]}`), ErrUnavailable, 5, "does not begin with ["},
		"no objects":  {status(200, `["a"]`), ErrUnavailable, 5, "not a JSON object"},
		"no id":       {status(200, `[{"name":"x"}]`), ErrUnavailable, 5, "no id in it"},
		"null object": {status(200, `[null]`), ErrUnavailable, 5, "is null"},
		"no name":     {status(200, `[{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3"}]`), ErrUnavailable, 5, "no name in it"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.handle)
			_, err := w.GetProjects(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("error %v", err)
			}
			for _, kind := range []error{ErrGone, ErrThrottled, ErrMisconfigured, ErrUnavailable} {
				if want := errors.Is(c.kind, kind); errors.Is(err, kind) != want {
					t.Errorf("%v is %v should be %v", err, kind, want)
				}
			}
			var e *Error
			if !errors.As(err, &e) || e.Op != "GetProjects" || e.Status/100 != 2 {
				t.Errorf("%+v", e)
			}
			if n := len(w.requests()); n != c.tries {
				t.Errorf("%d tries", n)
			}
		})
	}
}
