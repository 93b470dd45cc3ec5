package export

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/jsonscan"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// bagLine is a line of a .jsonl file: JSON of the service, which is copied, and what is around it.
type bagLine struct {
	raw    json.RawMessage
	around any    // nil: nothing
	member string // of around; the JSON is its value
}

// null stands for a bagLine's JSON in what is around it.
var null = json.RawMessage("null")

// lines writes a .jsonl file: one line for each distinct thing in the records of units, in their
// order. has reports whether a thing has its line.
func (p *projectCommit) lines(ctx context.Context, name sink.Path, units []int, has func(uuid.UUID) bool, line func(n int, rec unit.Record) (bagLine, error)) error {
	return p.c.x.Bags.Spooled(func(s *sink.Spool) error {
		buffered := bufio.NewWriterSize(s, 32<<10)
		var splicer jsonscan.Splicer
		for _, n := range units {
			for rec, err := range p.c.results.records(ctx, n) {
				if err != nil {
					return err
				}
				if rec.Image == nil && rec.Prediction == nil && rec.Performance == nil || has(rec.ID) {
					continue
				}
				l, err := line(n, rec)
				if err != nil {
					return err
				}
				if l.around == nil {
					_, _ = buffered.Write(l.raw) // an error comes again
					err = buffered.WriteByte('\n')
				} else {
					err = splicer.Write(buffered, l.around, l.member, l.raw)
				}
				if err != nil {
					return fmt.Errorf("write %s: %w", name, err)
				}
			}
		}
		if err := buffered.Flush(); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		p.c.counts.Bytes += s.Size()
		if _, err := p.c.out.Put(ctx, name, s.Body("application/jsonl")); err != nil {
			return fmt.Errorf("store %s: %w", name, err)
		}
		return nil
	})
}

// twice makes a function that reports whether it was asked about an id before.
func twice() func(uuid.UUID) bool {
	asked := map[uuid.UUID]struct{}{}
	return func(id uuid.UUID) bool {
		before := len(asked)
		asked[id] = struct{}{}
		return len(asked) == before
	}
}
