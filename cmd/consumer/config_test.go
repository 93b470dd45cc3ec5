package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/internal/secret"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
)

// minimal is the least environment `consumer run` takes.
func minimal() []string {
	return []string{
		"VISION_TRAINING_ENDPOINT=https://vision.example.net/", "VISION_TRAINING_KEY=training-key-value",
		"CONSUMER_BUCKET=bundles", "AWS_REGION=eu-central-1",
	}
}

// parse reads the settings of `consumer run` from arguments and variables.
func parse(t *testing.T, vars []string, args ...string) (config, error) {
	t.Helper()
	var commands cli
	env := newEnviron(vars)
	parser, err := kong.New(&commands, kong.Resolvers(env), kong.Exit(func(int) { t.Fatal("exit") }))
	if err != nil {
		t.Fatal(err)
	}
	addLongNames(parser.Model.Node)
	if _, err := parser.Parse(append([]string{"run"}, args...)); err != nil {
		t.Fatal(err)
	}
	return commands.Run.Settings.config(t.Context(), env)
}

// TestDefaults holds the defaults that the settings name to those of the packages that use them.
func TestDefaults(t *testing.T) {
	c, err := parse(t, minimal())
	if err != nil {
		t.Fatal(err)
	}
	want := config{
		NATS:      natsConfig{URL: "nats://127.0.0.1:4222", Inbox: serviceInbox, Subjects: natsq.DefaultPrefix},
		S3:        storeConfig{Region: "eu-central-1"},
		Log:       logConfig{Level: zerolog.InfoLevel},
		Resources: []resource{{Alias: "default", Endpoint: "https://vision.example.net/", Key: secretOf("training-key-value"), MaxRPS: cv.DefaultMaxRPS}},
		Threshold: handler.DefaultThreshold, Overlap: handler.DefaultOverlap,
		Bucket: "bundles", WorkBucket: "bundles", SSE: "none", LockMode: sink.Governance,
		Provision: true, Replicas: 1, Commands: handler.DefaultCommands, Workers: handler.DefaultUnits, Downloads: handler.DefaultDownloads, MinRate: cv.DefaultMinDownloadRate, Buffer: handler.DefaultBuffer, MaxAttempts: handler.DefaultMaxAttempts,
		Deletes: contract.DeletesEnabled, VerifyTimeout: handler.DefaultVerifyTimeout,
		Page:           pageConfig{On: true},
		TraceRetention: natsq.DefaultRetention, HTTPAddr: ":8080", Drain: 30 * time.Second,
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestSettings(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := write("key", "from-file\n")
	signing := write("signing.key", newKeyText(t))
	write("relative-key", "relative")
	empty := write("empty", " \n")
	good := write("good.yaml", "default: {endpoint: 'https://a.example/', key_file: "+key+"}\nus: {endpoint: 'https://b.example/', key_file: relative-key, max_rps: 2.5}\n")
	second := write("second.yaml", "us: {endpoint: 'https://b.example/', key_file: "+key+"}\n")

	for _, test := range []struct {
		name  string
		vars  []string
		args  []string
		wrong []string // variables named as wrong, in order
		says  string
		check func(*testing.T, config)
	}{
		{name: "flag wins over variable", vars: []string{"CONSUMER_WORKERS=7"}, args: []string{"--workers=9"}, check: func(t *testing.T, c config) {
			if c.Workers != 9 {
				t.Errorf("workers are %d", c.Workers)
			}
		}},
		{name: "a flag by its variable's whole name", args: []string{"--consumer-workers=9"}, check: func(t *testing.T, c config) {
			if c.Workers != 9 {
				t.Errorf("workers are %d", c.Workers)
			}
		}},
		{name: "set to nothing is not set", vars: []string{"CONSUMER_DRAIN=", "NATS_URL="}, check: func(t *testing.T, c config) {
			if c.Drain != 30*time.Second || c.NATS.URL != "nats://127.0.0.1:4222" {
				t.Errorf("drain is %s, NATS %s", c.Drain, c.NATS.URL)
			}
		}},
		{name: "rates", vars: []string{"CONSUMER_MIN_DOWNLOAD_RATE=1MB/s"}, check: func(t *testing.T, c config) {
			if c.MinRate != 1_000_000 {
				t.Errorf("the least rate is %d", c.MinRate)
			}
		}},
		{name: "no rate", vars: []string{"CONSUMER_MIN_DOWNLOAD_RATE=fast/s"}, wrong: []string{"CONSUMER_MIN_DOWNLOAD_RATE"}},
		{name: "NATS beyond the defaults", vars: []string{"CONSUMER_NATS_INBOX_PREFIX=_INBOX.svc", "CONSUMER_NATS_DOMAIN=hub", "CONSUMER_STREAM_MAX_BYTES=1GiB"}, check: func(t *testing.T, c config) {
			if c.NATS.Inbox != "_INBOX.svc" || c.NATS.Domain != "hub" || c.StreamMaxBytes != 1<<30 {
				t.Errorf("%+v, %d", c.NATS, c.StreamMaxBytes)
			}
		}},
		{name: "sizes", vars: []string{"CONSUMER_BUFFER=1.5GiB"}, check: func(t *testing.T, c config) {
			if c.Buffer != 3<<29 {
				t.Errorf("buffer is %d", c.Buffer)
			}
		}},
		{name: "path style follows the endpoint", vars: []string{"AWS_ENDPOINT_URL=https://minio.example/"}, check: func(t *testing.T, c config) {
			if !c.S3.PathStyle || c.S3.Endpoint != "https://minio.example/" {
				t.Errorf("%+v", c.S3)
			}
		}},
		{name: "path style can be set", vars: []string{"AWS_ENDPOINT_URL_S3=https://minio.example/", "CONSUMER_S3_PATH_STYLE=false"}, check: func(t *testing.T, c config) {
			if c.S3.PathStyle {
				t.Error("path style")
			}
		}},
		{name: "secret from a file", vars: []string{"VISION_TRAINING_KEY=", "VISION_TRAINING_KEY_FILE=" + key}, check: func(t *testing.T, c config) {
			if got, err := c.Resources[0].Key.Reveal(); got != "from-file" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		}},
		{name: "resources", vars: []string{"VISION_TRAINING_KEY=", "VISION_TRAINING_ENDPOINT=", "CONSUMER_RESOURCES=" + good, "CONSUMER_MAX_RPS=4"}, check: func(t *testing.T, c config) {
			want := []resource{
				{Alias: "default", Endpoint: "https://a.example/", Key: Secret{file: key}, MaxRPS: 4, InFile: true},
				{Alias: "us", Endpoint: "https://b.example/", Key: Secret{file: filepath.Join(dir, "relative-key")}, MaxRPS: 2.5, InFile: true},
			}
			if !slices.Equal(c.Resources, want) {
				t.Errorf("%+v", c.Resources)
			}
		}},
		{name: "resources beside the default one", vars: []string{"CONSUMER_RESOURCES=" + second}, check: func(t *testing.T, c config) {
			if len(c.Resources) != 2 || c.Resources[0].Alias != "default" || c.Resources[1].Alias != "us" {
				t.Errorf("%+v", c.Resources)
			}
		}},
		{name: "signed receipts", vars: []string{"CONSUMER_SIGNING_KEY_FILE=" + signing, "CONSUMER_TSA_URL=http://tsa.example/"}, check: func(t *testing.T, c config) {
			if c.Signing.Policy() != signature.Required {
				t.Errorf("time stamps are %s", c.Signing.Policy())
			}
			before, err := c.Signing.Key()
			if err != nil {
				t.Fatal(err)
			}
			write("signing.key", newKeyText(t)) // a rotation counts at once
			if after, err := c.Signing.Key(); err != nil || after.ID() == before.ID() {
				t.Errorf("%v, and the key is the same", err)
			}
		}},
		{name: "time stamps that may be missing", vars: []string{"CONSUMER_SIGNING_KEY_FILE=" + signing, "CONSUMER_TSA_URL=http://tsa.example/", "CONSUMER_TSA_REQUIRED=false"}, check: func(t *testing.T, c config) {
			if c.Signing.Policy() != signature.Optional {
				t.Errorf("time stamps are %s", c.Signing.Policy())
			}
		}},
		{name: "unsigned receipts", check: func(t *testing.T, c config) {
			if c.Signing != nil {
				t.Error("there is a signer")
			}
		}},
		{name: "blob hosts", vars: []string{"CONSUMER_BLOB_HOSTS= a.example , b.example:9000,"}, check: func(t *testing.T, c config) {
			if !slices.Equal(c.BlobHosts, []string{"a.example", "b.example:9000"}) {
				t.Errorf("%q", c.BlobHosts)
			}
		}},
		{name: "kubernetes service links are not settings", vars: []string{
			"CONSUMER_SERVICE_HOST=10.0.0.1", "CONSUMER_SERVICE_PORT=8080", "CONSUMER_SERVICE_PORT_HTTP=8080", "CONSUMER_PORT=tcp://10.0.0.1:8080",
			"CONSUMER_PORT_8080_TCP=x", "CONSUMER_PORT_8080_TCP_ADDR=10.0.0.1", "CONSUMER_METRICS_SERVICE_HOST=10.0.0.2",
		}},
		{name: "what is off is not asked for", vars: []string{"CONSUMER_SIGN_EXPORTS=false", "CONSUMER_METADATA_FILTER=0", "OTEL_SDK_DISABLED=true", "OTEL_SERVICE_NAME=x"}},

		{name: "nothing at all", vars: []string{"VISION_TRAINING_ENDPOINT=", "VISION_TRAINING_KEY=", "CONSUMER_BUCKET="},
			wrong: []string{"CONSUMER_BUCKET", "VISION_TRAINING_ENDPOINT"}},
		{name: "everything together", vars: []string{
			"NATS_URL=http://x", "NATS_CERT=/nowhere/cert", "CONSUMER_SUBJECT_PREFIX=a.b", "AWS_ACCESS_KEY_ID=id", "AWS_ENDPOINT_URL_S3=ftp://x", "CONSUMER_S3_PATH_STYLE=perhaps",
			"CONSUMER_PREFIX=/a", "CONSUMER_OBJECT_LOCK_MODE=forever", "CONSUMER_SSE=rot13", "CONSUMER_SSE_KMS_KEY_ID=k", "CONSUMER_PROVISION=maybe", "CONSUMER_REPLICAS=2", "CONSUMER_COMMANDS=0",
			"CONSUMER_WORKERS=x", "CONSUMER_DOWNLOADS=-1", "CONSUMER_BUFFER=1KiB", "CONSUMER_STREAM_MAX_BYTES=1KiB", "CONSUMER_NATS_INBOX_PREFIX=_INBOX.>", "CONSUMER_NATS_DOMAIN=a.b", "CONSUMER_MAX_RPS=0", "CONSUMER_MAX_ATTEMPTS=none", "CONSUMER_TRACE_RETENTION=30d",
			"CONSUMER_HTTP_ADDR=8080", "CONSUMER_DRAIN=soon", "CONSUMER_LOG_LEVEL=loud", "CONSUMER_LOG_FORMAT=xml", "CONSUMER_BLOB_HOSTS=https://x", "CONSUMER_PERFORMANCE_THRESHOLD=2",
			"CONSUMER_PERFORMANCE_OVERLAP=NaN", "CONSUMER_PSEUDONYM_KEY_FILE=" + empty, "CONSUMER_BUKET=x",
		}, wrong: []string{
			"AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL_S3", "CONSUMER_BLOB_HOSTS", "CONSUMER_BUFFER", "CONSUMER_BUKET", "CONSUMER_COMMANDS", "CONSUMER_DOWNLOADS", "CONSUMER_DRAIN",
			"CONSUMER_HTTP_ADDR", "CONSUMER_LOG_FORMAT", "CONSUMER_LOG_LEVEL", "CONSUMER_MAX_ATTEMPTS", "CONSUMER_MAX_RPS", "CONSUMER_NATS_DOMAIN", "CONSUMER_NATS_INBOX_PREFIX", "CONSUMER_OBJECT_LOCK_MODE", "CONSUMER_PERFORMANCE_OVERLAP", "CONSUMER_PERFORMANCE_THRESHOLD",
			"CONSUMER_PREFIX", "CONSUMER_PROVISION", "CONSUMER_PSEUDONYM_KEY_FILE", "CONSUMER_REPLICAS", "CONSUMER_S3_PATH_STYLE", "CONSUMER_SSE", "CONSUMER_SSE_KMS_KEY_ID",
			"CONSUMER_STREAM_MAX_BYTES", "CONSUMER_SUBJECT_PREFIX", "CONSUMER_TRACE_RETENTION", "CONSUMER_WORKERS", "NATS_CERT", "NATS_CERT", "NATS_URL",
		}},
		{name: "a short pseudonym key", vars: []string{"CONSUMER_PSEUDONYM_KEY_FILE=" + write("short", "fifteen bytes..\n")}, wrong: []string{"CONSUMER_PSEUDONYM_KEY_FILE"}, says: "has 15 bytes"},
		{name: "a pseudonym key that can be guessed", vars: []string{"CONSUMER_PSEUDONYM_KEY_FILE=" + write("weak", "0101010101010101010101\n")}, wrong: []string{"CONSUMER_PSEUDONYM_KEY_FILE"}, says: "openssl rand"},
		{name: "a pseudonym key", vars: []string{"CONSUMER_PSEUDONYM_KEY_FILE=" + write("pseudonym", "0123456789abcdef\n"), "CONSUMER_OBJECT_LOCK_MODE=COMPLIANCE"}, check: func(t *testing.T, c config) {
			if !c.PseudonymKey.IsSet() || c.LockMode != sink.Compliance {
				t.Errorf("the key is set: %t, the mode %s", c.PseudonymKey.IsSet(), c.LockMode)
			}
		}},
		{name: "a bucket with a path", vars: []string{"CONSUMER_BUCKET=s3://b", "CONSUMER_WORK_BUCKET=w/"}, wrong: []string{"CONSUMER_BUCKET", "CONSUMER_WORK_BUCKET"}},
		{name: "no region", vars: []string{"AWS_REGION="}, wrong: []string{"AWS_REGION"}},
		{name: "an endpoint of another API", vars: []string{"VISION_TRAINING_ENDPOINT=https://host.example/customvision/v3.0/Prediction/"}, wrong: []string{"VISION_TRAINING_ENDPOINT"}},
		{name: "a typing error", vars: []string{"CONSUMER_WORKER=3"}, wrong: []string{"CONSUMER_WORKER"}, says: "CONSUMER_WORKERS?"},
		{name: "not there yet", vars: []string{"CONSUMER_METADATA_FILTER=true"}, wrong: []string{"CONSUMER_METADATA_FILTER"}, says: "not supported yet"},
		{name: "a page for all", check: paged(true, false)},
		{name: "no page", vars: []string{"CONSUMER_PAGE=false"}, check: paged(false, false)},
		{name: "a page with a token", vars: []string{"CONSUMER_PAGE_TOKEN_FILE=" + write("token", "0123456789abcdef\n")}, check: paged(true, true)},
		{name: "a token that is too short", vars: []string{"CONSUMER_PAGE_TOKEN=0123456789abcde"}, wrong: []string{"CONSUMER_PAGE_TOKEN"}, says: "has 15 characters"},
		{name: "traces", vars: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318", "OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"}, check: traced(true)},
		{name: "traces alone", vars: []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://collector/v1/traces", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf"}, check: traced(true)},
		{name: "no traces", vars: []string{"OTEL_SERVICE_NAME=x"}, check: traced(false)},
		{name: "traces are disabled", vars: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=x", "OTEL_SDK_DISABLED=true"}, check: traced(false)},
		{name: "traces go nowhere", vars: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=x", "OTEL_TRACES_EXPORTER=none"}, check: traced(false)},
		{name: "traces elsewhere", vars: []string{"OTEL_TRACES_EXPORTER=zipkin"}, wrong: []string{"OTEL_TRACES_EXPORTER"}},
		{name: "traces by gRPC", vars: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"},
			wrong: []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"}, says: "port 4318"},
		{name: "a signing key that is none", vars: []string{"CONSUMER_SIGNING_KEY_FILE=" + key}, wrong: []string{"CONSUMER_SIGNING_KEY_FILE"}, says: "it holds no private key in PEM"},
		{name: "time stamps without signatures", vars: []string{"CONSUMER_TSA_URL=https://tsa.example/"}, wrong: []string{"CONSUMER_TSA_URL"}, says: "needs CONSUMER_SIGNING_KEY_FILE"},
		{name: "no authority", vars: []string{"CONSUMER_SIGNING_KEY_FILE=" + signing, "CONSUMER_TSA_URL=tsa.example", "CONSUMER_TSA_REQUIRED=perhaps"}, wrong: []string{"CONSUMER_TSA_REQUIRED", "CONSUMER_TSA_URL"}},
		{name: "value and file", vars: []string{"VISION_TRAINING_KEY_FILE=" + key}, wrong: []string{"VISION_TRAINING_KEY"}, says: "both set"},
		{name: "an empty secret", vars: []string{"VISION_TRAINING_KEY=", "VISION_TRAINING_KEY_FILE=" + empty}, wrong: []string{"VISION_TRAINING_KEY_FILE"}, says: "is empty"},
		{name: "a password without a user", vars: []string{"NATS_PASSWORD=x"}, wrong: []string{"NATS_USER"}},
		{name: "two defaults", vars: []string{"CONSUMER_RESOURCES=" + good}, wrong: []string{"CONSUMER_RESOURCES"}, says: "set one of them"},
		{name: "no default", vars: []string{"VISION_TRAINING_KEY=", "VISION_TRAINING_ENDPOINT=", "CONSUMER_RESOURCES=" + second}, wrong: []string{"CONSUMER_RESOURCES"}, says: "no alias default"},
		{name: "no file of resources", vars: []string{"CONSUMER_RESOURCES=" + dir + "/none"}, wrong: []string{"CONSUMER_RESOURCES"}, says: "cannot be read"},
		{name: "no key", vars: []string{"VISION_TRAINING_KEY=", "VISION_TRAINING_ENDPOINT=https://faces.cognitiveservices.azure.us/"}, check: func(t *testing.T, c config) {
			if c.Resources[0].Key.IsSet() {
				t.Error("it has a key")
			}
		}},
		{name: "no key at a regional endpoint", vars: []string{"VISION_TRAINING_KEY=", "VISION_TRAINING_ENDPOINT=https://westeurope.api.cognitive.microsoft.com/"},
			wrong: []string{"VISION_TRAINING_ENDPOINT"}, says: "without VISION_TRAINING_KEY or VISION_TRAINING_KEY_FILE Entra ID is used: its tokens are taken at the resource's own sub-domain only"},
		{name: "no key at a host that may change its resource", vars: []string{"VISION_TRAINING_KEY=", "VISION_TRAINING_ENDPOINT=https://gateway.example/"},
			wrong: []string{"VISION_TRAINING_ENDPOINT"}, says: "not at gateway.example"},
		{name: "a token in plain text", vars: []string{"VISION_TRAINING_KEY=", "VISION_TRAINING_ENDPOINT=http://faces.cognitiveservices.azure.com/"}, wrong: []string{"VISION_TRAINING_ENDPOINT"}},
		{name: "an endpoint in plain text", vars: []string{"VISION_TRAINING_ENDPOINT=http://vision.example.net/"},
			wrong: []string{"VISION_TRAINING_ENDPOINT"}, says: "CONSUMER_ALLOW_HTTP=true"},
		{name: "endpoints in plain text in the file", vars: []string{"CONSUMER_RESOURCES=" + write("http.yaml",
			"a: {endpoint: 'http://10.0.0.1/', key_file: "+key+"}\nb: {endpoint: 'http://localhost.example/', key_file: "+key+"}\nc: {endpoint: 'http://127.0.0.1.example/', key_file: "+key+"}\n")},
			wrong: []string{"CONSUMER_RESOURCES", "CONSUMER_RESOURCES", "CONSUMER_RESOURCES"}, says: "b: is http://"},
		{name: "plain text that is allowed", vars: []string{"VISION_TRAINING_ENDPOINT=http://vision.example.net/", "CONSUMER_ALLOW_HTTP=true"}},
		{name: "plain text within the machine", vars: []string{"VISION_TRAINING_ENDPOINT=http://LOCALHOST:9080/", "CONSUMER_RESOURCES=" + write("loopback.yaml",
			"a: {endpoint: 'http://127.3.2.1:9080/', key_file: "+key+"}\nb: {endpoint: 'http://[::1]:9080/', key_file: "+key+"}\n")}},
		{name: "a token in plain text is not allowed", vars: []string{"VISION_TRAINING_KEY=", "VISION_TRAINING_ENDPOINT=http://faces.cognitiveservices.azure.com/", "CONSUMER_ALLOW_HTTP=true"},
			wrong: []string{"VISION_TRAINING_ENDPOINT"}},
		{name: "plain text perhaps", vars: []string{"CONSUMER_ALLOW_HTTP=perhaps"}, wrong: []string{"CONSUMER_ALLOW_HTTP"}},
		{name: "traces that are gone before what was signed has expired", vars: []string{"CONSUMER_TRUSTED_SIGNERS=" + alice.Key(), "CONSUMER_AUDIENCE=" + here, "CONSUMER_TRACE_RETENTION=167h"},
			wrong: []string{"CONSUMER_TRACE_RETENTION"}, says: "at least 168h0m0s with CONSUMER_TRUSTED_SIGNERS"},
		{name: "traces as long as what was signed counts", vars: []string{"CONSUMER_TRUSTED_SIGNERS=" + alice.Key(), "CONSUMER_AUDIENCE=" + here, "CONSUMER_TRACE_RETENTION=168h"}},
		{name: "short traces where nothing is signed", vars: []string{"CONSUMER_TRACE_RETENTION=1h"}},
		{name: "Entra ID", vars: []string{"CONSUMER_RESOURCES=" + write("entra.yaml", "us: {endpoint: 'https://b.cognitiveservices.azure.com/', entra: true, max_rps: 3}\n")}, check: func(t *testing.T, c config) {
			if us := c.Resources[1]; us.Key.IsSet() || us.MaxRPS != 3 {
				t.Errorf("%+v", us)
			}
		}},
		{name: "Entra ID at a regional endpoint", vars: []string{"CONSUMER_RESOURCES=" + write("regional.yaml", "us: {endpoint: 'https://westus.api.cognitive.microsoft.com/', entra: true}\n")},
			wrong: []string{"CONSUMER_RESOURCES"}, says: "us: entra: its tokens are taken at the resource's own sub-domain only"},
		{name: "Entra ID and a key", vars: []string{"CONSUMER_RESOURCES=" + write("both.yaml", "us: {endpoint: 'https://b.cognitiveservices.azure.com/', entra: true, key_file: k}\n")},
			wrong: []string{"CONSUMER_RESOURCES"}, says: "key_file and entra are both set"},
		{name: "neither Entra ID nor a key", vars: []string{"CONSUMER_RESOURCES=" + write("neither.yaml", "us: {endpoint: 'https://b.cognitiveservices.azure.com/', entra: false}\n")},
			wrong: []string{"CONSUMER_RESOURCES"}, says: "key_file is needed, or entra: true"},
		{name: "an unknown field", vars: []string{"CONSUMER_RESOURCES=" + write("field.yaml", "us: {endpoint: 'https://b.example/', keyfile: x}\n")}, wrong: []string{"CONSUMER_RESOURCES"}, says: "keyfile"},
		{name: "a file that cannot be read is told of once", vars: []string{"VISION_TRAINING_KEY=", "VISION_TRAINING_ENDPOINT=", "CONSUMER_RESOURCES=" + write("typo.yaml", "default: {endpoint: 'https://b.example/', keyfile: x}\n")},
			wrong: []string{"CONSUMER_RESOURCES"}, says: "keyfile"},
		{name: "an alias twice", vars: []string{"CONSUMER_RESOURCES=" + write("twice.yaml", "us: {endpoint: 'https://b.example/', key_file: k}\nus: {endpoint: 'https://b.example/', key_file: k}\n")}, wrong: []string{"CONSUMER_RESOURCES"}},
		{name: "an alias twice but for the case of letters", vars: []string{"CONSUMER_RESOURCES=" + write("case.yaml", "us: {endpoint: 'https://b.example/', key_file: k}\nUS: {endpoint: 'https://b.example/', key_file: k}\n")},
			wrong: []string{"CONSUMER_RESOURCES", "CONSUMER_RESOURCES", "CONSUMER_RESOURCES"}, says: "differs from another alias only in the case"},
		{name: "several problems of resources", vars: []string{"CONSUMER_RESOURCES=" + write("many.yaml", "'a b': {endpoint: x, max_rps: -1}\n")},
			wrong: []string{"CONSUMER_RESOURCES", "CONSUMER_RESOURCES", "CONSUMER_RESOURCES", "CONSUMER_RESOURCES"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := parse(t, append(minimal(), test.vars...), test.args...)
			if exitCode(err) != 0 && exitCode(err) != exitUsage && err != nil {
				t.Errorf("exit code %d", exitCode(err))
			}
			if got := wrongVariables(err); !slices.Equal(got, test.wrong) {
				t.Errorf("complains of %q, want %q:\n%v", got, test.wrong, err)
			}
			if test.says != "" && !strings.Contains(fmt.Sprint(err), test.says) {
				t.Errorf("does not say %q:\n%v", test.says, err)
			}
			if strings.Contains(fmt.Sprint(err), "training-key-value") {
				t.Errorf("shows a secret: %v", err)
			}
			if test.check != nil && err == nil {
				test.check(t, c)
			}
		})
	}
}

// wrongVariables are the variables an errSettings names, in order.
// newKeyText is a new private key in PEM.
func newKeyText(t *testing.T) string {
	t.Helper()
	text, _, err := signature.Generate(signature.P256)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func wrongVariables(err error) []string {
	if err == nil {
		return nil
	}
	var names []string
	for _, line := range strings.Split(err.Error(), "\n")[1:] {
		names = append(names, strings.Fields(line)[0])
	}
	return names
}

func TestSecretDoesNotShow(t *testing.T) {
	s := secretOf("hunter2")
	c := config{Resources: []resource{{Key: s}}, NATS: natsConfig{Password: s}}
	var log bytes.Buffer
	logger := zerolog.New(&log)
	logger.Info().Interface("config", c).Stringer("secret", s).Msg("")
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %q %d %x %v", c, c, c, s, s, s, s, &s) + log.String() + string(text)
	if strings.Contains(all, "hunter2") || strings.Contains(all, fmt.Sprintf("%x", "hunter2")) {
		t.Errorf("shows: %s", all)
	}
	if !strings.Contains(all, secret.Redacted) {
		t.Error("does not say that something was redacted")
	}
	if got := fmt.Sprint(Secret{}); got != "" {
		t.Errorf("an unset secret prints %q", got)
	}
}

func TestSecretFileIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	for _, want := range []string{"first", "second"} {
		if err := os.WriteFile(path, []byte(want+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := (Secret{file: path}).Reveal(); got != want || err != nil {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "abc", 0}, {"abc", "ab", 1}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"ab", "ba", 2}} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("distance(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

// traced checks whether a configuration exports traces.
func traced(want bool) func(*testing.T, config) {
	return func(t *testing.T, c config) {
		t.Helper()
		if c.Traces.On != want {
			t.Errorf("traces are exported: %t", c.Traces.On)
		}
	}
}

// paged checks whether a configuration has a live page, and a token for it.
func paged(on, token bool) func(*testing.T, config) {
	return func(t *testing.T, c config) {
		t.Helper()
		if c.Page.On != on || c.Page.Token.IsSet() != token {
			t.Errorf("a page: %t, a token: %t", c.Page.On, c.Page.Token.IsSet())
		}
	}
}

// What the AWS SDK cannot read is told with the variable that names it.
func TestFilesOfAWSNameTheirVariable(t *testing.T) {
	for variable, value := range map[string]string{"AWS_CA_BUNDLE": filepath.Join(t.TempDir(), "none"), "AWS_PROFILE": "none"} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, value)
			t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "config"))
			if _, err := parse(t, minimal()); err == nil || !strings.Contains(err.Error(), variable) || strings.Contains(err.Error(), "AWS_REGION") {
				t.Errorf("says %v", err)
			}
		})
	}
}
