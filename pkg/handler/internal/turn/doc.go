// Package turn knows which command waits for which: commands of one id, and commands that must not
// overlap on a project. Each replica remembers what the queued commands are about, so that a look
// costs a read or two however many wait. A command that waits holds nothing.
package turn
