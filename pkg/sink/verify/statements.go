package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// stamp is a time as problems show it.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// readInfo reads bag-info.txt.
func (v *verifier) readInfo(f *file) {
	b := f.all()
	if b == nil {
		return
	}
	fields, err := sink.ParseBagInfo(b)
	if err == nil && bytes.ContainsRune(b, '\r') {
		err = errors.New("it has a carriage return")
	}
	if err != nil {
		v.problem(f.name, "it is not a list of fields: %v", err)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.statements.info = append([]sink.Field{}, fields...)
}

// readPage looks whether the page for people is that of this bag. Its text is not compared.
func (v *verifier) readPage(f *file) {
	b := f.all()
	if b == nil || v.receipt == nil {
		return
	}
	p := &v.receipt.Predicate
	want := []string{p.Command.ID, p.Ledger.Head}
	if p.Plan != nil {
		want = append(want, p.Plan.SHA256)
	}
	if v.kind == sink.ExportBag {
		for _, subject := range v.receipt.Subject {
			if subject.Name == string(sink.ManifestFile) {
				want = append(want, subject.Digest["sha256"])
			}
		}
	}
	for _, key := range []string{p.Command.Signer, p.Command.Approver} {
		if key != "" {
			want = append(want, key)
		}
	}
	for _, text := range want {
		if !bytes.Contains(b, []byte(text)) {
			v.problem(f.name, "it does not show %s, which the receipt has", quote(text))
		}
	}
}

// checkStatements compares the receipt with the statements that every bag has.
func (v *verifier) checkStatements() {
	if v.receipt == nil {
		return
	}
	bad := func(format string, args ...any) { v.problem(sink.ReceiptFile, format, args...) }
	p := &v.receipt.Predicate
	if p.Ledger.Entries != v.report.Ledger.Lines || p.Ledger.Head != v.report.Ledger.Head {
		v.problem(sink.LedgerFile, "it has %d lines and head %s, the receipt has %d and %s", v.report.Ledger.Lines, v.report.Ledger.Head, p.Ledger.Entries, p.Ledger.Head)
	}
	if p.Bundle.PayloadObjects != len(v.payload) || v.unknown == 0 && p.Bundle.PayloadBytes != v.payloadBytes {
		bad("it speaks of %d files and %d bytes below data/, there are %d and %d", p.Bundle.PayloadObjects, p.Bundle.PayloadBytes, len(v.payload), v.payloadBytes)
	}
	objects := v.report.Files
	if v.report.Signature != Unsigned && !p.Signed {
		objects-- // another party signed a receipt that does not count its signature
	}
	if p.Bundle.Objects != objects {
		bad("it speaks of %d objects, there are %d", p.Bundle.Objects, objects)
	}
	if got := v.statements.digests[requestFile]; got != "" && got != p.Command.SHA256 {
		v.problem(sink.RequestFile, "its SHA-256 is %s, the receipt has %s", got, p.Command.SHA256)
	}
	if r := v.statements.request; r != nil {
		v.checkRequest(r)
	}
	if v.statements.info != nil {
		v.checkInfo()
	}
}

// checkRequest compares request.json with the receipt.
func (v *verifier) checkRequest(r *bagfile.Request[json.RawMessage]) {
	bad := func(format string, args ...any) { v.problem(sink.RequestFile, format, args...) }
	p := &v.receipt.Predicate
	for _, c := range []struct{ what, request, receipt string }{
		{"id", r.ID, p.Command.ID}, {"action", r.Action, p.Command.Action}, {"account", r.Account, p.Command.Account},
		{"resource", v.scope.Resource, p.Command.Resource}, {"reference", v.scope.Reference, p.Command.Reference},
		{"signer", r.Signer, p.Command.Signer}, {"approver", r.Approver, p.Command.Approver},
	} {
		if c.request != c.receipt {
			bad("the %s is %s, the receipt has %s", c.what, quote(c.request), quote(c.receipt))
		}
	}
	if !same(r.Data, p.Scope) {
		bad("it asks for something else than the receipt says")
	}
	if r.Published.IsZero() || r.Digest == "" {
		bad("it does not say when it was published, or has no digest")
	}
	seen := map[string]bool{}
	for _, c := range v.scope.Categories {
		if !bagfile.KnownCategory(c) || seen[c] {
			bad("it names the category %s, which is none, or twice", quote(c))
		}
		seen[c] = true
	}
	if len(seen) == 0 {
		bad("it names no category")
	}
}

// checkInfo compares bag-info.txt with the receipt.
func (v *verifier) checkInfo() {
	bad := func(format string, args ...any) { v.problem(sink.BagInfoFile, format, args...) }
	p := &v.receipt.Predicate
	want := map[string]string{
		"Bagging-Date":               p.FinishedAt.UTC().Format(time.DateOnly),
		"Bag-Software-Agent":         p.Tool.Name + " " + p.Tool.Version,
		"External-Identifier":        p.Command.ID,
		"Internal-Sender-Identifier": p.Command.Reference,
		"External-Description":       v.description(),
	}
	if v.unknown == 0 {
		want[sink.OxumField] = strconv.FormatInt(v.payloadBytes, 10) + "." + strconv.Itoa(len(v.payload))
	}
	seen := map[string]int{}
	for _, f := range v.statements.info {
		seen[f.Name]++
		value, known := want[f.Name]
		switch {
		case f.Name == sink.OxumField && !known:
		case !known:
			bad("it has the field %s, which is none of the product's", quote(f.Name))
		case oneLine(f.Value) != oneLine(value):
			bad("%s is %s, which should be %s", f.Name, quote(f.Value), quote(value))
		}
	}
	for _, name := range []string{"Bagging-Date", "Bag-Software-Agent", "External-Identifier", "Internal-Sender-Identifier", "External-Description", sink.OxumField} {
		if seen[name] != 1 {
			bad("it has %d %s fields, expected one", seen[name], name)
		}
	}
}

// description is what bag-info.txt calls the bag.
func (v *verifier) description() string {
	switch s := &v.statements; {
	case v.kind == sink.ExportBag && s.export != nil:
		return "Export of user data from Azure Custom Vision, " + s.export.Endpoint
	case v.kind == sink.DeleteBag && s.deletion != nil && s.deletion.DryRun:
		return "Plan of a deletion of user data from Azure Custom Vision, " + s.deletion.Endpoint
	case v.kind == sink.DeleteBag && s.deletion != nil:
		return "Deletion of user data from Azure Custom Vision, " + s.deletion.Endpoint
	}
	return ""
}

// oneLine is a text as bag-info.txt can have it.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "\uFFFD"), sink.BreaksInfo), " ")
}

