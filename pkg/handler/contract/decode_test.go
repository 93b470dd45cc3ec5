package contract

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

var updateContract = flag.Bool("update-contract", false, "rewrite the golden files of commands and events")

var published = time.Date(2031, 1, 2, 3, 4, 5, 6, time.UTC)

func message(action string, headers map[string][]string, body string) Message {
	return Message{Subject: "cv.commands." + action, Header: headers, Body: []byte(body), Seq: 17, Time: published}
}

func decodePlain(t *testing.T, action, data string) Command {
	t.Helper()
	c, err := DecodeCommand("cv", message(action, map[string][]string{"Nats-Msg-Id": {"req-1"}}, data))
	if err != nil {
		t.Fatalf("%s refused: %v", data, err)
	}
	return c
}

// A signed link gives access to each of its readers. What bundles keep of a command must not hold
// one; text that only looks like a part of one is the requester's own.
func TestSignedLinksAreRefused(t *testing.T) {
	const signed = `see https:\/\/h.example/c?sv=2021-08-06\u0026sig=abc%3D`
	for field, data := range map[string]string{
		"reference":           around("export", "reference", `"`+signed+`"`),
		"image_metadata":      around("export", "image_metadata", `{"`+signed+`":"x"}`),
		"expect.project_name": around("delete", "expect", `{"project_name":"`+signed+`"}`),
	} {
		action := "export"
		if field == "expect.project_name" {
			action = "delete"
		}
		headers := map[string][]string{"Nats-Msg-Id": {"req-1"}}
		if _, err := DecodeCommand("cv", message(action, headers, data)); err == nil || !strings.Contains(err.Error(), field+": ") || strings.Contains(err.Error(), "sig=") {
			t.Errorf("%s: %v", data, err)
		}
		if _, err := DecodeCommand("cv", message(action, headers, strings.ReplaceAll(data, "sv=", "v="))); err != nil {
			t.Errorf("%s: %v", data, err)
		}
	}
	event := map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"req-1"}, "ce-type": {"cv.export.requested"}, "ce-source": {"https://h.example/c?sv=1&sig=2"}}
	if _, err := DecodeCommand("cv", message("export", event, `{"all_projects":true}`)); err == nil || !strings.Contains(err.Error(), "ce-source: ") {
		t.Errorf("source: %v", err)
	}
	c := decodePlain(t, "export", around("export", "image_metadata", `{"link":"`+signed+`"}`))
	if c.Data.ImageMetadata[0]["link"] == "" { // values are not kept, so they may be anything
		t.Errorf("%+v", c.Data)
	}
}

func TestMalformedCommandsAreRefused(t *testing.T) {
	all := allMalformed()
	names := map[string]bool{}
	for _, m := range all {
		t.Run(m.Name, func(t *testing.T) {
			if names[m.Name] {
				t.Errorf("two cases of this name")
			}
			names[m.Name] = true
			checkRefused(t, m)
		})
	}
	if len(all) < 300 {
		t.Errorf("%d malformed commands, want at least 300", len(all))
	}
	t.Logf("%d malformed commands", len(all))
}

// TestMalformedDataInEveryEncoding says that the encoding makes no difference to what is wrong with
// the data.
func TestMalformedDataInEveryEncoding(t *testing.T) {
	t.Parallel()
	for _, d := range allBadData() {
		for _, e := range encodings() {
			if d.broken && strings.Contains("structured undeclared", e.name) || d.data == "" || strings.TrimSpace(d.data) == "" {
				continue
			}
			headers, body := e.wrap(d.action, "bad-1", d.data)
			checkRefused(t, malformed{d.name + ", " + e.name, "cv.commands." + d.action, headers, []byte(body), "bad-1", CodeInvalidCommand, d.field, false})
		}
	}
}

