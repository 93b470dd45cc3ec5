package sink

import (
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Tags of the objects of a bag, for lifecycle rules of the bucket: what a rule expires by them is
// the operator's business.
const (
	TagCommand = "cvconsumer-command" // the command's id
	TagKind    = "cvconsumer-kind"    // TagPayload or TagEvidence

	TagPayload  = "payload"  // below data/ of an export
	TagEvidence = "evidence" // everything else, and all of a delete's bag
)

// tagged is a body with the tags of its bag, and the feature that it needs for them: none for an
// object of no bag, and where the store takes no tags.
func (s *Store) tagged(key Key, body Body) (Body, feature) {
	if s.sealer == nil || s.lacks(tags) {
		return body, 0
	}
	kind := tagKind(s.sealer.id, key)
	if kind == "" {
		return body, 0
	}
	body.tags = tagQuery(s.sealer.id, kind)
	return body, tags
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
