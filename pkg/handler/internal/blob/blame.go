package blob

import (
	"errors"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// Statuses of answers of the service.
const (
	statusNotFound = 404
	statusGone     = 410
)

// BlameOf says why something could not be had.
func BlameOf(err error) *bagfile.Blame {
	b := &bagfile.Blame{Code: "unavailable", Message: err.Error()}
	api := AnswerOf(err)
	if api != nil {
		b.Operation, b.RequestID = api.Op, api.RequestID
	}
	switch {
	case errors.Is(err, cv.ErrUnstable):
		b.Code = "unstable"
	case api != nil && api.Code != "":
		b.Code = api.Code
	case errors.Is(err, ErrNoLink), errors.Is(err, cv.ErrGone):
		b.Code = unit.CodeGone
	case errors.Is(err, cv.ErrBadLink):
		b.Code = "bad_link"
	case errors.Is(err, cv.ErrHostNotAllowed):
		b.Code = "host_not_allowed"
	case errors.Is(err, cv.ErrTooLarge):
		b.Code = "too_large"
	case errors.Is(err, cv.ErrTooSlow):
		b.Code = "too_slow"
	case api != nil && (api.Status == statusNotFound || api.Status == statusGone):
		b.Code = "not_found"
	case errors.Is(err, cv.ErrLinkExpired):
		b.Code = "link_expired"
	case api != nil && api.Status >= 400 && api.Status < 500 && !errors.Is(err, cv.ErrUnavailable) && !errors.Is(err, cv.ErrThrottled):
		b.Code = "refused"
	}
	return b
}

// AnswerOf is the innermost failed call behind an error: the one that a fresh link was asked for
// with, for example, and not the download that needed it.
func AnswerOf(err error) (found *cv.Error) {
	for inner := (*cv.Error)(nil); errors.As(err, &inner); err = inner.Err {
		if found == nil || inner.Status != 0 {
			found = inner
		}
	}
	return found
}
