package sink_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// lockRoot is where the bags are that these tests lock.
const lockRoot sink.Key = "cmd-1/export/"

// lockedFor is a retention that ends between two seconds.
func lockedFor(d time.Duration) sink.Retention {
	return sink.Retention{Mode: sink.Governance, Until: time.Now().UTC().Add(d).Truncate(time.Second).Add(time.Millisecond)}
}

// sealedBag is a sealed bag with a small object, a multipart one and tag files.
func sealedBag(t *testing.T, store *sink.Store) (*sink.Bag, sink.SealedBag) {
	t.Helper()
	bag, err := sink.NewBag(store, lockRoot, t.TempDir())
	must(t, err)
	t.Cleanup(func() { must(t, bag.Close()) })
	for path, body := range map[sink.Path]sink.Body{
		sink.ExportFile: sink.Bytes([]byte("{}\n"), "application/json"),
		sink.ModelStem(project, iteration, "TensorFlow", "") + ".zip": sink.Bytes(noise(30, 100<<10), "application/zip"),
		sink.ImageStem(project, imageA) + ".jpg":                      sink.Bytes(noise(31, 1000), "image/jpeg"),
	} {
		_, err := bag.Put(t.Context(), path, body)
		must(t, err)
	}
	_, err = bag.PutTag(t.Context(), sink.RequestFile, sink.Bytes([]byte("{}\n"), "application/json"))
	must(t, err)
	sealed, err := bag.Seal(t.Context(), testInfo)
	must(t, err)
	return bag, sealed
}

// receiptOf is a receipt of a bag.
func receiptOf(t *testing.T, sealed sink.SealedBag) []byte {
	t.Helper()
	b, err := sink.NewReceipt(sink.ExportPredicateType, sealed, sink.Predicate{
		Scope: json.RawMessage(`{}`), Verification: json.RawMessage(`{}`), Ledger: sink.ReceiptLedger{Head: digest("")},
	}).Encode()
	must(t, err)
	return b
}

// lockWorld is a bucket, and a sealed store on it for which everything above 64 KiB is large.
func lockWorld(t *testing.T, o sinktest.BucketOptions, faults ...sinktest.Fault) (*world, *sink.Store, *sinktest.Faults) {
	t.Helper()
	w := newWorld(t, o)
	f := sinktest.Script(t, faults...)
	options := w.options()
	options.MultipartAbove = 64 << 10
	return w, sink.NewStore(w.server.FaultyClient(f), options).Sealed(sealer()), f
}

// locks is the retention of every version in the bucket, by key.
func (w *world) locks(t *testing.T) map[string]sink.Retention {
	t.Helper()
	api := w.server.Client()
	page, err := api.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &w.bucket})
	must(t, err)
	all := map[string]sink.Retention{}
	for _, v := range page.Versions {
		out, err := api.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &w.bucket, Key: v.Key, VersionId: v.VersionId})
		must(t, err)
		all[*v.Key] = sink.Retention{Mode: string(out.ObjectLockMode), Until: aws.ToTime(out.ObjectLockRetainUntilDate)}
	}
	return all
}

