package bagfile_test

import (
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain, é and 😀":         "plain, é and 😀",
		"a\nb\x1b[2J\u009b":      `a\nb\x1b[2J\u009b`,
		"\u202e\u2066\u200e\xff": `\u202e\u2066\u200e\xff`,
		`\u202e`:                 `\u202e`,
	} {
		if got := bagfile.Printable(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
