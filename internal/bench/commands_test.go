package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/bench/workload"
)

// A counter is summed up by one of its labels, wherever that stands.
func TestCounter(t *testing.T) {
	page := `# TYPE wanted_total counter
wanted_total{method="GET",status="200"} 3
wanted_total{status="404",method="GET"} 4
wanted_total{method="PUT",status="200"} 1e+06
wanted_total_of_others{method="GET"} 7
wanted_totals 9
`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, page) }))
	defer s.Close()
	c := &consumer{base: s.URL}
	got, err := c.counter(t.Context(), "wanted_total", "method")
	if err != nil || len(got) != 2 || got["GET"] != 7 || got["PUT"] != 1e6 {
		t.Errorf("counted %v, %v", got, err)
	}
	if got, err := c.counter(t.Context(), "renamed_total", "method"); err == nil {
		t.Errorf("a counter that is not there is %v", got)
	}
}

func TestPerCommand(t *testing.T) {
	got := perCommand(map[string]float64{"before": 5, "both": 10}, map[string]float64{"before": 5, "both": 30, "after": 200}, 100)
	if len(got) != 2 || got["both"] != 0.2 || got["after"] != 2 {
		t.Errorf("a command costs %v", got)
	}
	if got := list(map[string]float64{"b": 2, "a": 2, "rare": 0.01, "most": 4.25}); got != "most 4.2, a 2, b 2" {
		t.Errorf("listed as %s", got)
	}
}

func TestCommandTable(t *testing.T) {
	one := func(took, cpu time.Duration) order {
		return order{
			sample: run(took, cpu), calls: map[string]float64{"GetProject": 3, "DeleteImages": 1},
			store: map[string]float64{"PUT": 18}, nats: map[string]float64{"sent": 40, "received": 39.5}, what: map[string]float64{"cv.events": 3},
		}
	}
	got := commandTable([]contender{{name: "product"}}, map[string][]order{"product": {one(time.Second, 800*time.Millisecond), one(2*time.Second, time.Second), one(time.Second, 800*time.Millisecond)}})
	const want = `|  | commands/s | CPU ms a command | peak MiB | Training API calls | S3 requests | NATS messages |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
| product | 100 | 8.00 | 40 | 4.0 | 18.0 | 79.5 |

- product, Training API calls: GetProject 3, DeleteImages 1
- product, S3 requests: PUT 18
- product, NATS messages: sent 40, received 39.5
- product, messages by subject: cv.events 3
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestScaleTables(t *testing.T) {
	small, large := run(time.Second, time.Second), run(4*time.Second, time.Second)
	large.Peak += 3 << 19
	if got, want := replicaTable([]int{1, 4}, [][]sample{{large, large}, {small, small}}), `| replicas | seconds | images/s | times as fast | CPU ms an image | peak MiB of one |
| --- | ---: | ---: | ---: | ---: | ---: |
| 1 | 4.0 | 25 | 1.00 | 10.00 | 42 |
| 4 | 1.0 | 100 | 4.00 | 10.00 | 40 |
`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	cases, err := workload.ParseAll("10x4k,20x4k")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := sizeTable(cases, [][]sample{{small}, {large}}), `|  | seconds | images/s | CPU ms an image | peak MiB | more than the first |
| --- | ---: | ---: | ---: | ---: | ---: |
| 10 images of 4 KiB | 1.0 | 100 | 10.00 | 40 | 0.0 |
| 20 images of 4 KiB | 4.0 | 25 | 10.00 | 42 | 1.5 |
`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestKindOf(t *testing.T) {
	for subject, want := range map[string]string{
		"_INBOX.abc.def": "replies", "_INBOX_cvconsumer.abc.1": "replies",
		"$JS.API.STREAM.MSG.GET.KV_CV_JOBS": "STREAM.MSG.GET KV_CV_JOBS", "$JS.API.CONSUMER.MSG.NEXT.CV_COMMANDS.deletes": "CONSUMER.MSG.NEXT CV_COMMANDS",
		"$JS.API.INFO": "INFO", "$JS.API.DIRECT.GET.CV_EVENTS.cv.events.a": "DIRECT.GET CV_EVENTS",
		"$JS.ACK.CV_COMMANDS.deletes.1.2.3.4.0": "ACK CV_COMMANDS", "$KV.CV_JOBS.delete-1": "$KV.CV_JOBS", "cv.events.delete-1.completed": "cv.events",
		"single": "single",
	} {
		if got := kindOf(subject); got != want {
			t.Errorf("%s is %q, not %q", subject, got, want)
		}
	}
}
