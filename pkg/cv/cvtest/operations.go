package cvtest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

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

// Domains

func domains() []jsonDomain {
	const classification, detection = "Classification", "ObjectDetection"
	return []jsonDomain{
		{"ee85a74c-405e-4adc-bb47-ffa8ca0c9f31", "General", classification, false, true},
		{"a8e3c40f-fb4a-466f-832a-5e457ae4a344", "General [A1]", classification, false, true},
		{"2e37d7fb-3a54-486a-b4d6-cfc369af0018", "General [A2]", classification, false, true},
		{"c151d5b5-dd07-472a-acc8-15d29dea8518", "Food", classification, false, true},
		{"ca455789-012d-4b50-9fec-5bb63841c793", "Landmarks", classification, false, true},
		{"b30a91ae-e3c1-4f73-a81e-c270bff27c39", "Retail", classification, false, true},
		{"45badf75-3591-4f26-a705-45678d3e9f5f", "Adult", classification, false, true},
		{"0732100f-1a38-4e49-a514-c9b44c697ab5", "General (compact)", classification, true, true},
		{"a1db07ca-a19a-4830-bae8-e004a42dc863", "General (compact) [S1]", classification, true, true},
		{"8882951b-82cd-4c32-970b-d5f8cb8bf6d7", "Food (compact)", classification, true, true},
		{"b5cfd229-2ac7-4b2b-8d0a-2b0661344894", "Landmarks (compact)", classification, true, true},
		{"6b4faeda-8396-481b-9f8b-177b9fa3097f", "Retail (compact)", classification, true, true},
		{"da2e3a8a-40a5-4171-82f4-58522f70fbc1", "General", detection, false, true},
		{"9c616dff-2e7d-ea11-af59-1866da359ce6", "General [A1]", detection, false, true},
		{"1d8ffafe-ec40-4fb2-8f90-72b3b6cecea4", "Logo", detection, false, true},
		{"3780a898-81c3-4516-81ae-3a139614e1f3", "Products on shelves", detection, false, true},
		{"a27d5ca5-bb19-49d8-a70a-fec086c47f5b", "General (compact)", detection, true, true},
		{"7ec2ac80-887b-48a6-8df9-8b1357765430", "General (compact) [S1]", detection, true, true},
	}
}

func (s *Server) getDomains(*request) answer { return ok(domains()) }

func (s *Server) getDomain(q *request) answer {
	for _, d := range domains() {
		if d.ID == q.ids["domainId"].String() {
			return ok(d)
		}
	}
	return notFound("NotFoundDomain", "Domain not found: %s", q.ids["domainId"])
}

// Parameters

// ids reads a comma-separated list of ids; refused is nil when it is well-formed and not too long
// (limit 0: any length).
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

// Things of the path

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

// Projects

func (s *Server) getProjects(q *request) answer {
	all := make([]jsonProject, 0, len(s.account.projects))
	for _, p := range slices.Backward(s.account.projects) { // newest first
		all = append(all, s.linker(q).project(p))
	}
	return ok(all)
}

func (s *Server) getProject(q *request) answer {
	p, refused := s.theProject(q)
	if refused != nil {
		return *refused
	}
	return ok(s.linker(q).project(p))
}

func (s *Server) deleteProject(q *request) answer {
	p, refused := s.theProject(q)
	if refused != nil {
		return *refused
	}
	if refused := p.writable(); refused != nil {
		return *refused
	}
	if p.published() {
		return badRequest("BadRequestIterationIsPublished", "The project has published iterations. Unpublish them first.")
	}
	if p.training() {
		return refuse(http.StatusConflict, "Conflict", "The project is being trained.")
	}
	s.account.removeProjects(setOf([]uuid.UUID{p.id}))
	return answer{status: http.StatusNoContent}
}

