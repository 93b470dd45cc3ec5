package sink_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

var ledgerTime = time.Date(2026, 3, 4, 5, 6, 7, 890_000_000, time.FixedZone("east", 3600))

// ledger makes a ledger of n lines.
func ledger(t *testing.T, n int) ([]byte, *sink.Chain) {
	t.Helper()
	chain, err := sink.NewChain(nil)
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	kinds := []string{sink.LedgerCall, sink.LedgerIntent, sink.LedgerResult, sink.LedgerTakeover}
	for i := range n {
		line, err := chain.Append(sink.LedgerLine{
			Time: ledgerTime.Add(time.Duration(i) * time.Second), Kind: kinds[i%len(kinds)], Operation: "GetTaggedImages",
			Target: "projects/p/images/tagged <&>", Status: 200, RequestID: fmt.Sprint("r", i), Attempt: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, line...)
	}
	return all, chain
}

func TestLedgerLines(t *testing.T) {
	all, chain := ledger(t, 5)
	lines := bytes.SplitAfter(all, []byte("\n"))
	want := `{"seq":1,"time":"2026-03-04T04:06:07.89Z","kind":"call","operation":"GetTaggedImages","target":"projects/p/images/tagged <&>","status":200,"request_id":"r0","attempt":1,"prev":"` + strings.Repeat("0", 64) + "\"}\n"
	if string(lines[0]) != want {
		t.Errorf("first line is\n%s want\n%s", lines[0], want)
	}
	sum := sha256.Sum256(bytes.TrimSuffix(lines[3], []byte("\n")))
	var last sink.LedgerLine
	if err := json.Unmarshal(lines[4], &last); err != nil || last.Seq != 5 || last.Prev != hex.EncodeToString(sum[:]) {
		t.Errorf("last line is %+v, %v", last, err)
	}
	// Another replica goes on from the last line it finds, with or without its newline.
	for _, end := range [][]byte{lines[4], bytes.TrimSuffix(lines[4], []byte("\n"))} {
		successor, err := sink.NewChain(end)
		if err != nil {
			t.Fatal(err)
		}
		if successor.Head() != chain.Head() || successor.Seq() != 5 {
			t.Errorf("successor is at %d %s, want 5 %s", successor.Seq(), successor.Head(), chain.Head())
		}
		line, err := successor.Append(sink.LedgerLine{Kind: sink.LedgerTakeover, Time: ledgerTime})
		if err != nil {
			t.Fatal(err)
		}
		summary, err := sink.VerifyLedger(bytes.NewReader(append(bytes.Clone(all), line...)))
		if err != nil || summary.Head != successor.Head() {
			t.Errorf("ledger with the successor's line: %+v, %v", summary, err)
		}
	}
	summary, err := sink.VerifyLedger(bytes.NewReader(all))
	if want := (sink.LedgerSummary{Lines: 5, Calls: 2, Intents: 1, Results: 1, Takeovers: 1, Head: chain.Head()}); err != nil || summary != want {
		t.Errorf("summary is %+v, %v", summary, err)
	}
	if summary, err := sink.VerifyLedger(strings.NewReader("")); err != nil || summary.Head != strings.Repeat("0", 64) {
		t.Errorf("empty ledger: %+v, %v", summary, err)
	}
	if _, err := chain.Append(sink.LedgerLine{Kind: "gossip"}); err == nil || chain.Seq() != 5 {
		t.Errorf("an unknown kind was appended: %v, the chain is at %d", err, chain.Seq())
	}
	if _, err := sink.NewChain([]byte("{}")); err == nil {
		t.Error("a ledger goes on after nonsense")
	}
	if s, err := sink.VerifyLedger(bytes.NewReader(bytes.Join(lines[:2], nil))); err != nil || s.Open != 1 {
		t.Errorf("an intent without a result: %+v, %v", s, err)
	}
	cause := errors.New("the disk is gone")
	var readErr *sink.ReadError
	if _, err := sink.VerifyLedger(iotest.ErrReader(cause)); !errors.As(err, &readErr) || !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

func TestLedgerTamper(t *testing.T) {
	all, chain := ledger(t, 8)
	lines := bytes.SplitAfter(all, []byte("\n"))[:8]
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, tampered := range map[string][]byte{
		"a line removed":     join(append(append([][]byte{}, lines[:3]...), lines[4:]...)...),
		"first line removed": join(lines[1:]...),
		"two lines swapped":  join(lines[0], lines[2], lines[1], lines[3]),
		"a line doubled":     join(lines[0], lines[0], lines[1]),
		"a field changed":    bytes.Replace(all, []byte(`"r4"`), []byte(`"r5"`), 1),
		"a status changed":   bytes.Replace(all, []byte(`"status":200`), []byte(`"status":404`), 1),
		"a field added":      bytes.Replace(all, []byte(`"attempt":1`), []byte(`"attempt":1,"x":1`), 1),
		"cut":                all[:len(all)-10],
		"last newline gone":  all[:len(all)-1],
		"a blank line":       join(lines[0], []byte("\n"), lines[1]),
		"no JSON":            join(lines[0], []byte("hello\n")),
		"two on a line":      join(lines[0][:len(lines[0])-1], lines[1]),
	} {
		if summary, err := sink.VerifyLedger(bytes.NewReader(tampered)); err == nil && summary.Head == chain.Head() {
			t.Errorf("%s: not seen", name)
		}
	}
	// Every single flipped byte is seen, by the chain or by the head.
	for i := range all {
		flipped := bytes.Clone(all)
		flipped[i] ^= 0x01
		if summary, err := sink.VerifyLedger(bytes.NewReader(flipped)); err == nil && summary.Head == chain.Head() {
			t.Fatalf("byte %d flipped: not seen", i)
		}
	}
	// A line that programs read differently is none, though its chain is right.
	for name, status := range map[string]string{"a member twice": `"status":404,"status":200`, "a member in capitals": `"STATUS":200`, "blanks": `"status": 200`} {
		line := bytes.Replace(lines[0], []byte(`"status":200`), []byte(status), 1)
		if _, err := sink.VerifyLedger(bytes.NewReader(line)); err == nil || bytes.Equal(line, lines[0]) {
			t.Errorf("%s: not seen", name)
		}
	}
	// Lines cut off the end are seen by the head alone.
	if summary, err := sink.VerifyLedger(bytes.NewReader(join(lines[:7]...))); err != nil || summary.Head == chain.Head() {
		t.Errorf("last line removed: %+v, %v", summary, err)
	}
}
