package main

import (
	"os"
	"path/filepath"

	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// store is the S3 server.
type store struct {
	*sinktest.Server
	dir string
}

func startStore(dir string) (*store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s, err := sinktest.StartWith(sinktest.Options{Dir: dir, Quiet: true})
	if err != nil {
		return nil, err
	}
	return &store{Server: s, dir: dir}, nil
}

func (s *store) settings() map[string]string {
	return map[string]string{
		"AWS_ENDPOINT_URL_S3": s.Endpoint, "AWS_REGION": s.Region, "AWS_ACCESS_KEY_ID": s.AccessKey, "AWS_SECRET_ACCESS_KEY": s.SecretKey,
	}
}

// answer makes a bucket, or removes one with all it holds: behind the server's back, since it would
// take a request for each object.
func (s *store) answer(words []string) (any, error) {
	switch {
	case len(words) == 2 && words[0] == "bucket":
		ctx, cancel := startup()
		defer cancel()
		return nil, s.CreateBucket(ctx, words[1], sinktest.BucketOptions{})
	case len(words) == 2 && words[0] == "remove":
		for _, place := range []string{"buckets", "versions", "meta"} {
			if err := os.RemoveAll(filepath.Join(s.dir, place, words[1])); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
	return nil, unknown(words)
}