func checkRefused(t *testing.T, m malformed) {
	t.Helper()
	msg := Message{Subject: m.Subject, Header: m.Headers, Body: m.Body, Seq: 4711, Time: published}
	c, err := DecodeCommand("cv", msg)
	var r *Refusal
	if !errors.As(err, &r) {
		t.Errorf("%s: accepted as %+v (error %v): %.300s", m.Name, c, err, m.Body)
		return
	}
	if !reflect.DeepEqual(c, Command{}) {
		t.Errorf("%s: a refused message gave command %+v", m.Name, c)
	}
	if id := cmp.Or(m.ID, "seq-4711"); r.Code != m.Code || r.Field != m.Field || r.ID != id || r.Given != m.ID {
		t.Errorf("%s: refused as %q with field %q under %q, given %q, want %q, %q, %q: %s", m.Name, r.Code, r.Field, r.ID, r.Given, m.Code, m.Field, id, r.Message)
	}
	if fix, ok := strings.CutPrefix(r.Message, m.Field+": "); !ok || len(fix) < 5 {
		t.Errorf("%s: message %q does not say what is wrong with %q", m.Name, r.Message, m.Field)
	}
	if action, ok := strings.CutPrefix(m.Subject, "cv.commands."); ok && slices.Contains([]string{"export", "delete", "cancel"}, action) && string(r.Action) != action {
		t.Errorf("%s: refused with action %q", m.Name, r.Action)
	}
	if _, again := DecodeCommand("cv", msg); again.Error() != err.Error() {
		t.Errorf("%s: refused as %q, then as %q", m.Name, err, again)
	}
}

// TestMalformedCorpus holds the files that the end-to-end tests publish to the tables of this
// package.
func TestMalformedCorpus(t *testing.T) {
	for name, all := range map[string][]malformed{"malformed.jsonl": allMalformed(), "not_deletable.jsonl": notDeletable()} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			for _, m := range all {
				if m.unkept {
					continue
				}
				line, err := json.Marshal(m)
				if err != nil {
					t.Fatal(err)
				}
				b.Write(append(line, '\n'))
			}
			checkGolden(t, filepath.Join("commands", name), b.Bytes())
		})
	}
}

// checkGolden compares got with the file of that name below testdata, or writes it with
// -update-contract.
func checkGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("..", "..", "..", "testdata", name)
	if *updateContract {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from what the code makes; run with -update-contract and review the difference", name)
	}
}

func ids(texts ...string) (ids []uuid.UUID) {
	for _, s := range texts {
		ids = append(ids, uuid.MustParse(s))
	}
	return ids
}

