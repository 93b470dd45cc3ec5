package contract

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// malformed is one line of testdata/commands/malformed.jsonl and its like: a message, and how it is
// refused.
type malformed struct {
	Name    string              `json:"name"`
	Subject string              `json:"subject"`
	Headers map[string][]string `json:"headers"`
	Body    []byte              `json:"body"` // base64 in JSON
	ID      string              `json:"id"`   // that it gives, if that can be read and is usable: it is refused under this one
	Code    string              `json:"code"`
	Field   string              `json:"field"`
	unkept  bool                // not in the file: too large for it, or on a subject the command stream does not take
}

const (
	p1    = "7f0ce8b1-5a5a-4c6e-9d0e-3f2b6d1c9a11"
	p2    = "11111111-2222-4333-8444-555555555555"
	nilID = "00000000-0000-0000-0000-000000000000"
	sha   = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
)

// encoding puts data into a message of an action under an id.
type encoding struct {
	name string
	wrap func(action, id, data string) (headers map[string][]string, body string)
}

// encodings are all ways to say the same command.
func encodings() []encoding {
	ce := func(action, id, member, value string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/tests","type":"cv.%s.requested","extension":"x",%q:%s}`, id, action, member, value)
	}
	return []encoding{
		{"plain", func(_, id, data string) (map[string][]string, string) {
			return map[string][]string{"Nats-Msg-Id": {id}}, data
		}},
		{"binary", func(action, id, data string) (map[string][]string, string) {
			return map[string][]string{
				"ce-specversion": {"1.0"}, "CE-ID": {id}, "Ce-Source": {"/tests"}, "ce-type": {"cv." + action + ".requested"}, "Content-Type": {"application/json"},
			}, data
		}},
		{"base64", func(action, id, data string) (map[string][]string, string) {
			return map[string][]string{"content-type": {"application/cloudevents+json; charset=utf-8"}},
				ce(action, id, "data_base64", fmt.Sprintf("%q", base64.StdEncoding.EncodeToString([]byte(data))))
		}},
		{"structured", func(action, id, data string) (map[string][]string, string) {
			return map[string][]string{"Content-Type": {"application/cloudevents+json"}}, ce(action, id, "data", data)
		}},
		{"undeclared", func(action, id, data string) (map[string][]string, string) {
			return nil, ce(action, id, "data", data)
		}},
	}
}

// badData is data that must be refused, naming field.
type badData struct {
	name, action, data, field string
	broken                    bool // not JSON: it cannot stand inside a structured event
	large                     bool
}

// kindOf is what a field of a command's data takes.
func kindOf(field string) string {
	switch field {
	case "all_projects", "dry_run", "export_first", "unpublish":
		return "bool"
	case "project_ids", "iteration_ids", "tag_ids", "image_ids":
		return "uuids"
	case "categories":
		return "categories"
	case "image_metadata":
		return "metadata"
	case "expect":
		return "expect"
	case "not_after", "retain_until", "export_retain_until":
		return "time"
	case "approved_plan":
		return "digest"
	case "id":
		return "id"
	default:
		return "line"
	}
}

// validValue is a value that a field takes.
func validValue(field string) string {
	switch kindOf(field) {
	case "bool":
		return "true"
	case "uuids":
		return `["` + p1 + `"]`
	case "categories":
		return `["images"]`
	case "metadata":
		return `{"subject":"4711"}`
	case "expect":
		return `{"max_images":10}`
	case "time":
		return `"2031-02-03T04:05:06Z"`
	case "digest":
		return `"` + sha + `"`
	case "id":
		return `"req-9"`
	default:
		return `"case 17"`
	}
}

