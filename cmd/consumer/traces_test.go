package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
)

// collector takes spans by OTLP over HTTP.
type collector struct {
	config traceConfig // exports to it

	mu    sync.Mutex
	spans []exportedSpan
	text  strings.Builder // of all that came
}

type exportedSpan struct {
	name, trace, id, parent string // the ids in hex
	instance                string // of the service
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		var batch tracepb.TracesData // as the request is encoded, too
		if err := proto.Unmarshal(body, &batch); err != nil {
			t.Errorf("not spans: %v", err)
		}
		c.add(&batch, r.Header)
	}))
	t.Cleanup(server.Close)
	c.config = traceConfig{On: true, Endpoint: server.URL + "/v1/traces"}
	return c
}

func (c *collector) add(batch *tracepb.TracesData, header http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.WriteString(batch.String())
	for name, values := range header {
		c.text.WriteString(name + strings.Join(values, " "))
	}
	for _, r := range batch.ResourceSpans {
		instance := ""
		for _, a := range r.Resource.Attributes {
			if a.Key == "service.instance.id" {
				instance = a.Value.GetStringValue()
			}
		}
		for _, scope := range r.ScopeSpans {
			for _, s := range scope.Spans {
				c.spans = append(c.spans, exportedSpan{s.Name, hex.EncodeToString(s.TraceId), hex.EncodeToString(s.SpanId), hex.EncodeToString(s.ParentSpanId), instance})
			}
		}
	}
}

// Commands of the command line continue the trace of its caller.
func TestTraceOfTheCaller(t *testing.T) {
	p := &program{env: newEnviron([]string{"TRACEPARENT=00-a-b-01", "TRACESTATE=c=d"})}
	_, o, err := requestFlags{NATS: natsSettings{URL: "nats://127.0.0.1:4222", Subjects: "cv"}}.order(p, contract.ActionExport)
	if err != nil {
		t.Fatal(err)
	}
	m, err := o.message("cv")
	if err != nil || m.Header["traceparent"][0] != "00-a-b-01" || m.Header["tracestate"][0] != "c=d" {
		t.Errorf("published with %v, %v", m.Header, err)
	}
}

// The trace of an export that two replicas share is one tree, from its publisher's span to its
// event; that of a refused command has its dead letter. Spans have no text of the account, and the
// log has the ids of the trace.
func TestTraceOfAnExport(t *testing.T) {
	t.Parallel()
	const trace, publisher, refusedTrace = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "1bf7651916cd43dd8448eb211c80319d"
	f := newFixture(t, cvtest.Options{Seed: 1})
	spans := newCollector(t)
	f.config.Traces, f.config.Workers = spans.config, 1
	f.vision.AddProject(cvtest.ProjectSpec{
		Name: "name-of-a-project", Tags: []string{"name-of-a-tag"}, Images: 3, Untagged: 2, ImageBytes: cvtest.Tiny,
		Metadata: func(int) map[string]string { return map[string]string{"name-of-a-key": "value-of-a-person"} },
	})
	// Two units are under way at once, and each replica does one at a time: so both work.
	tagged, untagged := make(chan struct{}), make(chan struct{})
	meet := func(came, other chan struct{}) {
		close(came)
		select {
		case <-other:
		case <-t.Context().Done():
		}
	}
	var first, second sync.Once
	f.vision.OnCall(func(operation string, _ int) {
		switch operation {
		case "GetTaggedImages":
			first.Do(func() { meet(tagged, untagged) })
		case "GetUntaggedImages":
			second.Do(func() { meet(untagged, tagged) })
		}
	})
	one, two := f.start(t), f.start(t)
	one.await("all is well", isReady)
	two.await("all is well", isReady)
	ask := func(a contract.Action, id, data, trace string) contract.Event {
		t.Helper()
		header := map[string][]string{"traceparent": {"00-" + trace + "-" + publisher + "-01"}, "tracestate": {"vendor=state"}}
		e, err := request(t.Context(), f.config.NATS, order{action: a, id: id, data: []byte(data), header: header}, func(contract.Event) {})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	exported := ask(contract.ActionExport, "traced", `{"all_projects":true}`, trace)
	refused := ask(contract.ActionDelete, "refused", `{"all_projects":true,"categories":["performance"]}`, refusedTrace)
	if exported.Data.Status != contract.StatusCompleted || refused.Data.Status != contract.StatusRefused {
		t.Fatalf("%s, %s\n%s", describeEvent(exported), describeEvent(refused), f.log)
	}
	q, err := natsq.OpenRequester(t.Context(), f.nats.Dial(t), natsq.Options{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	if letter, err := q.DeadLetter(t.Context(), "refused"); err != nil || !strings.Contains(fmt.Sprint(letter.Message.Header["traceparent"]), refusedTrace) {
		t.Errorf("the dead letter has %v, %v", letter.Message.Header, err)
	}
	one.end()
	two.end()

	spans.mu.Lock()
	defer spans.mu.Unlock()
	byID := map[string]exportedSpan{}
	named := map[string][]exportedSpan{}
	instances := map[string]bool{}
	for _, s := range spans.spans {
		byID[s.id] = s
		named[s.name] = append(named[s.name], s)
	}
	for _, s := range spans.spans {
		up := s
		for ; up.parent != publisher && byID[up.parent].id != ""; up = byID[up.parent] {
		}
		if up.parent != publisher || s.trace != trace && s.trace != refusedTrace || byID[s.parent].id != "" && byID[s.parent].trace != s.trace {
			t.Errorf("%s is not below the publisher's span: %+v", s.name, s)
		}
		if strings.HasPrefix(s.name, "unit ") {
			instances[s.instance] = true
			if byID[s.parent].name != "export" {
				t.Errorf("%s is below %q", s.name, byID[s.parent].name)
			}
		}
	}
	for _, name := range []string{
		"export", "unit project", "unit page", "unit counts", "GetProjects", "GetTaggedImages", "download", "S3 PutObject",
		"publish export.accepted", "publish export.completed", "publish delete.refused", "publish dead letter",
	} {
		if len(named[name]) == 0 {
			t.Errorf("there is no span %q", name)
		}
	}
	if len(named["export"]) != 1 || exported.Traceparent != "00-"+trace+"-"+named["export"][0].id+"-01" {
		t.Errorf("the event continues %s, the attempts are %+v", exported.Traceparent, named["export"])
	}
	if len(instances) != 2 {
		t.Errorf("%d replicas made units", len(instances))
	}
	for _, text := range []string{"name-of", "value-of", f.vision.URL() + "/"} {
		if strings.Contains(spans.text.String(), text) {
			t.Errorf("the spans have %q", text)
		}
	}
	for line := range strings.Lines(f.log.String()) {
		var l struct {
			Command string `json:"command_id"`
			Trace   string `json:"trace_id"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Errorf("not JSON: %s", line)
		}
		if l.Command == "traced" && l.Trace != trace {
			t.Errorf("no id of the trace: %s", line)
		}
	}
}