func TestDecodeCommandInEveryEncoding(t *testing.T) {
	const data = `{ "project_ids": ["` + p1 + `"], "reference": "\u0043ASE-17 \ud83d\ude00" }`
	for _, e := range encodings() {
		t.Run(e.name, func(t *testing.T) {
			headers, body := e.wrap("export", "req-1", data)
			if headers == nil {
				headers = map[string][]string{}
			}
			headers["Cv-Replay-Of"] = []string{"seq-12"}
			headers["Cv-Signature"] = []string{"key.signature"}
			headers["TraceParent"] = []string{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
			c, err := DecodeCommand("cv", message("export", headers, body))
			if err != nil {
				t.Fatal(err)
			}
			want := Command{
				ID: "req-1", Action: ActionExport, Seq: 17, Published: published, Source: "/tests", ReplayOf: "seq-12",
				Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
				Data:        Data{Resource: "default", ProjectIDs: ids(p1), Categories: Categories(), Reference: "CASE-17 😀"},
			}
			if e.name == "plain" {
				want.Source = ""
			}
			if !reflect.DeepEqual(c, want) {
				t.Errorf("got  %+v\nwant %+v", c, want)
			}
		})
	}
}

func TestDecodeCommandWithAnotherPrefix(t *testing.T) {
	m := message("export", map[string][]string{"Nats-Msg-Id": {"req-1"}}, `{"all_projects":true}`)
	m.Subject = "acme.vision.commands.export"
	if _, err := DecodeCommand("acme.vision", m); err != nil {
		t.Error(err)
	}
	if _, err := DecodeCommand("acme", m); err == nil {
		t.Error("a subject below another prefix was accepted")
	}
}

func TestDecodeCommandTraceparent(t *testing.T) {
	const valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	event := func(trace string) string {
		return `{"specversion":"1.0","id":"a","source":"s","type":"cv.export.requested","data":{"all_projects":true},"traceparent":` + trace + `}`
	}
	for name, tt := range map[string]struct {
		header, body, want string
	}{
		"header":                       {valid, event(`null`), valid},
		"extension":                    {"", event(`"` + valid + `"`), valid},
		"extension before header":      {strings.Replace(valid, "b7", "c8", 1), event(`"` + valid + `"`), valid},
		"upper case":                   {strings.ToUpper(valid), event(`null`), ""},
		"too short":                    {valid[:40], event(`null`), ""},
		"zero trace":                   {"00-00000000000000000000000000000000-b7ad6b7169203331-01", event(`null`), ""},
		"zero span":                    {"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", event(`null`), ""},
		"version ff":                   {"ff" + valid[2:], event(`null`), ""},
		"no hex":                       {"00-0af7651916cd43dd8448eb211c80319x-b7ad6b7169203331-01", event(`null`), ""},
		"extension that is no string":  {"", event(`17`), ""},
		"extension that says nothing":  {"", event(`""`), ""},
		"extension of secrets, refuse": {"", event(`"sig=secret"`), ""},
	} {
		t.Run(name, func(t *testing.T) {
			headers := map[string][]string{}
			if tt.header != "" {
				headers["traceparent"] = []string{tt.header}
			}
			c, err := DecodeCommand("cv", message("export", headers, tt.body))
			if err != nil || c.Traceparent != tt.want {
				t.Errorf("got %q, %v; want %q", c.Traceparent, err, tt.want)
			}
		})
	}
}

func TestDecodeCommandTolerates(t *testing.T) {
	for name, m := range map[string]Message{
		"extensions of any kind": message("export", nil, `{"specversion":"1.0","id":"a","source":"s","type":"cv.export.requested","time":null,"dataschema":null,"priority":1,"nested":{"a":[1]},"datacontenttype":"application/json; charset=utf-8","data_base64":null,"data":{"all_projects":true}}`),
		"a JSON type":            message("export", map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"a"}, "ce-source": {"s"}, "ce-type": {"cv.export.requested"}, "Content-Type": {"application/vnd.acme+json"}}, `{"all_projects":true}`),
		"another type on plain":  message("export", map[string][]string{"nats-msg-id": {" a "}, "Content-Type": {"text/plain"}}, " {\"all_projects\" : true}\r\n"),
		"an id of 120":           message("export", map[string][]string{"Nats-Msg-Id": {strings.Repeat("-", 120)}}, `{"all_projects":true}`),
		"an id like seq":         message("export", map[string][]string{"Nats-Msg-Id": {"sequel-1"}}, `{"all_projects":true}`),
		"data of 512 KiB":        message("export", map[string][]string{"Nats-Msg-Id": {"a"}}, `{"all_projects":true`+strings.Repeat(" ", MaxCommandBytes-21)+`}`),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := DecodeCommand("cv", m); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDecodeCommandNormalizes(t *testing.T) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 500_000_000, time.UTC)
	ten := int64(10)
	for name, tt := range map[string]struct {
		action, data string
		want         Data
	}{
		"all of an export": {"export", `{"resource":"eu","project_ids":["` + strings.ToUpper(p1) + `","` + p2 + `","` + p1 + `"],"image_metadata":[{"b":"2","a":"1"},{"a":"0"},{"a":"1","b":"2"}],"categories":["images","images"],"reference":"CASE-17","not_after":"2031-02-03T05:05:06.5+01:00","retain_until":"2031-02-03T04:05:06.500Z"}`,
			Data{Resource: "eu", ProjectIDs: ids(p2, p1), ImageMetadata: []map[string]string{{"a": "0"}, {"a": "1", "b": "2"}}, Categories: []Category{"images"}, Reference: "CASE-17", NotAfter: &at, RetainUntil: &at}},
		"all of a delete": {"delete", `{"project_ids":["` + p1 + `"],"tag_ids":["` + p2 + `"],"categories":["images","tags"],"dry_run":true,"approved_plan":"` + strings.ToUpper(sha) + `","export_first":true,"export_retain_until":"2031-02-03T04:05:06.5Z","unpublish":true,"expect":{"project_name":"Forks","max_images":10}}`,
			Data{Resource: "default", ProjectIDs: ids(p1), TagIDs: ids(p2), Categories: []Category{"tags", "images"}, DryRun: true, ApprovedPlan: sha, ExportFirst: true, ExportRetainUntil: &at, Unpublish: true, Expect: &Expect{"Forks", &ten}}},
		"one metadata object": {"delete", `{"all_projects":true,"image_metadata":{"subject":"4711"}}`,
			Data{Resource: "default", AllProjects: true, ImageMetadata: []map[string]string{{"subject": "4711"}}, Categories: []Category{"images"}}},
		"false is absent": {"delete", `{"all_projects":false,"project_ids":["` + p1 + `"],"dry_run":false,"export_first":false,"unpublish":false,"categories":["predictions","projects"]}`,
			Data{Resource: "default", ProjectIDs: ids(p1), Categories: []Category{"projects", "predictions"}}},
		"iterations of an export": {"export", `{"project_ids":["` + p1 + `"],"iteration_ids":["` + p2 + `"]}`,
			Data{Resource: "default", ProjectIDs: ids(p1), IterationIDs: ids(p2), Categories: []Category{"iterations", "performance", "images", "exports"}}},
		"iterations of a delete": {"delete", `{"project_ids":["` + p1 + `"],"iteration_ids":["` + p2 + `"]}`,
			Data{Resource: "default", ProjectIDs: ids(p1), IterationIDs: ids(p2), Categories: []Category{"iterations"}}},
		"tags of an export": {"export", `{"project_ids":["` + p1 + `"],"tag_ids":["` + p2 + `"]}`,
			Data{Resource: "default", ProjectIDs: ids(p1), TagIDs: ids(p2), Categories: []Category{"tags", "images"}}},
		"tags of a delete": {"delete", `{"project_ids":["` + p1 + `"],"tag_ids":["` + p2 + `"]}`,
			Data{Resource: "default", ProjectIDs: ids(p1), TagIDs: ids(p2), Categories: []Category{"tags"}}},
		"images of a project named twice": {"export", `{"project_ids":["` + p1 + `","` + strings.ToUpper(p1) + `"],"image_ids":["` + p2 + `"]}`,
			Data{Resource: "default", ProjectIDs: ids(p1), ImageIDs: ids(p2), Categories: []Category{"images"}}},
		"a cancel": {"cancel", `{"id":"req-9"}`, Data{CancelID: "req-9"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := decodePlain(t, tt.action, tt.data).Data; !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %#v\nwant %#v", got, tt.want)
			}
		})
	}
}

