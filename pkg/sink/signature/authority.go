package signature

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"time"

	"github.com/digitorus/timestamp"
)

const (
	// authorityTimeout bounds one request to an authority.
	authorityTimeout = 15 * time.Second
	// maxResponse bounds its answer, in bytes: with a chain of certificates it has some 6 KiB.
	maxResponse = 64 << 10
	// maxDrift is how far an authority's time may be from this machine's. S3 and NATS tolerate no
	// more either.
	maxDrift = 15 * time.Minute
)

// Authority gives time stamps by RFC 3161, over HTTP.
type Authority struct {
	url    *url.URL
	now    func() time.Time
	client *http.Client
}

// NewAuthority is the authority at an http or https URL without user information. (Time stamps are
// signed: HTTP hides nothing that https would keep secret but the digest.)
func NewAuthority(address string, now func() time.Time) (*Authority, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("it is no http:// or https:// URL")
	case u.User != nil:
		return nil, errors.New("it has a user name or password, which are not sent to an authority")
	}
	return &Authority{u, now, &http.Client{
		Timeout:       authorityTimeout,
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}, // requests are rare
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Stamp asks for a time stamp over a signature: the authority learns its SHA-256 and nothing else.
// What it answers is a TimeStampResp in DER; it is checked as ParseTimeStamp does, and to have the
// nonce of the request and a time near this machine's. One request is made, of at most 15 s.
func (a *Authority) Stamp(ctx context.Context, signature []byte) ([]byte, error) {
	response, err := a.stamp(ctx, signature)
	if err != nil {
		return nil, fmt.Errorf("ask the time stamp authority at %s: %w", a.url.Host, err)
	}
	return response, nil
}

func (a *Authority) stamp(ctx context.Context, signature []byte) ([]byte, error) {
	nonce, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return nil, fmt.Errorf("choose a nonce: %w", err)
	}
	digest := sha256.Sum256(signature)
	query, err := (&timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: digest[:], Nonce: nonce, Certificates: true}).Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	response, err := a.post(ctx, query)
	if err != nil {
		return nil, err
	}
	stamp, err := ParseTimeStamp(response, signature)
	if err != nil {
		return nil, fmt.Errorf("its answer is not usable: %w", err)
	}
	if stamp.nonce == nil || stamp.nonce.Cmp(nonce) != 0 {
		return nil, errors.New("its answer is not to this request: the nonce is another one")
	}
	if now := a.now(); stamp.Time.Sub(now).Abs() > maxDrift {
		return nil, fmt.Errorf("its time is %s, this machine's is %s: one of both is wrong", stamp.Time.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return response, nil
}

// post sends a query, and gives the answer's body.
func (a *Authority) post(ctx context.Context, query []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url.String(), bytes.NewReader(query))
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller says what it asks
	}
	request.Header.Set("Content-Type", "application/timestamp-query")
	request.Header.Set("Accept", "application/timestamp-reply")
	request.Header.Set("User-Agent", "cvconsumer")
	answer, err := a.client.Do(request)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // without the URL, whose query may be secret
		}
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers with status %d", answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxResponse+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read its answer: %w", err)
	case len(body) > maxResponse:
		return nil, fmt.Errorf("its answer has more than %d bytes", maxResponse)
	}
	return body, nil
}
