package natsconn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// How the connection is kept. A server that silently vanished is noticed after maxPingsOutstanding
// ping intervals.
const (
	connectTimeout      = 5 * time.Second
	reconnectWait       = 250 * time.Millisecond
	reconnectJitter     = 250 * time.Millisecond
	reconnectJitterTLS  = 500 * time.Millisecond
	pingInterval        = 10 * time.Second
	maxPingsOutstanding = 2
)

// Options configures Connect. Names in brackets are the settings that the fields come from.
type Options struct {
	URL      string                     // comma list of servers (NATS_URL)
	Name     string                     // of the client, as the server's monitoring shows it
	Creds    string                     // file with a user's JWT and key (NATS_CREDS), read at every connect
	NKey     string                     // file with a user's seed (NATS_NKEY)
	User     string                     // (NATS_USER); without Password it is a token, as in the nats command line
	Password func() (string, error)     // (NATS_PASSWORD), read at every connect, so that a rotated one is used; needs User
	CA       string                     // PEM file of the authorities to trust (NATS_CA)
	Cert     string                     // PEM file of the client certificate (NATS_CERT); needs Key
	Key      string                     // PEM file of its key (NATS_KEY)
	Inbox    string                     // what the subjects of answers begin with (CONSUMER_NATS_INBOX_PREFIX); default the client's, _INBOX
	Timeout  time.Duration              // of an attempt to connect; default 5 s
	FailFast bool                       // fail when no server answers at first, instead of retrying for ever
	Log      zerolog.Logger             // one line per change of the connection
	Attempt  func(err error)            // when set, called after each attempt to connect: with why it failed, nil if it succeeded
	Dialer   nats.InProcessConnProvider // when set, connects to a server in this process; URL is ignored
}

// Connect connects to NATS and stays connected: it retries for ever, through every server, even
// with credentials that are refused (an operator may be about to repair them). Without FailFast it
// returns after the first attempt, connected or not. Errors are about the options: a bad URL, an
// unreadable file.
//
// The client buffers no message while there is no connection. A Nak, a heartbeat or a write that
// went out minutes late would act on another replica's delivery by then; callers repeat what must
// arrive.
func Connect(ctx context.Context, o Options) (*nats.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", context.Cause(ctx))
	}
	credentials, err := o.credentials()
	if err != nil {
		return nil, err
	}
	certificates, err := o.certificates()
	if err != nil {
		return nil, err
	}
	options := slices.Concat(o.connection(), credentials, certificates)
	if o.Inbox != "" {
		options = append(options, nats.CustomInboxPrefix(o.Inbox))
	}
	if o.Dialer != nil {
		o.URL = ""
		options = append(options, nats.InProcessServer(o.Dialer))
	}
	nc, err := nats.Connect(o.URL, options...)
	var unreadable *url.Error
	if errors.As(err, &unreadable) { // its text has the whole address, which may have a password in it
		return nil, fmt.Errorf("connect to NATS: the address cannot be read: %w", unreadable.Err)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w", withoutUser(o.URL), err)
	}
	return nc, nil
}

// withoutUser is a comma list of servers without the users, passwords and tokens in it.
func withoutUser(servers string) string {
	all := strings.Split(servers, ",")
	for i, server := range all {
		scheme, rest, found := strings.Cut(strings.TrimSpace(server), "://")
		if !found {
			scheme, rest = "nats", scheme
		}
		all[i] = scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
	}
	return strings.Join(all, ",")
}

// connection sets how the connection is kept and logged.
func (o Options) connection() []nats.Option {
	log, logged := o.Log, "" // logged is used by the connection's one callback goroutine only
	attempt := o.Attempt
	if attempt == nil {
		attempt = func(error) {}
	}
	return []nats.Option{
		nats.Name(o.Name),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(!o.FailFast),
		// By default the client closes for good when a server refuses its credentials twice.
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(reconnectJitter, reconnectJitterTLS),
		nats.ReconnectBufSize(-1),
		nats.Timeout(cmp.Or(o.Timeout, connectTimeout)),
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(maxPingsOutstanding),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil after this process closed the connection
				log.Warn().Err(err).Msg("NATS connection lost")
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			attempt(err)
			if text := err.Error(); text != logged { // every attempt fails alike: one line is enough
				logged = text
				log.Warn().Err(err).Msg("cannot connect to NATS, retrying")
			}
		}),
		nats.ConnectHandler(func(nc *nats.Conn) {
			logged = ""
			attempt(nil)
			log.Info().Str("server", nc.ConnectedServerName()).Msg("connected to NATS")
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			logged = ""
			attempt(nil)
			log.Info().Str("server", nc.ConnectedServerName()).Msg("connected to NATS again")
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			e := log.Warn().Err(err)
			if sub != nil {
				e = e.Str("subject", sub.Subject)
			}
			e.Msg("NATS reported an error")
		}),
	}
}

// credentials is how the client authenticates: with a JWT, a seed, user and password, or a token.
func (o Options) credentials() ([]nats.Option, error) {
	switch {
	case o.Creds != "":
		return []nats.Option{nats.UserCredentials(o.Creds)}, nil
	case o.NKey != "":
		nkey, err := nats.NkeyOptionFromSeed(o.NKey)
		if err != nil {
			return nil, fmt.Errorf("read the NATS nkey: %w", err)
		}
		return []nats.Option{nkey}, nil
	case o.User != "" && o.Password == nil:
		return []nats.Option{nats.Token(o.User)}, nil
	case o.User != "":
		return []nats.Option{nats.UserInfoHandler(func() (string, string) {
			password, err := o.Password()
			if err != nil {
				o.Log.Warn().Err(err).Msg("cannot read the NATS password")
			}
			return o.User, password
		})}, nil
	case o.Password != nil:
		return nil, errors.New("connect to NATS: a password without a user")
	}
	return nil, nil
}

// certificates are the authorities that the client trusts, and its own certificate.
func (o Options) certificates() ([]nats.Option, error) {
	var options []nats.Option
	if o.CA != "" {
		options = append(options, nats.RootCAs(o.CA))
	}
	if (o.Cert == "") != (o.Key == "") {
		return nil, errors.New("connect to NATS: a client certificate needs its key, and the key its certificate")
	}
	if o.Cert != "" {
		options = append(options, nats.ClientCert(o.Cert, o.Key))
	}
	return options, nil
}
