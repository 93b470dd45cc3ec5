package unit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

var (
	first  = uuid.MustParse("7f0ce8b1-5a5a-4c6e-9d0e-3f2b6d1c9a11")
	second = uuid.MustParse("11111111-2222-4333-8444-555555555555")
)

func TestPackedIDs(t *testing.T) {
	page := make(unit.PackedIDs, 256)
	for i := range page {
		page[i] = uuid.NewSHA1(first, []byte{byte(i)})
	}
	for name, ids := range map[string]unit.PackedIDs{"none": {}, "one": {first}, "in their order": {first, second, first}, "a page": page} {
		text, err := ids.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back unit.PackedIDs
		if err := back.UnmarshalText(text); err != nil || !slices.Equal(back, ids) {
			t.Errorf("%s: %v, %v", name, back, err)
		}
	}
	if text, _ := page.MarshalText(); len(text) > 5500 {
		t.Errorf("a page takes %d bytes", len(text))
	}
	for _, bad := range []string{"?", "f", "AAAA", strings.Repeat("A", 23)} {
		var ids unit.PackedIDs
		if err := ids.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is taken for %v", bad, ids)
		}
	}
}

func TestDecode(t *testing.T) {
	u := unit.Unit{
		V: unit.Version, Command: "exp-1", Action: contract.ActionExport, Seq: 7, Stream: "s1", Digest: "d", N: 3, Kind: unit.KindPage, Project: first,
		Listing: &survey.Listing{Kind: survey.Tagged, Scope: second, Tags: []uuid.UUID{first}, Count: 300}, Pass: 1, Skip: 255, Fetch: true, Named: true,
	}
	b, err := json.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := unit.Decode(b); err != nil || !reflect.DeepEqual(back, u) {
		t.Errorf("%+v, %v", back, err)
	}
	if _, err := unit.Decode(fmt.Appendf(nil, `{"v":%d,"n":1}`, unit.Version+1)); !errors.Is(err, contract.ErrNewer) {
		t.Errorf("a newer version: %v", err)
	}
	if _, err := unit.Decode([]byte(`{"v":1`)); err == nil || errors.Is(err, contract.ErrNewer) {
		t.Errorf("half a unit: %v", err)
	}
}

func TestKnownKinds(t *testing.T) {
	for _, k := range []unit.Kind{unit.KindProject, unit.KindPage, unit.KindBatch, unit.KindPerformances, unit.KindExports, unit.KindPredictions, unit.KindCounts} {
		if !k.Known() {
			t.Errorf("%s is not known", k)
		}
	}
	for _, k := range []unit.Kind{"", "Page", "future"} {
		if k.Known() {
			t.Errorf("%q is known", k)
		}
	}
}

