package cv

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestRedirectsOfAPICallsAreNotFollowed(t *testing.T) {
	reached := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer other.Close()
	w := newWorld(t, status(302, "", "Location", other.URL+"/login?code=secret"))
	_, err := w.GetDomains(t.Context())
	if !errors.Is(err, ErrMisconfigured) || reached || len(w.requests()) != 1 {
		t.Errorf("%v, reached %v", err, reached)
	}
	if want := "GetDomains: 302: redirect to " + strings.TrimPrefix(other.URL, "http://"); !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

// TestExchangesAreAllTraced: net/http repeats a GET by itself when a kept connection breaks. That
// exchange would be in no ledger.
func TestExchangesAreAllTraced(t *testing.T) {
	w := newWorld(t, script(status(200, "1"), reset, status(200, "2"), reset, reset, status(200, "3")))
	var statuses []int
	ctx := WithTrace(t.Context(), Trace{After: func(c Call) { statuses = append(statuses, c.Status) }})
	for want := 1; want <= 3; want++ {
		if n, err := w.GetUntaggedImageCount(ctx, idP, uuid.Nil); n != want || err != nil {
			t.Fatal(n, err)
		}
	}
	if want := []int{200, 0, 200, 0, 0, 200}; !reflect.DeepEqual(statuses, want) || len(w.requests()) != len(want) {
		t.Errorf("traced %v, sent %d", statuses, len(w.requests()))
	}
}

func TestTimeoutOfATry(t *testing.T) {
	release := make(chan struct{})
	hang := func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}
	t.Cleanup(func() { close(release) })
	for name, first := range map[string]http.HandlerFunc{
		"no answer": hang,
		"half a body": func(rw http.ResponseWriter, r *http.Request) {
			answer(rw, 200, "[")
			_ = http.NewResponseController(rw).Flush()
			hang(rw, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, script(first, status(200, "[]")))
			w.tryTimeout = 50 * time.Millisecond
			var tries []Call
			ctx := WithTrace(t.Context(), Trace{After: func(c Call) { tries = append(tries, c) }})
			if _, err := w.GetProjects(ctx); err != nil {
				t.Fatal(err)
			}
			if len(tries) != 2 || !errors.Is(tries[0].Err, ErrUnavailable) || errors.Is(tries[0].Err, context.DeadlineExceeded) || errors.Is(tries[0].Err, context.Canceled) {
				t.Errorf("%+v", tries)
			}
			if !strings.Contains(tries[0].Err.Error(), "no whole answer within 30s") {
				t.Error(tries[0].Err)
			}
		})
	}
}

func TestUnreachableEndpoints(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	noSuchHost := roundTrip(func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "nowhere.example", IsNotFound: true}}
	})
	for name, c := range map[string]struct {
		endpoint  string
		transport http.RoundTripper
		tries     int
	}{
		"refused connection":  {closed.URL, nil, 5},
		"no such host":        {"https://nowhere.example", noSuchHost, 1},
		"unknown certificate": {secure.URL, nil, 1},
		"no TLS":              {"https" + strings.TrimPrefix(plain.URL, "http"), nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			clock := &testClock{at: testStart}
			cl, err := New(c.endpoint, TrainingKey(testKey), Options{Now: clock.Now, Wait: clock.Wait, Transport: c.transport})
			if err != nil {
				t.Fatal(err)
			}
			defer cl.CloseIdleConnections()
			tries := 0
			_, err = cl.GetDomains(WithTrace(t.Context(), Trace{After: func(c Call) {
				tries++
				if c.Status != 0 || c.Err == nil {
					t.Errorf("%+v", c)
				}
			}}))
			if !errors.Is(err, ErrMisconfigured) || errors.Is(err, ErrUnavailable) || tries != c.tries {
				t.Errorf("%v after %d tries", err, tries)
			}
		})
	}
}
