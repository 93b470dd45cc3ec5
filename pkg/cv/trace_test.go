package cv

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestTrace(t *testing.T) {
	answer := script(status(503, ""), reset, status(404, `{"code":"NotFoundImage","message":"m"}`))
	w := newWorld(t, nil)
	w.server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_ = w.clock.Wait(context.Background(), time.Second) // each answer takes so long
		answer(rw, r)
	})
	var log []string
	var calls []Call
	ctx := WithTrace(t.Context(), Trace{
		Before: func(_ context.Context, c Call) error {
			log = append(log, "before")
			if c.Status != 0 || c.Err != nil || c.RequestID != "" || !c.Answered.IsZero() {
				t.Errorf("before: %+v", c)
			}
			return nil
		},
		After: func(c Call) {
			log = append(log, "after")
			calls = append(calls, c)
		},
	})
	_, err := w.DeleteImages(ctx, idP, DeleteImagesQuery{IDs: []uuid.UUID{idA, idB}, AllIterations: true})
	if !errors.Is(err, ErrGone) {
		t.Fatal(err)
	}
	if got := strings.Join(log, " "); got != "before after before after before after" {
		t.Error(got)
	}
	target := "projects/" + idP.String() + "/images " + idA.String() + "," + idB.String()
	for i, want := range []struct {
		status int
		id     string
		kind   error
	}{{503, "8d716609-dcf1-42c4-8e96-9be0449aaffa", ErrUnavailable}, {0, "", ErrUnavailable}, {404, "8d716609-dcf1-42c4-8e96-9be0449aaffa", ErrGone}} {
		c := calls[i]
		if c.Operation != "DeleteImages" || c.Target != target || c.Attempt != i+1 || c.Status != want.status || c.RequestID != want.id || !errors.Is(c.Err, want.kind) {
			t.Errorf("%+v", c)
		}
		if c.Answered.Sub(c.Time) != time.Second {
			t.Errorf("begun %v, answered %v", c.Time, c.Answered)
		}
	}
	if !calls[0].Time.Equal(testStart) || !calls[1].Time.After(calls[0].Time) {
		t.Error("times", calls[0].Time, calls[1].Time)
	}
}

func TestTraceMayVeto(t *testing.T) {
	fenced := errors.Join(errors.New("fenced"), ErrUnavailable) // whatever it is, it is not retried
	w := newWorld(t, status(503, ""))
	n := 0
	ctx := WithTrace(t.Context(), Trace{
		Before: func(context.Context, Call) error {
			if n++; n == 2 {
				return fenced
			}
			return nil
		},
		After: func(c Call) {
			if c.Attempt != 1 {
				t.Errorf("after a veto: %+v", c)
			}
		},
	})
	if err := w.DeleteProject(ctx, idP); !errors.Is(err, fenced) || len(w.requests()) != 1 || n != 2 {
		t.Error(err, len(w.requests()), n)
	}
}

// TestTraceComesLast: between Before and the request nothing waits, not for the pace and not for a
// token.
func TestTraceComesLast(t *testing.T) {
	var log []string
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		log = append(log, "sent")
		answer(rw, 204, "")
	}, func(o *Options) {
		o.MaxRPS = 1
		o.Wait = func(context.Context, time.Duration) error {
			log = append(log, "waited")
			return nil
		}
	})
	w.cred = BearerToken(tokens(func(context.Context) (string, error) {
		log = append(log, "token")
		return "t", nil
	}))
	ctx := WithTrace(t.Context(), Trace{Before: func(context.Context, Call) error {
		log = append(log, "before")
		return nil
	}})
	for range 2 {
		if err := w.DeleteTag(ctx, idP, idT); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(log, " "); got != "token before sent waited token before sent" {
		t.Error(got)
	}
}

// TestTraceFresh keeps a request from being sent at the last moment: the service never hears of it,
// and the next try begins again.
func TestTraceFresh(t *testing.T) {
	for _, kept := range []bool{false, true} { // on a new connection, and on a kept one
		w := newWorld(t, status(204, ""))
		if kept {
			if err := w.DeleteIteration(t.Context(), idP, idI); err != nil {
				t.Fatal(err)
			}
		}
		before, asked := 0, 0
		var calls []Call
		ctx := WithTrace(t.Context(), Trace{
			Before: func(context.Context, Call) error { before++; return nil },
			Fresh:  func() bool { asked++; return asked > 1 },
			After:  func(c Call) { calls = append(calls, c) },
		})
		if err := w.DeleteTag(ctx, idP, idT); err != nil {
			t.Fatalf("kept %v: %v", kept, err)
		}
		sent := 0
		for _, r := range w.requests() {
			if strings.Contains(r.URL.Path, "/tags/") {
				sent++
			}
		}
		if before != 2 || sent != 1 {
			t.Errorf("kept %v: begun %d times, sent %d times", kept, before, sent)
		}
		if len(calls) != 2 || calls[0].Status != 0 || !errors.Is(calls[0].Err, ErrUnavailable) || !errors.Is(calls[0].Err, errStale) || calls[1].Status != 204 {
			t.Errorf("kept %v: %+v", kept, calls)
		}
	}
}
