// Package names has the names of streams, buckets and subjects, all of which follow from one
// prefix, and checks the parts that come from outside before they get into a subject. It talks to
// no server.
package names
