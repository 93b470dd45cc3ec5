// Package bag is what the bags of exports and deletes have in common.
//
//   - bag.go: where a command's objects are, its request, the copy of its ledger, and bag-info
//   - receipt.go: what is checked before a receipt is stored, when a stored one is believed, and the
//     end that it tells
//   - signing.go: the signature that is stored before a receipt, and the one that an earlier attempt
//     stored
//   - retention.go: the lock on a bag, and what its receipt says of it
//   - selection.go: what a command asked for, in words for pages
//   - owner.go: whose working objects are
//
// Package sink has the bag's format.
package bag
