package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/trust"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
)

// All settings are text until they are all checked together: every problem is to be reported at
// once, with the variable's name.

// serviceSettings are all settings of `consumer run`.
type serviceSettings struct {
	NATS   natsSettings   `embed:"" group:"NATS:"`
	Vision visionSettings `embed:"" group:"Custom Vision:"`
	S3     storeAccess    `embed:"" group:"Storage:"`
	Bucket bucketSettings `embed:"" group:"Storage:"`
	Work   workSettings   `embed:"" group:"Service:"`
	Trust  trustSettings  `embed:"" group:"Signed commands:"`
	Log    logSettings    `embed:"" group:"Service:"`
	Page   pageSettings   `embed:"" group:"Service:"`
}

type visionSettings struct {
	Endpoint  string `name:"vision-training-endpoint" var:"VISION_TRAINING_ENDPOINT" placeholder:"URL" help:"Endpoint of the training resource, https://NAME.cognitiveservices.azure.com/."`
	Key       string `name:"vision-training-key" var:"VISION_TRAINING_KEY" secret:"" hidden:"" placeholder:"TEXT" help:"Training key of the resource."`
	KeyFile   string `name:"vision-training-key-file" var:"VISION_TRAINING_KEY_FILE" value:"VISION_TRAINING_KEY" placeholder:"FILE" help:"File with the training key; without a key, Entra ID is used (AZURE_*)."`
	Resources string `name:"resources" var:"CONSUMER_RESOURCES" placeholder:"FILE" help:"YAML file with several resources, alias: {endpoint, key_file or entra, max_rps, account}."`
	MaxRPS    string `name:"max-rps" var:"CONSUMER_MAX_RPS" default:"10" placeholder:"N" help:"Training API calls a second, of this process to one resource; default ${default}."`
	BlobHosts string `name:"blob-hosts" var:"CONSUMER_BLOB_HOSTS" placeholder:"SUFFIX[:PORT],…" help:"More hosts that download links may point to."`
	AllowHTTP string `name:"allow-http" var:"CONSUMER_ALLOW_HTTP" default:"false" placeholder:"BOOL" help:"Allow http:// endpoints of the Training API on other machines: key and data then go over the network in plain text; default ${default}."`
	Threshold string `name:"performance-threshold" var:"CONSUMER_PERFORMANCE_THRESHOLD" default:"0.5" placeholder:"P" help:"Probability threshold for reading iteration performance; default ${default}."`
	Overlap   string `name:"performance-overlap" var:"CONSUMER_PERFORMANCE_OVERLAP" default:"0.3" placeholder:"P" help:"Overlap threshold for reading iteration performance of object detection; default ${default}."`
}

type bucketSettings struct {
	bundleSettings     `embed:""`
	WorkBucket         string `name:"work-bucket" var:"CONSUMER_WORK_BUCKET" placeholder:"NAME" help:"Bucket for working objects; default: the bucket for bundles."`
	Adopt              string `name:"adopt-prefix" var:"CONSUMER_ADOPT_PREFIX" default:"false" placeholder:"BOOL" help:"Take over a prefix that another deployment marked as its own; default ${default}."`
	encryptionSettings `embed:""`
	LockMode           string `name:"object-lock-mode" var:"CONSUMER_OBJECT_LOCK_MODE" default:"GOVERNANCE" placeholder:"MODE" help:"Object Lock mode of the bundles that commands ask to retain: GOVERNANCE or COMPLIANCE; default ${default}."`
}

// bundleSettings say where bundles are.
type bundleSettings struct {
	Bucket string `name:"bucket" var:"CONSUMER_BUCKET" placeholder:"NAME" help:"Bucket for bundles."`
	Prefix string `name:"prefix" var:"CONSUMER_PREFIX" placeholder:"TEXT" help:"What all keys begin with, literally."`
}

// check adds the problems of the settings.
func (b bundleSettings) check(p *problems) {
	if b.Bucket == "" {
		p.add("CONSUMER_BUCKET", "is needed: the bucket that bundles are kept in")
	}
	if _, err := sink.NewLayout(b.Prefix, "any"); err != nil {
		p.add("CONSUMER_PREFIX", "%v", err)
	}
}

