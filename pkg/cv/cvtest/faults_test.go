package cvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCalls(t *testing.T) {
	c := newClock()
	s := start(t, Options{Now: c.Now})
	made := s.AddProject(tinySpec())
	p := "projects/" + made.ID.String()
	r := send(t, s, "DELETE", p+"/images?imageIds="+strings.ToUpper(join(made.Images[8:10]))+"&allIterations=true", "")
	send(t, s, "GET", p+"/images/tagged?take=3", "")
	calls := s.Calls()
	if len(calls) != 2 {
		t.Fatalf("%d calls", len(calls))
	}
	got := calls[0]
	if got.Operation != "DeleteImages" || got.Status != 202 || got.Method != "DELETE" || !got.Time.Equal(c.Now()) || !got.Changes ||
		got.RequestID != r.header.Get("Request-Id") || got.Target() != p+"/images "+join(made.Images[8:10]) || got.Query.Get("allIterations") != "true" {
		t.Errorf("call %+v", got)
	}
	if calls[1].Target() != p+"/images/tagged" || calls[1].Changes || calls[1].RequestID == got.RequestID {
		t.Errorf("call %+v", calls[1])
	}
	if len(s.DestructiveCalls()) != 1 || s.Count("GetTaggedImages") != 1 {
		t.Error("counts")
	}
	s.ResetCalls()
	if len(s.Calls()) != 0 || s.Count("GetTaggedImages") != 0 {
		t.Error("calls were not forgotten")
	}
}

// TestHook changes the account in the middle of a listing.
func TestHook(t *testing.T) {
	s := start(t, Options{})
	made := s.AddProject(tinySpec())
	s.OnCall(func(operation string, n int) {
		if operation == "GetImages" && n == 2 {
			s.RemoveImage(made.ID, made.Images[6])
			s.AddImages(made.ID, 3, Tiny)
		}
	})
	path := "projects/" + made.ID.String() + "/images?orderBy=Oldest&take=10"
	one, two := get[[]listed](t, s, path), get[[]listed](t, s, path)
	if one[1].ID != made.Images[6] || two[1].ID == made.Images[6] {
		t.Error("the hook did not act between the calls")
	}
	if n := get[int](t, s, "projects/"+made.ID.String()+"/images/count"); n != 33 {
		t.Errorf("%d images", n)
	}
}