func (s *Server) getArtifact(q *request) answer {
	p, refused := s.theProject(q)
	if refused != nil {
		return *refused
	}
	name := q.query.Get("path")
	if name == "" {
		return badRequest("BadRequestRequiredParamIsNull", "path is required.")
	}
	invalid := badRequest("BadRequestInvalidArtifactUri", "The artifact path is not valid.")
	if strings.Contains(name, "://") {
		u, err := url.Parse(name)
		if err != nil {
			return invalid
		}
		rest, found := strings.CutPrefix(u.Path, blobPath)
		if !found || s.checkLink(rest, u.Query(), q.now) != "" {
			return invalid
		}
		name = rest
	}
	src := s.findBlob(strings.TrimPrefix(name, "/"), p.id)
	if src == nil {
		if strings.Count(name, "/") == 0 || strings.Contains(name, "..") {
			return invalid
		}
		return notFound("NotFound", "The artifact does not exist.")
	}
	return answer{status: http.StatusOK, lazy: func() *file { return s.files.open(strings.TrimPrefix(name, "/"), src) }, header: http.Header{"Content-Type": {"application/octet-stream"}}}
}

// Iterations

func (s *Server) getIterations(q *request) answer {
	p, refused := s.theProject(q)
	if refused != nil {
		return *refused
	}
	all := make([]jsonIteration, 0, len(p.iterations))
	for _, it := range p.iterations {
		all = append(all, s.linker(q).iteration(p, it))
	}
	return ok(all)
}

func (s *Server) getIteration(q *request) answer {
	p, it, refused := s.theIteration(q)
	if refused != nil {
		return *refused
	}
	return ok(s.linker(q).iteration(p, it))
}

func (s *Server) deleteIteration(q *request) answer {
	p, it, refused := s.theIteration(q)
	if refused != nil {
		return *refused
	}
	if refused := p.writable(); refused != nil {
		return *refused
	}
	switch {
	case it.publishName != "":
		return badRequest("BadRequestIterationIsPublished", "Iteration is published as: %s", it.publishName)
	case it.status == StatusTraining:
		return refuse(http.StatusConflict, "Conflict", "The iteration is being trained.")
	case it.status == StatusNew:
		return badRequest("BadRequestWorkspaceNotDeletable", "The workspace cannot be deleted.")
	}
	p.removeIteration(it.id)
	return answer{status: http.StatusNoContent}
}

func (s *Server) unpublishIteration(q *request) answer {
	p, it, refused := s.theIteration(q)
	if refused != nil {
		return *refused
	}
	if refused := p.writable(); refused != nil {
		return *refused
	}
	if it.publishName == "" {
		return badRequest("BadRequestIterationNotPublished", "The iteration is not published.")
	}
	it.publishName = ""
	return answer{status: http.StatusNoContent}
}

// untrained is the answer where there is no performance.
func untrained(it *iteration) *answer {
	if it.isTrained() {
		return nil
	}
	a := notFound("NotFoundIterationPerformance", "Performance not found for iteration: %s", it.id)
	if it.status == StatusTraining || it.status == StatusNew {
		a = badRequest("BadRequestIterationIsNotTrained", "The iteration is not trained.")
	}
	return &a
}

func (s *Server) getPerformance(q *request) answer {
	p, it, refused := s.theIteration(q)
	if refused != nil {
		return *refused
	}
	threshold, refused := q.fraction("threshold", 0.5)
	if refused != nil {
		return *refused
	}
	overlap, refused := q.fraction("overlapThreshold", 0.3)
	if refused != nil {
		return *refused
	}
	if refused := untrained(it); refused != nil {
		return *refused
	}
	return ok(s.performance(p, it, threshold, overlap))
}

// getImagePerformances lists or counts.
func (s *Server) getImagePerformances(q *request) answer {
	p, it, refused := s.theIteration(q)
	if refused != nil {
		return *refused
	}
	limit := maxTagIDs
	if q.operation == "GetImagePerformanceCount" {
		limit = 0
	}
	tags, refused := q.idList("tagIds", limit, "BadRequestExceededBatchSize")
	if refused != nil {
		return *refused
	}
	if refused := untrained(it); refused != nil {
		return *refused
	}
	images := withAnyTag(it.evaluated(), tags)
	if q.operation == "GetImagePerformanceCount" {
		return ok(len(images))
	}
	images, refused = page(q, images)
	if refused != nil {
		return *refused
	}
	all := make([]jsonImagePerformance, 0, len(images))
	for _, img := range images {
		all = append(all, s.linker(q).imagePerformance(p, it, img))
	}
	return ok(all)
}

