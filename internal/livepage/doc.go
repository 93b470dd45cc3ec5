// Package livepage is the page at "/": what a deployment does now, for people. It is read only. It
// is updated by server-sent events, and without scripts by being loaded again.
//
// One reader serves all viewers: it begins with the first viewer and ends a while after the last
// (page.go). It gives a Snapshot, which is rendered once for all viewers, in parts; each viewer is
// sent the parts that changed (live.go). Board keeps the jobs, in bounded number
// (board.go). All text is escaped by html/template, and the page's policy allows no script and
// style but its own.
package livepage