func TestFaults(t *testing.T) {
	s := start(t, Options{})
	made := s.AddProject(tinySpec())
	p := "projects/" + made.ID.String()
	link := get[[]listed](t, s, p+"/images")[0].OriginalImageURI
	other := get[[]listed](t, s, p+"/images")[1].OriginalImageURI
	bare := func(r *http.Request) { r.Header.Del("Training-Key") }
	blob := func(l string) reply { return send(t, s, "GET", l, "", bare) }

	for _, f := range []Fault{
		{Operation: "GetProject", Call: 1, Times: 2, Status: 503, RetryAfter: 1500 * time.Millisecond},
		{Operation: "GetTags", Status: 429},
		{Operation: "GetTag", Status: 400, Code: "BadRequestCustomerManagedKeyRevoked"},
		{Operation: "GetIterations", Status: 502, Body: "<html>bad gateway</html>", Header: http.Header{"Content-Type": {"text/html"}}},
		{Operation: "GetDomains", Reset: true},
		Null("GetTaggedImages", 1),
		{Operation: "GetProjects", CutBody: true},
		{Operation: "GetImageCount", Delay: time.Millisecond},
		{Operation: "DeleteTag", Reset: true, AfterEffect: true},
		{Operation: "DeletePrediction", Status: 500, AfterEffect: true},
		{Operation: OperationBlob, Path: strings.ToUpper(strings.TrimPrefix(link, s.BlobURL())[:80]), Times: -1, Status: 404},
	} {
		s.Fault(f)
	}
	if n := len(s.Unhit()); n != 11 {
		t.Errorf("%d faults not hit", n)
	}
	var statuses []int
	for range 4 {
		r := send(t, s, "GET", p, "")
		statuses = append(statuses, r.status)
		if r.status == 503 && (r.header.Get("Retry-After") != "2" || r.code() != "503") {
			t.Errorf("503: %v %s", r.header, r.body)
		}
	}
	if !slices.Equal(statuses, []int{200, 503, 503, 200}) {
		t.Errorf("statuses %v", statuses)
	}
	if r := send(t, s, "GET", p+"/tags", ""); r.status != 429 || !bytes.Contains(r.body, []byte("Requests to the GetTags Operation under Custom_Vision_Training_3.3 have exceeded rate limit")) || r.header.Get("Retry-After") != "" {
		t.Errorf("429: %d %s", r.status, r.body)
	}
	if r := send(t, s, "GET", p+"/tags/"+made.Tags[0].String(), ""); r.code() != "BadRequestCustomerManagedKeyRevoked" || bytes.Contains(r.body, []byte(`"error"`)) {
		t.Errorf("code: %s", r.body)
	}
	if r := send(t, s, "GET", p+"/iterations", ""); r.status != 502 || string(r.body) != "<html>bad gateway</html>" || r.header.Get("Content-Type") != "text/html" {
		t.Errorf("body: %d %s", r.status, r.body)
	}
	if r := send(t, s, "GET", p+"/images/tagged", ""); r.status != 200 || string(r.body) != "null" || !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
		t.Errorf("null: %d %s", r.status, r.body)
	}
	if r := send(t, s, "GET", "domains", ""); r.err == nil {
		t.Error("no reset")
	}
	if r := send(t, s, "GET", "projects", ""); !errors.Is(r.err, io.ErrUnexpectedEOF) || r.status != 200 || len(r.body) == 0 {
		t.Errorf("cut: %d, %d bytes, %v", r.status, len(r.body), r.err)
	}
	if r := send(t, s, "GET", p+"/images/count", ""); r.status != 200 {
		t.Errorf("delay: %d", r.status)
	}
	if r := send(t, s, "DELETE", p+"/tags/"+made.Tags[0].String(), ""); r.err == nil {
		t.Error("no reset after the effect")
	}
	if r := send(t, s, "DELETE", p+"/predictions?ids="+made.Predictions[0].String(), ""); r.status != 500 {
		t.Errorf("500 after the effect: %d", r.status)
	}
	state := s.Snapshot().Projects[0]
	if len(state.Workspace.Tags) != 1 || len(state.Predictions) != 8 {
		t.Errorf("%d tags, %d predictions", len(state.Workspace.Tags), len(state.Predictions))
	}
	for range 2 {
		if r := blob(link); r.status != 404 || !bytes.Contains(r.body, []byte("BlobNotFound")) {
			t.Errorf("blob: %d %s", r.status, r.body)
		}
	}
	if r := blob(other); r.status != 200 {
		t.Errorf("other blob: %d", r.status)
	}
	if unhit := s.Unhit(); len(unhit) != 0 {
		t.Errorf("not hit: %+v", unhit)
	}
	for i, call := range s.Calls() {
		if want := call.Operation == "GetDomains" || call.Operation == "DeleteTag"; (call.Status == 0) != want {
			t.Errorf("call %d: %s has status %d", i, call.Operation, call.Status)
		}
	}

	s.ClearFaults()
	whole := blob(link).body
	s.Fault(Fault{Operation: OperationBlob, CutBody: true})
	if r := blob(link); !errors.Is(r.err, io.ErrUnexpectedEOF) || len(r.body) != len(whole)/2 || r.header.Get("Content-Length") != fmt.Sprint(len(whole)) {
		t.Errorf("cut blob: %d bytes, %v", len(r.body), r.err)
	}
	s.Fault(Fault{Operation: OperationBlob, Corrupt: true})
	if r := blob(link); r.status != 200 || len(r.body) != len(whole) || bytes.Equal(r.body, whole) {
		t.Errorf("corrupt blob: %d, %d bytes", r.status, len(r.body))
	}
	s.Fault(Fault{Operation: OperationBlob, Rewrite: func(b []byte) []byte { return b[:3] }})
	if r := blob(link); r.status != 200 || !bytes.Equal(r.body, whole[:3]) || r.header.Get("Content-Length") != "3" || r.header.Get("Content-Md5") != "" {
		t.Errorf("rewritten blob: %d, %q, %v", r.status, r.body, r.header)
	}
	s.Fault(Fault{Operation: "GetTags", Rewrite: func([]byte) []byte { return nil }})
	if r := send(t, s, "GET", p+"/tags", ""); r.status != 200 || len(r.body) != 0 || r.header.Get("Content-Length") != "0" {
		t.Errorf("rewritten answer: %d, %q, %v", r.status, r.body, r.header)
	}
	s.Fault(Fault{Operation: OperationBlob, Status: 302, Header: http.Header{"Location": {"http://elsewhere.invalid/"}}})
	if r := blob(link); r.status != 302 || r.header.Get("Location") == "" {
		t.Errorf("redirect: %d", r.status)
	}
	s.Fault(Fault{CutBody: true}) // any API operation; one without body is a reset
	if r := blob(link); r.status != 200 {
		t.Errorf("a fault of any operation struck a blob: %d", r.status)
	}
	if r := send(t, s, "DELETE", p+"/predictions?ids="+made.Predictions[1].String(), ""); r.err == nil {
		t.Errorf("cut without body: %d", r.status)
	}
	if len(s.Snapshot().Projects[0].Predictions) != 7 {
		t.Error("the cut came before the effect")
	}
}

