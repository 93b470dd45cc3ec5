// Package bag is what the bags of exports and deletes have in common: where a command's objects
// are, its request, the copy of its ledger and bag-info (bag.go), and the receipt: what
// is checked before it is stored, when it is believed, and the end that it tells (receipt.go); and
// whose working objects are (owner.go). Package sink has the bag's format.
package bag
