// Package deleteplan is the format of a delete's plan: canonical JSON whose digest requesters
// approve. It writes and reads one project at a time, so that a plan of any size fits in memory.
//
// What goes into a plan is decided in plan.go of package deletion.
package deleteplan
