package sink

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Tags of the objects of a bag, for lifecycle rules of the bucket: what a rule expires by them is
// the operator's business.
const (
	TagCommand = "cvconsumer-command" // the command's id
	TagKind    = "cvconsumer-kind"    // TagPayload or TagEvidence

	TagPayload  = "payload"  // below data/ of an export
	TagEvidence = "evidence" // everything else, and all of a delete's bag
)

// tagging is the tags that an object is written with, as a query; nil for objects of no bag, and
// where the store takes none.
func (s *Store) tagging(key Key) *string {
	if s.sealer == nil || s.lacks(tags) {
		return nil
	}
	kind := tagKind(s.sealer.id, key)
	if kind == "" {
		return nil
	}
	return tagQuery(s.sealer.id, kind)
}

func tagQuery(command, kind string) *string {
	return aws.String(url.Values{TagCommand: {command}, TagKind: {kind}}.Encode())
}

// tagKind is the kind of a command's object; empty for one of no bag.
func tagKind(command string, key Key) string {
	for _, kind := range []BagKind{ExportBag, DeleteBag} {
		root := command + "/" + string(kind) + "/"
		i := strings.LastIndex(string(key), root)
		if i < 0 {
			continue
		}
		switch path := Path(key[i+len(root):]); {
		case path.IsPayload() && kind == ExportBag:
			return TagPayload
		case path.IsPayload(), strings.HasPrefix(string(path), evidencePrefix), !strings.Contains(string(path), "/"):
			return TagEvidence
		}
	}
	return ""
}

// probeKept finds out what becomes of what the store is asked to do with every object, by writing
// one and reading it back: whether it keeps tags, and whether it encrypts as it was asked to. Other
// processes write their own.
func (s *Store) probeKept(ctx context.Context, probe Key) (err error) {
	key := probe + "-" + Key(rand.Text())
	defer func() {
		if removeErr := s.Remove(context.WithoutCancel(ctx), key); removeErr != nil && err == nil {
			err = removeErr
		}
	}()
	body := Bytes([]byte("cvconsumer asks what this store does with tags and encryption\n"), textPlain)
	body.tags = tagQuery("probe", TagEvidence)
	err = s.putObject(ctx, key, body, false)
	tagged := err == nil
	if refused(err) || hasStatus(err, http.StatusForbidden) {
		body.tags = nil
		err = s.putObject(ctx, key, body, false)
	}
	if err == nil {
		err = s.checkEncrypted(ctx, key)
	}
	if err == nil && tagged {
		tagged, err = s.tagsKept(ctx, key)
	}
	if err == nil && !tagged {
		s.learn(tags)
	}
	return err
}

// checkEncrypted reads back how an object is encrypted.
func (s *Store) checkEncrypted(ctx context.Context, key Key) error {
	const op = "look at object"
	if s.o.SSE == "" {
		return nil
	}
	out, err := s.api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.o.Bucket, Key: aws.String(string(key))}, checksumsAsHeaders)
	if err != nil {
		return wrapError(ctx, op, key, err)
	}
	return s.checkEncryption(op, key, out.ServerSideEncryption, out.SSEKMSKeyId)
}

// tagsKept reports whether an object has the tags that it was written with, as far as the service
// may read them.
func (s *Store) tagsKept(ctx context.Context, key Key) (bool, error) {
	out, err := s.api.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &s.o.Bucket, Key: aws.String(string(key))}, checksumsAsHeaders)
	err = wrapError(ctx, "read the tags of object", key, err)
	switch {
	case hasStatus(err, http.StatusForbidden):
		return true, nil
	case refused(err), hasStatus(err, 0, "NoSuchTagSet"):
		return false, nil
	case err != nil:
		return false, err
	}
	return slices.ContainsFunc(out.TagSet, func(tag types.Tag) bool { return aws.ToString(tag.Key) == TagKind }), nil
}
