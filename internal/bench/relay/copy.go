package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// Models go in parts of partBytes, so many at once: the store takes a body of unknown digest in no
// other way without TLS.
const (
	partBytes   = 16 << 20
	partsAtOnce = 4
)

// work copies files one after the other, through one buffer.
func (r relay) work(ctx context.Context, files <-chan file, copied chan<- int64) error {
	var buffer []byte
	for f := range files {
		resp, err := r.open(ctx, f.link)
		if err != nil {
			return err
		}
		if f.model {
			err = r.putParts(ctx, f.key, resp.Body)
		} else {
			if size := int(resp.ContentLength); len(buffer) < size {
				buffer = make([]byte, size)
			}
			body := buffer[:resp.ContentLength]
			if _, err = io.ReadFull(resp.Body, body); err == nil {
				err = r.put(ctx, f.key, body)
			}
		}
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			return fmt.Errorf("copy %s: %w", f.key, err)
		}
		copied <- resp.ContentLength
	}
	return nil
}

// open begins a download whose length is known.
func (r relay) open(ctx context.Context, link string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return nil, err
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK || resp.ContentLength < 0 {
		return nil, errors.Join(fmt.Errorf("download: status %d, length %d", resp.StatusCode, resp.ContentLength), resp.Body.Close())
	}
	return resp, nil
}

// put stores a file that is in memory.
func (r relay) put(ctx context.Context, key string, body []byte) error {
	in := &s3.PutObjectInput{Bucket: &r.bucket, Key: &key, Body: bytes.NewReader(body)}
	if r.prove {
		sum := sha256.Sum256(body)
		in.ChecksumSHA256 = aws.String(base64.StdEncoding.EncodeToString(sum[:]))
		in.Metadata = map[string]string{"sha256": hex.EncodeToString(sum[:])}
		in.IfNoneMatch = aws.String("*")
	}
	_, err := r.api.PutObject(ctx, in)
	return err
}

// putParts stores a file as it comes, part after part.
func (r relay) putParts(ctx context.Context, key string, body io.Reader) error {
	begin := &s3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: &key}
	if r.prove {
		begin.ChecksumAlgorithm = types.ChecksumAlgorithmSha256
	}
	upload, err := r.api.CreateMultipartUpload(ctx, begin)
	if err != nil {
		return err
	}
	free := make(chan []byte, partsAtOnce)
	for range partsAtOnce {
		free <- make([]byte, partBytes)
	}
	whole := sha256.New()
	var parts []*types.CompletedPart
	g, parting := errgroup.WithContext(ctx)
	for ended := false; !ended; {
		buffer := <-free
		n, err := io.ReadFull(body, buffer)
		if ended = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF); err != nil && !ended {
			return errors.Join(err, g.Wait())
		}
		if n == 0 && len(parts) > 0 {
			break
		}
		part := &types.CompletedPart{PartNumber: aws.Int32(int32(len(parts) + 1))} //nolint:gosec // there are few
		parts = append(parts, part)
		if r.prove {
			_, _ = whole.Write(buffer[:n])
		}
		g.Go(func() error {
			defer func() { free <- buffer }()
			return r.putPart(parting, key, upload.UploadId, part, buffer[:n])
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	end := &s3.CompleteMultipartUploadInput{Bucket: &r.bucket, Key: &key, UploadId: upload.UploadId, MultipartUpload: &types.CompletedMultipartUpload{}}
	for _, part := range parts {
		end.MultipartUpload.Parts = append(end.MultipartUpload.Parts, *part)
	}
	if r.prove {
		end.IfNoneMatch = aws.String("*")
	}
	if _, err = r.api.CompleteMultipartUpload(ctx, end); err != nil || !r.prove {
		return err
	}
	// Metadata goes before the parts, when the digest is not known; an object beside it has it.
	return r.put(ctx, key+".sha256", []byte(hex.EncodeToString(whole.Sum(nil))))
}

// putPart stores a part and notes what the end of the upload has to say of it.
func (r relay) putPart(ctx context.Context, key string, upload *string, part *types.CompletedPart, body []byte) error {
	in := &s3.UploadPartInput{Bucket: &r.bucket, Key: &key, UploadId: upload, PartNumber: part.PartNumber, Body: bytes.NewReader(body)}
	if r.prove {
		sum := sha256.Sum256(body)
		in.ChecksumSHA256 = aws.String(base64.StdEncoding.EncodeToString(sum[:]))
	}
	out, err := r.api.UploadPart(ctx, in)
	if err != nil {
		return err
	}
	part.ETag, part.ChecksumSHA256 = out.ETag, in.ChecksumSHA256
	return nil
}
