package cv

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

// limited is a service that takes so many calls a second, and refuses those beyond.
type limited struct {
	mu      sync.Mutex
	limiter *rate.Limiter
	taken   map[string]int // by the user agent of the replica
	refused int
}

// newLimited takes what a real limit of calls in each second takes: so many at once, too.
func newLimited(rps int) *limited {
	return &limited{limiter: rate.NewLimiter(rate.Limit(rps), rps), taken: map[string]int{}}
}

func (l *limited) RoundTrip(req *http.Request) (*http.Response, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	code, body := http.StatusOK, "[]"
	if l.limiter.Allow() {
		l.taken[req.UserAgent()]++
	} else {
		code, body = http.StatusTooManyRequests, ""
		l.refused++
	}
	header := http.Header{"Content-Type": {"application/json"}}
	return &http.Response{StatusCode: code, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: req, ProtoMajor: 1, ProtoMinor: 1}, nil
}

// counts are the calls taken since the last time, of each replica and in all, and those refused.
func (l *limited) counts() (each map[string]int, all, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	each, refused = l.taken, l.refused
	l.taken, l.refused = map[string]int{}, 0
	for _, n := range each {
		all += n
	}
	return each, all, refused
}

// calling makes calls without a pause, several at once, as an export with pages to list does. It
// ends with the test.
func (l *limited) calling(t *testing.T, replica string) *Client {
	t.Helper()
	client, err := New("https://vision.test", TrainingKey(testKey), Options{MaxRPS: 10, UserAgent: replica, Transport: l})
	if err != nil {
		t.Fatal(err)
	}
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			for t.Context().Err() == nil {
				_, _ = client.GetProjects(t.Context())
			}
		})
	}
	return client
}

// While there is something to ask, one replica makes as many calls as it may: no more, and none
// less. After calls that were refused it is at its pace again within seconds.
func TestPaceIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newLimited(10)
		client := service.calling(t, "one")
		<-time.After(time.Minute)
		synctest.Wait()
		if _, all, refused := service.counts(); all < 600 || all > 601 || refused != 0 {
			t.Errorf("%d calls in a minute, %d refused", all, refused)
		}
		service.limiter.SetLimit(2) // for a while
		<-time.After(10 * time.Second)
		service.limiter.SetLimit(10)
		if client.Pace() > 5 {
			t.Errorf("it goes on at a pace of %.1f", client.Pace())
		}
		service.counts()
		<-time.After(12 * time.Second)
		if client.Pace() < 10 {
			t.Errorf("12 s later its pace is %.1f", client.Pace())
		}
	})
}

// Four replicas share the limit of one resource without knowing of each other: they use it up, each
// has its part, and few calls are refused.
func TestPaceOfFourReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newLimited(10)
		for _, replica := range []string{"one", "two", "three", "four"} {
			service.calling(t, replica)
		}
		<-time.After(30 * time.Second)
		service.counts()
		const minutes = 5
		<-time.After(minutes * time.Minute)
		synctest.Wait()
		each, all, refused := service.counts()
		t.Logf("%d calls, of which %v, and %d refused", all, each, refused)
		if all < minutes*60*9 {
			t.Errorf("%d calls in %d minutes", all, minutes)
		}
		for replica, n := range each {
			if n < all/6 || n > all/3 {
				t.Errorf("replica %s made %d of %d calls", replica, n, all)
			}
		}
		if refused > all/3 {
			t.Errorf("%d calls refused beside %d", refused, all)
		}
	})
}
