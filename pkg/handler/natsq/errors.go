package natsq

import (
	"errors"
	"fmt"

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

// codeConsumerExists says that a consumer was made with another configuration meanwhile.
const codeConsumerExists = 10148

// errNoAnswer says that a request was sent and nothing came back: it may or may not have been
// carried out.
var errNoAnswer = errors.New("no answer")

// errForeign says that an answer is not one of JetStream's: somebody else answers on its subjects,
// or stores them.
var errForeignAnswer = errors.New("not an answer of this stream")

// errRetry wraps an error after which the same may work later.
type transientError struct{ error }

func (e transientError) Unwrap() error { return e.error }

// retry is what persist is to make of a try that ended with err: what is final stays so, everything
// else may work later.
func transientUnlessPermanent(err error) error {
	if err == nil || isPermanent(err) {
		return err
	}
	return transientError{err}
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

// isPermanent tells whether trying again is no use.
func isPermanent(err error) bool {
	var api *apiError
	switch {
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadHeaderMsg),
		errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrInvalidMsg), errors.Is(err, errForeignAnswer):
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

// reasonOf is an error in a few words that stay the same while the reason does.
func shortReason(err error) string {
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
