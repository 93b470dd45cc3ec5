package sinktest

import (
	"context"
	"math"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3response"
)

// fullPage is how many objects a page of a listing has at most.
const fullPage = 1000

// listings is the server's folder with long listings that take no longer than they must. By itself
// it reads a folder whole for each page, so that listing 160,000 pictures takes longer than storing
// them. Here the first page finds what all pages have: an object that is stored meanwhile is not
// listed.
type listings struct {
	*posix.Posix

	mu   sync.Mutex
	rest map[string][]s3response.Object // what follows a page, by bucket, prefix and continuation token
}

// ListObjectsV2 implements backend.Backend.
func (l *listings) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input) (s3response.ListObjectsV2Result, error) {
	if aws.ToString(in.Delimiter) != "" || aws.ToInt32(in.MaxKeys) != fullPage {
		return l.Posix.ListObjectsV2(ctx, in)
	}
	name := func(token *string) string {
		return strings.Join([]string{aws.ToString(in.Bucket), aws.ToString(in.Prefix), aws.ToString(token)}, "\x00")
	}
	objects, known := l.take(name(in.ContinuationToken))
	if !known {
		whole := *in
		whole.MaxKeys = aws.Int32(math.MaxInt32)
		all, err := l.Posix.ListObjectsV2(ctx, &whole)
		if err != nil {
			return all, err
		}
		objects = all.Contents
	}
	n := min(len(objects), fullPage)
	page := s3response.ListObjectsV2Result{
		Name: in.Bucket, Prefix: in.Prefix, StartAfter: backend.GetPtrFromString(aws.ToString(in.StartAfter)), ContinuationToken: in.ContinuationToken, MaxKeys: in.MaxKeys,
		Contents: objects[:n], KeyCount: aws.Int32(int32(n)), IsTruncated: aws.Bool(n < len(objects)), //nolint:gosec // a page
	}
	if n < len(objects) {
		page.NextContinuationToken = objects[n-1].Key
		l.keep(name(page.NextContinuationToken), objects[n:])
	}
	return page, nil
}

func (l *listings) take(name string) ([]s3response.Object, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	objects, known := l.rest[name]
	delete(l.rest, name)
	return objects, known
}

func (l *listings) keep(name string, objects []s3response.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest[name] = objects
}
