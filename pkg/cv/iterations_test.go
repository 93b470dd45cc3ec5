package cv

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/uuid"
)

const (
	testIteration = `{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","name":"Iteration 1","status":"Completed","created":"2020-11-06T16:48:03.816Z",` +
		`"lastModified":"2020-11-06T16:53:15.089Z","trainedAt":"2020-11-06T16:53:14.14Z","projectId":"8a32ea60-1c53-43c3-8113-d0b1f470fbdb","exportable":true,"exportableTo":null,` +
		`"domainId":null,"classificationType":"Multilabel","trainingType":"Regular","reservedBudgetInHours":0,"trainingTimeInMinutes":1,"publishName":"model",` +
		`"originalPublishResourceId":"/subscriptions/s","customBaseModelInfo":null}`
	testUntrained = `{"id":"e3049fbe-e509-4ceb-95c6-f6427b972543","name":"New one","status":"New","created":"2018-02-22T15:21:23.6766667","publishName":null}`
)

func TestIterationOperations(t *testing.T) {
	want := Iteration{
		ID: idI, Name: "Iteration 1", Status: "Completed", Created: at(t, "2020-11-06T16:48:03.816Z"), LastModified: at(t, "2020-11-06T16:53:15.089Z"),
		TrainedAt: at(t, "2020-11-06T16:53:14.14Z"), ProjectID: idP, Exportable: true, ClassificationType: "Multilabel", TrainingType: "Regular",
		TrainingTimeInMinutes: 1, PublishName: "model", OriginalPublishResourceID: "/subscriptions/s", Raw: json.RawMessage(testIteration),
	}
	untrained := Iteration{ID: idT, Name: "New one", Status: "New", Created: at(t, "2018-02-22T15:21:23.6766667Z"), Raw: json.RawMessage(testUntrained)}
	if !want.Published() || untrained.Published() {
		t.Error("Published is wrong")
	}
	it := "projects/" + idP.String() + "/iterations/" + idI.String()
	const performance = `{"perTagPerformance":[{"id":"e3049fbe-e509-4ceb-95c6-f6427b972543","name":"Tag1","precision":1.0,"precisionStdDeviation":0.0,"recall":0.5,` +
		`"recallStdDeviation":0.25,"averagePrecision":null}],"precision":1.0,"precisionStdDeviation":"NaN","recall":0.5,"recallStdDeviation":0.25,"averagePrecision":0.75}`
	average := 0.75
	const imagePerformance = `{"predictions":[{"probability":1.1920929E-07,"tagId":"e3049fbe-e509-4ceb-95c6-f6427b972543","tagName":null,"boundingBox":{"left":0.25,"top":0.5,"width":0.125,"height":1}}],` +
		`"id":"468e679e-ad7e-4707-9622-2d8d8ce71e2e","created":"2020-11-06T16:53:19","width":600,"height":1600,"imageUri":"u","thumbnailUri":"v","tags":[],"regions":null}`
	checkOperations(t, []operation{
		{
			name: "GetIterations", method: "GET", path: "projects/" + idP.String() + "/iterations", answer: "[" + testIteration + "," + testUntrained + "," + testIteration + "]", want: []Iteration{want, untrained},
			do: func(ctx context.Context, c *Client) (any, error) { return c.GetIterations(ctx, idP) },
		},
		{
			name: "GetIteration", method: "GET", path: it, answer: testIteration, want: want,
			do: func(ctx context.Context, c *Client) (any, error) { return c.GetIteration(ctx, idP, idI) },
		},
		{
			name: "DeleteIteration", method: "DELETE", path: it, status: 204,
			do: func(ctx context.Context, c *Client) (any, error) { return nil, c.DeleteIteration(ctx, idP, idI) },
		},
		{
			name: "UnpublishIteration", method: "DELETE", path: it + "/publish", status: 204,
			do: func(ctx context.Context, c *Client) (any, error) { return nil, c.UnpublishIteration(ctx, idP, idI) },
		},
		{
			name: "GetIterationPerformance", method: "GET", path: it + "/performance", query: "threshold=0.5&overlapThreshold=0.0000001", answer: performance,
			want: IterationPerformance{
				PerTagPerformance: []TagPerformance{{ID: idT, Name: "Tag1", Precision: 1, Recall: 0.5, RecallStdDeviation: 0.25}},
				Precision:         1, Recall: 0.5, RecallStdDeviation: 0.25, AveragePrecision: &average, Raw: json.RawMessage(performance),
			},
			do: func(ctx context.Context, c *Client) (any, error) {
				return c.GetIterationPerformance(ctx, idP, idI, 0.5, 1e-7)
			},
		},
		{
			name: "GetImagePerformances", method: "GET", path: it + "/performance/images", query: "orderBy=Newest&take=50&skip=255", answer: "[" + imagePerformance + "]",
			want: []ImagePerformance{{
				ID: idA, Created: at(t, "2020-11-06T16:53:19Z"), Width: 600, Height: 1600, ImageURI: "u", ThumbnailURI: "v", Tags: []ImageTag{},
				Predictions: []Prediction{{Probability: 1.1920929e-07, TagID: idT, BoundingBox: &BoundingBox{0.25, 0.5, 0.125, 1}}},
				Raw:         json.RawMessage(imagePerformance),
			}},
			do: func(ctx context.Context, c *Client) (any, error) {
				return c.GetImagePerformances(ctx, idP, idI, PageQuery{OrderBy: Newest, Take: 50, Skip: 255})
			},
		},
		{
			name: "GetImagePerformanceCount", method: "GET", path: it + "/performance/images/count", answer: "2", want: 2,
			do: func(ctx context.Context, c *Client) (any, error) { return c.GetImagePerformanceCount(ctx, idP, idI) },
		},
	})
	if id := (Iteration{ID: idI, DomainID: uuid.Nil}).Identity(); id != idI {
		t.Error(id)
	}
}