// TestSetsAtTheirLimit says that the limits themselves are allowed.
func TestSetsAtTheirLimit(t *testing.T) {
	list := func(n int) string {
		s := make([]string, n)
		for i := range s {
			s[i] = fmt.Sprintf(`"%08X-0000-4000-8000-00000000000a"`, n-i)
		}
		return "[" + strings.Join(s, ",") + "]"
	}
	if d := decodePlain(t, "export", `{"project_ids":`+list(100)+`}`).Data; len(d.ProjectIDs) != 100 {
		t.Errorf("%d projects", len(d.ProjectIDs))
	}
	d := decodePlain(t, "delete", `{"project_ids":["`+p1+`"],"image_ids":`+list(10000)+`}`).Data
	if len(d.ImageIDs) != 10000 || !slices.IsSortedFunc(d.ImageIDs, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }) {
		t.Errorf("%d images, or unsorted", len(d.ImageIDs))
	}
	long := strings.Repeat("é", 256)
	decodePlain(t, "export", `{"all_projects":true,"reference":"`+long+`","image_metadata":{"`+long+`":"`+long+long+`"}}`)
	var objects []string
	for i := range 100 {
		objects = append(objects, fmt.Sprintf(`{"subject":"%d"}`, i))
	}
	decodePlain(t, "export", `{"all_projects":true,"image_metadata":[`+strings.Join(objects, ",")+`]}`)
}

