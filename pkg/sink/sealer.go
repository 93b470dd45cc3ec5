package sink

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	// metaSeal is the user metadata that holds an object's seal: "<bytes>/<SHA-256>/<HMAC>".
	metaSeal = "cv-seal"
	// metaMessage is the user metadata that names the message of the command that sealed the
	// object.
	metaMessage = "cv-message"
	// sealedInMemory is the largest sealed object that Open holds in memory, in bytes; a larger one
	// goes through a temporary file.
	sealedInMemory = 1 << 20
	// sealedReads bounds how often content that its right seal contradicts is read: it may have
	// been damaged on its way.
	sealedReads = 2
)

// ErrUnsealed says that what is at the key has no right seal. It comes with ErrNotFound: such an
// object is none.
var ErrUnsealed = errors.New("it has no right seal: this command did not store it")

// Sealer makes and checks the seals of one command's objects. A seal is an HMAC-SHA-256 under a key
// that only the service has, over the object's key, the command's nonce, and the object's size and
// SHA-256, which the seal names (<size>/<SHA-256>/<HMAC>). The nonce is an HMAC under the same key
// over the command's id and message. So a writer to the bucket cannot make an object that the
// command takes for its own, nor use one of another command, of another deployment, or of an
// earlier command with the same id. To seal a bag is another thing ([Bag.Seal]).
type Sealer struct {
	secret  []byte
	id      string
	message string
	own     string // the nonce of the message
	bound   string // what else the seals are bound to; empty: nothing
}

// NewSealer makes the sealer of the command with an id that came with a message, under a key of the
// deployment. The message is named in the metadata of objects, in ASCII.
func NewSealer(secret []byte, id, message string) *Sealer {
	s := &Sealer{secret: secret, id: id, message: message}
	s.own = s.nonce(message)
	return s
}

// nonce is what a command's seals are made with.
func (s *Sealer) nonce(message string) string {
	if s.own != "" && message == s.message {
		return s.own
	}
	return string(sealMAC(s.secret, "nonce", s.id, message))
}

// seal is the seal of an object of this size, with this digest (hex).
func (s *Sealer) seal(message string, key Key, size int64, digest string) string {
	of := strconv.FormatInt(size, 10) + "/" + digest
	return of + "/" + hex.EncodeToString(sealMAC(s.secret, "seal", string(key), s.nonce(message), of, s.bound))
}

// sealMAC is an HMAC over parts, each with its length before it.
func sealMAC(secret []byte, parts ...string) []byte {
	var text []byte
	for _, part := range parts {
		text = binary.LittleEndian.AppendUint64(text, uint64(len(part)))
		text = append(text, part...)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(text)
	return mac.Sum(nil)
}

// Sealed is the store as one command has it: what is stored gets a seal, and what has no right seal
// is not there. Head, Describe, Open, ReadAll and Find take such an object for none (ErrUnsealed
// with ErrNotFound), and Put removes one by version and writes its own in its place. What Open
// gives was read and checked before. Requests are those of the plain store, since a seal is
// metadata.
func (s *Store) Sealed(by *Sealer) *Store {
	sealed := *s
	sealed.sealer, sealed.anyMessage, sealed.stored = by, false, nil
	if by != nil {
		sealed.stored = &stored{}
	}
	return &sealed
}

// maxStored bounds how many keys a sealed store remembers.
const maxStored = 64

// stored are the first keys that were written through a sealed store, or may have been: they can be
// removed without a listing that tells them.
type stored struct {
	mu   sync.Mutex
	keys []Key
}

func (w *stored) note(key Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.keys) < maxStored && !slices.Contains(w.keys, key) {
		w.keys = append(w.keys, key)
	}
}

// take forgets the keys below a prefix, but those to keep, and returns them.
func (w *stored) take(prefix Key, keep []Key) (ids []types.ObjectIdentifier) {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.Sort(w.keys) // they go in the order of a listing
	w.keys = slices.DeleteFunc(w.keys, func(key Key) bool {
		below := strings.HasPrefix(string(key), string(prefix)) && !slices.Contains(keep, key)
		if below {
			ids = append(ids, types.ObjectIdentifier{Key: aws.String(string(key))})
		}
		return below
	})
	return ids
}

// SameBucket reports whether two stores are views of one.
func (s *Store) SameBucket(other *Store) bool { return s.learned == other.learned }

// Unsealed is the plain store, for objects that are known by their digest.
func (s *Store) Unsealed() *Store { return s.Sealed(nil) }

// Bound is a sealed store whose seals are bound to a text, too: an object that was stored for
// another one is not there.
func (s *Store) Bound(to string) *Store {
	if s.sealer == nil {
		return s
	}
	by := *s.sealer
	by.bound = to
	return s.Sealed(&by)
}

// OfAnyMessage is a sealed store that takes the objects of every command of its id, whichever
// message that came with: those that have to count after its traces were forgotten.
func (s *Store) OfAnyMessage() *Store {
	view := *s
	view.anyMessage = true
	return &view
}

// Sparing is a sealed store whose Put leaves an object without a right seal where it is, and fails
// with ErrConflict and ErrUnsealed. It is for keys that may have an object whose seal is elsewhere.
func (s *Store) Sparing() *Store {
	view := *s
	view.sparing = true
	return &view
}

