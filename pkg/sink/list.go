package sink

import (
	"context"
	"errors"
	"iter"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// List yields the objects below a prefix in key order: key and size (-1 where the store does not
// say it), no digest. It stops at the first error.
// Operation: ListObjectsV2.
func (s *Store) List(ctx context.Context, prefix Key) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for page, err := range s.pages(ctx, "list objects", prefix, nil) {
			if err != nil {
				yield(Object{}, err)
				return
			}
			for _, item := range page.Contents {
				if !yield(Object{Key: Key(*item.Key), Bytes: sizeOrUnknown(item.Size)}, nil) {
					return
				}
			}
		}
	}
}

// Folders yields the names of what would be folders right below a prefix: the next part of a key up
// to a slash, each once. Operation: ListObjectsV2.
func (s *Store) Folders(ctx context.Context, prefix Key) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for page, err := range s.pages(ctx, "list folders", prefix, aws.String("/")) {
			if err != nil {
				yield("", err)
				return
			}
			for _, folder := range page.CommonPrefixes {
				name := strings.TrimSuffix(strings.TrimPrefix(aws.ToString(folder.Prefix), string(prefix)), "/")
				if !yield(name, nil) {
					return
				}
			}
		}
	}
}

// pages yields the pages of a listing, whose entries all have keys, in order. Where the store does
// not say whether there is another page, it is asked for what follows the last entry.
func (s *Store) pages(ctx context.Context, op string, prefix Key, delimiter *string) iter.Seq2[*s3.ListObjectsV2Output, error] {
	return func(yield func(*s3.ListObjectsV2Output, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &s.o.Bucket, Prefix: aws.String(string(prefix)), Delimiter: delimiter}
		for {
			page, err := s.api.ListObjectsV2(ctx, in, checksumsAsHeaders)
			if err != nil {
				yield(nil, wrapError(ctx, op, prefix, err))
				return
			}
			last, err := lastOf(page, in.StartAfter)
			if err != nil {
				yield(nil, newError(op, prefix, ErrUnavailable, "%w", err))
				return
			}
			more, err := anotherPage(page.IsTruncated, page.NextContinuationToken, last != "")
			if !yield(page, nil) {
				return
			}
			if err != nil {
				yield(nil, newError(op, prefix, ErrUnavailable, "%w", err))
				return
			}
			if !more {
				return
			}
			if in.ContinuationToken = page.NextContinuationToken; aws.ToString(in.ContinuationToken) == "" {
				in.ContinuationToken, in.StartAfter = nil, &last
			}
		}
	}
}

// anotherPage reports whether a listing goes on after a page. Where the store does not say, a page
// that has anything may be followed by another.
func anotherPage(truncated *bool, marker *string, anything bool) (bool, error) {
	switch {
	case truncated == nil:
		return anything || aws.ToString(marker) != "", nil
	case *truncated && aws.ToString(marker) == "":
		return false, errors.New("there is more than was listed, and the store does not say where it begins")
	}
	return *truncated, nil
}

// lastOf is the last name of a page, "" when the page is empty. A page that begins again where the
// one before did is an error, and so is an entry without a name.
func lastOf(page *s3.ListObjectsV2Output, after *string) (last string, err error) {
	note := func(key *string, end string) {
		switch {
		case aws.ToString(key) == "":
			err = errors.New("the store listed something without its name")
		case after != nil && *key <= *after:
			err = errors.New("the store does not say whether there is more than was listed, and lists the same again")
		default:
			last = max(last, *key+end)
		}
	}
	for _, item := range page.Contents {
		note(item.Key, "")
	}
	for _, folder := range page.CommonPrefixes {
		note(folder.Prefix, "\U0010FFFF") // after all that is in it
	}
	return last, err
}

// Find looks for the object whose key is stem + "." + an extension, the first one in key order, and
// gives it with its digest (which means reading it where the store does not know it). Operations:
// ListObjectsV2, HeadObject.
func (s *Store) Find(ctx context.Context, stem Key) (Object, bool, error) {
	for item, err := range s.List(ctx, stem+".") {
		if err != nil {
			return Object{}, false, err
		}
		if !ValidExtension(strings.TrimPrefix(string(item.Key), string(stem)+".")) {
			continue
		}
		object, err := s.Describe(ctx, item.Key)
		if errors.Is(err, ErrNotFound) {
			continue // removed since it was listed
		}
		return object, err == nil, err
	}
	return Object{}, false, nil
}
