package delivery

import (
	"errors"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// Dependencies as /readyz names them; a Training API resource is "training:<alias>".
const (
	DependencyNATS    = "nats"
	DependencyStorage = "storage"
)

// DependencyTraining is the dependency's name of a configured Custom Vision resource.
func DependencyTraining(alias string) string { return "training:" + alias }

// WaitFor is what a command waits for after a Misconfigured error.
func WaitFor(err error) string {
	if errors.Is(err, cv.ErrMisconfigured) {
		return contract.WaitCredential
	}
	return contract.WaitStorage
}

// DependencyOf is the dependency that a Misconfigured error is about.
func DependencyOf(err error, alias string) string {
	if errors.Is(err, cv.ErrMisconfigured) {
		return DependencyTraining(alias)
	}
	return DependencyStorage
}
