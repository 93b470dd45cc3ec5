package verify_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify/verifytest"
)

// memory is a bag held in memory.
type memory = verifytest.Memory

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func digest(s string) string { return sink.Bytes([]byte(s), "").SHA256 }

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// bundles is where the golden bags are; the S3 server changes the working directory.
var bundles, _ = filepath.Abs(filepath.Join("..", "..", "..", "testdata", "bundles"))

// load reads a golden bag.
func load(t testing.TB, name string) memory {
	t.Helper()
	return verifytest.Load(t, filepath.Join(bundles, name))
}

// firstOf is a golden export as it would be before a delete with export_first.
func firstOf(t *testing.T, m memory) memory {
	t.Helper()
	m = maps.Clone(m)
	for _, name := range []string{"evidence/request.json", "data/export.json", "receipt.json"} {
		m[name] = strings.NewReplacer(`"resource":"default"`, `"export_first":true,"resource":"default"`, `"action":"export"`, `"action":"delete"`,
			`"outcome":"complete",`, `"outcome":"complete","plan":{"sha256":"`+digest("a plan")+`"},`).Replace(m[name])
	}
	m["data/export.json"] = strings.Replace(m["data/export.json"], `"plan":{"sha256":"`+digest("a plan")+`"},`, "", 1)
	m["receipt.json"] = strings.Replace(m["receipt.json"], `"command":{"account":"vision.test/default","action":"delete","id":"two-tags","reference":"case 2026-17","export_first":true,`, `"command":{"account":"vision.test/default","action":"delete","id":"two-tags","reference":"case 2026-17",`, 1)
	m["index.html"] = strings.Replace(m["index.html"], "</main>", digest("a plan")+"</main>", 1)
	return forge(t, m)
}

// Ids of the synthetic deletes.
var (
	p1    = uuid.MustParse("a2e7570a-5d0e-4e96-ba6d-125f56a98544")
	p2    = uuid.MustParse("b2e7570a-5d0e-4e96-ba6d-125f56a98544")
	it1   = uuid.MustParse("4b50bd34-e859-44d3-ac36-b68cb5dbfcf1")
	tag1  = uuid.MustParse("4a4aac9f-5662-4764-9aea-922c758ace0a")
	img1  = uuid.MustParse("34b5e05e-2b7a-4422-a27e-0e20cb306e65")
	img2  = uuid.MustParse("7213cd00-b7fc-40c0-976b-d242343a5c6a")
	img3  = uuid.MustParse("9a755530-012e-4b1d-947f-e4e00a6e4e9e")
	pred1 = uuid.MustParse("89e75d3d-18b6-46e7-a00e-73e8533ea387")
	other = uuid.MustParse("cccccccc-5d0e-4e96-ba6d-125f56a98544")
)

// second is a time n seconds after the synthetic deletes began.
func second(n int) time.Time {
	return time.Date(2026, time.November, 24, 9, 30, n, 0, time.UTC)
}

// ledgerOf chains lines: kind, operation, target, status, one a second.
func ledgerOf(t *testing.T, lines ...[]any) string {
	t.Helper()
	chain, err := sink.NewChain(nil)
	must(t, err)
	var out strings.Builder
	for i, l := range lines {
		line, err := chain.Append(sink.LedgerLine{Time: second(i), Kind: l[0].(string), Operation: l[1].(string), Target: l[2].(string), Status: l[3].(int), Attempt: 1})
		must(t, err)
		out.Write(line)
	}
	return out.String()
}

