package jsapi

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// DeniedError means that the server does not permit this user to publish on a subject, or to
// subscribe to it.
type DeniedError struct {
	Permission string // "publish" or "subscribe", as a server's configuration names it
	Subject    string
}

// Error names the subject and the permission that is missing.
func (e *DeniedError) Error() string {
	return fmt.Sprintf("the NATS server denies it: this user lacks the permission to %s %q", map[string]string{
		permissionPublish: "publish on", permissionSubscribe: "subscribe to",
	}[e.Permission], e.Subject)
}

// Permissions, as a server's configuration names them.
const (
	permissionPublish   = "publish"
	permissionSubscribe = "subscribe"
)

// ErrDenied is every DeniedError, for errors.Is.
var ErrDenied = errors.New("denied by the NATS server")

// Is reports whether target is ErrDenied.
func (e *DeniedError) Is(target error) bool { return target == ErrDenied }

// denials knows what the server denied on one connection. The server says so outside of any
// request, and does not answer the request: its sender would wait in vain.
type denials struct {
	inbox string // what the subjects of answers begin with

	mu        sync.Mutex
	underWay  map[*request]struct{}
	published map[string]error // by subject, until looked at
	answers   error            // why no answer can come on this connection
}

// maxDenials bounds how many denied subjects are remembered.
const maxDenials = 1000

// request is a request under way, or a check of notices.
type request struct {
	subject string
	end     context.CancelCauseFunc
}

// watchDenials listens for denials on a connection, beside who listens already.
func watchDenials(nc *nats.Conn) *denials {
	inbox := nc.NewInbox()
	d := &denials{inbox: inbox[:strings.LastIndexByte(inbox, '.')+1], underWay: map[*request]struct{}{}, published: map[string]error{}}
	before := nc.ErrorHandler()
	nc.SetErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
		if denied := AsDenied(err); denied != nil {
			d.record(denied)
		}
		if before != nil {
			before(nc, sub, err)
		}
	})
	again := nc.ReconnectHandler()
	nc.SetReconnectHandler(func(nc *nats.Conn) {
		d.forget() // the server is asked again, and says it again
		if again != nil {
			again(nc)
		}
	})
	return d
}

// violation is how a server words a denial.
var violation = regexp.MustCompile(`(?i)permissions violation for (publish|subscription)(?: with reply)?(?: to| of) "([^"]+)"`)

// AsDenied is the denial that an asynchronous error of the connection is; nil when it is none.
func AsDenied(err error) *DeniedError {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return nil
	}
	found := violation.FindStringSubmatch(err.Error())
	if found == nil {
		return nil
	}
	permission := permissionPublish
	if strings.EqualFold(found[1], "subscription") {
		permission = permissionSubscribe
	}
	return &DeniedError{Permission: permission, Subject: found[2]}
}

// record ends the requests that a denial concerns: those on its subject, or all when no answer can
// reach this connection. Nothing but a check of notices subscribes to the subject of its request.
func (d *denials) record(denied *DeniedError) {
	d.mu.Lock()
	defer d.mu.Unlock()
	unanswered := denied.Permission == permissionSubscribe && strings.HasPrefix(denied.Subject, d.inbox)
	switch {
	case unanswered:
		d.answers = denied
	case denied.Permission == permissionPublish && len(d.published) < maxDenials:
		d.published[denied.Subject] = denied
	}
	for r := range d.underWay {
		if unanswered || r.subject == denied.Subject {
			r.end(denied)
		}
	}
}

// forget forgets all denials.
func (d *denials) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answers = nil
	clear(d.published)
}

// begin returns a context for a request on a subject, which ends with the DeniedError when the
// server denies the request. end is to be called when the request has ended.
func (d *denials) begin(ctx context.Context, subject string) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	r := &request{subject: subject, end: cancel}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.underWay[r] = struct{}{}
	delete(d.published, subject)
	if d.answers != nil {
		cancel(d.answers)
	}
	return ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.underWay, r)
		cancel(nil)
	}
}

// take is the last denial of a message on a subject that was published without a request, or of
// the subscriptions for answers; nil when there was none since the last call.
func (d *denials) take(subject string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.published[subject]
	delete(d.published, subject)
	if err == nil {
		err = d.answers
	}
	return err
}

// checkToken is in place of a wildcard in what CheckNotices sends. No command has it as its id.
const checkToken = "~check"

// CheckNotices fails with a DeniedError if the server does not permit this user to publish on
// subjects, "prefix.*", or to subscribe to them: it sends a message to itself. Nothing else is an
// error: notices may be lost.
func (c *Client) CheckNotices(ctx context.Context, subjects string) error {
	subject := strings.TrimSuffix(subjects, "*") + checkToken
	once, cancel := context.WithTimeout(ctx, MinTryTimeout)
	defer cancel()
	once, end := c.denials.begin(once, subject)
	defer end()
	sub, err := c.nc.SubscribeSync(subject)
	if err != nil {
		return nil //nolint:nilerr // the connection is closed
	}
	defer sub.Unsubscribe() //nolint:errcheck // fails only when the connection is closed
	if c.nc.Publish(subject, nil) == nil {
		_, _ = sub.NextMsgWithContext(once) // what it waited for in vain is in the context
	}
	var denied *DeniedError
	if !errors.As(context.Cause(once), &denied) {
		return nil
	}
	if denied.Subject == subject {
		return &DeniedError{Permission: denied.Permission, Subject: subjects}
	}
	return denied
}
