package contract

import "testing"

// TestNeverCommand: what takes no id is kept in bounded number; a command that loses its signature
// has its id.
func TestNeverCommand(t *testing.T) {
	for _, tt := range []struct {
		id, code string
		want     bool
	}{
		{"seq-7", CodeUnsigned, true}, {"del-1", CodeUnsigned, false}, {"seq-7", CodeIDConflict, true}, {"del-1", CodeInvalidCommand, true}, {"del-1", CodeExpired, false},
	} {
		if got := (DeadLetter{ID: tt.id, Error: Error{Code: tt.code}}).NeverCommand(); got != tt.want {
			t.Errorf("%s %s: %t", tt.id, tt.code, got)
		}
	}
}
