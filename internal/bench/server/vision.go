package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/bench/workload"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
)

// vision is the Training API simulator, with an account whose blobs are in memory.
type vision struct {
	*cvtest.Server
	projects []*cvtest.Project
	bytes    int64
}

func startVision(name string, projects int, latency time.Duration, md5 bool) (*vision, error) {
	c, err := workload.Parse(name)
	if err != nil {
		return nil, err
	}
	s := cvtest.New(cvtest.Options{Seed: 20, Compact: true, KeepBlobs: true, BlobListener: true, BlobLatency: latency, NoMD5: !md5})
	if err := s.Listen(""); err != nil {
		return nil, err
	}
	v := &vision{Server: s}
	for range projects {
		p := addProject(s, c)
		v.projects = append(v.projects, p)
		for _, id := range p.Images {
			v.bytes += int64(len(s.Blob(p.ID, cvtest.BlobOriginal, id)))
		}
		if c.ModelBytes > 0 {
			v.bytes += int64(len(s.Model(p.ID, p.Iterations[0], modelPlatform, "")))
		}
	}
	return v, nil
}

// modelPlatform is what the model of a case is exported for.
const modelPlatform = "TensorFlow"

// addProject makes a project of a case. Its images have different content, all of the size that the
// case says.
func addProject(s *cvtest.Server, c workload.Case) *cvtest.Project {
	switch {
	case c.ModelBytes > 0:
		return s.AddProject(cvtest.ProjectSpec{
			Compact: true, Iterations: []cvtest.IterationSpec{{Exports: []cvtest.ExportSpec{{Platform: modelPlatform, Bytes: c.ModelBytes}}}},
		})
	case c.Regions == 0:
		return s.AddProject(cvtest.ProjectSpec{Images: c.Images, ImageBytes: c.ImageBytes})
	}
	var tags []string
	for i := range c.Regions {
		tags = append(tags, fmt.Sprintf("thing %d", i+1))
	}
	p := s.AddProject(cvtest.ProjectSpec{Kind: cvtest.Detection, Tags: tags})
	for range c.Images {
		p.Images = append(p.Images, s.AddImage(p.ID, cvtest.ImageSpec{Tags: p.Tags, ImageBytes: c.ImageBytes}))
	}
	return p
}

func (v *vision) settings() map[string]string {
	return map[string]string{
		"VISION_TRAINING_ENDPOINT": v.URL(), "VISION_TRAINING_KEY": v.Key(),
		"CONSUMER_BLOB_HOSTS": strings.TrimPrefix(v.BlobURL(), "http://"),
		"BENCH_BYTES":         strconv.FormatInt(v.bytes, 10),
	}
}

// answer gives the images of all projects by project, or counts calls by operation since the last
// reset.
func (v *vision) answer(words []string) (any, error) {
	switch {
	case len(words) == 1 && words[0] == "projects":
		all := map[uuid.UUID][]uuid.UUID{}
		for _, p := range v.projects {
			all[p.ID] = p.Images
		}
		return all, nil
	case len(words) == 1 && words[0] == "calls":
		counts := map[string]int{cvtest.OperationBlob: v.BlobCount()}
		for _, c := range v.Calls() {
			counts[c.Operation]++
		}
		return counts, nil
	case len(words) == 1 && words[0] == "reset":
		v.ResetCalls()
		return nil, nil
	}
	return nil, unknown(words)
}

// Close implements server.
func (v *vision) Close() error {
	v.Server.Close()
	return nil
}
