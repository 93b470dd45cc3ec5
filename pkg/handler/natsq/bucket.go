package natsq

import "context"

// headerKVOperation marks the entry of a deleted key, as nats.go and the nats command line leave
// it.
const headerKVOperation = "KV-Operation"

func isDeleted(s *storedMessage) bool { return s.Header.Get(headerKVOperation) != "" }

// keys lists the keys of a bucket, sorted; among them may be deleted ones.
func (q *Queue) bucketKeys(ctx context.Context, stream string) ([]string, error) {
	return q.subjectSuffixes(ctx, stream, q.keyPrefix(stream))
}
