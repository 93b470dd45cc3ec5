// Package sdk has Microsoft's own old client walk the simulator. It is a module of its own: the SDK
// is one large module of everything in Azure, which nothing else needs.
package sdk

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/Azure/azure-sdk-for-go/services/cognitiveservices/v3.3/customvision/training"
	"github.com/Azure/go-autorest/autorest"
	gofrs "github.com/gofrs/uuid"
	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
)

// sdk is Microsoft's own old client, written by others from the same Swagger.
func sdk(t *testing.T, s *cvtest.Server) training.BaseClient {
	t.Helper()
	c := training.New(s.URL())
	c.Authorizer = autorest.NewAPIKeyAuthorizerWithHeaders(map[string]any{"Training-Key": s.Key()})
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	c.Sender = &http.Client{Transport: tr}
	c.RetryAttempts = 1
	return c
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestOfficialSDK walks the sample account with Microsoft's client: everything it reads equals the
// truth, and everything is deleted.
func TestOfficialSDK(t *testing.T) {
	for name, o := range map[string]cvtest.Options{"default": {}, "recorded": {Recorded: true, Compact: true}, "vnet": {VNet: true}} {
		t.Run(name, func(t *testing.T) {
			o.BasePath, o.Seed = "/base", 7
			s := cvtest.New(o).Start()
			t.Cleanup(s.Close)
			walkSDK(t, s, o.VNet)
		})
	}
}

func walkSDK(t *testing.T, s *cvtest.Server, vnet bool) {
	s.Sample()
	truth := s.Snapshot()
	c, ctx := sdk(t, s), t.Context()
	gid := func(id uuid.UUID) gofrs.UUID { return gofrs.UUID(id) }
	gids := func(ids ...uuid.UUID) (all []gofrs.UUID) {
		for _, id := range ids {
			all = append(all, gofrs.UUID(id))
		}
		return all
	}
	p32 := func(n int32) *int32 { return &n }
	half, overlap := 0.5, 0.3

	all := must(c.GetDomains(ctx))(t)
	if len(*all.Value) == 0 {
		t.Fatal("no domains")
	}
	for _, d := range *all.Value {
		if same := must(c.GetDomain(ctx, *d.ID))(t); *same.ID != *d.ID || *same.Name != *d.Name {
			t.Errorf("domain %s is %+v", d.ID, same)
		}
	}
	projects := must(c.GetProjects(ctx))(t)
	if len(*projects.Value) != len(truth.Projects) {
		t.Fatalf("%d projects, want %d", len(*projects.Value), len(truth.Projects))
	}
	for i, want := range truth.Projects {
		got := must(c.GetProject(ctx, gid(want.ID)))(t)
		if *got.ID != *(*projects.Value)[i].ID || got.Created.IsZero() {
			t.Errorf("project %s: %+v", want.ID, got)
		}
		iterations := must(c.GetIterations(ctx, gid(want.ID)))(t)
		if len(*iterations.Value) != len(want.Iterations) {
			t.Errorf("project %s: %d iterations, want %d", want.ID, len(*iterations.Value), len(want.Iterations))
		}
		type scoped struct {
			id *gofrs.UUID
			cvtest.ScopeState
		}
		scopes := []scoped{{nil, want.Workspace}}
		for k, it := range want.Iterations {
			id := gid(it.ID)
			scopes = append(scopes, scoped{&id, it.ScopeState})
			must(c.GetIteration(ctx, gid(want.ID), id))(t)
			exports := must(c.GetExports(ctx, gid(want.ID), id))(t)
			if len(*exports.Value) != len(it.Exports) {
				t.Errorf("%d exports, want %d", len(*exports.Value), len(it.Exports))
			}
			for e, x := range *exports.Value {
				if it.Exports[e].Status == cvtest.StatusDone && !vnet {
					checkDownload(t, *x.DownloadURI, s.Model(want.ID, it.ID, it.Exports[e].Platform, it.Exports[e].Flavor))
				}
			}
			perf, err := c.GetIterationPerformance(ctx, gid(want.ID), id, &half, &overlap)
			if (err == nil) != (it.Performance != nil) {
				t.Errorf("iteration %d: performance: %v", k, err)
			}
			if err != nil {
				continue
			}
			if len(*perf.PerTagPerformance) == 0 || *perf.Precision <= 0 {
				t.Errorf("performance %+v", perf)
			}
			images := must(c.GetImagePerformances(ctx, gid(want.ID), id, nil, "Oldest", p32(256), p32(0)))(t)
			n := must(c.GetImagePerformanceCount(ctx, gid(want.ID), id, nil))(t)
			if len(*images.Value) != len(it.ImagePerformances) || int(*n.Value) != len(it.ImagePerformances) {
				t.Errorf("%d image performances, counted %d, want %d", len(*images.Value), *n.Value, len(it.ImagePerformances))
			}
		}
		for _, sc := range scopes {
			it := sc.id
			tags := must(c.GetTags(ctx, gid(want.ID), it))(t)
			if len(*tags.Value) != len(sc.Tags) {
				t.Errorf("%d tags, want %d", len(*tags.Value), len(sc.Tags))
			}
			for _, tag := range *tags.Value {
				must(c.GetTag(ctx, gid(want.ID), *tag.ID, it))(t)
			}
			images := must(c.GetImages(ctx, gid(want.ID), it, nil, "All", "", "Oldest", p32(256), p32(0)))(t)
			tagged := must(c.GetTaggedImages(ctx, gid(want.ID), it, nil, "Oldest", p32(256), p32(0)))(t)
			untagged := must(c.GetUntaggedImages(ctx, gid(want.ID), it, "Oldest", p32(256), p32(0)))(t)
			counts := []int{
				int(*must(c.GetImageCount(ctx, gid(want.ID), it, "All", "", nil))(t).Value),
				int(*must(c.GetTaggedImageCount(ctx, gid(want.ID), it, nil))(t).Value) + int(*must(c.GetUntaggedImageCount(ctx, gid(want.ID), it))(t).Value),
				len(*images.Value), len(*tagged.Value) + len(*untagged.Value),
			}
			for _, n := range counts {
				if n != len(sc.Images) {
					t.Fatalf("image counts %v, want %d", counts, len(sc.Images))
				}
			}
			for i, img := range *images.Value {
				x := sc.Images[i]
				var w struct {
					ID      uuid.UUID
					Created string
					Regions []json.RawMessage
					Tags    []json.RawMessage
				}
				if err := json.Unmarshal(x.JSON, &w); err != nil {
					t.Fatal(err)
				}
				if img.ID.String() != w.ID.String() || img.Created.Format("2006-01-02T15:04:05.9999999") != w.Created {
					t.Fatalf("image %s of %s, want %s", img.ID, img.Created, x.JSON)
				}
				if (img.Tags == nil) != (len(w.Tags) == 0) || (img.Regions == nil) != (len(w.Regions) == 0) {
					t.Fatalf("image %s: tags %v regions %v", img.ID, img.Tags, img.Regions)
				}
				if vnet {
					artifact := must(c.GetArtifact(ctx, gid(want.ID), *img.OriginalImageURI))(t)
					b, err := io.ReadAll(*artifact.Value)
					_ = (*artifact.Value).Close()
					if err != nil || !bytes.Equal(b, s.Blob(want.ID, cvtest.BlobOriginal, w.ID)) {
						t.Fatalf("artifact of image %s: %d bytes, %v", img.ID, len(b), err)
					}
				} else {
					checkDownload(t, *img.OriginalImageURI, s.Blob(want.ID, cvtest.BlobOriginal, w.ID))
				}
			}
			if len(*images.Value) > 0 {
				byID := must(c.GetImagesByIds(ctx, gid(want.ID), []gofrs.UUID{*(*images.Value)[0].ID}, it))(t)
				if len(*byID.Value) != 1 {
					t.Errorf("%d images by id", len(*byID.Value))
				}
			}
		}
		var token training.PredictionQueryToken
		one := int32(2)
		token.MaxCount, token.OrderBy = &one, training.Oldest
		for k := 0; ; {
			page := must(c.QueryPredictions(ctx, gid(want.ID), token))(t)
			for _, x := range *page.Results {
				if x.ID.String() != want.Predictions[k].ID.String() || x.Created.IsZero() {
					t.Fatalf("prediction %d is %s, want %s", k, x.ID, want.Predictions[k].ID)
				}
				if !vnet {
					checkDownload(t, *x.OriginalImageURI, s.Blob(want.ID, cvtest.BlobPrediction, want.Predictions[k].ID))
				}
				k++
			}
			if page.Token.Continuation == nil || *page.Token.Continuation == "" {
				if k != len(want.Predictions) {
					t.Errorf("%d predictions, want %d", k, len(want.Predictions))
				}
				break
			}
			token = *page.Token
		}
	}
	if n := len(s.DestructiveCalls()); n != 0 {
		t.Errorf("%d destructive calls while reading", n)
	}

	yes := true
	for _, want := range truth.Projects {
		var ids []uuid.UUID
		for _, x := range want.Predictions {
			ids = append(ids, x.ID)
		}
		if len(ids) > 0 {
			must(c.DeletePrediction(ctx, gid(want.ID), gids(ids...)))(t)
		}
		if n := len(want.Workspace.Images); n > 2 {
			first := []uuid.UUID{want.Workspace.Images[0].ID}
			must(c.DeleteImageTags(ctx, gid(want.ID), gids(first...), gids(uuid.New())))(t)
			must(c.DeleteImageRegions(ctx, gid(want.ID), gids(uuid.New())))(t)
			must(c.DeleteImages(ctx, gid(want.ID), gids(first...), nil, nil))(t)
			must(c.DeleteImages(ctx, gid(want.ID), nil, &yes, &yes))(t)
			if n := *must(c.GetImageCount(ctx, gid(want.ID), nil, "All", "", nil))(t).Value; n != 0 {
				t.Errorf("%d images left", n)
			}
		}
		tags := must(c.GetTags(ctx, gid(want.ID), nil))(t)
		for _, tag := range *tags.Value {
			must(c.DeleteTag(ctx, gid(want.ID), *tag.ID))(t)
		}
		iterations := must(c.GetIterations(ctx, gid(want.ID)))(t)
		for _, it := range *iterations.Value {
			if it.PublishName != nil {
				if _, err := c.DeleteIteration(ctx, gid(want.ID), *it.ID); err == nil {
					t.Error("a published iteration was deleted")
				}
				must(c.UnpublishIteration(ctx, gid(want.ID), *it.ID))(t)
			}
			must(c.DeleteIteration(ctx, gid(want.ID), *it.ID))(t)
		}
		must(c.DeleteProject(ctx, gid(want.ID)))(t)
		if _, err := c.GetProject(ctx, gid(want.ID)); err == nil {
			t.Error("the project is still there")
		}
	}
	if n := len(s.Snapshot().Projects); n != 0 {
		t.Errorf("%d projects left", n)
	}
}

// checkDownload follows a link, without the key.
func checkDownload(t *testing.T, link string, want []byte) {
	t.Helper()
	r, err := http.Get(link) //nolint:noctx // a test, of a server in this process
	if err != nil {
		t.Errorf("download: %v", err)
		return
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK || !bytes.Equal(body, want) || len(want) == 0 {
		t.Errorf("download: status %d, %d bytes, %v; want %d bytes", r.StatusCode, len(body), err, len(want))
	}
}