// SealText is a seal in hex for a text that is kept outside the store, such as a unit in its queue.
// It is made and bound as those of objects are; kind tells it from seals of other texts. A plain
// store makes none.
func (s *Store) SealText(kind, text string) string {
	if s.sealer == nil {
		return ""
	}
	return hex.EncodeToString(sealMAC(s.sealer.secret, "text", kind, s.sealer.nonce(s.sealer.message), text, s.sealer.bound))
}

// SealedText reports whether a text has the right seal.
func (s *Store) SealedText(kind, text, seal string) bool {
	return s.sealer == nil || hmac.Equal([]byte(seal), []byte(s.SealText(kind, text)))
}

// sealBody is a body with its seal, which is about to be stored.
func (s *Store) sealBody(key Key, body Body) Body {
	if s.sealer == nil {
		return body
	}
	s.stored.note(key)
	meta := maps.Clone(body.Meta)
	if meta == nil {
		meta = make(map[string]string, 2)
	}
	meta[metaSeal] = s.sealer.seal(s.sealer.message, key, body.Size, body.SHA256)
	meta[metaMessage] = s.sealer.message
	body.Meta = meta
	return body
}

// checkSeal fails with ErrUnsealed unless an object has the right seal of what it is known to be.
func (s *Store) checkSeal(op string, o Object) error {
	if s.sealer == nil {
		return nil
	}
	message := s.sealer.message
	if s.anyMessage {
		message = o.Meta[metaMessage]
	}
	if hmac.Equal([]byte(o.Meta[metaSeal]), []byte(s.sealer.seal(message, o.Key, o.Bytes, o.SHA256))) {
		return nil
	}
	return newError(op, o.Key, ErrNotFound, "%w", ErrUnsealed)
}

// checkClaim is checkSeal before an object's content is read: it takes from the seal what the store
// does not say. What it gives has size and digest as sealed, so no more than that is read.
func (s *Store) checkClaim(op string, o Object) (Object, error) {
	size, rest, _ := strings.Cut(o.Meta[metaSeal], "/")
	if n, err := strconv.ParseInt(size, 10, 64); err == nil && n >= 0 && o.Bytes < 0 {
		o.Bytes = n
	}
	if digest, _, _ := strings.Cut(rest, "/"); o.SHA256 == "" {
		o.SHA256 = digest
	}
	return o, s.checkSeal(op, o)
}

// sealedContent is the content of an object whose seal is right, of at most limit bytes. What is
// larger than sealedInMemory is in a temporary file until it is closed.
func (s *Store) sealedContent(ctx context.Context, key Key, limit int64) (io.ReadCloser, Object, error) {
	for try := 1; ; try++ {
		content, o, err := s.readSealed(ctx, key, limit)
		if !errors.Is(err, errContradicted) {
			return content, o, err
		}
		if try == sealedReads {
			return nil, Object{}, newError("read object", key, ErrNotFound, "%w", ErrUnsealed)
		}
	}
}

// errContradicted says that an object's metadata has the right seal of another content.
var errContradicted = errors.New("the content is not what was sealed")

// readSealed is sealedContent in one try. It fails with errContradicted where another try may help.
func (s *Store) readSealed(ctx context.Context, key Key, limit int64) (io.ReadCloser, Object, error) {
	const op = "read object"
	body, o, err := s.Unsealed().Open(ctx, key)
	if err != nil {
		return nil, Object{}, err
	}
	defer func() { _ = body.Close() }()
	claimed, err := s.checkClaim(op, o)
	if err != nil {
		return nil, Object{}, err
	}
	if claimed.Bytes > limit {
		return nil, Object{}, tooLarge(op, key, limit)
	}
	content, err := s.collect(ctx, io.LimitReader(body, claimed.Bytes+1), claimed) // one more byte shows that it is another content
	if err != nil {
		return nil, Object{}, err
	}
	if content.object.Bytes != claimed.Bytes || content.object.SHA256 != claimed.SHA256 {
		return nil, Object{}, errors.Join(errContradicted, content.Close())
	}
	return content, content.object, nil
}

// collect reads a body whole: one of more than sealedInMemory bytes, by what is claimed of it, into
// a temporary file. The content's object has the size and the digest of what was read.
func (s *Store) collect(ctx context.Context, body io.Reader, claimed Object) (content sealedReader, err error) {
	const op = "read object"
	content.object = claimed
	if claimed.Bytes <= sealedInMemory {
		var b bytes.Buffer
		b.Grow(int(claimed.Bytes) + bytes.MinRead)
		if _, err := b.ReadFrom(body); err != nil {
			return content, wrapError(ctx, op, claimed.Key, err)
		}
		content.object.Bytes, content.object.SHA256 = int64(b.Len()), HexSHA256(b.Bytes())
		content.Reader = bytes.NewReader(b.Bytes())
		return content, nil
	}
	content.spool = NewSpool(s.o.SpoolDir)
	if _, err := io.Copy(content.spool, body); err != nil {
		return content, errors.Join(wrapError(ctx, op, claimed.Key, err), content.Close())
	}
	content.object.Bytes, content.object.SHA256 = content.spool.Size(), content.spool.SHA256()
	content.Reader = content.spool.ReadSeeker()
	return content, nil
}

// sealedReader reads content that was checked.
type sealedReader struct {
	io.Reader
	object Object // with the size and the digest of the content
	spool  *Spool // holds the content; nil where memory does
}

// Close implements io.Closer.
func (r sealedReader) Close() error {
	if r.spool == nil {
		return nil
	}
	return r.spool.Close()
}
