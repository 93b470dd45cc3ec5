package contract

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

const (
	// maxBodyBytes bounds a whole message: the data in base64 and a generous envelope.
	maxBodyBytes = 2 << 20
	// maxSource is the length of a CloudEvents source, in characters.
	maxSource = 2048

	contentTypeStructured = "application/cloudevents+json"
	headerContentType     = "content-type"
	headerTraceparent     = "traceparent"
)

var (
	idPattern   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,120}$`)
	uuidPattern = regexp.MustCompile(`^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$`)
	timePattern = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)
	namePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,39}$`)
)

// ValidID reports whether id may name a command: 1 to 120 of A-Z a-z 0-9 _ -, and not "seq-" at the
// beginning, which names messages that gave no id.
func ValidID(id string) bool { return idPattern.MatchString(id) && !IsSeqID(id) }

// DecodeCommand reads the command in m, which was published below prefix ("cv" for
// "cv.commands.export"), in any of the three encodings:
//
//   - structured CloudEvents: the content type is application/cloudevents+json, or the body is an
//     object with a member specversion;
//   - binary CloudEvents: there is a ce-specversion header;
//   - plain: the body is the data and the Nats-Msg-Id header the id.
//
// It accepts nothing that is not exactly a command: unknown fields, another letter case, duplicate
// keys, nulls, empty sets, text that is not UTF-8, fields of another action, more than the limits
// allow. Defaults are filled in and sets sorted.
//
// The error is always a *Refusal with CodeInvalidCommand: under the id that the message gives, if
// that can be read and is usable, whatever else is wrong with it, and else under "seq-<stream
// sequence>". Whether the id is another command's is not known here. The same message is always
// refused in the same words.
func DecodeCommand(prefix string, m Message) (Command, error) {
	c := Command{Seq: m.Seq, Stream: m.Stream, Published: m.Time.UTC()}
	if err := c.decode(prefix, m); err != nil {
		r := &Refusal{ID: cmp.Or(c.ID, SeqID(m.Seq)), Given: c.ID, Action: c.Action, Code: CodeInvalidCommand, Field: "data", Message: err.Error()}
		var f *fault
		if errors.As(err, &f) {
			r.Field = f.field
		}
		return Command{}, r
	}
	return c, nil
}

// GivenID is the id that a message gives as it is written, whether usable or not; empty when it
// gives none, or more than one.
func GivenID(m Message) string {
	e, _ := readEnvelope(m) // the id is read also where something else is wrong
	return e.id
}

// Glimpse is what a delete says that is no command, as far as it can be read.
type Glimpse struct {
	DryRun   bool       `json:"dry_run"`
	NotAfter *time.Time `json:"not_after"` // UTC
}

// GlimpseOf reads what can be read of a message that is no command. Its headers, which are not
// signed, may say of its body what is not so: it is read as data and as an event.
func GlimpseOf(m Message) Glimpse {
	asTold, _ := readEnvelope(m)
	asEvent, _ := readStructured(m, true)
	for _, data := range [][]byte{asTold.data, asEvent.data, m.Body} {
		var g Glimpse
		if json.Unmarshal(data, &g) != nil || g == (Glimpse{}) {
			continue
		}
		if g.NotAfter != nil {
			if *g.NotAfter = g.NotAfter.UTC(); g.NotAfter.Year() < 1 || g.NotAfter.Year() > 9999 { // JSON has no way to write it
				g.NotAfter = nil
			}
		}
		return g
	}
	return Glimpse{}
}

// OneHeader returns a header's value, its name compared in any letter case; empty when there is
// none. It fails when there is more than one.
func OneHeader(m Message, name string) (string, error) {
	value, _, err := oneHeader(m.Header, name)
	return value, err
}

// fault is what is wrong with one field of a message.
type fault struct{ field, problem string }

func (f *fault) Error() string { return f.field + ": " + f.problem }

func faultf(field, format string, args ...any) error {
	return &fault{field: field, problem: fmt.Sprintf(format, args...)}
}

func (c *Command) decode(prefix string, m Message) error {
	token, ok := strings.CutPrefix(m.Subject, prefix+".commands.")
	switch a := Action(token); {
	case ok && (a == ActionExport || a == ActionDelete || a == ActionCancel):
		c.Action = a
	default:
		return faultf("subject", "no action: publish on %s.commands.export, .delete or .cancel", prefix)
	}
	e, err := readEnvelope(m)
	if ValidID(e.id) {
		c.ID = e.id
	}
	if err != nil {
		return err
	}
	if err := checkID(e.idField, e.id); err != nil {
		return err
	}
	c.Source, c.Traceparent = e.source, e.traceparent
	if e.typeField != "" {
		if err := c.checkType(e.typeField, e.typ); err != nil {
			return err
		}
	}
	if c.ReplayOf, _, err = oneHeader(m.Header, HeaderReplayOf); err != nil {
		return err
	}
	if c.ReplayOf != "" && !idPattern.MatchString(c.ReplayOf) {
		return faultf(HeaderReplayOf, "not an id: use 1 to 120 of A-Z a-z 0-9 _ -")
	}
	c.Data, err = decodeData(c.Action, e.data)
	return err
}

func checkID(field, id string) error {
	switch {
	case id == "":
		return faultf(field, "missing: every command needs an id, 1 to 120 of A-Z a-z 0-9 _ -")
	case IsSeqID(id):
		return faultf(field, "must not begin with seq-, which names messages that gave no id of their own")
	case !idPattern.MatchString(id):
		return faultf(field, "not an id: use 1 to 120 of A-Z a-z 0-9 _ -")
	}
	return nil
}

func (c *Command) checkType(field, typ string) error {
	want := fmt.Sprintf("cv.%s.requested", c.Action)
	if typ == want {
		return nil
	}
	for _, a := range []Action{ActionExport, ActionDelete, ActionCancel} {
		if typ == fmt.Sprintf("cv.%s.requested", a) {
			return faultf(field, "says %s, but the subject says %s: make it %s, or publish it on the other subject", a, c.Action, want)
		}
	}
	return faultf(field, "unknown: on this subject it must be %s", want)
}
