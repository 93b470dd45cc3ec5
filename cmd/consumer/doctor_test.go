package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// newDoctored is a fixture whose server has the service's documented user, one who lacks rights,
// and one whose account has no JetStream.
func newDoctored(t *testing.T) *fixture {
	t.Helper()
	documented := documentedServer(t)
	return newFixtureOn(t, natstest.NewWith(t, natstest.Options{Addr: "127.0.0.1:0", Config: func() string {
		return strings.Replace(documented(), "accounts {", `accounts {
			NONE { users: [ {user: none, password: none} ] }
			OTHER { jetstream: enabled, users: [ {user: limited, password: limited, permissions: {publish: ["cv.>", "$JS.>"], subscribe: ["_INBOX_cvconsumer.>"]}}, {user: other, password: other} ] }`, 1)
	}}), cvtest.Options{Seed: 1})
}

// doctor runs consumer doctor with settings that work, changed.
func (f *fixture) doctor(t *testing.T, changed ...string) (code int, found []finding) {
	t.Helper()
	vars := append([]string{
		"NATS_URL=" + f.nats.URL(), "NATS_USER=service", "NATS_PASSWORD=service",
		"AWS_ENDPOINT_URL_S3=" + f.store.Endpoint, "AWS_REGION=" + f.store.Region, "AWS_ACCESS_KEY_ID=" + f.store.AccessKey, "AWS_SECRET_ACCESS_KEY=" + f.store.SecretKey,
		"CONSUMER_BUCKET=" + f.config.Bucket, "VISION_TRAINING_ENDPOINT=" + f.vision.URL(), "VISION_TRAINING_KEY=" + f.vision.Key(), "CONSUMER_MAX_RPS=1000",
	}, changed...)
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), []string{"doctor", "-o", "json"}, vars, nil, &stdout, &stderr)
	var report struct {
		OK     bool      `json:"ok"`
		Checks []finding `json:"checks"`
	}
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil || report.OK != (code == exitDone) {
		t.Fatalf("exit %d: %v: %s%s", code, err, &stdout, &stderr)
	}
	return code, report.Checks
}

