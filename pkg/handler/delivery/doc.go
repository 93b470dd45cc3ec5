// Package delivery is a message on its way to a handler and back: a Delivery comes with a Lease,
// and a Disposition says what becomes of it.
//
// Classify is the one table from errors to classes, and Settle the one table from a class and a
// count of attempts to a disposition; both are pure. The queue adapter obeys.
package delivery
