package cv

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/google/uuid"
)

// Iteration is one training of a project. It keeps its own snapshot of the images and tags it was
// trained on.
type Iteration struct {
	ID                        uuid.UUID `json:"id"`
	Name                      string    `json:"name"`
	Status                    string    `json:"status"` // a free string; New, Training, Completed and Failed were met
	Created                   Time      `json:"created"`
	LastModified              Time      `json:"lastModified"`
	TrainedAt                 Time      `json:"trainedAt"` // zero when untrained
	ProjectID                 uuid.UUID `json:"projectId"`
	Exportable                bool      `json:"exportable"`
	ExportableTo              []string  `json:"exportableTo"` // nil when null, even with Exportable
	DomainID                  uuid.UUID `json:"domainId"`     // uuid.Nil when null
	ClassificationType        string    `json:"classificationType"`
	TrainingType              string    `json:"trainingType"` // Regular or Advanced
	ReservedBudgetInHours     int       `json:"reservedBudgetInHours"`
	TrainingTimeInMinutes     int       `json:"trainingTimeInMinutes"`
	PublishName               string    `json:"publishName"`               // empty: not published
	OriginalPublishResourceID string    `json:"originalPublishResourceId"` // an ARM id

	Raw json.RawMessage `json:"-"` // as received
}

// UnmarshalJSON decodes leniently and keeps the JSON in Raw.
func (i *Iteration) UnmarshalJSON(b []byte) error {
	type plain Iteration
	return decodeModel(b, (*plain)(i), &i.Raw, "projectId", "publishName")
}

// Identity is the iteration's id.
func (i Iteration) Identity() uuid.UUID { return i.ID }

// missing: every iteration has a name. Only its status shows that it is in training, when its
// images cannot be seen, and only the time of its training that it has been trained.
func (i Iteration) missing() string {
	switch {
	case lacksText(i.Name, i.Raw, "name"):
		return "name"
	case i.Status == "":
		return "status"
	case i.Status == "Completed" && i.TrainedAt.IsZero():
		return "trainedAt"
	}
	return ""
}

// Published reports whether a prediction resource serves this iteration. The service does not
// delete a published iteration.
func (i Iteration) Published() bool { return i.PublishName != "" }

// IterationPerformance is how well an iteration recognises its own images, at the thresholds that
// were asked for. All rates are in [0,1].
type IterationPerformance struct {
	PerTagPerformance     []TagPerformance `json:"perTagPerformance"`
	Precision             float64          `json:"precision"`
	PrecisionStdDeviation float64          `json:"precisionStdDeviation"`
	Recall                float64          `json:"recall"`
	RecallStdDeviation    float64          `json:"recallStdDeviation"`
	AveragePrecision      *float64         `json:"averagePrecision"` // nil when null

	Raw json.RawMessage `json:"-"` // as received
}

// TagPerformance is one tag's part in an IterationPerformance.
type TagPerformance struct {
	ID                    uuid.UUID `json:"id"`
	Name                  string    `json:"name"`
	Precision             float64   `json:"precision"`
	PrecisionStdDeviation float64   `json:"precisionStdDeviation"`
	Recall                float64   `json:"recall"`
	RecallStdDeviation    float64   `json:"recallStdDeviation"`
	AveragePrecision      *float64  `json:"averagePrecision"` // nil when null
}

// UnmarshalJSON decodes leniently and keeps the JSON in Raw.
func (i *IterationPerformance) UnmarshalJSON(b []byte) error {
	type plain IterationPerformance
	return decodeModel(b, (*plain)(i), &i.Raw)
}

// missing: a performance has no id. It always has its rates, even when they are not numbers.
func (i IterationPerformance) missing() string {
	for _, name := range [...]string{"precision", "recall"} {
		if rate := member(i.Raw, name); rate == nil || string(rate) == "null" {
			return name
		}
	}
	return ""
}

// ImagePerformance is what an iteration predicted for one of its own images.
type ImagePerformance struct {
	ID           uuid.UUID     `json:"id"`
	Created      Time          `json:"created"`
	Width        int           `json:"width"`  // pixels
	Height       int           `json:"height"` // pixels
	ImageURI     string        `json:"imageUri"`
	ThumbnailURI string        `json:"thumbnailUri"`
	Predictions  []Prediction  `json:"predictions"`
	Tags         []ImageTag    `json:"tags"`
	Regions      []ImageRegion `json:"regions"`

	Raw json.RawMessage `json:"-"` // as received; holds signed links: see package links
}

