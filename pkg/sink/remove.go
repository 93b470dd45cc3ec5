package sink

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	// removeBatch is how many objects one DeleteObjects names at most.
	removeBatch = 1000
	// removeTries bounds how often the objects that a DeleteObjects could not remove for now are tried again.
	removeTries = 5
)

// Remove removes the keys with every version and delete marker, and leaves none behind. Keys that are not there are no error.
//
// Whether the bucket keeps versions is asked for at each call; a store that knows no versions gets plain deletes.
// Errors: ErrMisconfigured (AccessDenied: Object Lock included), ErrThrottled, ErrUnavailable.
// Operations: GetBucketVersioning, ListObjectVersions, DeleteObjects, DeleteObject.
func (s *Store) Remove(ctx context.Context, keys ...Key) error {
	if len(keys) == 0 {
		return nil
	}
	versioned, err := s.keepsVersions(ctx)
	if err != nil {
		return err
	}
	if !versioned {
		ids := make([]types.ObjectIdentifier, len(keys))
		for i, key := range keys {
			ids[i].Key = aws.String(string(key))
		}
		markers, err := s.removeObjects(ctx, ids)
		if err != nil || !markers {
			return err
		}
		// The store made delete markers after all: versions were switched on meanwhile, or are kept unasked.
		s.versioned.Store(true)
	}
	batch := batcher{s: s}
	for _, key := range keys {
		for v, err := range s.versions(ctx, key) {
			if err == nil && *v.Key == string(key) {
				err = batch.add(ctx, v)
			}
			if err != nil {
				return err
			}
			if *v.Key > string(key) {
				break
			}
		}
	}
	return batch.flush(ctx)
}

// RemoveAll removes everything below a prefix: objects with every version and delete marker, and unfinished multipart uploads. It gives the number
// of versions removed, delete markers not counted; also when it fails half-way. The prefix must not be empty.
// Errors and operations: as Remove; also ListMultipartUploads, AbortMultipartUpload, ListObjectsV2.
func (s *Store) RemoveAll(ctx context.Context, prefix Key) (int, error) {
	if prefix == "" {
		return 0, broken("remove objects", prefix, nil, "an empty prefix would empty the bucket")
	}
	if err := s.abortAll(ctx, prefix); err != nil {
		return 0, err
	}
	versioned, err := s.keepsVersions(ctx)
	if err != nil {
		return 0, err
	}
	batch := batcher{s: s}
	if !versioned {
		for object, err := range s.List(ctx, prefix) {
			if err == nil {
				err = batch.add(ctx, version{ObjectIdentifier: types.ObjectIdentifier{Key: aws.String(string(object.Key))}})
			}
			if err != nil {
				return batch.removed, err
			}
		}
		if err := batch.flush(ctx); err != nil || !batch.markers {
			return batch.removed, err
		}
		s.versioned.Store(true)
	}
	for v, err := range s.versions(ctx, prefix) {
		if err == nil {
			err = batch.add(ctx, v)
		}
		if err != nil {
			return batch.removed, err
		}
	}
	err = batch.flush(ctx)
	return batch.removed, err
}

// batcher collects objects to be removed and removes them a batch at a time.
type batcher struct {
	s       *Store
	pending []types.ObjectIdentifier
	objects int // of those pending, how many are no delete markers
	removed int
	markers bool // the store made delete markers
}

func (b *batcher) add(ctx context.Context, v version) error {
	b.pending = append(b.pending, v.ObjectIdentifier)
	if !v.marker {
		b.objects++
	}
	if len(b.pending) < removeBatch {
		return nil
	}
	return b.flush(ctx)
}

func (b *batcher) flush(ctx context.Context) error {
	if len(b.pending) == 0 {
		return nil
	}
	markers, err := b.s.removeObjects(ctx, b.pending)
	b.markers = b.markers || markers
	if err != nil {
		return err
	}
	b.removed += b.objects
	b.pending, b.objects = b.pending[:0], 0
	return nil
}

// keepsVersions tells whether objects must be removed version by version. A bucket once seen with versions is not asked again.
func (s *Store) keepsVersions(ctx context.Context) (bool, error) {
	if s.versioned.Load() {
		return true, nil
	}
	out, err := s.api.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &s.o.Bucket}, checksumsAsHeaders)
	switch {
	case err == nil:
		if out.Status != "" { // enabled, or suspended with versions of before
			s.versioned.Store(true)
		}
		return out.Status != "", nil
	case notSupported(err):
		return false, nil
	case hasStatus(err, http.StatusForbidden):
		// Not allowed to ask: listing versions needs no more than that, where there are any.
		_, err := s.api.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &s.o.Bucket, MaxKeys: aws.Int32(1)}, checksumsAsHeaders)
		return err == nil, nil
	default:
		return false, fail(ctx, "ask for versions of bucket", Key(s.o.Bucket), err)
	}
}

// version is one version of an object, or a delete marker.
type version struct {
	types.ObjectIdentifier
	marker bool
}

