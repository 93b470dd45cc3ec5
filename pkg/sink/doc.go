// Package sink keeps bundles in S3-compatible storage: it writes them and proves them.
//
// A bundle is a BagIt 1.0 bag (RFC 8493) of objects below one key prefix. It is built in one order:
// payload objects below data/, tag files (evidence), then bagit.txt, bag-info.txt,
// manifest-sha256.txt and tagmanifest-sha256.txt, receipt.sigstore.json if the receipt is signed,
// and receipt.json as the last object. The receipt is the commit point: a bag that has it is
// complete and exact, every file listed and no file unlisted. A command has up to two bags, export/
// and delete/ ([BagKind]); what is below .work/ is not for others.
//
// Every object is written once. A [Store.Put] carries If-None-Match, so the first writer of a key
// wins, and a later one adopts what is stored: manifests list what the store holds, never what was
// meant to be sent. A rerun after a crash at any point therefore ends in the same bytes, given the
// same content. What other writers to the bucket put there is not adopted: for a store that is
// [Store.Sealed] it is not there.
//
// Object keys are made of ids and fixed names only ([Layout], [Path]), never of user text. Removing
// means removing every version: neither a delete marker nor an old version of payload stays behind
// in a versioned bucket.
//
// Package signature makes and checks signatures of receipts. Package bagfile has the types of a
// bundle's files, and package verify re-reads a stored bundle, from a folder, an archive or S3, and
// checks that it holds and says what it must.
//
// The package knows keys, checksums and conditions; it knows nothing of queues or of the Training
// API.
//
// Which file holds what:
//
//   - store.go, s3.go: Store and its client: settings and retries; endpoint.go: where requests go;
//     payload.go: digests that requests are signed with
//   - check.go: whether the bucket can be used, and why not; metadata.go: whether it keeps seals
//   - features.go, probe.go: what stores ignore or refuse, how that is learnt, and what is done
//     instead; tags.go, retention.go, probe_lock.go: tags and Object Lock
//   - put.go, multipart.go, get.go, list.go, remove.go: one kind of request each; direct.go,
//     plain.go: small writes, and looks, short lists and removals, without most of the SDK;
//     stream.go: objects whose size is known only at their end; link.go: signed links; errors.go:
//     what a store's refusal means; unanswered.go: requests whose caller has given up
//   - bundle.go, extents.go, manifest.go, baginfo.go, receipt.go, ledger.go: the bag and its proof;
//     exact.go: a bag without strays; bagread.go: the sealed bag, read again before its receipt is
//     made; signed.go: the receipt's signature; pages.go: pages for people; schema.go: the JSON
//     Schema of receipts
//   - sealer.go: the store as one command has it, which shows only what that command sealed
//   - key.go, extension.go, digest.go, canonical.go: names, types of content, digests, canonical
//     JSON; spool.go: content that is kept meanwhile, in a file if it is large
package sink