// badValues are values that a field of a kind does not take.
func badValues(kind string) []string {
	values := []string{`1`, `-1.5e3`, `"\u0000"`, `{}`, `[]`, `[[]]`, `[null]`, `[1]`, `[""]`, `[{}]`, `{"a":1}`, `{"a":null}`, `""`, `"0"`, `false`, `[true]`}
	remove := map[string][]string{"bool": {`false`}, "line": {`"0"`}, "id": {`"0"`}}
	add := map[string][]string{
		"bool":       {`"true"`, `0`},
		"uuids":      {`["` + p1 + `",null]`, `["` + p1[:35] + `"]`, `["` + p1 + `0"]`, `["` + strings.ReplaceAll(p1, "-", "") + `"]`, `["{` + p1 + `}"]`, `["urn:uuid:` + p1 + `"]`, `["` + p1[:35] + `g"]`, `["` + nilID + `"]`, `"` + p1 + `"`, `[" ` + p1 + `"]`},
		"categories": {`["Images"]`, `["image"]`, `["images","regions"]`, `"images"`, `["images",null]`, `["images "]`},
		"metadata":   {`{"a":""}`, `{"":"a"}`, `{"a":true}`, `{"a":{}}`, `{"a":["b"]}`, `[{"a":"b"},{}]`, `[{"a":"b"},null]`, `[{"a":"b"},{"c":1}]`, `[["a","b"]]`, `{"a":"b","a":"c"}`, `{"a":"b","\u0061":"c"}`, `[{"a":"b","a":"b"}]`, eleven(), `[` + eleven() + `]`, `{"` + strings.Repeat("k", 257) + `":"v"}`, `{"k":"` + strings.Repeat("v", 513) + `"}`, `[{"k":"` + strings.Repeat("\u00e9", 513) + `"}]`, `[` + strings.Repeat(`{"a":"b"},`, 100) + `{"a":"b"}]`},
		"time":       {`"2031-02-03"`, `"2031-02-03T04:05:06"`, `"2031-02-03 04:05:06Z"`, `"2031-02-30T04:05:06Z"`, `"2031-02-03T24:05:06Z"`, `"2031-02-03T04:05:60Z"`, `"2031-02-03T04:05:06,5Z"`, `"2031-02-03T4:05:06Z"`, `"2031-02-03T04:05:06+24:00"`, `"2031-02-03T04:05:06+0100"`, `"2031-02-03t04:05:06z"`, `"2031-02-03T04:05:06.1234567890Z"`, `"+2031-02-03T04:05:06Z"`, `"9999-12-31T23:59:59-01:00"`, `1927857906`, `"tomorrow"`},
		"digest":     {`"` + sha[:63] + `"`, `"` + sha + `0"`, `"sha256:` + sha + `"`, `"` + sha[:63] + `g"`, `" ` + sha[:63] + `"`},
		"line":       {`"a\nb"`, `"a\tb"`, `"a\u007fb"`, `"a\u0085b"`, `"a\u2028b"`, `"` + strings.Repeat("x", 257) + `"`, `"` + strings.Repeat("\u00e9", 257) + `"`},
		"id":         {`"a b"`, `"a.b"`, `"seq-1"`, `"` + strings.Repeat("x", 121) + `"`, `"a/b"`, `"\u00e9"`, `"a>"`, `"*"`},
		"expect":     {`{"project_name":""}`, `{"project_name":1}`, `{"max_images":"1"}`, `{"max_images":-1}`, `{"max_images":1.5}`, `{"max_images":1e2}`, `{"max_images":9007199254740992}`, `{"max_images":null}`, `{"project_name":null}`, `{"project_name":"` + strings.Repeat("x", 513) + `"}`, `{"Max_Images":1}`, `{"PROJECT_NAME":"x"}`, `{"min_images":1}`, `{"max_images":1,"max_images":1}`, `{"max_images":true}`},
	}
	values = slices.DeleteFunc(values, func(v string) bool { return slices.Contains(remove[kind], v) })
	return append(values, add[kind]...)
}

func eleven() string {
	var b strings.Builder
	for i := range 11 {
		fmt.Fprintf(&b, `,"k%d":"v"`, i)
	}
	return "{" + b.String()[1:] + "}"
}

