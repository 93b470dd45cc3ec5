package cvtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/uuid"
)

// swaggerVariable names the file of the official Swagger of v3.3.
const swaggerVariable = "CVCONSUMER_SWAGGER"

// exchangeCase is one request of the contract test.
type exchangeCase struct {
	operation    string
	method, path string
	body         string
	status       int
	code         string // of an error in the API's own shape
	zoned        bool
}

// contractCases walks every operation the simulator offers over the sample account, with its
// errors.
func contractCases(s *Server, projects []*Project) []exchangeCase {
	var cases []exchangeCase
	add := func(operation, method, path string, status int, code, body string) {
		cases = append(cases, exchangeCase{operation: operation, method: method, path: path, status: status, code: code, body: body})
	}
	read := func(operation, path string) { add(operation, "GET", path, http.StatusOK, "", "") }
	unknown := "00000000-0000-4000-8000-000000000000"
	tooMany := strings.TrimSuffix(strings.Repeat(unknown+",", 257), ",")
	read("GetDomains", "domains")
	read("GetDomain", "domains/ee85a74c-405e-4adc-bb47-ffa8ca0c9f31")
	add("GetDomain", "GET", "domains/"+unknown, 404, "NotFoundDomain", "")
	read("GetProjects", "projects")
	add("GetProject", "GET", "projects/"+unknown, 404, "NotFoundProject", "")
	for _, made := range projects {
		p := "projects/" + made.ID.String()
		read("GetProject", p)
		read("GetIterations", p+"/iterations")
		read("GetTags", p+"/tags")
		for _, tag := range made.Tags {
			read("GetTag", p+"/tags/"+tag.String())
		}
		scopes := []string{""}
		for _, it := range made.Iterations {
			scopes = append(scopes, "iterationId="+it.String()+"&")
			i := p + "/iterations/" + it.String()
			read("GetIteration", i)
			read("GetExports", i+"/export")
			if s.failed(made.ID, it) {
				add("GetIterationPerformance", "GET", i+"/performance", 404, "NotFoundIterationPerformance", "")
				add("GetImagePerformances", "GET", i+"/performance/images", 404, "NotFoundIterationPerformance", "")
				continue
			}
			read("GetIterationPerformance", i+"/performance?threshold=0.9&overlapThreshold=0.3")
			read("GetIterationPerformance", i+"/performance")
			read("GetImagePerformances", i+"/performance/images?take=256&orderBy=Oldest")
			read("GetImagePerformanceCount", i+"/performance/images/count")
		}
		for _, sc := range scopes {
			read("GetImages", p+"/images?"+sc+"taggingStatus=All&take=256")
			read("GetImageCount", p+"/images/count?"+sc+"taggingStatus=Tagged")
			read("GetTaggedImages", p+"/images/tagged?"+sc+"take=256&orderBy=Oldest&skip=1")
			read("GetTaggedImageCount", p+"/images/tagged/count?"+sc)
			read("GetUntaggedImages", p+"/images/untagged?"+sc+"take=256")
			read("GetUntaggedImageCount", p+"/images/untagged/count?"+sc)
			read("GetTags", p+"/tags?"+strings.TrimSuffix(sc, "&"))
			if len(made.Images) > 3 {
				read("GetImagesByIds", p+"/images/id?"+sc+"imageIds="+made.Images[0].String()+","+made.Images[3].String())
			}
		}
		add("QueryPredictions", "POST", p+"/predictions/query", 200, "", `{"maxCount":2,"orderBy":"Newest"}`)
		add("QueryPredictions", "POST", p+"/predictions/query", 200, "", `{"session":"","continuation":"","maxCount":0,"orderBy":"Oldest","tags":[],"application":"","endTime":"2026-12-01T00:00:00Z"}`)
	}

	p := "projects/" + projects[0].ID.String()
	it := p + "/iterations/" + projects[0].Iterations[0].String()
	published := p + "/iterations/" + projects[0].Iterations[1].String()
	image := projects[0].Images[10].String()
	tag := projects[0].Tags[0].String()
	read("GetArtifact", p+"/artifacts?path="+url.QueryEscape(imageBlob(projects[0].ID, 'i', projects[0].Images[10])))
	add("GetArtifact", "GET", p+"/artifacts?path=nonsense", 400, "BadRequestInvalidArtifactUri", "")
	add("GetArtifact", "GET", p+"/artifacts?path="+url.QueryEscape(imageBlob(projects[1].ID, 'i', projects[1].Images[0])), 404, "NotFound", "")
	add("GetTag", "GET", p+"/tags/"+unknown, 404, "NotFoundTag", "")
	add("GetTags", "GET", p+"/tags?iterationId="+unknown, 404, "NotFoundIteration", "")
	add("GetIteration", "GET", p+"/iterations/"+unknown, 404, "NotFoundIteration", "")
	add("GetTaggedImages", "GET", p+"/images/tagged?take=257", 400, "BadRequestExceededBatchSize", "")
	add("GetTaggedImages", "GET", p+"/images/tagged?iterationId="+unknown, 404, "NotFoundIteration", "")
	add("GetTaggedImages", "GET", p+"/images/tagged?tagIds=nonsense", 400, "BadRequestInvalidIds", "")
	add("GetImages", "GET", p+"/images?%24filter=broken", 400, "BadRequest", "")
	add("GetImagesByIds", "GET", p+"/images/id?imageIds="+tooMany, 400, "BadRequestExceededBatchSize", "")
	add("QueryPredictions", "POST", p+"/predictions/query", 400, "BadRequestPredictionTagsExceededCount", `{"tags":[{"id":"`+tag+`"},{"id":"`+tag+`"},{"id":"`+tag+`"}]}`)
	add("QueryPredictions", "POST", p+"/predictions/query", 400, "BadRequestPredictionInvalidQueryParameters", `[]`)

	add("DeleteImages", "DELETE", p+"/images", 400, "BadRequestRequiredParamIsNull", "")
	add("DeleteImages", "DELETE", p+"/images?imageIds="+tooMany, 400, "BadRequestExceededBatchSize", "")
	add("DeleteImages", "DELETE", p+"/images?imageIds="+unknown, 404, "NotFoundImage", "")
	add("DeleteImages", "DELETE", p+"/images?imageIds="+image, 204, "", "")
	add("DeleteImages", "DELETE", p+"/images?imageIds="+image+"&allIterations=true", 202, "", "")
	add("DeleteImages", "DELETE", p+"/images?allImages=true", 202, "", "")
	add("DeleteImageRegions", "DELETE", p+"/images/regions?regionIds="+unknown, 204, "", "")
	add("DeleteImageTags", "DELETE", p+"/images/tags?imageIds="+image+"&tagIds="+tag, 204, "", "")
	add("DeletePrediction", "DELETE", p+"/predictions", 400, "BadRequestPredictionIdsMissing", "")
	add("DeletePrediction", "DELETE", p+"/predictions?ids="+tooMany, 400, "BadRequestPredictionIdsExceededCount", "")
	add("DeletePrediction", "DELETE", p+"/predictions?ids="+projects[0].Predictions[0].String(), 204, "", "")
	add("DeletePrediction", "DELETE", p+"/predictions?ids="+projects[0].Predictions[0].String(), 404, "NotFound", "")
	add("DeleteProject", "DELETE", p, 400, "BadRequestIterationIsPublished", "")
	add("DeleteIteration", "DELETE", published, 400, "BadRequestIterationIsPublished", "")
	add("UnpublishIteration", "DELETE", published+"/publish", 204, "", "")
	add("UnpublishIteration", "DELETE", published+"/publish", 400, "BadRequestIterationNotPublished", "")
	add("DeleteIteration", "DELETE", it, 204, "", "")
	add("DeleteIteration", "DELETE", it, 404, "NotFoundIteration", "")
	add("DeleteTag", "DELETE", p+"/tags/"+tag, 204, "", "")
	add("DeleteTag", "DELETE", p+"/tags/"+tag, 404, "NotFoundTag", "")
	add("DeleteProject", "DELETE", p, 204, "", "")
	add("DeleteProject", "DELETE", p, 404, "NotFoundProject", "")
	return cases
}

