package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// s3Client makes the client of the bundles' store. m is nil on a command line. What is not
// configured comes from the AWS SDK's default chain, which reads the process's environment and
// files.
func s3Client(ctx context.Context, c storeConfig, m *metrics) (*s3.Client, error) {
	o := sink.Options{Endpoint: c.Endpoint, Region: c.Region, PathStyle: c.PathStyle, Transport: c.Transport, Log: c.Log}
	if m == nil {
		o.MaxBackoff = 2 * time.Second // a person waits at a command line
	}
	if c.KeyID.IsSet() {
		o.Credentials = aws.NewCredentialsCache(storeKeys{c})
	}
	api, err := sink.Client(ctx, o)
	if err != nil {
		return nil, settingsError(strings.TrimPrefix(err.Error(), "read the AWS settings: "))
	}
	if m == nil {
		return api, nil
	}
	return s3.New(api.Options(), func(o *s3.Options) { o.HTTPClient = countedClient{o.HTTPClient, m} }), nil
}

// countedClient counts S3 requests, and makes spans of them.
type countedClient struct {
	next s3.HTTPClient
	m    *metrics
}

// Do implements s3.HTTPClient.
func (c countedClient) Do(req *http.Request) (*http.Response, error) {
	return traceStorage(c.m.countStorage(roundTripper(c.next.Do))).RoundTrip(req)
}

// rereadAfter is how long keys from files are used before the files are read again.
const rereadAfter = time.Minute

// storeKeys gives the configured S3 keys. Those from files are read again every minute, so that a
// rotated key needs no restart.
type storeKeys struct{ c storeConfig }

// Retrieve implements aws.CredentialsProvider.
func (k storeKeys) Retrieve(context.Context) (aws.Credentials, error) {
	out := aws.Credentials{Source: "settings"}
	for _, part := range []struct {
		name string
		from Secret
		to   *string
	}{
		{"AWS_ACCESS_KEY_ID", k.c.KeyID, &out.AccessKeyID},
		{"AWS_SECRET_ACCESS_KEY", k.c.Secret, &out.SecretAccessKey},
		{"AWS_SESSION_TOKEN", k.c.SessionToken, &out.SessionToken},
	} {
		value, err := part.from.Reveal()
		if err != nil {
			return aws.Credentials{}, fmt.Errorf("%s: %w", part.name, err)
		}
		*part.to = value
		if part.from.File() != "" {
			out.CanExpire = true
		}
	}
	if out.CanExpire {
		out.Expires = time.Now().Add(rereadAfter) //nolint:forbidigo // the SDK's cache compares it with the real clock
	}
	return out, nil
}

// answerTimeout bounds how long a check of a bucket, or the first try of a check of the Training
// API, is left without an answer before that is told.
const answerTimeout = 5 * time.Second

// errNoAnswer is why a check ended that got no answer in time.
var errNoAnswer = fmt.Errorf("no answer within %s", answerTimeout)

// checkBuckets asks whether the buckets are there and ours to use, all of them at once.
func checkBuckets(ctx context.Context, prefix string, buckets ...*sink.Store) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errNoAnswer)
	defer cancel()
	problems := make([]error, len(buckets))
	var checks sync.WaitGroup
	for i, store := range buckets {
		checks.Go(func() { problems[i] = store.Check(ctx, sink.Key(prefix)) })
	}
	checks.Wait()
	problems = slices.DeleteFunc(problems, func(err error) bool { return err == nil })
	if len(problems) == 0 {
		return nil
	}
	return bucketProblems(problems)
}

// bucketProblems are the problems of one bucket or more, each with a cure of its own.
type bucketProblems []error

// Error has all of them, in one line.
func (p bucketProblems) Error() string { return lines(p).Error() }

// Unwrap has all of them.
func (p bucketProblems) Unwrap() []error { return p }

// checkRetention fails for a bucket in which the working objects of commands cannot be removed.
func checkRetention(ctx context.Context, work *sink.Store) error {
	mode, err := work.DefaultRetention(ctx)
	if err != nil || mode == "" {
		return err
	}
	return cure(fmt.Errorf("the bucket %s gives every object a default retention (%s), so working objects could not be removed", work.Bucket(), mode),
		"CONSUMER_WORK_BUCKET", "set CONSUMER_WORK_BUCKET to a bucket without one")
}

// checkMetadata fails for a store that does not keep the metadata of objects, where the seals are.
// It is asked by the bucket of working objects: in the other one the object that is tried might be
// locked.
func checkMetadata(ctx context.Context, work *sink.Store, key sink.Key) error {
	kept, err := work.KeepsMetadata(ctx, key+"-metadata")
	if err != nil {
		return fmt.Errorf("try to store metadata: %w", err)
	}
	if !kept {
		return cure(fmt.Errorf("bucket %q does not keep the user metadata of objects (x-amz-meta-*) as it was written: the seals are there, and without them nothing that is stored is believed", work.Bucket()),
			"AWS_ENDPOINT_URL_S3", "have the store, or the proxy before it, keep 1 KiB of metadata for each object, or name another one")
	}
	return nil
}

