package cvtest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// Limits of the service.
const (
	maxTake           = 256
	maxImageIDs       = 256
	maxTagIDs         = 20
	maxPredictionIDs  = 64
	maxPredictionTags = 2
	defaultTake       = 50
)

// idList reads a comma-separated list of ids; refused is nil when it is well-formed and not too
// long (limit 0: any length).
func (q *request) idList(name string, limit int, tooMany string) (ids []uuid.UUID, refused *answer) {
	for _, v := range q.query[strings.ToLower(name)] {
		for text := range strings.SplitSeq(v, ",") {
			if text == "" && len(v) == 0 {
				continue
			}
			id, valid := parseID(strings.TrimSpace(text))
			if !valid {
				a := badRequest("BadRequestInvalidIds", "Invalid id in %s.", name)
				return nil, &a
			}
			ids = append(ids, id)
		}
	}
	if limit > 0 && len(ids) > limit {
		a := badRequest(tooMany, "%s is limited to %d ids.", name, limit)
		return nil, &a
	}
	return ids, nil
}

func (q *request) integer(name string, missing int) (n int, refused *answer) {
	text := q.query.Get(name)
	if text == "" {
		return missing, nil
	}
	v, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		a := badRequest("BadRequest", "The value of %s is not a number.", name)
		return 0, &a
	}
	return int(v), nil
}

func (q *request) fraction(name string, missing float64) (v float64, refused *answer) {
	text := q.query.Get(strings.ToLower(name))
	if text == "" {
		return missing, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v < 0 || v > 1 {
		a := badRequest("BadRequest", "The value of %s is not between 0 and 1.", name)
		return 0, &a
	}
	return v, nil
}

func (q *request) flag(name string) (on bool, refused *answer) {
	text := q.query.Get(strings.ToLower(name))
	if text == "" {
		return false, nil
	}
	on, err := strconv.ParseBool(strings.ToLower(text))
	if err != nil {
		a := badRequest("BadRequest", "The value of %s is not a boolean.", name)
		return false, &a
	}
	return on, nil
}

// choice reads an enumeration, letter case ignored; the first value is the default.
func (q *request) choice(name string, values ...string) (value string, refused *answer) {
	text := q.query.Get(strings.ToLower(name))
	if text == "" {
		return values[0], nil
	}
	for _, v := range values {
		if strings.EqualFold(v, text) {
			return v, nil
		}
	}
	a := badRequest("BadRequest", "The value of %s is not one of %s.", name, strings.Join(values, ", "))
	return "", &a
}

// page applies orderBy, skip and take to things listed oldest first.
func page[T any](q *request, all []T) (cut []T, refused *answer) {
	take, refused := q.integer("take", defaultTake)
	if refused != nil {
		return nil, refused
	}
	skip, refused := q.integer("skip", 0)
	if refused != nil {
		return nil, refused
	}
	order, refused := q.choice("orderBy", "Newest", "Oldest")
	if refused != nil {
		return nil, refused
	}
	if take < 0 || take > maxTake {
		a := badRequest("BadRequestExceededBatchSize", "take must be between 0 and %d.", maxTake)
		return nil, &a
	}
	if skip < 0 {
		a := badRequest("BadRequest", "skip must not be negative.")
		return nil, &a
	}
	from := min(skip, len(all))
	to := min(from+take, len(all))
	if order == "Oldest" {
		return all[from:to], nil
	}
	cut = slices.Clone(all[len(all)-to : len(all)-from])
	slices.Reverse(cut)
	return cut, nil
}

func (s *Server) theProject(q *request) (*project, *answer) {
	if p := s.account.project(q.project()); p != nil {
		return p, nil
	}
	a := notFound("NotFoundProject", "Project not found: %s", q.project())
	return nil, &a
}

func (s *Server) theIteration(q *request) (*project, *iteration, *answer) {
	p, refused := s.theProject(q)
	if refused != nil {
		return nil, nil, refused
	}
	if it := p.iteration(q.iteration()); it != nil {
		return p, it, nil
	}
	a := notFound("NotFoundIteration", "Iteration not found: %s", q.iteration())
	return nil, nil, &a
}

// theScope is the workspace, or the iteration that the query names.
func (s *Server) theScope(q *request) (*project, *scope, *answer) {
	p, refused := s.theProject(q)
	if refused != nil {
		return nil, nil, refused
	}
	text := q.query.Get("iterationid")
	if text == "" {
		return p, p.workspace, nil
	}
	id, valid := parseID(text)
	if !valid {
		a := badRequest("BadRequestInvalidIds", "Invalid iteration id.")
		return nil, nil, &a
	}
	if it := p.iteration(id); it != nil {
		return p, it.scope, nil
	}
	a := notFound("NotFoundIteration", "Iteration not found: %s", id)
	return nil, nil, &a
}

// writable refuses changes of a project in disaster recovery mode.
func (p *project) writable() *answer {
	if !p.drMode {
		return nil
	}
	a := refuse(http.StatusForbidden, "ForbiddenDRModeEnabled", "Disaster recovery mode is enabled: the project is read-only.")
	return &a
}
