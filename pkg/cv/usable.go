package cv

import (
	"fmt"
	"slices"

	"github.com/google/uuid"
)

// unusable is the error of a 2xx answer that does not say what it must. It is ErrUnavailable, since
// what is missing from an answer must not be taken for "nothing there".
func unusable(format string, args ...any) error {
	return &kinded{ErrUnavailable, fmt.Errorf(format, args...)}
}

// anyOf is the check that every object passes.
func anyOf[T any](T) error { return nil }

// only is the check that objects of these ids pass: one that was not asked for is no answer.
func only[T Identified](ids ...uuid.UUID) func(T) error {
	return func(v T) error {
		if !slices.Contains(ids, v.Identity()) {
			return unusable("the answer has %s, which was not asked for", v.Identity())
		}
		return nil
	}
}

// of fails for something that says that it is of another project than the one asked about.
func of(asked, says uuid.UUID) error {
	if says != uuid.Nil && says != asked {
		return unusable("the answer has something of project %s, which was not asked for", says)
	}
	return nil
}

// distinct is a whole list with each thing once: two entries of one id are one thing.
func distinct[T Identified](items []T, err error) ([]T, error) {
	seen := make(map[uuid.UUID]struct{}, len(items))
	return slices.DeleteFunc(items, func(item T) bool {
		_, twice := seen[item.Identity()]
		seen[item.Identity()] = struct{}{}
		return twice
	}), err
}

// missingMember names a member that a decoded object must have and has not; it is empty when the
// object is complete. Every object that has an id needs it. An object that needs more than that has
// a method missing, which names what it lacks beside its id.
func missingMember(v any) string {
	if v, ok := v.(Identified); ok && v.Identity() == uuid.Nil {
		return "id"
	}
	if v, ok := v.(interface{ missing() string }); ok {
		return v.missing()
	}
	return ""
}

// checkComplete checks that an object has every member it must have.
func checkComplete[T any](v T) error {
	if name := missingMember(v); name != "" {
		return unusable("decode answer: there is no %s in it", name)
	}
	return nil
}