// failed reports whether an iteration's training failed.
func (s *Server) failed(project, iteration uuid.UUID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.account.project(project).iteration(iteration).status == StatusFailed
}

// TestContract holds every answer to the official Swagger when it is there, and always to a table
// written by hand.
func TestContract(t *testing.T) {
	checks := map[string]func(c exchangeCase, r reply) error{"table": checkTable}
	if path := os.Getenv(swaggerVariable); path != "" {
		check, err := newSwagger(path)
		if err != nil {
			t.Fatalf("%s: %v", swaggerVariable, err)
		}
		checks["swagger"] = check
	} else {
		t.Logf("%s is not set: answers are checked against the hand-written table only", swaggerVariable)
	}
	for name, o := range map[string]Options{
		"default":      {},
		"zoned times":  {ZonedTimes: true, Compact: true},
		"vnet":         {VNet: true},
		"blobs apart":  {BlobListener: true},
		"latest pages": {TrailingPage: true, DefaultIterationPredictions: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, o)
			projects := s.Sample()
			seen := map[string]bool{}
			for _, c := range contractCases(s, projects) {
				c.zoned = o.ZonedTimes
				seen[c.operation] = true
				before := s.Count(c.operation)
				r := send(t, s, c.method, c.path, c.body)
				label := c.method + " " + c.path[:min(150, len(c.path))]
				if r.err != nil || r.status != c.status || (c.code != "" && r.code() != c.code) {
					t.Errorf("%s: status %d %s, %v; want %d %s", label, r.status, r.code(), r.err, c.status, c.code)
					continue
				}
				if s.Count(c.operation) != before+1 {
					t.Errorf("%s: not counted as %s", label, c.operation)
				}
				if err := checkHeaders(r); err != nil {
					t.Errorf("%s: %v", label, err)
				}
				for kind, check := range checks {
					if err := check(c, r); err != nil {
						t.Errorf("%s: %s: %v\n%s", label, kind, err, r.body[:min(600, len(r.body))])
					}
				}
			}
			for _, rt := range routes {
				if rt.handle != nil && !seen[rt.operation] {
					t.Errorf("operation %s is offered but not tested", rt.operation)
				}
			}
		})
	}
}

