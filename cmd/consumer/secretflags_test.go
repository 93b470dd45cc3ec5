package main

import (
	"strings"
	"testing"
)

// TestSecretsAreNoFlags: a command line is shown to every user of the machine (ps).
func TestSecretsAreNoFlags(t *testing.T) {
	for _, c := range []struct {
		name  string
		args  []string
		vars  []string
		names string // the variable to use instead
	}{
		{name: "training key", args: []string{"run", "--vision-training-key", "s3cret-value"}, names: "VISION_TRAINING_KEY"},
		{name: "NATS password", args: []string{"jobs", "ls", "--nats-password=s3cret-value", "--nats-user=u"}, names: "NATS_PASSWORD"},
		{name: "S3 secret", args: []string{"verify", "--aws-secret-access-key", "s3cret-value", "s3://b/p/"}, names: "AWS_SECRET_ACCESS_KEY"},
		{name: "S3 session", args: []string{"gc", "--aws-session-token=s3cret-value"}, names: "AWS_SESSION_TOKEN"},
		{name: "password in a URL", args: []string{"jobs", "ls", "--nats-url=nats://a:4222,nats://u:s3cret-value@b:4222"}, names: "NATS_URL"},
		{name: "token in a URL", args: []string{"jobs", "ls", "--nats-url", "s3cret-value@b:4222"}, names: "NATS_URL"},
		{name: "token as a user", args: []string{"jobs", "ls", "--nats-user", "s3cret-value"}, names: "NATS_USER"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs strings.Builder
			code := run(t.Context(), c.args, append([]string{"NATS_URL=nats://127.0.0.1:1"}, c.vars...), strings.NewReader(""), &out, &errs)
			if code != exitUsage || !strings.Contains(errs.String(), "$"+c.names) || strings.Contains(out.String()+errs.String(), "s3cret-value") {
				t.Errorf("exit %d: %s", code, errs.String())
			}
		})
	}
	t.Run("a user whose password comes by variable", func(t *testing.T) {
		var out, errs strings.Builder
		code := run(t.Context(), []string{"jobs", "ls", "--nats-user", "u", "--nats-url=nats://127.0.0.1:1"}, []string{"NATS_PASSWORD=p"}, strings.NewReader(""), &out, &errs)
		if code != exitUnreachable {
			t.Errorf("exit %d: %s", code, errs.String())
		}
	})
	t.Run("help", func(t *testing.T) {
		var out, errs strings.Builder
		if code := run(t.Context(), []string{"run", "--help"}, nil, strings.NewReader(""), &out, &errs); code != exitDone {
			t.Fatalf("exit %d: %s", code, errs.String())
		}
		for _, flag := range []string{"--vision-training-key=", "--nats-password=", "--aws-secret-access-key=", "--aws-session-token="} {
			if strings.Contains(out.String(), flag) {
				t.Errorf("help offers %s", flag)
			}
		}
		for _, variable := range []string{"$VISION_TRAINING_KEY)", "$NATS_PASSWORD)", "$AWS_SECRET_ACCESS_KEY)", "$AWS_SESSION_TOKEN)"} {
			if !strings.Contains(out.String(), variable) {
				t.Errorf("help does not name %s", variable)
			}
		}
	})
}