// TestHang leaves a request hanging, once until the client leaves and once until the server closes.
func TestHang(t *testing.T) {
	s := start(t, Options{})
	s.Fault(Fault{Operation: "GetDomains", Hang: true, Times: 2})
	arrived := make(chan struct{}, 2)
	s.OnCall(func(string, int) { arrived <- struct{}{} })
	for _, leave := range []func(context.CancelFunc){func(cancel context.CancelFunc) { cancel() }, func(context.CancelFunc) { s.Close() }} {
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			r := send(t, s, "GET", "domains", "", func(r *http.Request) { *r = *r.WithContext(ctx) })
			gone <- r.err
		}()
		<-arrived
		leave(cancel)
		if err := <-gone; err == nil {
			t.Error("an answer came")
		}
		cancel()
	}
	if n := len(s.Unhit()); n != 0 {
		t.Errorf("%d not hit", n)
	}
}

// TestFaultRate meets every kind of random trouble at about the rate asked for, and the same again
// with the same seed.
func TestFaultRate(t *testing.T) {
	run := func() (kinds map[string]int, order []string) {
		s := start(t, Options{})
		made := s.AddProject(tinySpec())
		link := get[[]listed](t, s, "projects/"+made.ID.String()+"/images")[0].OriginalImageURI
		s.FaultRate(0.3, 5)
		kinds = map[string]int{}
		for i := range 400 {
			var r reply
			if i%2 == 0 {
				r = send(t, s, "GET", "projects/"+made.ID.String(), "")
			} else {
				r = send(t, s, "GET", link, "", func(r *http.Request) { r.Header.Del("Training-Key") })
			}
			what := fmt.Sprint(r.status)
			if r.err != nil && r.status != 0 {
				what = "cut"
			}
			kinds[what]++
			order = append(order, what)
		}
		s.FaultRate(0, 0)
		return kinds, order
	}
	kinds, one := run()
	_, two := run()
	if !slices.Equal(one, two) {
		t.Error("the same seed gives another sequence")
	}
	if n := kinds["200"]; n < 240 || n > 320 {
		t.Errorf("%d of 400 succeeded", n)
	}
	for _, what := range []string{"500", "503", "429", "0", "cut"} {
		if kinds[what] == 0 {
			t.Errorf("no %s among %v", what, kinds)
		}
	}
}
