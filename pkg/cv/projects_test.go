package cv

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/uuid"
)

const testProject = `{"id":"8a32ea60-1c53-43c3-8113-d0b1f470fbdb","name":"Test & co","description":null,"settings":{"domainId":"c151d5b5-dd07-472a-acc8-15d29dea8518",
	"classificationType":"Multilabel","targetExportPlatforms":[],"useNegativeSet":true,"detectionParameters":null,"imageProcessingSettings":{"augmentationMethods":{"rotation":true}}},
	"created":"2020-11-06T16:32:06.133Z","lastModified":"2020-11-06T16:32:06Z","thumbnailUri":null,"drModeEnabled":false,"status":"SomethingNew"}`

func TestProjectOperations(t *testing.T) {
	want := Project{
		ID: idP, Name: "Test & co", Created: at(t, "2020-11-06T16:32:06.133Z"), LastModified: at(t, "2020-11-06T16:32:06Z"), Status: "SomethingNew",
		Settings: ProjectSettings{
			DomainID: uuid.MustParse("c151d5b5-dd07-472a-acc8-15d29dea8518"), ClassificationType: "Multilabel", TargetExportPlatforms: []string{}, UseNegativeSet: true,
		},
		Raw: json.RawMessage(testProject),
	}
	checkOperations(t, []operation{
		{
			name: "GetProjects", method: "GET", path: "projects", answer: "[" + testProject + "]", want: []Project{want},
			do: func(ctx context.Context, c *Client) (any, error) { return c.GetProjects(ctx) },
		},
		{
			name: "GetProjects of one twice", method: "GET", path: "projects", answer: "[" + testProject + "," + testProject + "]", want: []Project{want},
			do: func(ctx context.Context, c *Client) (any, error) { return c.GetProjects(ctx) },
		},
		{
			name: "GetProjects none", method: "GET", path: "projects", answer: "[]", want: []Project{},
			do: func(ctx context.Context, c *Client) (any, error) { return c.GetProjects(ctx) },
		},
		{
			name: "GetProject", method: "GET", path: "projects/" + idP.String(), answer: testProject, want: want,
			do: func(ctx context.Context, c *Client) (any, error) { return c.GetProject(ctx, idP) },
		},
		{
			name: "DeleteProject", method: "DELETE", path: "projects/" + idP.String(), status: 204,
			do: func(ctx context.Context, c *Client) (any, error) { return nil, c.DeleteProject(ctx, idP) },
		},
	})
}