// An image is left to the page before only where it is the first of a page that has one before it.
func TestShares(t *testing.T) {
	for _, c := range []struct {
		name string
		u    unit.Unit
		id   uuid.UUID
		want bool
	}{
		{"first of a later page", unit.Unit{Kind: unit.KindPage, Skip: 255}, first, true},
		{"another of a later page", unit.Unit{Kind: unit.KindPage, Skip: 255}, second, false},
		{"first of the first page", unit.Unit{Kind: unit.KindPage}, first, false},
		{"first of a batch", unit.Unit{Kind: unit.KindBatch, Skip: 255}, first, false},
	} {
		if got := c.u.Shares(c.id, first.String()); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

func TestLines(t *testing.T) {
	type line struct{ N int }
	for _, c := range []struct {
		name, text string
		want       []int
		fails      bool
	}{
		{"none", "", nil, false},
		{"three", "{\"N\":1}\n{\"N\":2}\n{\"N\":3}\n", []int{1, 2, 3}, false},
		{"the last without a line end", "{\"N\":1}\n{\"N\":2}", []int{1, 2}, false},
		{"the last cut short", "{\"N\":1}\n{\"N\":", []int{1}, true},
		{"two in a line", "{\"N\":1}\n{\"N\":2}{\"N\":3}\n", []int{1}, true},
		{"one of another kind", "{\"N\":1}\n{\"N\":\"x\"}\n{\"N\":3}\n", []int{1}, true},
	} {
		var (
			got    []int
			failed error
		)
		for l, err := range unit.Lines[line](unit.Scan(strings.NewReader(c.text))) {
			if failed != nil {
				t.Fatalf("%s: something follows %v", c.name, failed)
			}
			if failed = err; err == nil {
				got = append(got, l.N)
			}
		}
		if !slices.Equal(got, c.want) || (failed != nil) != c.fails {
			t.Errorf("%s: %v, %v", c.name, got, failed)
		}
	}
	for l := range unit.Lines[line](unit.Scan(strings.NewReader("{\"N\":1}\n{\"N\":2}"))) {
		if l.N != 1 {
			t.Fatal("it goes on after it was told to stop")
		}
		break
	}
}

// endless is a line without an end, and counts what is read of it.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	e.read += len(p)
	return len(p), nil
}

func TestLineWithoutAnEnd(t *testing.T) {
	var e endless
	for _, err := range unit.Lines[int](unit.Scan(&e)) {
		if err == nil || !strings.Contains(err.Error(), "a line of more than 8388608 bytes") {
			t.Errorf("error %v", err)
		}
	}
	if e.read > 2*unit.MaxLine {
		t.Errorf("%d bytes were read", e.read)
	}
}

// TestLargeWait: what a unit leaves behind is read up to the length of a line.
func TestLargeWait(t *testing.T) {
	store, layout := newStore(t)
	b := append([]byte(`{"v":2,"detail":"`), bytes.Repeat([]byte("a"), unit.MaxLine)...)
	if _, err := store.Put(t.Context(), layout.Work(unit.WaitName(3, "a1")), sink.Bytes(append(b, `"}`...), "application/json")); err != nil {
		t.Fatal(err)
	}
	if w, err := unit.ReadWait(t.Context(), store, layout, 3, "a1"); err == nil || !strings.Contains(err.Error(), "more than the 8388608 bytes") {
		t.Errorf("read %t, %v", w != nil, err)
	}
}

// newStore is a store on a bucket of its own, and the layout of a command in it.
func newStore(t *testing.T) (*sink.Store, sink.Layout) {
	t.Helper()
	s3 := sinktest.Shared(t)
	layout, err := sink.NewLayout("", "exp-1")
	if err != nil {
		t.Fatal(err)
	}
	store := sink.NewStore(s3.Client(), sink.StoreOptions{Bucket: s3.Bucket(t, sinktest.BucketOptions{})})
	return store.Sealed(sink.NewSealer([]byte("key"), "exp-1", "s1/7")), layout
}

// A unit's result is read as it was written: the summary alone, and the records after it.
func TestResultRoundTrip(t *testing.T) {
	store, layout := newStore(t)
	s := unit.Summary{
		V: unit.Version, N: 4, Kind: unit.KindPage, Listed: 2, First: first.String(), Last: second.String(), IDs: unit.PackedIDs{first, second}, Bytes: 9,
		Calls: []ledger.Call{{Time: time.Date(2031, 1, 2, 3, 4, 5, 0, time.UTC), Operation: "GetTaggedImages", Target: "projects/p/images/tagged", Status: 200, Attempt: 1}},
	}
	records := []unit.Record{
		{ID: first, Image: json.RawMessage(`{"a":"<&>"}`), Blob: &unit.BlobRecord{File: "images/a.jpg", SHA256: "00", Bytes: 9, ContentType: "image/jpeg", Source: "original"}},
		{ID: second, Image: json.RawMessage(`{}`), Blob: &unit.BlobRecord{Error: &bagfile.Blame{Code: "gone", Message: "it is not there"}}},
	}
	b, err := unit.EncodeResult(s, records)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(b, []byte("\n")); n != 3 || !bytes.Contains(b, []byte("<&>")) {
		t.Errorf("the result is\n%s", b)
	}
	u := unit.Unit{V: unit.Version, Command: "exp-1", Seq: 7, Stream: "s1", N: 4, Kind: unit.KindPage}
	o, err := bound(t, store, u).Put(t.Context(), layout.Work(unit.ResultName(4)), sink.Bytes(b, "application/jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	u.Seq, u.Stream = 1, "s2" // the command was published again
	if got, digest, err := unit.ReadSummary(t.Context(), unit.Stored(store, layout), u); err != nil || !reflect.DeepEqual(got, s) || digest != o.SHA256 || digest == "" {
		t.Errorf("the summary is %+v, digest %q, %v", got, digest, err)
	}
	var got []unit.Record
	for r, err := range unit.ReadRecords(t.Context(), unit.Stored(store, layout), u) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	if !reflect.DeepEqual(got, records) {
		t.Errorf("the records are %+v", got)
	}
	if _, _, err := unit.ReadSummary(t.Context(), unit.Stored(store, layout), unit.Unit{N: 5}); !errors.Is(err, sink.ErrNotFound) {
		t.Errorf("a result that does not exist: %v", err)
	}
	u.Skip = 256
	if _, _, err := unit.ReadSummary(t.Context(), unit.Stored(store, layout), u); !errors.Is(err, sink.ErrUnsealed) {
		t.Errorf("the result of another unit with that number: %v", err)
	}
	u.N = 6
	if _, err := bound(t, store, u).Put(t.Context(), layout.Work(unit.ResultName(6)), sink.Bytes(fmt.Appendf(nil, `{"v":%d,"n":6}`, unit.Version+1), "application/jsonl")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := unit.ReadSummary(t.Context(), unit.Stored(store, layout), u); !errors.Is(err, contract.ErrNewer) {
		t.Errorf("a result of a newer version: %v", err)
	}
}

// bound is the store of a unit.
func bound(t *testing.T, store *sink.Store, u unit.Unit) *sink.Store {
	t.Helper()
	own, err := unit.Bound(store, u)
	if err != nil {
		t.Fatal(err)
	}
	return own
}

// Numbers that no result has are not used, also behind a right seal.
func TestNumbersOutOfBounds(t *testing.T) {
	store, layout := newStore(t)
	for n, line := range []string{
		`"n":9000000000,"kind":"page"`, `"n":-1,"kind":"page"`, `"n":2,"kind":"counts"`, `"n":3,"kind":"page","listed":-1`, `"n":4,"kind":"page","listed":9000000000`,
		`"n":5,"kind":"page","bytes":-1`, `"n":6,"kind":"page","tags":-1`, `"n":7,"kind":"page","failed":10000001`,
		`"n":8,"kind":"page","listings":[{"kind":"tagged","count":-1}]`, `"n":9,"kind":"page","listings":[{"kind":"tagged","count":9000000000}]`,
		`"n":10,"kind":"page","ids":"AA=="`, `"n":11,"kind":"page","ids":7`,
	} {
		u := unit.Unit{N: n, Kind: unit.KindPage}
		body := sink.Bytes(fmt.Appendf(nil, `{"v":%d,%s}`, unit.Version, line), "application/jsonl")
		if _, err := bound(t, store, u).Put(t.Context(), layout.Work(unit.ResultName(n)), body); err != nil {
			t.Fatal(err)
		}
		if s, _, err := unit.ReadSummary(t.Context(), unit.Stored(store, layout), u); err == nil || errors.Is(err, sink.ErrNotFound) {
			t.Errorf("%s: %+v, %v", line, s, err)
		}
	}
	u := unit.Unit{N: 20, Kind: unit.KindPage}
	body := sink.Bytes(fmt.Appendf(nil, `{"v":%d,"n":20,"kind":"page"}`+"\n"+`{"blob":{"bytes":-1}}`, unit.Version), "application/jsonl")
	if _, err := bound(t, store, u).Put(t.Context(), layout.Work(unit.ResultName(20)), body); err != nil {
		t.Fatal(err)
	}
	for r, err := range unit.ReadRecords(t.Context(), unit.Stored(store, layout), u) {
		if err == nil {
			t.Errorf("a record %+v", r)
		}
	}
	for _, line := range []string{`"n":-1`, `"n":9000000000`, `"skip":-1`, `"reading":-1`} {
		if u, err := unit.Decode(fmt.Appendf(nil, `{"v":%d,%s}`, unit.Version, line)); err == nil {
			t.Errorf("%s: %+v", line, u)
		}
	}
}

// frozen is what TestFreeze freezes.
type frozen struct {
	V      int    `json:"v"`
	Writer string `json:"writer"`
}

// by makes what a writer would freeze, and counts how often it does.
func by(writer string, made *int) func(context.Context) (frozen, error) {
	return func(context.Context) (frozen, error) {
		*made++
		return frozen{V: contract.FormatVersion, Writer: writer}, nil
	}
}

// The first writer of a key wins; each later attempt works on what that one wrote, and makes
// nothing where it finds it.
func TestFreeze(t *testing.T) {
	store, layout := newStore(t)
	key := layout.Work("plan.json")
	made := 0
	for _, c := range []struct {
		name, writer, want string
		fresh, mine        bool
		made               int
	}{
		{"the first", "one", "one", false, true, 1},
		{"a later one", "two", "one", false, false, 0},
		{"one that does not look first", "three", "one", true, false, 1},
	} {
		made = 0
		v, mine, err := unit.Freeze(t.Context(), store, key, c.fresh, by(c.writer, &made))
		if err != nil || v.Writer != c.want || mine != c.mine || made != c.made {
			t.Errorf("%s: %+v, mine: %t, made %d times, %v", c.name, v, mine, made, err)
		}
	}
	v, mine, err := unit.Freeze(t.Context(), store, layout.Work("other.json"), true, by("four", &made))
	if err != nil || v.Writer != "four" || !mine {
		t.Errorf("another key, without a look: %+v, mine: %t, %v", v, mine, err)
	}
}

// Two writers find nothing, and both make something: one of them wins, and both return what it
// wrote.
func TestFreezeWithTwoWriters(t *testing.T) {
	store, layout := newStore(t)
	var (
		meet, wait sync.WaitGroup
		values     [2]frozen
		mine       [2]bool
		errs       [2]error
	)
	meet.Add(2)
	for i, writer := range []string{"one", "two"} {
		wait.Go(func() {
			values[i], mine[i], errs[i] = unit.Freeze(t.Context(), store, layout.Work("plan.json"), false, func(context.Context) (frozen, error) {
				meet.Done()
				meet.Wait() // both have looked by now
				return frozen{V: contract.FormatVersion, Writer: writer}, nil
			})
		})
	}
	wait.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	if values[0] != values[1] || mine[0] == mine[1] {
		t.Errorf("the writers have %+v, mine: %v", values, mine)
	}
	if won := map[bool]string{true: "one", false: "two"}[mine[0]]; values[0].Writer != won {
		t.Errorf("%s won, and what is frozen is of %s", won, values[0].Writer)
	}
}

// What cannot be made is not frozen, and what a newer version froze is not read.
func TestFreezeFails(t *testing.T) {
	store, layout := newStore(t)
	key := layout.Work("plan.json")
	down := errors.New("the service is down")
	if _, mine, err := unit.Freeze(t.Context(), store, key, false, func(context.Context) (frozen, error) { return frozen{}, down }); !errors.Is(err, down) || mine {
		t.Errorf("mine: %t, %v", mine, err)
	}
	if _, err := store.ReadAll(t.Context(), key, unit.MaxObject); !errors.Is(err, sink.ErrNotFound) {
		t.Errorf("something was frozen: %v", err)
	}
	if _, err := store.Put(t.Context(), key, sink.Bytes([]byte(`{"v":99,"writer":"tomorrow"}`), "application/json")); err != nil {
		t.Fatal(err)
	}
	made := 0
	if v, _, err := unit.Freeze(t.Context(), store, key, false, by("one", &made)); !errors.Is(err, contract.ErrNewer) || made > 0 {
		t.Errorf("%+v, made %d times, %v", v, made, err)
	}
}

func TestBlameText(t *testing.T) {
	for _, c := range []struct {
		name, head, code string
		want             string // part of the message; empty: no blame
	}{
		{"a picture", "\xff\xd8\xff\xe0 JFIF", unit.CodeNotImage, ""},
		{"bytes of an unknown format", "\x00\x01\x02\xfe\xff", unit.CodeNotImage, ""},
		{"a page", "<!DOCTYPE html><html></html>", unit.CodeNotImage, "in place of a picture"},
		{"a page for a model", "<!DOCTYPE html><html></html>", unit.CodeNotModel, "in place of a model"},
		{"nothing", "", unit.CodeNotImage, "nothing came in place of a picture"},
	} {
		blame := unit.BlameText([]byte(c.head), c.code)
		if (blame != nil) != (c.want != "") || blame != nil && (blame.Code != c.code || !strings.Contains(blame.Message, c.want)) {
			t.Errorf("%s: %+v", c.name, blame)
		}
	}
}

// TestSealOfANewerUnit has a unit of a version that this build does not know tell whether a
// coordinator queued it.
func TestSealOfANewerUnit(t *testing.T) {
	server := sinktest.Shared(t)
	work := sink.NewStore(server.Client(), sink.StoreOptions{Bucket: server.Bucket(t, sinktest.BucketOptions{})}).Sealed(sink.NewSealer([]byte("key"), "exp", "s1/1"))
	sealed, err := unit.Seal(work, unit.Unit{V: unit.Version + 1, Command: "exp", Seq: 1, N: 3, Kind: "tomorrow's <kind>"})
	if err != nil {
		t.Fatal(err)
	}
	body, err := contract.Marshal(sealed)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		body string
		want bool
	}{
		{string(body), true},
		{strings.Replace(string(body), `"n":3`, `"n":4`, 1), false},
		{strings.Replace(string(body), `{`, `{"more":1,`, 1), false},
	} {
		u, err := unit.Decode([]byte(c.body))
		if !errors.Is(err, contract.ErrNewer) || u.Command != "exp" {
			t.Errorf("decoded %+v, %v", u, err)
		}
		if got, err := unit.SealedBody(work, []byte(c.body), u.Seal); got != c.want || err != nil {
			t.Errorf("%s: sealed %t, %v", c.body, got, err)
		}
	}
}

// TestRecordsAsTheyStand: records are encoded and decoded as package encoding/json would do it, but
// for the JSON of things, which stands as it is.
func TestRecordsAsTheyStand(t *testing.T) {
	store, layout := newStore(t)
	for n, line := range []string{
		`{"image":{"a":"<&>","b":[1,{"c":null}]},"id":"e3049fbe-e509-4ceb-95c6-f6427b972543","blob":{"file":"x","bytes":3}}`, `{"image":{},"blob":{}}`, `{"prediction":{"a":1},"id":"e3049fbe-e509-4ceb-95c6-f6427b972543"}`,
		`{"performance":[],"id":"e3049fbe-e509-4ceb-95c6-f6427b972543"}`, `{"image":null,"entry":{"path":"p"}}`, `{"image":1}`, `{"entry":{"path":"p","sha256":"","bytes":7,"category":"tags"}}`, `{}`, `{"id":"e3049fbe-e509-4ceb-95c6-f6427b972543","image":{}}`,
		`{"image":{"a":1},"image":{"b":2}}`, `{"image":{"aaaaaaaaaaaaaaaa":1},"Image":7,"prediction":2}`, `{"image":{"a":1},}`, `{"image":{"a":1},"x"}`, `{"image":{"a":1}`, `{"image":{"a":}}`, `{"image":{"a":1},"id":7}`, `{"image":{"a":1},"image":null}`, `{"image":{"a":1},"blob":{"file":"a","sha256":"b","bytes":17,"content_type":"c","source":"original"},"x":{"y":[]},"id":"e3049fbe-e509-4ceb-95c6-f6427b972543"}`,
		`{"image":{"a":1},"blob":{"File":"a"}}`, `{"image":{"a":1},"blob":{"file":"\u00e9","bytes":9999999999}}`, `{"image":{"a":1},"blob":{"bytes":1.5}}`, `{"image":{"a":1},"blob":{"error":{"code":"x"}}}`, `{"image":{"a":1},"entry":{"path":"p"}}`, `{"image":{"a":1},"ID":"e3049fbe-e509-4ceb-95c6-f6427b972543"}`,
		`{"image":{"a":1},"blob":{"file":"a"},"blob":{"sha256":"b"}}`, `{"image":{"a":1},"prediction":{"b":1}}`, `{"image":{}}{}`, `null`, `[]`,
	} {
		var want unit.Record
		wantErr := json.Unmarshal([]byte(line), &want)
		u := unit.Unit{N: n, Kind: unit.KindPage}
		const after = `{"image":{"after":"it"},"id":"8a32ea60-1c53-43c3-8113-d0b1f470fbdb"}`
		body := sink.Bytes(fmt.Appendf(nil, "{\"v\":%d,\"n\":%d,\"kind\":\"page\"}\n%s\n%s\n", unit.Version, n, line, after), "application/jsonl")
		if _, err := bound(t, store, u).Put(t.Context(), layout.Work(unit.ResultName(n)), body); err != nil {
			t.Fatal(err)
		}
		read := 0
		for got, err := range unit.ReadRecords(t.Context(), unit.Stored(store, layout), u) {
			read++
			switch {
			case read == 2 && (err != nil || string(got.Image) != `{"after":"it"}`):
				t.Errorf("%s: then %+v, %v", line, got, err)
			case read == 1 && ((err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got, want)):
				t.Errorf("%s: %+v, %v, want %+v, %v", line, got, err, want, wantErr)
			}
		}
		if wantErr == nil && read != 2 {
			t.Errorf("%s: %d records", line, read)
		}
		if want.Image == nil || wantErr != nil {
			continue
		}
		b, err := unit.EncodeResult(unit.Summary{}, []unit.Record{want, want})
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := contract.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if _, rest, _ := bytes.Cut(b, []byte("\n")); string(rest) != string(encoded)+"\n"+string(encoded)+"\n" {
			t.Errorf("%s: encoded as\n%s, want\n%s", line, rest, encoded)
		}
	}
}
