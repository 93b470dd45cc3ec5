package sink

import (
	"context"
	"encoding/json"
	"io"
	"iter"
)

// File is one file of a source.
type File struct {
	Name  string // relative to the bag's root, with slashes
	Bytes int64
}

// Source is a stored bag to be read.
type Source interface {
	List(ctx context.Context) iter.Seq2[File, error]
	Open(ctx context.Context, name string) (io.ReadCloser, error) // ErrNotFound
}

// DirSource reads a bag from a folder.
func DirSource(dir string) Source { return nil }

// StoreSource reads a bag from S3.
func StoreSource(store *Store, root Key) Source { return nil }

// Result is a verification's outcome.
type Result string

// Results of Verify.
const (
	OK           Result = "ok"
	Failed       Result = "failed"
	Inconclusive Result = "inconclusive"
)

// Problem is something wrong with a bag.
type Problem struct {
	Path string `json:"path"`
	What string `json:"what"`
}

// VerifyOptions are the settings of Verify.
type VerifyOptions struct {
	MaxProblems int // how many are listed, 0: 100
	Readers     int // files read at once, 0: 8
}

// Report is what Verify found.
type Report struct {
	Result        Result
	Problems      []Problem
	Omitted       int   // problems found beyond those listed
	Files         int   // files whose content was read
	Bytes         int64 // their size
	Receipt       *Receipt
	ReceiptSHA256 string
	Signed        bool // receipt.sigstore.json is there; its signature is not checked here
	Ledger        LedgerSummary
	Failure       json.RawMessage // evidence/failure.json of a failed delete
}

// Verify reads a bag whole and checks it.
func Verify(ctx context.Context, src Source, o VerifyOptions) (Report, error) {
	return Report{}, errSkeleton
}
