// Package survey is the one reader of image listings and their counts, and of stored predictions.
//
//   - listing.go: what listings a project has, their counts and pages, and the scopes to look into
//   - selection.go: all images that a selection holds, read until counts and pages agree
//   - predictions.go: the one pager of stored predictions, which begins again with a query that
//     does not get on, and keeps nothing of what it gave
//   - present.go: which images of a list of ids are there
//
// It stores nothing, and knows no unit and no plan.
package survey
