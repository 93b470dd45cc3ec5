package jsapi

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// Error codes of JetStream's API that this package acts on.
const (
	CodeNotAvailable          = 10008 // the cluster has no leader, or none yet
	CodeNotLeader             = 10009
	CodeNoMessage             = 10037
	CodeStreamNotFound        = 10059
	CodeConsumerNotFound      = 10014
	CodeConsumerExists        = 10148 // another process created it meanwhile, with another configuration
	CodeMaxBytes              = 10077 // a limit of the stream would be exceeded
	CodeWrongLast             = 10071 // wrong last sequence: <n>
	CodeWrongLastInDoubt      = 10164 // wrong last sequence, while another write of the subject is under way
	CodeTooLarge              = 10054 // larger than the stream's max_msg_size
	CodeStreamNameInUse       = 10058
	CodeDuplicateInDoubt      = 10158 // the same Nats-Msg-Id is under way
	CodeNoResources           = 10023 // the server's store is full
	CodeNoQuota               = 10002 // the account's quota is used up
	codeNoJetStreamForAccount = 10039 // JetStream is not enabled for this user's account
	codeNoJetStream           = 10076 // JetStream is not enabled on the server
	// Of streams that are created.
	CodeMaxBytesRequired    = 10113 // the account demands a limit of bytes
	CodeStorageExceeded     = 10047 // so much is not left to be reserved
	CodeStreamBytesExceeded = 10122 // the account's limit of one stream
	codeTooManyStreams      = 10027 // as many as the account may have
	codeTooManyConsumers    = 10026 // as many as the account may have
	codeNoReplicas          = 10074 // the server is in no cluster
	codeNoPeers             = 10005 // the cluster has not so many servers, or they have not found each other yet
)

// ErrNoAnswer means that a request was sent and no answer came: the server may or may not have
// carried it out.
var ErrNoAnswer = errors.New("no answer")

// ErrForeignAnswer means that an answer is not JetStream's, or not the expected stream's: another
// service answers on JetStream's subjects, or another stream has taken the subject.
var ErrForeignAnswer = errors.New("not an answer of this stream")

// PayloadError means that a message is larger than the connected server takes. Another server may
// take it, and an operator may raise the limit.
type PayloadError struct {
	Bytes int   // of headers and body
	Limit int64 // the server's max_payload
}

// Error names the server's setting to change.
func (e *PayloadError) Error() string {
	return fmt.Sprintf("a message of %d bytes is larger than the NATS server takes: its max_payload is %d; raise it there, or for this user or account", e.Bytes, e.Limit)
}

// ErrTooLarge matches every PayloadError.
var ErrTooLarge = errors.New("larger than the NATS server takes")

// Is reports whether target is ErrTooLarge.
func (e *PayloadError) Is(target error) bool { return target == ErrTooLarge }

// TransientError wraps an error after which the same request may succeed later.
type TransientError struct{ Err error }

// Error is the text of the error of the try.
func (e TransientError) Error() string { return e.Err.Error() }

// Unwrap is the error of the try.
func (e TransientError) Unwrap() error { return e.Err }

// TransientUnlessPermanent prepares the error of a try for RetryUntilDone: a permanent error stays
// as it is, any other is tried again.
func TransientUnlessPermanent(err error) error {
	if err == nil || IsPermanent(err) {
		return err
	}
	return TransientError{Err: err}
}

// APIError is an error as JetStream's API answers it.
type APIError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

// Error is the server's text and number.
func (e *APIError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// ErrNoJetStream means that the server has no JetStream, at all or for this user's account.
var ErrNoJetStream = errors.New("no JetStream")

// ErrReplicas means that the servers cannot keep as many replicas of a stream as were asked for.
var ErrReplicas = errors.New("not enough servers for the replicas")

// ErrTooMany means that the account has as many streams, or consumers, as it may have.
var ErrTooMany = errors.New("too many streams or consumers")

// Is reports whether target is ErrNoJetStream, ErrReplicas or ErrTooMany and the error's code means
// that.
func (e *APIError) Is(target error) bool {
	return target == ErrNoJetStream && (e.ErrCode == codeNoJetStreamForAccount || e.ErrCode == codeNoJetStream) ||
		target == ErrReplicas && (e.ErrCode == codeNoReplicas || e.ErrCode == codeNoPeers) ||
		target == ErrTooMany && (e.ErrCode == codeTooManyStreams || e.ErrCode == codeTooManyConsumers)
}

// HasCode reports whether err is an error of JetStream's API with one of these codes.
func HasCode(err error, codes ...int) bool {
	var api *APIError
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

// IsPermanent reports whether trying again cannot help.
func IsPermanent(err error) bool {
	var api *APIError
	switch {
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrBadHeaderMsg),
		errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrInvalidMsg), errors.Is(err, ErrForeignAnswer):
		return true
	case errors.As(err, &api):
		switch api.ErrCode {
		case CodeStreamNotFound, CodeConsumerNotFound, CodeWrongLast, CodeWrongLastInDoubt, CodeMaxBytes, CodeNotAvailable, CodeNotLeader, CodeNoResources,
			CodeNoQuota, CodeDuplicateInDoubt:
			return false
		}
		return api.Code >= 400 && api.Code < 500
	default:
		return false
	}
}

// MaybeApplied reports whether the server may have carried out a request that failed with err.
func MaybeApplied(err error) bool {
	return errors.Is(err, ErrNoAnswer) || errors.Is(err, nats.ErrDisconnected)
}

// shortReason is an error in a few words that stay the same as long as the reason does, so that
// health logs a reason once.
func shortReason(err error) string {
	var (
		api    *APIError
		denied *DeniedError
	)
	switch {
	case errors.Is(err, ErrNoAnswer):
		return "no answer"
	case errors.Is(err, nats.ErrNoResponders):
		return "no responders"
	case errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionReconnecting):
		return "not connected"
	case HasCode(err, CodeWrongLast, CodeWrongLastInDoubt):
		return "a write of the same subject is under way"
	case errors.As(err, &api):
		return api.Error()
	case errors.As(err, &denied):
		return denied.Error()
	default:
		return err.Error()
	}
}
