package cvtest

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// The JSON objects of the API, with fields in the order the service gives them. A pointer that is
// nil leaves its field out; where Options.Recorded has null instead, the field is a nullable.

// number is a float32 as the service writes it: 1.0, 0.9999999, 1.1920929E-07.
type number float32

// MarshalJSON implements json.Marshaler.
func (n number) MarshalJSON() ([]byte, error) {
	abs := max(n, -n)
	if abs != 0 && (abs < 1e-4 || abs >= 1e7) {
		text := strconv.FormatFloat(float64(n), 'E', -1, 32)
		return []byte(text), nil
	}
	text := strconv.FormatFloat(float64(n), 'f', -1, 32)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return []byte(text), nil
}

// nullable is a field that may be absent (the zero value, with omitzero), null, or a value.
type nullable struct {
	set   bool
	value any
}

// MarshalJSON implements json.Marshaler.
func (n nullable) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(n.value)
	return b.Bytes(), err
}

func some(value any) nullable { return nullable{set: true, value: value} }

type apiError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type gatewayError struct {
	Error apiError `json:"error"`
}

type jsonDomain struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Type       string `json:"type"`
	Exportable bool   `json:"exportable"`
	Enabled    bool   `json:"enabled"`
}

type jsonProject struct {
	ID           uuid.UUID    `json:"id"`
	Name         string       `json:"name"`
	Description  nullable     `json:"description"`
	Settings     jsonSettings `json:"settings"`
	Created      string       `json:"created"`
	LastModified string       `json:"lastModified"`
	ThumbnailURI nullable     `json:"thumbnailUri,omitzero"`
	DRMode       bool         `json:"drModeEnabled"`
	Status       string       `json:"status"`
}

type jsonSettings struct {
	DomainID              string   `json:"domainId"`
	ClassificationType    nullable `json:"classificationType,omitzero"`
	TargetExportPlatforms []string `json:"targetExportPlatforms"`
	UseNegativeSet        bool     `json:"useNegativeSet"`
	DetectionParameters   nullable `json:"detectionParameters,omitzero"`
	ImageProcessing       struct {
		Augmentation struct {
			Rotation       bool `json:"rotation"`
			Scaling        bool `json:"scaling"`
			Translation    bool `json:"translation"`
			HorizontalFlip bool `json:"horizontal flip"`
			Equalize       bool `json:"equalize"`
			Solarize       bool `json:"solarize"`
			PadToSquare    bool `json:"padtosquare"`
		} `json:"augmentationMethods"`
	} `json:"imageProcessingSettings"`
}

type jsonTag struct {
	ID          uuid.UUID `json:"id"`
	Name        string    `json:"name"`
	Description nullable  `json:"description"`
	Type        string    `json:"type"`
	ImageCount  int       `json:"imageCount"`
}

type jsonIteration struct {
	ID                        uuid.UUID `json:"id"`
	Name                      string    `json:"name"`
	Status                    string    `json:"status"`
	Created                   string    `json:"created"`
	LastModified              string    `json:"lastModified"`
	TrainedAt                 string    `json:"trainedAt,omitempty"`
	ProjectID                 uuid.UUID `json:"projectId"`
	Exportable                bool      `json:"exportable"`
	ExportableTo              nullable  `json:"exportableTo"`
	DomainID                  string    `json:"domainId"`
	ClassificationType        nullable  `json:"classificationType,omitzero"`
	TrainingType              string    `json:"trainingType"`
	ReservedBudgetInHours     int       `json:"reservedBudgetInHours"`
	TrainingTimeInMinutes     int       `json:"trainingTimeInMinutes"`
	PublishName               nullable  `json:"publishName,omitzero"`
	OriginalPublishResourceID nullable  `json:"originalPublishResourceId,omitzero"`
}

type jsonImage struct {
	ID               uuid.UUID         `json:"id"`
	Created          string            `json:"created"`
	Width            int               `json:"width"`
	Height           int               `json:"height"`
	ResizedImageURI  string            `json:"resizedImageUri"`
	ThumbnailURI     string            `json:"thumbnailUri"`
	OriginalImageURI string            `json:"originalImageUri"`
	Tags             []jsonImageTag    `json:"tags,omitempty"`
	Regions          []jsonRegion      `json:"regions,omitempty"`
	Metadata         map[string]string `json:"metadata,omitempty"`
}

type jsonImageTag struct {
	TagID   uuid.UUID `json:"tagId"`
	TagName string    `json:"tagName"`
	Created string    `json:"created"`
}

type jsonRegion struct {
	RegionID uuid.UUID `json:"regionId"`
	TagName  string    `json:"tagName"`
	Created  string    `json:"created"`
	TagID    uuid.UUID `json:"tagId"`
	jsonBox
}

type jsonBox struct {
	Left   number `json:"left"`
	Top    number `json:"top"`
	Width  number `json:"width"`
	Height number `json:"height"`
}

type jsonPerformance struct {
	PerTag []jsonTagPerformance `json:"perTagPerformance"`
	jsonScores
}

type jsonTagPerformance struct {
	ID   uuid.UUID `json:"id"`
	Name string    `json:"name"`
	jsonScores
}

type jsonScores struct {
	Precision             number `json:"precision"`
	PrecisionStdDeviation number `json:"precisionStdDeviation"`
	Recall                number `json:"recall"`
	RecallStdDeviation    number `json:"recallStdDeviation"`
	AveragePrecision      number `json:"averagePrecision"`
}

type jsonImagePerformance struct {
	Predictions  []jsonPrediction `json:"predictions"`
	ID           uuid.UUID        `json:"id"`
	Created      string           `json:"created"`
	Width        int              `json:"width"`
	Height       int              `json:"height"`
	ImageURI     string           `json:"imageUri"`
	ThumbnailURI string           `json:"thumbnailUri"`
	Tags         []jsonImageTag   `json:"tags,omitempty"`
	Regions      []jsonRegion     `json:"regions,omitempty"`
}

type jsonPrediction struct {
	Probability number    `json:"probability"`
	TagID       uuid.UUID `json:"tagId"`
	TagName     string    `json:"tagName"`
	BoundingBox *jsonBox  `json:"boundingBox,omitempty"`
	TagType     string    `json:"tagType"`
}

type jsonStoredPrediction struct {
	ResizedImageURI  string           `json:"resizedImageUri"`
	ThumbnailURI     string           `json:"thumbnailUri"`
	OriginalImageURI string           `json:"originalImageUri"`
	Domain           string           `json:"domain"`
	ID               uuid.UUID        `json:"id"`
	Project          uuid.UUID        `json:"project"`
	Iteration        uuid.UUID        `json:"iteration"`
	Created          string           `json:"created"`
	Predictions      []jsonPrediction `json:"predictions"`
}

type jsonExport struct {
	Platform    string   `json:"platform"`
	Status      string   `json:"status"`
	DownloadURI nullable `json:"downloadUri,omitzero"`
	Flavor      nullable `json:"flavor,omitzero"`
	Newer       bool     `json:"newerVersionAvailable"`
}
