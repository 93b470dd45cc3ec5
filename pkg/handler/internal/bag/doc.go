// Package bag is what the bags of exports and deletes have in common: where a command's objects
// are, its request, the copy of its ledger and bag-info (bag.go), and the receipt: how it is
// stored, and the end that it tells when it is loaded again (receipt.go). Package sink has the
// bag's format.
package bag
