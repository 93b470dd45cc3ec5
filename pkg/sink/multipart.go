package sink

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	maxParts = 10_000
	// abortTimeout bounds the clean-up of a failed upload, which goes on when the upload's context
	// has ended.
	abortTimeout = 10 * time.Second
)

// InParts reports whether an object of a size, in bytes, goes by multipart.
func (s *Store) InParts(size int64) bool { return size > s.o.MultipartAbove && !s.lacks(uploads) }

// PartBytes is the size of the parts of an object of a size, in bytes: the one of the options, or
// as many whole MiB as it takes to have at most maxParts.
func (s *Store) PartBytes(size int64) int64 {
	if least := (size + maxParts - 1) / maxParts; least > s.o.PartBytes {
		const mib = 1 << 20
		return (least + mib - 1) / mib * mib
	}
	return s.o.PartBytes
}

// putMultipart uploads a body in parts and completes the upload only if nothing is at the key (else
// ErrConflict). It holds no part in memory: each is read twice, for its digest and for the wire (a
// Stream, whose content comes once, holds them). An upload that fails is aborted; what a dying
// process leaves is aborted by RemoveAll.
func (s *Store) putMultipart(ctx context.Context, key Key, body Body) error {
	body, wanted := s.tagged(key, body)
	return s.offer(ctx, key, wanted|checksums|conditions, func(with feature) error { return s.upload(ctx, key, body, with) })
}

// upload makes one upload of a body.
func (s *Store) upload(ctx context.Context, key Key, body Body, with feature) (err error) {
	id, err := s.beginUpload(ctx, key, body, with)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.abort(ctx, key, id)
		}
	}()
	parts, confirmed, err := s.uploadParts(ctx, key, id, body, with)
	if err != nil {
		return err
	}
	err = s.complete(ctx, key, id, parts, with)
	if err != nil || confirmed {
		return err
	}
	return s.readBack(ctx, key, body, with)
}

// complete makes an object of the parts of an upload, only if nothing is at the key (else
// ErrConflict).
func (s *Store) complete(ctx context.Context, key Key, upload *string, parts []types.CompletedPart, with feature) error {
	const op = "complete upload of object"
	in := &s3.CompleteMultipartUploadInput{
		Bucket:          &s.o.Bucket,
		Key:             aws.String(string(key)),
		UploadId:        upload,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	}
	if with&conditions != 0 {
		in.IfNoneMatch = aws.String("*")
	}
	_, err := s.api.CompleteMultipartUpload(ctx, in, checksumsAsHeaders)
	err = wrapError(ctx, op, key, err)
	if errors.Is(err, ErrNotFound) || hasStatus(err, 409) {
		// The upload is gone because an earlier, unanswered try completed it or another process
		// aborted it; or another write of the key was in the way, after which S3 wants the upload
		// repeated. The caller looks at the key, and repeats the upload when nothing is there.
		return &Error{Op: op, Key: key, Err: err, kind: ErrConflict}
	}
	return err
}

// beginUpload begins an upload of a body at key and gives the upload's id. An answer without an id,
// or without the encryption that was asked for, is an error.
func (s *Store) beginUpload(ctx context.Context, key Key, body Body, with feature) (*string, error) {
	const op = "begin upload of object"
	in := &s3.CreateMultipartUploadInput{
		Bucket:      &s.o.Bucket,
		Key:         aws.String(string(key)),
		ContentType: &body.ContentType,
		Metadata:    metadata(body.Meta, ""),
	}
	in.ServerSideEncryption, in.SSEKMSKeyId = s.encryption()
	if with&tags != 0 {
		in.Tagging = body.tags
	}
	if with&checksums != 0 {
		in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256
	}
	out, err := s.api.CreateMultipartUpload(ctx, in, checksumsAsHeaders)
	if err != nil {
		return nil, wrapError(ctx, op, key, err)
	}
	if aws.ToString(out.UploadId) == "" { // a part sent without it would be taken for the object
		return nil, newError(op, key, ErrUnavailable, "the store began an upload and does not say which")
	}
	if err := s.checkEncryption(op, key, out.ServerSideEncryption, out.SSEKMSKeyId); err != nil {
		s.abort(ctx, key, out.UploadId)
		return nil, err
	}
	return out.UploadId, nil
}

