package cv

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/google/uuid"
	"golang.org/x/time/rate"
)

func TestRetriesPass(t *testing.T) {
	for name, c := range map[string]struct {
		steps []http.HandlerFunc
		do    func(context.Context, *Client) error
		tries int
	}{
		"read after a server error": {[]http.HandlerFunc{status(500, ""), status(200, "[]")}, func(ctx context.Context, c *Client) error {
			_, err := c.GetProjects(ctx)
			return err
		}, 2},
		"read after a reset and throttling": {[]http.HandlerFunc{reset, status(429, ""), status(200, "[]")}, func(ctx context.Context, c *Client) error {
			_, err := c.GetProjects(ctx)
			return err
		}, 3},
		"delete after a timeout of the gateway": {[]http.HandlerFunc{status(504, ""), status(204, "")}, func(ctx context.Context, c *Client) error {
			return c.DeleteIteration(ctx, idP, idI)
		}, 2},
		"delete that had worked": {[]http.HandlerFunc{reset, status(404, `{"code":"NotFoundIteration","message":"m"}`)}, func(ctx context.Context, c *Client) error {
			if err := c.DeleteIteration(ctx, idP, idI); !errors.Is(err, ErrGone) {
				return errors.Join(errors.New("not gone"), err)
			}
			return nil
		}, 2},
		"delete of what is gone, said in an answer that breaks off": {[]http.HandlerFunc{brokenOff(404), status(404, `{"code":"NotFoundIteration","message":"m"}`)}, func(ctx context.Context, c *Client) error {
			if err := c.DeleteIteration(ctx, idP, idI); !errors.Is(err, ErrGone) {
				return errors.Join(errors.New("not gone"), err)
			}
			return nil
		}, 2},
		"read after a refusal that breaks off": {[]http.HandlerFunc{brokenOff(403), status(200, "[]")}, func(ctx context.Context, c *Client) error {
			_, err := c.GetProjects(ctx)
			return err
		}, 2},
		"query by POST": {[]http.HandlerFunc{reset, status(503, ""), status(200, `{"token":{},"results":[]}`)}, func(ctx context.Context, c *Client) error {
			_, err := c.QueryPredictions(ctx, idP, PredictionQueryToken{})
			return err
		}, 3},
		"last of five": {[]http.HandlerFunc{reset, reset, reset, reset, status(200, "7")}, func(ctx context.Context, c *Client) error {
			_, err := c.GetUntaggedImageCount(ctx, idP, uuid.Nil)
			return err
		}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, script(c.steps...))
			if err := c.do(t.Context(), w.Client); err != nil {
				t.Fatal(err)
			}
			if n := len(w.requests()); n != c.tries {
				t.Errorf("%d tries", n)
			}
			waits := w.clock.Waits()
			if len(waits) != c.tries-1 {
				t.Fatalf("waits %v", waits)
			}
			for i, d := range waits { // exponential with jitter: half to one and a half of 0.5 s, 1 s, 2 s, 4 s
				if mid := firstBackOff << i; d < mid/2 || d > mid*3/2 {
					t.Errorf("wait %d is %v", i, d)
				}
			}
		})
	}
}

// TestWritesAreNotRepeated: no operation of this client is unsafe to repeat; should one come, it is
// not repeated.
func TestWritesAreNotRepeated(t *testing.T) {
	w := newWorld(t, status(503, ""))
	err := w.do(t.Context(), call{op: "TrainProject", method: http.MethodPost, path: "projects/x/train", body: []byte("{}")}, func(*http.Response) error { return nil })
	if !errors.Is(err, ErrUnavailable) || len(w.requests()) != 1 {
		t.Errorf("%v after %d tries", err, len(w.requests()))
	}
}

func TestRetryAfterIsTheLeastWait(t *testing.T) {
	w := newWorld(t, script(status(429, "", "Retry-After", "9"), status(503, "", "Retry-After", "4"), status(200, "[]")))
	if _, err := w.GetProjects(t.Context()); err != nil {
		t.Fatal(err)
	}
	if waits := w.clock.Waits(); len(waits) != 2 || waits[0] != 9*time.Second || waits[1] != 4*time.Second {
		t.Error(waits)
	}
}

// TestCallsStayShort: a call that would have to wait long gives up at once, and says how long the
// service asked for.
func TestCallsStayShort(t *testing.T) {
	w := newWorld(t, status(429, "", "Retry-After", "8"))
	_, err := w.GetProjects(t.Context())
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, ErrThrottled) || e.RetryAfter != 8*time.Second {
		t.Fatal(err)
	}
	if spent := w.clock.Now().Sub(testStart); spent > retryBudget || len(w.requests()) != 3 {
		t.Errorf("%v spent in %d tries", spent, len(w.requests()))
	}
	// Tries count as well as waits.
	w = newWorld(t, nil)
	w.server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_ = w.clock.Wait(context.Background(), 15*time.Second) // each try takes long
		rw.WriteHeader(500)
	})
	if _, err = w.GetProjects(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	if spent := w.clock.Now().Sub(testStart); spent > 32*time.Second {
		t.Errorf("%v spent", spent)
	}
}