// TestDoctorTellsEachUsualMistake makes the mistakes that are usual in the settings, one at a time.
// The doctor names for each the variable to change, what to do, and a page that is there. Whatever
// it tries, nothing of it stays.
func TestDoctorTellsEachUsualMistake(t *testing.T) {
	pages := readPages(t)
	f := newDoctored(t)
	authority := newTestAuthority(t)
	secure := overTLS(t, f.store, authority.server)
	locked := f.store.Bucket(t, sinktest.BucketOptions{Locked: true})
	store := sink.NewStore(f.store.Client(), sink.StoreOptions{Bucket: f.config.Bucket, Log: zerolog.Nop()})
	if _, err := store.Put(t.Context(), "taken/.deployment", sink.Bytes([]byte("another\n"), "text/plain")); err != nil {
		t.Fatal(err)
	}
	metadata := httptest.NewServer(http.NotFoundHandler()) // of a machine that has no role
	t.Cleanup(metadata.Close)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.URL)
	open := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(open, []byte(f.vision.Key()), 0o644); err != nil { //nolint:gosec // that is the mistake
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		vars    []string
		code    int
		result  string // of the finding below
		setting string
		says    string // in its detail or cure
	}{
		{"nothing is wrong", nil, exitDone, resultOK, "", "consumer run will make 8 that are missing"},
		{"wrong training key", []string{"VISION_TRAINING_KEY=wrong"}, exitUnreachable, resultFailed, "VISION_TRAINING_KEY", "training key"},
		{"wrong endpoint", []string{"VISION_TRAINING_ENDPOINT=" + f.vision.URL() + "/elsewhere"}, exitUnreachable, resultFailed, "VISION_TRAINING_ENDPOINT", "training resource"},
		{"endpoint of prediction", []string{"VISION_TRAINING_ENDPOINT=" + f.vision.URL() + "/my-prediction"}, exitUnreachable, resultFailed, "VISION_TRAINING_ENDPOINT", "prediction resource"},
		{"address of the portal", []string{"VISION_TRAINING_ENDPOINT=https://www.customvision.ai/projects"}, exitUsage, resultFailed, "VISION_TRAINING_ENDPOINT", "portal"},
		{"https where there is none", []string{"VISION_TRAINING_ENDPOINT=https" + strings.TrimPrefix(f.vision.URL(), "http")}, exitUnreachable, resultFailed, "VISION_TRAINING_ENDPOINT", "scheme"},
		{"http over the network", []string{"VISION_TRAINING_ENDPOINT=http://vision.example/"}, exitUsage, resultFailed, "VISION_TRAINING_ENDPOINT", "plain text"},
		{"no key, no identity", []string{"VISION_TRAINING_KEY="}, exitUsage, resultFailed, "VISION_TRAINING_ENDPOINT", "VISION_TRAINING_KEY_FILE"},
		{"wrong region", []string{"AWS_REGION=eu-west-9"}, exitUnreachable, resultFailed, "AWS_REGION", "AWS_REGION=us-east-1"},
		{"missing bucket", []string{"CONSUMER_BUCKET=not-there"}, exitUnreachable, resultFailed, "CONSUMER_BUCKET", "create the bucket"},
		{"wrong secret", []string{"AWS_SECRET_ACCESS_KEY=wrong"}, exitUnreachable, resultFailed, "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"},
		{"unknown key", []string{"AWS_ACCESS_KEY_ID=unknown"}, exitUnreachable, resultFailed, "AWS_ACCESS_KEY_ID", "does not know this key"},
		{"key without secret", []string{"AWS_SECRET_ACCESS_KEY="}, exitUsage, resultFailed, "AWS_ACCESS_KEY_ID", "go together"},
		{"no keys, and a machine that has no role", []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, exitUnreachable, resultFailed, "AWS_ACCESS_KEY_ID", "there are no credentials"},
		{"a region with a blank", []string{"AWS_REGION=us-east-1 "}, exitUnreachable, resultFailed, "AWS_REGION", "without blanks"},
		{"a prefix without its slash", []string{"CONSUMER_PREFIX=trial"}, exitDone, resultNote, "CONSUMER_PREFIX", "/trialreq-1/export/"},
		{"http to a store with TLS", []string{"AWS_ENDPOINT_URL_S3=http" + strings.TrimPrefix(secure, "https")}, exitUnreachable, resultFailed, "AWS_ENDPOINT_URL_S3", "https://"},
		{"store with an unknown authority", []string{"AWS_ENDPOINT_URL_S3=" + secure}, exitUnreachable, resultFailed, "AWS_CA_BUNDLE", "PEM file"},
		{"no store", []string{"AWS_ENDPOINT_URL_S3=http://127.0.0.1:1"}, exitUnreachable, resultFailed, "AWS_ENDPOINT_URL_S3", "nothing listens there"},
		{"the prefix of another deployment", []string{"CONSUMER_PREFIX=taken/"}, exitUnreachable, resultFailed, "CONSUMER_PREFIX", "set another CONSUMER_PREFIX"},
		{"a bucket without Object Lock", nil, exitDone, resultNote, "", "retain_until"},
		{"a bucket with Object Lock", []string{"CONSUMER_BUCKET=" + locked}, exitDone, resultOK, "", "the bucket has it"},
		{"encryption the store does not do", []string{"CONSUMER_SSE=aws:kms", "CONSUMER_SSE_KMS_KEY_ID=mine"}, exitUnreachable, resultFailed, "CONSUMER_SSE", "encryption"},
		{"no NATS", []string{"NATS_URL=nats://127.0.0.1:1"}, exitUnreachable, resultFailed, "NATS_URL", "127.0.0.1:1"},
		{"what is no NATS", []string{"NATS_URL=http://127.0.0.1:1"}, exitUsage, resultFailed, "NATS_URL", "nats://host:4222"},
		{"wrong NATS password", []string{"NATS_PASSWORD=wrong"}, exitUnreachable, resultFailed, "NATS_USER", "NATS_PASSWORD"},
		{"an account without JetStream", []string{"NATS_USER=none", "NATS_PASSWORD=none"}, exitUnreachable, resultFailed, "NATS_USER", "enable JetStream"},
		{"missing rights", []string{"NATS_USER=limited", "NATS_PASSWORD=limited"}, exitUnreachable, resultFailed, "", "$KV.CV_JOBS."},
		{"streams that may not be made", []string{"CONSUMER_PROVISION=false"}, exitUnreachable, resultFailed, "CONSUMER_PROVISION", "CV_COMMANDS is missing"},
		{"more replicas than servers", []string{"CONSUMER_REPLICAS=3"}, exitUnreachable, resultFailed, "CONSUMER_REPLICAS", "number of servers"},
		{"a file that is not there", []string{"NATS_CREDS=/nowhere/creds"}, exitUsage, resultFailed, "NATS_CREDS", "no such file"},
		{"a key file that is not there", []string{"VISION_TRAINING_KEY=", "VISION_TRAINING_KEY_FILE=/nowhere/key"}, exitUsage, resultFailed, "VISION_TRAINING_KEY_FILE", "no such file"},
		{"a key file that every user may read", []string{"VISION_TRAINING_KEY=", "VISION_TRAINING_KEY_FILE=" + open}, exitDone, resultNote, "key_file of default", "chmod"},
		{"a duration without a unit", []string{"CONSUMER_DRAIN=30"}, exitUsage, resultFailed, "CONSUMER_DRAIN", "30s or 15m"},
		{"a misspelt variable", []string{"CONSUMER_BUKET=x"}, exitUsage, resultFailed, "CONSUMER_BUKET", "CONSUMER_BUCKET"},
		{"a variable of others with a prefix", []string{"CONSUMER_NATS_URL=nats://127.0.0.1"}, exitUsage, resultFailed, "CONSUMER_NATS_URL", "did you mean NATS_URL"},
		{"a port that has no number", []string{"CONSUMER_HTTP_ADDR=:http8"}, exitUsage, resultFailed, "CONSUMER_HTTP_ADDR", "port"},
		{"a link for a host", []string{"CONSUMER_BLOB_HOSTS=https://blobs.example/"}, exitUsage, resultFailed, "CONSUMER_BLOB_HOSTS", "blobs.example:8443"},
		{"no URL of the collector", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=collector"}, exitUsage, resultFailed, "OTEL_EXPORTER_OTLP_ENDPOINT", "https://host/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, found := f.doctor(t, c.vars...)
			if code != c.code {
				t.Errorf("exit %d", code)
			}
			wanted := func(one finding) bool {
				return one.Result == c.result && one.Setting == c.setting && strings.Contains(one.Detail+"; "+one.Cure, c.says)
			}
			if !slices.ContainsFunc(found, wanted) {
				t.Errorf("no finding is %s, names %s and says %q: %+v", c.result, c.setting, c.says, found)
			}
			failed := 0
			for _, one := range found {
				if one.Result == resultFailed {
					failed++
				}
				if one.Result == resultFailed || one.Document != "" {
					pages.check(t, one)
				}
			}
			if failed > 1 {
				t.Errorf("one mistake, %d failures: %+v", failed, found)
			}
		})
	}

	// With another clock all is well but that.
	d := &doctor{c: f.config, now: func() time.Time { return time.Now().Add(-time.Hour) }, skew: map[string]time.Duration{}}
	d.c.NATS.User, d.c.NATS.Password, d.c.NATS.Inbox = "service", secretOf("service"), serviceInbox
	var off []finding
	for group := range d.examine(t.Context(), nil) {
		for _, one := range group {
			if one.Result == resultFailed {
				off = append(off, one)
			}
		}
	}
	if len(off) != 2 || !strings.Contains(off[0].Detail, "behind") || !strings.Contains(off[0].Cure, "NTP") {
		t.Errorf("a clock that is an hour behind: %+v", off)
	}

	// Beside the service, too.
	f.config.NATS = d.c.NATS
	r := f.start(t)
	r.await("all is well", isReady)
	if code, found := f.doctor(t, "CONSUMER_TRACE_RETENTION=1h"); code != exitDone || !slices.ContainsFunc(found, func(one finding) bool { return strings.Contains(one.Detail, "all are there") }) {
		t.Errorf("exit %d beside the service: %+v", code, found)
	}
	if code, found := f.doctor(t, "CONSUMER_REPLICAS=3"); code != exitUnreachable || !slices.ContainsFunc(found, func(one finding) bool { return one.Setting == "CONSUMER_REPLICAS" }) {
		t.Errorf("exit %d with more replicas than there are: %+v", code, found)
	}
	r.end()
	f.leftByDoctor(t, store, locked)
}

