package sink

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
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
	if s.sealer == nil || s.noTags.Load() {
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

// Writes finds out what becomes of what the store is asked to do with every object, by writing one
// below probe and reading it back: whether it keeps the tags, and whether it encrypts as it was
// asked to. What it wrote is removed again by version. tags is why objects cannot be tagged, in
// words for the operator; empty when they can. The bucket need not be this store's only one.
//
// Errors: ErrNotKept when the store does not encrypt as asked; else those of every request.
// Operations: PutObject, HeadObject, GetObjectTagging, and those of Remove.
func (s *Store) Writes(ctx context.Context, probe Key) (tags string, err error) {
	key := probe + "-" + Key(rand.Text()) // other processes write their own
	defer func() {
		if removeErr := s.Remove(context.WithoutCancel(ctx), key); removeErr != nil && err == nil {
			err = removeErr
		}
	}()
	body := Bytes([]byte("cvconsumer asks what this store does with tags and encryption\n"), textPlain)
	body.tags = tagQuery("probe", TagEvidence)
	err = s.putObject(ctx, key, body, false)
	if err != nil && !errors.Is(err, ErrNotKept) && (notSupported(err) || hasStatus(err, http.StatusForbidden) || hasStatus(err, http.StatusBadRequest)) {
		tagged := err
		body.tags = nil
		if err = s.putObject(ctx, key, body, false); err == nil {
			tags = "the store refuses tags: " + tagged.Error()
		}
	}
	if err != nil {
		return "", err
	}
	if err := s.checkEncrypted(ctx, key); err != nil {
		return "", err
	}
	if tags == "" {
		tags, err = s.tagsKept(ctx, key)
	}
	return tags, err
}

// LeaveUntagged is for a store that does not keep tags (see Writes): from now on nothing is tagged.
func (s *Store) LeaveUntagged() { s.noTags.Store(true) }

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

// tagsKept is why it is not known that an object has the tags that it was written with; empty when
// it has them.
func (s *Store) tagsKept(ctx context.Context, key Key) (string, error) {
	out, err := s.api.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &s.o.Bucket, Key: aws.String(string(key))}, checksumsAsHeaders)
	if notSupported(err) {
		return "the store knows no tags", nil
	}
	if hasStatus(err, http.StatusForbidden) {
		return "", nil // they were accepted, and need not be read
	}
	if err != nil {
		return "", wrapError(ctx, "read the tags of object", key, err)
	}
	for _, tag := range out.TagSet {
		if aws.ToString(tag.Key) == TagKind && aws.ToString(tag.Value) == TagEvidence {
			return "", nil
		}
	}
	return "the store ignores tags", nil
}
