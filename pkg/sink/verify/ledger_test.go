package verify

import (
	"regexp"
	"strings"
	"testing"
)

// TestTextOfCalls compares what a ledger may say of a call with expressions.
func TestTextOfCalls(t *testing.T) {
	t.Parallel()
	operations, targets := regexp.MustCompile(`^(Get|Query)[A-Za-z]{1,60}$`), regexp.MustCompile(`^[A-Za-z0-9/., _-]*$`)
	texts := []string{
		"", "Get", "Query", "GetX", "QueryPredictions", "GetProjects\n", "get", "getProjects", "DeleteImages", "GetQuery", "QueryGet", "GetGet", "\xff", "Gete\u0301",
		"Get" + strings.Repeat("a", 60), "Get" + strings.Repeat("a", 61), "Query" + strings.Repeat("Z", 60), "Query" + strings.Repeat("Z", 61), "projects/1, a_b-c.d",
	}
	for c := range 256 {
		texts = append(texts, "a"+string([]byte{byte(c)}), "GetA"+string([]byte{byte(c)}), "Get"+string([]byte{byte(c)}), string(rune(c)))
	}
	for _, text := range texts {
		if got, want := changesNothing(text), operations.MatchString(text); got != want {
			t.Errorf("operation %q: %t", text, got)
		}
		if got, want := isTarget(text), targets.MatchString(text); got != want {
			t.Errorf("target %q: %t", text, got)
		}
	}
}
