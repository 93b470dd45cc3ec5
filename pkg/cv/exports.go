package cv

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/google/uuid"
)

// Export is a model file made of an iteration, or one still being made.
type Export struct {
	Platform              string `json:"platform"`    // CoreML, TensorFlow, DockerFile, ONNX, VAIDK; unknown values are possible
	Status                string `json:"status"`      // Exporting, Failed or Done
	DownloadURI           string `json:"downloadUri"` // empty unless Done; absolute and signed, or a path for GetArtifact
	Flavor                string `json:"flavor"`      // empty when null
	NewerVersionAvailable bool   `json:"newerVersionAvailable"`

	Raw json.RawMessage `json:"-"` // as received; holds a signed link: see package links
}

// UnmarshalJSON decodes leniently and keeps the JSON in Raw.
func (e *Export) UnmarshalJSON(b []byte) error {
	type plain Export
	return decodeModel(b, (*plain)(e), &e.Raw, "flavor", "downloadUri")
}

// missing: an export has no id. Its platform identifies it, and its status shows whether it has a
// file.
func (e Export) missing() string {
	switch {
	case e.Platform == "":
		return "platform"
	case e.Status == "":
		return "status"
	}
	return ""
}

// GetExports lists the model files of an iteration; the operation has no paging, and each call
// makes new links. Errors: ErrGone. Source: Training API v3.3, GetExports.
func (c *Client) GetExports(ctx context.Context, p, it uuid.UUID) ([]Export, error) {
	return list[Export](ctx, c, call{op: "GetExports", method: http.MethodGet, path: iterationPath(p, it) + "/export"}, anyOf)
}