// TestContractCatches proves that the checks see what the real service does against its
// specification.
func TestContractCatches(t *testing.T) {
	checks := map[string]func(c exchangeCase, r reply) error{"table": checkTable}
	if path := os.Getenv(swaggerVariable); path != "" {
		check, err := newSwagger(path)
		if err != nil {
			t.Fatal(err)
		}
		checks["swagger"] = check
	}
	s := start(t, Options{Recorded: true})
	p := "projects/" + s.Sample()[0].ID.String()
	for _, c := range []exchangeCase{
		{operation: "GetProjects", method: "GET", path: "projects"},
		{operation: "GetIterations", method: "GET", path: p + "/iterations"},
		{operation: "QueryPredictions", method: "POST", path: p + "/predictions/query", body: `{}`},
	} {
		r := send(t, s, c.method, c.path, c.body)
		for name, check := range checks {
			if r.status != http.StatusOK || check(c, r) == nil {
				t.Errorf("%s: %s: status %d and no complaint about nulls", c.operation, name, r.status)
			}
		}
	}
	// A time without zone is against RFC 3339; asked to, the check sees it.
	if check := checks["swagger"]; check != nil {
		c := exchangeCase{operation: "GetImages", path: p + "/images", zoned: true}
		if check(c, send(t, s, "GET", c.path, "")) == nil {
			t.Error("no complaint about times without zone")
		}
	}
}

func checkHeaders(r reply) error {
	switch {
	case r.header.Get("apim-request-id") == "" || r.header.Get("apim-request-id") != r.header.Get("Request-Id"):
		return fmt.Errorf("request ids: %q and %q", r.header.Get("apim-request-id"), r.header.Get("Request-Id"))
	case r.status == 204 || r.status == 202:
		if len(r.body) != 0 {
			return fmt.Errorf("a body with status %d", r.status)
		}
	case r.header.Get("Content-Length") != fmt.Sprint(len(r.body)):
		return fmt.Errorf("Content-Length %s of %d bytes", r.header.Get("Content-Length"), len(r.body))
	}
	return nil
}

// swagger

