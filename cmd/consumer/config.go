package main

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// errSettings matches every complaint about settings.
var errSettings = errors.New("settings")

// settingsError is a complaint about settings, as it is printed.
type settingsError string

func (e settingsError) Error() string        { return string(e) }
func (e settingsError) Is(target error) bool { return target == errSettings }

// The settings below are text until they are all checked together: every problem is to be reported
// at once, with the variable's name.

// natsSettings are named as the nats command line names them.
type natsSettings struct {
	URL          string `name:"nats-url" var:"NATS_URL" default:"nats://127.0.0.1:4222" placeholder:"URL,…" help:"NATS servers; default ${default}."`
	Creds        string `name:"nats-creds" var:"NATS_CREDS" placeholder:"FILE" help:"NATS user credentials."`
	NKey         string `name:"nats-nkey" var:"NATS_NKEY" placeholder:"FILE" help:"NATS NKey seed."`
	User         string `name:"nats-user" var:"NATS_USER" placeholder:"NAME" help:"NATS user name, or a token without a password."`
	Password     string `name:"nats-password" var:"NATS_PASSWORD" placeholder:"TEXT" help:"NATS password."`
	PasswordFile string `name:"nats-password-file" var:"NATS_PASSWORD_FILE" placeholder:"FILE" help:"File with the NATS password."`
	CA           string `name:"nats-ca" var:"NATS_CA" placeholder:"FILE" help:"CA certificates that NATS servers are checked with."`
	Cert         string `name:"nats-cert" var:"NATS_CERT" placeholder:"FILE" help:"TLS client certificate."`
	Key          string `name:"nats-key" var:"NATS_KEY" placeholder:"FILE" help:"TLS client key."`
	Subjects     string `name:"subject-prefix" var:"CONSUMER_SUBJECT_PREFIX" default:"cv" placeholder:"WORD" help:"First token of all subjects, and in upper case of streams and buckets; default ${default}."`
}

// natsConfig is how NATS is reached.
type natsConfig struct {
	URL, Creds, NKey, User string
	Password               Secret
	CA, Cert, Key          string
	Subjects               string
}

var subjectToken = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

func (s natsSettings) config(p *problems) natsConfig {
	c := natsConfig{
		URL: s.URL, User: s.User,
		Creds:    p.file("NATS_CREDS", s.Creds),
		NKey:     p.file("NATS_NKEY", s.NKey),
		Password: p.secret("NATS_PASSWORD", s.Password, s.PasswordFile),
		CA:       p.file("NATS_CA", s.CA),
		Cert:     p.file("NATS_CERT", s.Cert),
		Key:      p.file("NATS_KEY", s.Key),
		Subjects: s.Subjects,
	}
	for server := range strings.SplitSeq(s.URL, ",") {
		server = strings.TrimSpace(server)
		if !strings.Contains(server, "://") {
			server = "nats://" + server
		}
		if u, err := url.Parse(server); err != nil || u.Hostname() == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			p.add("NATS_URL", "is not a list of NATS servers such as nats://host:4222") // not quoted: it may hold a password
			break
		}
	}
	if (s.Cert == "") != (s.Key == "") {
		p.add("NATS_CERT", "and NATS_KEY go together: one is set without the other")
	}
	if c.Password.IsSet() && s.User == "" {
		p.add("NATS_USER", "is needed with NATS_PASSWORD")
	}
	if !subjectToken.MatchString(s.Subjects) {
		p.add("CONSUMER_SUBJECT_PREFIX", "%q is not a word of letters, digits, - and _ (at most 32)", s.Subjects)
	}
	return c
}

