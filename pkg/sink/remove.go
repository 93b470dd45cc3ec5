package sink

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	// removeBatch is how many objects one DeleteObjects names at most.
	removeBatch = 1000
	// removeTries bounds how often the objects that a DeleteObjects could not remove for now are
	// tried again.
	removeTries = 5
)

// Remove removes the keys with every version and delete marker, and leaves none behind. A key
// that is not there is not an error.
//
// A bucket that keeps versions has them listed and removed one by one; a store that knows none gets
// plain deletes. Errors: ErrMisconfigured (AccessDenied: Object Lock included), ErrThrottled,
// ErrUnavailable. Operations: GetBucketVersioning, ListObjectVersions, DeleteObjects, DeleteObject.
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
		// The store made delete markers after all: versions were switched on meanwhile, or are kept
		// unasked.
		s.versioning.Store(versionsKept)
	}
	var ids []types.ObjectIdentifier
	for _, key := range keys {
		for v, err := range s.versions(ctx, key) {
			if err != nil {
				return err
			}
			if *v.Key > string(key) {
				break
			}
			if *v.Key == string(key) {
				ids = append(ids, v.ObjectIdentifier)
			}
		}
		if len(ids) >= removeBatch {
			if _, err := s.removeObjects(ctx, ids); err != nil {
				return err
			}
			ids = ids[:0]
		}
	}
	_, err = s.removeObjects(ctx, ids)
	return err
}

// RemoveAll removes everything below a prefix but the keys to keep: objects with every version and
// delete marker, and unfinished multipart uploads. It gives the number of versions removed, delete
// markers not counted; also when it fails half-way. The prefix must not be empty. Errors and
// operations: as Remove, and ErrNotKept when the store says it removed what it goes on listing;
// also ListMultipartUploads, AbortMultipartUpload, ListObjectsV2.
func (s *Store) RemoveAll(ctx context.Context, prefix Key, keep ...Key) (int, error) {
	if err := s.AbortUploads(ctx, prefix); err != nil {
		return 0, err
	}
	return s.RemoveObjects(ctx, prefix, keep...)
}

// RemoveObjects is RemoveAll without its look for unfinished uploads. What a sealed store knows
// that it stored goes by its name, before what is left is listed.
func (s *Store) RemoveObjects(ctx context.Context, prefix Key, keep ...Key) (int, error) {
	if err := notEverything(prefix); err != nil {
		return 0, err
	}
	versioned, err := s.keepsVersions(ctx)
	if err != nil {
		return 0, err
	}
	removed := 0
	if !versioned {
		named := s.stored.take(prefix, keep)
		markers, err := s.removeObjects(ctx, named)
		if err == nil && !markers && !(len(named) > 0 && len(keep) == 0 && s.PlainlyEmpty(ctx, prefix)) {
			removed, markers, err = s.removeListed(ctx, prefix, s.current(ctx, prefix), keep)
		}
		if err == nil {
			removed += len(named)
		}
		if err != nil || !markers {
			return removed, err
		}
		s.versioning.Store(versionsKept)
	}
	versions, _, err := s.removeListed(ctx, prefix, s.versions(ctx, prefix), keep)
	return max(removed, versions), err
}

// notEverything fails for an empty prefix.
func notEverything(prefix Key) error {
	if prefix == "" {
		return newError("remove objects", prefix, nil, "an empty prefix would empty the bucket")
	}
	return nil
}

