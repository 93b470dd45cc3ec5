// Package livepage is the page at "/": what a deployment does now, for people. It is read only. It
// is updated by server-sent events, and without scripts by being loaded again.
//
//   - page.go: the reader, one for all viewers: it begins with the first viewer and ends a while
//     after the last
//   - snapshot.go: what the reader gives, rendered once for all viewers, in parts
//   - live.go: each viewer is sent the parts that changed
//   - board.go: the jobs, in bounded number
//
// All text is escaped by package webpage, and the page's policy allows no script and style but its
// own.
package livepage
