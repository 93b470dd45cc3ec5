package cv

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
)

func TestImageOperations(t *testing.T) {
	const (
		tagged = `{"id":"468e679e-ad7e-4707-9622-2d8d8ce71e2e","created":"2020-11-06T16:53:19.8773776","width":900,"height":1600,"resizedImageUri":"r?sig=1","thumbnailUri":"t","originalImageUri":"o",` +
			`"tags":[{"tagId":"e3049fbe-e509-4ceb-95c6-f6427b972543","tagName":null,"created":"2020-11-06T16:53:19.783624"}],` +
			`"regions":[{"regionId":"9f859fc2-ccbd-4d2e-947c-35a4afd72861","tagName":"Tag2","created":"2020-11-06T16:53:19","tagId":"e3049fbe-e509-4ceb-95c6-f6427b972543","left":0.303186,"top":0,"width":0.5,"height":1}],` +
			`"metadata":{"subject":"4711"},"unknown":[1]}`
		untagged = `{"id":"9f859fc2-ccbd-4d2e-947c-35a4afd72861","created":"","tags":null}`
	)
	a := Image{
		ID: idA, Created: at(t, "2020-11-06T16:53:19.8773776Z"), Width: 900, Height: 1600, ResizedImageURI: "r?sig=1", ThumbnailURI: "t", OriginalImageURI: "o",
		Tags:     []ImageTag{{TagID: idT, Created: at(t, "2020-11-06T16:53:19.783624Z")}},
		Regions:  []ImageRegion{{RegionID: idB, TagID: idT, TagName: "Tag2", Created: at(t, "2020-11-06T16:53:19Z"), BoundingBox: BoundingBox{0.303186, 0, 0.5, 1}}},
		Metadata: map[string]string{"subject": "4711"}, Raw: json.RawMessage(tagged),
	}
	b := Image{ID: idB, Raw: json.RawMessage(untagged)}
	page, images := "["+tagged+","+untagged+"]", "projects/"+idP.String()+"/images"
	two := idT.String() + "," + idT2.String()
	scoped := ImageQuery{Scope: idI, TagIDs: []uuid.UUID{idT, idT2}, Filter: "metadata=k eq 'a&b' and x ne 'y'", TaggingStatus: Tagged, Take: 256, Skip: 255}
	checkOperations(t, []operation{
		{
			name: "GetTaggedImages of the workspace", method: "GET", path: images + "/tagged", query: "orderBy=Oldest&take=256&skip=0", answer: page, want: []Image{a, b},
			do: func(ctx context.Context, c *Client) (any, error) { return c.GetTaggedImages(ctx, idP, ImageQuery{}) },
		},
		{
			name: "GetTaggedImages of an iteration", method: "GET", path: images + "/tagged", answer: "[]", want: []Image{},
			query:  "iterationId=" + idI.String() + "&tagIds=" + two + "&orderBy=Oldest&take=256&skip=255",
			target: images + "/tagged " + idI.String() + "," + two,
			do:     func(ctx context.Context, c *Client) (any, error) { return c.GetTaggedImages(ctx, idP, scoped) },
		},
		{
			name: "GetUntaggedImages", method: "GET", path: images + "/untagged", answer: "[" + untagged + "]", want: []Image{b},
			query: "iterationId=" + idI.String() + "&orderBy=Oldest&take=256&skip=255", target: images + "/untagged " + idI.String(),
			do: func(ctx context.Context, c *Client) (any, error) { return c.GetUntaggedImages(ctx, idP, scoped) },
		},
		{
			name: "GetImages of everything", method: "GET", path: images, answer: page, want: []Image{a, b}, query: "taggingStatus=All&orderBy=Newest&take=50&skip=0",
			do: func(ctx context.Context, c *Client) (any, error) {
				return c.GetImages(ctx, idP, ImageQuery{OrderBy: Newest, Take: 50})
			},
		},
		{
			name: "GetImages filtered", method: "GET", path: images, answer: page, want: []Image{a, b},
			query: "iterationId=" + idI.String() + "&tagIds=" + two + "&taggingStatus=Tagged" +
				"&%24filter=metadata%3Dk%20eq%20%27a%26b%27%20and%20x%20ne%20%27y%27&orderBy=Oldest&take=256&skip=255",
			target: images + " " + idI.String() + "," + two,
			do:     func(ctx context.Context, c *Client) (any, error) { return c.GetImages(ctx, idP, scoped) },
		},
		{
			name: "GetTaggedImageCount", method: "GET", path: images + "/tagged/count", query: "tagIds=" + two, answer: "10\r\n", want: 10, target: images + "/tagged/count " + two,
			do: func(ctx context.Context, c *Client) (any, error) {
				return c.GetTaggedImageCount(ctx, idP, uuid.Nil, []uuid.UUID{idT, idT2})
			},
		},
		{
			name: "GetUntaggedImageCount", method: "GET", path: images + "/untagged/count", query: "iterationId=" + idI.String(), answer: "0", want: 0, target: images + "/untagged/count " + idI.String(),
			do: func(ctx context.Context, c *Client) (any, error) { return c.GetUntaggedImageCount(ctx, idP, idI) },
		},
		{
			name: "GetImageCount", method: "GET", path: images + "/count", query: "taggingStatus=All", answer: "100000", want: 100000,
			do: func(ctx context.Context, c *Client) (any, error) { return c.GetImageCount(ctx, idP, ImageQuery{}) },
		},
		{
			name: "GetImagesByIds", method: "GET", path: images + "/id", query: "iterationId=" + idI.String() + "&imageIds=" + idA.String() + "," + idB.String(), answer: page, want: []Image{a, b},
			target: images + "/id " + idI.String() + "," + idA.String() + "," + idB.String(),
			do: func(ctx context.Context, c *Client) (any, error) {
				return c.GetImagesByIDs(ctx, idP, idI, []uuid.UUID{idA, idB})
			},
		},
		{
			name: "DeleteImages by id", method: "DELETE", path: images, query: "imageIds=" + idA.String() + "," + idB.String(), status: 204, want: false,
			target: images + " " + idA.String() + "," + idB.String(),
			do: func(ctx context.Context, c *Client) (any, error) {
				return c.DeleteImages(ctx, idP, DeleteImagesQuery{IDs: []uuid.UUID{idA, idB}})
			},
		},
		{
			name: "DeleteImages everywhere", method: "DELETE", path: images, query: "allImages=true&allIterations=true", status: 202, want: true,
			do: func(ctx context.Context, c *Client) (any, error) {
				return c.DeleteImages(ctx, idP, DeleteImagesQuery{AllImages: true, AllIterations: true})
			},
		},
	})
}

