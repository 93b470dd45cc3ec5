// Command relay copies what an account holds into a bucket and does nothing else: what an export
// costs at least. With -prove it takes the SHA-256 of each file, has the store check it, keeps it
// as metadata, and overwrites nothing.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/cvconsumer/cvconsumer/internal/bench/task"
)

// pageSize is the most images that one call lists.
const pageSize = 256

// listedAhead is how many files may wait for a worker.
const listedAhead = 2 * pageSize

// relay copies files.
type relay struct {
	prove  bool
	http   *http.Client
	api    *s3.Client
	bucket string
}

// file is one file to be copied.
type file struct {
	key, link string
	model     bool // it may be of any size
}

func main() {
	prove := flag.Bool("prove", false, "prove what is stored by its SHA-256")
	flag.Parse()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 2*task.AtOnce
	client := &http.Client{Transport: transport}
	c, err := config.LoadDefaultConfig(context.Background(), config.WithHTTPClient(client))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	r := relay{prove: *prove, http: client, bucket: os.Getenv("CONSUMER_BUCKET"), api: s3.NewFromConfig(c, func(o *s3.Options) {
		o.UsePathStyle = true
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	})}
	task.Main(r.run)
}

// run lists what there is while workers copy it.
func (r relay) run(ctx context.Context) (task.Result, error) {
	files, copied := make(chan file, listedAhead), make(chan int64, listedAhead)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(files)
		return r.list(ctx, files)
	})
	for range task.AtOnce {
		g.Go(func() error { return r.work(ctx, files, copied) })
	}
	var total task.Result
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		for n := range copied {
			total.Files++
			total.Bytes += n
		}
	}()
	err := g.Wait()
	close(copied)
	<-counted
	return total, err
}

// list gives all images and exported models of all projects.
func (r relay) list(ctx context.Context, files chan<- file) error {
	give := func(f file) error {
		select {
		case files <- f:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	type thing struct {
		ID          string
		Link        string `json:"originalImageUri"`
		Platform    string
		DownloadURI string
	}
	var projects []thing
	if err := r.get(ctx, "projects", &projects); err != nil {
		return err
	}
	for _, p := range projects {
		for skip := 0; ; skip += pageSize {
			var page []thing
			if err := r.get(ctx, fmt.Sprintf("projects/%s/images?take=%d&skip=%d", p.ID, pageSize, skip), &page); err != nil {
				return err
			}
			for _, image := range page {
				if err := give(file{key: p.ID + "/images/" + image.ID, link: image.Link}); err != nil {
					return err
				}
			}
			if len(page) < pageSize {
				break
			}
		}
		var iterations []thing
		if err := r.get(ctx, "projects/"+p.ID+"/iterations", &iterations); err != nil {
			return err
		}
		for _, it := range iterations {
			var exports []thing
			if err := r.get(ctx, "projects/"+p.ID+"/iterations/"+it.ID+"/export", &exports); err != nil {
				return err
			}
			for _, e := range exports {
				if err := give(file{key: p.ID + "/exports/" + it.ID + "-" + e.Platform, link: e.DownloadURI, model: true}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// get makes one call of the Training API.
func (r relay) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, os.Getenv("VISION_TRAINING_ENDPOINT")+"/customvision/v3.3/training/"+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Training-Key", os.Getenv("VISION_TRAINING_KEY"))
	resp, err := r.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: status %d", path, resp.StatusCode)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	return nil
}
