// Package export is the coordinator's half of an export.
//
//   - exporter.go: the way of an export, and its plan: which projects are read
//   - rounds.go: which units are published, and when: those of a round follow from the plan and
//     from the results before them
//   - missing.go: the last round, images that are fetched by their ids
//   - round.go, results.go: units go out, and their results come in; kept.go: results that were
//     read; numbers.go: sets of units
//   - cut.go: the frozen list of results that the bag is made of
//   - commit.go, project.go, lines.go, tally.go: the bag: generated files, inventory, manifests,
//     receipt;
//     pages.go: its pages for people; pictures.go: which unit has the best of each image
//
// Everything after the plan is a function of it and of what the units found, so that every attempt
// cuts the same units and writes the same bytes. It reads no image, tag or blob: package worker
// does. It publishes no event and settles no message.
package export