// encryptionSettings say how objects are encrypted.
type encryptionSettings struct {
	SSE      string `name:"sse" var:"CONSUMER_SSE" default:"none" placeholder:"KIND" help:"Server-side encryption: none, AES256 or aws:kms; default ${default}."`
	KMSKeyID string `name:"sse-kms-key-id" var:"CONSUMER_SSE_KMS_KEY_ID" placeholder:"ID" help:"Key of aws:kms; default the account's."`
}

// check gives the kind of encryption.
func (e encryptionSettings) check(p *problems) string {
	kind := p.choice("CONSUMER_SSE", e.SSE, "none", "AES256", "aws:kms")
	if e.KMSKeyID != "" && kind != "aws:kms" {
		p.add("CONSUMER_SSE_KMS_KEY_ID", "needs CONSUMER_SSE=aws:kms")
	}
	return kind
}

type workSettings struct {
	Provision      string `name:"provision" var:"CONSUMER_PROVISION" default:"true" placeholder:"BOOL" help:"Create missing streams and buckets of NATS at start; with false, only check them; default ${default}."`
	Replicas       string `name:"replicas" var:"CONSUMER_REPLICAS" default:"1" placeholder:"N" help:"Replicas of streams and buckets: 1, 3 or 5; default ${default}."`
	StreamMaxBytes string `name:"stream-max-bytes" var:"CONSUMER_STREAM_MAX_BYTES" placeholder:"SIZE" help:"max_bytes of each stream and bucket that is created, for NATS accounts that demand it; default: none, but for the queue of commands."`
	Commands       string `name:"commands" var:"CONSUMER_COMMANDS" default:"16" placeholder:"N" help:"Exports at once, and as many deletes; default ${default}."`
	Workers        string `name:"workers" var:"CONSUMER_WORKERS" default:"4" placeholder:"N" help:"Units of work at once; default ${default}."`
	Downloads      string `name:"downloads" var:"CONSUMER_DOWNLOADS" default:"32" placeholder:"N" help:"Blobs downloaded at once; default ${default}."`
	MinRate        string `name:"min-download-rate" var:"CONSUMER_MIN_DOWNLOAD_RATE" default:"4KiB/s" placeholder:"SIZE/s" help:"Least rate of a download, in bytes a second; a slower one is tried again later; default ${default}."`
	Buffer         string `name:"buffer" var:"CONSUMER_BUFFER" default:"64MiB" placeholder:"SIZE" help:"Bytes of blobs in memory at once; default ${default}."`
	MaxAttempts    string `name:"max-attempts" var:"CONSUMER_MAX_ATTEMPTS" default:"10" placeholder:"N" help:"Attempts after which a command fails; default ${default}."`
	Deletes        string `name:"deletes" var:"CONSUMER_DELETES" default:"enabled" placeholder:"POLICY" help:"Deletes to carry out: enabled (all), approved (only with approved_plan) or disabled; dry runs are always allowed; default ${default}."`
	VerifyTimeout  string `name:"verify-timeout" var:"CONSUMER_VERIFY_TIMEOUT" default:"15m" placeholder:"DURATION" help:"How long Custom Vision may still show a deleted thing; default ${default}."`
	TraceRetention string `name:"trace-retention" var:"CONSUMER_TRACE_RETENTION" default:"720h" placeholder:"DURATION" help:"How long NATS keeps events, dead letters, ledgers and jobs after the command has ended; default ${default}."`
	PseudonymKey   string `name:"pseudonym-key-file" var:"CONSUMER_PSEUDONYM_KEY_FILE" placeholder:"FILE" help:"File with the key for pseudonyms of metadata values, at least 16 random bytes; without it they are shown as redacted."`
	SigningKey     string `name:"signing-key-file" var:"CONSUMER_SIGNING_KEY_FILE" placeholder:"FILE" help:"PEM file with the private key (P-256 or Ed25519) that receipts are signed with; consumer keys new makes one; without it they are unsigned."`
	TSAURL         string `name:"tsa-url" var:"CONSUMER_TSA_URL" placeholder:"URL" help:"Time stamp authority (RFC 3161) that puts its time to the signatures of receipts."`
	TSARequired    string `name:"tsa-required" var:"CONSUMER_TSA_REQUIRED" default:"true" placeholder:"BOOL" help:"Wait for the time stamp authority; with false, receipts go without time stamps while it does not answer; default ${default}."`
	HTTPAddr       string `name:"http-addr" var:"CONSUMER_HTTP_ADDR" default:":8080" placeholder:"HOST:PORT" help:"Address of /healthz, /readyz, /metrics and the live page; default ${default}."`
	Drain          string `name:"drain" var:"CONSUMER_DRAIN" default:"30s" placeholder:"DURATION" help:"Time to finish or hand back work after the first signal; default ${default}."`
}

