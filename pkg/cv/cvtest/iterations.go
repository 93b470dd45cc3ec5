package cvtest

import (
	"net/http"
)

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
