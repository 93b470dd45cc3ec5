// Package listeners has word of results pass within a process.
package listeners
