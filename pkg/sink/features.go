package sink

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync/atomic"
)

// feature is something of S3 that some stores ignore or refuse, and that a Store can do without.
// Probe finds out what is lacking, or the first request that is refused does. It holds for all
// buckets of the service.
type feature uint32

const (
	conditions    feature = 1 << iota // If-None-Match with writes
	checksums                         // headers with the SHA-256 of what is sent, or that ask for it
	confirmations                     // the SHA-256 of what was stored, in the answer to a write
	lengths                           // the length of an object, in the answer to HeadObject
	batches                           // DeleteObjects
	uploads                           // ListMultipartUploads, by prefix
	tags                              // tags of objects
	locks                             // Object Lock retentions that are kept as they were accepted
)

// notes say for each feature that it is lacking and what is done instead, for the operator.
var notes = []struct {
	lacking feature
	text    string
}{
	{conditions, "the store does not know conditional writes (If-None-Match): each key is looked at before it is written, and each bundle is compared before its receipt; a command may fail when replicas write the same key at once"},
	{checksums, "the store refuses checksum headers: each object is read back after it was written"},
	{confirmations, "the store does not confirm checksums: each object is read back after it was written"},
	{lengths, "the store does not say how long an object is when it is asked for its head: where the length is needed the object is read"},
	{batches, "the store refuses to remove objects in batches (DeleteObjects): they are removed one by one"},
	{uploads, "the store does not list unfinished uploads by prefix (ListMultipartUploads): objects are sent in one piece, of at most 5 GiB, so that none is left unfinished"},
	{tags, "the store refuses or ignores tags of objects, or the service has no right to set them (s3:PutObjectTagging): objects have none, so lifecycle rules cannot tell payload from evidence"},
	{locks, "the bucket has Object Lock, but the store does not keep a retention that it accepts: commands that ask for one (retain_until, export_retain_until) are refused"},
}

// service is what was found out about the service that has a store's bucket.
type service struct {
	lacking atomic.Uint32 // features
}

// lacks reports whether the service is known to lack a feature.
func (s *Store) lacks(f feature) bool { return feature(s.service.lacking.Load())&f != 0 }

// learn records what the service lacks; see Notes.
func (s *Store) learn(lacking feature) { s.service.lacking.Or(uint32(lacking)) }

// Notes are sentences for the operator: each names something that the store is known to lack, and
// what is done instead. What is done instead is safe.
func (s *Store) Notes() []string {
	var out []string
	for _, n := range notes {
		if s.lacks(n.lacking) && !(n.lacking == confirmations && s.lacks(checksums)) {
			out = append(out, n.text)
		}
	}
	return out
}

// LookFirst treats the store from now on as one that does not honor If-None-Match, as Probe does
// when it finds that out: every write first looks for an object at the key, and a bag's Seal
// compares the digests of all stored objects. Where two writers look at the same time, the last
// one wins and the other does not notice; Seal then fails.
func (s *Store) LookFirst() { s.learn(conditions) }

// fewerFeatures are what a refused request is made without, one after the other.
var fewerFeatures = []feature{
	checksums, conditions, checksums | conditions,
	tags, tags | checksums, tags | conditions, tags | checksums | conditions,
}

// offer makes a request with the wanted features (checksums, conditions, tags), but for those that
// the service is known to lack. If the service refuses it, offer repeats it with fewer features,
// and learns from what is accepted. Before it leaves out the condition of a write, it looks at the
// key: an object that is there is ErrConflict.
func (s *Store) offer(ctx context.Context, key Key, wanted feature, request func(with feature) error) error {
	with := wanted &^ feature(s.service.lacking.Load())
	err := request(with)
	for _, without := range fewerFeatures {
		switch {
		case !refused(err):
			return err
		case with&without != without:
			continue
		}
		if without&conditions != 0 {
			_, lookErr := s.Unsealed().Head(ctx, key)
			if lookErr == nil {
				return newError("look before writing object", key, ErrConflict, "it is there")
			}
			if !errors.Is(lookErr, ErrNotFound) {
				return err
			}
		}
		if fewer := request(with &^ without); !refused(fewer) {
			if fewer == nil || errors.Is(fewer, ErrConflict) || errors.Is(fewer, ErrNotFound) {
				s.learn(without)
			}
			return fewer
		}
	}
	return err
}

// refused reports whether the store refused what a request asks for, whatever is stored: it will
// refuse the same request again, but perhaps not one that asks for less.
func refused(err error) bool {
	var e *Error
	if !errors.As(err, &e) || slices.Contains(ofContent, e.Code) {
		return false
	}
	if e.kind != nil && e.Code != codeOfHead { // a HEAD tells nothing
		return false
	}
	return e.Status == http.StatusBadRequest || notSupported(err)
}

// ofContent are the error codes of requests that are refused for their content, not for a feature.
var ofContent = []string{"EntityTooLarge", "EntityTooSmall", "MetadataTooLarge", "KeyTooLongError", "InvalidPart", "InvalidPartOrder"}