// TestRetain locks every object of a bag, large ones and the receipt too: no version can be removed
// before its time, and nothing is locked before the bag is sealed.
func TestRetain(t *testing.T) {
	w, store, faults := lockWorld(t, sinktest.BucketOptions{Locked: true})
	if on, err := store.Locks(t.Context()); !on || err != nil {
		t.Fatalf("Object Lock is on: %t, %v", on, err)
	}
	bag, sealed := sealedBag(t, store)
	for key, lock := range w.locks(t) {
		if lock.Mode != "" {
			t.Errorf("%s is locked before its bag is", key)
		}
	}
	want := lockedFor(1000 * time.Hour)
	must(t, bag.Retain(t.Context(), want))
	if heads, puts := faults.Calls("HeadObject"), faults.Calls("PutObjectRetention"); puts != sealed.Objects-1 || faults.Calls("GetObjectRetention") > 0 {
		t.Errorf("%d objects took %d looks and %d locks", sealed.Objects-1, heads, puts)
	}
	_, err := bag.PutReceipt(t.Context(), receiptOf(t, sealed))
	must(t, err)
	all := w.locks(t)
	if len(all) != sealed.Objects {
		t.Errorf("%d objects, expected %d", len(all), sealed.Objects)
	}
	for key, lock := range all {
		if lock.Mode != sink.Governance || lock.Until.Before(want.Until) || lock.Until.After(want.Until.Add(time.Second)) {
			t.Errorf("%s is locked %s, expected %s", key, lock, want)
		}
		if err := w.store.Remove(t.Context(), sink.Key(key)); !errors.Is(err, sink.ErrMisconfigured) {
			t.Errorf("%s was removed: %v", key, err)
		}
	}
	if after := w.locks(t); len(after) != len(all) {
		t.Errorf("%d of %d objects are left", len(after), len(all))
	}

	// Once more, as after a crash: one look at each object. For a shorter time nothing changes; for
	// a longer one all are locked again.
	before := faults.Calls("PutObjectRetention")
	shorter := sink.Retention{Mode: sink.Governance, Until: want.Until.Add(-time.Hour)}
	must(t, bag.Retain(t.Context(), shorter))
	must(t, bag.Retain(t.Context(), want))
	if n := faults.Calls("PutObjectRetention"); n != before {
		t.Errorf("what is locked was locked again, %d times", n-before)
	}
	longer := sink.Retention{Mode: sink.Governance, Until: want.Until.Add(time.Hour)}
	must(t, bag.Retain(t.Context(), longer))
	for key, lock := range w.locks(t) {
		if until := longer.Until; !strings.HasSuffix(key, "/receipt.json") && lock.Until.Before(until) {
			t.Errorf("%s is locked %s, expected %s", key, lock, longer)
		}
	}
}

// TestRetainInterrupted locks a bag although every kind of request fails once, and again when it
// failed for good half-way.
func TestRetainInterrupted(t *testing.T) {
	for name, fault := range map[string]sinktest.Fault{
		"asked":             {Op: "PutObjectRetention", Nth: 3, Effect: sinktest.Reset, Times: -1},
		"asked and done":    {Op: "PutObjectRetention", Nth: 3, Effect: sinktest.Reset, After: true, Times: -1},
		"read":              {Op: "HeadObject", Key: "cmd-1/export/manifest-sha256.txt", Status: 500, Times: -1},
		"refused, but done": {Op: "PutObjectRetention", Nth: 2, Status: 403, After: true}, // another process was quicker, and locked it for longer
	} {
		t.Run(name, func(t *testing.T) {
			w, plain, faults := lockWorld(t, sinktest.BucketOptions{Locked: true})
			bag, sealed := sealedBag(t, plain)
			faults.Add(fault)
			want := lockedFor(time.Hour)
			err := bag.Retain(t.Context(), want)
			if expected := fault.Times != 0; (err != nil) != expected || err != nil && !errors.Is(err, sink.ErrUnavailable) {
				t.Errorf("locked: %v", err)
			}
			faults.Clear()
			must(t, bag.Retain(t.Context(), want))
			for key, lock := range w.locks(t) {
				if lock.Until.Before(want.Until) {
					t.Errorf("%s is locked %s", key, lock)
				}
			}
			_, err = bag.PutReceipt(t.Context(), receiptOf(t, sealed))
			must(t, err)
		})
	}
}

// TestRetainIsReadBack: a store that says it locked an object and did not is found out at the first
// one, and everything can still be removed.
func TestRetainIsReadBack(t *testing.T) {
	w, store, faults := lockWorld(t, sinktest.BucketOptions{Locked: true})
	bag, _ := sealedBag(t, store)
	faults.Add(sinktest.Fault{Op: "PutObjectRetention", Effect: sinktest.Lie, Times: -1})
	err := bag.Retain(t.Context(), lockedFor(time.Hour))
	if !errors.Is(err, sink.ErrNotKept) || !strings.Contains(err.Error(), "has none") {
		t.Errorf("locked: %v", err)
	}
	if n := faults.Calls("PutObjectRetention"); n != 1 {
		t.Errorf("%d objects were to be locked", n)
	}
	if _, err := store.RemoveAll(t.Context(), lockRoot); err != nil || w.left(t, "") != "" {
		t.Errorf("%v, the bucket keeps %s", err, w.left(t, ""))
	}
}

