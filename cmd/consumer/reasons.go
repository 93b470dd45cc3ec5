package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/aws/smithy-go"
	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// cured is the problem of a dependency, with what the operator can do about it. /readyz, the log
// and every command show problems in its words.
type cured struct {
	err     error
	setting string // the variable to look at first; empty when none is wrong
	cure    string
}

// Error is the problem and its cure.
func (c *cured) Error() string { return strings.TrimSuffix(c.err.Error(), ".") + "; " + c.cure }

// Unwrap is the problem alone.
func (c *cured) Unwrap() error { return c.err }

// cure adds a cure to a problem; setting is the variable that cures it.
func cure(err error, setting, format string, args ...any) error {
	return &cured{err: err, setting: setting, cure: fmt.Sprintf(format, args...)}
}

// cureUnless applies f to an error, unless the error is nil or has its cure already.
func cureUnless(err error, f func(error) error) error {
	var done *cured
	if err == nil || errors.As(err, &done) {
		return err
	}
	return f(err)
}

// secretProblem is a problem with NATS that keeps storage from being checked.
type secretProblem struct{ err error }

// Error is the problem, and what it is in the way of.
func (p *secretProblem) Error() string {
	return "whose bundles are kept here cannot be told while NATS does not answer: " + p.err.Error()
}

// Unwrap is the problem.
func (p *secretProblem) Unwrap() error { return p.err }

// lines joins errors into one, in one line.
func lines(all []error) error {
	texts := make([]string, len(all))
	for i, err := range all {
		texts[i] = err.Error()
	}
	return fmt.Errorf("%s%w", strings.Join(texts, "; "), silent{errors.Join(all...)})
}

// silent is an error that adds no text.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }

// explain adds to the problem of a dependency what the operator can do about it, where that is
// known.
func (c config) explain(dependency string, err error) error {
	var secret *secretProblem
	switch {
	case dependency == delivery.DependencyNATS, errors.As(err, &secret):
		return c.NATS.explain(err)
	case dependency == delivery.DependencyStorage:
		return c.S3.explain(err)
	case dependency == delivery.DependencyTimestamp && !errors.Is(err, errUnchecked):
		return cure(err, "CONSUMER_TSA_URL", "bundles wait for it before their receipt: correct CONSUMER_TSA_URL, or let receipts go without time stamps (CONSUMER_TSA_REQUIRED=false)")
	}
	for _, r := range c.Resources {
		if dependency == delivery.DependencyTraining(r.Alias) {
			return r.explain(err)
		}
	}
	return err
}

// explain adds to a problem with NATS what the operator can do about it.
func (c natsConfig) explain(err error) error {
	return cureUnless(err, func(err error) error {
		var lacking *natsq.DriftError
		switch {
		case errors.Is(err, natsq.ErrDenied):
			return cure(err, "", "grant it to this user: docs/nats.md lists the rights of every role")
		case errors.Is(err, natsq.ErrMaxBytes):
			return cure(err, "CONSUMER_STREAM_MAX_BYTES", "where a limit is demanded, set CONSUMER_STREAM_MAX_BYTES to what each stream may hold; where storage is short, set less, or raise max_file of the account and of the server (jetstream {})")
		case errors.Is(err, natsq.ErrTooMany):
			return cure(err, "", "raise max_streams (8 are needed) and max_consumers of the account, and of a tier of its JWT")
		case errors.Is(err, natsq.ErrNoJetStream):
			return cure(err, "NATS_USER", "enable JetStream for the account of this user (jetstream: enabled), or connect as a user of another account: NATS_CREDS, NATS_NKEY or NATS_USER and NATS_PASSWORD")
		case errors.Is(err, nats.ErrNoResponders) && c.Domain != "":
			return cure(err, "CONSUMER_NATS_DOMAIN", "no JetStream answers in the domain %s: is CONSUMER_NATS_DOMAIN right, and does the domain's server run?", c.Domain)
		case errors.Is(err, nats.ErrNoResponders):
			return cure(err, "CONSUMER_NATS_DOMAIN", "no JetStream answers at this server: enable it there (jetstream {} in its configuration, or nats-server -js); at a leaf node set CONSUMER_NATS_DOMAIN to the domain of the hub")
		case errors.As(err, &lacking):
			return cure(err, "CONSUMER_PROVISION", "change the streams, or have the service do it with CONSUMER_PROVISION=true; what cannot be updated has to be deleted first, when it is empty")
		case errors.Is(err, natsq.ErrReplicas):
			return cure(err, "CONSUMER_REPLICAS", "set CONSUMER_REPLICAS to 1, or to the number of servers in the cluster (3 or 5)")
		case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired):
			return cure(err, "NATS_USER", "the server refuses this user: are NATS_USER and NATS_PASSWORD, NATS_CREDS or NATS_NKEY right?")
		case errors.Is(err, nats.ErrSecureConnRequired):
			return cure(err, "NATS_URL", "the server wants TLS: begin NATS_URL with tls://, and set NATS_CA if its authority is your own")
		case errors.Is(err, nats.ErrSecureConnWanted):
			return cure(err, "NATS_URL", "the server has no TLS: begin NATS_URL with nats://, and unset NATS_CA, NATS_CERT and NATS_KEY")
		case errors.Is(err, nats.ErrNoInfoReceived), errors.Is(err, io.EOF):
			return cure(err, "NATS_URL", "the server does not speak NATS there: correct host and port in NATS_URL")
		case strings.Contains(err.Error(), "malformed HTTP"): // with what the server said instead, other words each time
			return cure(errors.New("the server does not speak WebSocket"), "NATS_URL", "begin NATS_URL with nats:// or tls://, or name the server's port for WebSocket")
		case strings.Contains(err.Error(), "root certificate"):
			return cure(err, "NATS_CA", "is NATS_CA a PEM file with the certificates of authorities?")
		case strings.Contains(err.Error(), "client certificate:"):
			return cure(err, "NATS_CERT", "are NATS_CERT and NATS_KEY PEM files with a certificate and with its key?")
		case strings.Contains(err.Error(), "nkey"): // of a seed, also in a credentials file
			return cure(err, "NATS_NKEY", "is the file of NATS_NKEY, or of NATS_CREDS, one with a user's seed (SU…)?")
		case refusedOurCertificate(err):
			return cure(err, "NATS_CERT", "the server demands a client certificate: set NATS_CERT and NATS_KEY to one that it trusts")
		}
		return cureConnection(err, "NATS_URL", "NATS_CA")
	})
}