// badField is the field a bad value of field f is refused under.
func badField(f, value string) string {
	if f != "expect" {
		return f
	}
	for _, inner := range []string{"project_name", "max_images", "Max_Images", "PROJECT_NAME", "min_images", "a"} {
		if strings.HasPrefix(value, `{"`+inner+`"`) {
			return "expect." + inner
		}
	}
	return f
}

// around returns data with field f set to value, the rest such that nothing else is wrong.
func around(action, f, value string) string {
	var rest []string
	switch {
	case action == "cancel":
		if f != "id" {
			rest = append(rest, `"id":"req-9"`)
		}
	case f != "project_ids" && f != "all_projects":
		rest = append(rest, `"project_ids":["`+p1+`"]`)
	}
	if f == "export_retain_until" && action == "delete" {
		rest = append(rest, `"export_first":true`)
	}
	return "{" + strings.Join(append(rest, fmt.Sprintf("%q:%s", f, value)), ",") + "}"
}

func camel(name string) string {
	words := strings.Split(name, "_")
	for i := range words[1:] {
		words[i+1] = strings.ToUpper(words[i+1][:1]) + words[i+1][1:]
	}
	return strings.Join(words, "")
}

// allBadData makes every kind of bad data there is, systematically for each field of each action.
func allBadData() (all []badData) {
	add := func(name, action, data, field string) {
		all = append(all, badData{name: action + " " + name, action: action, data: data, field: field})
	}
	broken := func(name, data string) {
		for _, action := range []string{"export", "delete", "cancel"} {
			all = append(all, badData{name: action + " " + name, action: action, data: data, field: "data", broken: true})
		}
	}
	for _, action := range []string{"export", "delete", "cancel"} {
		for _, f := range dataFields() {
			if !slices.Contains(f.of, Action(action)) {
				add("with "+f.name+" of another action", action, around(action, f.name, validValue(f.name)), f.name)
				continue
			}
			add(f.name+" null", action, around(action, f.name, "null"), f.name)
			for i, v := range badValues(kindOf(f.name)) {
				add(fmt.Sprintf("%s bad value %d", f.name, i), action, around(action, f.name, v), badField(f.name, v))
			}
			good := validValue(f.name)
			for _, name := range []string{strings.ToUpper(f.name), strings.ToUpper(f.name[:1]) + f.name[1:], f.name[:len(f.name)-1] + strings.ToUpper(f.name[len(f.name)-1:])} {
				add("wrong case "+name, action, around(action, name, good), name)
			}
			if name := camel(f.name); name != f.name {
				add("camel case "+name, action, around(action, name, good), name)
			}
			add(f.name+" twice", action, around(action, f.name, good+fmt.Sprintf(",%q:%s", f.name, good)), f.name)
			add(f.name+" twice, once escaped", action, around(action, f.name, good+fmt.Sprintf(`,"\u%04x%s":%s`, f.name[0], f.name[1:], good)), f.name)
			add(f.name+" with a space", action, around(action, f.name+" ", good), "(a name not shown)")
		}
		add("unknown field", action, around(action, "shade", `"red"`), "shade")
		add("unknown field like a key", action, around(action, "0123456789abcdef0123456789abcdef", `"x"`), "(a name not shown)")
		add("empty field name", action, around(action, "", `"x"`), "(a name not shown)")
		add("not an object: array", action, `[]`, "data")
		add("not an object: string", action, `"{}"`, "data")
		add("not an object: number", action, `17`, "data")
		add("not an object: true", action, `true`, "data")
		if action == "cancel" {
			add("empty object", action, `{}`, "id")
			continue
		}
		add("empty object", action, `{}`, "project_ids")
		add("all_projects false and nothing else", action, `{"all_projects":false}`, "project_ids")
		add("only resource", action, `{"resource":"default"}`, "project_ids")
		add("all_projects and project_ids", action, `{"all_projects":true,"project_ids":["`+p1+`"]}`, "all_projects")
		narrowings := []string{"iteration_ids", "tag_ids", "image_ids", "image_metadata"}
		for i, n := range narrowings {
			for _, m := range narrowings[i+1:] {
				add(n+" with "+m, action, fmt.Sprintf(`{"project_ids":["%s"],%q:%s,%q:%s}`, p1, m, validValue(m), n, validValue(n)), m)
			}
			add(n+" without a project", action, fmt.Sprintf(`{%q:%s}`, n, validValue(n)), "project_ids")
			for _, c := range Categories() {
				if !slices.Contains(AllowedCategories(Action(action), Narrowing(n)), c) {
					add(n+" with category "+string(c), action, fmt.Sprintf(`{"project_ids":["%s"],%q:%s,"categories":[%q]}`, p1, n, validValue(n), c), "categories")
				}
			}
			if n != "image_metadata" {
				add(n+" with all_projects", action, fmt.Sprintf(`{"all_projects":true,%q:%s}`, n, validValue(n)), n)
				add(n+" with two projects", action, fmt.Sprintf(`{"project_ids":["%s","%s"],%q:%s}`, p1, p2, n, validValue(n)), n)
			}
		}
		for f, limit := range map[string]int{"project_ids": MaxProjectIDs, "image_ids": MaxNarrowingIDs} {
			ids := make([]string, limit+1)
			for i := range ids {
				ids[i] = fmt.Sprintf(`"%08x-0000-4000-8000-000000000000"`, i+1)
			}
			all = append(all, badData{name: action + " too many " + f, action: action, data: around(action, f, "["+strings.Join(ids, ",")+"]"), field: f, large: limit > 1000})
		}
		all = append(all, badData{
			name: action + " too large", action: action, field: "data", large: true,
			data: `{"project_ids":["` + p1 + `"]` + strings.Repeat(" ", MaxCommandBytes) + `}`,
		})
	}
	slices.SortStableFunc(all, func(a, b badData) int { return strings.Compare(a.action, b.action) }) // the limits come from a map
	slices.SortStableFunc(all, func(a, b badData) int { return strings.Compare(a.name, b.name) })
	add("export_retain_until without export_first", "delete", `{"project_ids":["`+p1+`"],"export_retain_until":"2031-02-03T04:05:06Z"}`, "export_retain_until")
	add("export_retain_until with export_first false", "delete", `{"project_ids":["`+p1+`"],"export_first":false,"export_retain_until":"2031-02-03T04:05:06Z"}`, "export_retain_until")
	add("lone high surrogate", "export", around("export", "reference", `"\ud800"`), "data")
	add("lone low surrogate", "export", around("export", "reference", `"\udc00"`), "data")
	add("swapped surrogates", "export", around("export", "image_metadata", `{"a":"\udc00\ud800"}`), "data")
	add("high surrogate before another escape", "export", around("export", "reference", `"\ud800\u0041"`), "data")
	for _, r := range []string{`\u001b`, `\u009b`, `\u200e`, `\u200f`, `\u2029`, `\u202e`, `\u2066`, `\u2069`} {
		add("reference with "+r[1:], "export", around("export", "reference", `"a`+r+`b"`), "reference")
	}
	good := around("export", "reference", `"x"`)
	broken("cut", good[:len(good)-1])
	broken("trailing garbage", good+"x")
	broken("trailing object", good+good)
	broken("trailing comma", `{"project_ids":["`+p1+`"],}`)
	broken("comment", `{/* all */"all_projects":true}`)
	broken("single quotes", `{'all_projects':true}`)
	broken("unquoted key", `{all_projects:true}`)
	broken("byte order mark", "\ufeff"+good)
	broken("raw control character", around("export", "reference", "\"a\nb\""))
	broken("bad escape", around("export", "reference", `"\x41"`))
	broken("leading zero", around("delete", "expect", `{"max_images":01}`))
	broken("NaN", around("delete", "expect", `{"max_images":NaN}`))
	broken("invalid UTF-8", around("export", "reference", "\"\xff\""))
	broken("overlong UTF-8", around("export", "reference", "\"\xc0\xaf\""))
	broken("UTF-8 surrogate", around("export", "reference", "\"\xed\xa0\x80\""))
	broken("nested beyond reason", strings.Repeat("[", 20000)+strings.Repeat("]", 20000))
	broken("binary", "\x00\x01\x02")
	broken("empty", "")
	broken("blank", " \n\t")
	return all
}