// TestRetainWithoutObjectLock: the bucket has none.
func TestRetainWithoutObjectLock(t *testing.T) {
	for name, o := range map[string]sinktest.BucketOptions{"plain": {}, "with versions": {Versioned: true}} {
		t.Run(name, func(t *testing.T) {
			_, store, _ := lockWorld(t, o)
			if on, err := store.Locks(t.Context()); on || err != nil {
				t.Errorf("Object Lock is on: %t, %v", on, err)
			}
			bag, _ := sealedBag(t, store)
			if err := bag.Retain(t.Context(), lockedFor(time.Hour)); !errors.Is(err, sink.ErrNotKept) {
				t.Errorf("locked: %v", err)
			}
		})
	}
	_, store, faults := lockWorld(t, sinktest.BucketOptions{Locked: true})
	faults.Add(sinktest.Fault{Op: "GetObjectLockConfiguration", Status: 501}, sinktest.Fault{Op: "GetObjectLockConfiguration", Nth: 2, Status: 403})
	if on, err := store.Locks(t.Context()); on || err != nil {
		t.Errorf("a store that does not know Object Lock has it: %t, %v", on, err)
	}
	if _, err := store.Locks(t.Context()); !errors.Is(err, sink.ErrMisconfigured) {
		t.Errorf("it may not be asked: %v", err)
	}
}

// TestRetainKnowsTheVersion: what another writer put over an object is not locked in its place.
func TestRetainKnowsTheVersion(t *testing.T) {
	w, store, faults := lockWorld(t, sinktest.BucketOptions{Locked: true})
	bag, _ := sealedBag(t, store)
	must(t, store.Replace(t.Context(), lockRoot+"evidence/request.json", sink.Bytes([]byte("{} \n"), "application/json")))
	if err := bag.Retain(t.Context(), lockedFor(time.Hour)); !errors.Is(err, sink.ErrMixed) {
		t.Errorf("locked: %v", err)
	}
	must(t, w.store.Replace(t.Context(), lockRoot+"tagmanifest-sha256.txt", sink.Bytes([]byte("forged\n"), "")))
	before := faults.Calls("PutObjectRetention")
	if err := bag.Retain(t.Context(), lockedFor(time.Hour)); !errors.Is(err, sink.ErrUnsealed) {
		t.Errorf("locked: %v", err)
	}
	if n := faults.Calls("PutObjectRetention"); n != before {
		t.Error("another writer's version was locked")
	}
}

// TestReceiptIsLocked: a receipt says that all of its bag is locked, so there is none that is not.
func TestReceiptIsLocked(t *testing.T) {
	receipt := string(lockRoot) + "receipt.json"
	for name, tc := range map[string]struct {
		faults []sinktest.Fault
		kept   bool
	}{
		"as it is written": {nil, true},
		"afterwards":       {[]sinktest.Fault{}, true},
		"not at all":       {[]sinktest.Fault{{Op: "PutObjectRetention", Key: receipt, Effect: sinktest.Lie}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, sinktest.BucketOptions{Locked: true})
			f := sinktest.Script(t, tc.faults...)
			api := w.server.FaultyClient(f)
			if tc.faults != nil {
				api = w.server.FaultyClient(f, sinktest.IgnoreLocks)
			}
			bag, sealed := sealedBag(t, sink.NewStore(api, w.options()))
			want := lockedFor(time.Hour)
			must(t, bag.Retain(t.Context(), want))
			_, err := bag.PutReceipt(t.Context(), receiptOf(t, sealed))
			lock, there := w.locks(t)[receipt]
			if tc.kept && (err != nil || lock.Until.Before(want.Until)) {
				t.Errorf("%v, the receipt is locked %s", err, lock)
			}
			if !tc.kept && (!errors.Is(err, sink.ErrNotKept) || there) {
				t.Errorf("%v, the receipt is there: %t", err, there)
			}
		})
	}
}

// TestRetentionIsAskedFor: of a store whose description of an object does not tell it.
func TestRetentionIsAskedFor(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{Locked: true})
	bag, _ := sealedBag(t, w.behind(t, []sinktest.Quirk{sinktest.NoLockOnHead}))
	want := lockedFor(time.Hour)
	for range 2 {
		must(t, bag.Retain(t.Context(), want))
	}
	for key, lock := range w.locks(t) {
		if lock.Until.Before(want.Until) {
			t.Errorf("%s is locked %s", key, lock)
		}
	}
}

