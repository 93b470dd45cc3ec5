// Package turn knows which command waits for which: commands of one id, and commands that must not
// overlap on a project. Each replica remembers what the queued commands are about, so that a look
// costs a read or two however many wait. A command that waits holds nothing.
//
//   - turn.go: which kinds of commands exclude each other; the memory of the queue; commands
//     compared by what names them for certain
//   - overlap.go: commands of one account under several names, compared by what they found
package turn
