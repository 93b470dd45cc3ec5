package handler

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
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

// ValidID tells whether id may name a command: 1 to 120 of A-Z a-z 0-9 _ -, and not "seq-" at the
// beginning, which names messages that gave no id.
func ValidID(id string) bool { return idPattern.MatchString(id) && !IsSeqID(id) }

// DecodeCommand reads the command in m, which was published below prefix ("cv" for
// "cv.commands.export"), in any of the three encodings:
//
//   - structured CloudEvents: the content type is application/cloudevents+json, or the body is an object with a member specversion;
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
	if c.Signature, _, err = oneHeader(m.Header, HeaderSignature); err != nil {
		return err
	}
	c.Data, err = decodeData(c.ID, c.Action, e.data)
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

// envelope is what the three encodings have in common.
type envelope struct {
	id, idField   string
	typ           string
	typeField     string // empty when the encoding has no type
	source        string
	traceparent   string
	data          []byte
	contentType   string
	contentTypeIn string // the name of the field that said it
}

// readEnvelope reads what says how a message is to be read. The envelope has the message's id, if
// that can be read, also when the error is about something else.
func readEnvelope(m Message) (envelope, error) {
	contentType, _, err := oneHeader(m.Header, headerContentType)
	e, other := readAs(m, contentType)
	if err != nil { // it is judged first
		return e, err
	}
	return e, other
}

func readAs(m Message, contentType string) (envelope, error) {
	switch media := mediaType(contentType); {
	case media == contentTypeStructured:
		return readStructured(m, true)
	case strings.HasPrefix(media, "application/cloudevents"):
		return envelope{}, faultf(headerContentType, "this form of CloudEvents is not read: use %s", contentTypeStructured)
	}
	if _, ok, _ := oneHeader(m.Header, "ce-specversion"); ok { // readBinary sees whether there is more than one
		return readBinary(m, contentType)
	}
	e, err := readStructured(m, false)
	if err != nil || e.typeField != "" {
		return e, err
	}
	return readPlain(m)
}

// readPlain reads a message whose body is the data.
func readPlain(m Message) (e envelope, err error) {
	e = envelope{idField: HeaderMsgID, data: m.Body}
	e.id, _, err = oneHeader(m.Header, HeaderMsgID)
	for _, name := range []string{"ce-id", "ce-source", "ce-type"} {
		if _, ok, _ := oneHeader(m.Header, name); ok {
			e.id = eitherID(m.Header)
			return e, faultf("ce-specversion", "missing, though there are other ce- headers: a binary CloudEvent needs it")
		}
	}
	if err != nil {
		return e, err
	}
	e.traceparent, err = traceHeader(m.Header, headerTraceparent)
	return e, err
}

// eitherID is the id of a message that is half plain, half a binary CloudEvent: the one that it
// gives, if it does not give two.
func eitherID(header map[string][]string) string {
	plain, _, broken := oneHeader(header, HeaderMsgID)
	event, _, err := oneHeader(header, "ce-id")
	if broken != nil || err != nil || plain != "" && event != "" && plain != event {
		return ""
	}
	return cmp.Or(plain, event)
}

// readBinary reads a CloudEvent whose attributes are headers and whose body is the data.
func readBinary(m Message, contentType string) (e envelope, err error) {
	e = envelope{idField: "ce-id", typeField: "ce-type", data: m.Body, contentType: contentType, contentTypeIn: headerContentType}
	var version string
	for _, attribute := range []struct {
		name string
		into *string
	}{{"ce-id", &e.id}, {"ce-specversion", &version}, {"ce-type", &e.typ}, {"ce-source", &e.source}} {
		if *attribute.into, _, err = oneHeader(m.Header, attribute.name); err != nil {
			return e, err
		}
	}
	if e.traceparent, err = traceHeader(m.Header, "ce-traceparent", headerTraceparent); err != nil {
		return e, err
	}
	return e, e.check("ce-", version)
}

