package verify_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestBusinessOfASignature: these changes are found by no check, since nothing else in the bag
// supports what they change. docs/auditors.md lists them. One that is found belongs to
// TestTampering.
func TestBusinessOfASignature(t *testing.T) {
	statements := receipt + " " + deletionJSON
	for _, kind := range []struct {
		bag   memory
		cases []tampering
	}{
		{load(t, "two-tags"), []tampering{
			{name: "a picture, its size and its digest in every record", change: func(e *editor) {
				old := e.m[picture]
				e.put(picture, old+"x")
				for _, name := range []string{project + "images.jsonl", iter1 + "images.jsonl", iter2 + "images.jsonl"} {
					e.m[name] = strings.ReplaceAll(e.m[name], digest(old), digest(old+"x"))
					e.m[name] = strings.ReplaceAll(e.m[name], `"bytes":403,"content_type":"image/jpeg","source":"original"`, `"bytes":404,"content_type":"image/jpeg","source":"original"`)
				}
				e.swap(inventory, `"bytes":1599`, `"bytes":1600`)
			}},
			{name: "an image, with every record and count of it", change: func(e *editor) {
				for _, name := range []string{project + "images.jsonl", iter1 + "images.jsonl", iter2 + "images.jsonl"} {
					e.lines(name, `"id":"`+image, away)
				}
				e.drop(picture)
				e.swap(both, `"images":4`, `"images":3`)
				e.swap(inventory, `"exported":4,"bytes":1599`, `"exported":3,"bytes":1196`)
				e.swap(inventory, `"distinct":4`, `"distinct":3`)
			}},
			{name: "what the service said of an image", change: func(e *editor) { e.swap(project+"images.jsonl", `"site":"north"`, `"site":"south"`) }},
			{name: "how many were listed and counted", change: func(e *editor) {
				e.swap(inventory, `"listed":10,"exported":4,"bytes":1599,"before":10,"after":10,"scopes":[{"id":"workspace","listed":3}`,
					`"listed":11,"exported":4,"bytes":1599,"before":11,"after":11,"scopes":[{"id":"workspace","listed":4}`)
			}},
			{name: "a call left out of the ledger", change: func(e *editor) { e.lines(ledger, `"seq":5,`, away) }},
			{name: "an answer in the ledger", change: func(e *editor) {
				e.lines(ledger, `"seq":5,`, func(l string) string { return strings.Replace(l, `"status":200`, `"status":503`, 1) })
			}},
			{name: "all times", change: say(both+" bag-info.txt", "2026-11-24", "2025-01-01")},
			{name: "when it was published", change: say(request, `"published":"2026`, `"published":"2025`)},
			{name: "the account", change: say(receipt+" "+request, "vision.test/default", "other.test/default")},
			{name: "the bucket", change: say(receipt, "s3://golden", "s3://silver")},
		}},
		{deletion(t, false), []tampering{
			{name: "an image, as already gone", change: func(e *editor) {
				e.lines(deletedLines, img1.String(), func(l string) string { return strings.Replace(l, "DeleteImages", "already_gone", 1) })
				e.swap(statements, `"images":1`, `"images":0`)
				e.swap(verified+" "+receipt, `"already_gone":1`, `"already_gone":2`)
			}},
			{name: "how absence was seen", change: say(verified+" "+receipt, "it was looked for", "it was seen by a notary")},
			{name: "that the export bundle is signed", change: func(e *editor) {
				e.swap(deletionJSON, `"signed":false,"objects"`, `"signed":true,"objects"`)
				e.swap(receipt, `"signed":false,"uri"`, `"signed":true,"uri"`)
			}},
			{name: "a residual", change: say(statements, "within 30 days", "at once")},
			{name: "the text of the certificate", change: say(certificate, "<title>", "<title>Certified: ")},
			{name: "a tag, with everything about it", change: func(e *editor) {
				e.swap(planJSON, `"tags":["`+tag1.String()+`"]`, `"tags":[]`)
				e.lines(deletedLines, tag1.String(), away)
				e.swap(statements, `"tags":1`, `"tags":0`)
				e.swap(verified, fmt.Sprintf(`{"project":%q,"category":"tags","items":1,"already_gone":0,"how":"it was looked for","first":%q,"last":%q},`, p1, at(15), at(15)), "")
				e.swap(receipt, fmt.Sprintf(`{"already_gone":0,"category":"tags","first":%q,"how":"it was looked for","items":1,"last":%q,"project":%q},`, at(15), at(15), p1), "")
			}},
		}},
		{deletion(t, true), []tampering{
			{name: "how many predictions a plan counted", change: say(statements, `"predictions":1`, `"predictions":7`)},
		}},
	} {
		for _, c := range kind.cases {
			if got := problems(t, tampered(t, kind.bag, c)); got != "" {
				t.Errorf("%s is found:\n%s", c.name, got)
			}
		}
	}
}
