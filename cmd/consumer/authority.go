package main

import (
	"context"

	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
)

// authorityAsked shows how a request to the time stamp authority ended, of a receipt or of a check.
// Where time stamps are not required, a failure is a note: receipts go without.
func (s *service) authorityAsked(err error) {
	var notes []string
	if s.c.Signing.Policy() == signature.Optional {
		if err != nil {
			notes = []string{"receipts go without time stamps: " + err.Error()}
		}
		err = nil
	}
	s.monitor.note(delivery.DependencyTimestamp, notes...)
	s.monitor.found(delivery.DependencyTimestamp, err)
}

// askEvery is how many checks of the time stamp authority ask it once, while it is available: it is
// another party's, and receipts tell when it fails.
const askEvery = 60

// checkAuthority makes the check of the time stamp authority.
func (s *service) checkAuthority() func(context.Context) error {
	checks := 0
	return func(ctx context.Context) error {
		_, failing := s.health.Problems()[delivery.DependencyTimestamp]
		if checks++; !failing && checks%askEvery != 0 {
			return nil
		}
		if err := s.c.Signing.Try(ctx); err != nil && s.c.Signing.Policy() == signature.Required {
			return err //nolint:wrapcheck // it says what it asks
		}
		return nil
	}
}
