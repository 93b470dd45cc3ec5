package cv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// azureSuffixes are where the service keeps its files, in all Azure clouds.
var azureSuffixes = [...]string{".blob.core.windows.net", ".blob.core.usgovcloudapi.net", ".blob.core.chinacloudapi.cn"}

// hostRules decides where download links may point to.
type hostRules struct {
	scheme string // of the endpoint
	own    hostRule
	listed []hostRule
	// proxies are the addresses of the proxies in use, which the operator chose and which dial in
	// our place.
	proxies *sync.Map
}

// hostRule is one host and those below it; port "" is any.
type hostRule struct{ host, port string }

func newHostRules(endpoint *url.URL, entries []string) (hostRules, error) {
	rules := hostRules{scheme: endpoint.Scheme, own: hostRule{hostOf(endpoint), portOf(endpoint)}, proxies: &sync.Map{}}
	for _, entry := range entries {
		rule, err := parseHostRule(entry)
		if err != nil {
			return hostRules{}, fmt.Errorf("%q: %w", entry, err)
		}
		rules.listed = append(rules.listed, rule)
	}
	return rules, nil
}

// parseHostRule reads "suffix" or "suffix:port". An IPv6 address with a port stands in brackets.
func parseHostRule(entry string) (hostRule, error) {
	host, port := strings.TrimSpace(entry), ""
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil && strings.Contains(host, ":") {
		if host, port, err = net.SplitHostPort(host); err != nil {
			return hostRule{}, errors.New(`"suffix" or "suffix:port" is wanted`)
		}
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return hostRule{}, errors.New("no such port")
		}
	}
	host = plainHost(strings.TrimLeft(strings.Trim(host, "[]"), "*."))
	if host == "" || strings.ContainsAny(host, "/@?# *") {
		return hostRule{}, errors.New(`"suffix" or "suffix:port" is wanted`)
	}
	return hostRule{host, port}, nil
}

func (r hostRule) matches(host, port string) bool {
	if r.port != "" && r.port != port {
		return false
	}
	return host == r.host || strings.HasSuffix(host, "."+r.host)
}

// lists reports whether the operator listed this host.
func (h hostRules) lists(host, port string) bool {
	for _, rule := range h.listed {
		if rule.matches(host, port) {
			return true
		}
	}
	return false
}

// trusts reports whether the operator named this very host, so that its address may be private.
func (h hostRules) trusts(host, port string) bool {
	return h.own == hostRule{host, port} || h.lists(host, port)
}

// allow refuses links to hosts that are not allowed, before their names are looked up.
func (h hostRules) allow(u *url.URL) error {
	host, port := hostOf(u), portOf(u)
	if u.Scheme != "https" && u.Scheme != "http" || host == "" || u.User != nil {
		return fmt.Errorf("a link of an unexpected kind: %w", ErrHostNotAllowed)
	}
	if h.own == (hostRule{host, port}) && u.Scheme == h.scheme || h.lists(host, port) {
		return nil
	}
	for _, suffix := range azureSuffixes {
		if u.Scheme == "https" && port == "443" && strings.HasSuffix(host, suffix) {
			return nil
		}
	}
	return fmt.Errorf("%s://%s: %w", u.Scheme, net.JoinHostPort(host, port), ErrHostNotAllowed)
}

// transports gives the transport of API calls and that of downloads, which refuses private
// addresses when it dials: what a name meant when it was looked up before says nothing.
func (h hostRules) transports(given http.RoundTripper) (api, blob http.RoundTripper) {
	base, ok := given.(*http.Transport)
	switch {
	case given == nil:
		base = defaultTransport()
	case !ok:
		return given, given
	}
	guarded := base.Clone()
	guarded.DisableCompression = true
	guarded.MaxIdleConnsPerHost = max(guarded.MaxIdleConnsPerHost, 64)
	guarded.DialTLSContext = nil
	guarded.Dial, guarded.DialTLS = nil, nil //nolint:staticcheck // they would pass the guard by
	guarded.DialContext = h.dial(base.DialContext)
	if proxy := base.Proxy; proxy != nil {
		guarded.Proxy = func(req *http.Request) (*url.URL, error) {
			u, err := proxy(req)
			if u != nil {
				h.proxies.Store(net.JoinHostPort(hostOf(u), portOf(u)), true)
			}
			return u, err
		}
	}
	if given == nil {
		base.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	return base, guarded
}

func defaultTransport() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // downloads are faster over many connections, and API calls are few
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		Protocols:             protocols,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       60 * time.Second,
		MaxIdleConns:          256,
		MaxIdleConnsPerHost:   16,
	}
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// dial guards dialling. Where the transport brings a dialler of its own, dial checks the address of
// each connection before anything is sent.
func (h hostRules) dial(given dialFunc) dialFunc {
	plain := &net.Dialer{Timeout: dialTimeout}
	guarded := &net.Dialer{Timeout: plain.Timeout, Control: func(_, address string, _ syscall.RawConn) error { return checkAddress(address) }}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		_, proxy := h.proxies.Load(net.JoinHostPort(plainHost(host), port))
		trusted := proxy || h.trusts(plainHost(host), port)
		switch {
		case given == nil && trusted:
			return plain.DialContext(ctx, network, address)
		case given == nil:
			return guarded.DialContext(ctx, network, address)
		}
		conn, err := given(ctx, network, address)
		if err != nil || trusted {
			return conn, err
		}
		if err := checkAddress(conn.RemoteAddr().String()); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return conn, nil
	}
}

// inner are networks that IsPrivate does not cover but that lead to internal addresses all the
// same.
var inner = [...]netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),    // shared by carriers and clouds
	netip.MustParsePrefix("168.63.129.16/32"), // Azure's wire server
	netip.MustParsePrefix("192.0.0.0/24"),     // protocol assignments
	netip.MustParsePrefix("198.18.0.0/15"),    // tests of networks
	netip.MustParsePrefix("240.0.0.0/4"),      // reserved; used inside by some
	netip.MustParsePrefix("::/96"),            // IPv4 written as IPv6, private ones too
	netip.MustParsePrefix("2001::/32"),        // Teredo, private IPv4 too
	netip.MustParsePrefix("fec0::/10"),        // site-local, before there was fd00::/8
	netip.MustParsePrefix("::ffff:0:0:0/96"),  // IPv4 translated (SIIT), private ones too
	netip.MustParsePrefix("64:ff9b::/96"),     // IPv4 behind NAT64, private ones too
	netip.MustParsePrefix("64:ff9b:1::/48"),   // likewise, local
	netip.MustParsePrefix("2002::/16"),        // 6to4, private IPv4 too
}

// checkAddress refuses private and other internal addresses.
func checkAddress(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("an address that cannot be parsed: %w", ErrHostNotAllowed)
	}
	ip := at.Addr().WithZone("").Unmap()
	refuse := ip.IsPrivate() || ip.IsLoopback() || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast()
	for _, network := range inner {
		refuse = refuse || network.Contains(ip)
	}
	if refuse {
		return fmt.Errorf("private address %s: %w", ip, ErrHostNotAllowed)
	}
	return nil
}

func plainHost(host string) string { return strings.TrimSuffix(strings.ToLower(host), ".") }

func hostOf(u *url.URL) string { return plainHost(u.Hostname()) }

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	return defaultPort(u.Scheme)
}

func defaultPort(scheme string) string {
	if scheme == "http" {
		return "80"
	}
	return "443"
}