// readStructured reads a CloudEvent that is the whole body. Unless declared by the content type, a
// body that is not an object with a member specversion gives an empty envelope: it is plain data.
func readStructured(m Message, declared bool) (e envelope, err error) {
	id, isEvent := eventID(m.Body)
	if !declared && !isEvent {
		return envelope{}, nil // whatever it is, it is not an event: it is read as plain data
	}
	e = envelope{id: id, idField: "id", typeField: "type", contentTypeIn: "datacontenttype"}
	if err := checkText("data", m.Body, maxBodyBytes); err != nil {
		return e, err
	}
	fields, isObject, err := readObject("event", m.Body)
	if err != nil {
		return e, err
	}
	if err := checkSurrogates("data", m.Body); err != nil {
		return e, err
	}
	if !isObject {
		return e, faultf("data", "the body must be a CloudEvent: a JSON object")
	}
	var version, coded string
	for _, f := range fields {
		if f.isNull() {
			continue // CloudEvents takes a null attribute for an absent one
		}
		switch f.name {
		case "specversion":
			version, err = f.text()
		case "id":
			_, err = f.text() // it is read already
		case "source":
			e.source, err = f.text()
		case "type":
			e.typ, err = f.text()
		case "datacontenttype":
			e.contentType, err = f.text()
		case headerTraceparent:
			_ = json.Unmarshal(f.raw, &e.traceparent) // a broken trace never stops a command
		case "data":
			e.data = f.raw
		case "data_base64":
			coded, err = f.text()
		default:
			for _, name := range []string{"specversion", "id", "source", "type", "datacontenttype", "data", "data_base64"} {
				if strings.EqualFold(f.name, name) {
					err = faultf(f.name, "wrong letter case: write %s", name)
				}
			}
		}
		if err != nil {
			return e, err
		}
	}
	if e.traceparent == "" {
		if e.traceparent, err = traceHeader(m.Header, headerTraceparent); err != nil {
			return e, err
		}
	}
	if coded != "" {
		if e.data != nil {
			return e, faultf("data_base64", "give either this or data, not both")
		}
		if e.data, err = base64.StdEncoding.Strict().DecodeString(coded); err != nil {
			return e, faultf("data_base64", "not base64 (RFC 4648, with padding)")
		}
	}
	e.traceparent = validTrace(e.traceparent)
	return e, e.check("", version)
}

// eventID reads the id of an event in structured JSON, however broken the event is otherwise: empty
// when it has none, more than one, or one that is no string. isEvent says that the body is an
// object with a member specversion.
func eventID(body []byte) (id string, isEvent bool) {
	if !json.Valid(body) {
		return "", false
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return "", false
	}
	ids := 0
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return "", false
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return "", false
		}
		switch name {
		case "specversion":
			isEvent = true
		case "id":
			ids++
			_ = json.Unmarshal(value, &id) // what is no string is no id
		}
	}
	if ids > 1 {
		id = ""
	}
	return id, isEvent
}

// check holds the attributes of a CloudEvent to what both its encodings ask for; prefix is how
// their names begin.
func (e *envelope) check(prefix, version string) error {
	switch {
	case version != "1.0":
		return faultf(prefix+"specversion", "must be 1.0")
	case e.source == "":
		return faultf(prefix+"source", "missing: say where the command comes from")
	case utf8.RuneCountInString(e.source) > maxSource:
		return faultf(prefix+"source", "longer than %d characters", maxSource)
	case e.typ == "":
		return faultf(prefix+"type", "missing: use cv.export.requested, cv.delete.requested or cv.cancel.requested")
	case e.contentType != "" && !isJSONType(e.contentType):
		return faultf(e.contentTypeIn, "the data must be JSON: use application/json or leave it out")
	case len(e.data) == 0:
		return faultf("data", "missing")
	}
	return nil
}

// oneHeader returns a header's value; its name is compared in any letter case. It is a fault when
// there is more than one.
func oneHeader(header map[string][]string, name string) (value string, ok bool, err error) {
	for k, values := range header {
		if !strings.EqualFold(k, name) || len(values) == 0 {
			continue
		}
		if ok || len(values) > 1 {
			return "", true, faultf(name, "given more than once")
		}
		value, ok = strings.Trim(values[0], " \t"), true
	}
	return value, ok, nil
}

// traceHeader returns the first of the named headers that is there, when it is a valid trace
// parent.
func traceHeader(header map[string][]string, names ...string) (string, error) {
	for _, name := range names {
		if v, ok, err := oneHeader(header, name); err != nil || ok {
			return validTrace(v), err
		}
	}
	return "", nil
}

// validTrace returns v when it is a W3C trace parent that means something, else nothing: a broken
// trace never stops a command.
func validTrace(v string) string {
	parts := strings.Split(v, "-")
	if len(parts) != 4 || len(parts[0]) != 2 || len(parts[1]) != 32 || len(parts[2]) != 16 || len(parts[3]) != 2 || v != strings.ToLower(v) {
		return ""
	}
	for i, p := range parts {
		b, err := hex.DecodeString(p)
		if err != nil || i == 0 && b[0] == 0xff || (i == 1 || i == 2) && len(bytes.Trim(b, "\x00")) == 0 {
			return ""
		}
	}
	return v
}

func mediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(media))
}

func isJSONType(contentType string) bool {
	media := mediaType(contentType)
	return media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json")
}

// decodeData reads the data of a command with the given id and action.
func decodeData(id string, action Action, raw []byte) (Data, error) {
	if err := checkText("data", raw, MaxCommandBytes); err != nil {
		return Data{}, err
	}
	if err := checkSurrogates("data", raw); err != nil {
		return Data{}, err
	}
	fields, isObject, err := readObject("data", raw)
	if err != nil {
		return Data{}, err
	}
	if !isObject {
		return Data{}, faultf("data", "must be a JSON object")
	}
	var d Data
	for _, f := range fields {
		if err := checkField(action, f.name); err != nil {
			return Data{}, err
		}
		if f.isNull() {
			return Data{}, faultf(f.name, "must not be null: leave it out instead")
		}
		if err := d.set(f); err != nil {
			return Data{}, err
		}
	}
	if action == ActionCancel {
		switch d.CancelID {
		case "":
			return Data{}, faultf("id", "missing: name the command to cancel")
		case id:
			return Data{}, faultf("id", "a cancel cannot cancel itself: name the command to cancel, and give the cancel an id of its own")
		}
		return d, nil
	}
	if d.Resource == "" {
		d.Resource = DefaultResource
	}
	d = d.normalized()
	if err := d.checkSelection(); err != nil {
		return Data{}, err
	}
	if len(d.Categories) == 0 {
		d.Categories = DefaultCategories(action, d.Narrowing())
	} else if err := d.checkCategories(action); err != nil {
		return Data{}, err
	}
	if d.ExportRetainUntil != nil && !d.ExportFirst {
		return Data{}, faultf("export_retain_until", "locks the bag of export_first: set export_first, or leave this out")
	}
	return d, nil
}

// checkField tells whether name is a field of the action, and if not, why.
func checkField(action Action, name string) error {
	fields := dataFields()
	for _, f := range fields {
		if f.name != name {
			continue
		}
		if slices.Contains(f.of, action) {
			return nil
		}
		if f.of[0] == ActionCancel {
			return faultf(name, "only a cancel has it: a command's own id goes into its envelope or the Nats-Msg-Id header")
		}
		if action == ActionCancel {
			return faultf(name, "a cancel has only id, the command to cancel")
		}
		return faultf(name, "only a delete has it: leave it out, or publish the command on the delete subject")
	}
	for _, f := range fields {
		if strings.EqualFold(f.name, name) {
			return faultf(showable(name), "wrong letter case: write %s", f.name)
		}
	}
	return unknownField("", name)
}

// dataField is one field of a command's data and the actions that have it.
type dataField struct {
	name string
	of   []Action
}

func dataFields() []dataField {
	both := []Action{ActionExport, ActionDelete}
	return []dataField{
		{"resource", both},
		{"all_projects", both},
		{"project_ids", both},
		{string(NarrowIterations), both},
		{string(NarrowTags), both},
		{string(NarrowImages), both},
		{string(NarrowMetadata), both},
		{"categories", both},
		{"reference", both},
		{"not_after", both},
		{"retain_until", both},
		{"dry_run", []Action{ActionDelete}},
		{"approved_plan", []Action{ActionDelete}},
		{"export_first", []Action{ActionDelete}},
		{"export_retain_until", []Action{ActionDelete}},
		{"unpublish", []Action{ActionDelete}},
		{"expect", []Action{ActionDelete}},
		{"id", []Action{ActionCancel}},
	}
}