// probeStore finds out, with objects at keys that begin with key, what the store of working objects
// supports, and fails where the service cannot work with it.
func probeStore(ctx context.Context, work *sink.Store, key sink.Key) error {
	err := checkRetention(ctx, work)
	if err == nil {
		err = checkMetadata(ctx, work, key)
	}
	if err == nil {
		err = work.Probe(ctx, key)
	}
	var explained *cured
	switch {
	case errors.As(err, &explained):
		return err
	case errors.Is(err, sink.ErrNotEncrypted):
		return cure(fmt.Errorf("the store does not do what CONSUMER_SSE and CONSUMER_SSE_KMS_KEY_ID ask for: %w", err), "CONSUMER_SSE", "correct them, or the bucket's encryption")
	case err != nil:
		return fmt.Errorf("find out what the store supports: %w", err)
	}
	return nil
}

// unreachable marks an error that says that something needed could not be reached, for the exit
// code, and adds what to do about it.
func (c storeConfig) unreachable(err error) error {
	if isUnreachable(err) {
		return fmt.Errorf("%w: %w", errUnreachable, c.explain(err))
	}
	return err
}

// isUnreachable reports whether an error of a store says that the store, or something in it, could
// not be reached.
func isUnreachable(err error) bool {
	return errors.Is(err, sink.ErrUnavailable) || errors.Is(err, sink.ErrThrottled) || errors.Is(err, sink.ErrMisconfigured) || errors.Is(err, context.DeadlineExceeded)
}

// storeAccess is how S3 is reached, named as the AWS SDK names it. What is not set comes from the
// SDK's default chain.
type storeAccess struct {
	Region           string `name:"aws-region" var:"AWS_REGION,AWS_DEFAULT_REGION" placeholder:"NAME" help:"Region of the bucket; us-east-1 where an endpoint is set."`
	Endpoint         string `name:"aws-endpoint-url-s3" var:"AWS_ENDPOINT_URL_S3,AWS_ENDPOINT_URL" placeholder:"URL" help:"Endpoint of an S3-compatible store other than AWS."`
	KeyID            string `name:"aws-access-key-id" var:"AWS_ACCESS_KEY_ID" placeholder:"ID" help:"Access key; without one, the AWS SDK's default chain finds credentials."`
	KeyIDFile        string `name:"aws-access-key-id-file" var:"AWS_ACCESS_KEY_ID_FILE" placeholder:"FILE" help:"File with the access key."`
	Secret           string `name:"aws-secret-access-key" var:"AWS_SECRET_ACCESS_KEY" secret:"" hidden:"" placeholder:"TEXT" help:"Secret access key."`
	SecretFile       string `name:"aws-secret-access-key-file" var:"AWS_SECRET_ACCESS_KEY_FILE" value:"AWS_SECRET_ACCESS_KEY" placeholder:"FILE" help:"File with the secret access key."`
	SessionToken     string `name:"aws-session-token" var:"AWS_SESSION_TOKEN" secret:"" hidden:"" placeholder:"TEXT" help:"Session token of temporary credentials."`
	SessionTokenFile string `name:"aws-session-token-file" var:"AWS_SESSION_TOKEN_FILE" value:"AWS_SESSION_TOKEN" placeholder:"FILE" help:"File with the session token."`
	PathStyle        string `name:"s3-path-style" var:"CONSUMER_S3_PATH_STYLE" placeholder:"BOOL" help:"Bucket in the path instead of the host name; default true where an endpoint is set, else false."`
}

// storeConfig is how S3 is reached.
type storeConfig struct {
	Region, Endpoint            string
	KeyID, Secret, SessionToken Secret // unset: the SDK's default chain
	PathStyle                   bool
	Transport                   http.RoundTripper // nil: the SDK's; not a setting
	Log                         zerolog.Logger    `json:"-"` // of the SDK; not a setting
}

func (s storeAccess) config(p *problems) storeConfig {
	c := storeConfig{
		Region: s.Region, Endpoint: s.Endpoint,
		KeyID:        p.secret("AWS_ACCESS_KEY_ID", s.KeyID, s.KeyIDFile),
		Secret:       p.secret("AWS_SECRET_ACCESS_KEY", s.Secret, s.SecretFile),
		SessionToken: p.secret("AWS_SESSION_TOKEN", s.SessionToken, s.SessionTokenFile),
		PathStyle:    s.Endpoint != "",
	}
	if s.Endpoint != "" {
		p.httpURL("AWS_ENDPOINT_URL_S3", s.Endpoint)
	}
	if c.KeyID.IsSet() != c.Secret.IsSet() {
		p.add("AWS_ACCESS_KEY_ID", "and AWS_SECRET_ACCESS_KEY go together: one is set without the other")
	}
	if s.PathStyle != "" {
		c.PathStyle = p.boolean("CONSUMER_S3_PATH_STYLE", s.PathStyle)
	}
	return c
}