// summary is what data/export.json and data/deletion.json have in common with the receipt.
type summary struct {
	id        string
	reference string
	scope     json.RawMessage
	outcome   string
	counts    bagfile.Counts
	started   time.Time
	finished  time.Time
	tool      string
}

// checkSummary compares a summary with the receipt.
func (v *verifier) checkSummary(name sink.Path, s summary) {
	p := &v.receipt.Predicate
	bad := func(format string, args ...any) { v.problem(name, format, args...) }
	for _, c := range []struct{ what, summary, receipt string }{
		{"id", s.id, p.Command.ID}, {"reference", s.reference, p.Command.Reference}, {"outcome", s.outcome, p.Outcome}, {"tool", s.tool, p.Tool.Version},
		{"start", stamp(s.started), stamp(p.StartedAt)}, {"end", stamp(s.finished), stamp(p.FinishedAt)},
	} {
		if c.summary != c.receipt {
			bad("the %s is %s, the receipt has %s", c.what, quote(c.summary), quote(c.receipt))
		}
	}
	if !same(s.scope, p.Scope) {
		bad("its scope is not that of the receipt")
	}
	for name, got := range s.counts.ByName() {
		if got != p.Counts[name] {
			bad("it counts %d %s, the receipt %d", got, name, p.Counts[name])
		}
	}
}

// differ is a problem's text about two numbers.
func differ(what string, said, found int64) string {
	return fmt.Sprintf("it says %d %s, there are %d", said, what, found)
}
