// Package cvtest is a simulator of the Azure Custom Vision Training API v3.3, in the manner of
// net/http/httptest: a whole account in memory, behind real HTTP, good enough to develop against,
// to test against and to ship in "consumer dev".
//
// It is written from the service's contract and from recorded traffic, and shares no code with the
// client in package cv, so that each is an independent check of the other. An account holds
// projects of all kinds, iterations that keep their own snapshot of images and tags, stored
// predictions and exported models. Pictures are drawn by code, made from a seed for each download,
// so that an account of 100,000 images costs some tens of megabytes. Everything is a pure function
// of Options.Seed and the specifications given: two servers built alike answer alike.
//
//	srv := cvtest.New(cvtest.Options{Seed: 1, BasePath: "/base"}).Start()
//	defer srv.Close()
//	srv.Sample()
//	client, err := cv.New(srv.URL(), cv.TrainingKey(srv.Key()), cv.Options{})
//
// Snapshot, Blob and Model give the account's true content; Calls gives the requests that the
// server received; Fault and FaultRate script failures, [Damage] spoils answers (damage.go), and
// Unhit lists faults that no request met. Time enters through Options.Now only: links expire,
// background deletions take effect and the rate limit refills by that clock, read at each request.
// Only Latency, BlobLatency and Fault.Delay wait in real time.
//
// What the service is known to answer differently from its own specification (nulls where none are
// allowed) is given with Options.Recorded; without it every answer keeps to the official Swagger.
//
// It does not train, predict or upload: operations beyond reading and deleting are refused with
// 501, and counted.
package cvtest