// TestTags: each object of a bag says which command it belongs to and whether it is payload; a
// lifecycle rule of the bucket can tell them apart. Working objects have none.
func TestTags(t *testing.T) {
	w, store, _ := lockWorld(t, sinktest.BucketOptions{})
	bag, sealed := sealedBag(t, store)
	_, err := bag.PutReceipt(t.Context(), receiptOf(t, sealed))
	must(t, err)
	for key, want := range map[sink.Key]string{
		"cmd-1/.work/plan.json": "", "cmd-1/delete/data/deletion.json": "evidence", "cmd-1/delete/evidence/failure.json": "evidence",
		"cmd-1/export/cmd-1/.work/units/1.list": "", "p/cmd-1/export/cmd-1/export/data/export.json": "payload",
	} {
		_, err := store.Put(t.Context(), key, sink.Bytes([]byte("{}"), ""))
		must(t, err)
		if got := w.tags(t, string(key)); got[sink.TagKind] != want || want != "" && got[sink.TagCommand] != "cmd-1" {
			t.Errorf("%s has the tags %v, expected %s", key, got, want)
		}
	}
	for o, err := range w.store.List(t.Context(), lockRoot) {
		must(t, err)
		path, want := strings.TrimPrefix(string(o.Key), string(lockRoot)), "evidence"
		if strings.HasPrefix(path, "data/") {
			want = "payload"
		}
		if got := w.tags(t, string(o.Key)); got[sink.TagKind] != want && !strings.Contains(path, ".work") || got[sink.TagCommand] != "cmd-1" && !strings.Contains(path, ".work") {
			t.Errorf("%s has the tags %v", path, got)
		}
	}
}

func (w *world) tags(t *testing.T, key string) map[string]string {
	t.Helper()
	out, err := w.server.Client().GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: &w.bucket, Key: &key})
	if err != nil && strings.Contains(err.Error(), "NoSuchTagSet") {
		return nil
	}
	must(t, err)
	tags := map[string]string{}
	for _, tag := range out.TagSet {
		tags[*tag.Key] = *tag.Value
	}
	return tags
}

// TestProbeTags: what becomes of tags is found out by a write, of which nothing stays.
func TestProbeTags(t *testing.T) {
	own := "p/.probe-*"
	for _, tc := range []struct {
		name   string
		faults []sinktest.Fault
		client func(*s3.Options)
		lacks  bool
		err    error
	}{
		{name: "kept"},
		{name: "refused", faults: []sinktest.Fault{{Op: "PutObject", Key: own, Status: 501, Times: 2}}, lacks: true}, // with and without a checksum
		{name: "not allowed", faults: []sinktest.Fault{{Op: "PutObject", Key: own, Status: 403}}, lacks: true},
		{name: "ignored", client: sinktest.IgnoreTags, lacks: true},
		{name: "unknown", faults: []sinktest.Fault{{Op: "GetObjectTagging", Status: 501}}, lacks: true},
		{name: "not to be read", faults: []sinktest.Fault{{Op: "GetObjectTagging", Status: 403}}},
		{name: "nothing is allowed", faults: []sinktest.Fault{{Op: "PutObject", Key: own, Status: 403, Times: 2}}, err: sink.ErrMisconfigured},
		{name: "not available", faults: []sinktest.Fault{{Op: "PutObject", Key: own, Status: 500, Times: -1}}, err: sink.ErrUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, sinktest.BucketOptions{Versioned: true})
			f := sinktest.Script(t, tc.faults...)
			options := []func(*s3.Options){}
			if tc.client != nil {
				options = append(options, tc.client)
			}
			store := sink.NewStore(w.server.FaultyClient(f, options...), w.options()).Sealed(sealer())
			err := store.Probe(t.Context(), "p/.probe")
			notes := strings.Join(store.Notes(), "; ")
			if !errors.Is(err, tc.err) || strings.Contains(notes, "tags of objects") != tc.lacks {
				t.Errorf("%v, notes %q", err, notes)
			}
			if left := w.left(t, ""); left != "" {
				t.Errorf("the bucket keeps %s", left)
			}
			if !tc.lacks {
				return
			}
			_, err = store.Put(t.Context(), lockRoot+"data/export.json", sink.Bytes(nil, ""))
			must(t, err)
			if tags := w.tags(t, string(lockRoot)+"data/export.json"); len(tags) > 0 {
				t.Errorf("it is tagged: %v", tags)
			}
		})
	}
}

