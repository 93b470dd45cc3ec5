// Package cv is a client of the Azure Custom Vision Training API, v3.3: every operation that reads
// or deletes user data, and the downloads of what the API only links to (images, exported models,
// stored prediction images).
//
// # A call
//
// A [Client] speaks to one Custom Vision resource. Each method is one operation of the official
// Swagger, named as there. A call is paced ([Options.MaxRPS]), retried where that is safe and may
// help, and ends in a typed answer or in one [Error], matched by the sentinels [ErrGone],
// [ErrThrottled], [ErrMisconfigured], [ErrUnavailable] and their kin through [errors.Is].
//
// # Promises
//
//   - Every model keeps the JSON it was read from (Raw), byte for byte; the typed fields are a
//     lenient view of it: null, absent and unknown values are tolerated, and times without a zone
//     are UTC. Package links makes Raw fit to be stored.
//   - A missing value is never taken for "nothing there". An answer that is null, empty, of another
//     shape, or whose objects lack members they must have is unusable ([ErrUnavailable]), and the
//     call is retried. Every object must have its id; a project, iteration, tag or domain its name;
//     an iteration its status and, when that is Completed, the time of its training; an export its
//     platform and status; a performance its precision and recall; a page of predictions its
//     results and, unless there are none, the continuation in its token (which may be null).
//   - An answer takes bounded memory, whatever it is: what is larger is [ErrTooLarge], and retried
//     like every answer that is none.
//   - One HTTP exchange with the Training API is one pair of [Trace] calls, retries included: what
//     is counted is what was sent.
//   - The credential goes to the endpoint's host and nowhere else. Download links are followed only
//     to allowed hosts, never to private addresses that are not listed, and never by a redirect to
//     elsewhere. No key, token or signed query is in any error.
//   - One call takes well under 30 seconds of trying; when the service asks for a longer pause, the
//     call returns at once with [Error.RetryAfter] set and the caller decides.
//
// # Files
//
//   - projects.go, iterations.go, tags.go, images.go, predictions.go, exports.go, domains.go: the
//     operations and their types, one area each; blobs.go: downloads
//   - client.go, endpoint.go, credential.go, hosts.go: what a Client is made of, and where its
//     credential and its downloads may go
//   - call.go, retry.go, trace.go, pages.go, query.go: how a call is made, repeated (retry.go: how
//     often, and after which pauses), told and paged
//   - answer.go, json.go, imagejson.go, time.go: how a 2xx answer is read; shape.go, usable.go: what
//     of it is usable; bounds.go: how large it may be
//   - errors.go: the kinds of failures, by status and code; errorresponse.go, missing.go: what a
//     failed call says
//
// # What it does not do
//
// It creates, trains, publishes and exports nothing. It knows nothing of queues, jobs or storage,
// keeps no state on disk, and does not decide whether a 404 on a delete is a success: the caller
// does.
package cv