// deletion is the bag of a delete of one whole project with export_first, or of its plan.
func deletion(t *testing.T, dry bool) memory {
	t.Helper()
	scope := map[string]any{"resource": "default", "project_ids": []uuid.UUID{p1}, "categories": bagfile.Categories(), "reference": "case 17", "unpublish": true}
	ledger := [][]any{{"call", "GetProject", "projects/" + p1.String(), 200}}
	if scope["export_first"] = true; dry {
		delete(scope, "export_first")
		scope["dry_run"] = true
	} else {
		for _, l := range [][]any{
			{"UnpublishIteration", "/iterations/" + it1.String() + "/publish", 204},
			{"DeletePrediction", "/predictions " + pred1.String(), 204},
			{"DeleteImages", "/images " + img1.String() + "," + img2.String(), 404},
			{"DeleteImages", "/images " + img1.String(), 0},
			{"DeleteIteration", "/iterations/" + it1.String(), 204},
			{"DeleteProject", "", 204},
		} {
			target := "projects/" + p1.String() + l[1].(string)
			ledger = append(ledger, []any{"intent", l[0], target, 0})
			if l[2].(int) != 0 {
				ledger = append(ledger, []any{"result", l[0], target, l[2]})
			} else {
				ledger = append(ledger, []any{"takeover", "", "", 0})
			}
		}
	}
	id := "gone-1"
	plan := fmt.Sprintf(`{"api_version":"v3.3","categories":%s,"host":"vision.test","projects":[{"id":%q,"images":[%q,%q],"iterations":[%q],"project":true,"tags":[%q]}],`+
		`"selection":{"all_projects":false,"image_ids":[],"image_metadata":[],"iteration_ids":[],"project_ids":[%q],"tag_ids":[]},"unpublish":true,"v":1}`+"\n",
		asJSON(slices.Sorted(slices.Values(bagfile.Categories()))), p1, img1, img2, it1, tag1, p1)
	line := func(id uuid.UUID, category, how string, at int) string {
		return asJSON(bagfile.Deleted{ID: id, Category: category, How: how, VerifiedAbsent: second(at), VerifiedBy: bagfile.Proofs(category)[0]}) + "\n"
	}
	lines := line(pred1, bagfile.Predictions, bagfile.DeletePrediction, 6) +
		line(img1, bagfile.Images, bagfile.DeleteImages, 9) + line(img2, bagfile.Images, bagfile.AlreadyGone, 9) +
		line(it1, bagfile.Iterations, bagfile.DeleteIteration, 12) + line(it1, bagfile.Performance, bagfile.DeleteIteration, 12) +
		line(tag1, bagfile.Tags, bagfile.DeleteProject, 15) + line(p1, bagfile.Projects, bagfile.DeleteProject, 15)
	check := func(category string, items, already, at int) bagfile.Check {
		return bagfile.Check{Project: p1.String(), Category: category, Items: items, AlreadyGone: already, How: "it was looked for", First: second(at), Last: second(at)}
	}
	verification := bagfile.Verification{V: 1, Executed: true, Checks: []bagfile.Check{
		check(bagfile.Predictions, 1, 0, 6), check(bagfile.Images, 2, 1, 9), check(bagfile.Iterations, 1, 0, 12), check(bagfile.Performance, 1, 0, 12),
		check(bagfile.Tags, 1, 0, 15), check(bagfile.Projects, 1, 0, 15),
	}}
	counts := bagfile.Counts{Projects: 1, Iterations: 1, Performance: 1, Tags: 1, Images: 1, Predictions: 1}
	reference, residual := "case 17", bagfile.Residual{Category: bagfile.Projects, Reason: "the service itself removes the data within 30 days of its deletion"}
	d := bagfile.Deletion{
		V: 1, ID: id, Reference: bagfile.Text(reference), Method: bagfile.Method, Endpoint: "vision.test", APIVersion: "v3.3", Scope: json.RawMessage(asJSON(scope)), Outcome: bagfile.OutcomeComplete,
		PlanSHA256: digest(plan), Projects: []bagfile.DeletionProject{{ID: p1, Project: true}}, Residuals: []bagfile.Residual{residual},
		ExportBundle: &bagfile.BundleRef{URI: "s3://b/p/gone-1/export/", ManifestSHA256: digest("m"), ReceiptSHA256: digest("r"), Objects: 9},
		StartedAt:    second(0), BegunAt: second(1), FinishedAt: second(20), Tool: "test",
	}
	m := memory{}
	what := "Deletion"
	if dry {
		counts = bagfile.Counts{Projects: 1, Iterations: 1, Performance: 1, Tags: 1, Images: 2, Predictions: 1}
		d.Outcome, d.DryRun, d.ExportBundle, what = bagfile.OutcomePlanned, true, nil, "Plan of a deletion"
		verification.Executed, verification.Checks = false, []bagfile.Check{}
	} else {
		m["data/projects/"+p1.String()+"/deleted.jsonl"] = lines
		counts.Bytes = int64(len(lines))
	}
	d.Counts, d.Projects[0].Counts = counts, counts
	m["data/deletion.json"] = asJSON(d) + "\n"
	m["evidence/request.json"] = asJSON(bagfile.Request[json.RawMessage]{V: 1, ID: id, Action: "delete", Account: "vision.test/default", Published: second(0), Data: d.Scope, Digest: "salt.0"}) + "\n"
	m["evidence/plan.json"] = plan
	m["evidence/verification.json"] = asJSON(verification) + "\n"
	m["evidence/ledger.jsonl"] = ledgerOf(t, ledger...)
	m["bagit.txt"] = sink.BagItText
	m["bag-info.txt"] = "Bagging-Date: 2026-11-24\nBag-Software-Agent: cvconsumer test\nExternal-Identifier: gone-1\nInternal-Sender-Identifier: case 17\n" +
		"External-Description: " + what + " of user data from Azure Custom Vision, vision.test\nPayload-Oxum: 0.0\n"
	r := sink.NewReceipt(sink.DeletePredicateType, sink.SealedBag{ManifestSHA256: digest(""), TagManifestSHA256: digest("")}, sink.Predicate{
		Command: sink.ReceiptCommand{ID: id, Action: "delete", Reference: reference, Resource: "default", Account: "vision.test/default", SHA256: digest("")},
		Scope:   d.Scope, Outcome: d.Outcome, Counts: counts.ByName(), Verification: json.RawMessage(asJSON(verification)),
		Residuals: []sink.ReceiptResidual{sink.ReceiptResidual(residual)}, Tool: sink.ReceiptTool{Name: "cvconsumer", Version: "test"}, StartedAt: d.StartedAt, FinishedAt: d.FinishedAt,
		Ledger: sink.ReceiptLedger{Head: digest("")}, Bundle: sink.ReceiptBundle{URI: "s3://b/p/gone-1/delete/"}, Method: bagfile.Method, Plan: &sink.ReceiptPlan{SHA256: d.PlanSHA256},
	})
	if d.ExportBundle != nil {
		r.Predicate.ExportBundle = json.RawMessage(asJSON(d.ExportBundle))
	}
	b, err := r.Encode()
	must(t, err)
	m["receipt.json"] = string(b)
	m["index.html"] = "<!doctype html><title>gone-1</title>" + d.PlanSHA256 + " " + digest("")
	return forge(t, m)
}

