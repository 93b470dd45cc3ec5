package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/natsconn"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/preflight"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// triedNATS is what is left of trying NATS, for the checks that need it.
type triedNATS struct {
	conn   *nats.Conn
	checks *preflight.Checks // nil: JetStream does not answer
}

func (n *triedNATS) close() {
	if n.conn != nil {
		n.conn.Close()
	}
}

// tryNATS connects as the service does, compares the streams, and tries the rights.
func (d *doctor) tryNATS(ctx context.Context, reached *triedNATS) []finding {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	o := d.c.NATS.connection("consumer doctor", zerolog.Nop())
	o.FailFast = true
	nc, err := natsconn.Connect(ctx, o)
	if err == nil {
		reached.conn = nc
		err = natsconn.Check(nc)
	}
	if err != nil {
		return []finding{areaNATS.failure("nats", d.c.NATS.explain(err))}
	}
	found := []finding{works("nats", "connected to %s (nats-server %s) at %s", nc.ConnectedServerName(), nc.ConnectedServerVersion(), nc.ConnectedUrlRedacted())}
	for _, text := range natsconn.Notes(nc) {
		found = append(found, finding{Check: "nats", Result: resultNote, Detail: text, Document: "docs/nats.md#versions"})
	}
	checks, err := preflight.New(nc, d.c.NATS.Subjects, d.c.NATS.Domain)
	if err == nil {
		err = checks.JetStream(ctx)
	}
	if err != nil {
		return append(found, areaNATS.failure("jetstream", d.c.NATS.explain(err)))
	}
	reached.checks = checks
	return append(append(found, d.tryStreams(ctx, nc, checks)), d.tryRights(ctx, checks))
}

// tryStreams compares the streams with what the service wants. Where it would have to make or
// change some, it tries to make one like them.
func (d *doctor) tryStreams(ctx context.Context, nc *nats.Conn, checks *preflight.Checks) finding {
	const check = "streams"
	o := d.c.queue(zerolog.Nop())
	o.Provision, o.FailDenied = false, true
	q, err := natsq.New(nc, o)
	if err == nil {
		err = q.Provision(ctx)
	}
	var lacking *natsq.DriftError
	switch {
	case err == nil:
		if short := q.Ping(ctx); short != nil {
			return areaNATS.failure(check, d.c.NATS.explain(short))
		}
		return works(check, "all are there, and as they have to be")
	case !errors.As(err, &lacking) || !d.c.Provision:
		return areaNATS.failure(check, d.c.NATS.explain(err))
	}
	missing, changes := 0, []string{}
	for _, difference := range lacking.Differences {
		switch {
		case difference.Immutable:
			return areaNATS.failure(check, d.c.NATS.explain(err))
		case difference.Field == "":
			missing++
		default:
			changes = append(changes, difference.String())
		}
	}
	if err := checks.Create(ctx, d.c.Replicas, d.c.StreamMaxBytes); err != nil {
		return areaNATS.failure(check, d.c.NATS.explain(err))
	}
	if missing == 0 {
		return works(check, "consumer run will change: %s", strings.Join(changes, "; "))
	}
	return works(check, "consumer run will make %d that are missing; one was made, and removed again", missing)
}

// tryRights tries the rights of the service's user.
func (d *doctor) tryRights(ctx context.Context, checks *preflight.Checks) finding {
	denied, err := checks.Denied(ctx)
	if err != nil {
		return areaNATS.failure("rights", d.c.NATS.explain(err))
	}
	if len(denied) == 0 {
		return works("rights", "this user may publish and subscribe as the service does")
	}
	return areaNATS.failure("rights", d.c.NATS.explain(lines(denied)))
}

// doctorKey is what the keys of the objects that the doctor writes begin with, below the prefix.
const doctorKey = ".doctor-"

