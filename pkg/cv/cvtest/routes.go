package cvtest

import (
	"net/http"
	"strings"

	"github.com/google/uuid"
)

// route is one operation of the Swagger.
type route struct {
	method, path, operation string
	changes                 bool // see Call.Changes
	handle                  func(*Server, *request) answer
}

// routes are all 52 operations of v3.3; those without handler are refused, and counted.
var routes = []route{
	{"GET", "domains", "GetDomains", false, (*Server).getDomains},
	{"GET", "domains/{domainId}", "GetDomain", false, (*Server).getDomain},
	{"GET", "projects", "GetProjects", false, (*Server).getProjects},
	{"POST", "projects", "CreateProject", true, nil},
	{"POST", "projects/import", "ImportProject", true, nil},
	{"GET", "projects/{projectId}", "GetProject", false, (*Server).getProject},
	{"DELETE", "projects/{projectId}", "DeleteProject", true, (*Server).deleteProject},
	{"PATCH", "projects/{projectId}", "UpdateProject", true, nil},
	{"GET", "projects/{projectId}/artifacts", "GetArtifact", false, (*Server).getArtifact},
	{"GET", "projects/{projectId}/export", "ExportProject", true, nil},
	{"GET", "projects/{projectId}/images", "GetImages", false, (*Server).getImages},
	{"POST", "projects/{projectId}/images", "CreateImagesFromData", true, nil},
	{"DELETE", "projects/{projectId}/images", "DeleteImages", true, (*Server).deleteImages},
	{"GET", "projects/{projectId}/images/count", "GetImageCount", false, (*Server).getImages},
	{"POST", "projects/{projectId}/images/files", "CreateImagesFromFiles", true, nil},
	{"GET", "projects/{projectId}/images/id", "GetImagesByIds", false, (*Server).getImagesByIDs},
	{"POST", "projects/{projectId}/images/metadata", "UpdateImageMetadata", true, nil},
	{"POST", "projects/{projectId}/images/predictions", "CreateImagesFromPredictions", true, nil},
	{"POST", "projects/{projectId}/images/regions", "CreateImageRegions", true, nil},
	{"DELETE", "projects/{projectId}/images/regions", "DeleteImageRegions", true, (*Server).deleteImageRegions},
	{"POST", "projects/{projectId}/images/suggested", "QuerySuggestedImages", false, nil},
	{"POST", "projects/{projectId}/images/suggested/count", "QuerySuggestedImageCount", false, nil},
	{"GET", "projects/{projectId}/images/tagged", "GetTaggedImages", false, (*Server).getImages},
	{"GET", "projects/{projectId}/images/tagged/count", "GetTaggedImageCount", false, (*Server).getImages},
	{"POST", "projects/{projectId}/images/tags", "CreateImageTags", true, nil},
	{"DELETE", "projects/{projectId}/images/tags", "DeleteImageTags", true, (*Server).deleteImageTags},
	{"GET", "projects/{projectId}/images/untagged", "GetUntaggedImages", false, (*Server).getImages},
	{"GET", "projects/{projectId}/images/untagged/count", "GetUntaggedImageCount", false, (*Server).getImages},
	{"POST", "projects/{projectId}/images/urls", "CreateImagesFromUrls", true, nil},
	{"POST", "projects/{projectId}/images/{imageId}/regionproposals", "GetImageRegionProposals", false, nil},
	{"GET", "projects/{projectId}/iterations", "GetIterations", false, (*Server).getIterations},
	{"GET", "projects/{projectId}/iterations/{iterationId}", "GetIteration", false, (*Server).getIteration},
	{"DELETE", "projects/{projectId}/iterations/{iterationId}", "DeleteIteration", true, (*Server).deleteIteration},
	{"PATCH", "projects/{projectId}/iterations/{iterationId}", "UpdateIteration", true, nil},
	{"GET", "projects/{projectId}/iterations/{iterationId}/export", "GetExports", false, (*Server).getExports},
	{"POST", "projects/{projectId}/iterations/{iterationId}/export", "ExportIteration", true, nil},
	{"GET", "projects/{projectId}/iterations/{iterationId}/performance", "GetIterationPerformance", false, (*Server).getPerformance},
	{"GET", "projects/{projectId}/iterations/{iterationId}/performance/images", "GetImagePerformances", false, (*Server).getImagePerformances},
	{"GET", "projects/{projectId}/iterations/{iterationId}/performance/images/count", "GetImagePerformanceCount", false, (*Server).getImagePerformances},
	{"POST", "projects/{projectId}/iterations/{iterationId}/publish", "PublishIteration", true, nil},
	{"DELETE", "projects/{projectId}/iterations/{iterationId}/publish", "UnpublishIteration", true, (*Server).unpublishIteration},
	{"DELETE", "projects/{projectId}/predictions", "DeletePrediction", true, (*Server).deletePredictions},
	{"POST", "projects/{projectId}/predictions/query", "QueryPredictions", false, (*Server).queryPredictions},
	{"POST", "projects/{projectId}/quicktest/image", "QuickTestImage", true, nil},
	{"POST", "projects/{projectId}/quicktest/url", "QuickTestImageUrl", true, nil},
	{"GET", "projects/{projectId}/tags", "GetTags", false, (*Server).getTags},
	{"POST", "projects/{projectId}/tags", "CreateTag", true, nil},
	{"GET", "projects/{projectId}/tags/{tagId}", "GetTag", false, (*Server).getTag},
	{"DELETE", "projects/{projectId}/tags/{tagId}", "DeleteTag", true, (*Server).deleteTag},
	{"PATCH", "projects/{projectId}/tags/{tagId}", "UpdateTag", true, nil},
	{"POST", "projects/{projectId}/tagsandregions/suggestions", "SuggestTagsAndRegions", false, nil},
	{"POST", "projects/{projectId}/train", "TrainProject", true, nil},
}

// match finds the route of a path below the base path, letter case ignored, and the ids in it.
func match(method, path string) (*route, map[string]uuid.UUID) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
next:
	for i := range routes {
		want := strings.Split(routes[i].path, "/")
		if routes[i].method != method || len(want) != len(parts) {
			continue
		}
		ids := map[string]uuid.UUID{}
		for k, w := range want {
			if name, ok := strings.CutPrefix(w, "{"); ok {
				id, ok := parseID(parts[k])
				if !ok {
					continue next
				}
				ids[strings.TrimSuffix(name, "}")] = id
			} else if !strings.EqualFold(w, parts[k]) {
				continue next
			}
		}
		return &routes[i], ids
	}
	return nil, nil
}

// parseID reads a dashed UUID in any letter case, and nothing else.
func parseID(s string) (uuid.UUID, bool) {
	if len(s) != 36 {
		return uuid.Nil, false
	}
	id, err := uuid.Parse(s)
	return id, err == nil
}

// below cuts a prefix off a path, letter case ignored.
func below(path, prefix string) (string, bool) {
	if len(path) < len(prefix) || !strings.EqualFold(path[:len(prefix)], prefix) {
		return "", false
	}
	rest := path[len(prefix):]
	return rest, rest == "" || rest[0] == '/'
}

// changesAnything reports whether a method on an unknown route might change something.
func changesAnything(method string) bool {
	return method != http.MethodGet && method != http.MethodHead
}
