package verify

import (
	"testing"

	"github.com/google/uuid"
)

// FuzzPlainID: an id is plain where it is written as uuid writes it.
func FuzzPlainID(f *testing.F) {
	for _, text := range []string{"", "e3049fbe-e509-4ceb-95c6-f6427b972543", "E3049fbe-e509-4ceb-95c6-f6427b972543", "{e3049fbe-e509-4ceb-95c6-f6427b972543}", "e3049fbee5094ceb95c6f6427b972543", "e3049fbe-e509-4ceb-95c6-f6427b97254", "urn:uuid:e3049fbe-e509-4ceb-95c6-f6427b972543", "e3049fbe-e509-4ceb-95c6-f6427b97254g", "e3049fbe+e509-4ceb-95c6-f6427b972543"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, err := uuid.Parse(text)
		if err != nil || want.String() != text {
			want = uuid.Nil
		}
		if got := plainID(text); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	})
}
