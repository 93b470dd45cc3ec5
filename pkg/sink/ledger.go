package sink

import (
	"io"
	"time"
)

// Kinds of ledger lines.
const (
	LedgerCall     = "call"
	LedgerIntent   = "intent"
	LedgerResult   = "result"
	LedgerTakeover = "takeover"
)

// LedgerLine is one line of the ledger of Training API calls.
type LedgerLine struct {
	Seq       int64     `json:"seq"`  // from 1; set by Append
	Time      time.Time `json:"time"` // UTC
	Kind      string    `json:"kind"`
	Operation string    `json:"operation"`
	Target    string    `json:"target"` // ids and path, no query
	Status    int       `json:"status"` // 0: no answer
	RequestID string    `json:"request_id"`
	Attempt   int       `json:"attempt"`
	Prev      string    `json:"prev"` // set by Append
}

// Chain appends ledger lines to each other.
type Chain struct{}

// NewChain continues after lastLine (with or without its newline); nil or empty begins a ledger.
func NewChain(lastLine []byte) (*Chain, error) { return nil, errSkeleton }

// Append makes the next line, with its newline.
func (c *Chain) Append(l LedgerLine) ([]byte, error) { return nil, errSkeleton }

// Head is the digest of the last line, hex; 64 zeros when there is none.
func (c *Chain) Head() string { return "" }

// Seq is the number of the last line, 0 when there is none.
func (c *Chain) Seq() int64 { return 0 }

// LedgerSummary is what a whole ledger amounts to.
type LedgerSummary struct {
	Lines, Calls, Intents, Results, Takeovers int64
	Head                                      string
	Open                                      int64 // intents without a result
}

// VerifyLedger reads a ledger and checks its chain.
func VerifyLedger(r io.Reader) (LedgerSummary, error) { return LedgerSummary{}, errSkeleton }
