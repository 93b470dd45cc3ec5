package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
)

// Exit codes, as scripts rely on them.
const (
	exitDone         = 0
	exitUnexpected   = 1
	exitUsage        = 2 // usage or settings
	exitCommand      = 3 // the command failed or was refused
	exitVerify       = 4 // verification failed
	exitUnreachable  = 5 // something needed was not reachable
	exitInconclusive = 6 // verification could not be finished
)

var (
	errUsage         = errors.New("usage")
	errCommandFailed = errors.New("the command did not complete")
	errRefused       = errors.New("not done")
	errVerifyFailed  = errors.New("verification failed")
	errUnreachable   = errors.New("not reachable")
	errInconclusive  = errors.New("verification is inconclusive")
)

// exits is the one table from error to exit code; the first row that matches counts, and an
// error that matches no row is unexpected.
var exits = []struct {
	is   error
	code int
}{
	{errUsage, exitUsage},
	{errSettings, exitUsage},
	{errCommandFailed, exitCommand},
	{errRefused, exitCommand},
	{errVerifyFailed, exitVerify},
	{errInconclusive, exitInconclusive},
	{errUnreachable, exitUnreachable},
	{natsq.ErrTooLarge, exitUsage},
	{natsq.ErrDenied, exitUnreachable},
}

// childExit is the exit code of a program started for the user: it is passed on, and nothing
// more is printed: that program has reported its error itself.
type childExit int

func (e childExit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// report prints what went wrong, if anything did, and gives the exit code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	var child childExit
	if errors.As(err, &child) {
		return int(child)
	}
	var printed printedError
	if !errors.As(err, &printed) {
		fmt.Fprintf(plain{stderr}, "consumer: %s\n", strings.TrimPrefix(err.Error(), errUsage.Error()+": "))
	}
	return exitCode(err)
}

func exitCode(err error) int {
	for _, row := range exits {
		if errors.Is(err, row.is) {
			return row.code
		}
	}
	return exitUnexpected
}

// printedError is an error whose text the user has already seen as part of the output; it still
// decides the exit code.
type printedError struct{ error }

func (e printedError) Unwrap() error { return e.error }

// interrupted reports whether a signal asked this process to stop.
func interrupted(ctx context.Context) bool {
	return errors.Is(context.Cause(ctx), delivery.ErrStopping)
}
