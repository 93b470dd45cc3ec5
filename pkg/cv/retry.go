package cv

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"golang.org/x/time/rate"
)

const (
	defaultMaxAttempts = 5
	// retryBudget bounds the tries of one call. It is well under the ack wait of the queue message
	// that the caller may be working on.
	retryBudget  = 20 * time.Second
	firstBackOff = 500 * time.Millisecond
	maxBackOff   = 5 * time.Second
)

// hinted is a BackOff that waits at least as long as the service asked for, and stops when that
// would exceed the budget.
type hinted struct {
	backoff.BackOff
	hint  time.Duration                      // of the last try; 0 if it had none
	spend func(next time.Duration) (ok bool) // whether the budget has room for another wait
	left  int                                // tries
}

// NextBackOff is the wait before the next try, or backoff.Stop.
func (h *hinted) NextBackOff() time.Duration {
	d := h.BackOff.NextBackOff()
	if d == backoff.Stop || h.left <= 0 {
		return backoff.Stop
	}
	if d = max(d, h.hint); !h.spend(d) {
		return backoff.Stop
	}
	return d
}

// clock lets backoff see the injected time.
type clock func() time.Time

func (c clock) Now() time.Time { return c() }

// waitTimer makes the client's wait function the timer of backoff.
type waitTimer struct {
	ctx  context.Context // lives as long as one retry
	wait func(context.Context, time.Duration) error
	c    chan time.Time
	err  error
}

// Start waits; C is ready afterwards unless the context ended, which backoff sees by itself.
func (t *waitTimer) Start(d time.Duration) {
	t.c = make(chan time.Time, 1)
	if t.err = t.wait(t.ctx, d); t.ctx.Err() == nil {
		t.c <- time.Time{}
	}
}

func (t *waitTimer) C() <-chan time.Time { return t.c }
func (t *waitTimer) Stop()               {}

// retry calls try until it succeeds, says that another try is not safe or would not help, or tries
// and budget are used up; then it returns try's last error. When the context ends it returns its
// cause together with the last real error. waitsOnly makes the budget count the waits between tries
// alone, for downloads, which may rightly take long.
func (c *Client) retry(ctx context.Context, op string, waitsOnly bool, try func(attempt int) (again bool, err error)) error {
	began, waited := c.now(), time.Duration(0)
	h := &hinted{
		BackOff: backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstBackOff), backoff.WithMultiplier(2),
			backoff.WithMaxInterval(maxBackOff), backoff.WithMaxElapsedTime(0), backoff.WithClockProvider(clock(c.now))),
		left: c.attempts,
		spend: func(next time.Duration) bool {
			spent := waited
			if !waitsOnly {
				spent = max(spent, c.now().Sub(began))
			}
			waited += next
			return spent+next <= retryBudget
		},
	}
	timer := &waitTimer{ctx: ctx, wait: c.wait}
	var last error
	attempt := 0
	// The error that Retry returns only matters for being nil: last holds the whole of it, and
	// backoff.Permanent never leaves this function.
	err := backoff.RetryNotifyWithTimer(func() error {
		switch {
		case ctx.Err() != nil:
			return backoff.Permanent(ctx.Err())
		case timer.err != nil:
			last = &Error{Op: op, Err: errors.Join(timer.err, last)}
			return backoff.Permanent(last)
		}
		attempt++
		h.left--
		again, err := try(attempt)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || answered(err) { // else it only says that the context ended
			last = err
		}
		if h.hint = RetryAfter(err); !again {
			return backoff.Permanent(err)
		}
		return err
	}, backoff.WithContext(h, ctx), nil, timer)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return contextError(ctx, op, last)
	}
	return last
}

// answered reports whether a failure is an answer of the service.
func answered(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status != 0
}

// isTransient reports whether another try within the same call may succeed.
func isTransient(err error) bool {
	var (
		u *unsent
		l *callerError
	)
	if errors.As(err, &l) || errors.Is(err, ErrTooSlow) {
		return false
	}
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrThrottled) || errors.As(err, &u)
}

// DefaultMaxRPS is how many API calls a second a Client makes at most, unless Options.MaxRPS says
// otherwise.
const DefaultMaxRPS = 10

const (
	// The pace is halved on 429, at most once in cutEvery (many calls meet the same limit at once),
	// never below max/floorShare. While calls are not throttled it comes back evenly, from nothing
	// to max in recoverIn: by time and not by calls, as else the fastest of several processes would
	// recover first, and leave nothing to the others.
	cutEvery   = time.Second
	floorShare = 20
	recoverIn  = 15 * time.Second
)

// pacer holds all calls of a client to a rate that gives way on 429, so that several processes
// share an account, and recovers.
type pacer struct {
	now  func() time.Time
	wait func(context.Context, time.Duration) error

	limiter *rate.Limiter
	max     rate.Limit

	mu      sync.Mutex
	cut     time.Time // when the pace was halved,
	changed time.Time // and when it last changed
}

func newPacer(rps float64, now func() time.Time, wait func(context.Context, time.Duration) error) *pacer {
	// A tenth of a second's worth at once keeps high rates from being bound by timers, and low ones
	// even.
	burst := 1
	if rps > 10 {
		burst = int(math.Min(rps/10, 1000))
	}
	return &pacer{now: now, wait: wait, limiter: rate.NewLimiter(rate.Limit(rps), burst), max: rate.Limit(rps)}
}

// take waits for the turn of one call.
func (p *pacer) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now := p.now()
	r := p.limiter.ReserveN(now, 1)
	d := r.DelayFrom(now)
	if d == 0 {
		return nil
	}
	if err := p.wait(ctx, d); err != nil {
		r.CancelAt(p.now())
		return err
	}
	return nil
}

// slow gives way after a 429.
func (p *pacer) slow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if !p.cut.IsZero() && now.Sub(p.cut) < cutEvery {
		return
	}
	p.cut, p.changed = now, now
	p.limiter.SetLimitAt(now, max(p.limiter.Limit()/2, p.max/floorShare))
}

// recover speeds up after a call that was not throttled.
func (p *pacer) recover() {
	p.mu.Lock()
	defer p.mu.Unlock()
	limit := p.limiter.Limit()
	if limit >= p.max {
		return
	}
	now := p.now()
	gained := p.max * rate.Limit(now.Sub(p.changed).Seconds()/recoverIn.Seconds())
	p.changed = now
	p.limiter.SetLimitAt(now, min(limit+gained, p.max))
}