func TestCancelKeepsTheRealError(t *testing.T) {
	stopping := errors.New("stopping")
	for name, c := range map[string]struct {
		cancel func(context.CancelCauseFunc)
		want   []error
	}{
		"plainly":      {func(f context.CancelCauseFunc) { f(nil) }, []error{context.Canceled, ErrUnavailable}},
		"with a cause": {func(f context.CancelCauseFunc) { f(stopping) }, []error{context.Canceled, stopping, ErrUnavailable}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			w := newWorld(t, status(503, `{"code":"ErrorUnknown","message":"m"}`), func(o *Options) {
				o.Wait = func(ctx context.Context, _ time.Duration) error {
					c.cancel(cancel)
					return ctx.Err()
				}
			})
			_, err := w.GetProjects(ctx)
			for _, want := range c.want {
				if !errors.Is(err, want) {
					t.Errorf("%v is not %v", err, want)
				}
			}
			var e *Error
			if !errors.As(err, &e) || e.Status != 503 || e.Code != "ErrorUnknown" || len(w.requests()) != 1 {
				t.Errorf("%+v", e)
			}
			var permanent *backoff.PermanentError
			if errors.As(err, &permanent) {
				t.Error("backoff.Permanent got out")
			}
		})
	}
	t.Run("before the first try", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(stopping)
		w := newWorld(t, status(200, "[]"))
		_, err := w.GetProjects(ctx)
		if !errors.Is(err, stopping) || !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrMisconfigured) || len(w.requests()) != 0 {
			t.Error(err)
		}
	})
	t.Run("during a try", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		w := newWorld(t, func(_ http.ResponseWriter, r *http.Request) {
			cancel(stopping)
			<-r.Context().Done()
		})
		_, err := w.GetProjects(ctx)
		if !errors.Is(err, stopping) || !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
	})
}

func TestWaitThatFails(t *testing.T) {
	broken := errors.New("no timer")
	w := newWorld(t, status(503, ""), func(o *Options) {
		o.Wait = func(context.Context, time.Duration) error { return broken }
	})
	if _, err := w.GetProjects(t.Context()); !errors.Is(err, broken) || !errors.Is(err, ErrUnavailable) || len(w.requests()) != 1 {
		t.Error(err)
	}
}

func TestWaitTime(t *testing.T) {
	if err := waitTime(t.Context(), time.Microsecond); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := waitTime(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestPace(t *testing.T) {
	clock := &testClock{at: testStart}
	p := newPacer(10, clock.Now, clock.Wait)
	for range 51 {
		if err := p.take(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if spent := clock.Now().Sub(testStart); spent != 5*time.Second {
		t.Errorf("51 calls at 10 a second took %v", spent)
	}
}

func TestPaceGivesWayAndRecovers(t *testing.T) {
	clock := &testClock{at: testStart}
	p := newPacer(10, clock.Now, clock.Wait)
	limit := func(want rate.Limit) {
		t.Helper()
		if got := p.limiter.Limit(); got < want-1e-9 || got > want+1e-9 {
			t.Errorf("pace %v, want %v", got, want)
		}
	}
	p.slow()
	limit(5)
	p.slow() // the same moment: one limit met by many calls
	limit(5)
	for range 10 { // down to the floor and no further
		_ = clock.Wait(t.Context(), cutEvery)
		p.slow()
	}
	limit(0.5)
	p.recover() // no time has passed
	limit(0.5)
	for range 3 { // however many calls say so
		_ = clock.Wait(t.Context(), recoverIn/10)
		p.recover()
		p.recover()
	}
	limit(3.5)
	_ = clock.Wait(t.Context(), recoverIn)
	p.recover()
	limit(10)
}

func TestPaceFollowsTheAnswers(t *testing.T) {
	w := newWorld(t, script(status(429, ""), status(200, "[]")), func(o *Options) { o.MaxRPS = 10 })
	if _, err := w.GetProjects(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.pace.limiter.Limit(); got <= 5 || got >= 6 { // halved, and after the pause before the next try a little more
		t.Errorf("pace %v", got)
	}
}

func TestPaceIsHeldByAllCallsTogether(t *testing.T) {
	clock := &testClock{at: testStart}
	var mu sync.Mutex
	total := time.Duration(0)
	p := newPacer(100, clock.Now, func(_ context.Context, d time.Duration) error { // time stands still: waits add up
		mu.Lock()
		defer mu.Unlock()
		total = max(total, d)
		return nil
	})
	var wg sync.WaitGroup
	for range 210 {
		wg.Go(func() { _ = p.take(t.Context()) })
	}
	wg.Wait()
	if total != 2*time.Second { // 10 at once, then 100 a second
		t.Errorf("the last of 210 calls waits %v", total)
	}
}

func TestPaceOfACancelledCallIsGivenBack(t *testing.T) {
	clock := &testClock{at: testStart}
	p := newPacer(1, clock.Now, func(context.Context, time.Duration) error { return context.Canceled })
	if err := p.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := p.take(t.Context()); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if d := p.limiter.ReserveN(clock.Now(), 1).DelayFrom(clock.Now()); d != time.Second {
		t.Errorf("the next waits %v", d)
	}
}