// storageCures are what to do about the answers of a store, by error code.
var storageCures = map[string]struct{ setting, cure string }{
	"NoSuchBucket":                 {"CONSUMER_BUCKET", "create the bucket, or correct CONSUMER_BUCKET or CONSUMER_WORK_BUCKET; with the right name, is AWS_ENDPOINT_URL_S3 that of the store which has it?"},
	"InvalidBucketName":            {"CONSUMER_BUCKET", "correct CONSUMER_BUCKET or CONSUMER_WORK_BUCKET, and leave paths out of AWS_ENDPOINT_URL_S3"},
	"InvalidAccessKeyId":           {"AWS_ACCESS_KEY_ID", "the store does not know this key: is AWS_ACCESS_KEY_ID right, and AWS_ENDPOINT_URL_S3 that of its store?"},
	"XAdminUserNotFound":           {"AWS_ACCESS_KEY_ID", "the store does not know this key: is AWS_ACCESS_KEY_ID right?"}, // versitygw
	"SignatureDoesNotMatch":        {"AWS_SECRET_ACCESS_KEY", "is AWS_SECRET_ACCESS_KEY that of AWS_ACCESS_KEY_ID? With the right secret, a proxy changes requests on their way"},
	"ExpiredToken":                 {"AWS_SESSION_TOKEN", "the temporary credentials are over: renew AWS_SESSION_TOKEN and the keys that go with it"},
	"InvalidToken":                 {"AWS_SESSION_TOKEN", "is AWS_SESSION_TOKEN that of AWS_ACCESS_KEY_ID? Long-lived keys go without one"},
	"TokenRefreshRequired":         {"AWS_SESSION_TOKEN", "renew AWS_SESSION_TOKEN and the keys that go with it"},
	"RequestTimeTooSkewed":         {"", "set the clock of this machine (NTP)"},
	"AuthorizationHeaderMalformed": {"AWS_REGION", "is AWS_REGION the region of the bucket?"},
	"PermanentRedirect":            {"AWS_REGION", "set AWS_REGION to the region of the bucket, and leave AWS_ENDPOINT_URL_S3 unset for AWS itself"},
	"AccessDenied":                 {"", "grant the rights to the key (AWS_ACCESS_KEY_ID): docs/operators.md lists them under \"Least privileges\". A wrong CONSUMER_BUCKET, of another account, is refused like this too"},
	"Forbidden":                    {"", "grant the rights to the key (AWS_ACCESS_KEY_ID): docs/operators.md lists them under \"Least privileges\". A proxy, and another server than the one that AWS_ENDPOINT_URL_S3 should name, may refuse like this too"},
}