// storeAccess is how S3 is reached, named as the AWS SDK names it. What is not set comes from the
// SDK's default chain.
type storeAccess struct {
	Region           string `name:"aws-region" var:"AWS_REGION,AWS_DEFAULT_REGION" placeholder:"NAME" help:"Region of the bucket; us-east-1 where an endpoint is set."`
	Endpoint         string `name:"aws-endpoint-url-s3" var:"AWS_ENDPOINT_URL_S3,AWS_ENDPOINT_URL" placeholder:"URL" help:"Endpoint of an S3-compatible store other than AWS."`
	KeyID            string `name:"aws-access-key-id" var:"AWS_ACCESS_KEY_ID" placeholder:"ID" help:"Access key; without one, the AWS SDK's default chain."`
	KeyIDFile        string `name:"aws-access-key-id-file" var:"AWS_ACCESS_KEY_ID_FILE" placeholder:"FILE" help:"File with the access key."`
	Secret           string `name:"aws-secret-access-key" var:"AWS_SECRET_ACCESS_KEY" placeholder:"TEXT" help:"Secret access key."`
	SecretFile       string `name:"aws-secret-access-key-file" var:"AWS_SECRET_ACCESS_KEY_FILE" placeholder:"FILE" help:"File with the secret access key."`
	SessionToken     string `name:"aws-session-token" var:"AWS_SESSION_TOKEN" placeholder:"TEXT" help:"Session token of temporary credentials."`
	SessionTokenFile string `name:"aws-session-token-file" var:"AWS_SESSION_TOKEN_FILE" placeholder:"FILE" help:"File with the session token."`
	PathStyle        string `name:"s3-path-style" var:"CONSUMER_S3_PATH_STYLE" placeholder:"BOOL" help:"Bucket in the path instead of the host name; default true where an endpoint is set, else false."`
}