// leastStream is room for a few commands of the largest size. In bytes.
const leastStream = 8 << 20

// leastBuffer is room for one blob in memory; bigger ones are spooled. In bytes.
const leastBuffer = 8 << 20

// config is the checked configuration of `consumer run`.
type config struct {
	NATS      natsConfig
	S3        storeConfig
	Log       logConfig
	Traces    traceConfig
	Page      pageConfig
	Resources []resource // sorted by alias
	BlobHosts []string

	Threshold, Overlap float64

	Bucket, WorkBucket, Prefix string
	AdoptPrefix                bool
	SSE, KMSKeyID              string
	LockMode                   string

	Provision      bool
	Replicas       int
	StreamMaxBytes int64 // 0: not set
	Commands       int
	Workers        int
	Downloads      int
	MinRate        int64 // of downloads, bytes a second
	Buffer         int64 // bytes
	MaxAttempts    int
	Deletes        contract.DeletePolicy
	Trust          trust.Policy
	VerifyTimeout  time.Duration
	TraceRetention time.Duration
	PseudonymKey   Secret
	Signing        *signature.Maker `json:"-"` // nil: receipts are unsigned
	SigningKeyFile string
	HTTPAddr       string
	Drain          time.Duration
}

// configFrom is the config of `consumer run` in an environment, without flags. What is not set has
// its default, which is written in the tags above and nowhere else.
func configFrom(ctx context.Context, vars []string) (config, error) {
	var s serviceSettings
	env := newEnviron(vars)
	parser, err := kong.New(&s, kong.Resolvers(env))
	if err == nil {
		_, err = parseLine(parser, env, nil)
	}
	if err != nil {
		return config{}, fmt.Errorf("read the settings: %w", err)
	}
	return s.config(ctx, env)
}

// config checks all settings together.
func (s serviceSettings) config(ctx context.Context, e *environ) (config, error) {
	c, p := s.check(ctx, e)
	return c, p.err()
}

