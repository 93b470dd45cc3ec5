package cvtest

import (
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
)

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