// tryStorage tries the buckets: whether they are there, what can be written and read, and whose the
// prefix is. connected waits until NATS was tried.
func (d *doctor) tryStorage(ctx context.Context, connected func() *triedNATS) []finding {
	ctx, cancel := context.WithTimeout(ctx, 2*probeTimeout)
	defer cancel()
	api, err := s3Client(ctx, d.c.S3, nil)
	if err != nil {
		return []finding{areaStorage.failure("storage", err)}
	}
	api = s3.New(api.Options(), func(o *s3.Options) { o.HTTPClient = datedClient{o.HTTPClient, d} })
	store := sink.NewStore(api, sink.StoreOptions{Bucket: d.c.Bucket, SSE: d.c.SSE, SSEKMSKeyID: d.c.KMSKeyID, SpoolDir: os.TempDir(), Log: zerolog.Nop()})
	stores := []*sink.Store{store}
	work := store.InBucket(d.c.WorkBucket)
	if work != store {
		stores = append(stores, work)
	}
	var found []finding
	for _, one := range stores {
		if err := checkBuckets(ctx, d.c.Prefix, one); err != nil {
			return append(found, areaStorage.failure("bucket", d.c.S3.explain(err)))
		}
		found = append(found, works("bucket", "%s is there", one.URI("")))
	}
	key := sink.Key(d.c.Prefix + doctorKey + rand.Text())
	if err := probeStore(ctx, work, key); err != nil {
		return append(found, areaStorage.failure("writing", d.c.S3.explain(err)))
	}
	for _, one := range stores {
		found = append(found, d.tryWriting(ctx, one, key))
	}
	for _, text := range store.Notes() {
		found = append(found, finding{Check: "writing", Result: resultNote, Detail: text, Document: "docs/stores.md"})
	}
	found = append(found, d.tryLocks(ctx, store))
	return append(found, d.tryPrefix(ctx, stores, connected()))
}

// datedClient notes the time that the store gives.
type datedClient struct {
	next s3.HTTPClient
	d    *doctor
}

// Do implements s3.HTTPClient.
func (c datedClient) Do(req *http.Request) (*http.Response, error) {
	resp, err := c.next.Do(req)
	if err == nil {
		if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			c.d.noteTime(req.URL.Host, date)
		}
	}
	return resp, err
}

// tryWriting writes an object, reads it back and removes it: where it can be removed.
func (d *doctor) tryWriting(ctx context.Context, store *sink.Store, key sink.Key) (f finding) {
	const check = "writing"
	mode, err := store.DefaultRetention(ctx)
	if err != nil {
		return areaStorage.failure(check, d.c.S3.explain(err))
	}
	if mode != "" {
		return finding{Check: check, Result: resultSkipped, Detail: fmt.Sprintf("%s locks each object (%s), so what is written to try it could not be removed", store.URI(""), mode), Document: "docs/operators.md#object-lock"}
	}
	defer func() {
		if err := store.Remove(context.WithoutCancel(ctx), key); err != nil && f.Result == resultOK {
			f = areaStorage.failure(check, d.c.S3.explain(err))
		}
	}()
	text := []byte("consumer doctor wrote this, and removes it\n")
	_, err = store.Put(ctx, key, sink.Bytes(text, "text/plain; charset=utf-8"))
	if err != nil {
		return areaStorage.failure(check, d.c.S3.explain(err))
	}
	read, err := store.ReadAll(ctx, key, int64(len(text)))
	if err == nil && !bytes.Equal(read, text) {
		err = errors.New("what was read is not what was written")
	}
	if err != nil {
		return areaStorage.failure(check, d.c.S3.explain(err))
	}
	style := map[bool]string{true: "path", false: "host name"}[d.c.S3.PathStyle]
	return works(check, "an object was written to %s, read back and removed; the bucket is in the %s", store.URI(""), style)
}

