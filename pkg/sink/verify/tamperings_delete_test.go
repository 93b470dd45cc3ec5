package verify_test

import (
	"fmt"
	"strings"
	"time"
)

// Files of the synthetic deletes.
const (
	deletionJSON = "data/deletion.json"
	planJSON     = "evidence/plan.json"
	verified     = "evidence/verification.json"
	deletedLines = project + "deleted.jsonl"
	certificate  = "index.html"
)

// relate replaces in the ledger's lines of an operation.
func relate(operation, old, new string) func(*editor) {
	return func(e *editor) {
		e.lines(ledger, `"operation":"`+operation+`"`, func(l string) string {
			if !strings.Contains(l, old) {
				return l
			}
			return strings.ReplaceAll(l, old, new)
		})
	}
}

// at is a time as the files have it.
func at(n int) string { return second(n).Format(time.RFC3339) }

func deleteTamperings() []tampering {
	statements := receipt + " " + deletionJSON
	every := statements + " " + request
	return []tampering{
		// Summary and receipt.
		{name: "outcome everywhere", change: say(statements, `"outcome":"complete"`, `"outcome":"nothing_found"`), want: "by what is there it is complete"},
		{name: "outcome of the receipt", change: say(receipt, `"outcome":"complete"`, `"outcome":"nothing_found"`), want: "deletion.json: the outcome is"},
		{name: "outcome of an export", change: say(statements, `"outcome":"complete"`, `"outcome":"complete_with_exceptions"`), want: "which is none of such a bag"},
		{name: "images everywhere", change: say(statements, `"images":1`, `"images":2`), want: "the counts of project"},
		{name: "images of the receipt", change: say(receipt, `"images":1`, `"images":2`), want: "it counts 1 images, the receipt 2"},
		{name: "project of the summary", change: say(deletionJSON, `"projects":[{"id":"a2e7570a-5d0e-4e96-ba6d-125f56a98544"`, `"projects":[{"id":"`+foreign+`"`), want: "is not in the plan"},
		{name: "no project in the summary", change: func(e *editor) {
			i, j := strings.Index(e.m[deletionJSON], `"projects":[`), strings.Index(e.m[deletionJSON], `],"export_bundle"`)
			e.put(deletionJSON, e.m[deletionJSON][:i]+`"projects":[`+e.m[deletionJSON][j:])
		}, want: "it lacks project"},
		{name: "no residuals", change: func(e *editor) {
			e.swap(statements, `{"category":"projects","reason":"the service itself removes the data within 30 days of its deletion"}`, "")
		}, want: "has no residuals"},
		{name: "residual of the receipt", change: say(receipt, "within 30 days", "at once"), want: "residual 1 is not that of the receipt"},
		{name: "residual of no category", change: say(statements, `"category":"projects","reason"`, `"category":"\u001b[2J","reason"`), want: `it has a residual of "\x1b[2J"`},
		{name: "method", change: say(statements, "logical deletion through the service's API", "shredded"), want: `its method is "shredded"`},
		{name: "begun at no time", change: say(deletionJSON, `"begun_at":"`+at(1)+`"`, `"begun_at":"0001-01-01T00:00:00Z"`), want: "it does not say when it began"},
		{name: "begun before it was published", change: say(deletionJSON, `"begun_at":"`+at(1)+`"`, `"begun_at":"2020-01-01T00:00:00Z"`), want: "before the command was published"},
		{name: "export bundle with a time stamp and no signature", change: func(e *editor) {
			e.swap(deletionJSON, `"signed":false,"objects"`, `"signed":false,"timestamped":true,"objects"`)
			e.swap(receipt, `"signed":false,"uri"`, `"signed":false,"timestamped":true,"uri"`)
		}, want: "a time stamp without a signature"},
		{name: "retention of the export bundle", change: say(every, `"export_first":true`, `"export_first":true,"export_retain_until":"2030-01-01T00:00:00Z"`), want: "is kept for another time"},
		{name: "endpoint", change: say(deletionJSON, `"endpoint":"vision.test"`, `"endpoint":"other.test"`), want: "is not that of the plan"},
		{name: "exceptions", change: say(receipt, `"exceptions":0`, `"exceptions":1`), want: "or exceptions"},
		{name: "finished too early", change: say(statements, `"finished_at":"`+at(20)+`"`, `"finished_at":"`+at(13)+`"`), want: "which is not within the time of the delete"},
		{name: "started too late", change: say(statements, `"started_at":"`+at(0)+`"`, `"started_at":"`+at(7)+`"`), want: "which is not within the time of the delete"},
		{name: "receipt of an export", change: say(receipt, "delete/v1", "export/v1"), want: "no bag of this kind has a file of this name"},
		{name: "no summary", raw: true, change: func(e *editor) { e.drop(deletionJSON) }, want: "deletion.json: it is missing"},
		{name: "export.json in a delete", change: func(e *editor) { e.put(summary, "{}") }, want: "export.json: no bag of this kind"},
		// The bundle of export_first.
		{name: "export bundle elsewhere", change: say(statements, "s3://b/p/gone-1/export/", "s3://b/p/gone-2/export/"), want: "its export bundle is not one of this command"},
		{name: "export bundle of the receipt", change: say(receipt, digest("r"), digest("x")), want: "its export bundle is not that of the receipt"},
		{name: "export bundle without a receipt", change: say(statements, digest("r"), ""), want: "it has no digests"},
		{name: "no export bundle", change: func(e *editor) {
			i, j := strings.Index(e.m[deletionJSON], `"export_bundle":{`), strings.Index(e.m[deletionJSON], `,"residuals"`)
			e.put(deletionJSON, e.m[deletionJSON][:i]+`"export_bundle":null`+e.m[deletionJSON][j:])
		}, want: "it has an export bundle, or none"},
		{name: "scope without export_first", change: say(every, `"export_first":true,`, ""), want: "it has an export bundle, or none"},
		// The plan.
		{name: "plan of the receipt", raw: true, change: func(e *editor) { e.swap(receipt, digest(e.m[planJSON]), digest("x")) }, want: "plan.json: its SHA-256 is"},
		{name: "another plan was approved", change: say(every, `"export_first":true,`, `"approved_plan":"`+digest("x")+`","export_first":true,`), want: "was approved"},
		{name: "planned image less", change: say(planJSON, `"`+img1.String()+`",`, ""), want: "images " + img1.String() + " was not planned"},
		{name: "planned image more", change: say(planJSON, `"images":[`, `"images":["`+img3.String()+`",`), want: "it lacks images " + img3.String()},
		{name: "planned image twice", change: say(planJSON, `"images":[`, `"images":["`+img1.String()+`",`), want: "it plans something twice"},
		{name: "planned project more", change: say(planJSON, `],"selection"`, `,{"id":"`+p2.String()+`","images":[],"iterations":[],"project":true,"tags":[]}],"selection"`), want: "which the command does not name"},
		{name: "planned in part", change: say(planJSON+" "+deletionJSON, `"project":true`, `"project":false`), want: "is planned as a whole, or not"},
		{name: "plan's categories", change: say(planJSON, `"exports",`, ""), want: "its categories or unpublish"},
		{name: "plan's unpublish", change: say(planJSON, `"unpublish":true`, `"unpublish":false`), want: "its categories or unpublish"},
		{name: "plan's selection with a member twice", change: say(planJSON, `"selection":{`, `"selection":{"all_projects":true,`), want: `the member "all_projects" is there twice`},
		{name: "plan's selection", change: say(planJSON, `"project_ids":["a2e7570a`, `"project_ids":["cccccccc`), want: "its selection is not that of the command"},
		{name: "plan's metadata", change: say(planJSON, `"image_metadata":[]`, `"image_metadata":[{"a":"redacted"}]`), want: "its selection is not that of the command"},
		{name: "plan's host", change: say(planJSON, `"host":"vision.test"`, `"host":"other.test"`), want: "is not that of the plan"},
		{name: "plan of a later version", change: say(planJSON, `"v":1`, `"v":2`), want: "it has version 2"},
		{name: "plan with a member of its own", change: say(planJSON, `"v":1`, `"v":1,"x":1`), want: `the member "x" is none of a plan`},
		{name: "plan of nonsense", change: func(e *editor) { e.put(planJSON, "[]") }, want: "plan.json: it is not what it should be"},
		{name: "no plan", raw: true, change: func(e *editor) { e.drop(planJSON) }, want: "plan.json: it is missing"},
		{name: "scope of another project", change: say(every, `"project_ids":["a2e7570a`, `"project_ids":["cccccccc`), want: "its selection is not that of the command"},
		{name: "scope of some categories", change: say(every, `"categories":["projects",`, `"categories":[`), want: "its categories or unpublish"},
		{name: "scope of all projects too", change: say(every, `"categories":[`, `"all_projects":true,"categories":[`), want: "names neither all projects nor some, or both"},
		{name: "scope without unpublish", change: func(e *editor) {
			e.swap(every, `"unpublish":true`, `"unpublish":false`)
			e.swap(planJSON, `"unpublish":true`, `"unpublish":false`)
		}, want: "an iteration is unpublished, which the command does not allow"},
		{name: "scope of a dry run", change: say(every, `"export_first":true,`, `"dry_run":true,`), want: "a destructive call in the ledger of an export or a plan"},
		// deleted.jsonl
		{name: "deleted image less", change: func(e *editor) { e.lines(deletedLines, img2.String(), away) }, want: "it lacks images " + img2.String()},
		{name: "deleted image twice", change: func(e *editor) { e.lines(deletedLines, img1.String(), twice) }, want: "images " + img1.String() + " is there twice"},
		{name: "deleted image that was not planned", change: func(e *editor) {
			e.lines(deletedLines, img1.String(), func(l string) string { return l + strings.Replace(l, img1.String(), img3.String(), 1) })
		}, want: "images " + img3.String() + " was not planned"},
		{name: "deleted image without an id", change: say(deletedLines, img1.String(), "00000000-0000-0000-0000-000000000000"), want: "it has no id"},
		{name: "already gone", change: say(deletedLines, `"how":"DeleteImages"`, `"how":"already_gone"`), want: "the counts of project"},
		{name: "deleted by a call that was refused", change: func(e *editor) {
			e.lines(deletedLines, img2.String(), func(l string) string { return strings.Replace(l, "already_gone", "DeleteImages", 1) })
			e.swap(statements, `"images":1`, `"images":2`)
			e.swap(verified+" "+receipt, `"already_gone":1`, `"already_gone":0`)
		}, want: "images " + img2.String() + " was deleted by what it says, and the ledger has no call"},
		{name: "deleted in another way", change: say(deletedLines, `"how":"DeleteImages"`, `"how":"\u001b]0;x\u0007"`), want: `"\x1b]0;x\a" is no way in which images go`},
		{name: "deleted tag by its iteration", change: say(deletedLines, `"how":"DeleteProject"`, `"how":"DeleteIteration"`), want: "is no way in which tags go"},
		{name: "deleted thing of no category", change: say(deletedLines, `"category":"tags"`, `"category":"people"`), want: `"people" is no category`},
		{name: "deleted models", change: say(deletedLines, `"category":"tags"`, `"category":"exports"`), want: "is no way in which exports go"},
		{name: "deleted thing with a member of its own", change: say(deletedLines, `"category":"tags"`, `"category":"tags","x":1`), want: "it is not one"},
		{name: "absent before its call", change: func(e *editor) {
			e.lines(deletedLines, tag1.String(), func(l string) string { return strings.Replace(l, at(15), at(5), 1) })
		}, want: "was seen to be absent at " + at(5) + ", before it was deleted"},
		{name: "absent in the future", change: func(e *editor) {
			e.lines(deletedLines, img2.String(), func(l string) string { return strings.Replace(l, at(9), at(40), 1) })
		}, want: "which is not within the time of the delete"},
		{name: "deleted prediction without a call", change: func(e *editor) {
			e.lines(deletedLines, pred1.String(), func(l string) string { return l + strings.Replace(l, pred1.String(), other.String(), 1) })
		}, want: "prediction " + other.String() + " is in no call of the ledger"},
		{name: "deleted prediction less", change: func(e *editor) { e.lines(deletedLines, pred1.String(), away) }, want: "it lacks prediction " + pred1.String()},
		{name: "no deleted.jsonl", change: func(e *editor) { e.drop(deletedLines) }, want: "it lacks images " + img1.String()},
		{name: "deleted.jsonl of another project", change: func(e *editor) { e.put(strings.Replace(deletedLines, "a2e7570a", "cccccccc", 1), e.m[deletedLines]) }, want: "the plan does not have its project"},
		{name: "deleted.jsonl of nonsense", change: func(e *editor) { e.put(deletedLines, "x\n") }, want: "line 1: it is not one"},
		// The ledger.
		{name: "no call for images", change: func(e *editor) { e.lines(ledger, `"operation":"DeleteImages"`, away) }, want: "the ledger has no call that can have done so"},
		{name: "call for the project was refused", change: relate("DeleteProject", `"status":204`, `"status":403`), want: "projects " + p1.String() + " was deleted by what it says"},
		{name: "call for an iteration was throttled", change: relate("DeleteIteration", `"status":204`, `"status":429`), want: "iterations " + it1.String() + " was deleted by what it says"},
		{name: "call for an image that was not planned", change: relate("DeleteImages", img1.String()+","+img2.String(), img1.String()+","+img3.String()), want: "DeleteImages names " + img3.String() + ", which was not planned"},
		{name: "call for all images", change: relate("DeleteImages", " "+img1.String()+`"`, `"`), want: "all images of a project are deleted, where only those planned may be"},
		{name: "call for another project", change: relate("DeleteProject", p1.String(), p2.String()), want: "it is about no planned project"},
		{name: "call for another iteration", change: relate("DeleteIteration", it1.String(), other.String()), want: "DeleteIteration names " + other.String()},
		{name: "call that does not exist", change: relate("DeleteProject", "DeleteProject", "DeleteEverything"), want: `"DeleteEverything" destroys nothing, and has an intent`},
		{name: "prediction that the records lack", change: relate("DeletePrediction", pred1.String(), pred1.String()+","+other.String()), want: "it lacks prediction " + other.String()},
		{name: "intent with a status", change: func(e *editor) {
			e.lines(ledger, `"intent","operation":"DeleteProject"`, func(l string) string { return strings.Replace(l, `"status":0`, `"status":204`, 1) })
		}, want: "an intent has a status"},
		{name: "result before its intent", change: func(e *editor) {
			e.lines(ledger, `"result","operation":"DeleteProject"`, func(l string) string { return strings.Replace(l, at(12), at(2), 1) })
		}, want: "is before that of an earlier"},
		{name: "no ledger", raw: true, change: func(e *editor) { e.drop(ledger) }, want: "ledger.jsonl: it is missing"},
		// Verification and certificate.
		{name: "verification of a plan", change: say(verified+" "+receipt, `"executed":true`, `"executed":false`), want: "it says that the plan was executed, or not"},
		{name: "verification of the receipt", change: say(receipt, `"items":2`, `"items":3`), want: "it is not what the receipt says"},
		{name: "verification's items", change: say(verified+" "+receipt, `"items":2`, `"items":3`), want: "its counts or times are not those of deleted.jsonl"},
		{name: "verification's times", change: func(e *editor) {
			e.swap(verified+" "+receipt, `"first":"`+at(9)+`"`, `"first":"`+at(8)+`"`)
		}, want: "its counts or times are not those of deleted.jsonl"},
		{name: "verification's way", change: say(verified+" "+receipt, `"how":"it was looked for"`, `"how":""`), want: "it does not say how"},
		{name: "verification of something else", change: say(verified+" "+receipt, `"category":"tags"`, `"category":"exports"`), want: "and there is no deleted.jsonl that has these"},
		{name: "verification less", change: func(e *editor) {
			row := fmt.Sprintf(`{"project":%q,"category":"tags","items":1,"already_gone":0,"how":"it was looked for","first":%q,"last":%q},`, p1, at(15), at(15))
			e.swap(verified, row, "")
			e.swap(receipt, fmt.Sprintf(`{"already_gone":0,"category":"tags","first":%q,"how":"it was looked for","items":1,"last":%q,"project":%q},`, at(15), at(15), p1), "")
		}, want: "it lacks tags of project"},
		{name: "no verification", change: func(e *editor) { e.drop(verified) }, want: "verification.json: it is missing"},
		{name: "seen to be gone by a prayer", change: func(e *editor) {
			e.swap(deletedLines, `"verified_by":"GetTaggedImageCount, GetUntaggedImageCount"`, `"verified_by":"\u001b[2J"`)
		}, want: `"\x1b[2J" is no way in which images are seen to be gone`},
		{name: "no certificate", change: func(e *editor) { e.drop(certificate) }, want: "index.html: it is missing"},
		{name: "certificate of another delete", change: say(certificate, "gone-1", "gone-2"), want: `it does not show "gone-1"`},
		{name: "certificate of another plan", raw: true, change: func(e *editor) { e.swap(certificate, digest(e.m[planJSON]), digest("x")) }, want: "it does not show"},
	}
}

