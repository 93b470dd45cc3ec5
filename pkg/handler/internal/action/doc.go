// Package action is what coordinator and actions say to each other: an export or a delete returns a
// Result, an end or a wait, and does to its command only what an Attempt allows. It publishes and
// settles nothing.
package action
