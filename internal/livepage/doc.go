// Package livepage is the page at "/": what a deployment does now, for people. It is read only,
// works without scripts by being loaded again, and otherwise by server-sent events.
//
// However many look on, one reader reads: it begins with the first viewer and ends a while after
// the last (page.go). It shows a Snapshot, which is rendered once for all viewers, in parts; each
// viewer is sent the parts that changed (live.go). Board keeps the jobs, in bounded number
// (board.go). All text is escaped by html/template, and the page's policy allows no script and
// style but its own.
package livepage