// tryLocks asks whether the bucket has Object Lock.
func (d *doctor) tryLocks(ctx context.Context, store *sink.Store) finding {
	const check, document = "object lock", "docs/operators.md#object-lock"
	locks, err := store.Locks(ctx)
	switch {
	case err != nil:
		return finding{Check: check, Result: resultNote, Detail: "not known: " + err.Error(), Cure: "grant s3:GetBucketObjectLockConfiguration, if bundles are to be locked", Document: document}
	case locks:
		return works(check, "the bucket has it; bundles are locked in mode %s when commands ask for it", d.c.LockMode)
	}
	return finding{Check: check, Result: resultNote, Detail: "the bucket has none, so commands with retain_until are refused", Document: document}
}

// tryPrefix looks which deployment has the prefix. It marks nothing.
func (d *doctor) tryPrefix(ctx context.Context, stores []*sink.Store, n *triedNATS) finding {
	const check = "prefix"
	if n.checks == nil {
		return finding{Check: check, Result: resultSkipped, Detail: "whose it is can be seen only with NATS"}
	}
	own, err := n.checks.Secret(ctx, contract.SecretDeployment)
	if err != nil {
		return areaNATS.failure(check, d.c.NATS.explain(err))
	}
	for _, store := range stores {
		key := sink.Key(d.c.Prefix + deploymentKey)
		there, err := store.ReadAll(ctx, key, maxDeployment)
		switch {
		case errors.Is(err, sink.ErrNotFound):
		case err != nil:
			return areaStorage.failure(check, d.c.S3.explain(err))
		case strings.TrimSpace(string(there)) != own && !d.c.AdoptPrefix:
			f := areaStorage.failure(check, foreignPrefix(store, key, d.c.Prefix))
			f.Document = "docs/operators.md#one-prefix-per-deployment"
			return f
		case strings.TrimSpace(string(there)) != own:
			return finding{Check: check, Result: resultNote, Detail: "another deployment has it; consumer run will take it over", Setting: "CONSUMER_ADOPT_PREFIX", Document: "docs/operators.md#one-prefix-per-deployment"}
		}
	}
	if d.c.Prefix != "" && !strings.HasSuffix(d.c.Prefix, "/") {
		bag := stores[0].URI(sink.Key(d.c.Prefix + "req-1/export/"))
		return finding{Check: check, Result: resultNote, Detail: "it is taken literally: a bundle will be at " + bag, Setting: "CONSUMER_PREFIX", Cure: "end it with a slash, unless that is what you want", Document: areaStorage.document}
	}
	return works(check, "%q is free, or this deployment's", d.c.Prefix)
}

// tryTraining calls the Training API of a resource.
func (d *doctor) tryTraining(ctx context.Context, r resource) []finding {
	check := "training " + r.Alias
	client, err := d.c.client(r, nil)
	if err != nil {
		return []finding{areaVision.failure(check, err)}
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeoutCause(ctx, reachTimeout, fmt.Errorf("no answer within %s", reachTimeout))
	defer cancel()
	ctx = cv.WithTrace(ctx, cv.Trace{After: func(c cv.Call) { d.noteTime(client.Host(), c.Date) }})
	if _, err = client.GetDomains(ctx); err != nil && !errors.Is(err, cv.ErrThrottled) {
		return []finding{areaVision.failure(check, r.explain(err))}
	}
	projects, err := client.GetProjects(ctx)
	if err != nil {
		return []finding{areaVision.failure(check, r.explain(err))}
	}
	found := []finding{works(check, "%s answers; this credential sees %d projects", client.Host(), len(projects))}
	if r.Key.IsSet() || d.c.Deletes == contract.DeletesDisabled {
		return found
	}
	// A role may allow reading alone. What does not exist cannot be unpublished.
	if err := client.UnpublishIteration(ctx, uuid.New(), uuid.New()); errors.Is(err, cv.ErrMisconfigured) {
		f := areaVision.failure(check, r.explain(err))
		f.Result, f.Detail = resultNote, "exports will work, deletes will wait: "+f.Detail
		found = append(found, f)
	}
	return found
}
