// Package transfer copies finished bags: into one zip archive ([Bag.Pack]) or into a folder
// ([Bag.Fetch]).
//
// What is copied is checked on its way: the receipt names the digests of both manifests, and these
// those of all other files. So a copy that is made whole has what the receipt speaks of. What the
// files say is checked by package verify. A copy's receipt is its last file, as in the store.
package transfer
