package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/natsconn"
)

// natsSettings are named as the nats command line names them.
type natsSettings struct {
	Context      string `name:"context" var:"NATS_CONTEXT" placeholder:"NAME" help:"Context of the nats command line, from which the settings of NATS are taken that are not given (~/.config/nats/context/NAME.json)."`
	URL          string `name:"nats-url" var:"NATS_URL" context:"url" default:"nats://127.0.0.1:4222" placeholder:"URL,…" help:"NATS servers; with a password or token in it only by variable; default ${default}."`
	Creds        string `name:"nats-creds" var:"NATS_CREDS" context:"creds" placeholder:"FILE" help:"NATS user credentials."`
	NKey         string `name:"nats-nkey" var:"NATS_NKEY" context:"nkey" placeholder:"FILE" help:"NATS NKey seed."`
	User         string `name:"nats-user" var:"NATS_USER" context:"user,token" placeholder:"NAME" help:"NATS user name; or, only by variable and without a password, a token."`
	Password     string `name:"nats-password" var:"NATS_PASSWORD" context:"password" secret:"" hidden:"" placeholder:"TEXT" help:"NATS password."`
	PasswordFile string `name:"nats-password-file" var:"NATS_PASSWORD_FILE" value:"NATS_PASSWORD" placeholder:"FILE" help:"File with the NATS password."`
	CA           string `name:"nats-ca" var:"NATS_CA" context:"ca" placeholder:"FILE" help:"CA certificates to check NATS servers with."`
	Cert         string `name:"nats-cert" var:"NATS_CERT" context:"cert" placeholder:"FILE" help:"TLS client certificate."`
	Key          string `name:"nats-key" var:"NATS_KEY" context:"key" placeholder:"FILE" help:"TLS client key."`
	Inbox        string `name:"nats-inbox-prefix" var:"CONSUMER_NATS_INBOX_PREFIX" context:"inbox_prefix" placeholder:"PREFIX" help:"What the subjects of answers from NATS begin with; default _INBOX, of consumer run _INBOX_cvconsumer. No other user may have the right to listen there."`
	Domain       string `name:"nats-domain" var:"CONSUMER_NATS_DOMAIN" context:"jetstream_domain" placeholder:"NAME" help:"JetStream domain of the streams and buckets; default: that of the server."`
	Subjects     string `name:"subject-prefix" var:"CONSUMER_SUBJECT_PREFIX" default:"cv" placeholder:"WORD" help:"First token of all subjects; names of streams and buckets begin with it in upper case; default ${default}."`
}

// natsConfig is how NATS is reached.
type natsConfig struct {
	URL, Creds, NKey, User string
	Password               Secret
	CA, Cert, Key          string
	Inbox, Domain          string
	Subjects               string
	Flags                  string        // of the command line, for what it suggests to type next; not a setting
	Timeout                time.Duration // of an attempt to connect; 0: natsconn's; not a setting
}

// serviceInbox is the default of CONSUMER_NATS_INBOX_PREFIX for the service. JetStream sends all
// commands there: a client with the right to subscribe to the inboxes of others would read them.
const serviceInbox = "_INBOX_cvconsumer"

var (
	inboxPrefix  = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	domainName   = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	subjectToken = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)
)

func (s natsSettings) config(p *problems) natsConfig {
	c := natsConfig{
		URL: s.URL, User: s.User,
		Creds:    p.file("NATS_CREDS", s.Creds),
		NKey:     p.file("NATS_NKEY", s.NKey),
		Password: p.secret("NATS_PASSWORD", s.Password, s.PasswordFile),
		CA:       p.file("NATS_CA", s.CA),
		Cert:     p.file("NATS_CERT", s.Cert),
		Key:      p.file("NATS_KEY", s.Key),
		Inbox:    s.Inbox,
		Domain:   s.Domain,
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
	if s.Inbox != "" && !inboxPrefix.MatchString(s.Inbox) {
		p.add("CONSUMER_NATS_INBOX_PREFIX", "%q is not a subject: words of letters, digits, - and _, with dots between them, such as %s", s.Inbox, serviceInbox)
	}
	if s.Domain != "" && !domainName.MatchString(s.Domain) {
		p.add("CONSUMER_NATS_DOMAIN", "%q is not a word of letters, digits, - and _", s.Domain)
	}
	if !subjectToken.MatchString(s.Subjects) {
		p.add("CONSUMER_SUBJECT_PREFIX", "%q is not a word of letters, digits, - and _ (at most 32)", s.Subjects)
	}
	return c
}

// reachTimeout is how long a command line waits for servers before it reports that they cannot be
// reached.
const reachTimeout = 10 * time.Second

// openRequester connects to NATS as a requester, who publishes commands and reads their results. It
// makes and changes no streams or buckets there.
func openRequester(ctx context.Context, c natsConfig) (*nats.Conn, *natsq.Queue, error) {
	o := c.connection("consumer", zerolog.Nop())
	o.FailFast = true
	nc, err := natsconn.Connect(ctx, o)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errUnreachable, c.explain(err))
	}
	opening, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	q, err := natsq.OpenRequester(opening, nc, natsq.Options{Prefix: c.Subjects, Domain: c.Domain, Log: zerolog.Nop()})
	var missing *natsq.DriftError
	if errors.As(err, &missing) {
		err = cure(err, "CONSUMER_SUBJECT_PREFIX", "is --subject-prefix ($CONSUMER_SUBJECT_PREFIX) right, and did the service ever run there?")
	}
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("%w: %w", errUnreachable, c.explain(err))
	}
	return nc, q, nil
}

// connection is how to connect, in natsconn's terms.
func (c natsConfig) connection(name string, log zerolog.Logger) natsconn.Options {
	o := natsconn.Options{URL: c.URL, Name: name, Creds: c.Creds, NKey: c.NKey, User: c.User, Inbox: c.Inbox, CA: c.CA, Cert: c.Cert, Key: c.Key, Timeout: c.Timeout, Log: log}
	if c.Password.IsSet() {
		o.Password = c.Password.Reveal
	}
	return o
}