// set reads one field, which is known to belong to the command.
func (d *Data) set(f member) (err error) {
	switch f.name {
	case "resource":
		d.Resource, err = f.line(MaxResource)
	case "all_projects":
		d.AllProjects, err = f.boolean()
	case "project_ids":
		d.ProjectIDs, err = f.uuids(MaxProjectIDs)
	case string(NarrowIterations):
		d.IterationIDs, err = f.uuids(MaxNarrowingIDs)
	case string(NarrowTags):
		d.TagIDs, err = f.uuids(MaxNarrowingIDs)
	case string(NarrowImages):
		d.ImageIDs, err = f.uuids(MaxNarrowingIDs)
	case string(NarrowMetadata):
		d.ImageMetadata, err = f.metadata()
	case "categories":
		d.Categories, err = f.categories()
	case "reference":
		d.Reference, err = f.line(MaxReference)
	case "not_after":
		d.NotAfter, err = f.time()
	case "retain_until":
		d.RetainUntil, err = f.time()
	case "dry_run":
		d.DryRun, err = f.boolean()
	case "approved_plan":
		d.ApprovedPlan, err = f.digest()
	case "export_first":
		d.ExportFirst, err = f.boolean()
	case "export_retain_until":
		d.ExportRetainUntil, err = f.time()
	case "unpublish":
		d.Unpublish, err = f.boolean()
	case "expect":
		d.Expect, err = f.expect()
	case "id":
		if d.CancelID, err = f.text(); err == nil {
			err = checkID(f.name, d.CancelID)
		}
	}
	return err
}

// checkSelection holds the fields that select things to each other.
func (d *Data) checkSelection() error {
	switch {
	case d.AllProjects && len(d.ProjectIDs) > 0:
		return faultf("all_projects", "give either this or project_ids, not both")
	case !d.AllProjects && len(d.ProjectIDs) == 0:
		return faultf("project_ids", "missing: name the projects here, or set all_projects to true")
	}
	var given []Narrowing
	for _, n := range []struct {
		name  Narrowing
		count int
	}{
		{NarrowIterations, len(d.IterationIDs)}, {NarrowTags, len(d.TagIDs)}, {NarrowImages, len(d.ImageIDs)}, {NarrowMetadata, len(d.ImageMetadata)},
	} {
		if n.count > 0 {
			given = append(given, n.name)
		}
	}
	switch {
	case len(given) > 1:
		return faultf(string(given[1]), "at most one narrowing: leave out either this or %s", given[0])
	case len(given) == 1 && given[0] != NarrowMetadata && len(d.ProjectIDs) != 1:
		return faultf(string(given[0]), "needs exactly one project in project_ids, the one these belong to")
	}
	return nil
}

// checkCategories holds the categories to what the action can take under the narrowing.
func (d *Data) checkCategories(action Action) error {
	narrowing := d.Narrowing()
	allowed := AllowedCategories(action, narrowing)
	for _, c := range d.Categories {
		if !slices.Contains(allowed, c) {
			return faultf("categories", "%s is not something %s narrows in a %s: use only %s", c, narrowing, action, joinCategories(allowed))
		}
	}
	return nil
}

func joinCategories(categories []Category) string {
	var names []string
	for _, c := range categories {
		names = append(names, string(c))
	}
	return strings.Join(names, ", ")
}

// member is one member of a JSON object, or an element of an array under the array's name.
type member struct {
	name string
	raw  json.RawMessage
}

func (f member) isNull() bool { return string(f.raw) == "null" }

// text reads a string of at least one character.
func (f member) text() (s string, err error) {
	if f.raw[0] != '"' {
		return "", faultf(f.name, "must be a string")
	}
	if err := json.Unmarshal(f.raw, &s); err != nil {
		return "", faultf(f.name, "not a readable string")
	}
	if s == "" {
		return "", faultf(f.name, "must not be empty")
	}
	return s, nil
}

// textUpTo reads a string of 1 to limit characters.
func (f member) textUpTo(limit int) (string, error) {
	s, err := f.text()
	if err == nil && utf8.RuneCountInString(s) > limit {
		return "", faultf(f.name, "longer than %d characters", limit)
	}
	return s, err
}

// line reads a string of 1 to limit characters that is one line of printable text.
func (f member) line(limit int) (string, error) {
	s, err := f.textUpTo(limit)
	if err == nil && strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }) {
		return "", faultf(f.name, "must not contain control characters or line breaks")
	}
	return s, err
}

func (f member) boolean() (bool, error) {
	if s := string(f.raw); s == "true" || s == "false" {
		return s == "true", nil
	}
	return false, faultf(f.name, "must be true or false")
}

