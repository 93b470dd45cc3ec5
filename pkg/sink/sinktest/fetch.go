package sinktest

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Fetch copies the objects below a prefix into a folder, as a stock S3 client would.
func Fetch(ctx context.Context, api *s3.Client, bucket, prefix, dir string) error {
	pages := s3.NewListObjectsV2Paginator(api, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("fetch %s: %w", prefix, err)
		}
		for _, item := range page.Contents {
			name := filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(*item.Key, prefix)))
			if err := fetch(ctx, api, bucket, *item.Key, name); err != nil {
				return fmt.Errorf("fetch %s: %w", *item.Key, err)
			}
		}
	}
	return nil
}

func fetch(ctx context.Context, api *s3.Client, bucket, key, name string) error {
	out, err := api.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return err
	}
	defer func() { _ = out.Body.Close() }()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, out.Body); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// Versions lists everything a bucket keeps below a prefix: versions as "key", delete markers as
// "key (delete marker)", unfinished uploads as "key (upload)".
func Versions(ctx context.Context, api *s3.Client, bucket, prefix string) ([]string, error) {
	var found []string
	pages := s3.NewListObjectVersionsPaginator(api, &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list versions below %q: %w", prefix, err)
		}
		for _, v := range page.Versions {
			found = append(found, aws.ToString(v.Key))
		}
		for _, m := range page.DeleteMarkers {
			found = append(found, aws.ToString(m.Key)+" (delete marker)")
		}
	}
	uploads, err := uploads(ctx, api, bucket, prefix)
	if err != nil {
		return nil, err
	}
	for _, u := range uploads {
		found = append(found, aws.ToString(u.Key)+" (upload)")
	}
	return found, nil
}

func uploads(ctx context.Context, api *s3.Client, bucket, prefix string) ([]types.MultipartUpload, error) {
	out, err := api.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &bucket, Prefix: &prefix})
	if err != nil {
		return nil, fmt.Errorf("list unfinished uploads below %q: %w", prefix, err)
	}
	return out.Uploads, nil
}
