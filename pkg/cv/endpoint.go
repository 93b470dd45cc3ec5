package cv

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// rooted is u with a path: JoinPath onto an empty one gives a path without its leading slash, which
// no server takes.
func rooted(u *url.URL) *url.URL {
	if u.Path != "" {
		return u
	}
	withPath := *u
	withPath.Path = "/"
	return &withPath
}

// parseEndpoint checks an endpoint and gives it without trailing slash. One that already ends in
// the API's own path, or in the first part of it, is taken as meant.
func parseEndpoint(endpoint string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(endpoint))
	var bad *url.Error
	switch {
	case errors.As(err, &bad): // its text would quote the endpoint
		return nil, fmt.Errorf("not a URL: %w", bad.Err)
	case err != nil:
		return nil, errors.New("not a URL")
	case u.Scheme == "" && u.Host == "" && u.Path == "":
		return nil, errors.New("empty; https://<name>.cognitiveservices.azure.com is wanted")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("not an https:// or http:// URL")
	case u.Hostname() == "":
		return nil, errors.New("no host in it")
	case u.User != nil:
		return nil, errors.New("a user name or password in it")
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("a query in it")
	case u.Fragment != "":
		return nil, errors.New("a fragment in it")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return nil, errors.New("no such port")
		}
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	for _, own := range [...]string{apiPath, apiRoot} {
		if len(path) >= len(own) && strings.EqualFold(path[len(path)-len(own):], own) {
			path = strings.TrimRight(path[:len(path)-len(own)], "/")
			break
		}
	}
	right := u.Scheme + "://" + strings.ToLower(u.Host)
	switch host := strings.ToLower(u.Hostname()); {
	case strings.Contains(strings.ToLower(path)+"/", apiRoot+"/"):
		return nil, fmt.Errorf("the path of another API in it; leave out what follows the host, or end it in %s", apiPath)
	case host == "customvision.ai" || strings.HasSuffix(host, ".customvision.ai"):
		return nil, errors.New("the portal's address; its settings page shows the endpoint of the training resource, https://<name>.cognitiveservices.azure.com")
	case path != "" && azureHost(host):
		return nil, fmt.Errorf("a path in it that is not Custom Vision's; the right form is %s", right)
	}
	return url.Parse(u.Scheme + "://" + strings.ToLower(u.Host) + path)
}

// Endpoint is the resource's address without trailing slash and without the API's own path.
func (c *Client) Endpoint() *url.URL {
	u := *c.endpoint
	return &u
}

// Host is the endpoint's host in lower case, with the port when it is not the scheme's own. It
// names the resource.
func (c *Client) Host() string {
	if c.endpoint.Port() == defaultPort(c.endpoint.Scheme) {
		return strings.TrimSuffix(c.endpoint.Host, ":"+c.endpoint.Port())
	}
	return c.endpoint.Host
}

// ownDomains are the domains whose sub-domains each belong to one account, sharedDomains those of
// regional endpoints.
var (
	ownDomains    = []string{".cognitiveservices.azure.com", ".cognitiveservices.azure.us", ".cognitiveservices.azure.cn"}
	sharedDomains = []string{".api.cognitive.microsoft.com", ".api.cognitive.microsoft.us", ".api.cognitive.azure.cn"}
)

// azureHost reports whether a host is one of Azure's own, where nothing comes before the API's
// path.
func azureHost(host string) bool {
	return slices.ContainsFunc(slices.Concat(ownDomains, sharedDomains), func(domain string) bool { return strings.HasSuffix(host, domain) })
}

// OwnHost reports whether the endpoint's host is of this one account: a custom sub-domain. A
// regional endpoint, and any other host, may answer for many accounts, by the key that is sent.
func (c *Client) OwnHost() bool {
	for _, domain := range ownDomains {
		if name, ok := strings.CutSuffix(c.endpoint.Hostname(), domain); ok && name != "" {
			return true
		}
	}
	return false
}