// TestEncryption asks for encryption with every write, and reads back what the store made of it.
func TestEncryption(t *testing.T) {
	const arn = "arn:aws:kms:eu-west-1:1234:key/0ab"
	for _, tc := range []struct {
		name, sse, key string // asked for
		does, by       string // what the store does
		kept           bool
	}{
		{"as asked", "AES256", "", "AES256", "", true},
		{"the account's key", "aws:kms", "", "aws:kms", arn, true},
		{"a key by its id", "aws:kms", "0ab", "aws:kms", arn, true},
		{"a key by its ARN", "aws:kms", arn, "aws:kms", arn, true},
		{"a key by an alias", "aws:kms", "alias/evidence", "aws:kms", arn, true},
		{"not at all", "AES256", "", "", "", false},
		{"otherwise", "aws:kms", "0ab", "AES256", "", false},
		{"with another key", "aws:kms", "1ab", "aws:kms", arn, false},
		{"with a key it does not name", "aws:kms", "0ab", "aws:kms", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, sinktest.BucketOptions{})
			encrypts := w.server.Encrypts(tc.does, tc.by)
			api, err := sink.Client(t.Context(), w.server.Settings(encrypts))
			must(t, err)
			o := w.options()
			o.SSE, o.SSEKMSKeyID, o.MultipartAbove = tc.sse, tc.key, 64<<10
			store := sink.NewStore(api, o)
			probed := store.Probe(t.Context(), ".probe")
			_, small := store.Put(t.Context(), "small", sink.Bytes([]byte("x"), ""))
			_, large := store.Put(t.Context(), "large", sink.Bytes(noise(1, 100<<10), ""))
			for what, err := range map[string]error{"probed": probed, "small": small, "large": large} {
				if tc.kept && err != nil || !tc.kept && !errors.Is(err, sink.ErrNotKept) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if asked := encrypts.Asked(); tc.kept && !slices.Equal(asked, []string{"CreateMultipartUpload " + tc.sse + " " + tc.key, "PutObject " + tc.sse + " " + tc.key}) {
				t.Errorf("asked for %q", asked)
			}
		})
	}
}

// TestProbeLocks finds out at once whether a store keeps a retention, and locks nothing for long.
func TestProbeLocks(t *testing.T) {
	const prefix = "pre/.probe-lock-"
	for _, c := range []struct {
		name   string
		bucket sinktest.BucketOptions
		fault  sinktest.Fault
		locks  bool // the bucket counts as one with Object Lock
		stored bool
	}{
		{"keeps it", sinktest.BucketOptions{Locked: true}, sinktest.Fault{}, true, true},
		{"ignores it", sinktest.BucketOptions{Locked: true}, sinktest.Fault{Op: "PutObjectRetention", Effect: sinktest.Lie, Times: -1}, false, true},
		{"refuses it", sinktest.BucketOptions{Locked: true}, sinktest.Fault{Op: "PutObjectRetention", Status: 403, Times: -1}, true, true}, // a policy may allow longer ones
		{"knows no versions", sinktest.BucketOptions{}, sinktest.Fault{}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.bucket)
			faults := sinktest.Script(t)
			if c.fault.Op != "" {
				faults.Add(c.fault)
			}
			store := sink.NewStore(w.server.FaultyClient(faults), w.options())
			before := time.Now().Truncate(time.Second)
			must(t, store.ProbeLocks(t.Context(), prefix, sink.Governance))
			stored := w.left(t, prefix) != ""
			on, err := store.Locks(t.Context())
			if err != nil || on != c.locks || stored != c.stored || (len(store.Notes()) > 0) != (c.stored && !c.locks) {
				t.Errorf("Object Lock counts: %t, %v; an object was stored: %t; notes %q", on, err, stored, store.Notes())
			}
			for key, lock := range w.locks(t) {
				if !strings.HasPrefix(key, prefix) || (lock.Mode != "") != (c.name == "keeps it") {
					t.Errorf("%s is locked: %s", key, lock)
				}
				if left := lock.Until.Sub(before); lock.Mode != "" && (left < 4*time.Second || left > time.Minute) {
					t.Errorf("%s is locked for %s", key, left)
				}
			}
		})
	}
}
