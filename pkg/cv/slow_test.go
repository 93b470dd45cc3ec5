package cv

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// drip is a body that comes in parts, each after a while.
type drip struct {
	clock *testClock
	left  int64         // bytes
	part  func() int64  // bytes of the next one
	after time.Duration // before each
}

func (d *drip) Read(p []byte) (int, error) {
	if d.left == 0 {
		return 0, io.EOF
	}
	_ = d.clock.Wait(context.Background(), d.after)
	n := min(int64(len(p)), d.left, d.part())
	d.left -= n
	return int(n), nil
}

func (d *drip) Close() error { return nil }

// dripping answers every request with a status and a body that drips.
type dripping struct {
	status   int
	body     func() *drip
	requests int
}

func (d *dripping) RoundTrip(req *http.Request) (*http.Response, error) {
	d.requests++
	body := d.body()
	return &http.Response{
		StatusCode: d.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Type": {"image/png"}},
		Body: body, ContentLength: body.left, Request: req,
	}, nil
}

// slowly is a writer that takes its time.
type slowly struct{ clock *testClock }

func (s slowly) Write(p []byte) (int, error) {
	_ = s.clock.Wait(context.Background(), time.Hour)
	return len(p), nil
}

// TestFetchHasALeastRate: a file that never stands still but takes for ever is given up, by what
// comes in a window of time. What the receiver takes does not count.
func TestFetchHasALeastRate(t *testing.T) {
	const rate = 1000
	steady := func(n int64) func() func() int64 {
		return func() func() int64 { return func() int64 { return n } }
	}
	for name, c := range map[string]struct {
		status  int
		bytes   int64
		after   time.Duration
		part    func() func() int64
		slow    bool // our writer is
		tooSlow bool
		most    time.Duration // it may take until it is given up
	}{
		"a byte a second":  {bytes: 1 << 20, after: time.Second, part: steady(1), tooSlow: true, most: 40 * time.Second},
		"just too slow":    {bytes: 1 << 20, after: time.Second, part: steady(rate - 1), tooSlow: true, most: 40 * time.Second},
		"just fast enough": {bytes: 1 << 20, after: time.Second, part: steady(rate)},
		"in bursts":        {bytes: 1 << 20, after: 20 * time.Second, part: steady(40 * rate)},
		"small":            {bytes: 20, after: time.Second, part: steady(1)},
		"slow after the start": {bytes: 1 << 20, after: time.Second, tooSlow: true, most: 100 * time.Second, part: func() func() int64 {
			parts := 0
			return func() int64 {
				if parts++; parts == 1 {
					return 1 << 15
				}
				return 1
			}
		}},
		"a slow receiver":        {bytes: 1 << 18, after: time.Millisecond, part: steady(4 << 10), slow: true},
		"an error, byte by byte": {status: 500, bytes: 1 << 20, after: time.Second, part: steady(1), most: 10 * time.Minute},
	} {
		for _, uri := range []string{"https://x.blob.core.windows.net/i", "i-1/i-2"} {
			t.Run(name+" "+uri[:3], func(t *testing.T) {
				clock := &testClock{at: testStart}
				if c.status == 0 {
					c.status = http.StatusOK
				}
				via := &dripping{status: c.status, body: func() *drip { return &drip{clock, c.bytes, c.part(), c.after} }}
				client, err := New("https://h.example/", TrainingKey(testKey), Options{Transport: via, Now: clock.Now, Wait: clock.Wait, MaxAttempts: 2, MinDownloadRate: rate})
				if err != nil {
					t.Fatal(err)
				}
				to := io.Writer(struct{ io.Writer }{io.Discard}) // which asks for 8 KiB at a time, and bursts are larger
				if c.slow {
					to = slowly{clock}
				}
				n, err := client.Fetch(t.Context(), Link{Project: uuid.New(), URI: uri}, 0, func(int64) (io.Writer, error) { return to, nil })
				if took := clock.Now().Sub(testStart); c.most > 0 && took > c.most {
					t.Errorf("it took %s", took)
				}
				switch {
				case c.tooSlow:
					if !errors.Is(err, ErrTooSlow) || !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "1000 bytes a second") || via.requests != 1 {
						t.Errorf("%v after %d requests", err, via.requests)
					}
				case c.status != http.StatusOK:
					if !errors.Is(err, ErrUnavailable) {
						t.Errorf("ends with %v", err)
					}
				case err != nil || n != c.bytes:
					t.Errorf("%d bytes, %v", n, err)
				}
			})
		}
	}
	if _, err := New("https://h.example/", TrainingKey(testKey), Options{MinDownloadRate: -1}); err == nil {
		t.Error("a negative rate")
	}
}
