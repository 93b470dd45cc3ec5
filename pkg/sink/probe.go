package sink

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// probeTries bounds how often an observation is repeated that another process, probing the same
// key, may have caused.
const probeTries = 3

// Probe finds out what the service lacks. It writes a small object at key twice and asks for its
// head. It writes another with tags and encryption, and reads both back. It begins an upload and
// lists it. Then it removes everything again. Several processes may probe the same key.
//
// What is lacking and can be done without is no error: Notes names it. It counts for all buckets of
// the service (see InBucket).
//
// Errors: ErrNotKept when the service does not encrypt as asked; else those of every request.
// Operations: PutObject, HeadObject, GetObject, GetObjectTagging, CreateMultipartUpload,
// ListMultipartUploads, AbortMultipartUpload, and those of Remove.
func (s *Store) Probe(ctx context.Context, key Key) (err error) {
	defer s.removeProbe(ctx, key, &err)
	body := Bytes([]byte("cvconsumer asks what this store knows\n"), textPlain)
	if err := s.probeWrites(ctx, key, body); err != nil {
		return err
	}
	switch object, err := s.Unsealed().Head(ctx, key); {
	case err == nil && object.Bytes != body.Size:
		s.learn(lengths)
	case err != nil && !errors.Is(err, ErrNotFound): // not found: another process removed it
		return err
	}
	if err := s.probeKept(ctx, key); err != nil {
		return err
	}
	return s.probeUploads(ctx, key)
}

// removeProbe removes what a probe stored at key. A probe that cannot remove it has failed.
func (s *Store) removeProbe(ctx context.Context, key Key, err *error) {
	if removeErr := s.Remove(context.WithoutCancel(ctx), key); removeErr != nil && *err == nil {
		*err = removeErr
	}
}

// probeWrites finds out whether a second write at a key is refused, as it should be. One that is
// accepted is tried again: another process may have removed the object in between.
func (s *Store) probeWrites(ctx context.Context, key Key, body Body) error {
	for try := 0; try <= probeTries && !s.lacks(conditions); try++ {
		err := s.putObject(ctx, key, body, true)
		if errors.Is(err, ErrConflict) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	s.learn(conditions)
	return nil
}

// probeUploads finds out whether a list by prefix shows an unfinished upload, and whether the
// upload can be aborted. One that is not listed may have been aborted by another process.
func (s *Store) probeUploads(ctx context.Context, key Key) error {
	prefix := key[:len(key)-1]
	if _, err := s.uploadsPage(ctx, prefix); refused(err) { // before one is begun that perhaps cannot be aborted
		s.learn(uploads)
		return nil
	}
	for try := 1; ; try++ {
		upload, err := s.beginUpload(ctx, key, Body{}, 0)
		if refused(err) {
			s.learn(uploads)
			return nil
		}
		if err != nil {
			return err
		}
		listed, err := s.listsUpload(ctx, prefix, *upload)
		abortErr := s.abortUpload(context.WithoutCancel(ctx), key, upload)
		switch {
		case err != nil:
			return err
		case refused(abortErr), abortErr == nil && !listed, try == probeTries:
			s.learn(uploads)
			return nil
		case abortErr != nil && !errors.Is(abortErr, ErrNotFound):
			return abortErr
		case listed:
			return nil
		}
	}
}

// listsUpload reports whether the store lists an upload below a prefix.
func (s *Store) listsUpload(ctx context.Context, prefix Key, upload string) (bool, error) {
	page, err := s.uploadsPage(ctx, prefix)
	if refused(err) || errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(page.Uploads, func(u types.MultipartUpload) bool { return aws.ToString(u.UploadId) == upload }), nil
}

// probeKept writes an object of this process's own, with tags and encryption, and reads both back:
// whether the store keeps tags, and whether it encrypts as it was asked to.
func (s *Store) probeKept(ctx context.Context, probe Key) (err error) {
	key := probe + "-" + Key(rand.Text())
	defer s.removeProbe(ctx, key, &err)
	body := Bytes([]byte("cvconsumer asks what this store does with tags and encryption\n"), textPlain)
	body.tags = tagQuery("probe", TagEvidence)
	err = s.offer(ctx, key, checksums, func(with feature) error { return s.putOnce(ctx, key, body, with|tags) })
	tagged := err == nil
	if refused(err) || hasStatus(err, http.StatusForbidden) {
		err = s.putObject(ctx, key, body, false)
	}
	if err == nil {
		err = s.checkEncrypted(ctx, key)
	}
	if err == nil && tagged {
		tagged, err = s.tagsKept(ctx, key)
	}
	if err == nil && !tagged {
		s.learn(tags)
	}
	return err
}

// checkEncrypted fails if an object is not encrypted as was asked for.
func (s *Store) checkEncrypted(ctx context.Context, key Key) error {
	const op = "look at object"
	if s.o.SSE == "" {
		return nil
	}
	out, err := s.api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.o.Bucket, Key: aws.String(string(key))}, checksumsAsHeaders)
	if err != nil {
		return wrapError(ctx, op, key, err)
	}
	return s.checkEncryption(op, key, out.ServerSideEncryption, out.SSEKMSKeyId)
}

// tagsKept reports whether an object has the tags that it was written with, as far as the service
// may read them.
func (s *Store) tagsKept(ctx context.Context, key Key) (bool, error) {
	out, err := s.api.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &s.o.Bucket, Key: aws.String(string(key))}, checksumsAsHeaders)
	err = wrapError(ctx, "read the tags of object", key, err)
	switch {
	case hasStatus(err, http.StatusForbidden):
		return true, nil
	case refused(err), hasStatus(err, 0, "NoSuchTagSet"):
		return false, nil
	case err != nil:
		return false, err
	}
	return slices.ContainsFunc(out.TagSet, func(tag types.Tag) bool { return aws.ToString(tag.Key) == TagKind }), nil
}
