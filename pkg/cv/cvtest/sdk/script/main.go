// Command script is what users of Custom Vision write today to keep what they have: Microsoft's old
// Go SDK lists, the AWS SDK stores, 32 files at a time, and all clients are as their makers set
// them up. Tags and regions go into one file for each project. The benchmarks compare the product
// with it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/services/cognitiveservices/v3.3/customvision/training"
	"github.com/Azure/go-autorest/autorest"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/gofrs/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/cvconsumer/cvconsumer/internal/bench/task"
)

// pageSize is the most images that one call lists.
const pageSize = 256

// script copies files.
type script struct {
	vision       training.BaseClient
	api          *s3.Client
	bucket       string
	files, bytes atomic.Int64
}

func main() {
	c, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s := &script{vision: training.New(os.Getenv("VISION_TRAINING_ENDPOINT")), bucket: os.Getenv("CONSUMER_BUCKET")}
	s.vision.Authorizer = autorest.NewAPIKeyAuthorizerWithHeaders(map[string]any{"Training-Key": os.Getenv("VISION_TRAINING_KEY")})
	s.api = s3.NewFromConfig(c, func(o *s3.Options) { o.UsePathStyle = true })
	task.Main(func(ctx context.Context) (task.Result, error) {
		err := s.run(ctx)
		return task.Result{Files: int(s.files.Load()), Bytes: s.bytes.Load()}, err
	})
}

func (s *script) run(ctx context.Context) error {
	projects, err := s.vision.GetProjects(ctx)
	if err != nil {
		return err
	}
	for _, p := range *projects.Value {
		if err := s.copyProject(ctx, *p.ID); err != nil {
			return fmt.Errorf("project %s: %w", p.ID, err)
		}
	}
	return nil
}

// copyProject copies the images of a workspace and the models exported of its iterations.
func (s *script) copyProject(ctx context.Context, project uuid.UUID) error {
	g, copying := errgroup.WithContext(ctx)
	g.SetLimit(task.AtOnce)
	var all []training.Image
	for take, skip := int32(pageSize), int32(0); ; skip += take {
		page, err := s.vision.GetImages(ctx, project, nil, nil, "All", "", "Oldest", &take, &skip)
		if err != nil {
			return err
		}
		for _, image := range *page.Value {
			g.Go(func() error {
				return s.copyImage(copying, fmt.Sprintf("%s/images/%s", project, image.ID), *image.OriginalImageURI)
			})
		}
		all = append(all, *page.Value...)
		if len(*page.Value) < pageSize {
			break
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if err := s.put(ctx, project.String()+"/images.json", text); err != nil {
		return err
	}
	iterations, err := s.vision.GetIterations(ctx, project)
	if err != nil {
		return err
	}
	for _, it := range *iterations.Value {
		exports, err := s.vision.GetExports(ctx, project, *it.ID)
		if err != nil {
			return err
		}
		for _, e := range *exports.Value {
			if err := s.copyModel(ctx, fmt.Sprintf("%s/exports/%s-%s", project, it.ID, e.Platform), *e.DownloadURI); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyImage copies a file through memory.
func (s *script) copyImage(ctx context.Context, key, link string) error {
	body, err := download(ctx, link)
	if err != nil {
		return err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	s.files.Add(1)
	s.bytes.Add(int64(len(b)))
	return s.put(ctx, key, b)
}

// copyModel copies a file that may be large, in parts.
func (s *script) copyModel(ctx context.Context, key, link string) error {
	body, err := download(ctx, link)
	if err != nil {
		return err
	}
	defer body.Close()
	counted := &counter{r: body}
	_, err = transfermanager.New(s.api).UploadObject(ctx, &transfermanager.UploadObjectInput{Bucket: &s.bucket, Key: &key, Body: counted})
	s.files.Add(1)
	s.bytes.Add(counted.n)
	return err
}

func (s *script) put(ctx context.Context, key string, b []byte) error {
	_, err := s.api.PutObject(ctx, &s3.PutObjectInput{Bucket: &s.bucket, Key: &key, Body: bytes.NewReader(b)})
	return err
}

func download(ctx context.Context, link string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("download: status %d", resp.StatusCode)
	}
	return resp.Body, nil
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}