// check is config, with each problem by itself. What a wrong setting was to set has its zero value.
func (s serviceSettings) check(ctx context.Context, e *environ) (config, problems) {
	p := e.unknown()
	e.refuseUnsupported(&p)
	c := config{
		NATS: s.NATS.config(&p),
		S3:   s.S3.config(&p),
		Log:  s.Log.config(&p),

		Traces: e.traces(&p),
		Page:   s.Page.config(&p),

		BlobHosts: list(s.Vision.BlobHosts),
		Threshold: p.fraction("CONSUMER_PERFORMANCE_THRESHOLD", s.Vision.Threshold),
		Overlap:   p.fraction("CONSUMER_PERFORMANCE_OVERLAP", s.Vision.Overlap),

		Bucket:     s.Bucket.Bucket,
		WorkBucket: s.Bucket.WorkBucket,
		Prefix:     s.Bucket.Prefix,

		AdoptPrefix: p.boolean("CONSUMER_ADOPT_PREFIX", s.Bucket.Adopt),
		SSE:         s.Bucket.encryptionSettings.check(&p),
		KMSKeyID:    s.Bucket.KMSKeyID,
		LockMode:    p.choice("CONSUMER_OBJECT_LOCK_MODE", s.Bucket.LockMode, sink.Governance, sink.Compliance),

		Provision:      p.boolean("CONSUMER_PROVISION", s.Work.Provision),
		Replicas:       p.integer("CONSUMER_REPLICAS", s.Work.Replicas, 1, 5),
		Commands:       p.integer("CONSUMER_COMMANDS", s.Work.Commands, 1, 1000),
		Workers:        p.integer("CONSUMER_WORKERS", s.Work.Workers, 1, 1000),
		Downloads:      p.integer("CONSUMER_DOWNLOADS", s.Work.Downloads, 1, 1000),
		MinRate:        p.size("CONSUMER_MIN_DOWNLOAD_RATE", strings.TrimSuffix(s.Work.MinRate, "/s"), 1),
		Buffer:         p.size("CONSUMER_BUFFER", s.Work.Buffer, leastBuffer),
		MaxAttempts:    p.integer("CONSUMER_MAX_ATTEMPTS", s.Work.MaxAttempts, 1, 1000),
		VerifyTimeout:  p.duration("CONSUMER_VERIFY_TIMEOUT", s.Work.VerifyTimeout, time.Second),
		TraceRetention: p.duration("CONSUMER_TRACE_RETENTION", s.Work.TraceRetention, time.Minute),
		PseudonymKey:   p.macKey("CONSUMER_PSEUDONYM_KEY", s.Work.PseudonymKey),
		HTTPAddr:       s.Work.HTTPAddr,
		Drain:          p.duration("CONSUMER_DRAIN", s.Work.Drain, 0),
	}
	if s.Work.StreamMaxBytes != "" {
		c.StreamMaxBytes = p.size("CONSUMER_STREAM_MAX_BYTES", s.Work.StreamMaxBytes, leastStream)
	}
	c.Signing, c.SigningKeyFile = s.Work.signing(&p), s.Work.SigningKey
	c.NATS.Inbox = cmp.Or(c.NATS.Inbox, serviceInbox)
	c.Deletes = contract.DeletePolicy(p.choice("CONSUMER_DELETES", s.Work.Deletes, string(contract.DeletesEnabled), string(contract.DeletesApproved), string(contract.DeletesDisabled)))
	c.Trust = s.Trust.policy(&p)
	if len(c.Trust.Signers) > 0 && c.TraceRetention > 0 && c.TraceRetention < trust.MaxAhead {
		p.add("CONSUMER_TRACE_RETENTION", "%s must be at least %s with CONSUMER_TRUSTED_SIGNERS: a copy of a signed delete that was refused or cancelled must not outlive the job that says so", c.TraceRetention, trust.MaxAhead)
	}
	rps := p.rate("CONSUMER_MAX_RPS", s.Vision.MaxRPS)
	c.Resources = s.Vision.resources(&p, rps)
	if _, err := cv.New("https://any.example", cv.TrainingKey("any"), cv.Options{BlobHosts: c.BlobHosts}); err != nil {
		p.add("CONSUMER_BLOB_HOSTS", "%s: write hosts alone, such as blobs.example or blobs.example:8443", strings.TrimPrefix(err.Error(), "blob hosts: "))
	}
	s.Bucket.bundleSettings.check(&p)
	p.bucketName("CONSUMER_BUCKET", c.Bucket)
	p.bucketName("CONSUMER_WORK_BUCKET", c.WorkBucket)
	if c.WorkBucket == "" {
		c.WorkBucket = c.Bucket
	}
	if c.Replicas%2 == 0 && c.Replicas > 0 {
		p.add("CONSUMER_REPLICAS", "%d is not 1, 3 or 5", c.Replicas)
	}
	if _, port, err := net.SplitHostPort(c.HTTPAddr); err != nil {
		p.add("CONSUMER_HTTP_ADDR", "%q is not host:port or :port", c.HTTPAddr)
	} else if _, err := net.DefaultResolver.LookupPort(ctx, "tcp", port); err != nil {
		p.add("CONSUMER_HTTP_ADDR", "%q is no port: use a number from 0 to 65535", port)
	}
	if _, err := s3Client(ctx, c.S3, nil); err != nil {
		p.add(awsVariable(err), "%v", err)
	}
	return c, p
}

// bucketName adds a problem for a bucket that is named by more than its name.
func (p *problems) bucketName(variable, name string) {
	if strings.Contains(name, "/") && !strings.HasPrefix(name, "arn:") { // "tenant:bucket" is a bucket of Ceph
		p.add(variable, "%q is more than the name of a bucket: leave out s3:// and the path, which is for CONSUMER_PREFIX", name)
	}
}

// awsVariable is the variable that the SDK's complaint is about, which has no types.
func awsVariable(err error) string {
	switch text := err.Error(); {
	case strings.Contains(text, "CA bundle"), strings.HasPrefix(text, "open "):
		return "AWS_CA_BUNDLE"
	case strings.Contains(text, "profile"):
		return "AWS_PROFILE"
	}
	return "AWS_REGION"
}
