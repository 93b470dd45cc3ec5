package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagit"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// bagsAtOnce is how many bundles are verified at once; of each, several files are read at once.
const bagsAtOnce = 4

// location is one of the places to verify.
type location struct {
	where   string
	src     verify.Source
	access  storeConfig // how its store is reached, of one at s3://
	closer  io.Closer   // of an archive; nil: nothing
	damaged error       // why it cannot be opened, which is a finding
}

// open opens all places before anything is read: what is no place is an error of usage.
func (c verifyCmd) open(p *program) ([]location, error) {
	places := make([]location, 0, len(c.Where))
	for _, where := range c.Where {
		one, err := c.S3.open(p.ctx, p.env, where)
		if err != nil {
			return places, err
		}
		places = append(places, one)
	}
	return places, nil
}

// close lets go of a place.
func (at location) close() {
	if at.closer != nil {
		_ = at.closer.Close()
	}
}

// verdict is the result of a bundle, or of a place that could not be looked at.
type verdict struct {
	verified
	err error // for the exit code; nil: it is ok
}

// check verifies the bundles of all places. It gives the results in the order of places and of
// bundles in them, what is to be said of the places, and the worst result.
func (c verifyCmd) check(p *program, places []location, keys publicKeys, show *bundleProgress) (results []verified, remarks []string, worst error, err error) {
	group, ctx := errgroup.WithContext(p.ctx)
	group.SetLimit(bagsAtOnce)
	var all []*verdict
	for _, at := range places {
		found, unseen, remark := at.look(ctx)
		if remark != "" {
			remarks = append(remarks, remark)
		}
		if unseen != nil {
			all = append(all, unseen)
		}
		for _, bag := range found.Bags {
			one := &verdict{}
			all = append(all, one)
			group.Go(func() error { return verifyBag(ctx, one, at.within(bag.Root), bag.Source, keys, show) })
		}
	}
	if err := group.Wait(); err != nil {
		return nil, nil, nil, err
	}
	if p.ctx.Err() != nil { // the user gave up
		return nil, nil, nil, fmt.Errorf("verify: %w", context.Cause(p.ctx))
	}
	for _, one := range all {
		results = append(results, one.verified)
		worst = worse(worst, one.err)
	}
	return results, remarks, worst, nil
}

// look finds the bundles of a place. Where it cannot be looked at, unseen is its result. remark is
// what is worth saying about it.
func (at location) look(ctx context.Context) (found verify.Place, unseen *verdict, remark string) {
	if at.damaged != nil {
		problems := []verify.Problem{{What: bagfile.Printable(at.damaged.Error())}}
		return found, &verdict{describeReport(at.where, verify.Report{Result: verify.Failed, Problems: problems, Signature: verify.Unknown}), errVerifyFailed}, ""
	}
	found, err := verify.Look(ctx, at.src)
	if err != nil {
		v := describeReport(at.where, verify.Report{Result: verify.Inconclusive, Signature: verify.Unknown})
		v.Unread = bagfile.Printable(err.Error())
		return verify.Place{}, &verdict{v, unreachable(err)}, fmt.Sprintf("verify %s: %v", at.where, at.access.unreachable(err))
	}
	if found.Loose > 0 {
		remark = fmt.Sprintf("; %d files are in none of them, such as %s", found.Loose, found.Sample)
	}
	if found.Bags[0].Root != "" {
		remark = fmt.Sprintf("%s holds %d bundles%s", at.where, len(found.Bags), remark)
	}
	return found, nil, remark
}

// within is the name of a bundle in a place.
func (at location) within(root string) string {
	if root == "" {
		return at.where
	}
	return strings.TrimSuffix(at.where, "/") + "/" + root
}

// verifyBag verifies one bundle: as one of this program's unless it is certain that it is none.
func verifyBag(ctx context.Context, one *verdict, where string, src verify.Source, keys publicKeys, show *bundleProgress) error {
	progress, end := show.verifying(where)
	defer end()
	check := verify.Bag
	if len(keys.keys) == 0 && verify.Foreign(ctx, src) { // a bag of another tool is signed by no key
		check = bagit.Check
	}
	r, err := check(ctx, src, verify.Options{Progress: progress, Keys: keys.keys})
	if ctx.Err() != nil {
		return fmt.Errorf("verify %s: %w", where, context.Cause(ctx))
	}
	one.verified = describeReport(where, r)
	one.KeyFile = keys.files[one.SignedBy]
	switch {
	case err != nil && r.Files == 0:
		one.err = unreachable(err)
	default:
		one.err = resultError(r.Result)
	}
	if err != nil {
		one.Unread = bagfile.Printable(err.Error())
	}
	return nil
}

// unreachable is errUnreachable where that is what an error says, else errInconclusive.
func unreachable(err error) error {
	if isUnreachable(err) {
		return errUnreachable
	}
	return errInconclusive
}

// resultError is the error of a result, for the exit code.
func resultError(r verify.Result) error {
	switch r {
	case verify.Failed:
		return errVerifyFailed
	case verify.Inconclusive:
		return errInconclusive
	}
	return nil
}

// worse keeps the more serious of two results: failed, then not reachable, then inconclusive, then
// ok.
func worse(before, now error) error {
	for _, result := range []error{errVerifyFailed, errUnreachable, errInconclusive} {
		if errors.Is(before, result) || errors.Is(now, result) {
			return result
		}
	}
	return nil
}

// open opens a place that holds a bundle, or several: a folder, an archive, or s3://, which is
// reached with this access.
func (s storeAccess) open(ctx context.Context, env *environ, where string) (location, error) {
	at := location{where: where}
	if bucket, prefix, ok := splitS3(where); ok {
		if bucket == "" || prefix == "" && !strings.HasSuffix(where, "/") {
			return at, fmt.Errorf("%w: %s: a bundle is at s3://bucket/prefix/, and all of a bucket at s3://bucket/", errUsage, where)
		}
		if prefix != "" && !strings.HasSuffix(prefix, "/") {
			prefix += "/"
		}
		api, access, err := s.client(ctx, env.unknown())
		at.access = access
		if err != nil {
			return at, err
		}
		at.src = verify.Stored(sink.NewStore(api, sink.StoreOptions{Bucket: bucket, Log: zerolog.Nop()}), sink.Key(prefix))
		return at, nil
	}
	if scheme, _, ok := strings.Cut(where, "://"); ok {
		return at, fmt.Errorf("%w: %s: a bundle is in a folder, in a .zip file or at s3://bucket/prefix/; %s:// is not supported", errUsage, where, scheme)
	}
	info, err := os.Stat(where)
	switch {
	case err != nil:
		return at, fmt.Errorf("%w: %w", errUsage, err)
	case info.IsDir():
		at.src = verify.Dir(where)
		return at, nil
	case !info.Mode().IsRegular() || !strings.HasSuffix(strings.ToLower(where), ".zip"):
		return at, fmt.Errorf("%w: %s is neither a folder nor a .zip file", errUsage, where)
	}
	archive, err := verify.OpenZip(where)
	var damaged *verify.DamagedError
	switch {
	case errors.As(err, &damaged):
		at.damaged = err
	case err != nil:
		return at, fmt.Errorf("%w: %w", errUsage, err)
	default:
		at.src, at.closer = archive, archive
	}
	return at, nil
}
