package natsq

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// ConnectOptions says how to reach NATS. Names in brackets are the settings they come from.
type ConnectOptions struct {
	URL      string                     // comma list of servers (NATS_URL)
	Name     string                     // what the server's monitoring shows
	Creds    string                     // file with a user's JWT and key (NATS_CREDS), read at every connect
	NKey     string                     // file with a user's seed (NATS_NKEY)
	User     string                     // (NATS_USER)
	Password func() (string, error)     // (NATS_PASSWORD), asked at every connect so that a rotated one is found; needs User
	CA       string                     // PEM file of the authorities to trust (NATS_CA)
	Cert     string                     // PEM file of the client certificate (NATS_CERT); needs Key
	Key      string                     // PEM file of its key (NATS_KEY)
	FailFast bool                       // fail when no server answers at first, instead of trying for ever
	Log      zerolog.Logger             // one line per change of the connection
	Dialer   nats.InProcessConnProvider // when set, connects to a server in this process; URL is ignored
}

// Connect connects to NATS and stays connected: it tries for ever, through every server, even with
// credentials that are refused (somebody may be about to repair them). Without FailFast it returns
// at once, connected or not. Errors are about the options: bad URL, unreadable file.
//
// Nothing is buffered while there is no connection. A Nak, a heartbeat or a write that went out
// minutes late would speak for somebody else by then; callers repeat what must get through.
func Connect(ctx context.Context, o ConnectOptions) (*nats.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", context.Cause(ctx))
	}
	log, said := o.Log, "" // said is used by the connection's one callback goroutine only
	options := []nats.Option{
		nats.Name(o.Name),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(!o.FailFast),
		// By default the client closes for good when a server refuses its credentials twice.
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(250 * time.Millisecond), nats.ReconnectJitter(250*time.Millisecond, 500*time.Millisecond),
		nats.ReconnectBufSize(-1),
		nats.Timeout(5 * time.Second),
		// A server that vanished without a word is noticed after two of these.
		nats.PingInterval(10 * time.Second), nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil is our own Close
				log.Warn().Err(err).Msg("NATS connection lost")
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			if why := err.Error(); why != said { // every attempt fails alike: once is enough
				said = why
				log.Warn().Err(err).Msg("cannot connect to NATS, trying on")
			}
		}),
		nats.ConnectHandler(func(nc *nats.Conn) {
			said = ""
			log.Info().Str("server", nc.ConnectedServerName()).Msg("connected to NATS")
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			said = ""
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
	switch {
	case o.Creds != "":
		options = append(options, nats.UserCredentials(o.Creds))
	case o.NKey != "":
		nkey, err := nats.NkeyOptionFromSeed(o.NKey)
		if err != nil {
			return nil, fmt.Errorf("read the NATS nkey: %w", err)
		}
		options = append(options, nkey)
	case o.User != "":
		options = append(options, nats.UserInfoHandler(func() (string, string) {
			if o.Password == nil {
				return o.User, ""
			}
			password, err := o.Password()
			if err != nil {
				log.Warn().Err(err).Msg("cannot read the NATS password")
			}
			return o.User, password
		}))
	case o.Password != nil:
		return nil, errors.New("connect to NATS: a password without a user")
	}
	if o.CA != "" {
		options = append(options, nats.RootCAs(o.CA))
	}
	if (o.Cert == "") != (o.Key == "") {
		return nil, errors.New("connect to NATS: a client certificate needs its key, and the key its certificate")
	}
	if o.Cert != "" {
		options = append(options, nats.ClientCert(o.Cert, o.Key))
	}
	if o.Dialer != nil {
		o.URL = ""
		options = append(options, nats.InProcessServer(o.Dialer))
	}
	nc, err := nats.Connect(o.URL, options...)
	var unreadable *url.Error
	if errors.As(err, &unreadable) { // it quotes the whole address, which may hold a password
		return nil, fmt.Errorf("connect to NATS: the address cannot be read: %w", unreadable.Err)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	return nc, nil
}
