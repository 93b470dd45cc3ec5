package natsq

import "context"

// headerKVOperation marks the entry of a deleted key, as nats.go and the nats command line write
// it.
const headerKVOperation = "KV-Operation"

// isDeleted reports whether a bucket's entry says that its key was deleted.
func isDeleted(s *storedMessage) bool { return s.Header.Get(headerKVOperation) != "" }

// bucketKeys lists the keys of a bucket, sorted. Deleted keys may be among them.
func (q *Queue) bucketKeys(ctx context.Context, stream string) ([]string, error) {
	return q.subjectSuffixes(ctx, stream, q.keyPrefix(stream))
}
