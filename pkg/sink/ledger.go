package sink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Kinds of ledger lines.
const (
	LedgerCall     = "call"     // a call that destroys nothing, after it was made
	LedgerIntent   = "intent"   // a destructive call, before it is made
	LedgerResult   = "result"   // a destructive call, after it was made
	LedgerTakeover = "takeover" // another coordinator goes on from here
)

// maxLedgerLineBytes bounds a ledger line: a target names at most 256 ids.
const maxLedgerLineBytes = 1 << 20

// noDigest stands before the first line of a ledger.
var noDigest = strings.Repeat("0", 64)

// LedgerLine is one line of the ledger of Training API calls.
type LedgerLine struct {
	Seq       int64     `json:"seq"`  // from 1; set by Append
	Time      time.Time `json:"time"` // UTC: when an intent was written, or the answer came
	Kind      string    `json:"kind"`
	Operation string    `json:"operation"`
	Target    string    `json:"target"`     // ids and path, no query
	Status    int       `json:"status"`     // HTTP status; 0: no answer, or none yet
	RequestID string    `json:"request_id"` // the API's apim-request-id
	Attempt   int       `json:"attempt"`
	Prev      string    `json:"prev"` // SHA-256 of the line before, without its newline, in hex; 64 zeros at first; set by Append
}

// Chain appends lines to a ledger, each of which carries the digest of the one before: changing,
// removing or reordering lines changes the head. It is used by one goroutine at a time.
type Chain struct {
	seq  int64
	head string
}

// NewChain continues a ledger after its last line, with or without a newline; nil or empty begins
// one.
func NewChain(lastLine []byte) (*Chain, error) {
	lastLine = bytes.TrimSuffix(lastLine, []byte("\n"))
	if len(lastLine) == 0 {
		return &Chain{head: noDigest}, nil
	}
	l, err := parseLedgerLine(lastLine)
	if err != nil {
		return nil, fmt.Errorf("continue ledger: %w", err)
	}
	return &Chain{seq: l.Seq, head: HexSHA256(lastLine)}, nil
}

// Append makes the ledger's next line, with its newline, from l; Seq and Prev are set, Time is put
// in UTC. An error leaves the chain as it was.
func (c *Chain) Append(l LedgerLine) ([]byte, error) {
	l.Seq, l.Prev, l.Time = c.seq+1, c.head, l.Time.UTC()
	line, err := encodeLine(l)
	if err == nil {
		_, err = parseLedgerLine(line[:len(line)-1])
	}
	if err != nil {
		return nil, fmt.Errorf("append to ledger: %w", err)
	}
	c.seq, c.head = l.Seq, HexSHA256(line[:len(line)-1])
	return line, nil
}

// Head is the digest of the last line in hex; 64 zeros when there is none.
func (c *Chain) Head() string { return c.head }

// Seq is the number of the last line, 0 when there is none.
func (c *Chain) Seq() int64 { return c.seq }

// encodeLine is JSON on a line of its own, without HTML escapes.
func encodeLine(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// parseLedgerLine reads a line without its newline, strictly.
func parseLedgerLine(line []byte) (LedgerLine, error) {
	var l LedgerLine
	if len(line) > maxLedgerLineBytes {
		return l, fmt.Errorf("ledger line of %d bytes, at most %d are allowed", len(line), maxLedgerLineBytes)
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return l, fmt.Errorf("parse ledger line: %w", err)
	}
	if rest := line[dec.InputOffset():]; len(bytes.TrimLeft(rest, " \t\r\n")) > 0 {
		return l, errors.New("parse ledger line: something follows the object")
	}
	switch l.Kind {
	case LedgerCall, LedgerIntent, LedgerResult, LedgerTakeover:
	default:
		return l, fmt.Errorf("parse ledger line: unknown kind %q", l.Kind)
	}
	if l.Seq < 1 || !ValidDigest(l.Prev) {
		return l, errors.New("parse ledger line: no sequence or no digest of the line before")
	}
	return l, nil
}

// asWritten reports whether a line, without its newline, is what Append makes of what it says.
// Programs differ in how they read others, such as one with a member twice.
func asWritten(l LedgerLine, line []byte) bool {
	again, err := encodeLine(l)
	return err == nil && bytes.Equal(again[:len(again)-1], line)
}

// LedgerSummary is what a whole ledger amounts to.
type LedgerSummary struct {
	Lines     int64
	Calls     int64
	Intents   int64
	Results   int64
	Takeovers int64
	Open      int64  // intents without a result: a coordinator died between the two
	Head      string // digest of the last line; 64 zeros when there is none
}

// VerifyLedger reads a ledger line by line and checks its chain: numbers from 1 without a gap, each
// line as Append writes it, with the digest of the one before. It stops at the first line that is
// wrong, and gives what was counted until then. An error of r comes as a [ReadError].
func VerifyLedger(r io.Reader) (LedgerSummary, error) { return FollowLedger(r, func(LedgerLine) {}) }

// FollowLedger is VerifyLedger, and note hears of every line up to the first that is wrong.
func FollowLedger(r io.Reader, note func(LedgerLine)) (LedgerSummary, error) {
	sum := LedgerSummary{Head: noDigest}
	for line, err := range Lines(r, maxLedgerLineBytes) {
		n := sum.Lines + 1
		if err != nil {
			return sum, fmt.Errorf("line %d: %w", n, err)
		}
		l, err := parseLedgerLine(line)
		switch {
		case err != nil:
			return sum, fmt.Errorf("line %d: %w", n, err)
		case !asWritten(l, line):
			return sum, fmt.Errorf("line %d: another program wrote it: a member is there twice or in another letter case, or something is between them", n)
		case l.Seq != n:
			return sum, fmt.Errorf("line %d: it has number %d", n, l.Seq)
		case l.Prev != sum.Head:
			return sum, fmt.Errorf("line %d: it follows a line of digest %s, the line before has %s", n, l.Prev, sum.Head)
		}
		sum.Lines, sum.Head = n, HexSHA256(line)
		switch l.Kind {
		case LedgerCall:
			sum.Calls++
		case LedgerIntent:
			sum.Intents++
			sum.Open++
		case LedgerResult:
			sum.Results++
			sum.Open = max(sum.Open-1, 0)
		case LedgerTakeover:
			sum.Takeovers++
		}
		note(l)
	}
	return sum, nil
}
