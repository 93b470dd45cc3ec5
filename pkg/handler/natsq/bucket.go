package natsq

import (
	"context"

	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
)

// isDeleted reports whether a bucket's entry says that its key was deleted.
func isDeleted(s *jsapi.StoredMessage) bool { return s.Header.Get(jsapi.HeaderKVOperation) != "" }

// bucketKeys lists the keys of a bucket, sorted. Deleted keys may be among them.
func (q *Queue) bucketKeys(ctx context.Context, stream string) ([]string, error) {
	return q.api.SubjectSuffixes(ctx, stream, q.names.KeyPrefix(stream))
}

// removeMessages removes all messages of a subject, which may have wildcards: by one purge in
// streams whose messages no consumer acknowledges, one by one in all others. There a purge may move
// a consumer's ack floor past delivered messages of other subjects: when their worker dies, they
// are lost (nats-server 2.15.2).
func (q *Queue) removeMessages(ctx context.Context, stream, subject string) error {
	switch stream {
	case q.names.Ledgers, q.names.Jobs, q.names.Holds, q.names.Secrets:
		var answer struct{}
		return q.api.APIRequest(ctx, stream, "STREAM.PURGE."+stream, map[string]string{"filter": subject}, &answer)
	}
	for s, err := range q.api.MessagesBetween(ctx, stream, subject, 1, jsapi.MaxSequence) {
		if err != nil {
			return err
		}
		if err := q.api.RemoveMessage(ctx, stream, s.Seq); err != nil {
			return err
		}
	}
	return nil
}
