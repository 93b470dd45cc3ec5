// Package natstest runs real NATS servers with JetStream inside this process, as net/http/httptest
// does for HTTP: one server (server.go), or a cluster of three (cluster.go). Tests use it, and
// `consumer dev`; no other code may.
//
// What it promises: a server accepts connections when its constructor returns, has no port unless
// it is given an address, and finds its streams again after a restart, in the same directory.
// Servers and connections that a test makes end with the test.
//
// What it does not do: it does not create this product's streams, which package natsq does, and it
// injects no faults but stopped servers, leaders that step down and a full store.
package natstest
