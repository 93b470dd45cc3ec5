package verify_test

import "strings"

// Files of the golden export.
const (
	project   = "data/projects/a2e7570a-5d0e-4e96-ba6d-125f56a98544/"
	iter1     = project + "iterations/4b50bd34-e859-44d3-ac36-b68cb5dbfcf1/"
	iter2     = project + "iterations/989b1ae4-3d39-4cd3-ab45-08c01616c3b2/"
	image     = "be487c5a-c3f7-4b61-8804-9312fcd9bb6a"
	picture   = project + "images/" + image + ".jpg"
	foreign   = "cccccccc-5d0e-4e96-ba6d-125f56a98544"
	receipt   = "receipt.json"
	summary   = "data/export.json"
	request   = "evidence/request.json"
	inventory = "evidence/inventory.json"
	ledger    = "evidence/ledger.jsonl"
	both      = receipt + " " + summary
	all       = both + " " + request
)

func exportTamperings() []tampering {
	images := project + "images.jsonl"
	everyImages := func(having string, to func(string) string) func(*editor) {
		return func(e *editor) {
			e.lines(images, having, to)
			e.lines(iter2+"images.jsonl", having, to)
			e.lines(iter1+"images.jsonl", having, to)
		}
	}
	return []tampering{
		// The receipt and what it says twice.
		{name: "outcome of the receipt", change: say(receipt, `"outcome":"complete"`, `"outcome":"nothing_found"`), want: "export.json: the outcome is"},
		{name: "outcome everywhere", change: say(both, `"outcome":"complete"`, `"outcome":"nothing_found"`), want: "by what is there it is complete"},
		{name: "outcome with exceptions", change: say(both, `"outcome":"complete"`, `"outcome":"complete_with_exceptions"`), want: "by what is there it is complete"},
		{name: "outcome that writes lines", change: say(both, `"outcome":"complete"`, `"outcome":"complete\n\u001b[32m  signature   ok\u202e"`), want: `its outcome is "complete\n\x1b[32m  signature   ok\u202e", which is none`},
		{name: "outcome of a plan", change: say(both, `"outcome":"complete"`, `"outcome":"planned"`), want: "which is none of such a bag"},
		{name: "images in the receipt", change: say(receipt, `"images":4`, `"images":5`), want: "it counts 4 images, the receipt 5"},
		{name: "images everywhere", change: say(both, `"images":4`, `"images":5`), want: "it says 5 images, there are 4"},
		{name: "predictions everywhere", change: say(both, `"predictions":2`, `"predictions":1`), want: "it says 1 predictions, there are 2"},
		{name: "models everywhere", change: say(both, `"exports":1`, `"exports":2`), want: "it says 2 exports, there are 1"},
		{name: "tags everywhere", change: func(e *editor) {
			e.swap(both, `"tags":2`, `"tags":3`)
			e.swap(inventory, `"tags":{"listed":2,"exported":2`, `"tags":{"listed":3,"exported":3`)
		}, want: "it has 3 tags, there are 2"},
		{name: "iterations everywhere", change: func(e *editor) {
			e.swap(both, `"iterations":2`, `"iterations":3`)
			e.swap(inventory, `"iterations":{"listed":2,"exported":2`, `"iterations":{"listed":3,"exported":3`)
		}, want: "it has 3 iterations, there are 2"},
		{name: "performance everywhere", change: func(e *editor) {
			e.swap(both, `"performance":2`, `"performance":1`)
			e.swap(inventory, `"performance":{"listed":2,"exported":2`, `"performance":{"listed":1,"exported":1`)
		}, want: "it has 1 performance, there are 2"},
		{name: "projects everywhere", change: say(both, `"projects":1`, `"projects":2`), want: "it says 2 projects, there are 1"},
		{name: "a count of something else", change: say(receipt, `"tags":2}`, `"tags":2,"secrets":1}`), want: `it counts "secrets", which is no category`},
		{name: "a count less", change: say(receipt, `"exports":1,`, ``), want: "it has 7 counts"},
		{name: "exceptions of the receipt", change: say(receipt, `"exceptions":0`, `"exceptions":1`), want: "the inventory has 0"},
		{name: "exceptions everywhere", change: func(e *editor) {
			e.swap(both, `"exceptions":0`, `"exceptions":1`)
			e.swap(both, `"outcome":"complete"`, `"outcome":"complete_with_exceptions"`)
		}, want: "it says 1 exceptions and the receipt 1, the inventory has 0"},
		{name: "id of the receipt", change: say(receipt, `"id":"two-tags"`, `"id":"three-tags"`), want: "request.json: the id is"},
		{name: "id everywhere", change: say(all, `"id":"two-tags"`, `"id":"three-tags"`), want: "is not that of a bag at"},
		{name: "id that is none", change: say(all, `"id":"two-tags"`, `"id":"two tags\u009b"`), want: `its command's id "two tags\u009b" is not one`},
		{name: "action of the receipt", change: say(receipt, `"action":"export"`, `"action":"cancel"`), want: `its action is "cancel", which has no such bag`},
		{name: "account of the receipt", change: say(receipt, "vision.test/default", "elsewhere.test/default"), want: "request.json: the account is"},
		{name: "reference of the receipt", change: say(receipt, "case 2026-17", "case 2026-18"), want: "export.json: the reference is"},
		{name: "scope of the receipt", change: say(receipt, `"predictions"],"`, `"tags"],"`), want: "request.json: it asks for something else"},
		{name: "scope without predictions", change: say(all, `"exports","predictions"]`, `"exports"]`), want: "predictions.jsonl: the command does not ask for predictions"},
		{name: "scope of a project", change: say(all, `"all_projects":true`, `"project_ids":["`+foreign+`"]`), want: "it lacks project " + foreign},
		{name: "scope of an iteration", change: say(all, `"all_projects":true`, `"project_ids":["a2e7570a-5d0e-4e96-ba6d-125f56a98544"],"iteration_ids":["`+foreign+`"]`), want: "which the command does not name"},
		{name: "scope of images", change: say(all, `"all_projects":true`, `"project_ids":["a2e7570a-5d0e-4e96-ba6d-125f56a98544"],"image_ids":["`+image+`"]`), want: "which the command does not name"},
		{name: "scope of a category twice", change: say(all, `"exports","predictions"]`, `"exports","predictions","tags"]`), want: `it names the category "tags", which is none, or twice`},
		{name: "retention", change: say(receipt, `"retention":null`, `"retention":{"mode":"COMPLIANCE","retain_until":"2030-01-01T00:00:00Z"}`), want: "its retention is not what the command asked for"},
		{name: "retention asked for", change: say(all, `"resource":"default"`, `"resource":"default","retain_until":"2030-01-01T00:00:00Z"`), want: "its retention is not what the command asked for"},
		{name: "start of the receipt", change: say(receipt, `"started_at":"2026-11-24T09:30:00Z"`, `"started_at":"2026-11-24T09:00:00Z"`), want: "export.json: the start is"},
		{name: "finished before it started", change: say(both, `"finished_at":"2026-11-24T09:30:00Z"`, `"finished_at":"2026-11-24T09:29:00Z"`), want: "it was finished at"},
		{name: "version of the tool", change: say(receipt, `"version":"test"`, `"version":"9"`), want: "export.json: the tool is"},
		{name: "another tool", change: say(receipt, `"name":"cvconsumer"`, `"name":"other"`), want: `its tool is "other"`},
		{name: "URI of another bag", change: say(receipt, "/two-tags/export/", "/two-tags/delete/"), want: "is not that of a bag at"},
		{name: "URI elsewhere", change: say(receipt, "s3://golden", "https://golden"), want: "is not that of a bag at"},
		{name: "method of a delete", change: say(receipt, `"outcome":"complete"`, `"method":"shredded","outcome":"complete"`), want: "it is of an export, and has a method"},
		{name: "residuals", change: say(receipt, `"residuals":[]`, `"residuals":[{"category":"tags","reason":"x"}]`), want: "it is of an export, and has a method"},
		{name: "plan", change: say(receipt, `"outcome":"complete"`, `"plan":{"sha256":"`+digest("x")+`"},"outcome":"complete"`), want: "it does not name a plan by its digest, or one that it cannot have"},
		{name: "unstable listings", change: say(receipt, `"unstable":0`, `"unstable":1`), want: "its verification is not that of"},
		{name: "receipt of a delete", change: say(receipt, "export/v1", "delete/v1"), want: "no bag of this kind has a file of this name"},
		{name: "request's digest", raw: true, change: func(e *editor) { e.swap(receipt, digest(e.m[request]), digest("x")) }, want: "request.json: its SHA-256 is"},
		{name: "receipt with a member twice", raw: true, change: say(receipt, `"exceptions":0,`, `"exceptions":1,"exceptions":0,`), want: `"exceptions" is there twice`},
		{name: "receipt with a member in capitals", raw: true, change: say(receipt, `"outcome":`, `"OUTCOME":`), want: `"OUTCOME" is in another letter case`},
		{name: "receipt by hand", raw: true, change: say(receipt, `"v":1`, `"v": 1`), want: "it is not in canonical form"},
		{name: "no receipt", raw: true, change: func(e *editor) { e.drop(receipt) }, want: "there is no receipt"},
		{name: "receipt of another manifest", raw: true, change: func(e *editor) { e.swap(receipt, digest(e.m["manifest-sha256.txt"]), digest("x")) }, want: "manifest-sha256.txt: its SHA-256 is"},
		// bag-info.txt
		{name: "date of bagging", change: say("bag-info.txt", "2026-11-24", "2026-11-25"), want: "Bagging-Date is"},
		{name: "reference in bag-info.txt", change: say("bag-info.txt", "case 2026-17", "case 2026-18"), want: "Internal-Sender-Identifier is"},
		{name: "agent in bag-info.txt", change: say("bag-info.txt", "cvconsumer test", "cvconsumer 9"), want: "Bag-Software-Agent is"},
		{name: "endpoint in export.json", change: say(summary, `"endpoint":"vision.test"`, `"endpoint":"other.test"`), want: "External-Description is"},
		{name: "field in bag-info.txt", change: func(e *editor) { e.put("bag-info.txt", "Signed-By: \x1b[2Jthe ministry\n"+e.m["bag-info.txt"]) }, want: `it has the field "Signed-By"`},
		{name: "field twice in bag-info.txt", change: func(e *editor) { e.put("bag-info.txt", "External-Identifier: two-tags\n"+e.m["bag-info.txt"]) }, want: "it has 2 External-Identifier fields"},
		// Statements.
		{name: "export.json of a later version", change: say(summary, `{"v":1`, `{"v":2`), want: "it has version 2"},
		{name: "export.json with a member twice", change: say(summary, `"tool":`, `"id":"two-tags","tool":`), want: `the member "id" is there twice`},
		{name: "export.json with a member in capitals", change: say(summary, `"outcome":`, `"Outcome":`), want: "is in another letter case"},
		{name: "export.json with a member in letters that pass for others", change: say(summary, `"tool":`, "\"count\u017f\":{},\"tool\":"), want: "is there twice"},
		{name: "export.json of nonsense", change: func(e *editor) { e.put(summary, "{") }, want: "export.json: it is not what it should be"},
		{name: "no export.json", change: func(e *editor) { e.drop(summary) }, want: "export.json: it is missing"},
		{name: "no request", change: func(e *editor) { e.drop(request) }, want: "request.json: it is missing"},
		{name: "no inventory", change: func(e *editor) { e.drop(inventory) }, want: "inventory.json: it is missing"},
		{name: "request without a digest", change: func(e *editor) { e.swap(request, `"digest":"SALT.`, `"digest":"","x":"`) }, want: "or has no digest"},
		// The inventory.
		{name: "inventory of another project", change: say(inventory, "a2e7570a-5d0e-4e96-ba6d-125f56a98544", foreign), want: "the inventory does not name this project"},
		{name: "inventory without its project", change: func(e *editor) { e.put(inventory, `{"v":1,"projects":[]}`) }, want: "the inventory does not name this project"},
		{name: "inventory with a project more", change: say(inventory, `"projects":[{`, `"projects":[{"id":"`+foreign+`","categories":{},"untrained":[],"unstable":[]},{`), want: "it has no images, which the command asks for"},
		{name: "inventory without a category", change: say(inventory, `"predictions":{"listed":2,"exported":2,"bytes":671,"failed":[]},`, ""), want: "it has no predictions, which the command asks for"},
		{name: "inventory with a category of its own", change: say(inventory, `"tags":{`, `"secrets":{`), want: `"secrets" is no category`},
		{name: "inventory with a failure", change: func(e *editor) {
			e.swap(inventory, `"distinct":4,"failed":[]`, `"distinct":4,"failed":[{"id":"`+foreign+`","code":"gone","message":"m"}]`)
			e.swap(both, `"exceptions":0`, `"exceptions":1`)
			e.swap(both, `"outcome":"complete"`, `"outcome":"complete_with_exceptions"`)
		}, want: "of images it says that " + foreign + " failed, and no record says so"},
		{name: "inventory of an untrained iteration", change: say(inventory, `"untrained":[]`, `"untrained":["4b50bd34-e859-44d3-ac36-b68cb5dbfcf1"]`), want: "the inventory says that the iteration is untrained"},
		{name: "inventory of a project that is gone", change: say(inventory, `"categories":`, `"gone":true,"categories":`), want: "it is gone, and has files"},
		{name: "inventory of an unstable listing", change: say(inventory, `"unstable":[]`, `"unstable":["tagged"]`), want: "the inventory has 1"},
		{name: "inventory's bytes of images", change: say(inventory, `"bytes":1599`, `"bytes":1600`), want: "it has 1600 bytes of images, the records 1599"},
		{name: "inventory's bytes of models", change: say(inventory, `"bytes":4383`, `"bytes":1`), want: "it has 1 bytes of models"},
		{name: "inventory's images", change: say(inventory, `"listed":10,"exported":4`, `"listed":10,"exported":3`), want: "it has 3 images, there are 4"},
		{name: "inventory's listed images", change: say(inventory, `"listed":10,"exported":4`, `"listed":11,"exported":4`), want: "it says that 11 images were listed, and 10 in its scopes"},
		{name: "inventory's distinct images", change: say(inventory, `"distinct":4`, `"distinct":5`), want: "it has 5 distinct images, there are records of 4"},
		{name: "inventory's listed models", change: say(inventory, `"listed":2,"exported":1,"bytes":4383`, `"listed":3,"exported":1,"bytes":4383`), want: "it says that 3 models were listed"},
		{name: "inventory without a model that is not done", change: say(inventory, `{"id":"4b50bd34-e859-44d3-ac36-b68cb5dbfcf1/CoreML","status":"Failed"}`, ``), want: "0 that were not done"},
		{name: "inventory with a member twice", change: say(inventory, `"untrained":[]`, `"untrained":[],"untrained":[]`), want: `the member "untrained" is there twice`},
		{name: "inventory of a later version", change: say(inventory, `{"v":1`, `{"v":2`), want: "it has version 2"},
		// Records and blobs.
		{name: "image without a trace", change: func(e *editor) {
			everyImages(image, away)(e)
			e.drop(picture)
			e.swap(both, `"images":4`, `"images":3`)
		}, want: "it has 4 images, there are 3"},
		{name: "record without its blob", change: func(e *editor) { e.drop(picture) }, want: "is not in the bag"},
		{name: "blob without its record", change: everyImages(image, away), want: image + ".jpg: no record speaks of it"},
		{name: "record twice", change: func(e *editor) { e.lines(images, image, twice) }, want: image + " is in it twice"},
		{name: "record without an id", change: everyImages(image, func(l string) string { return strings.Replace(l, `"id":"`+image+`",`, "", 1) }), want: "its image has no id"},
		{name: "record of another image", change: everyImages(image, func(l string) string { return strings.Replace(l, `"id":"`+image, `"id":"`+foreign, 1) }), want: "is not that of image " + foreign},
		{name: "record with neither file nor error", change: func(e *editor) {
			e.lines(images, image, func(l string) string { return `{"image":{"id":"` + image + `"},"file":null}` + "\n" })
		}, want: "it has neither a file nor an error"},
		{name: "record with an error beside its file", change: func(e *editor) {
			e.lines(images, image, func(l string) string {
				return strings.Replace(l, `"source"`, `"error":{"code":"x","message":"y"},"source"`, 1)
			})
		}, want: "is no text in place of a picture"},
		{name: "record with another size", change: func(e *editor) {
			e.lines(images, image, func(l string) string { return strings.Replace(l, `"bytes":403`, `"bytes":404`, 1) })
		}, want: "has 403 bytes, not 404"},
		{name: "record with another digest", change: func(e *editor) {
			e.lines(images, image, func(l string) string { return strings.Replace(l, `"sha256":"85`, `"sha256":"00`, 1) })
		}, want: "has a different SHA-256"},
		{name: "record with a digest that ends otherwise", change: func(e *editor) {
			e.lines(images, image, func(l string) string {
				end := strings.Index(l, `"sha256":"`) + len(`"sha256":"`) + 64
				other := "0"
				if l[end-1] == '0' {
					other = "1"
				}
				return l[:end-1] + other + l[end:]
			})
		}, want: "has a different SHA-256"},
		{name: "record of a file elsewhere", change: func(e *editor) {
			e.lines(images, image, func(l string) string { return strings.Replace(l, `"file":"images/`, `"file":"../images/`, 1) })
		}, want: "is not a well-formed name"},
		{name: "record with a source of its own", change: func(e *editor) {
			e.lines(images, image, func(l string) string { return strings.Replace(l, `"source":"original"`, `"source":"\u001b[31m"`, 1) })
		}, want: `its source is "\x1b[31m"`},
		{name: "record with a member of its own", change: func(e *editor) {
			e.lines(images, image, func(l string) string { return strings.Replace(l, `"source"`, `"File\u202e":1,"source"`, 1) })
		}, want: `it has the member "File\u202e"`},
		{name: "record of nonsense", change: func(e *editor) { e.put(images, e.m[images]+"x\n") }, want: "line 4: it is not valid JSON"},
		{name: "record that is cut", change: func(e *editor) { e.put(images, strings.TrimSuffix(e.m[images], "\n")) }, want: "the last line has no newline"},
		{name: "other content of a blob", change: func(e *editor) { e.put(picture, e.m[picture]+"x") }, want: "has a different SHA-256"},
		{name: "second blob of an image", change: func(e *editor) { e.put(strings.Replace(picture, ".jpg", ".png", 1), "x") }, want: image + ".png: no record speaks of it"},
		{name: "prediction of another project", change: func(e *editor) {
			e.lines(project+"predictions.jsonl", "89e75d3d", func(l string) string { return strings.Replace(l, `"project":"a2e7570a`, `"project":"cccccccc`, 1) })
		}, want: "is of project cccccccc"},
		{name: "prediction without a trace", change: func(e *editor) {
			e.lines(project+"predictions.jsonl", "89e75d3d", away)
			e.drop(project + "predictions/89e75d3d*")
			e.swap(both, `"predictions":2`, `"predictions":1`)
		}, want: "it has 2 predictions, there are 1"},
		{name: "performance of an image twice", change: func(e *editor) { e.lines(iter1+"image-performance.jsonl", "7213cd00", twice) }, want: "is in it twice"},
		// Documents.
		{name: "iteration more in iterations.json", change: say(project+"iterations.json", `[{`, `[{"id":"`+foreign+`"},{`), want: foreign + "/iteration.json: it is missing"},
		{name: "iteration that iterations.json does not name", change: func(e *editor) {
			e.put(project+"iterations.json", "["+strings.TrimSpace(e.m[iter1+"iteration.json"])+"]\n")
			e.swap(both, `"iterations":2`, `"iterations":1`)
			e.swap(inventory, `"iterations":{"listed":2,"exported":2`, `"iterations":{"listed":1,"exported":1`)
		}, want: "iterations.json does not name this iteration"},
		{name: "iteration.json that says something else", change: say(iter1+"iteration.json", `"name":"`, `"name":"x`), want: "it says something else of the iteration than iterations.json"},
		{name: "iteration.json of another iteration", change: func(e *editor) { e.put(iter1+"iteration.json", e.m[iter2+"iteration.json"]) }, want: "it is of iteration 989b1ae4"},
		{name: "iteration of another project", change: say(iter1+"iteration.json "+project+"iterations.json", `"projectId":"a2e7570a`, `"projectId":"cccccccc`), want: "it has something of project cccccccc"},
		{name: "no images.jsonl of an iteration", change: func(e *editor) { e.drop(iter2 + "images.jsonl") }, want: "images.jsonl: it is missing"},
		{name: "no tags.json of an iteration", change: func(e *editor) { e.drop(iter2 + "tags.json") }, want: "tags.json: it is missing"},
		{name: "no performance.json", change: func(e *editor) { e.drop(iter2 + "performance.json") }, want: "performance.json: it is missing"},
		{name: "no image-performance.jsonl", change: func(e *editor) { e.drop(iter2 + "image-performance.jsonl") }, want: "image-performance.jsonl: it is missing"},
		{name: "no exports.json", change: func(e *editor) { e.drop(iter2 + "exports.json") }, want: "exports.json: it is missing"},
		{name: "no project.json", change: func(e *editor) { e.drop(project + "project.json") }, want: "project.json: it is missing"},
		{name: "no tags.json", change: func(e *editor) { e.drop(project + "tags.json") }, want: "tags.json: it is missing"},
		{name: "no predictions.jsonl", change: func(e *editor) { e.drop(project + "predictions.jsonl") }, want: "predictions.jsonl: it is missing"},
		{name: "model that is not offered", change: func(e *editor) { e.put(iter1+"exports.json", "[]\n") }, want: "exports.json offers no such model"},
		{name: "model without its file", change: func(e *editor) { e.drop(iter1 + "exports/*") }, want: "there are 0 files, and 1 are missing"},
		{name: "project.json of another project", change: say(project+"project.json", `"id":"a2e7570a`, `"id":"cccccccc`), want: "it is of project cccccccc"},
		{name: "tag twice", change: func(e *editor) {
			list := strings.TrimSpace(e.m[project+"tags.json"])
			e.put(project+"tags.json", strings.TrimSuffix(list, "]")+","+strings.TrimPrefix(list, "["))
		}, want: "no id, or one that is there twice"},
		{name: "document of nonsense", change: func(e *editor) { e.put(project+"tags.json", "{") }, want: "tags.json: it is not valid JSON"},
		{name: "link of the service with its query", change: say(project+"project.json", `"thumbnailUri":"`, `"thumbnailUri":"?`), want: "has a link with its query"},
		{name: "signed link in a longer text", change: say(project+"project.json", `"name":"`, `"name":"see https:\/\/h?sv=1\u0026sig=2 `), want: "has a link with its query"},
		{name: "signed link in a record", change: func(e *editor) {
			e.lines(images, image, func(l string) string { return strings.Replace(l, `"site":"`, `"site":"https://h?sig=1&sv=2`, 1) })
		}, want: "has a link with its query"},
		{name: "signed link in the evidence", change: say(inventory, `"unstable":[]`, `"unstable":["https://h?sv=1&sig=2"]`), want: "inventory.json: there is a signed link"},
		// The ledger.
		{name: "destructive call as one that is none", change: say(ledger, `"operation":"GetProjects"`, `"operation":"DeleteImages"`), want: `"DeleteImages" is no call that changes nothing`},
		{name: "intent in an export", change: func(e *editor) {
			e.lines(ledger, `"GetProjects"`, func(l string) string {
				return strings.NewReplacer(`"call"`, `"intent"`, "GetProjects", "DeleteProject", ":200", ":0").Replace(l)
			})
		}, want: "a destructive call in the ledger of an export"},
		{name: "result without an intent", change: func(e *editor) {
			e.lines(ledger, `"GetProjects"`, func(l string) string { return strings.Replace(l, `"call"`, `"result"`, 1) })
		}, want: "it is the result of no intent"},
		{name: "takeovers that go back", change: func(e *editor) {
			to := func(time string) func(string) string {
				return func(l string) string {
					return strings.NewReplacer(`"call"`, `"takeover"`, "2026-11-24T09:30", time).Replace(l)
				}
			}
			e.lines(ledger, `"seq":3,`, to("2026-11-24T09:31"))
			e.lines(ledger, `"seq":4,`, to("2026-11-24T09:30"))
		}, want: "is before that of an earlier"},
		{name: "target with a query", change: say(ledger, `"target":"projects"`, `"target":"projects?x=1"`), want: "an odd target"},
		{name: "ledger of the receipt", raw: true, change: say(receipt, `"entries":`, `"entries":1`), want: "the receipt has 1"},
		{name: "ledger with a broken chain", raw: true, change: say(ledger, `"seq":2,`, `"seq":3,`), want: "the chain breaks"},
		// Files.
		{name: "first page of another bundle", change: func(e *editor) { e.put("index.html", "<h1>signed</h1>") }, want: "index.html: it does not show"},
		{name: "first page of another payload", change: func(e *editor) { e.swap("index.html", digest(e.m["manifest-sha256.txt"]), strings.Repeat("0", 64)) }, want: "index.html: it does not show"},
		{name: "page below no project", change: func(e *editor) { e.put("pages/images-1.html", "x") }, want: "pages/images-1.html: no bag of this kind"},
		{name: "page that is none", change: func(e *editor) { e.put(strings.Replace(project, "data/projects", "pages", 1)+"images-01.html", "x") }, want: "images-01.html: no bag of this kind"},
		{name: "page with a signed link", blob: true, change: func(e *editor) {
			e.swap(strings.Replace(project, "data/projects", "pages", 1)+"images-1.html", "<main>", "<main>https://x.example/a?sv=1&sig=2")
		}, want: "images-1.html: there is a signed link"},
		{name: "page that was changed", raw: true, blob: true, change: func(e *editor) {
			e.swap(strings.Replace(project, "data/projects", "pages", 1)+"images-1.html", "<main>", "<main>!")
		}, want: "images-1.html: its SHA-256 is"},
		{name: "page that was lost", raw: true, change: func(e *editor) { e.drop(strings.Replace(project, "data/projects", "pages", 1) + "index.html") }, want: "index.html: it is missing"},
		{name: "picture that is a program by its name", change: func(e *editor) {
			e.put(strings.Replace(picture, ".jpg", ".jpg.LNK", 1), e.m[picture])
			e.drop(picture)
			everyImages(image, func(l string) string { return strings.Replace(l, image+".jpg", image+".jpg.LNK", 1) })(e)
		}, want: "jpg.LNK: no bag of this kind"},
		{name: "second file of a model", change: func(e *editor) {
			for _, name := range e.match(iter1 + "exports/*") {
				e.put(name[:strings.LastIndex(name, ".")]+".exe", "MZ")
			}
			e.swap(inventory, `"bytes":4383`, `"bytes":4385`)
		}, want: "there are 2 files of this model"},
		{name: "status of a model that is not done", change: say(inventory, `CoreML","status":"Failed"`, `CoreML","status":"Exporting"`), want: "are not those of exports.json"},
		{name: "model that is not done, out of exports.json", change: say(iter1+"exports.json", `,{"platform":"CoreML","status":"Failed","newerVersionAvailable":false}`, ``), want: "are not those of exports.json"},
		{name: "inventory's scope with a member twice", change: say(inventory, `{"id":"workspace","listed":`, `{"id":"workspace","listed":70,"listed":`), want: `the member "listed" is there twice`},
		{name: "inventory with a member in letters that pass for others", change: say(inventory, `"untrained":`, "\"un\u017ftable\":[1],\"untrained\":"), want: "in another letter case"},
		{name: "inventory's scope twice", change: say(inventory, `{"id":"989b1ae4-3d39-4cd3-ab45-08c01616c3b2","listed":3}`, `{"id":"workspace","listed":3}`), want: "is there twice"},
		{name: "inventory's scope of less than nothing", change: say(inventory, `{"id":"workspace","listed":3},{"id":"4b50bd34-e859-44d3-ac36-b68cb5dbfcf1","listed":4}`, `{"id":"workspace","listed":13},{"id":"4b50bd34-e859-44d3-ac36-b68cb5dbfcf1","listed":-6}`), want: "listed less than nothing"},
		{name: "failure of an image that is there", change: func(e *editor) {
			e.swap(inventory, `"distinct":4,"failed":[]`, `"distinct":4,"failed":[{"id":"`+image+`","operation":"GetImagesByIds","code":"gone","message":"m"}]`)
			e.swap(both, `"exceptions":0`, `"exceptions":1`)
			e.swap(both, `"outcome":"complete"`, `"outcome":"complete_with_exceptions"`)
		}, want: "its record says that it did not"},
		{name: "project that is gone, with numbers", change: func(e *editor) {
			for name := range e.m {
				if strings.HasPrefix(name, project) {
					delete(e.m, name)
				}
			}
			e.swap(inventory, `"categories":`, `"gone":true,"categories":`)
		}, want: "it is gone, and has images"},
		{name: "fetch.txt", change: func(e *editor) { e.put("fetch.txt", "https://h/x - data/x\n") }, want: "fetch.txt: no bag of this kind"},
		{name: "another manifest", change: func(e *editor) { e.put("manifest-md5.txt", "x\n") }, want: "manifest-md5.txt: no bag of this kind"},
		{name: "name in another letter case", change: func(e *editor) { e.put("evidence/Request.json", e.m[request]) }, want: "in the case of letters only"},
		{name: "unknown evidence", change: func(e *editor) { e.put("evidence/note.json", "{}") }, want: "note.json: no bag of this kind"},
		{name: "unknown payload", change: func(e *editor) { e.put("data/notes.txt", "x") }, want: "notes.txt: no bag of this kind"},
		{name: "an image with an id twice", change: func(e *editor) {
			everyImages(image, func(l string) string { return strings.Replace(l, `"id":"`+image, `"id":"`+foreign+`","id":"`+image, 1) })(e)
		}, want: `the member "id" is there twice`},
		{name: "an image with an id in another letter case", change: func(e *editor) {
			everyImages(image, func(l string) string { return strings.Replace(l, `"id":"`+image, `"ID":"`+foreign+`","id":"`+image, 1) })(e)
		}, want: "is there twice"},
		{name: "a project with a name twice", change: func(e *editor) {
			e.swap(project+"project.json", `"name":`, `"Name":"other","name":`)
		}, want: "is there twice"},
		{name: "records with carriage returns", change: everyImages("", func(l string) string {
			return strings.TrimSuffix(l, "\n") + "\r" + l[len(strings.TrimSuffix(l, "\n")):]
		}), want: "it does not begin with { and end with }"},
		{name: "bag-info.txt with carriage returns", change: func(e *editor) {
			e.put("bag-info.txt", strings.ReplaceAll(e.m["bag-info.txt"], "\n", "\r\n"))
		}, want: "it has a carriage return"},
		{name: "deleted.jsonl in an export", change: func(e *editor) { e.put(project+"deleted.jsonl", "") }, want: "deleted.jsonl: no bag of this kind"},
		{name: "plan in an export", change: func(e *editor) {
			e.put("evidence/plan.json", "{}")
			e.swap(receipt, `"outcome":"complete"`, `"plan":{"sha256":"`+digest("x")+`"},"outcome":"complete"`)
		}, want: "plan.json: no bag of this kind"},
		{name: "folder of another project", change: func(e *editor) {
			e.put(strings.Replace(project, "a2e7570a", "cccccccc", 1)+"project.json", `{"id":"`+foreign+`"}`)
		}, want: "the inventory does not name this project"},
		{name: "file of no manifest", raw: true, change: func(e *editor) { e.put("data/x", "x") }, want: "data/x: it is not in the manifest"},
		{name: "tag file of no manifest", raw: true, change: func(e *editor) { e.put("x\u202e\u200f", "x") }, want: `x\u202e\u200f: it is not in the tag manifest`},
		{name: "other content", raw: true, blob: true, change: func(e *editor) { e.put(picture, e.m[picture]+"x") }, want: "its SHA-256 is"},
		{name: "evidence of a failure beside the receipt", change: func(e *editor) { e.put("evidence/failure.json", "{}") }, want: "evidence of a failed delete beside a receipt"},
		{name: "another version of BagIt", change: func(e *editor) { e.put("bagit.txt", "BagIt-Version: 0.97\n") }, want: "it does not declare BagIt 1.0"},
	}
}

func firstTamperings() []tampering {
	return []tampering{
		{name: "scope without export_first", change: say(all, `"export_first":true,`, ``), want: "it is of the export before a delete that asks for none"},
		{name: "scope of a plan", change: say(all, `"export_first":true,`, `"export_first":true,"dry_run":true,`), want: "it is of the export before a delete that asks for none"},
		{name: "no plan", change: say(receipt, `"plan":{"sha256":"`+digest("a plan")+`"},`, ``), want: "it does not name a plan by its digest"},
		{name: "plan without a digest", change: say(receipt, digest("a plan"), "approved"), want: "it does not name a plan by its digest"},
		{name: "action of the request", change: say(request, `"action":"delete"`, `"action":"export"`), want: "request.json: the action is"},
		{name: "destructive call before the delete", change: func(e *editor) {
			e.lines(ledger, `"GetProjects"`, func(l string) string {
				return strings.NewReplacer(`"call"`, `"intent"`, "GetProjects", "DeleteProject", ":200", ":0").Replace(l)
			})
		}, want: "a destructive call in the ledger of an export"},
	}
}
