package unit_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
)

// TestAsked: the attempt that asked for a unit is no part of what the unit asks for, and its name
// cannot leave the folder of units.
func TestAsked(t *testing.T) {
	u := unit.Unit{V: unit.Version, Command: "exp-1", N: 7}
	plain, err := u.Identity()
	if err != nil {
		t.Fatal(err)
	}
	u.Asked = unit.NewAsked()
	if asked, err := u.Identity(); err != nil || asked != plain {
		t.Errorf("identity %s, without the attempt %s: %v", asked, plain, err)
	}
	for name, good := range map[string]bool{"": true, u.Asked: true, "0a": true, "../../x": false, "0a/0b": false, "0": false, strings.Repeat("0a", 17): false} {
		u.Asked = name
		body, err := json.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := unit.Decode(body); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}
