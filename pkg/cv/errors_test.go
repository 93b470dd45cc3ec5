package cv

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var kinds = map[string]error{
	"gone": ErrGone, "throttled": ErrThrottled, "misconfigured": ErrMisconfigured, "unavailable": ErrUnavailable, "read-only": ErrReadOnly,
	"published": ErrPublished, "untrained": ErrUntrained, "expired": ErrLinkExpired, "bad": ErrBadLink, "host": ErrHostNotAllowed, "large": ErrTooLarge, "unstable": ErrUnstable,
}

// checkKinds checks that an error is of the named kinds and of no other.
func checkKinds(t *testing.T, err error, names string) {
	t.Helper()
	for name, kind := range kinds {
		want := strings.Contains(" "+names+" ", " "+name+" ")
		if errors.Is(err, kind) != want {
			t.Errorf("%v: is %s should be %v", err, name, want)
		}
	}
}

func TestErrorText(t *testing.T) {
	e := &Error{Op: "GetTags", Status: 429, Code: "429", Message: "slow down", RequestID: "r-1", RetryAfter: 2 * time.Second, Err: errors.New("see https://h/x?sig=1")}
	if got, want := e.Error(), "GetTags: 429: slow down: see https://h/x (retry after 2s) (request r-1)"; got != want {
		t.Errorf("%s", got)
	}
	if RetryAfter(errors.New("x")) != 0 || RetryAfter(nil) != 0 {
		t.Error("RetryAfter of a stranger")
	}
	long := clean(strings.Repeat("é ", 1000))
	if utf8.RuneCountInString(long) != maxMessageRunes+1 || !strings.HasSuffix(long, "…") {
		t.Error(long)
	}
}