// UnmarshalJSON decodes leniently and keeps the JSON in Raw.
func (i *ImagePerformance) UnmarshalJSON(b []byte) error {
	type plain ImagePerformance
	return decodeModel(b, (*plain)(i), &i.Raw)
}

// Identity is the image's id.
func (i ImagePerformance) Identity() uuid.UUID { return i.ID }

// PageQuery is one page of a listing.
type PageQuery struct {
	OrderBy string // Oldest (default here, whatever the service's own is) or Newest
	Take    int    // items, 1 to MaxPage; 0 is MaxPage
	Skip    int    // items to leave out at the start
}

// GetIterations lists the iterations of a project, each once; the operation has no paging. Errors:
// ErrGone. Source: Training API v3.3, GetIterations.
func (c *Client) GetIterations(ctx context.Context, p uuid.UUID) ([]Iteration, error) {
	return distinct(list[Iteration](ctx, c, call{op: "GetIterations", method: http.MethodGet, path: projectPath(p) + "/iterations"},
		func(it Iteration) error { return of(p, it.ProjectID) }))
}

// GetIteration reads one iteration. Errors: ErrGone.
// Source: Training API v3.3, GetIteration.
func (c *Client) GetIteration(ctx context.Context, p, it uuid.UUID) (Iteration, error) {
	return get(ctx, c, call{op: "GetIteration", method: http.MethodGet, path: iterationPath(p, it)}, func(v Iteration) error {
		return errors.Join(only[Iteration](it)(v), of(p, v.ProjectID))
	})
}

// DeleteIteration deletes an iteration with its snapshot and performance. It may be repeated:
// ErrGone then says that it was gone already. Errors: also ErrPublished, ErrReadOnly. Source:
// Training API v3.3, DeleteIteration.
func (c *Client) DeleteIteration(ctx context.Context, p, it uuid.UUID) error {
	_, err := c.delete(ctx, call{op: "DeleteIteration", path: iterationPath(p, it)})
	return err
}

// UnpublishIteration takes an iteration away from its prediction resource. Repeated, the service
// may answer with the code BadRequestIterationNotPublished. Errors: also ErrGone, ErrReadOnly.
// Source: Training API v3.3, UnpublishIteration.
func (c *Client) UnpublishIteration(ctx context.Context, p, it uuid.UUID) error {
	_, err := c.delete(ctx, call{op: "UnpublishIteration", path: iterationPath(p, it) + "/publish"})
	return err
}

// GetIterationPerformance reads how well an iteration does at a probability threshold and, for
// detection, an overlap threshold, both in [0,1]. The result depends on both. Errors: ErrUntrained
// when there is none, ErrGone. Source: Training API v3.3, GetIterationPerformance.
func (c *Client) GetIterationPerformance(ctx context.Context, p, it uuid.UUID, threshold, overlap float64) (IterationPerformance, error) {
	q := newQuery().number("threshold", threshold).number("overlapThreshold", overlap)
	return get(ctx, c, call{op: "GetIterationPerformance", method: http.MethodGet, path: iterationPath(p, it) + "/performance", query: q}, anyOf[IterationPerformance])
}

// GetImagePerformances reads one page of an iteration's per-image performance. Errors:
// ErrUntrained, ErrGone. Source: Training API v3.3, GetImagePerformances.
func (c *Client) GetImagePerformances(ctx context.Context, p, it uuid.UUID, q PageQuery) ([]ImagePerformance, error) {
	k := call{op: "GetImagePerformances", method: http.MethodGet, path: iterationPath(p, it) + "/performance/images"}
	if err := q.check(); err != nil {
		return nil, invalid(k.op, err)
	}
	k.query, k.asked = newQuery().page(q), q.take()
	return list(ctx, c, k, anyOf[ImagePerformance])
}

// GetImagePerformanceCount counts what GetImagePerformances lists. Errors: ErrUntrained, ErrGone.
// Source: Training API v3.3, GetImagePerformanceCount.
func (c *Client) GetImagePerformanceCount(ctx context.Context, p, it uuid.UUID) (int, error) {
	return c.count(ctx, call{op: "GetImagePerformanceCount", path: iterationPath(p, it) + "/performance/images/count"})
}

func iterationPath(p, it uuid.UUID) string { return projectPath(p) + "/iterations/" + it.String() }