// list reads an array of 1 to limit elements; limit 0 is no limit.
func (f member) list(of string, limit int) ([]member, error) {
	if f.raw[0] != '[' {
		return nil, faultf(f.name, "must be an array of %s", of)
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(f.raw, &elements); err != nil {
		return nil, faultf(f.name, "not a readable array")
	}
	switch {
	case len(elements) == 0:
		return nil, faultf(f.name, "must not be empty: leave it out, or name something")
	case limit > 0 && len(elements) > limit:
		return nil, faultf(f.name, "has more than %d elements", limit)
	}
	list := make([]member, len(elements))
	for i, raw := range elements {
		list[i] = member{fmt.Sprintf("%s[%d]", f.name, i), raw}
		if list[i].isNull() {
			return nil, faultf(f.name, "element %d must not be null", i)
		}
	}
	return list, nil
}

func (f member) uuids(limit int) ([]uuid.UUID, error) {
	list, err := f.list("UUIDs", limit)
	if err != nil {
		return nil, err
	}
	ids := make([]uuid.UUID, len(list))
	for i, e := range list {
		s, err := e.text()
		if err != nil || !uuidPattern.MatchString(s) {
			return nil, faultf(f.name, "element %d must be a UUID, 8-4-4-4-12 hex digits", i)
		}
		if ids[i], err = uuid.Parse(s); err != nil || ids[i] == uuid.Nil {
			return nil, faultf(f.name, "element %d is the nil UUID, which names nothing", i)
		}
	}
	return ids, nil
}

func (f member) categories() ([]Category, error) {
	list, err := f.list("category names", 0)
	if err != nil {
		return nil, err
	}
	known := Categories()
	set := make([]Category, len(list))
	for i, e := range list {
		s, err := e.text()
		if set[i] = Category(s); err != nil || !slices.Contains(known, set[i]) {
			return nil, faultf(f.name, "element %d is not a category: use %s", i, joinCategories(known))
		}
	}
	return set, nil
}

// metadata reads an object of strings, or an array of such objects. No key and no value ever gets
// into a fault.
func (f member) metadata() ([]map[string]string, error) {
	if f.raw[0] == '{' {
		pairs, err := f.pairs("")
		return []map[string]string{pairs}, err
	}
	if f.raw[0] != '[' {
		return nil, faultf(f.name, "must be an object of strings, or an array of such objects")
	}
	list, err := f.list("objects of strings", MaxMetadataObjects)
	if err != nil {
		return nil, err
	}
	objects := make([]map[string]string, len(list))
	for i, e := range list {
		if objects[i], err = (member{f.name, e.raw}).pairs(fmt.Sprintf("element %d ", i)); err != nil {
			return nil, err
		}
	}
	return objects, nil
}

// pairs reads one object of strings; which begins the sentence that says what is wrong with it.
func (f member) pairs(which string) (map[string]string, error) {
	fields, isObject, err := readObject(f.name, f.raw)
	switch {
	case err != nil:
		return nil, faultf(f.name, "%shas a key twice", which)
	case !isObject:
		return nil, faultf(f.name, "%smust be an object of strings", which)
	case len(fields) == 0:
		return nil, faultf(f.name, "%smust not be empty: name at least one pair", which)
	case len(fields) > MaxMetadataPairs:
		return nil, faultf(f.name, "%shas more than %d pairs", which, MaxMetadataPairs)
	}
	pairs := make(map[string]string, len(fields))
	for i, p := range fields {
		if n := utf8.RuneCountInString(p.name); n == 0 || n > MaxMetadataKey {
			return nil, faultf(f.name, "%skey %d must have 1 to %d characters", which, i, MaxMetadataKey)
		}
		value, err := (member{f.name, p.raw}).textUpTo(MaxMetadataValue)
		if err != nil {
			return nil, faultf(f.name, "%svalue %d must be a string of 1 to %d characters", which, i, MaxMetadataValue)
		}
		pairs[p.name] = value
	}
	return pairs, nil
}

func (f member) time() (*time.Time, error) {
	s, err := f.text()
	if err != nil {
		return nil, err
	}
	if !timePattern.MatchString(s) {
		return nil, faultf(f.name, "must be an RFC 3339 time with a zone, such as 2026-01-02T15:04:05Z")
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if t = t.UTC(); err != nil || t.Year() < 1 || t.Year() > 9999 {
		return nil, faultf(f.name, "no such day or time of day")
	}
	return &t, nil
}

func (f member) digest() (string, error) {
	s, err := f.text()
	if err != nil {
		return "", err
	}
	if b, err := hex.DecodeString(s); err != nil || len(b) != 32 {
		return "", faultf(f.name, "must be a SHA-256 in hex: 64 digits, as the plan's event gives it")
	}
	return strings.ToLower(s), nil
}

func (f member) expect() (*Expect, error) {
	fields, isObject, err := readObject(f.name, f.raw)
	switch {
	case err != nil:
		return nil, err
	case !isObject:
		return nil, faultf(f.name, "must be an object with project_name, max_images or both")
	case len(fields) == 0:
		return nil, faultf(f.name, "must not be empty: say project_name, max_images or both")
	}
	var e Expect
	for _, g := range fields {
		inner := member{f.name + "." + g.name, g.raw}
		switch g.name {
		case "project_name":
			e.ProjectName, err = inner.textUpTo(MaxProjectName)
		case "max_images":
			e.MaxImages, err = inner.count()
		default:
			err = unknownField(f.name+".", g.name)
			for _, name := range []string{"project_name", "max_images"} {
				if strings.EqualFold(g.name, name) {
					err = faultf(f.name+"."+showable(g.name), "wrong letter case: write %s", name)
				}
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return &e, nil
}

// count reads a number of things: plain digits, as JSON readers keep them exactly.
func (f member) count() (*int64, error) {
	n, err := strconv.ParseInt(string(f.raw), 10, 64)
	if err != nil || n < 0 || n > MaxExpectImages || f.raw[0] == '-' {
		return nil, faultf(f.name, "must be a whole number from 0 to %d, in digits", MaxExpectImages)
	}
	return &n, nil
}

func unknownField(parent, name string) error {
	return faultf(parent+showable(name), "unknown field: leave it out")
}

// showable returns a field's name when it looks like one; anything else might be a value or a
// secret in the wrong place and is not repeated.
func showable(name string) string {
	digits := strings.IndexFunc(name, unicode.IsDigit) >= 0 && len(name) > 20
	if !namePattern.MatchString(name) || digits {
		return "(a name not shown)"
	}
	return name
}

// checkText holds raw to limit bytes of well-formed JSON in UTF-8, so that splitting it cannot
// fail.
func checkText(field string, raw []byte, limit int) error {
	switch {
	case len(raw) > limit:
		return faultf(field, "larger than %d bytes", limit)
	case len(bytes.TrimSpace(raw)) == 0:
		return faultf(field, "empty: must be a JSON object")
	case !utf8.Valid(raw):
		return faultf(field, "not UTF-8")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(raw, &whole); err != nil {
		at := int64(0)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			at = syntax.Offset
		}
		return faultf(field, "not JSON: broken at byte %d", at)
	}
	return nil
}

// checkSurrogates refuses well-formed JSON that names half of a surrogate pair by an escape;
// encoding/json reads it as U+FFFD in silence.
func checkSurrogates(field string, raw []byte) error {
	broken := faultf(field, "has half of a surrogate pair, which is no character")
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return nil
		}
		raw = raw[i:]
		if raw[1] != 'u' {
			raw = raw[2:]
			continue
		}
		first := escapedUnit(raw)
		raw = raw[6:]
		switch {
		case first >= 0xDC00 && first <= 0xDFFF:
			return broken
		case first >= 0xD800 && first <= 0xDBFF:
			if second := escapedUnit(raw); second < 0xDC00 || second > 0xDFFF {
				return broken
			}
			raw = raw[6:]
		}
	}
}

// escapedUnit returns the UTF-16 unit that the \uXXXX at the beginning of raw names, 0 when there
// is none.
func escapedUnit(raw []byte) uint64 {
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return 0
	}
	u, err := strconv.ParseUint(string(raw[2:6]), 16, 32)
	if err != nil {
		return 0
	}
	return u
}

// readObject splits an object, which is known to be well-formed JSON, into its members in their
// order. It fails when a key is there twice, escapes resolved, naming the key below parent only
// when parent is a whole message.
func readObject(parent string, raw []byte) (fields []member, isObject bool, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, false, nil // a scalar; raw is known to be well-formed
	}
	seen := map[string]bool{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, true, faultf(parent, "not JSON")
		}
		f := member{name: key.(string)} // the decoder gives keys as strings
		if seen[f.name] {
			return fields, true, duplicate(parent, f.name)
		}
		seen[f.name] = true
		if err := dec.Decode(&f.raw); err != nil {
			return nil, true, faultf(parent, "not JSON")
		}
		fields = append(fields, f)
	}
	return fields, true, nil
}

func duplicate(parent, name string) error {
	field := showable(name)
	if parent != "data" && parent != "event" {
		field = parent + "." + field
	}
	return faultf(field, "given twice")
}