func (s *Server) getExports(q *request) answer {
	p, it, refused := s.theIteration(q)
	if refused != nil {
		return *refused
	}
	all := make([]jsonExport, 0, len(it.exports))
	for _, e := range it.exports {
		all = append(all, s.linker(q).export(p, it, e))
	}
	return ok(all)
}

// Tags

func (s *Server) getTags(q *request) answer {
	_, sc, refused := s.theScope(q)
	if refused != nil {
		return *refused
	}
	all := make([]jsonTag, 0, len(sc.tags))
	for _, t := range sc.tags {
		all = append(all, sc.jsonTag(t))
	}
	return ok(all)
}

func (s *Server) getTag(q *request) answer {
	_, sc, refused := s.theScope(q)
	if refused != nil {
		return *refused
	}
	t := sc.tag(q.ids["tagId"])
	if t == nil {
		return notFound("NotFoundTag", "Tag not found: %s", q.ids["tagId"])
	}
	return ok(sc.jsonTag(t))
}

func (s *Server) deleteTag(q *request) answer {
	p, refused := s.theProject(q)
	if refused != nil {
		return *refused
	}
	if refused := p.writable(); refused != nil {
		return *refused
	}
	if p.workspace.tag(q.ids["tagId"]) == nil {
		return notFound("NotFoundTag", "Tag not found: %s", q.ids["tagId"])
	}
	p.workspace.removeTag(q.ids["tagId"])
	return answer{status: http.StatusNoContent}
}

// Images

// withAnyTag keeps the images that have any of the tags; all when there are no tags.
func withAnyTag(images []*image, tags []uuid.UUID) []*image {
	if len(tags) == 0 {
		return images
	}
	var kept []*image
	for _, img := range images {
		if slices.ContainsFunc(img.tags, func(l tagLink) bool { return slices.Contains(tags, l.tag) }) {
			kept = append(kept, img)
		}
	}
	return kept
}

// getImages answers the listings and counts of tagged, untagged and all images.
func (s *Server) getImages(q *request) answer {
	p, sc, refused := s.theScope(q)
	if refused != nil {
		return *refused
	}
	counting := strings.HasSuffix(q.operation, "Count")
	limit := maxTagIDs
	if counting {
		limit = 0
	}
	tags, refused := q.idList("tagIds", limit, "BadRequestExceededBatchSize")
	if refused != nil {
		return *refused
	}
	sc.list()
	images := sc.images
	switch q.operation {
	case "GetTaggedImages", "GetTaggedImageCount":
		images = sc.tagged
	case "GetUntaggedImages", "GetUntaggedImageCount":
		images, tags = sc.untagged, nil
	default:
		status, refused := q.choice("taggingStatus", "All", "Tagged", "Untagged")
		if refused != nil {
			return *refused
		}
		switch status {
		case "Tagged":
			images = sc.tagged
		case "Untagged":
			images = sc.untagged
		}
		if text := q.query.Get("$filter"); text != "" {
			f, err := parseFilter(text)
			if err != nil {
				return badRequest("BadRequest", "The filter is not valid: %v", err)
			}
			var kept []*image
			for _, img := range images {
				if f(img.meta) {
					kept = append(kept, img)
				}
			}
			images = kept
		}
	}
	images = withAnyTag(images, tags)
	if counting {
		return ok(len(images))
	}
	images, refused = page(q, images)
	if refused != nil {
		return *refused
	}
	return s.images(q, p, sc, images)
}

func (s *Server) images(q *request, p *project, sc *scope, images []*image) answer {
	l := s.linker(q)
	all := make([]jsonImage, 0, len(images))
	for _, img := range images {
		all = append(all, l.image(p, sc, img))
	}
	return ok(all)
}

