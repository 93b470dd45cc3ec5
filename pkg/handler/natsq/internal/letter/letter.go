// Package letter writes dead letters as messages and reads them again. It knows no stream.
package letter

import (
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
)

// Headers of a dead letter.
const (
	headerErrorCode = "Cv-Error-Code"
	headerError     = "Cv-Error"
	headerAttempts  = "Cv-Attempts"
	headerTime      = "Cv-Time"
	headerTruncated = "Cv-Truncated"
	headerSeq       = "Cv-Seq"      // the message's sequence in the command stream
	headerStream    = "Cv-Stream"   // the identity of that stream
	headerGivenID   = "Cv-Given-Id" // the id in the message, where the dead letter has another one
	// headerOriginalPrefix is put before the name of an original header that JetStream would act
	// on, or that has the name of a header above.
	headerOriginalPrefix = "Cv-Original-"
)

// MaxErrorBytes bounds the Cv-Error header.
const MaxErrorBytes = 4 << 10

// Encode returns a dead letter as headers and body: those of the original message, and headers that
// say why it ended. Headers that JetStream would act on (Nats-Expected-Stream, Nats-TTL, …), or
// that have the name of one added here, get the prefix Cv-Original-. A body that leaves no room for
// the added headers under maxPayload (bytes; 0 for no limit) is left out, and Cv-Truncated has its
// length in bytes.
func Encode(d contract.DeadLetter, maxPayload int64) (nats.Header, []byte) {
	header, body := nats.Header{}, d.Message.Body
	for name, values := range d.Message.Header {
		name = headerName(name)
		for _, v := range values {
			header[name] = append(header[name], SingleLine(v))
		}
	}
	header.Set(headerErrorCode, SingleLine(d.Error.Code))
	text := SingleLine(d.Error.Message)
	if len(text) > MaxErrorBytes {
		text = strings.ToValidUTF8(text[:MaxErrorBytes], "") + "…"
	}
	header.Set(headerError, text)
	header.Set(headerAttempts, strconv.Itoa(d.Attempts))
	header.Set(headerTime, d.Time.UTC().Format(time.RFC3339Nano))
	header.Set(headerSeq, strconv.FormatUint(d.Message.Seq, 10))
	for name, value := range map[string]string{headerStream: d.Message.Stream, headerGivenID: d.GivenID} {
		if value != "" {
			header.Set(name, value)
		}
	}
	if maxPayload > 0 && int64(headerBytes(header)+len(body)) > maxPayload {
		header.Set(headerTruncated, strconv.Itoa(len(body)))
		body = nil
	}
	return header, body
}

// Stream is the identity of the stream that a dead letter's message was in; empty when the letter
// does not say.
func Stream(header nats.Header) string { return header.Get(headerStream) }

// Decode reads a dead letter that was stored at a time; ID, action and subject are not in it. The
// message is as it came; its body is nil when Encode had to leave it out.
func Decode(header nats.Header, body []byte, stored time.Time) contract.DeadLetter {
	d := contract.DeadLetter{
		GivenID: header.Get(headerGivenID),
		Error:   contract.Error{Code: header.Get(headerErrorCode), Message: header.Get(headerError)},
		Message: contract.Message{Header: map[string][]string{}, Body: body, Time: stored.UTC()},
		Time:    stored.UTC(),
	}
	d.Attempts, _ = strconv.Atoi(header.Get(headerAttempts)) // Encode wrote it; from any other writer it counts as 0
	d.Message.Seq, _ = strconv.ParseUint(header.Get(headerSeq), 10, 64)
	d.Message.Stream = header.Get(headerStream)
	if t, err := time.Parse(time.RFC3339Nano, header.Get(headerTime)); err == nil {
		d.Time = t
	}
	if header.Get(headerTruncated) != "" {
		d.Message.Body = nil
	}
	for name, values := range header {
		switch name {
		case headerErrorCode, headerError, headerAttempts, headerTime, headerTruncated, headerSeq, headerStream, headerGivenID, jsapi.HeaderWrite, jsapi.HeaderExpectedLast:
			continue
		}
		if original, ok := strings.CutPrefix(name, headerOriginalPrefix); ok {
			name = original
		}
		d.Message.Header[name] = values
	}
	return d
}

// headerName is the name under which a dead letter keeps an original header.
func headerName(name string) string {
	name = strings.Map(func(r rune) rune { // nats.go refuses to send some names that it received
		if r <= ' ' || r >= 0x7f || r == ':' {
			return '_'
		}
		return r
	}, name)
	if strings.EqualFold(name, nats.MsgIdHdr) {
		return name
	}
	if low := strings.ToLower(name); strings.HasPrefix(low, "nats-") || name == "" {
		return headerOriginalPrefix + name
	}
	for _, ours := range []string{jsapi.HeaderWrite, headerSeq, headerStream, headerGivenID} {
		if strings.EqualFold(name, ours) {
			return headerOriginalPrefix + name
		}
	}
	return name
}

// SingleLine makes text fit for a header's value.
func SingleLine(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD")))
}

// headerBytes estimates how long headers are on the wire, with room for those that CompareAndSet
// adds.
func headerBytes(h nats.Header) int {
	n := 256
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v) + 4
		}
	}
	return n
}
