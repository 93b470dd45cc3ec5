package chart

import (
	"context"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// TestCompose reads the compose file as Docker does, with nothing but the required variables set.
func TestCompose(t *testing.T) {
	const file = "../../compose/compose.yaml"
	read := func(env map[string]string) (*types.Project, error) {
		return loader.LoadWithContext(context.Background(), types.ConfigDetails{
			WorkingDir: "../../compose", ConfigFiles: []types.ConfigFile{{Filename: file}}, Environment: env,
		})
	}
	p, err := read(map[string]string{"VISION_TRAINING_ENDPOINT": "https://my-vision.cognitiveservices.azure.com/", "VISION_TRAINING_KEY": "key"})
	if err != nil {
		t.Fatal(err)
	}
	consumer := p.Services["consumer"]
	for service, variables := range map[string][]string{"s3": {"ROOT_ACCESS_KEY", "ROOT_SECRET_KEY"}} {
		for i, name := range variables {
			theirs, ours := p.Services[service].Environment[name], consumer.Environment[[]string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}[i]]
			if theirs == nil || ours == nil || *theirs != *ours {
				t.Errorf("%s of %s is not the consumer's", name, service)
			}
		}
	}
	if !consumer.ReadOnly || consumer.StopGracePeriod == nil {
		t.Errorf("consumer: %+v", consumer)
	}
	if _, err := read(nil); err == nil {
		t.Error("it starts without an endpoint")
	}
}
