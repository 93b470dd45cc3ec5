package contract

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

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
	return checkLinks(prefix+"source", e.source)
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
