// Package unit is what coordinators and workers share: the unit of work and its result.
//
//   - unit.go: units, summaries and records, as JSON, and the bounds of their numbers
//   - result.go: the names of working objects, results as JSON lines, to which unit they are bound,
//     and Freeze, by which the first writer of a working object decides for every later attempt
//   - model.go: the digest of a model that was streamed to the store
//   - blob.go: text that came in place of a picture or a model
package unit
