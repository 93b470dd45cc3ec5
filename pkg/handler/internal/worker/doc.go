// Package worker does the units of exports, and of exports that go before a delete: one attempt of
// one unit at a time, any number side by side.
//
//   - worker.go, attempt.go: a delivery's way, and how attempts are counted and settled
//   - reading.go: what one attempt read, frozen for all later ones
//   - project.go: the few things of a project, category by category; few.go, images.go,
//     witness.go, predictions.go: what the other kinds of units read
//   - absence.go: whether a project, an iteration or a tag is gone
//   - refused.go: what becomes of something that the service refuses
//   - blobs.go, text.go: downloads and their memory, text in place of a blob
//   - models.go: exported models; upload.go: how a large one is streamed to the store
//
// A unit is acknowledged only when its result is stored. A worker ends no command: a unit that
// fails for good says so in its result.
package worker