// getImagesByIDs answers in order of creation, not of the ids; ids that do not exist are passed
// over.
func (s *Server) getImagesByIDs(q *request) answer {
	p, sc, refused := s.theScope(q)
	if refused != nil {
		return *refused
	}
	ids, refused := q.idList("imageIds", maxImageIDs, "BadRequestExceededBatchSize")
	if refused != nil {
		return *refused
	}
	var found []*image
	for id := range setOf(ids) {
		if img := sc.image(id); img != nil {
			found = append(found, img)
		}
	}
	slices.SortFunc(found, compareImages)
	return s.images(q, p, sc, found)
}

func (s *Server) deleteImages(q *request) answer {
	p, refused := s.theProject(q)
	if refused != nil {
		return *refused
	}
	if refused := p.writable(); refused != nil {
		return *refused
	}
	ids, refused := q.idList("imageIds", maxImageIDs, "BadRequestExceededBatchSize")
	if refused != nil {
		return *refused
	}
	allImages, refused := q.flag("allImages")
	if refused != nil {
		return *refused
	}
	allIterations, refused := q.flag("allIterations")
	if refused != nil {
		return *refused
	}
	switch {
	case allImages && len(ids) > 0:
		return badRequest("BadRequestNotSupported", "Specify imageIds or allImages, not both.")
	case !allImages && len(ids) == 0:
		return badRequest("BadRequestRequiredParamIsNull", "Specify imageIds or allImages.")
	}
	scopes := []*scope{p.workspace}
	if allIterations {
		scopes = p.scopes()
	}
	gone := map[uuid.UUID]struct{}{}
	for _, sc := range scopes {
		if allImages {
			for _, img := range sc.images {
				gone[img.id] = struct{}{}
			}
			continue
		}
		for _, id := range ids {
			if sc.image(id) != nil {
				gone[id] = struct{}{}
			}
		}
	}
	if missing := len(setOf(ids)) - len(gone); !allImages && (len(gone) == 0 || s.o.MissingFailsBatch && missing > 0) {
		return notFound("NotFoundImage", "Image not found.")
	}
	if !allImages && !allIterations {
		p.workspace.remove(gone)
		return answer{status: http.StatusNoContent}
	}
	s.account.erase(p, gone, allIterations, q.now, s.o.DeleteDelay)
	return answer{status: http.StatusAccepted}
}

func (s *Server) deleteImageTags(q *request) answer {
	p, refused := s.theProject(q)
	if refused != nil {
		return *refused
	}
	if refused := p.writable(); refused != nil {
		return *refused
	}
	ids, refused := q.idList("imageIds", 64, "BadRequestExceededBatchSize")
	if refused != nil {
		return *refused
	}
	tags, refused := q.idList("tagIds", maxTagIDs, "BadRequestExceededBatchSize")
	if refused != nil {
		return *refused
	}
	if len(ids) == 0 || len(tags) == 0 {
		return badRequest("BadRequestRequiredParamIsNull", "imageIds and tagIds are required.")
	}
	p.workspace.edit(func(img *image) bool {
		if !slices.Contains(ids, img.id) {
			return false
		}
		img.tags = slices.DeleteFunc(slices.Clone(img.tags), func(l tagLink) bool { return slices.Contains(tags, l.tag) })
		img.regions = slices.DeleteFunc(slices.Clone(img.regions), func(r region) bool { return slices.Contains(tags, r.tag) })
		return true
	})
	return answer{status: http.StatusNoContent}
}

func (s *Server) deleteImageRegions(q *request) answer {
	p, refused := s.theProject(q)
	if refused != nil {
		return *refused
	}
	if refused := p.writable(); refused != nil {
		return *refused
	}
	ids, refused := q.idList("regionIds", 64, "BadRequestExceededBatchSize")
	if refused != nil {
		return *refused
	}
	if len(ids) == 0 {
		return badRequest("BadRequestRequiredParamIsNull", "regionIds is required.")
	}
	p.workspace.edit(func(img *image) bool {
		n := len(img.regions)
		img.regions = slices.DeleteFunc(slices.Clone(img.regions), func(r region) bool { return slices.Contains(ids, r.id) })
		return len(img.regions) != n
	})
	return answer{status: http.StatusNoContent}
}

// Stored predictions

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

// hasTags says whether a prediction has every one of the tags within its thresholds.
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
