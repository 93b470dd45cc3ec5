package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cvconsumer/cvconsumer/pkg/sink/transfer"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// bundle is one bundle at a place.
type bundle struct {
	location
	name string // of the place and the bundle in it
	bag  verify.Source
}

// openBundle opens a place that holds one bundle. What is opened is to be closed.
func (s storeAccess) openBundle(ctx context.Context, env *environ, where string) (b bundle, err error) {
	if b.location, err = s.open(ctx, env, where); err != nil {
		return b, err
	}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.damaged != nil {
		return b, b.failed(fmt.Errorf("%s: %w", where, b.damaged), nil)
	}
	place, err := verify.Look(ctx, b.src)
	if err != nil {
		return b, fmt.Errorf("look into %s: %w", where, b.access.unreachable(err))
	}
	if n := len(place.Bags); n > 1 {
		return b, fmt.Errorf("%w: %s holds %d bundles: name one of them, such as %s", errUsage, where, n, b.within(place.Bags[0].Root))
	}
	b.name, b.bag = b.within(place.Bags[0].Root), place.Bags[0].Source
	return b, nil
}

// checkStatements verifies all of a bundle but the content of pictures and models, which a copy
// checks on its way.
func (b bundle) checkStatements(p *program, keys publicKeys) (verify.Report, error) {
	show := newBundleProgress(p.stderr)
	progress, end := show.verifying(b.name)
	r, err := verify.Copied(p.ctx, b.bag, verify.Options{Progress: progress, Keys: keys.keys})
	end()
	show.end()
	return r, b.judge(p.ctx, r, err)
}

// judge gives the error of a bundle that did not pass verification, or that could not be verified.
func (b bundle) judge(ctx context.Context, r verify.Report, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("verify %s: %w", b.name, context.Cause(ctx))
	case r.Result == verify.Failed:
		return fmt.Errorf("%w: %s: %s", errVerifyFailed, b.name, r.Findings(10))
	case err != nil:
		return b.failed(fmt.Errorf("verify %s: %w", b.name, err), errInconclusive)
	case r.Failure != nil:
		return fmt.Errorf("%w: %s holds the evidence of a delete that failed, and no finished bundle", errUsage, b.name)
	}
	return nil
}

// failed gives an error of reading a bundle its exit code: that of a verification that failed, or
// of a store that is not reachable; else it is of a kind (nil: unexpected).
func (b bundle) failed(err, kind error) error {
	var (
		mismatch *transfer.MismatchError
		damaged  *verify.DamagedError
		format   *verify.FormatError
	)
	switch {
	case errors.As(err, &mismatch), errors.As(err, &damaged), errors.As(err, &format), errors.Is(err, transfer.ErrUnfinished):
		return fmt.Errorf("%w: %w", errVerifyFailed, err)
	case isUnreachable(err):
		return b.access.unreachable(err)
	case kind != nil:
		return fmt.Errorf("%w: %w", kind, err)
	}
	return err
}

// client is a client of the store that the settings name. bad are the problems of other settings,
// which are told together with those of these.
func (s storeAccess) client(ctx context.Context, bad problems) (*s3.Client, storeConfig, error) {
	access := s.config(&bad)
	if err := bad.err(); err != nil {
		return nil, access, err
	}
	api, err := s3Client(ctx, access, nil)
	return api, access, err
}

// splitS3 takes an s3:// address apart.
func splitS3(where string) (bucket, key string, ok bool) {
	rest, ok := strings.CutPrefix(where, "s3://")
	if !ok {
		return "", "", false
	}
	bucket, key, _ = strings.Cut(rest, "/")
	return bucket, key, true
}

// checkOutside refuses a destination within the bundle: a bundle that has a file more than its
// manifests list fails verification.
func (b bundle) checkOutside(dest string) error {
	within := false
	if _, _, stored := splitS3(dest); stored {
		within = strings.HasPrefix(strings.TrimSuffix(dest, "/")+"/", strings.TrimSuffix(b.name, "/")+"/")
	} else if root, err := filepath.EvalSymlinks(b.name); err == nil {
		within = isBelow(root, dest)
	}
	if within {
		return fmt.Errorf("%w: %s is within the bundle, which would fail verification with a file more: choose another place", errUsage, dest)
	}
	return nil
}

// isBelow reports whether a path is a folder, or would be below it. The last parts of the path need
// not be there.
func isBelow(root, path string) bool {
	root, err := filepath.Abs(root)
	if err != nil {
		return false
	}
	path, err = filepath.Abs(path)
	for rest := ""; err == nil; {
		found, missing := filepath.EvalSymlinks(path)
		if missing == nil {
			rel, err := filepath.Rel(root, filepath.Join(found, rest))
			return err == nil && filepath.IsLocal(rel)
		}
		if path == filepath.Dir(path) {
			return false
		}
		path, rest = filepath.Dir(path), filepath.Join(filepath.Base(path), rest)
	}
	return false
}