// explain adds to a problem with the store what the operator can do about it.
func (c storeConfig) explain(err error) error {
	return cureUnless(err, func(err error) error {
		var buckets bucketProblems
		if errors.As(err, &buckets) {
			explained := make(bucketProblems, len(buckets))
			for i, err := range buckets {
				explained[i] = c.explain(err)
			}
			return explained
		}
		var e *sink.Error
		known := errors.As(err, &e)
		switch {
		case errors.Is(err, sink.ErrWantsTLS):
			return cure(err, "AWS_ENDPOINT_URL_S3", "begin AWS_ENDPOINT_URL_S3 with https://, and set AWS_CA_BUNDLE if its authority is your own")
		case known && e.Region != "":
			return cure(err, "AWS_REGION", "the bucket is in another region: set AWS_REGION=%s", e.Region)
		case known && e.Code == "AccessDenied" && strings.HasPrefix(e.Op, "remove"):
			return cure(err, "CONSUMER_WORK_BUCKET", "grant the right to delete (docs/operators.md, \"Least privileges\"); if the bucket locks every object, set CONSUMER_WORK_BUCKET to one that does not")
		case known && storageCures[e.Code].cure != "":
			return cure(err, storageCures[e.Code].setting, "%s", storageCures[e.Code].cure)
		case known && e.Code == "NoSuchKey" && strings.HasPrefix(e.Op, "check bucket"):
			return cure(err, "AWS_ENDPOINT_URL_S3", "the store took the bucket for an object: leave the bucket out of AWS_ENDPOINT_URL_S3, out of its path and of its host")
		case known && notS3(e), errors.Is(err, sink.ErrNotS3):
			return cure(err, "AWS_ENDPOINT_URL_S3", "this is not an answer of S3: is AWS_ENDPOINT_URL_S3 the endpoint of the S3 API?")
		case known && e.Op == "read back object":
			return cure(err, "AWS_ENDPOINT_URL_S3", "what answers does not give back what it was given: is AWS_ENDPOINT_URL_S3 the endpoint of the S3 API?")
		case known && (400 <= e.Status && e.Status < 500 || e.Status == http.StatusNotImplemented) && strings.HasPrefix(e.Op, "check bucket"):
			return cure(err, "AWS_ENDPOINT_URL_S3", "is AWS_ENDPOINT_URL_S3 the endpoint of the S3 API, on its own port, of the store that has the bucket?")
		case known && e.Status == http.StatusNotImplemented:
			return cure(err, "", "the store does not offer what is asked of it: look at what its settings ask for (CONSUMER_SSE, CONSUMER_OBJECT_LOCK_MODE)")
		case known && e.Status >= 500:
			return cure(err, "AWS_ENDPOINT_URL_S3", "the store, or a proxy before it, does not work or has too much to do: look at its log; is it the one that AWS_ENDPOINT_URL_S3 should name?")
		case known && e.Status != 0 && !errors.Is(err, io.ErrUnexpectedEOF):
			return err
		case strings.Contains(err.Error(), "invalid input region"):
			return cure(err, "AWS_REGION", "correct AWS_REGION: a name such as us-east-1, without blanks")
		case strings.Contains(err.Error(), "get identity: "), strings.Contains(err.Error(), "get credentials: "):
			return cure(err, "AWS_ACCESS_KEY_ID", "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what the AWS SDK finds by itself (profile, web identity, role)")
		}
		if c.Endpoint == "" && isUnknownHost(err) {
			return cure(err, "AWS_REGION", "there is no such host: correct AWS_REGION; for a store other than AWS, set AWS_ENDPOINT_URL_S3")
		}
		if c.Endpoint == "" {
			return cureConnection(err, "AWS_REGION", "AWS_CA_BUNDLE")
		}
		if host := new(x509.HostnameError); errors.As(err, host) && !c.PathStyle || isUnknownHost(err) && !c.PathStyle {
			return cure(err, "CONSUMER_S3_PATH_STYLE", "the bucket is in the host's name: set CONSUMER_S3_PATH_STYLE=true, or correct AWS_ENDPOINT_URL_S3")
		}
		return cureConnection(err, "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE")
	})
}

// notS3 reports whether what answered is no store: it redirects, or answers to a success or a
// refusal that is not S3's.
func notS3(e *sink.Error) bool {
	var unreadable *smithy.DeserializationError
	switch {
	case errors.As(e, &unreadable) && e.Status < 500, 300 <= e.Status && e.Status < 400:
		return true
	case e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed:
		return e.Code == "" || strings.HasPrefix(e.Op, "check bucket") && (e.Code == "NotFound" || e.Code == "MethodNotAllowed")
	}
	return false
}

