package sink

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// probeTries bounds how often what was seen of a store is looked at again, since another process
// may probe the same key.
const probeTries = 3

// Probe finds out what the service lacks: it writes a small object twice at key, asks for its
// head, begins an upload there and lists it, writes one object with tags and encryption and
// reads both back, and removes everything again. What is lacking and can be done without is no
// error, but named by Notes. Several processes may probe the same key. The bucket need not be
// this store's only one: what is learnt holds for all buckets of the service (see InBucket).
// Errors: ErrNotKept when it does not encrypt as asked; else those of every request. Operations:
// PutObject, HeadObject, GetObjectTagging, CreateMultipartUpload, ListMultipartUploads,
// AbortMultipartUpload, and those of Remove.
func (s *Store) Probe(ctx context.Context, key Key) (err error) {
	defer func() {
		if removeErr := s.Remove(context.WithoutCancel(ctx), key); removeErr != nil && err == nil {
			err = removeErr
		}
	}()
	body := Bytes([]byte("cvconsumer asks what this store knows\n"), "text/plain")
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

// probeWrites finds out whether a second write at a key is refused, as it should be. Where it is
// not, another process may have removed the object in between.
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

// probeUploads finds out whether an unfinished upload is found by the prefix of its key, and can be
// aborted. Where it is not found, another process may have aborted it.
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
