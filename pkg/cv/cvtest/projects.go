package cvtest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"
)

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
