package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// TestPlanShown holds what a plan shows: with its bundle the account and the projects' names.
func TestPlanShown(t *testing.T) {
	id := uuid.MustParse("0f3b2a77-3a57-4b8c-9a67-5c1c1df0a111")
	d := shownPlan{
		event: contract.Event{Data: contract.EventData{
			Plan: &contract.PlanRef{SHA256: "abc", URI: "s3://b/p/delete/evidence/plan.json"}, Counts: contract.Counts{Projects: 1, Images: 85},
			Residuals: []contract.Residual{{Category: "exports", Reason: "they go with the account"}},
		}},
		says: bagfile.Deletion{Endpoint: "vision.example", Projects: []bagfile.DeletionProject{{ID: id, Name: "Cats \x1b[31m", Project: true, Counts: bagfile.Counts{Images: 85}}}},
		data: []byte(`{"project_ids":["` + id.String() + `"]}`),
	}
	things := `  projects         1
  iterations       0
  performance      0
  tags             0
  images           85
  exported models  0
  predictions      0
  plan             sha256 abc
  every id         s3://b/p/delete/evidence/plan.json
  would remain     exports: they go with the account
`
	for _, c := range []struct {
		unread error
		want   string
	}{
		{nil, "would be deleted:\n" +
			"  account          default, at vision.example\n" +
			"  project          0f3b2a77-3a57-4b8c-9a67-5c1c1df0a111 \"Cats \\x1b[31m\": the whole project (images 85)\n" + things},
		{errNoStorage, "would be deleted:\n" +
			"  account          default\n" +
			"  project          0f3b2a77-3a57-4b8c-9a67-5c1c1df0a111\n" +
			"  names            not read from the plan's bundle: set AWS_REGION or AWS_ENDPOINT_URL_S3, and a key that may read it\n" + things},
	} {
		var out bytes.Buffer
		d.unread = c.unread
		d.print(plain{&out})
		if out.String() != c.want {
			t.Errorf("shown\n%s\nwant\n%s", &out, c.want)
		}
	}
}

// What is suggested can be pasted: it has the arguments of the command line, quoted.
func TestPasteable(t *testing.T) {
	args := []string{"--project", "1", "--id", "mine", "--metadata=name=O'Hara & sons", "-o", "text", "--no-wait", "--timeout=3s", "--reference", ""}
	const want = `--project 1 '--metadata=name=O'\''Hara & sons' --reference ''`
	if got := shellLine(withoutFlags(args, "--id", "--timeout", "-o", "--no-wait!")...); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Names of files and prefixes may have blanks.
func TestSuggestedNamesAreQuoted(t *testing.T) {
	for _, make := range []func(key, public string) (newKey, error){keysNewCmd{Type: "ed25519"}.forReceipts, forCommands} {
		made, err := make("my keys/a.key", "my keys/a.pub")
		if err != nil {
			t.Fatal(err)
		}
		if text := string(made.said); !strings.Contains(text, "'my keys/a.") {
			t.Error(text)
		}
	}
}

// What is suggested to wait with asks the NATS that the command line named.
func TestSuggestionsNameTheirNATS(t *testing.T) {
	for args, want := range map[string]string{
		"export --all-projects --id req-1":                              "consumer jobs watch req-1 --seq 7",
		"export --nats-url nats://a,nats://b --id=req-1 --context=prod": "consumer jobs watch req-1 --seq 7 --nats-url nats://a,nats://b --context=prod",
		"delete --subject-prefix cv2 --consumer-nats-domain hub --yes":  "consumer jobs watch req-1 --seq 7 --subject-prefix cv2 --consumer-nats-domain hub",
	} {
		p := &program{args: strings.Fields(args)}
		if got := p.nats(natsSettings{URL: "nats://a", Subjects: "cv"}, &problems{}).watching("req-1", 7); got != want {
			t.Errorf("%s: %s", args, got)
		}
	}
}

// A signal at the question is an answer, and not yes.
func TestSignalAnswersTheQuestion(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	waits, _ := io.Pipe() // a terminal at which no key is pressed
	cancel(delivery.ErrStopping)
	if err := confirmed(&program{ctx: ctx, stdin: waits, stderr: io.Discard}); !errors.Is(err, errNotApproved) {
		t.Error(err)
	}
}

// Errors of the service are told in the words of the command line.
func TestErrorsNameFlags(t *testing.T) {
	for from, want := range map[string]string{
		`iteration_published: unpublish: iteration i of project p is published; publish the command with "unpublish": true to allow that it is unpublished`: `iteration_published: --unpublish: iteration i of project p is published; publish the command with --unpublish to allow that it is unpublished`,
		`id_conflict: id: req-1 was used for another command; publish under an id of its own`:                                                               `id_conflict: --id: req-1 was used for another command; publish under an id of its own`,
		`too_late: id: req-1 has ended: completed`:                                                                `too_late: <id>: req-1 has ended: completed`,
		`deletes_disabled: approved_plan: this service deletes only what was planned; publish with dry_run first`: `deletes_disabled: --approved-plan: this service deletes only what was planned; publish with consumer plan first`,
		`unknown_resource: resource: no such alias is configured; name one of the service's CONSUMER_RESOURCES`:   `unknown_resource: --resource: no such alias is configured; name one of the service's CONSUMER_RESOURCES`,
		`precondition_failed: expect.max_images: 7`:                                                               `precondition_failed: --expect-max-images: 7`,
		`invalid_command: Nats-Msg-Id: missing`:                                                                   `invalid_command: --id: missing`,
		`internal: put object my_key_of/data: s3://b/x_y: e`:                                                      `internal: put object my_key_of/data: s3://b/x_y: e`,
	} {
		if got := inFlags(from); got != want {
			t.Errorf("%s\n became %s", from, got)
		}
	}
}
