package delivery

import (
	"errors"

	"github.com/cvconsumer/cvconsumer/internal/shortage"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// Dependencies as /readyz names them; a Training API resource is "training:<alias>". The host is
// the machine that this process runs on.
const (
	DependencyNATS    = "nats"
	DependencyStorage = "storage"
	DependencyHost    = "host"
	DependencySigning = "signing" // the key that receipts are signed with
	// DependencyTimestamp is the time stamp authority of receipts.
	DependencyTimestamp = "timestamp"
)

// DependencyTraining is the dependency's name of a configured Custom Vision resource.
func DependencyTraining(alias string) string { return "training:" + alias }

// IsShortage reports whether this machine lacks something, whatever it was needed for.
func IsShortage(err error) bool { return shortage.Of(err) != nil }

// WaitFor is what a command waits for after a Misconfigured error. What a machine lacks is room
// above all, so that is WaitStorage too.
func WaitFor(err error) string {
	if errors.Is(err, cv.ErrMisconfigured) && !IsShortage(err) {
		return contract.WaitCredential
	}
	return contract.WaitStorage
}

// ProblemOf is the dependency that a Misconfigured error is about, and what is wrong with it.
func ProblemOf(err error, alias string) (dependency string, problem error) {
	if lacking := shortage.Of(err); lacking != nil {
		return DependencyHost, lacking
	}
	if errors.Is(err, cv.ErrMisconfigured) {
		return DependencyTraining(alias), err
	}
	return DependencyStorage, err
}