// allMalformed makes the corpus: all bad data, each in one of the encodings in turn, and everything
// that can be wrong with the envelope. Each message has an id of its own, as far as it has one:
// JetStream drops a second message with the Nats-Msg-Id of one just published.
func allMalformed() (all []malformed) {
	for i, d := range allBadData() {
		e := encodings()[i%len(encodings())]
		if d.broken {
			e = encodings()[i%2]
		}
		id := fmt.Sprintf("bad-%d", i+1)
		headers, body := e.wrap(d.action, id, strings.ReplaceAll(d.data, "bad-1", id))
		all = append(all, malformed{d.name + ", " + e.name, "cv.commands." + d.action, headers, []byte(body), id, CodeInvalidCommand, d.field, d.large || len(body) > 16<<10})
	}
	for i, m := range badEnvelopes() {
		id := fmt.Sprintf("bad-envelope-%d", i+1)
		m.Body = bytes.ReplaceAll(m.Body, []byte(`"bad-1"`), []byte(`"`+id+`"`))
		if m.ID != "" {
			m.ID = id
		}
		for _, values := range m.Headers {
			for j := range values {
				values[j] = strings.ReplaceAll(values[j], "bad-1", id)
			}
		}
		all = append(all, m)
	}
	return all
}

func badEnvelopes() (all []malformed) {
	const good = `{"project_ids":["` + p1 + `"]}`
	refused := func(id, name, subject string, headers map[string][]string, body, field string) {
		headers = maps.Clone(headers) // some are shared
		all = append(all, malformed{"envelope " + name, subject, headers, []byte(body), id, CodeInvalidCommand, field, strings.HasPrefix(name, "subject ")})
	}
	// Most give the id bad-1; what add adds does, what nameless adds gives none that can be read
	// and used.
	add := func(name, subject string, headers map[string][]string, body, field string) {
		refused("bad-1", name, subject, headers, body, field)
	}
	nameless := func(name, subject string, headers map[string][]string, body, field string) {
		refused("", name, subject, headers, body, field)
	}
	const subject = "cv.commands.export"
	badIDs := map[string]string{
		"empty": "", "with a space": "a b", "with a dot": "a.b", "beginning with seq-": "seq-1", "too long": strings.Repeat("x", 121), "with a slash": "../a",
		"with a wildcard": "a*", "with an umlaut": "\u00fc", "with a colon": "a:b",
	}
	names := make([]string, 0, len(badIDs))
	for name := range badIDs {
		names = append(names, name)
	}
	slices.Sort(names)
	idFields := map[string]string{"plain": "Nats-Msg-Id", "binary": "ce-id", "base64": "id", "structured": "id", "undeclared": "id"}
	for _, e := range encodings() {
		for _, name := range names {
			headers, body := e.wrap("export", badIDs[name], good)
			nameless("id "+name+", "+e.name, subject, headers, body, idFields[e.name])
		}
		if e.name != "plain" {
			field := strings.TrimSuffix(idFields[e.name], "id") + "type"
			for _, other := range []string{"delete", "cancel", "nothing", "Export", "export.requested.v2"} {
				headers, body := e.wrap(other, "bad-1", good)
				add("type of "+other+", "+e.name, subject, headers, body, field)
			}
		}
	}
	nameless("plain without an id", subject, nil, good, "Nats-Msg-Id")
	nameless("plain with two ids", subject, map[string][]string{"Nats-Msg-Id": {"bad-1", "bad-1-b"}}, good, "Nats-Msg-Id")
	nameless("plain with two headers of an id", subject, map[string][]string{"Nats-Msg-Id": {"bad-1"}, "nats-msg-id": {"bad-1"}}, good, "Nats-Msg-Id")
	nameless("plain with a stray ce-id", subject, map[string][]string{"Nats-Msg-Id": {"bad-1"}, "ce-id": {"b"}}, good, "ce-specversion")
	add("plain with the same stray ce-id", subject, map[string][]string{"Nats-Msg-Id": {"bad-1"}, "ce-id": {"bad-1"}}, good, "ce-specversion")
	add("binary without specversion", subject, map[string][]string{"ce-id": {"bad-1"}, "ce-source": {"/tests"}, "ce-type": {"cv.export.requested"}}, good, "ce-specversion")
	add("plain with a stray ce-type", subject, map[string][]string{"Nats-Msg-Id": {"bad-1"}, "Ce-Type": {"cv.export.requested"}}, good, "ce-specversion")
	add("replay of no id", subject, map[string][]string{"Nats-Msg-Id": {"bad-1"}, "Cv-Replay-Of": {"a b"}}, good, "Cv-Replay-Of")

	binary := func(change map[string][]string) map[string][]string {
		h := map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"bad-1"}, "ce-source": {"/tests"}, "ce-type": {"cv.export.requested"}}
		for k, v := range change {
			if h[k] = v; v == nil {
				delete(h, k)
			}
		}
		return h
	}
	for _, name := range []string{"id", "source", "type"} {
		put := add
		if name == "id" {
			put = nameless
		}
		put("binary without "+name, subject, binary(map[string][]string{"ce-" + name: nil}), good, "ce-"+name)
		put("binary with two of "+name, subject, binary(map[string][]string{"ce-" + name: {"x", "y"}}), good, "ce-"+name)
		put("binary with empty "+name, subject, binary(map[string][]string{"ce-" + name: {""}}), good, "ce-"+name)
	}
	for i, v := range []string{"0.3", "1", "1.1", "", "one"} {
		add(fmt.Sprintf("binary specversion %d", i), subject, binary(map[string][]string{"ce-specversion": {v}}), good, "ce-specversion")
	}
	add("binary source too long", subject, binary(map[string][]string{"ce-source": {strings.Repeat("s", 2049)}}), good, "ce-source")
	add("binary with another content type", subject, binary(map[string][]string{"content-type": {"application/xml"}}), good, "content-type")
	add("binary with text", subject, binary(map[string][]string{"Content-Type": {"text/plain"}}), good, "content-type")
	add("binary with two content types", subject, binary(map[string][]string{"content-type": {"application/json", "application/json"}}), good, "content-type")
	add("binary without data", subject, binary(nil), "", "data")
	add("binary around an event", subject, binary(nil), `{"specversion":"1.0"}`, "specversion")
	for _, media := range []string{"application/cloudevents+avro", "application/cloudevents-batch+json", "application/cloudevents", "application/cloudevents+protobuf"} {
		nameless("content type "+media, subject, map[string][]string{"Content-Type": {media}}, good, "content-type")
	}

	declared := map[string][]string{"Content-Type": {"Application/CloudEvents+JSON"}}
	event := func(specversion, id, source, typ, rest string) string {
		var parts []string
		for _, p := range [][2]string{{"specversion", specversion}, {"id", id}, {"source", source}, {"type", typ}} {
			if p[1] != "" {
				parts = append(parts, fmt.Sprintf("%q:%s", p[0], p[1]))
			}
		}
		if rest != "" {
			parts = append(parts, rest)
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	const version, id, source, typ, data = `"1.0"`, `"bad-1"`, `"/tests"`, `"cv.export.requested"`, `"data":` + good
	for _, bad := range []string{"", "null", `""`, "1", "true", "[]", "{}"} {
		add("specversion "+bad, subject, declared, event(bad, id, source, typ, data), "specversion")
		nameless("id "+bad, subject, declared, event(version, bad, source, typ, data), "id")
		add("source "+bad, subject, declared, event(version, id, bad, typ, data), "source")
		add("type "+bad, subject, declared, event(version, id, source, bad, data), "type")
	}
	for _, bad := range []string{"", `"data":null`, `"data_base64":null`} {
		add("without data: "+bad, subject, declared, event(version, id, source, typ, bad), "data")
	}
	for _, bad := range []string{`""`, `1`, `"e30"`, `"***="`, `{}`, `"e30=\u0000"`} {
		add("data_base64 "+bad, subject, declared, event(version, id, source, typ, `"data_base64":`+bad), "data_base64")
	}
	add("specversion 0.3", subject, declared, event(`"0.3"`, id, source, typ, data), "specversion")
	add("undeclared specversion 2", subject, nil, event(`"2.0"`, id, source, typ, data), "specversion")
	add("data and data_base64", subject, declared, event(version, id, source, typ, data+`,"data_base64":"e30="`), "data_base64")
	add("datacontenttype", subject, declared, event(version, id, source, typ, data+`,"datacontenttype":"text/xml"`), "datacontenttype")
	add("datacontenttype number", subject, declared, event(version, id, source, typ, data+`,"datacontenttype":1`), "datacontenttype")
	add("source too long", subject, declared, event(version, id, `"`+strings.Repeat("s", 2049)+`"`, typ, data), "source")
	for _, name := range []string{"Id", "ID", "SPECVERSION", "Source", "Type", "Data", "DATA_BASE64", "DataContentType"} {
		add("wrong case "+name, subject, declared, event(version, id, source, typ, data+fmt.Sprintf(`,%q:"x"`, name)), name)
	}
	for _, name := range []string{"id", "specversion", "source", "type", "data", "extension"} {
		put := add
		if name == "id" {
			put = nameless
		}
		put("twice "+name, subject, declared, event(version, id, source, typ, data+fmt.Sprintf(`,"extension":"x",%q:"x"`, name)+`,"extension":"y"`), name)
	}
	add("undeclared, not UTF-8", subject, nil, event(version, id, "\"\xff\"", typ, data), "data")
	nameless("not an object", subject, declared, `["specversion"]`, "data")
	nameless("not JSON", subject, declared, `specversion: 1.0`, "data")
	nameless("not UTF-8", subject, declared, "\xff\xfe", "data")
	nameless("cut", subject, declared, `{"specversion":"1.0"`, "data")
	nameless("empty", subject, declared, ``, "data")
	add("data a string of JSON", subject, declared, event(version, id, source, typ, fmt.Sprintf(`"data":%q`, good)), "data")
	for _, s := range []string{"cv.commands.replace", "cv.commands.Export", "cv.commands.", "cv.commands", "cv.commands.export.now", "other.commands.export", "cv.events.export", "commands.export", ""} {
		nameless("subject "+s, s, map[string][]string{"Nats-Msg-Id": {"bad-1"}}, good, "subject")
	}
	return all
}

// notDeletable are well-formed deletes of what cannot be deleted by itself.
func notDeletable() (all []malformed) {
	for i, d := range []string{
		`{"project_ids":["` + p1 + `"],"categories":["performance"]}`,
		`{"project_ids":["` + p1 + `"],"categories":["exports"]}`,
		`{"all_projects":true,"categories":["exports","performance"]}`,
		`{"project_ids":["` + p1 + `"],"iteration_ids":["` + p2 + `"],"categories":["performance","exports","performance"]}`,
		`{"project_ids":["` + p1 + `"],"categories":["exports"],"dry_run":true}`,
	} {
		e := encodings()[i%len(encodings())]
		headers, body := e.wrap("delete", fmt.Sprintf("not-deletable-%d", i), d)
		all = append(all, malformed{"not deletable " + e.name, "cv.commands.delete", headers, []byte(body), fmt.Sprintf("not-deletable-%d", i), CodeNotDeletable, "categories", false})
	}
	return all
}
