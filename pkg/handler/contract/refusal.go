package contract

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Error codes of events, jobs and dead letters.
const (
	CodeInvalidCommand     = "invalid_command"
	CodeIDConflict         = "id_conflict"
	CodeExpired            = "expired"
	CodeUnknownResource    = "unknown_resource"
	CodeNotDeletable       = "not_deletable"
	CodeDeletesDisabled    = "deletes_disabled"
	CodeUnsigned           = "unsigned"
	CodeIterationPublished = "iteration_published"
	CodePreconditionFailed = "precondition_failed"
	CodePlanChanged        = "plan_changed" // refused before the first destructive call, failed after it
	CodeLegalHold          = "legal_hold"
	CodeReadOnly           = "read_only"

	CodeTooLate = "too_late" // of a cancel only

	CodeNotFound   = "not_found"
	CodeUnverified = "unverified"
	CodeExhausted  = "exhausted"
	CodeInternal   = "internal"
)

// RefusalOrder returns the codes a command may be refused with, in the order they are judged: the
// first that applies is the answer. All are judged before anything was changed. DecodeCommand
// judges invalid_command, Features.Unsupported what is not there yet (invalid_command too) and
// NotDeletable not_deletable; the rest needs the job, a clock, the configuration or the service,
// and is the coordinator's to judge. The codes of a refused cancel are invalid_command, unsigned
// and too_late, in this order.
func RefusalOrder() []string {
	return []string{
		CodeInvalidCommand, CodeIDConflict, CodeExpired, CodeUnknownResource, CodeNotDeletable, CodeDeletesDisabled, CodeUnsigned,
		CodeIterationPublished, CodePreconditionFailed, CodePlanChanged, CodeLegalHold, CodeReadOnly,
	}
}

// Codes are all error codes.
func Codes() []string {
	return append(RefusalOrder(), CodeTooLate, CodeNotFound, CodeUnverified, CodeExhausted, CodeInternal)
}

// Error is why a command was refused or failed, as jobs, events and dead letters carry it.
type Error struct {
	Code      string `json:"code"`
	Message   string `json:"message"`    // for people; no secret and no metadata value
	Retryable bool   `json:"retryable"`  // publishing the same again, under a new id, may succeed
	RequestID string `json:"request_id"` // the Training API's own id of the failed call, null when there is none
}

// Error returns code and message.
func (e Error) Error() string { return e.Code + ": " + e.Message }

// Refusal is a message that is not carried out. It is an error.
type Refusal struct {
	ID      string // the id it is refused under, unless that is taken: the one it gave, or "seq-<stream sequence>" when that is not usable
	Given   string // the id the message itself gave, when that is a usable one
	Action  Action // from the subject; empty when the subject is none of ours
	Code    string
	Message string // "<field>: what is wrong and how to put it right"; no value of the message is quoted
	Field   string // the field, CloudEvents attribute or header that is wrong
}

// Error returns code and message.
func (r *Refusal) Error() string { return r.Code + ": " + r.Message }

// Reason returns the refusal as events carry it.
func (r *Refusal) Reason() *Error { return &Error{Code: r.Code, Message: r.Message} }

// seqPrefix begins the ids of messages that have none of their own.
const seqPrefix = "seq-"

// SeqID returns the id under which a message is refused that has no usable id of its own, or one
// that is taken: "seq-<stream sequence>".
func SeqID(seq uint64) string { return seqPrefix + strconv.FormatUint(seq, 10) }

// IsSeqID reports whether id is made of a sequence. It names a message only together with the
// message's stream.
func IsSeqID(id string) bool { return strings.HasPrefix(id, seqPrefix) }

func (c Command) Refuse(code, field, message string) *Refusal {
	return &Refusal{ID: c.ID, Given: c.ID, Action: c.Action, Code: code, Field: field, Message: field + ": " + message}
}

// NotDeletable refuses a delete that asks only for what the service cannot delete by itself:
// performance goes with its iteration, and exported models go with the account. It is nil for
// everything else. It is judged after id_conflict, expired and unknown_resource.
func NotDeletable(c Command) *Refusal {
	if c.Action != ActionDelete {
		return nil
	}
	for _, k := range c.Data.Categories {
		if k != CategoryPerformance && k != CategoryExports {
			return nil
		}
	}
	return c.Refuse(CodeNotDeletable, "categories",
		"performance and exports cannot be deleted by themselves: performance goes with its iteration, exported models stay until the account goes; name iterations or projects too")
}

// How far ahead of the beginning of a command the end of a retention may be. A shorter one would be
// over before the bundle is whole; a longer one is more likely a slip than meant, and cannot be
// taken back.
const (
	MinRetention = time.Hour
	MaxRetention = 50 * 365 * 24 * time.Hour
)

// RetentionOutOfRange refuses a command that would begin now and asks for a retention that ends too
// soon, or too late. It is nil for every other one.
func RetentionOutOfRange(c Command, now time.Time) *Refusal {
	for _, asked := range []struct {
		field string
		until *time.Time
	}{{"retain_until", c.Data.RetainUntil}, {"export_retain_until", c.Data.ExportRetainUntil}} {
		switch until := asked.until; {
		case until == nil:
		case until.Before(now.Add(MinRetention)):
			return c.Refuse(CodeInvalidCommand, asked.field, fmt.Sprintf("must be at least an hour after the command begins, which would be at %s", now.UTC().Format(time.RFC3339)))
		case until.After(now.Add(MaxRetention)):
			return c.Refuse(CodeInvalidCommand, asked.field, "must be at most 50 years ahead, since a retention cannot be taken back")
		}
	}
	return nil
}

// Features says which parts of the contract this build carries out. What it does not is refused by
// name, never ignored.
type Features struct {
	Signature bool // signed commands
}

// Unsupported refuses a command that asks for something this build does not do yet:
// invalid_command, "<field>: not supported yet". It is nil when everything asked for is there.
func (f Features) Unsupported(c Command) *Refusal {
	for _, feature := range []struct {
		enabled, asked bool
		field          string
	}{
		{f.Signature, c.Signature != "", HeaderSignature},
	} {
		if feature.asked && !feature.enabled {
			return c.Refuse(CodeInvalidCommand, feature.field, "not supported yet")
		}
	}
	return nil
}