func TestImageArgumentsThatCannotBeRight(t *testing.T) {
	many := make([]uuid.UUID, MaxPage+1)
	for name, c := range map[string]struct {
		do   func(context.Context, *Client) error
		want string
	}{
		"too many tags": {func(ctx context.Context, c *Client) error {
			_, err := c.GetTaggedImages(ctx, idP, ImageQuery{TagIDs: many[:21]})
			return err
		}, "GetTaggedImages: 21 tag ids, at most 20"},
		"take": {func(ctx context.Context, c *Client) error {
			_, err := c.GetImages(ctx, idP, ImageQuery{Take: 257})
			return err
		}, "GetImages: take 257, at most 256"},
		"skip": {func(ctx context.Context, c *Client) error {
			_, err := c.GetImagePerformances(ctx, idP, idI, PageQuery{Skip: -1})
			return err
		}, "GetImagePerformances: skip -1"},
		"too many ids": {func(ctx context.Context, c *Client) error {
			_, err := c.GetImagesByIDs(ctx, idP, uuid.Nil, many)
			return err
		}, "GetImagesByIds: 257 image ids, at most 256"},
		"delete too many": {func(ctx context.Context, c *Client) error {
			_, err := c.DeleteImages(ctx, idP, DeleteImagesQuery{IDs: many})
			return err
		}, "DeleteImages: 257 image ids, at most 256"},
		"delete nothing": {func(ctx context.Context, c *Client) error {
			_, err := c.DeleteImages(ctx, idP, DeleteImagesQuery{AllIterations: true})
			return err
		}, "DeleteImages: neither image ids nor all images"},
		"delete some and all": {func(ctx context.Context, c *Client) error {
			_, err := c.DeleteImages(ctx, idP, DeleteImagesQuery{IDs: many[:1], AllImages: true})
			return err
		}, "DeleteImages: both image ids and all images"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, status(200, "[]"))
			err := c.do(t.Context(), w.Client)
			var e *Error
			if !errors.As(err, &e) || err.Error() != c.want {
				t.Errorf("%v, want %s", err, c.want)
			}
			for _, kind := range []error{ErrGone, ErrThrottled, ErrMisconfigured, ErrUnavailable} {
				if errors.Is(err, kind) {
					t.Errorf("%v is %v", err, kind)
				}
			}
			if n := len(w.requests()); n != 0 {
				t.Errorf("%d requests", n)
			}
		})
	}
	w := newWorld(t, status(200, "[]"))
	if images, err := w.GetImagesByIDs(t.Context(), idP, uuid.Nil, nil); images != nil || err != nil || len(w.requests()) != 0 {
		t.Error("no ids: something was asked", images, err)
	}
}

func TestImagesByIDsOfAWholePage(t *testing.T) {
	ids := make([]uuid.UUID, MaxPage)
	for i := range ids {
		ids[i] = countedID(i)
	}
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if n := strings.Count(r.URL.Query().Get("imageIds"), ",") + 1; n != MaxPage || len(r.URL.Query()["imageIds"]) != 1 {
			t.Errorf("%d ids in one parameter", n)
		}
		answer(rw, 200, imagePage(0, MaxPage))
	})
	images, err := w.GetImagesByIDs(t.Context(), idP, uuid.Nil, ids)
	if err != nil || len(images) != MaxPage {
		t.Fatal(len(images), err)
	}
	for i, image := range images {
		if image.ID != ids[i] || image.Identity() != ids[i] {
			t.Fatalf("image %d is %s", i, image.ID)
		}
	}
}
