// Package natstest runs real NATS servers with JetStream inside this process, like
// net/http/httptest does for HTTP: one server, or a cluster of three. They are ready in
// milliseconds, listen on nothing unless told to, and keep their streams in a directory that a
// restart finds again. Tests use it, and `consumer dev`; nothing else may.
//
// It knows nothing of this product's streams: package natsq makes those.
package natstest
