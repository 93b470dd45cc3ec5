package natsq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
)

// Error codes of JetStream's API that decide something here.
const (
	codeNotAvailable     = 10008 // no leader, or none yet
	codeNotLeader        = 10009
	codeNoMessage        = 10037
	codeStreamNotFound   = 10059
	codeConsumerNotFound = 10014
	codeMaxBytes         = 10077 // a limit of the stream would be exceeded
	codeWrongLast        = 10071 // wrong last sequence: <n>
	codeWrongLastInDoubt = 10164 // wrong last sequence, while another write of the subject is under way
	codeTooLarge         = 10054 // larger than the stream's max_msg_size
	codeStreamNameInUse  = 10058
	codeDuplicateInDoubt = 10158 // the same Nats-Msg-Id is under way
	codeNoResources      = 10023 // the server's store is full
	codeNoQuota          = 10002 // the account's is
)

// How long one try waits for its answer: twice as long at each try, so that a slow server is not
// taken for a dead one for ever.
const (
	firstTry = 2 * time.Second
	lastTry  = 16 * time.Second
)

// The pause between tries.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = 2 * time.Second
)

// errNoAnswer says that a request was sent and nothing came back: it may or may not have been
// carried out.
var errNoAnswer = errors.New("no answer")

// errForeign says that an answer is not one of JetStream's: somebody else answers on its subjects,
// or stores them.
var errForeign = errors.New("not an answer of this stream")

// errRetry wraps an error after which the same may work later.
type errRetry struct{ error }

func (e errRetry) Unwrap() error { return e.error }

// retry is what persist is to make of a try that ended with err: what is final stays so, everything
// else may work later.
func retry(err error) error {
	if err == nil || isPermanent(err) {
		return err
	}
	return errRetry{err}
}

// apiError is an error of JetStream's API, as it answers.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

// Error is the server's text and number.
func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

func hasCode(err error, codes ...int) bool {
	var api *apiError
	if !errors.As(err, &api) {
		return false
	}
	for _, c := range codes {
		if api.ErrCode == c {
			return true
		}
	}
	return false
}

// reasonOf is an error in a few words that stay the same while the reason does.
func reasonOf(err error) string {
	var api *apiError
	switch {
	case errors.Is(err, errNoAnswer):
		return "no answer"
	case errors.Is(err, nats.ErrNoResponders):
		return "nobody answers for it"
	case errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionReconnecting):
		return "not connected"
	case hasCode(err, codeWrongLast, codeWrongLastInDoubt):
		return "a write of the same subject is under way"
	case errors.As(err, &api):
		return api.Error()
	default:
		return err.Error()
	}
}

// isPermanent tells whether trying again is no use.
func isPermanent(err error) bool {
	var api *apiError
	switch {
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadHeaderMsg),
		errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrInvalidMsg), errors.Is(err, errForeign):
		return true
	case errors.As(err, &api):
		switch api.ErrCode {
		case codeStreamNotFound, codeConsumerNotFound, codeWrongLast, codeWrongLastInDoubt, codeMaxBytes, codeNotAvailable, codeNotLeader, codeNoResources,
			codeNoQuota, codeDuplicateInDoubt:
			return false
		}
		return api.Code >= 400 && api.Code < 500
	default:
		return false
	}
}

// maybeApplied tells whether a request that failed so may have been carried out all the same.
func maybeApplied(err error) bool {
	return errors.Is(err, errNoAnswer) || errors.Is(err, nats.ErrDisconnected)
}

// exchange sends one request and waits for its answer as long as that try may. It fails with
// errNoAnswer when none came, also because ctx ended.
func (q *Queue) exchange(ctx context.Context, try int, m *nats.Msg) (*nats.Msg, error) {
	once, cancel := context.WithTimeout(ctx, min(lastTry, firstTry<<min(try, 8)))
	defer cancel()
	answer, err := q.send(once, m)
	switch {
	case err == nil:
		return answer, nil
	case once.Err() != nil, errors.Is(err, nats.ErrTimeout):
		return nil, errNoAnswer
	default:
		return nil, err
	}
}

// apiOnce asks JetStream's API once. request is sent as JSON, nothing when nil; the answer goes
// into answer.
func (q *Queue) apiOnce(ctx context.Context, try int, subject string, request, answer any) error {
	m := nats.NewMsg("$JS.API." + subject)
	if request != nil {
		b, err := json.Marshal(request)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		m.Data = b
	}
	got, err := q.exchange(ctx, try, m)
	if err != nil {
		return err
	}
	var failed struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(got.Data, &failed); err != nil {
		return fmt.Errorf("decode the answer to %s: %w: %w", subject, errForeign, err)
	}
	if failed.Error != nil {
		return failed.Error
	}
	if err := json.Unmarshal(got.Data, answer); err != nil {
		return fmt.Errorf("decode the answer to %s: %w: %w", subject, errForeign, err)
	}
	return nil
}

// api is apiOnce, repeated until there is an answer.
func (q *Queue) api(ctx context.Context, where, subject string, request, answer any) error {
	return q.retryUntilDone(ctx, where, func(try int) error {
		return retry(q.apiOnce(ctx, try, subject, request, answer))
	})
}

// retryUntilDone calls f until it returns something else than an errRetry, or ctx ends: then the
// error has both ctx's cause and f's last. where names the stream or consumer that is worked on;
// one that is gone is made again, if that is allowed.
func (q *Queue) retryUntilDone(ctx context.Context, where string, f func(try int) error) error {
	op := q.health.operation(where)
	defer op.done()
	for try := 0; ; try++ {
		err := f(try)
		var again errRetry
		if !errors.As(err, &again) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w: %w", where, context.Cause(ctx), again.error)
		}
		if try > 0 || !hasCode(err, codeWrongLast, codeWrongLastInDoubt) { // two writers meeting is no trouble
			op.failed(again.error)
		}
		q.heal(ctx, err)
		if err := pause(ctx, try); err != nil {
			return fmt.Errorf("%s: %w: %w", where, err, again.error)
		}
	}
}

// pause waits before the next try, longer each time, with jitter. Its error is ctx's cause.
func pause(ctx context.Context, try int) error {
	d := min(lastPause, firstPause<<min(try, 8))
	return wait(ctx, d/2+rand.N(d/2+1)) //nolint:gosec // jitter is no secret
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
