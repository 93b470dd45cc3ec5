// Package bagit checks bags that other tools made, by the rules of BagIt alone: RFC 8493 (1.0) and
// its drafts 0.93 to 0.97. Such a bag proves nothing about Custom Vision: it holds what its
// manifests list.
//
// The package reads a [verify.Source], and the maker of the bag may be hostile. A path of a
// manifest or of fetch.txt is only compared with what the source lists, never opened. Nothing is
// fetched. Memory is about 60 bytes for each file of the payload and 17 for each of its manifests.
//
// Which file does what:
//
//   - bagit.go: the order of the checks; declaration.go: bagit.txt, and the encoding of tag files
//   - manifests.go: manifests, fetch.txt, and which files they mean; info.go: bag-info.txt
//   - content.go: files read, each once, with the digests of all manifests
package bagit