// newSwagger reads the official Swagger and returns a check of answers that allows no property it
// does not name.
func newSwagger(path string) (func(c exchangeCase, r reply) error, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var v2 openapi2.T
	if err := json.Unmarshal(text, &v2); err != nil {
		return nil, err
	}
	// The path parameter of the host template is not one of the operations.
	doc, err := openapi2conv.ToV3(&v2)
	if err != nil {
		return nil, err
	}
	for _, ref := range doc.Components.Schemas {
		if sc := ref.Value; sc != nil && len(sc.Properties) > 0 && sc.AdditionalProperties.Schema == nil {
			no := false
			sc.AdditionalProperties.Has = &no
		}
	}
	operations := map[string]*openapi3.Operation{}
	methods := map[string]string{}
	for p, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			operations[op.OperationID] = op
			methods[op.OperationID] = method + " " + strings.TrimPrefix(p, "/")
		}
	}
	for _, rt := range routes {
		if methods[rt.operation] != rt.method+" "+rt.path {
			return nil, fmt.Errorf("route of %s is %s %s, in the Swagger %q", rt.operation, rt.method, rt.path, methods[rt.operation])
		}
	}
	if len(operations) != len(routes) {
		return nil, fmt.Errorf("%d operations in the Swagger, %d routes", len(operations), len(routes))
	}
	zoneless := regexp.MustCompile(strings.TrimSuffix(openapi3.FormatOfStringDateTime, "$") + `?$`)
	zoneless.Longest()
	return func(c exchangeCase, r reply) error {
		op := operations[c.operation]
		if op == nil {
			return fmt.Errorf("unknown operation %s", c.operation)
		}
		u, err := url.Parse(c.path)
		if err != nil {
			return err
		}
		for name := range u.Query() {
			if !slices.ContainsFunc(op.Parameters, func(p *openapi3.ParameterRef) bool { return p.Value.Name == name }) {
				return fmt.Errorf("the request's parameter %s is not in the Swagger", name)
			}
		}
		resp := op.Responses.Status(r.status)
		if resp == nil {
			if c.code == "" {
				return fmt.Errorf("status %d is not in the Swagger", r.status)
			}
			resp = op.Responses.Default()
		}
		if len(resp.Value.Content) == 0 {
			if len(r.body) > 0 {
				return fmt.Errorf("a body where the Swagger has none")
			}
			return nil
		}
		contentType, _, _ := strings.Cut(r.header.Get("Content-Type"), ";")
		media := resp.Value.Content.Get(contentType)
		if media == nil && c.status >= 400 && contentType == "application/json" {
			for _, media = range resp.Value.Content { // the Swagger forgets that an operation that answers bytes fails in JSON
				break
			}
		}
		if media == nil {
			return fmt.Errorf("content type %s is not in the Swagger", contentType)
		}
		if contentType != "application/json" {
			return nil
		}
		dec := json.NewDecoder(bytes.NewReader(r.body))
		var value any
		if err := dec.Decode(&value); err != nil {
			return err
		}
		o := []openapi3.SchemaValidationOption{
			openapi3.VisitAsResponse(), openapi3.MultiErrors(), openapi3.EnableFormatValidation(),
			openapi3.WithStringFormatValidator("uuid", openapi3.NewRegexpFormatValidator(uuidText.String())), // one domain id of the service is of no RFC version
		}
		if !c.zoned {
			o = append(o, openapi3.WithStringFormatValidator("date-time", openapi3.NewRegexpFormatValidator(zoneless.String())))
		}
		return media.Schema.Value.VisitJSON(value, o...)
	}, nil
}

// table

// shapes is what the operations answer, written by hand: field to type, "?" for a field that may be
// absent, "~" for one that may also be null. Types are string, bool, int, number, uuid, time, zoned
// (a time with zone), a name of this table, [name], {type}.
var shapes = map[string]string{
	"Domain":      "id uuid, name string, type string, exportable bool, enabled bool",
	"Project":     "id uuid, name string, description ~string, settings Settings, created zoned, lastModified zoned, thumbnailUri ?string, drModeEnabled bool, status string",
	"Settings":    "domainId uuid, classificationType ?string, targetExportPlatforms [string], useNegativeSet bool, imageProcessingSettings Processing",
	"Processing":  "augmentationMethods {bool}",
	"Iteration":   "id uuid, name string, status string, created zoned, lastModified zoned, trainedAt ?zoned, projectId uuid, exportable bool, exportableTo [string], domainId uuid, classificationType ?string, trainingType string, reservedBudgetInHours int, trainingTimeInMinutes int, publishName ?string, originalPublishResourceId ?string",
	"Performance": "perTagPerformance [TagPerf], precision number, precisionStdDeviation number, recall number, recallStdDeviation number, averagePrecision number",
	"TagPerf":     "id uuid, name string, precision number, precisionStdDeviation number, recall number, recallStdDeviation number, averagePrecision number",
	"Tag":         "id uuid, name string, description ~string, type string, imageCount int",
	"Image":       "id uuid, created time, width int, height int, resizedImageUri string, thumbnailUri string, originalImageUri string, tags ?[ImageTag], regions ?[Region], metadata ?{string}",
	"ImageTag":    "tagId uuid, tagName string, created time",
	"Region":      "regionId uuid, tagName string, created time, tagId uuid, left number, top number, width number, height number",
	"ImagePerf":   "predictions [Prediction], id uuid, created time, width int, height int, imageUri string, thumbnailUri string, tags ?[ImageTag], regions ?[Region]",
	"Prediction":  "probability number, tagId uuid, tagName string, boundingBox ?Box, tagType string",
	"Box":         "left number, top number, width number, height number",
	"Stored":      "resizedImageUri string, thumbnailUri string, originalImageUri string, domain uuid, id uuid, project uuid, iteration uuid, created zoned, predictions [Prediction]",
	"QueryResult": "token Token, results [Stored]",
	"Token":       "session string, continuation string, maxCount int, orderBy string, tags [QueryTag], iterationId ~uuid, startTime ~zoned, endTime ~zoned, application string",
	"QueryTag":    "id uuid, minThreshold number, maxThreshold number",
	"Export":      "platform string, status string, downloadUri ?string, flavor ?string, newerVersionAvailable bool",
	"Error":       "code string, message string",
}