// leftByDoctor fails if there is an object or a message that only the doctor can have made.
func (f *fixture) leftByDoctor(t *testing.T, store *sink.Store, locked string) {
	t.Helper()
	for _, one := range []*sink.Store{store, store.InBucket(locked)} {
		for o, err := range one.List(t.Context(), "") {
			if err != nil || !strings.HasSuffix(string(o.Key), deploymentKey) {
				t.Errorf("left in the bucket: %s %v", o.Key, err)
			}
		}
	}
	for user, inbox := range map[string]string{"service": serviceInbox, "other": "_INBOX"} {
		nc := f.nats.Dial(t, nats.UserInfo(user, user), nats.CustomInboxPrefix(inbox))
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		for s := range js.ListStreams(t.Context()).Info() {
			if strings.Contains(s.Config.Name, "DOCTOR") || s.State.Msgs > 0 && s.Config.Name != "KV_CV_SECRETS" {
				t.Errorf("left in %s: %+v", s.Config.Name, s.State)
			}
		}
	}
}

// documents are the pages of the documentation, by name.
type documents map[string]string

// readPages reads them. The store in this process changes its folder, so it must not run yet.
func readPages(t *testing.T) documents {
	t.Helper()
	names, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(names) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	pages := documents{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		pages["docs/"+filepath.Base(name)] = string(text)
	}
	return pages
}

