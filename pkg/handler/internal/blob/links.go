package blob

import (
	"context"
	"sync"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
)

// Candidates are the links to one blob, in the order to try them: the original's, and the resized
// one's. The second is empty where they are the same, as for an image that needed no resizing.
func Candidates(original, resized string) []string {
	if resized == original {
		resized = ""
	}
	return []string{original, resized}
}

// Linker reads fresh links of things by their ids; what is gone is missing from its answer.
type Linker func(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID][]string, error)

// Links are the links of one unit's items. An expired one is asked for again together with
// all others of the unit, which costs one call.
type Links struct {
	mu         sync.Mutex
	read       Linker
	ids        []uuid.UUID
	current    map[uuid.UUID][]string
	generation int // how often links were read
}

// NewLinks are the links of the things with these ids, which read reads. current are those that
// were read just now; nil where none were.
func NewLinks(read Linker, ids []uuid.UUID, current map[uuid.UUID][]string) *Links {
	return &Links{read: read, ids: ids, current: current}
}

// Get is the item's links, and the round they are of.
func (l *Links) Get(ctx context.Context, id uuid.UUID) ([]string, int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == nil {
		if err := l.refresh(ctx); err != nil {
			return nil, 0, err
		}
	}
	return l.current[id], l.generation, nil
}

// Renew is links newer than those of round.
func (l *Links) Renew(ctx context.Context, id uuid.UUID, round int) ([]string, int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.generation <= round {
		if err := l.refresh(ctx); err != nil {
			return nil, 0, err
		}
	}
	return l.current[id], l.generation, nil
}

func (l *Links) refresh(ctx context.Context) error {
	current, err := l.read(ctx, l.ids)
	if err != nil {
		return err
	}
	l.current = current
	l.generation++
	return nil
}

// ErrNoLink says that the service gives no link to a blob any more: it is gone.
var ErrNoLink error = noLinkError{}

type noLinkError struct{}

// Error says so.
func (noLinkError) Error() string { return "the service gives no link to it any more" }

// Is matches cv.ErrGone.
func (noLinkError) Is(target error) bool { return target == cv.ErrGone }