// forge recomputes everything that an attacker without a key can: the ledger's chain, the digests
// of plan, request and ledger, Payload-Oxum, the manifests, and in the receipt the subjects, the
// bag's extent and the bytes.
func forge(t *testing.T, m memory) memory {
	t.Helper()
	m = maps.Clone(m)
	old, err := sink.ParseReceipt([]byte(m["receipt.json"]))
	must(t, err)
	p := &old.Predicate
	chain, err := sink.NewChain(nil)
	must(t, err)
	var ledger strings.Builder
	for line := range strings.Lines(m["evidence/ledger.jsonl"]) {
		var l sink.LedgerLine
		must(t, json.Unmarshal([]byte(line), &l))
		b, err := chain.Append(l)
		must(t, err)
		ledger.Write(b)
	}
	if _, ok := m["evidence/ledger.jsonl"]; ok {
		m["evidence/ledger.jsonl"] = ledger.String()
	}
	m["index.html"] = strings.ReplaceAll(m["index.html"], p.Ledger.Head, chain.Head())
	p.Ledger = sink.ReceiptLedger{Entries: chain.Seq(), Head: chain.Head()}
	if plan, ok := m["evidence/plan.json"]; ok {
		m["index.html"] = strings.ReplaceAll(m["index.html"], p.Plan.SHA256, digest(plan))
		m["data/deletion.json"] = strings.ReplaceAll(m["data/deletion.json"], p.Plan.SHA256, digest(plan))
		p.Plan.SHA256 = digest(plan)
	}
	if m["index.html"] == "" {
		delete(m, "index.html")
	}
	p.Command.SHA256 = digest(m["evidence/request.json"])
	extent := func() (seal sink.SealedBag) {
		for name, content := range m {
			if seal.Objects++; strings.HasPrefix(name, "data/") {
				seal.PayloadObjects++
				seal.PayloadBytes += int64(len(content))
			}
		}
		return seal
	}
	if text, ok := m["data/export.json"]; ok {
		n := extent().PayloadBytes - int64(len(text))
		m["data/export.json"] = strings.Replace(text, fmt.Sprintf(`"bytes":%d`, p.Counts["bytes"]), fmt.Sprintf(`"bytes":%d`, n), 1)
		p.Counts["bytes"] = n
		p.Verification = json.RawMessage(strings.Replace(string(p.Verification), fmt.Sprintf(`"payload_objects_listed":%d`, p.Bundle.PayloadObjects), fmt.Sprintf(`"payload_objects_listed":%d`, extent().PayloadObjects), 1))
	}
	if text, ok := m["data/deletion.json"]; ok {
		n := extent().PayloadBytes - int64(len(text))
		m["data/deletion.json"] = strings.ReplaceAll(text, fmt.Sprintf(`"bytes":%d`, p.Counts["bytes"]), fmt.Sprintf(`"bytes":%d`, n))
		p.Counts["bytes"] = n
	}
	seal := extent()
	info, _, _ := strings.Cut(m["bag-info.txt"], "Payload-Oxum")
	m["bag-info.txt"] = info + fmt.Sprintf("Payload-Oxum: %d.%d\n", seal.PayloadBytes, seal.PayloadObjects)
	manifest := func(name string, keep func(string) bool) string {
		var lines []byte
		for _, file := range slices.Sorted(maps.Keys(m)) {
			if keep(file) {
				lines = sink.AppendManifestLine(lines, sink.ManifestLine{SHA256: digest(m[file]), Path: sink.Path(file)})
			}
		}
		m[name] = string(lines)
		return digest(m[name])
	}
	seal.ManifestSHA256 = manifest("manifest-sha256.txt", func(n string) bool { return strings.HasPrefix(n, "data/") })
	if _, ok := m["index.html"]; ok {
		m["index.html"] = strings.ReplaceAll(m["index.html"], old.Subject[0].Digest["sha256"], seal.ManifestSHA256)
	}
	seal.TagManifestSHA256 = manifest("tagmanifest-sha256.txt", func(n string) bool {
		return !strings.HasPrefix(n, "data/") && n != "tagmanifest-sha256.txt" && n != "receipt.json" && n != "receipt.sigstore.json"
	})
	seal.Objects = len(m)
	receipt, err := sink.NewReceipt(old.PredicateType, seal, *p).Encode()
	must(t, err)
	m["receipt.json"] = string(receipt)
	return m
}

// problems is what is wrong with a bag, a line each.
func problems(t *testing.T, src verify.Source) string {
	t.Helper()
	return findings(t, src, verify.Bag)
}

// findings is what one of the checks finds in a bag.
func findings(t *testing.T, src verify.Source, check func(context.Context, verify.Source, verify.Options) (verify.Report, error)) string {
	t.Helper()
	report, err := check(t.Context(), src, verify.Options{Readers: 2})
	must(t, err)
	var out strings.Builder
	for _, p := range report.Problems {
		fmt.Fprintf(&out, "%s: %s\n", p.Path, p.What)
	}
	if (report.Result == verify.OK) != (out.Len() == 0) {
		t.Errorf("the result is %s, and the problems are\n%s", report.Result, out.String())
	}
	return out.String()
}