// removeListed removes what a listing gives, a batch at a time. After each batch it lists from the
// start again: some stores lose their place in a listing when the object it stands at is removed.
func (s *Store) removeListed(ctx context.Context, prefix Key, listing iter.Seq2[version, error], keep []Key) (removed int, markers bool, err error) {
	var last version
	for {
		var ids []types.ObjectIdentifier
		objects := 0
		for v, err := range listing {
			if err != nil {
				return removed, markers, err
			}
			if slices.Contains(keep, Key(*v.Key)) {
				continue
			}
			ids = append(ids, v.ObjectIdentifier)
			if !v.marker {
				objects++
			}
			if len(ids) == removeBatch {
				break
			}
		}
		if len(ids) == 0 {
			return removed, markers, nil
		}
		first := version{ObjectIdentifier: ids[0]}
		if last.Key != nil && *first.Key == *last.Key && aws.ToString(first.VersionId) == aws.ToString(last.VersionId) {
			return removed, markers, newError("remove objects", prefix, ErrNotKept, "%s was removed and is still listed", *first.Key)
		}
		last = first
		made, err := s.removeObjects(ctx, ids)
		markers = markers || made
		if err != nil {
			return removed, markers, err
		}
		removed += objects
		if made {
			return removed, markers, nil // the objects are hidden, not removed: the caller lists versions
		}
	}
}

// current yields the objects below a prefix as a store without versions has them.
func (s *Store) current(ctx context.Context, prefix Key) iter.Seq2[version, error] {
	return func(yield func(version, error) bool) {
		for object, err := range s.List(ctx, prefix) {
			if !yield(version{ObjectIdentifier: types.ObjectIdentifier{Key: aws.String(string(object.Key))}}, err) {
				return
			}
		}
	}
}

// What is known of a bucket's versions.
const (
	versionsUnknown int32 = iota
	versionsNone          // plain deletes remove; the answer to one shows if the store made a delete marker nevertheless
	versionsKept
)

// keepsVersions reports whether objects must be removed version by version. It asks the bucket
// once.
func (s *Store) keepsVersions(ctx context.Context) (bool, error) {
	if known := s.versioning.Load(); known != versionsUnknown {
		return known == versionsKept, nil
	}
	kept := versionsNone
	out, err := s.api.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &s.o.Bucket}, checksumsAsHeaders)
	switch {
	case err == nil && out.Status != "": // enabled, or suspended with versions of before
		kept = versionsKept
	case err == nil, notSupported(err):
	case hasStatus(err, http.StatusForbidden):
		// The service has no right to ask. If it may list versions, there may be some to remove.
		_, err := s.api.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &s.o.Bucket, MaxKeys: aws.Int32(1)}, checksumsAsHeaders)
		if err == nil {
			kept = versionsKept
		}
	default:
		return false, wrapError(ctx, "ask for versions of bucket", Key(s.o.Bucket), err)
	}
	s.versioning.CompareAndSwap(versionsUnknown, kept)
	return kept == versionsKept, nil
}

// version is one version of an object, or a delete marker.
type version struct {
	types.ObjectIdentifier
	marker bool
}

// versions yields the versions and delete markers of all keys with a prefix, in key order. Nothing,
// when the store knows no versions.
func (s *Store) versions(ctx context.Context, prefix Key) iter.Seq2[version, error] {
	return func(yield func(version, error) bool) {
		const op = "list versions of objects"
		in := &s3.ListObjectVersionsInput{Bucket: &s.o.Bucket, Prefix: aws.String(string(prefix))}
		for {
			page, err := s.api.ListObjectVersions(ctx, in, checksumsAsHeaders)
			if err != nil {
				yield(version{}, wrapError(ctx, op, prefix, err))
				return
			}
			found := make([]version, 0, len(page.Versions)+len(page.DeleteMarkers))
			for _, v := range page.Versions {
				found = append(found, version{ObjectIdentifier: types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId}})
			}
			for _, m := range page.DeleteMarkers {
				found = append(found, version{ObjectIdentifier: types.ObjectIdentifier{Key: m.Key, VersionId: m.VersionId}, marker: true})
			}
			if slices.ContainsFunc(found, func(v version) bool { return v.Key == nil }) {
				yield(version{}, newError(op, prefix, ErrUnavailable, "the store listed something without its name"))
				return
			}
			slices.SortStableFunc(found, func(a, b version) int { return strings.Compare(*a.Key, *b.Key) })
			for _, v := range found {
				if aws.ToString(v.VersionId) == "" {
					v.VersionId = nil
				}
				if !yield(v, nil) {
					return
				}
			}
			more, err := anotherPage(page.IsTruncated, page.NextKeyMarker, false)
			if err != nil {
				yield(version{}, newError(op, prefix, ErrUnavailable, "%w", err))
				return
			}
			if !more {
				return
			}
			in.KeyMarker, in.VersionIdMarker = page.NextKeyMarker, page.NextVersionIdMarker
		}
	}
}

