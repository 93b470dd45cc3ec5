// Package cvtest is a simulator of the Azure Custom Vision Training API v3.3, in the manner of
// net/http/httptest: a whole account in memory, behind real HTTP, good enough to develop against,
// to test against and to ship in "consumer dev".
//
// It tells the API's story from its own reading of the service's contract and of recorded traffic;
// it shares no code with the client in package cv, so that each is an independent opinion on the
// other. An account holds projects of all kinds, iterations that keep their own snapshot of images
// and tags, stored predictions and exported models. Pictures are drawn by code, made anew for each
// download from a seed, so that an account of 100,000 images costs some tens of megabytes.
// Everything is a pure function of Options.Seed and the specifications given: two servers built
// alike answer alike.
//
//	srv := cvtest.New(cvtest.Options{Seed: 1, BasePath: "/base"}).Start()
//	defer srv.Close()
//	srv.Sample()
//	client, err := cv.New(srv.URL(), cv.TrainingKey(srv.Key()), cv.Options{})
//
// Truth comes from Snapshot, Blob and Model; what the server was asked comes from Calls; scripted
// trouble goes in through Fault and FaultRate, and a fault that was never met shows in Unhit. Time
// enters through Options.Now only: links expire, background deletions take effect and the rate
// limit refills by that clock, judged at each request. Only Latency, BlobLatency and Fault.Delay
// wait in real time.
//
// What the service is known to answer differently from its own specification (nulls where none are
// allowed) is given with Options.Recorded; without it every answer keeps to the official Swagger.
//
// It does not train, predict or upload: operations beyond reading and deleting are refused with
// 501, and counted.
package cvtest
