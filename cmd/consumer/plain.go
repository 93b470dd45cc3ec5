package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// plain writes text for people: lines in which every character is escaped that is not printable.
// Names, errors and payloads are what others wrote, and a terminal obeys what it is sent.
type plain struct{ w io.Writer }

func (p plain) Write(b []byte) (int, error) {
	if _, err := io.WriteString(p.w, plainText(string(b))); err != nil {
		return 0, fmt.Errorf("print: %w", err)
	}
	return len(b), nil
}

// plainText is text as plain writes it.
func plainText(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = bagfile.Printable(line)
	}
	return strings.Join(lines, "\n")
}

// oneLine makes text fit for a table.
func oneLine(s string) string { return bagfile.Printable(strings.Join(strings.Fields(s), " ")) }

// notForTerminals fails where w is a terminal: what follows is to be printed as it came.
func notForTerminals(w io.Writer, flag string) error {
	if isTerminal(w) {
		return fmt.Errorf("%w: %s writes bytes as they were published, and a terminal would obey them: send the output to a file or a pipe", errUsage, flag)
	}
	return nil
}