// removeObjects removes objects, removeBatch at a time. Those that the store could not remove for
// now are tried again. markers reports whether the store made delete markers instead of removing.
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
				return markers, wrapError(ctx, "remove objects", "", err)
			}
		}
	}
	return markers, nil
}

// removeOnce makes one DeleteObjects call. It gives the objects worth another try, with the error
// of the first of them.
func (s *Store) removeOnce(ctx context.Context, ids []types.ObjectIdentifier) (again []types.ObjectIdentifier, markers bool, err error) {
	const op = "remove object"
	if s.lacks(batches) {
		return nil, false, s.removeEach(ctx, ids, &markers)
	}
	if s.direct.remove(ctx, s.o.Bucket, ids) {
		return nil, false, nil
	}
	out, err := s.api.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: &s.o.Bucket,
		Delete: &types.Delete{Objects: ids},
	}, checksumsAsHeaders, contentMD5)
	err = wrapError(ctx, "remove objects", Key(aws.ToString(ids[0].Key)), err)
	if refused(err) { // a store without batches, or with another form of them
		if err := s.removeEach(ctx, ids, &markers); err != nil {
			return nil, markers, err
		}
		s.learn(batches)
		return nil, markers, nil
	}
	if err != nil {
		return nil, false, err
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
		e := newError(op, Key(aws.ToString(failed.Key)), kindOf(0, code, errors.New(code)), "%s", aws.ToString(failed.Message))
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
		err = wrapError(ctx, "remove object", Key(aws.ToString(id.Key)), err)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err == nil && id.VersionId == nil && aws.ToBool(out.DeleteMarker) {
			*markers = true
		}
	}
	return nil
}

// AbortUploads aborts the unfinished multipart uploads below a prefix, which must not be empty:
// those of processes that died.
//
// While there may be more, it lists from the start again, as removeListed does. In a store that
// does not list uploads there is nothing to abort: none is begun there. A store that refuses to
// list or abort them only now is learnt from; the parts that it has stay there.
// Operations: ListMultipartUploads, AbortMultipartUpload.
func (s *Store) AbortUploads(ctx context.Context, prefix Key) error {
	if err := notEverything(prefix); err != nil {
		return err
	}
	for last := ""; ; {
		page, err := s.uploadsPage(ctx, prefix)
		switch {
		case refused(err):
			s.learn(uploads)
			return nil
		case errors.Is(err, ErrNotFound): // some stores answer so when there is none
			return nil
		case err != nil:
			return err
		}
		for i, upload := range page.Uploads {
			if i == 0 && last != "" && aws.ToString(upload.UploadId) == last {
				return newError("list unfinished uploads", prefix, ErrNotKept, "upload %s was aborted and is still listed", last)
			}
			err := s.abortUpload(ctx, Key(aws.ToString(upload.Key)), upload.UploadId)
			switch {
			case refused(err):
				s.learn(uploads)
				s.o.Log.Warn().Err(err).Str("key", aws.ToString(upload.Key)).Msg("the store refuses to abort an unfinished upload, whose parts stay there: remove them")
				return nil
			case err != nil && !hasStatus(err, http.StatusNotFound):
				return err
			}
		}
		if len(page.Uploads) == 0 || page.IsTruncated != nil && !*page.IsTruncated {
			return nil
		}
		last = aws.ToString(page.Uploads[0].UploadId)
	}
}

// uploadsPage lists unfinished uploads below a prefix, as many as fit into one answer.
func (s *Store) uploadsPage(ctx context.Context, prefix Key) (*s3.ListMultipartUploadsOutput, error) {
	page, err := s.api.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &s.o.Bucket, Prefix: aws.String(string(prefix))}, checksumsAsHeaders)
	return page, wrapError(ctx, "list unfinished uploads", prefix, err)
}
