// Package listeners tells the coordinators in a process of the results that workers in the same
// process stored, without a message through NATS.
package listeners
