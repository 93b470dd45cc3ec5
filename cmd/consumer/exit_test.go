package main

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

func TestReport(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		code int
		says string
	}{
		{"nothing", nil, 0, ""},
		{"unknown", errors.New("odd"), 1, "consumer: odd\n"},
		{"usage", fmt.Errorf("%w: --x is not supported yet", errUsage), 2, "consumer: --x is not supported yet\n"},
		{"settings", settingsError("1 setting is wrong:\n  A  is"), 2, "consumer: 1 setting is wrong:\n  A  is\n"},
		{"failed command", printedError{fmt.Errorf("%w: refused", errCommandFailed)}, 3, ""},
		{"failed verification", printedError{errVerifyFailed}, 4, ""},
		{"unreachable", fmt.Errorf("%w: dial", errUnreachable), 5, "consumer: not reachable: dial\n"},
		{"inconclusive", printedError{errInconclusive}, 6, ""},
		{"a program's own", errors.Join(childExit(42)), 42, ""},
		{"failed counts before unreachable", errors.Join(errUnreachable, errVerifyFailed), 4, "consumer: not reachable\nverification failed\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			if code := report(&out, test.err); code != test.code || out.String() != test.says {
				t.Errorf("exit %d, says %q; want %d, %q", code, out.String(), test.code, test.says)
			}
		})
	}
}
