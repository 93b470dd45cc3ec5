package cv

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"time"
)

// APIVersion is the version of the Training API this package speaks.
const APIVersion = "v3.3"

const (
	apiRoot = "/customvision"
	apiPath = apiRoot + "/" + APIVersion + "/training"
	// TryTimeout bounds one try of an API call, from dialling to the last byte of its answer.
	TryTimeout = 30 * time.Second
	// stallTimeout bounds the silence in a download, before its headers and between its bytes.
	stallTimeout = 30 * time.Second
	// rateWindow is how long bytes are waited for before their rate is judged.
	rateWindow = 30 * time.Second
	// DefaultMinDownloadRate is the least rate of a download in bytes a second, unless
	// Options.MinDownloadRate says otherwise. A picture of 6 MB then takes 26 minutes at most.
	DefaultMinDownloadRate = 4 << 10
)

// Options are the settings of a Client; the zero value is good.
type Options struct {
	// Transport sends the requests; nil is a tuned default. Of an *http.Transport a copy is made
	// whose dialling of blob hosts is guarded (see BlobHosts). Any other RoundTripper dials by
	// itself, so that only addresses written in links can be checked: to add something around the
	// transports, use Wrap instead.
	Transport http.RoundTripper
	// Wrap, if any, is put around the transports, that of API calls and that of downloads.
	Wrap func(http.RoundTripper) http.RoundTripper
	// MaxRPS is how many API calls a second this client makes at most; 0 is DefaultMaxRPS. It slows
	// down on 429 and recovers.
	MaxRPS float64
	// MaxAttempts is how often one call is tried, 0 is 5. A call stops earlier when its tries take
	// long.
	MaxAttempts int
	// BlobHosts are hosts that download links may point to, besides the Azure blob suffixes over
	// https and the endpoint's own scheme, host and port. An entry is "suffix" or "suffix:port"; it
	// allows the host of that name and those below it, by http and https, on that port or (without
	// one) on any, and also when their address is private, loopback or link-local.
	BlobHosts []string
	// MinDownloadRate is the least rate of a download in bytes a second, 0 is
	// DefaultMinDownloadRate: in each window of half a minute that was spent waiting for bytes, at
	// least as many must come.
	MinDownloadRate int64
	// UserAgent names this program to the service; empty is "cvconsumer".
	UserAgent string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Wait waits between tries and for the pace, until d has passed or ctx is done; nil is a timer.
	Wait func(ctx context.Context, d time.Duration) error
}

// Client calls the Training API of one Custom Vision resource. It is safe for concurrent use.
type Client struct {
	endpoint  *url.URL // without trailing slash
	base      *url.URL // endpoint and apiPath
	cred      Credential
	api, blob http.RoundTripper
	hosts     hostRules
	pace      *pacer
	attempts  int
	agent     string
	now       func() time.Time
	wait      func(context.Context, time.Duration) error

	tryTimeout, stallTimeout time.Duration
	minRate                  int64 // of downloads, in bytes a second
}

// New makes a client of the resource at endpoint, "http(s)://host[:port][/base]" with or without a
// trailing slash, as the Azure portal shows it. Nothing is called. The error names what is wrong,
// and never shows a query or password the endpoint may hold.
func New(endpoint string, cred Credential, o Options) (*Client, error) {
	u, err := parseEndpoint(endpoint)
	if err != nil {
		return nil, fmt.Errorf("training endpoint: %w", err)
	}
	switch {
	case cred == nil:
		return nil, errors.New("training client: no credential")
	case o.MaxRPS < 0 || math.IsNaN(o.MaxRPS) || math.IsInf(o.MaxRPS, 0):
		return nil, fmt.Errorf("training client: %v calls a second is not a rate", o.MaxRPS)
	case o.MinDownloadRate < 0:
		return nil, fmt.Errorf("training client: %d bytes a second is not a rate", o.MinDownloadRate)
	case o.MaxAttempts < 0:
		return nil, fmt.Errorf("training client: %d attempts", o.MaxAttempts)
	}
	c := &Client{
		endpoint: u, base: rooted(u).JoinPath(apiPath), cred: cred,
		attempts: o.MaxAttempts, agent: o.UserAgent, now: o.Now, wait: o.Wait,
		tryTimeout: TryTimeout, stallTimeout: stallTimeout, minRate: o.MinDownloadRate,
	}
	if c.minRate == 0 {
		c.minRate = DefaultMinDownloadRate
	}
	if c.hosts, err = newHostRules(u, o.BlobHosts); err != nil {
		return nil, fmt.Errorf("blob hosts: %w", err)
	}
	if c.attempts == 0 {
		c.attempts = defaultMaxAttempts
	}
	if c.agent == "" {
		c.agent = "cvconsumer"
	}
	if c.now == nil {
		c.now = time.Now //nolint:forbidigo // the default of the injected clock
	}
	if c.wait == nil {
		c.wait = waitTime
	}
	if o.MaxRPS == 0 {
		o.MaxRPS = DefaultMaxRPS
	}
	c.pace = newPacer(o.MaxRPS, c.now, c.wait)
	c.api, c.blob = c.hosts.transports(o.Transport)
	if o.Wrap != nil {
		c.api, c.blob = o.Wrap(c.api), o.Wrap(c.blob)
	}
	return c, nil
}

// Pace is how many calls a second the client allows itself now: Options.MaxRPS, or less after
// it was throttled.
func (c *Client) Pace() float64 { return float64(c.pace.limiter.Limit()) }

// CloseIdleConnections closes connections that are not in use.
func (c *Client) CloseIdleConnections() {
	for _, t := range [...]http.RoundTripper{c.api, c.blob} {
		if t, ok := t.(interface{ CloseIdleConnections() }); ok {
			t.CloseIdleConnections()
		}
	}
}

// waitTime waits until d has passed or ctx is done.
func waitTime(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
