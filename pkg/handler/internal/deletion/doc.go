// Package deletion is the coordinator's half of a delete.
//
//   - deleter.go: the way of a delete, and what it is made of
//   - plan.go: the plan, made until the service does not contradict itself (package deleteplan has
//     its format, and reads what the selection holds)
//   - begin.go: the checks before anything is deleted, export_first, and the point of no return
//     (remove.go looks for legal holds once more)
//   - begun.go: the stored beginning, found again by a later attempt
//   - remove.go: the steps of one project, in their order; images.go, predictions.go, iterations.go
//     and project.go: each of them
//   - poll.go: looking until something is gone, and how often
//   - record.go: what a step saw to be gone (package deleterecord stores it, and says which stored
//     record is believed)
//   - destroy.go: the fence around each destructive call (package account says when a 404 proves
//     that something is gone)
//   - certify.go, certificate.go: the bag, and what fills in its certificate (package report has the
//     text, package deleterecord the counts)
//   - residuals.go: what remains after a delete, and why
//   - failure.go: the evidence of a delete that failed half-way
//
// Until a delete is begun it changes nothing. From then on exactly the plan is carried out, by
// whichever attempt, and every destructive call is in the ledger before it is made. It publishes no
// event and settles no message.
package deletion
