package natsq

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// Error codes of JetStream's API that this package acts on.
const (
	codeNotAvailable     = 10008 // the cluster has no leader, or none yet
	codeNotLeader        = 10009
	codeNoMessage        = 10037
	codeStreamNotFound   = 10059
	codeConsumerNotFound = 10014
	codeConsumerExists   = 10148 // another process created it meanwhile, with another configuration
	codeMaxBytes         = 10077 // a limit of the stream would be exceeded
	codeWrongLast        = 10071 // wrong last sequence: <n>
	codeWrongLastInDoubt = 10164 // wrong last sequence, while another write of the subject is under way
	codeTooLarge         = 10054 // larger than the stream's max_msg_size
	codeStreamNameInUse  = 10058
	codeDuplicateInDoubt = 10158 // the same Nats-Msg-Id is under way
	codeNoResources      = 10023 // the server's store is full
	codeNoQuota          = 10002 // the account's quota is used up
)

// errNoAnswer means that a request was sent and no answer came: the server may or may not have
// carried it out.
var errNoAnswer = errors.New("no answer")

// errForeignAnswer means that an answer is not JetStream's, or not the expected stream's: another
// service answers on JetStream's subjects, or another stream has taken the subject.
var errForeignAnswer = errors.New("not an answer of this stream")

// transientError wraps an error after which the same request may succeed later.
type transientError struct{ error }

// Unwrap is the error of the try.
func (e transientError) Unwrap() error { return e.error }

// transientUnlessPermanent prepares the error of a try for retryUntilDone: a permanent error stays
// as it is, any other is tried again.
func transientUnlessPermanent(err error) error {
	if err == nil || isPermanent(err) {
		return err
	}
	return transientError{err}
}

// apiError is an error as JetStream's API answers it.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

// Error is the server's text and number.
func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// hasCode reports whether err is an error of JetStream's API with one of these codes.
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

// isPermanent reports whether trying again cannot help.
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

// maybeApplied reports whether the server may have carried out a request that failed with err.
func maybeApplied(err error) bool {
	return errors.Is(err, errNoAnswer) || errors.Is(err, nats.ErrDisconnected)
}

// shortReason is an error in a few words that stay the same as long as the reason does, so that
// health logs a reason once.
func shortReason(err error) string {
	var api *apiError
	switch {
	case errors.Is(err, errNoAnswer):
		return "no answer"
	case errors.Is(err, nats.ErrNoResponders):
		return "no responders"
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
