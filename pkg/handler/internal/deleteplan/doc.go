// Package deleteplan is a delete's plan: canonical JSON whose digest requesters approve. It writes
// and reads one project at a time, so that a plan of any size fits in memory.
//
//   - deleteplan.go: the format
//   - planner.go: what the selection of a delete holds
//   - scope.go: whether a plan takes more than its command names
//
// It changes nothing, neither in the service nor in storage.
package deleteplan