// storeConfig is how S3 is reached.
type storeConfig struct {
	Region, Endpoint            string
	KeyID, Secret, SessionToken Secret // unset: the SDK's default chain
	PathStyle                   bool
	Transport                   http.RoundTripper // nil: the SDK's; not a setting
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

// logSettings are what this process says of itself.
type logSettings struct {
	Level  string `name:"log-level" var:"CONSUMER_LOG_LEVEL" default:"info" placeholder:"LEVEL" help:"debug, info, warn or error; default ${default}."`
	Format string `name:"log-format" var:"CONSUMER_LOG_FORMAT" default:"json" placeholder:"FORMAT" help:"json or console; default ${default}."`
}

type logConfig struct {
	Level   zerolog.Level
	Console bool
}

func (s logSettings) config(p *problems) logConfig {
	levels := []string{"debug", "info", "warn", "error"}
	level := p.choice("CONSUMER_LOG_LEVEL", s.Level, levels...)
	c := logConfig{Console: p.choice("CONSUMER_LOG_FORMAT", s.Format, "json", "console") == "console"}
	c.Level, _ = zerolog.ParseLevel(level) // one of four that it knows
	return c
}

// serviceSettings are all settings of `consumer run`.
type serviceSettings struct {
	NATS   natsSettings   `embed:"" group:"NATS:"`
	Vision visionSettings `embed:"" group:"Custom Vision:"`
	S3     storeAccess    `embed:"" group:"Storage:"`
	Bucket bucketSettings `embed:"" group:"Storage:"`
	Work   workSettings   `embed:"" group:"Service:"`
	Log    logSettings    `embed:"" group:"Service:"`
}

type visionSettings struct {
	Endpoint  string `name:"vision-training-endpoint" var:"VISION_TRAINING_ENDPOINT" placeholder:"URL" help:"Endpoint of the training resource, https://NAME.cognitiveservices.azure.com/."`
	Key       string `name:"vision-training-key" var:"VISION_TRAINING_KEY" placeholder:"TEXT" help:"Training key of the resource."`
	KeyFile   string `name:"vision-training-key-file" var:"VISION_TRAINING_KEY_FILE" placeholder:"FILE" help:"File with the training key."`
	Resources string `name:"resources" var:"CONSUMER_RESOURCES" placeholder:"FILE" help:"YAML file with several resources, alias: {endpoint, key_file, max_rps, account}."`
	MaxRPS    string `name:"max-rps" var:"CONSUMER_MAX_RPS" default:"10" placeholder:"N" help:"Training API calls a second of this process to one resource; default ${default}."`
	BlobHosts string `name:"blob-hosts" var:"CONSUMER_BLOB_HOSTS" placeholder:"SUFFIX[:PORT],…" help:"Further hosts that blob links may point to."`
	Threshold string `name:"performance-threshold" var:"CONSUMER_PERFORMANCE_THRESHOLD" default:"0.5" placeholder:"P" help:"Probability threshold that iteration performance is asked for with; default ${default}."`
	Overlap   string `name:"performance-overlap" var:"CONSUMER_PERFORMANCE_OVERLAP" default:"0.3" placeholder:"P" help:"Overlap threshold of the same, for object detection; default ${default}."`
}

type bucketSettings struct {
	Bucket     string `name:"bucket" var:"CONSUMER_BUCKET" placeholder:"NAME" help:"Bucket that bundles are kept in."`
	WorkBucket string `name:"work-bucket" var:"CONSUMER_WORK_BUCKET" placeholder:"NAME" help:"Bucket of working objects; default the same."`
	Prefix     string `name:"prefix" var:"CONSUMER_PREFIX" placeholder:"TEXT" help:"What all keys begin with, literally."`
	Adopt      string `name:"adopt-prefix" var:"CONSUMER_ADOPT_PREFIX" default:"false" placeholder:"BOOL" help:"Take over a prefix that another deployment marked as its own; default ${default}."`
	SSE        string `name:"sse" var:"CONSUMER_SSE" default:"none" placeholder:"KIND" help:"Server-side encryption: none, AES256 or aws:kms; default ${default}."`
	KMSKeyID   string `name:"sse-kms-key-id" var:"CONSUMER_SSE_KMS_KEY_ID" placeholder:"ID" help:"Key of aws:kms; default the account's."`
}

type workSettings struct {
	Provision      string `name:"provision" var:"CONSUMER_PROVISION" default:"true" placeholder:"BOOL" help:"Create missing streams and buckets of NATS at start, else only check them; default ${default}."`
	Replicas       string `name:"replicas" var:"CONSUMER_REPLICAS" default:"1" placeholder:"N" help:"Replicas of streams and buckets: 1, 3 or 5; default ${default}."`
	Commands       string `name:"commands" var:"CONSUMER_COMMANDS" default:"16" placeholder:"N" help:"Exports at once, and deletes at once; default ${default}."`
	Workers        string `name:"workers" var:"CONSUMER_WORKERS" default:"4" placeholder:"N" help:"Units of work at once; default ${default}."`
	Downloads      string `name:"downloads" var:"CONSUMER_DOWNLOADS" default:"32" placeholder:"N" help:"Blobs at once; default ${default}."`
	Buffer         string `name:"buffer" var:"CONSUMER_BUFFER" default:"64MiB" placeholder:"SIZE" help:"Bytes of blobs in memory at once; default ${default}."`
	MaxAttempts    string `name:"max-attempts" var:"CONSUMER_MAX_ATTEMPTS" default:"10" placeholder:"N" help:"Attempts after which a command fails; default ${default}."`
	Deletes        string `name:"deletes" var:"CONSUMER_DELETES" default:"enabled" placeholder:"POLICY" help:"enabled, approved (only with approved_plan) or disabled; dry runs are always allowed; default ${default}."`
	VerifyTimeout  string `name:"verify-timeout" var:"CONSUMER_VERIFY_TIMEOUT" default:"15m" placeholder:"DURATION" help:"How long a deletion may take to be seen in the service; default ${default}."`
	TraceRetention string `name:"trace-retention" var:"CONSUMER_TRACE_RETENTION" default:"720h" placeholder:"DURATION" help:"How long events, dead letters, ledgers and jobs are kept; default ${default}."`
	PseudonymKey   string `name:"pseudonym-key-file" var:"CONSUMER_PSEUDONYM_KEY_FILE" placeholder:"FILE" help:"Key under which metadata values show as pseudonyms; without one they show as redacted."`
	HTTPAddr       string `name:"http-addr" var:"CONSUMER_HTTP_ADDR" default:":8080" placeholder:"HOST:PORT" help:"Where /healthz, /readyz and /metrics are served; default ${default}."`
	Drain          string `name:"drain" var:"CONSUMER_DRAIN" default:"30s" placeholder:"DURATION" help:"Time to finish or hand back work after the first signal; default ${default}."`
}

// leastBuffer is room for one blob in memory; bigger ones are spooled. In bytes.
const leastBuffer = 8 << 20

// resource is a configured Custom Vision resource.
type resource struct {
	Alias    string
	Endpoint string
	Key      Secret
	MaxRPS   float64 // Training API calls a second
	Account  string  // its name, where the endpoint's host does not tell it
}

// config is everything `consumer run` is told, checked.
type config struct {
	NATS      natsConfig
	S3        storeConfig
	Log       logConfig
	Resources []resource // sorted by alias
	BlobHosts []string

	Threshold, Overlap float64

	Bucket, WorkBucket, Prefix string
	AdoptPrefix                bool
	SSE, KMSKeyID              string

	Provision      bool
	Replicas       int
	Commands       int
	Workers        int
	Downloads      int
	Buffer         int64 // bytes
	MaxAttempts    int
	Deletes        contract.DeletePolicy
	VerifyTimeout  time.Duration
	TraceRetention time.Duration
	PseudonymKey   Secret
	HTTPAddr       string
	Drain          time.Duration
}

// config checks all settings together.
func (s serviceSettings) config(ctx context.Context, e *environ) (config, error) {
	p := e.unknown()
	e.refuseUnsupported(&p)
	c := config{
		NATS: s.NATS.config(&p),
		S3:   s.S3.config(&p),
		Log:  s.Log.config(&p),

		BlobHosts: list(s.Vision.BlobHosts),
		Threshold: p.fraction("CONSUMER_PERFORMANCE_THRESHOLD", s.Vision.Threshold),
		Overlap:   p.fraction("CONSUMER_PERFORMANCE_OVERLAP", s.Vision.Overlap),

		Bucket:     s.Bucket.Bucket,
		WorkBucket: s.Bucket.WorkBucket,
		Prefix:     s.Bucket.Prefix,

		AdoptPrefix: p.boolean("CONSUMER_ADOPT_PREFIX", s.Bucket.Adopt),
		SSE:         p.choice("CONSUMER_SSE", s.Bucket.SSE, "none", "AES256", "aws:kms"),
		KMSKeyID:    s.Bucket.KMSKeyID,

		Provision:      p.boolean("CONSUMER_PROVISION", s.Work.Provision),
		Replicas:       p.integer("CONSUMER_REPLICAS", s.Work.Replicas, 1, 5),
		Commands:       p.integer("CONSUMER_COMMANDS", s.Work.Commands, 1, 1000),
		Workers:        p.integer("CONSUMER_WORKERS", s.Work.Workers, 1, 1000),
		Downloads:      p.integer("CONSUMER_DOWNLOADS", s.Work.Downloads, 1, 1000),
		Buffer:         p.size("CONSUMER_BUFFER", s.Work.Buffer, leastBuffer),
		MaxAttempts:    p.integer("CONSUMER_MAX_ATTEMPTS", s.Work.MaxAttempts, 1, 1000),
		VerifyTimeout:  p.duration("CONSUMER_VERIFY_TIMEOUT", s.Work.VerifyTimeout, time.Second),
		TraceRetention: p.duration("CONSUMER_TRACE_RETENTION", s.Work.TraceRetention, time.Minute),
		PseudonymKey:   p.secret("CONSUMER_PSEUDONYM_KEY", "", s.Work.PseudonymKey),
		HTTPAddr:       s.Work.HTTPAddr,
		Drain:          p.duration("CONSUMER_DRAIN", s.Work.Drain, 0),
	}
	c.Deletes = contract.DeletePolicy(p.choice("CONSUMER_DELETES", s.Work.Deletes, string(contract.DeletesEnabled), string(contract.DeletesApproved), string(contract.DeletesDisabled)))
	rps := p.rate("CONSUMER_MAX_RPS", s.Vision.MaxRPS)
	c.Resources = s.Vision.resources(&p, rps)
	if _, err := cv.New("https://any.example", cv.TrainingKey("any"), cv.Options{BlobHosts: c.BlobHosts}); err != nil {
		p.add("CONSUMER_BLOB_HOSTS", "%s", strings.TrimPrefix(err.Error(), "blob hosts: "))
	}
	if c.Bucket == "" {
		p.add("CONSUMER_BUCKET", "is needed: the bucket that bundles are kept in")
	}
	if c.WorkBucket == "" {
		c.WorkBucket = c.Bucket
	}
	if c.KMSKeyID != "" && c.SSE != "aws:kms" {
		p.add("CONSUMER_SSE_KMS_KEY_ID", "needs CONSUMER_SSE=aws:kms")
	}
	if c.Replicas%2 == 0 && c.Replicas > 0 {
		p.add("CONSUMER_REPLICAS", "%d is none of 1, 3, 5", c.Replicas)
	}
	if _, _, err := net.SplitHostPort(c.HTTPAddr); err != nil {
		p.add("CONSUMER_HTTP_ADDR", "%q is not host:port or :port", c.HTTPAddr)
	}
	if _, err := sink.NewLayout(c.Prefix, "any"); err != nil {
		p.add("CONSUMER_PREFIX", "%v", err)
	}
	if _, err := s3Client(ctx, c.S3, nil); err != nil {
		p.add("AWS_REGION", "%v", err)
	}
	return c, p.err()
}

// resources reads the one resource of the VISION_ variables, those of the file, or both.
func (s visionSettings) resources(p *problems, rps float64) []resource {
	var all []resource
	single := s.Endpoint != "" || s.Key != "" || s.KeyFile != ""
	if single || s.Resources == "" {
		one := resource{Alias: defaultResource, Endpoint: s.Endpoint, MaxRPS: rps, Key: p.secret("VISION_TRAINING_KEY", s.Key, s.KeyFile)}
		if s.Endpoint == "" {
			p.add("VISION_TRAINING_ENDPOINT", "is needed: https://NAME.cognitiveservices.azure.com/ of the training resource")
		} else {
			p.endpoint("VISION_TRAINING_ENDPOINT", "", s.Endpoint)
		}
		if s.Key == "" && s.KeyFile == "" {
			p.add("VISION_TRAINING_KEY", "is needed, or VISION_TRAINING_KEY_FILE (Entra ID is not supported yet)")
		}
		all = append(all, one)
	}
	if s.Resources == "" {
		return all
	}
	all = append(all, readResources(p, s.Resources, rps)...)
	defaults := 0
	for _, r := range all {
		if r.Alias == defaultResource {
			defaults++
		}
	}
	switch {
	case defaults > 1:
		p.add("CONSUMER_RESOURCES", "has an alias default, and VISION_TRAINING_ENDPOINT is that too: set one of them")
	case defaults == 0:
		p.add("CONSUMER_RESOURCES", "has no alias default, and VISION_TRAINING_ENDPOINT is not set: commands that name no resource mean default")
	}
	slices.SortFunc(all, func(a, b resource) int { return strings.Compare(a.Alias, b.Alias) })
	return all
}

// defaultResource is the alias that commands without a resource mean.
const defaultResource = "default"

var aliasForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

var accountForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}$`)

// readResources reads the YAML file of CONSUMER_RESOURCES. A relative key_file is relative to that
// file.
func readResources(p *problems, path string, rps float64) []resource {
	const variable = "CONSUMER_RESOURCES"
	text, err := os.ReadFile(path)
	if err != nil {
		p.add(variable, "cannot be read: %v", err)
		return nil
	}
	var entries map[string]struct {
		Endpoint string   `yaml:"endpoint"`
		KeyFile  string   `yaml:"key_file"`
		Entra    bool     `yaml:"entra"`
		MaxRPS   *float64 `yaml:"max_rps"`
		Account  *string  `yaml:"account"`
	}
	if err := yaml.UnmarshalWithOptions(text, &entries, yaml.Strict()); err != nil {
		p.add(variable, "%s: %s", path, strings.ReplaceAll(yaml.FormatError(err, false, false), "\n", " "))
		return nil
	}
	if len(entries) == 0 {
		p.add(variable, "%s names no resource", path)
	}
	aliases := make([]string, 0, len(entries))
	for alias := range entries {
		aliases = append(aliases, alias)
	}
	slices.Sort(aliases)
	var all []resource
	for _, alias := range aliases {
		entry := entries[alias]
		r := resource{Alias: alias, Endpoint: entry.Endpoint, MaxRPS: rps}
		complain := func(format string, args ...any) { p.add(variable, alias+": "+format, args...) }
		if !aliasForm.MatchString(alias) {
			complain("is not an alias of letters, digits, _ . and - (at most 64)")
		}
		p.endpoint(variable, alias+": ", entry.Endpoint)
		switch {
		case entry.Entra:
			complain("entra is not supported yet: key_file is needed")
		case entry.KeyFile == "":
			complain("key_file is needed (Entra ID is not supported yet)")
		default:
			if !filepath.IsAbs(entry.KeyFile) {
				entry.KeyFile = filepath.Join(filepath.Dir(path), entry.KeyFile)
			}
			r.Key = Secret{file: entry.KeyFile}
			if _, err := r.Key.Reveal(); err != nil {
				complain("key_file: %v", err)
			}
		}
		if entry.MaxRPS != nil {
			r.MaxRPS = *entry.MaxRPS
			if !(r.MaxRPS > 0) || math.IsInf(r.MaxRPS, 0) {
				complain("max_rps %v is not a number above 0", r.MaxRPS)
			}
		}
		if entry.Account != nil {
			r.Account = *entry.Account
			if !accountForm.MatchString(r.Account) {
				complain("account is not a name of letters, digits, and _ . : / - (at most 128)")
			}
		}
		all = append(all, r)
	}
	return all
}

// accounts are the names that resources give to their accounts, by alias.
func (c config) accounts() map[string]string {
	names := map[string]string{}
	for _, r := range c.Resources {
		if r.Account != "" {
			names[r.Alias] = r.Account
		}
	}
	return names
}

// list splits a comma list, without blanks and empty entries.
func list(text string) []string {
	var out []string
	for s := range strings.SplitSeq(text, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// Readers of one value each. On a problem they report it and give the zero value.

func (p *problems) duration(variable, text string, least time.Duration) time.Duration {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		p.add(variable, "%q is not a duration such as 30s or 15m", text)
		return 0
	case d < least:
		p.add(variable, "%s is less than %s", d, least)
		return 0
	}
	return d
}

func (p *problems) integer(variable, text string, least, most int) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		p.add(variable, "%q is not a whole number from %d to %d", text, least, most)
		return 0
	}
	return n
}

func (p *problems) rate(variable, text string) float64 {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f > 0) || math.IsInf(f, 0) {
		p.add(variable, "%q is not a number above 0", text)
		return 0
	}
	return f
}

func (p *problems) fraction(variable, text string) float64 {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f >= 0 && f <= 1) {
		p.add(variable, "%q is not a number from 0 to 1", text)
		return 0
	}
	return f
}

func (p *problems) boolean(variable, text string) bool {
	b, err := strconv.ParseBool(text)
	if err != nil {
		p.add(variable, "%q is neither true nor false", text)
	}
	return b
}

func (p *problems) choice(variable, text string, of ...string) string {
	if !slices.Contains(of, text) {
		p.add(variable, "%q is none of %s", text, strings.Join(of, ", "))
		return ""
	}
	return text
}

var sizeForm = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([kKMGT]?i?B?)$`)

