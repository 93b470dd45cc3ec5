// Package delivery is a message on its way to a handler and back: a Delivery comes with a Lease,
// and a Disposition says what becomes of it (delivery.go).
//
// Classify is the one table from errors to classes (classify.go). Settle is the one table from a
// class and a count of attempts to a disposition, and HandBack the one for what fails outside an
// attempt (settle.go). None does I/O, and only
// the jitter of a delay is random; the queue adapter obeys. dependency.go names the dependency
// that a misconfiguration is about.
package delivery
