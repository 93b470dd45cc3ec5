// Package drift compares JetStream streams and consumers with what is required of them. It changes
// nothing.
package drift
