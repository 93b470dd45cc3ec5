package cv

import (
	"context"
	"encoding/json"
	"testing"
)

func TestExportOperations(t *testing.T) {
	const (
		done    = `{"platform":"TensorFlow","status":"Done","downloadUri":"https://irisprodeu2training.blob.core.windows.net/m-8a/x.TensorFlow.zip?sv=1&sig=s","flavor":null,"newerVersionAvailable":false}`
		working = `{"platform":"OpenVino","status":"Exporting","downloadUri":null,"flavor":"Linux","newerVersionAvailable":true}`
	)
	checkOperations(t, []operation{{
		name: "GetExports", method: "GET", path: "projects/" + idP.String() + "/iterations/" + idI.String() + "/export", answer: "[" + done + "," + working + "]",
		want: []Export{
			{Platform: "TensorFlow", Status: "Done", DownloadURI: "https://irisprodeu2training.blob.core.windows.net/m-8a/x.TensorFlow.zip?sv=1&sig=s", Raw: json.RawMessage(done)},
			{Platform: "OpenVino", Status: "Exporting", Flavor: "Linux", NewerVersionAvailable: true, Raw: json.RawMessage(working)},
		},
		do: func(ctx context.Context, c *Client) (any, error) { return c.GetExports(ctx, idP, idI) },
	}})
}