// check fails unless the page that a finding names is there, has the section, and this tells of the
// variable that is to be changed.
func (pages documents) check(t *testing.T, f finding) {
	t.Helper()
	name, anchor, _ := strings.Cut(f.Document, "#")
	text, there := pages[name]
	if !there {
		t.Errorf("there is no document %q", f.Document)
	}
	if anchor == "" {
		return
	}
	parser, err := kong.New(&cli{}, kong.Bind(&program{}))
	if err != nil {
		t.Fatal(err)
	}
	known, level := settingNames(parser.Model.Node), ""
	for line := range strings.Lines(text) {
		marks, heading, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case strings.Trim(marks, "#") != "" || marks == "": // no heading
		case strings.ReplaceAll(strings.ToLower(heading), " ", "-") == anchor:
			level = marks
		case level != "" && len(marks) <= len(level):
			t.Errorf("%s does not tell of %s", f.Document, f.Setting)
			return
		}
		if level != "" && (!slices.Contains(known, f.Setting) || strings.Contains(line, "`"+f.Setting+"`") || strings.Contains(line, "`"+strings.TrimSuffix(f.Setting, "_FILE")+"`")) {
			return
		}
	}
	t.Errorf("%s has no section %s, or it does not tell of %s", name, anchor, f.Setting)
}

// TestDoctorPrints holds the form of findings for people: on a terminal they fit it, in a pipe each
// is whole.
func TestDoctorPrints(t *testing.T) {
	one := areaStorage.failure("bucket", cure(fmt.Errorf("check bucket b: NoSuchBucket \x1b[31m"), "CONSUMER_BUCKET", "create the bucket, or correct CONSUMER_BUCKET; with the right name, is it that store?"))
	for _, c := range []struct {
		screen screen
		want   string
	}{
		{screen{}, `failed   bucket: check bucket b: NoSuchBucket \x1b[31m
         setting  CONSUMER_BUCKET
         to do    create the bucket, or correct CONSUMER_BUCKET; with the right name, is it that store?
         see      docs/operators.md#storage
`},
		{screen{width: 50, color: true}, "\x1b[31mfailed\x1b[0m" + `   bucket: check bucket b: NoSuchBucket \x1b[31m
         setting  CONSUMER_BUCKET
         to do    create the bucket, or correct
                  CONSUMER_BUCKET; with the right
                  name, is it that store?
         see      docs/operators.md#storage
`},
	} {
		var out bytes.Buffer
		one.print(&program{raw: &out, screen: c.screen})
		if out.String() != c.want {
			t.Errorf("printed\n%s", &out)
		}
	}
}