// versions yields the versions and delete markers of all keys with a prefix, in key order. Nothing, when the store knows no versions.
func (s *Store) versions(ctx context.Context, prefix Key) func(yield func(version, error) bool) {
	return func(yield func(version, error) bool) {
		in := &s3.ListObjectVersionsInput{Bucket: &s.o.Bucket, Prefix: aws.String(string(prefix))}
		pages := s3.NewListObjectVersionsPaginator(s.api, in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx, checksumsAsHeaders)
			if err != nil {
				yield(version{}, fail(ctx, "list versions of objects", prefix, err))
				return
			}
			found := make([]version, 0, len(page.Versions)+len(page.DeleteMarkers))
			for _, v := range page.Versions {
				found = append(found, version{ObjectIdentifier: types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId}})
			}
			for _, m := range page.DeleteMarkers {
				found = append(found, version{ObjectIdentifier: types.ObjectIdentifier{Key: m.Key, VersionId: m.VersionId}, marker: true})
			}
			slices.SortStableFunc(found, func(a, b version) int { return compare(*a.Key, *b.Key) })
			for _, v := range found {
				if aws.ToString(v.VersionId) == "" {
					v.VersionId = nil
				}
				if !yield(v, nil) {
					return
				}
			}
		}
	}
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	default:
		return 0
	}
}

// removeObjects removes objects, removeBatch at a time. Those that the store could not remove for now are tried again. It tells whether the
// store made delete markers instead of removing.
func (s *Store) removeObjects(ctx context.Context, ids []types.ObjectIdentifier) (markers bool, err error) {
	for chunk := range slices.Chunk(ids, removeBatch) {
		todo := chunk
		for try := 1; len(todo) > 0; try++ {
			var made bool
			todo, made, err = s.removeOnce(ctx, todo)
			markers = markers || made
			if err == nil {
				continue
			}
			if len(todo) == 0 || try == removeTries {
				return markers, err
			}
			if err := s.o.Wait(ctx, time.Duration(1<<try)*100*time.Millisecond); err != nil {
				return markers, fail(ctx, "remove objects", "", err)
			}
		}
	}
	return markers, nil
}

// removeOnce makes one DeleteObjects call. It gives the objects worth another try, with the error of the first of them.
func (s *Store) removeOnce(ctx context.Context, ids []types.ObjectIdentifier) (again []types.ObjectIdentifier, markers bool, err error) {
	const op = "remove object"
	out, err := s.api.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: &s.o.Bucket,
		Delete: &types.Delete{Objects: ids},
	}, checksumsAsHeaders)
	if err != nil {
		if notSupported(err) || hasStatus(err, 0, "MissingContentMD5", "MalformedXML", "InvalidRequest") {
			return nil, markers, s.removeEach(ctx, ids, &markers) // a store without batches, or with other ideas of them
		}
		return nil, false, fail(ctx, "remove objects", Key(aws.ToString(ids[0].Key)), err)
	}
	for _, deleted := range out.Deleted {
		// With a version given, DeleteMarker says that the thing removed was one.
		markers = markers || aws.ToBool(deleted.DeleteMarker) && aws.ToString(deleted.VersionId) == ""
	}
	var first *Error
	for _, failed := range out.Errors {
		code := aws.ToString(failed.Code)
		if code == "NoSuchKey" || code == "NoSuchVersion" {
			continue
		}
		e := broken(op, Key(aws.ToString(failed.Key)), kindOf(0, code, errors.New(code)), "%s", aws.ToString(failed.Message))
		e.Code = code
		if !errors.Is(e, ErrThrottled) && !errors.Is(e, ErrUnavailable) {
			return nil, markers, e
		}
		if first == nil {
			first = e
		}
		again = append(again, types.ObjectIdentifier{Key: failed.Key, VersionId: failed.VersionId})
	}
	if first != nil {
		return again, markers, first
	}
	return nil, markers, nil
}

// removeEach removes objects one by one.
func (s *Store) removeEach(ctx context.Context, ids []types.ObjectIdentifier, markers *bool) error {
	for _, id := range ids {
		out, err := s.api.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.o.Bucket, Key: id.Key, VersionId: id.VersionId}, checksumsAsHeaders)
		err = fail(ctx, "remove object", Key(aws.ToString(id.Key)), err)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err == nil && id.VersionId == nil && aws.ToBool(out.DeleteMarker) {
			*markers = true
		}
	}
	return nil
}

// abortAll aborts the unfinished multipart uploads below a prefix: those of processes that died.
func (s *Store) abortAll(ctx context.Context, prefix Key) error {
	pages := s3.NewListMultipartUploadsPaginator(s.api, &s3.ListMultipartUploadsInput{Bucket: &s.o.Bucket, Prefix: aws.String(string(prefix))})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx, checksumsAsHeaders)
		if notSupported(err) {
			return nil
		}
		if err != nil {
			return fail(ctx, "list unfinished uploads", prefix, err)
		}
		for _, upload := range page.Uploads {
			_, err := s.api.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.o.Bucket, Key: upload.Key, UploadId: upload.UploadId}, checksumsAsHeaders)
			err = fail(ctx, "abort upload of object", Key(aws.ToString(upload.Key)), err)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
	}
	return nil
}
