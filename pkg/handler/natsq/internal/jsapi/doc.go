// Package jsapi asks JetStream's API, and repeats what may succeed later.
//
//   - api.go: requests, tries and backoff; errors.go: which errors are permanent
//   - store.go: messages read from the leader, stored by compare-and-set, removed
//   - info.go, account.go: what a stream's leader, or the account, reports; watch.go: the messages
//     of a subject as they come
//   - denied.go: what the server does not permit
//   - health.go: what operations are waiting for, and why
//
// It knows no stream of this product by name: package natsq does.
package jsapi
