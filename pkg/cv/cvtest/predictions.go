package cvtest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// queryToken is a PredictionQueryToken as clients send it.
type queryToken struct {
	Session      string     `json:"session"`
	Continuation string     `json:"continuation"`
	MaxCount     int        `json:"maxCount"`
	OrderBy      string     `json:"orderBy"`
	Tags         []queryTag `json:"tags"`
	IterationID  *uuid.UUID `json:"iterationId"`
	StartTime    *time.Time `json:"startTime"`
	EndTime      *time.Time `json:"endTime"`
	Application  string     `json:"application"`
}

type queryTag struct {
	ID           uuid.UUID `json:"id"`
	MinThreshold number    `json:"minThreshold"`
	MaxThreshold number    `json:"maxThreshold"`
}

// jsonQueryToken is the token as the service gives it back.
type jsonQueryToken struct {
	Session      string   `json:"session"`
	Continuation nullable `json:"continuation"`
	MaxCount     int      `json:"maxCount"`
	OrderBy      string   `json:"orderBy"`
	Tags         nullable `json:"tags"`
	IterationID  nullable `json:"iterationId"`
	StartTime    nullable `json:"startTime"`
	EndTime      nullable `json:"endTime"`
	Application  nullable `json:"application"`
}

type jsonQueryResult struct {
	Token   jsonQueryToken         `json:"token"`
	Results []jsonStoredPrediction `json:"results"`
}

func (s *Server) queryPredictions(q *request) answer {
	p, refused := s.theProject(q)
	if refused != nil {
		return *refused
	}
	var token queryToken
	if err := json.Unmarshal(q.body, &token); err != nil {
		return badRequest("BadRequestPredictionInvalidQueryParameters", "The query is not valid.")
	}
	order := token.OrderBy
	switch order {
	case "":
		order = "Newest"
	case "Newest", "Oldest", "Suggested":
	default:
		return badRequest("BadRequestPredictionInvalidQueryParameters", "The value of orderBy is not valid.")
	}
	switch {
	case len(token.Tags) > maxPredictionTags:
		return badRequest("BadRequestPredictionTagsExceededCount", "Limited to combining %d tags.", maxPredictionTags)
	case token.MaxCount < 0 || token.MaxCount > maxTake:
		return badRequest("BadRequestPredictionResultsExceededCount", "maxCount is limited to %d.", maxTake)
	}
	only := uuid.Nil
	if token.IterationID != nil {
		if only = *token.IterationID; p.iteration(only) == nil {
			return notFound("NotFoundIteration", "Iteration not found: %s", only)
		}
	} else if s.o.DefaultIterationPredictions {
		for _, it := range p.iterations {
			if it.isTrained() {
				only = it.id
			}
		}
	}
	var found []*prediction
	for _, x := range p.predictions {
		if (only != uuid.Nil && x.iteration != only) ||
			(token.StartTime != nil && x.created.Before(*token.StartTime)) || (token.EndTime != nil && x.created.After(*token.EndTime)) ||
			!x.hasTags(token.Tags) {
			continue
		}
		found = append(found, x)
	}
	if order != "Oldest" {
		slices.Reverse(found)
	}
	// The continuation names the last prediction given, by time and id, so that deletions in
	// between shift nothing.
	if token.Continuation != "" {
		last, at, valid := readContinuation(token.Continuation)
		if !valid || token.Session == "" {
			return badRequest("BadRequestPredictionInvalidQueryParameters", "The continuation is not valid.")
		}
		found = slices.DeleteFunc(found, func(x *prediction) bool {
			c := x.created.Compare(at)
			if c == 0 {
				c = slices.Compare(x.id[:], last[:])
			}
			if order == "Oldest" {
				return c <= 0
			}
			return c >= 0
		})
	}
	take := token.MaxCount
	if take == 0 {
		take = defaultTake
	}
	answered := found[:min(take, len(found))]
	result := jsonQueryResult{Results: []jsonStoredPrediction{}, Token: jsonQueryToken{
		Session: token.Session, MaxCount: token.MaxCount, OrderBy: order, Continuation: some(""), Application: some(token.Application),
		Tags: some([]queryTag{}), IterationID: some(nil), StartTime: some(nil), EndTime: some(nil),
	}}
	if result.Token.Session == "" {
		result.Token.Session = "2:" + strconv.FormatUint(s.number("session", p.serial)%100_000_000, 10)
	}
	if s.o.Recorded {
		result.Token.Continuation, result.Token.Tags = some(nil), some(nil)
		if token.Application == "" {
			result.Token.Application = some(nil)
		}
	}
	if len(token.Tags) > 0 {
		result.Token.Tags = some(token.Tags)
	}
	if token.IterationID != nil {
		result.Token.IterationID = some(*token.IterationID)
	}
	if token.StartTime != nil {
		result.Token.StartTime = some(zoned(*token.StartTime))
	}
	if token.EndTime != nil {
		result.Token.EndTime = some(zoned(*token.EndTime))
	}
	if n := len(answered); n > 0 && (len(found) > n || s.o.TrailingPage && n == take) {
		result.Token.Continuation = some(writeContinuation(answered[n-1]))
	}
	for _, x := range answered {
		result.Results = append(result.Results, s.linker(q).prediction(p, x))
	}
	return ok(result)
}

// hasTags reports whether a prediction has every one of the tags within its thresholds.
func (x *prediction) hasTags(tags []queryTag) bool {
	for _, t := range tags {
		if !slices.ContainsFunc(x.guesses, func(g guess) bool {
			return g.tag == t.ID && g.probability >= float32(t.MinThreshold) && (t.MaxThreshold == 0 || g.probability <= float32(t.MaxThreshold))
		}) {
			return false
		}
	}
	return true
}

func writeContinuation(x *prediction) string {
	return "1!" + strconv.FormatInt(x.created.UnixMilli(), 10) + "!" + plain(x.id)
}

func readContinuation(text string) (id uuid.UUID, at time.Time, valid bool) {
	parts := strings.Split(text, "!")
	if len(parts) != 3 {
		return uuid.Nil, time.Time{}, false
	}
	millis, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return uuid.Nil, time.Time{}, false
	}
	id, err = uuid.Parse(parts[2])
	return id, time.UnixMilli(millis), err == nil
}

func (s *Server) deletePredictions(q *request) answer {
	p, refused := s.theProject(q)
	if refused != nil {
		return *refused
	}
	if refused := p.writable(); refused != nil {
		return *refused
	}
	ids, refused := q.idList("ids", maxPredictionIDs, "BadRequestPredictionIdsExceededCount")
	if refused != nil {
		return *refused
	}
	if len(ids) == 0 {
		return badRequest("BadRequestPredictionIdsMissing", "ids is required.")
	}
	gone := map[uuid.UUID]struct{}{}
	for _, id := range ids {
		if p.prediction(id) != nil {
			gone[id] = struct{}{}
		}
	}
	if missing := len(setOf(ids)) - len(gone); len(gone) == 0 || s.o.MissingFailsBatch && missing > 0 {
		return notFound("NotFound", "Prediction not found.")
	}
	p.removePredictions(gone)
	return answer{status: http.StatusNoContent}
}
