package sink

import (
	"context"
	"errors"
	"maps"
	"strings"
)

// KeepsMetadata reports whether the bucket keeps user metadata as long as that of a sealed object.
// It writes a small object at probe, asks for its head, and removes it by version. A bucket that
// keeps no metadata keeps no seals, so no command could read what it stored. Several processes may
// probe the same key.
//
// Errors: those of every request. Operations: PutObject, HeadObject, GetObject, and those of
// Remove.
func (s *Store) KeepsMetadata(ctx context.Context, probe Key) (kept bool, err error) {
	s = s.Unsealed()
	body := Bytes([]byte("cvconsumer asks whether this store keeps user metadata\n"), textPlain)
	body.Meta = map[string]string{metaSeal: strings.Repeat("0123456789abcdef/", 12), metaMessage: strings.Repeat("CV_COMMANDS-17/", 16)}
	defer s.removeProbe(ctx, probe, &err)
	for range probeTries {
		if err := s.putObject(ctx, probe, body, false); err != nil {
			return false, err
		}
		o, err := s.Head(ctx, probe)
		if !errors.Is(err, ErrNotFound) {
			return maps.Equal(o.Meta, body.Meta), err
		}
	}
	return false, newError("look at object", probe, ErrUnavailable, "it is not there although it was just stored")
}