// size reads bytes with a unit: KiB, MiB, GiB, TiB of 1024, kB, MB, GB, TB of 1000; none is bytes.
func (p *problems) size(variable, text string, least int64) int64 {
	m := sizeForm.FindStringSubmatch(text)
	factor, known := map[string]float64{
		"": 1, "B": 1,
		"kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	}[unit(m)]
	if m == nil || !known {
		p.add(variable, "%q is not a size such as 64MiB", text)
		return 0
	}
	number, err := strconv.ParseFloat(m[1], 64)
	bytes := number * factor
	if err != nil || bytes < float64(least) || bytes >= math.MaxInt64 {
		p.add(variable, "%q is less than %d bytes, or too much", text, least)
		return 0
	}
	return int64(bytes)
}

func unit(match []string) string {
	if match == nil {
		return ""
	}
	return match[2]
}

// file checks that a file can be read, where one is named.
func (p *problems) file(variable, path string) string {
	if path == "" {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		p.add(variable, "cannot be read: %v", err)
		return ""
	}
	f.Close()
	return path
}

// secret takes a secret from a value or a file, and checks that the file has one.
func (p *problems) secret(variable, value, file string) Secret {
	if value != "" && file != "" {
		p.add(variable, "and %s_FILE are both set: set one of them", variable)
		return Secret{}
	}
	s := Secret{value: value, file: file}
	if _, err := s.Reveal(); err != nil {
		p.add(variable+"_FILE", "%v", err)
		return Secret{}
	}
	return s
}

// endpoint checks the endpoint of a Custom Vision resource. where comes before the complaint.
func (p *problems) endpoint(variable, where, text string) {
	if _, err := cv.New(text, cv.TrainingKey("any"), cv.Options{}); err != nil {
		p.add(variable, "%s%v", where, err)
	}
}

func (p *problems) httpURL(variable, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		p.add(variable, "is not a URL such as https://host/")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		p.add(variable, "is a base URL: user, query and fragment do not belong there")
	}
}
