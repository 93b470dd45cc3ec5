// Package bagit checks bags that other tools made, by the rules of BagIt alone: RFC 8493 (1.0) and
// its drafts 0.93 to 0.97. Such a bag proves nothing about Custom Vision: it holds what its
// manifests list.
//
// The maker of a bag may be hostile, as in package verify, whose [verify.Source] it reads: a path
// of a manifest or of fetch.txt is only compared with what the source lists, never opened; nothing
// is fetched; and memory is about 60 bytes for each file of the payload and 17 for each of its
// manifests.
//
//   - bagit.go: the order of the checks; declaration.go: bagit.txt, and the encoding of tag files
//   - manifests.go: manifests, fetch.txt, and which files they mean; info.go: bag-info.txt
//   - content.go: files read, each once, with the digests of all manifests
package bagit
