package drift

import "testing"

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		have, sub string
		want      bool
	}{
		{"a.b", "a.b", true}, {"a.*", "a.b", true}, {"a.>", "a.b", true}, {"a.>", "a.b.c", true}, {"a.>", "a", false}, {">", "a.*", true},
		{"a.*", "a.*", true}, {"a.b", "a.*", false}, {"a.*", "a.>", false}, {"a.>", "a.>", true}, {"a.*.c", "a.b.c", true}, {"a.b", "a.b.c", false}, {"a.b.c", "a.b", false},
	} {
		if got := subjectCovers(c.have, c.sub); got != c.want {
			t.Errorf("%s covers %s: %v", c.have, c.sub, got)
		}
	}
}
