package cvtest

import (
	"net/http"
)

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