// uploadParts sends the parts of a body one after the other. confirmed reports whether the store
// answered with the checksum of each.
func (s *Store) uploadParts(ctx context.Context, key Key, upload *string, body Body, with feature) (parts []types.CompletedPart, confirmed bool, err error) {
	const op = "upload part of object"
	size := s.PartBytes(body.Size)
	whole := sha256.New()
	parts = make([]types.CompletedPart, 0, (body.Size+size-1)/size)
	confirmed = true
	for off := int64(0); off < body.Size; off += size {
		section := &section{r: body.R, base: off, size: min(size, body.Size-off)}
		sum, err := section.digest(whole)
		if err != nil {
			return nil, false, wrapError(ctx, op, key, err)
		}
		part, kept, err := s.uploadPart(ctx, key, upload, len(parts)+1, section, section.size, sum, with)
		if err != nil {
			return nil, false, err
		}
		confirmed = confirmed && kept
		parts = append(parts, part)
	}
	if got := hex.EncodeToString(whole.Sum(nil)); got != body.SHA256 {
		return nil, false, newError(op, key, nil, "the body has SHA-256 %s, expected %s", got, body.SHA256)
	}
	return parts, confirmed, nil
}

// uploadPart sends one part of an upload, from 1, with its SHA-256. confirmed reports whether the
// store answered with it.
func (s *Store) uploadPart(ctx context.Context, key Key, upload *string, n int, body io.ReadSeeker, size int64, sum []byte, with feature) (part types.CompletedPart, confirmed bool, err error) {
	const op = "upload part of object"
	number, checksum := int32(n), base64.StdEncoding.EncodeToString(sum) //nolint:gosec // at most maxParts
	in := &s3.UploadPartInput{
		Bucket:        &s.o.Bucket,
		Key:           aws.String(string(key)),
		UploadId:      upload,
		PartNumber:    &number,
		Body:          body,
		ContentLength: &size,
	}
	if with&checksums != 0 {
		in.ChecksumSHA256 = &checksum
	}
	out, err := s.api.UploadPart(withPayload(ctx, hex.EncodeToString(sum)), in, checksumsAsHeaders)
	if err != nil {
		err = wrapError(ctx, op, key, err)
		if errors.Is(err, ErrNotFound) { // another process aborted the upload
			err = &Error{Op: op, Key: key, Err: err, kind: ErrConflict}
		}
		return types.CompletedPart{}, false, err
	}
	return types.CompletedPart{ETag: out.ETag, PartNumber: &number, ChecksumSHA256: in.ChecksumSHA256}, aws.ToString(out.ChecksumSHA256) == checksum, nil
}

// abort discards an upload's parts.
func (s *Store) abort(ctx context.Context, key Key, upload *string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	if err := s.abortUpload(ctx, key, upload); err != nil && !errors.Is(err, ErrNotFound) {
		s.o.Log.Warn().Err(err).Str("key", string(key)).Msg("an unfinished upload stays behind until the command's objects are removed")
	}
}

// abortUpload makes one AbortMultipartUpload call.
func (s *Store) abortUpload(ctx context.Context, key Key, upload *string) error {
	_, err := s.api.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.o.Bucket, Key: aws.String(string(key)), UploadId: upload}, checksumsAsHeaders)
	return wrapError(ctx, "abort upload of object", key, err)
}

// section reads a part of a body as if it were a whole one. It moves the body's position, so only
// one section may be in use at a time.
type section struct {
	r               io.ReadSeeker
	base, size, off int64
}

// digest gives the section's SHA-256. It also writes the section to whole, and goes back to its
// start.
func (s *section) digest(whole hash.Hash) ([]byte, error) {
	if _, err := s.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(h, whole), s)
	if err == nil && n != s.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	_, err = s.Seek(0, io.SeekStart)
	return h.Sum(nil), err
}

// Read implements io.Reader.
func (s *section) Read(p []byte) (int, error) {
	if s.off >= s.size {
		return 0, io.EOF
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.size-s.off)])
	s.off += int64(n)
	if errors.Is(err, io.EOF) && s.off < s.size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Seek implements io.Seeker.
func (s *section) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.off
	case io.SeekEnd:
		offset += s.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start of a part")
	}
	if _, err := s.r.Seek(s.base+offset, io.SeekStart); err != nil {
		return 0, err
	}
	s.off = offset
	return offset, nil
}