var answers = map[string]string{
	"GetDomains": "[Domain]", "GetDomain": "Domain", "GetProjects": "[Project]", "GetProject": "Project", "GetIterations": "[Iteration]",
	"GetIteration": "Iteration", "GetIterationPerformance": "Performance", "GetImagePerformances": "[ImagePerf]", "GetImagePerformanceCount": "int",
	"GetExports": "[Export]", "GetTags": "[Tag]", "GetTag": "Tag", "GetImages": "[Image]", "GetImageCount": "int", "GetTaggedImages": "[Image]",
	"GetTaggedImageCount": "int", "GetUntaggedImages": "[Image]", "GetUntaggedImageCount": "int", "GetImagesByIds": "[Image]", "QueryPredictions": "QueryResult",
}

func checkTable(c exchangeCase, r reply) error {
	kind := answers[c.operation]
	switch {
	case c.status >= 400:
		kind = "Error"
	case r.status == 204 || r.status == 202:
		return nil
	case c.operation == "GetArtifact":
		if r.header.Get("Content-Type") != "application/octet-stream" {
			return fmt.Errorf("content type %s", r.header.Get("Content-Type"))
		}
		return nil
	}
	if got := r.header.Get("Content-Type"); got != "application/json; charset=utf-8" {
		return fmt.Errorf("content type %s", got)
	}
	dec := json.NewDecoder(bytes.NewReader(r.body))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		return err
	}
	return checkShape(kind, value, "answer")
}

var (
	uuidText  = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	timeText  = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z?$`)
	zonedText = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z$`)
	intText   = regexp.MustCompile(`^\d+$`)
)

func checkShape(kind string, value any, where string) error {
	matches := func(re *regexp.Regexp) error {
		if text, isText := value.(string); isText && re.MatchString(text) {
			return nil
		}
		return fmt.Errorf("%s is %v, want %s", where, value, kind)
	}
	fits := func(ok bool) error {
		if !ok {
			return fmt.Errorf("%s is %T %v, want %s", where, value, value, kind)
		}
		return nil
	}
	switch kind {
	case "uuid":
		return matches(uuidText)
	case "time":
		return matches(timeText)
	case "zoned":
		return matches(zonedText)
	case "string":
		_, isText := value.(string)
		return fits(isText)
	case "bool":
		_, isBool := value.(bool)
		return fits(isBool)
	case "number":
		_, isNumber := value.(json.Number)
		return fits(isNumber)
	case "int":
		n, isNumber := value.(json.Number)
		return fits(isNumber && intText.MatchString(n.String()))
	}
	switch kind[0] {
	case '[':
		list, isList := value.([]any)
		if !isList {
			return fits(false)
		}
		for i, v := range list {
			if err := checkShape(kind[1:len(kind)-1], v, fmt.Sprintf("%s[%d]", where, i)); err != nil {
				return err
			}
		}
		return nil
	case '{':
		m, isMap := value.(map[string]any)
		if !isMap {
			return fits(false)
		}
		for k, v := range m {
			if err := checkShape(kind[1:len(kind)-1], v, where+"."+k); err != nil {
				return err
			}
		}
		return nil
	}
	m, isMap := value.(map[string]any)
	if !isMap {
		return fits(false)
	}
	known := map[string]bool{}
	for _, field := range strings.Split(shapes[kind], ", ") {
		name, kind, _ := strings.Cut(field, " ")
		known[name] = true
		v, present := m[name]
		optional, nullable := strings.HasPrefix(kind, "?"), strings.HasPrefix(kind, "~")
		switch {
		case !present && optional, present && nullable && v == nil:
			continue
		case !present:
			return fmt.Errorf("%s.%s is missing", where, name)
		}
		if err := checkShape(strings.TrimLeft(kind, "?~"), v, where+"."+name); err != nil {
			return err
		}
	}
	for name := range m {
		if !known[name] {
			return fmt.Errorf("%s.%s is not known", where, name)
		}
	}
	return nil
}
