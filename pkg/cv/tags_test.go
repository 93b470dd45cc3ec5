package cv

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/uuid"
)

func TestTagOperations(t *testing.T) {
	const tag = `{"id":"e3049fbe-e509-4ceb-95c6-f6427b972543","name":"Tag #1","description":null,"type":"Regular","imageCount":7}`
	want := Tag{ID: idT, Name: "Tag #1", Type: "Regular", ImageCount: 7, Raw: json.RawMessage(tag)}
	tags := "projects/" + idP.String() + "/tags"
	checkOperations(t, []operation{
		{
			name: "GetTags of the workspace", method: "GET", path: tags, answer: "[" + tag + "," + tag + "]", want: []Tag{want},
			do: func(ctx context.Context, c *Client) (any, error) { return c.GetTags(ctx, idP, uuid.Nil) },
		},
		{
			name: "GetTags of an iteration", method: "GET", path: tags, query: "iterationId=" + idI.String(), answer: "[" + tag + "]", want: []Tag{want},
			target: tags + " " + idI.String(),
			do:     func(ctx context.Context, c *Client) (any, error) { return c.GetTags(ctx, idP, idI) },
		},
		{
			name: "GetTag", method: "GET", path: tags + "/" + idT.String(), query: "iterationId=" + idI.String(), answer: tag, want: want,
			target: tags + "/" + idT.String() + " " + idI.String(),
			do:     func(ctx context.Context, c *Client) (any, error) { return c.GetTag(ctx, idP, idT, idI) },
		},
		{
			name: "DeleteTag", method: "DELETE", path: tags + "/" + idT.String(), status: 204,
			do: func(ctx context.Context, c *Client) (any, error) { return nil, c.DeleteTag(ctx, idP, idT) },
		},
	})
}
