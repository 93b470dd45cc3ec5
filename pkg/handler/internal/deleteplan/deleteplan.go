package deleteplan

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// NewHead is the head of a plan for a command, at the host of the Training API. In the scope
// metadata values are pseudonyms.
func NewHead(s contract.Scope, host string) bagfile.Plan {
	categories := make([]string, 0, len(s.Categories))
	for _, c := range s.Categories {
		categories = append(categories, string(c))
	}
	return bagfile.Plan{
		APIVersion: cv.APIVersion, Categories: slices.Sorted(slices.Values(categories)), Host: host,
		Selection: bagfile.PlanSelection{
			AllProjects: s.AllProjects, ImageIDs: contract.SortedIDs(s.ImageIDs),
			ImageMetadata: append([]map[string]string{}, s.ImageMetadata...),
			IterationIDs:  contract.SortedIDs(s.IterationIDs), ProjectIDs: contract.SortedIDs(s.ProjectIDs), TagIDs: contract.SortedIDs(s.TagIDs),
		},
		Unpublish: s.Unpublish, V: contract.FormatVersion,
	}
}

// Writer writes a plan project by project.
type Writer struct {
	w     io.Writer
	head  bagfile.Plan
	comma string
}

// NewWriter begins a plan.
func NewWriter(w io.Writer, head bagfile.Plan) (*Writer, error) {
	p := &Writer{w: w, head: head}
	return p, p.write(`{"api_version":`, quoted(head.APIVersion), `,"categories":`, head.Categories, `,"host":`, quoted(head.Host), `,"projects":[`)
}

// Add writes a project. Projects come in the order of their ids.
func (p *Writer) Add(project bagfile.PlanProject) error {
	comma := p.comma
	p.comma = ","
	return p.write(comma, project)
}

// Close writes the end of the plan.
func (p *Writer) Close() error {
	return p.write(`],"selection":`, p.head.Selection, `,"unpublish":`, p.head.Unpublish, `,"v":`, p.head.V, "}\n")
}

// quoted is a string that is written as JSON, where a plain string is written as it is.
type quoted string

func (p *Writer) write(parts ...any) error {
	for _, part := range parts {
		var b []byte
		switch v := part.(type) {
		case string:
			b = []byte(v)
		default:
			var err error
			if b, err = contract.Marshal(v); err != nil {
				return fmt.Errorf("encode the plan: %w", err)
			}
		}
		if _, err := p.w.Write(b); err != nil {
			return fmt.Errorf("write the plan: %w", err)
		}
	}
	return nil
}

// Projects yields the projects of a stored plan, one at a time. After the last one head is what
// else the plan says.
func Projects(r io.Reader, head *bagfile.Plan) iter.Seq2[bagfile.PlanProject, error] {
	errStop := errors.New("stop")
	return func(yield func(bagfile.PlanProject, error) bool) {
		d := json.NewDecoder(r)
		skipToken := func() error {
			_, err := d.Token()
			return err //nolint:wrapcheck // wrapped below
		}
		projects := func() error {
			if err := skipToken(); err != nil {
				return err
			}
			for d.More() {
				var p bagfile.PlanProject
				if err := d.Decode(&p); err != nil {
					return err
				}
				if !yield(p, nil) {
					return errStop
				}
			}
			return skipToken() // the list ends
		}
		err := skipToken()
		for err == nil && d.More() {
			var name json.Token
			if name, err = d.Token(); err != nil {
				break
			}
			switch name {
			case "projects":
				err = projects()
			case "api_version":
				err = d.Decode(&head.APIVersion)
			case "categories":
				err = d.Decode(&head.Categories)
			case "host":
				err = d.Decode(&head.Host)
			case "selection":
				err = d.Decode(&head.Selection)
			case "unpublish":
				err = d.Decode(&head.Unpublish)
			case "v":
				err = d.Decode(&head.V)
			default:
				err = fmt.Errorf("unknown member %v", name)
			}
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(bagfile.PlanProject{}, fmt.Errorf("read the plan: %w", err))
		}
	}
}