// explain adds to a problem with the resource's Training API what the operator can do about it.
func (r resource) explain(err error) error {
	endpoint, key := "VISION_TRAINING_ENDPOINT", "VISION_TRAINING_KEY"
	if r.InFile {
		endpoint, key = "endpoint of "+r.Alias+" in CONSUMER_RESOURCES", "key_file of "+r.Alias+" in CONSUMER_RESOURCES"
	}
	return cureUnless(err, func(err error) error {
		var e *cv.Error
		switch {
		case !errors.As(err, &e), e.Status == 0, errors.Is(err, io.ErrUnexpectedEOF):
			return cureConnection(err, endpoint, "SSL_CERT_FILE")
		case strings.Contains(r.Endpoint, "prediction") && e.Status < 500:
			return cure(err, endpoint, "%s seems to be the endpoint of a prediction resource: set it to that of the training resource, and %s to its key", endpoint, key)
		case e.Status == http.StatusUnauthorized && !r.Key.IsSet():
			return cure(err, "AZURE_CLIENT_ID", "is this the identity of Entra ID that may use the resource? Look at AZURE_TENANT_ID, AZURE_CLIENT_ID and what goes with them, or set %s", key)
		case e.Status == http.StatusForbidden && !r.Key.IsSet():
			return cure(err, "AZURE_CLIENT_ID", "give the role to the identity, or let this machine's address in (Networking of the resource)")
		case e.Status == http.StatusUnauthorized:
			return cure(err, key, "is it a training key (not the prediction key) of this resource? Look at %s and %s", key, endpoint)
		case e.Status == http.StatusForbidden:
			return cure(err, key, "the resource refuses this key or this machine's address: look at its network rules (Networking) and at %s", key)
		case e.Status >= 500:
			return cure(err, endpoint, "the service, or a proxy before it, does not work or has too much to do: is %s right, and what does Azure say of the resource's health?", endpoint)
		case errors.Is(err, cv.ErrMisconfigured), e.Status < 400, e.Op == "GetDomains" && !errors.Is(err, cv.ErrUnavailable) && !errors.Is(err, cv.ErrThrottled):
			return cure(err, endpoint, "nothing of Custom Vision is there: is %s that of the training resource, https://NAME.cognitiveservices.azure.com/?", endpoint)
		}
		return err
	})
}

// cureConnection adds a cure to the problem of a server that could not be reached or is not
// trusted. endpoint is the variable that names the server, authority the one that names the
// authorities to trust.
func cureConnection(err error, endpoint, authority string) error {
	var (
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		plain   tls.RecordHeaderError
		dial    *net.OpError
		timeout net.Error
	)
	switch {
	case errors.As(err, &unknown):
		return cure(err, authority, "the server's certificate was made by an authority that is not trusted here: set %s to a PEM file with that authority", authority)
	case errors.As(err, &host):
		return cure(err, endpoint, "name the server in %s as its certificate does", endpoint)
	case errors.As(err, &invalid):
		return cure(err, "", "renew the server's certificate, or set the clock of this machine (NTP)")
	case errors.As(err, &plain), errors.Is(err, http.ErrSchemeMismatch):
		return cure(err, endpoint, "the server does not speak TLS there: correct the scheme or port in %s", endpoint)
	case strings.Contains(err.Error(), "malformed HTTP"), strings.Contains(err.Error(), "readLoopPeekFail"): // net/http has no type for it: the second is a server that speaks first
		return cure(err, endpoint, "the server does not speak HTTP there: correct host and port in %s", endpoint)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return cure(err, endpoint, "answers break off on their way: look at what is between this machine and the server (a proxy, a gateway), and at %s", endpoint)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET),
		strings.Contains(err.Error(), "server closed idle connection"): // no type: it closed before the request
		return cure(err, endpoint, "the server hangs up without an answer: are scheme, host and port in %s right?", endpoint)
	case isUnknownHost(err):
		return cure(err, endpoint, "there is no such host: correct %s", endpoint)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, nats.ErrNoServers):
		return cure(err, endpoint, "nothing listens there: does the server run, and are host and port in %s right?", endpoint)
	case errors.As(err, &dial) && dial.Op == "dial", errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, nats.ErrTimeout), errors.Is(err, errNoAnswer):
		return cure(err, endpoint, "does the server run, may this machine reach it (firewall), and are host and port in %s right?", endpoint)
	}
	return err
}

// isUnknownHost reports whether a host's name could not be resolved.
func isUnknownHost(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns)
}

// refusedOurCertificate reports whether a server ended the handshake because of our certificate, or
// for want of one. TLS 1.3 tells it after the handshake, by an alert of a type that crypto/tls
// keeps to itself, or the connection is closed before the client reads that.
func refusedOurCertificate(err error) bool {
	for _, sign := range []string{"remote error: tls: certificate required", "remote error: tls: bad certificate", "remote error: tls: unknown certificate authority", "closed by remote after TLS handshake"} {
		if strings.Contains(err.Error(), sign) {
			return true
		}
	}
	return false
}