// TestRefusalsQuoteNothing says that no value of a message, and no key of metadata, gets into a
// refusal.
func TestRefusalsQuoteNothing(t *testing.T) {
	const secret = "hunter2-0123456789abcdef"
	for _, f := range dataFields() {
		for _, action := range []string{"export", "delete", "cancel"} {
			for _, value := range []string{
				`"` + secret + `\n"`, `["` + secret + `"]`, `{"` + secret + `":"` + secret + `","` + secret + `":1}`, `{"` + secret + `":["` + secret + `"]}`,
				`[{"` + secret + `":["` + secret + `"]}]`, `"` + strings.Repeat(secret, 30) + `"`, `"` + secret,
			} {
				data := around(action, f.name, value)
				_, err := DecodeCommand("cv", message(action, map[string][]string{"Nats-Msg-Id": {"a"}}, data))
				if err == nil {
					t.Errorf("%s accepted", data)
				} else if strings.Contains(err.Error(), "hunter2") {
					t.Errorf("%s: refused as %q", data, err)
				}
			}
		}
	}
	for _, data := range []string{`{"` + secret + `":1}`, `{"sig=` + secret + `":1}`, `{"0123456789abcdef0123456789abcdef":1}`} {
		_, err := DecodeCommand("cv", message("export", map[string][]string{"Nats-Msg-Id": {"a"}}, data))
		if err == nil || strings.Contains(err.Error(), "0123456789abcdef") {
			t.Errorf("%s: %v", data, err)
		}
	}
	for _, header := range []string{"Nats-Msg-Id", "ce-id", "ce-type", "ce-source", "content-type", "Cv-Replay-Of"} {
		h := map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"a"}, "ce-source": {"s"}, "ce-type": {"cv.export.requested"}, header: {secret + " " + secret}}
		_, err := DecodeCommand("cv", message("export", h, `{}`))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", header, err)
		}
	}
}

// TestRefusalSaysTheGivenID says that a message is refused under its own id where that can be read
// and is usable, and else under its sequence.
func TestRefusalSaysTheGivenID(t *testing.T) {
	for _, e := range encodings() {
		headers, body := e.wrap("export", "req-1", `{"shade":"red"}`)
		_, err := DecodeCommand("cv", message("export", headers, body))
		var r *Refusal
		if !errors.As(err, &r) || r.Given != "req-1" || r.ID != "req-1" || r.Error() != "invalid_command: shade: unknown field: leave it out" {
			t.Errorf("%s: %+v", e.name, err)
		}
		if want := (Error{Code: CodeInvalidCommand, Message: "shade: unknown field: leave it out"}); *r.Reason() != want {
			t.Errorf("%s: %+v", e.name, *r.Reason())
		}
	}
	var r *Refusal
	if _, err := DecodeCommand("cv", message("export", map[string][]string{"Nats-Msg-Id": {"a b"}}, `{}`)); !errors.As(err, &r) || r.Given != "" || r.ID != "seq-17" {
		t.Errorf("an unusable id was kept: %+v", err)
	}
}

