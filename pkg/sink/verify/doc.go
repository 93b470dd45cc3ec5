// Package verify reads a stored bag and says what is wrong with it.
//
// It checks two things. The bag holds what its manifests list, byte for byte, and nothing else
// (manifests.go, reading.go). And what the bag says agrees: the receipt with the summary, the
// request, the inventory, the plan, the ledger and the verification (statements.go, export.go,
// deletion.go), and these with the records and files they speak of (documents.go, records.go,
// deleted.go). What a bag says and no other part of it supports takes a signature to believe;
// docs/auditors.md lists it.
//
// The holder of a bag checks it with [Bag]. The program that makes one checks it with [Statements]
// before it writes the receipt: the same code, but pictures and models, which it has just stored,
// are not opened.
//
// A bag is read through [Source], from a folder, an archive or S3, several files at once, each file
// once and as a stream. The maker of the bag may be hostile: whatever it holds, the verification
// ends, in bounded memory, and text of the bag goes into the report quoted (text.go). Memory is
// about 50 bytes for each payload file and 16 to 32 for each planned or deleted thing; a record, a
// document and a statement have limits of their own (limits.go).
//
// Which file reads what, and which compares:
//
//   - verify.go: the order of the checks, and the report; source.go, zip.go: folders, S3, archives;
//     places.go: where in them bags are; reading.go: files, each once; shapes.go: what each name
//     below a bag is; index.go: the payload's names
//   - manifests.go, receipt.go, signature.go, inventory.go, plan.go, ledger.go, documents.go,
//     records.go, deleted.go: each reads a kind of file, and judges its form
//   - statements.go: the receipt compared with request, summary and bag-info; export.go: inventory
//     and counts of an export compared with its documents and records; deletion.go: plan, ledger
//     and counts of a delete compared with its records
//   - json.go, members.go, keys.go, text.go, limits.go: JSON as a stream, names that an object has
//     twice, sets of ids, quoting, bounds
package verify