func planTamperings() []tampering {
	statements := receipt + " " + deletionJSON
	return []tampering{
		{name: "outcome", change: say(statements, `"outcome":"planned"`, `"outcome":"complete"`), want: "by what is there it is planned"},
		{name: "images everywhere", change: say(statements, `"images":2`, `"images":1`), want: "the counts of project"},
		{name: "performance everywhere", change: say(statements, `"performance":1`, `"performance":2`), want: "more performances than iterations"},
		{name: "predictions less than none", change: say(statements, `"predictions":1`, `"predictions":-1`), want: "something less than none"},
		{name: "no dry run in the summary", change: say(deletionJSON, `"dry_run":true,"outcome"`, `"dry_run":false,"outcome"`), want: "it is of a plan only, or not"},
		{name: "no dry run anywhere", change: say(statements+" "+request, `"dry_run":true`, `"dry_run":false`), want: "it says that the plan was executed, or not"},
		{name: "executed", change: say(verified+" "+receipt, `"executed":false`, `"executed":true`), want: "it says that the plan was executed, or not"},
		{name: "deleted.jsonl", change: func(e *editor) { e.put(deletedLines, "") }, want: "a plan deletes nothing"},
		{name: "destructive call", change: func(e *editor) {
			e.lines(ledger, "GetProject", func(l string) string {
				return l + strings.NewReplacer(`"call"`, `"intent"`, "GetProject", "DeleteProject", ":200", ":0").Replace(l)
			})
		}, want: "a destructive call in the ledger of an export or a plan"},
		{name: "plan more", change: say(planJSON, `"tags":[`, `"tags":["`+other.String()+`",`), want: "the counts of project"},
		{name: "residuals of the summary", change: say(deletionJSON, "within 30 days", "at once"), want: "residual 1 is not that of the receipt"},
		{name: "export bundle", change: say(deletionJSON, `"export_bundle":null`, `"export_bundle":{"uri":"s3://x/"}`), want: "it has an export bundle, or none"},
		{name: "bag-info.txt of a delete", change: say("bag-info.txt", "Plan of a deletion", "Deletion"), want: "External-Description is"},
	}
}