func FuzzDecodeCommand(f *testing.F) {
	for _, m := range append(allMalformed(), notDeletable()...) {
		if !m.unkept {
			header := ""
			for k, v := range m.Headers {
				header += k + "=" + v[0] + "\n"
			}
			f.Add(strings.TrimPrefix(m.Subject, "cv.commands."), header, m.Body)
		}
	}
	for _, action := range []string{"export", "delete"} {
		for _, field := range dataFields() {
			f.Add(action, "Nats-Msg-Id=a", []byte(around(action, field.name, validValue(field.name))))
		}
	}
	f.Add("cancel", "Nats-Msg-Id=a", []byte(`{"id":"req-9"}`))
	f.Fuzz(func(t *testing.T, action, header string, body []byte) {
		headers := map[string][]string{}
		for _, line := range strings.Split(header, "\n") {
			if k, v, ok := strings.Cut(line, "="); ok {
				headers[k] = append(headers[k], v)
			}
		}
		m := Message{Subject: "cv.commands." + action, Header: headers, Body: body, Seq: 17, Time: published}
		c, err := DecodeCommand("cv", m)
		if err != nil {
			var r *Refusal
			if !errors.As(err, &r) || r.Code == "" || r.Field == "" || r.ID != cmp.Or(r.Given, "seq-17") || !strings.HasPrefix(r.Message, r.Field+": ") {
				t.Fatalf("not a proper refusal: %#v", err)
			}
			return
		}
		checkStable(t, c)
	})
}

// checkStable says that a command's canonical data decodes to the same command again.
func checkStable(t interface{ Fatalf(string, ...any) }, c Command) {
	canonical := c.Canonical()
	again, err := DecodeCommand("cv", Message{
		Subject: "cv.commands." + string(c.Action), Header: map[string][]string{"Nats-Msg-Id": {c.ID}}, Body: canonical, Seq: c.Seq, Time: c.Published,
	})
	if err != nil {
		t.Fatalf("canonical data refused: %v: %s", err, canonical)
	}
	if !bytes.Equal(again.Canonical(), canonical) || !reflect.DeepEqual(again.Data, c.Data) {
		t.Fatalf("canonical data is not stable:\n%s\n%s", canonical, again.Canonical())
	}
	keys := NewPseudonymizer(nil).DigestKeys("secret")
	if !again.SameAs(Job{ID: c.ID, Action: c.Action, Command: c.Ref("salt", keys)}, keys) {
		t.Fatalf("the same command is not the same: %s", canonical)
	}
}

// TestGlimpseOf reads what can be read of deletes that are no commands.
func TestGlimpseOf(t *testing.T) {
	noon := time.Date(2026, time.November, 29, 12, 0, 0, 0, time.UTC)
	for body, want := range map[string]struct {
		dry   bool
		until *time.Time
	}{
		`{"colour":1,"dry_run":true,"not_after":"2026-11-29T13:00:00+01:00"}`: {true, &noon},
		`{"not_after":"2026-11-29T12:00:00Z"}`:                                {false, &noon},
		`{"specversion":"1.0","id":"x","data":{"dry_run":true}}`:              {true, nil},
		`{"not_after":"9999-12-31T23:59:59-01:00"}`:                           {}, // no year that JSON can have, in UTC
		`{"not_after":"0000-01-01T00:00:00+01:00"}`:                           {},
		`{"dry_run":"yes","not_after":"2026-11-29T12:00:00Z"}`:                {},
		`{"dry_run":true`: {},
		``:                {},
	} {
		got := GlimpseOf(Message{Subject: "cv.commands.delete", Body: []byte(body)})
		if got.DryRun != want.dry || (got.NotAfter == nil) != (want.until == nil) || got.NotAfter != nil && (!got.NotAfter.Equal(*want.until) || got.NotAfter.Location() != time.UTC) {
			t.Errorf("%s: %+v", body, got)
		}
	}
	// An event that is published with headers of another encoding.
	got := GlimpseOf(Message{
		Subject: "cv.commands.delete", Header: map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"x"}, "ce-source": {"/"}, "ce-type": {"cv.delete.requested"}},
		Body: []byte(`{"specversion":"1.0","id":"x","source":"/","type":"cv.delete.requested","data":{"not_after":"2026-11-29T12:00:00Z"}}`),
	})
	if got.DryRun || got.NotAfter == nil || !got.NotAfter.Equal(noon) {
		t.Errorf("an event: %+v", got)
	}
}
