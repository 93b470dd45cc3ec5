// Package letter writes dead letters as messages and reads them again. It knows no stream.
package letter

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
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
	headerTruncated = "Cv-Truncated"         // the length of the original body in bytes, where the message is not whole
	headerLeftOut   = "Cv-Truncated-Headers" // how many bytes of headers were left out
	headerSeq       = "Cv-Seq"               // the message's sequence in the command stream
	headerStream    = "Cv-Stream"            // the identity of that stream
	headerGivenID   = "Cv-Given-Id"          // the id in the message, where the dead letter has another one
	// headerOriginalPrefix is put before the name of an original header that JetStream would act
	// on, or that has the name of a header above. Nats-Msg-Id gets it only where another message
	// was stored with the same id just before.
	headerOriginalPrefix = jsapi.HeaderOriginalPrefix
)

// Bounds of a dead letter, in bytes.
const (
	// MaxErrorBytes bounds the Cv-Error header.
	MaxErrorBytes = 4 << 10
	// MaxBody is how much is kept of the body of what never was a command.
	MaxBody = 64 << 10
	// maxHeaders bounds the original headers of what never was a command, and maxCommandHeaders
	// those of a command: a stream takes 64 KiB of headers with each message, and those that are
	// added have to fit, too.
	maxHeaders        = 16 << 10
	maxCommandHeaders = 56 << 10
)

// Encode returns a dead letter as headers and body: those of the original message, and headers that
// say why it ended. Headers that JetStream would act on (Nats-Expected-Stream, Nats-TTL, …), or
// that have the name of one added here, get the prefix Cv-Original-.
//
// Of what never was a command the first MaxBody bytes of the body are kept, and maxHeaders of
// headers, or less where maxPayload (bytes; 0 for no limit) is smaller. A command is kept whole,
// but for headers beyond maxCommandHeaders, and for a body that leaves no room for the added
// headers under maxPayload. Where something is left out Cv-Truncated has the length of the
// original body in bytes.
func Encode(d contract.DeadLetter, maxPayload int64) (nats.Header, []byte) {
	body, room := d.Message.Body, maxCommandHeaders
	if d.NeverCommand() {
		body, room = body[:min(len(body), MaxBody)], maxHeaders
	}
	header, leftOut := originalHeaders(d.Message.Header, room)
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
	if left := maxPayload - int64(headerBytes(header)); maxPayload > 0 && int64(len(body)) > left {
		kept := int64(0)
		if d.NeverCommand() {
			kept = max(left, 0)
		}
		body = body[:kept]
	}
	if leftOut > 0 {
		header.Set(headerLeftOut, strconv.Itoa(leftOut))
	}
	if leftOut > 0 || len(body) < len(d.Message.Body) {
		header.Set(headerTruncated, strconv.Itoa(len(d.Message.Body)))
	}
	return header, body
}

// originalHeaders are the headers of a message as a dead letter keeps them, as many as there is
// room for, in bytes: first those that say what the message is. leftOut is how many bytes of
// headers are not among them.
func originalHeaders(original map[string][]string, room int) (header nats.Header, leftOut int) {
	header = nats.Header{}
	used := 0
	for _, name := range slices.SortedFunc(maps.Keys(original), func(a, b string) int {
		return cmp.Or(-cmp.Compare(rank(a), rank(b)), strings.Compare(a, b))
	}) {
		kept := headerName(name)
		for _, v := range original[name] {
			bytes := len(kept) + len(v) + len(": \r\n")
			if used+bytes > room {
				leftOut += bytes
				continue
			}
			used += bytes
			header[kept] = append(header[kept], SingleLine(v))
		}
	}
	return header, leftOut
}

// rank is higher for headers that commands are read from.
func rank(name string) int {
	low := strings.ToLower(name)
	if low == strings.ToLower(nats.MsgIdHdr) || low == "content-type" || low == "traceparent" || strings.HasPrefix(low, "ce-") || strings.HasPrefix(low, "cv-") {
		return 1
	}
	return 0
}

// Stream is the identity of the stream that a dead letter's message was in; empty when the letter
// does not say.
func Stream(header nats.Header) string { return header.Get(headerStream) }

// Decode reads a dead letter that was stored at a time; ID, action and subject are not in it. The
// message is as it came, but for what Encode had to leave out.
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
	d.Missing = missing(header, len(body))
	if len(body) == 0 && d.Missing != "" {
		d.Message.Body = nil
	}
	for name, values := range header {
		switch name {
		case headerErrorCode, headerError, headerAttempts, headerTime, headerTruncated, headerLeftOut, headerSeq, headerStream, headerGivenID, jsapi.HeaderWrite, jsapi.HeaderExpectedLast:
			continue
		}
		if original, ok := strings.CutPrefix(name, headerOriginalPrefix); ok {
			name = original
		}
		d.Message.Header[name] = values
	}
	return d
}

// missing says what of a message its dead letter lacks, which has a body of some length; empty when
// nothing.
func missing(header nats.Header, kept int) string {
	length, err := strconv.Atoi(header.Get(headerTruncated))
	if err != nil { // of a message that is whole there is none
		return ""
	}
	var parts []string
	switch {
	case kept == 0 && length > 0:
		parts = append(parts, fmt.Sprintf("its payload of %d bytes was not kept", length))
	case kept < length:
		parts = append(parts, fmt.Sprintf("of its payload of %d bytes the first %d are kept", length, kept))
	}
	if bytes := header.Get(headerLeftOut); bytes != "" {
		parts = append(parts, fmt.Sprintf("%s bytes of its headers were not kept", bytes))
	}
	return strings.Join(parts, ", and ")
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
	for _, ours := range []string{jsapi.HeaderWrite, headerTruncated, headerLeftOut, headerSeq, headerStream, headerGivenID} {
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
