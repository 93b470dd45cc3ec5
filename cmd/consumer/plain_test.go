package main

import (
	"io"
	"os"
	"strings"
	"testing"
)

// What others wrote reaches no terminal as it came, whichever command prints it.
func TestOutputIsPlain(t *testing.T) {
	for text, want := range map[string]string{
		"a\nb\n":             "a\nb\n",
		"ä → 漢\n":            "ä → 漢\n",
		"\x1b[2Jx\r\x07\x7f": `\x1b[2Jx\r\a\x7f`,
		"\u009b1m\u202e\xff": `\u009b1m\u202e\xff`,
	} {
		var out strings.Builder
		n, err := io.WriteString(plain{&out}, text)
		if n != len(text) || err != nil || out.String() != want {
			t.Errorf("%q: printed %q (%d, %v), want %q", text, out.String(), n, err, want)
		}
	}
	var errs strings.Builder
	if report(&errs, settingsError("a\x1b[2J\nb\u202e")); errs.String() != "consumer: a\\x1b[2J\nb\\u202e\n" {
		t.Errorf("an error is printed as %q", errs.String())
	}
}

// The exact bytes go to a file or a pipe, never to a terminal.
func TestRawIsNotForTerminals(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	var errs strings.Builder
	code := run(t.Context(), []string{"dead", "show", "some", "--raw"}, []string{"NATS_URL=nats://127.0.0.1:1"}, strings.NewReader(""), terminal, &errs)
	if code != exitUsage || !strings.Contains(errs.String(), "--raw") {
		t.Errorf("exit %d: %s", code, errs.String())
	}
}
