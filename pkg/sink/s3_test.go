package sink_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/logging"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

func TestClientSettings(t *testing.T) {
	for name, unset := range map[string]string{"AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_PROFILE": "", "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": ""} {
		t.Setenv(name, unset)
	}
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	if _, err := sink.Client(t.Context(), sink.Options{}); err == nil || !strings.Contains(err.Error(), "AWS_REGION") {
		t.Errorf("without a region: %v", err)
	}
	t.Setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
	api, err := sink.Client(t.Context(), sink.Options{PathStyle: true})
	if err != nil {
		t.Fatal(err)
	}
	if o := api.Options(); o.Region != "us-east-1" || !o.UsePathStyle || *o.BaseEndpoint != "http://127.0.0.1:9" {
		t.Errorf("options %+v", o)
	}
	t.Setenv("AWS_REGION", "eu-west-3")
	if api, err = sink.Client(t.Context(), sink.Options{}); err != nil || api.Options().Region != "eu-west-3" {
		t.Errorf("region of the environment: %v", err)
	}
	if _, err := sink.NewStore(api, sink.StoreOptions{Bucket: "b"}).Head(t.Context(), "k"); !errors.Is(err, sink.ErrMisconfigured) {
		t.Errorf("without credentials: %v", err)
	}
}

// wrongKey is a credential that no store knows.
type wrongKey struct{}

func (wrongKey) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "nobody", SecretAccessKey: "nothing"}, nil
}

// What the SDK reports goes to the log that it is given, as an entry, and nowhere else.
func TestClientLogs(t *testing.T) {
	var log bytes.Buffer
	api, err := sink.Client(t.Context(), sink.Options{Region: "eu-west-3", Log: zerolog.New(&log)})
	if err != nil {
		t.Fatal(err)
	}
	api.Options().Logger.Logf(logging.Warn, "no checksum of %s", "it")
	if want := `{"level":"warn","from":"aws-sdk","message":"no checksum of it"}` + "\n"; log.String() != want {
		t.Errorf("logged %s", log.String())
	}
}
