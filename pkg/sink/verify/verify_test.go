package verify_test

import "testing"

func TestGoodBags(t *testing.T) {
	for name, m := range map[string]memory{
		"two-tags": load(t, "two-tags"), "detection": load(t, "detection"), "untrained": load(t, "untrained"), "nothing-found": load(t, "nothing-found"),
		"forged": forge(t, load(t, "two-tags")), "first": firstOf(t, load(t, "two-tags")), "deleted": deletion(t, false), "planned": deletion(t, true),
	} {
		if got := problems(t, m); got != "" {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}
