// Package known is what a process knows of the commands whose units it does, so that it need not
// ask for each of them.
//
//   - commands.go: the commands themselves, and what their objects are sealed for, for a few seconds
//   - looks.go: one look at a job for the results of several units
//   - results.go: results on their way to a coordinator in the same process
//   - tries.go: how many attempts the process made at units
package known
