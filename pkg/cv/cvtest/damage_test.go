package cvtest

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"
)

// TestDamage: what was damaged is another answer, or none; and it is the same for the same choices.
func TestDamage(t *testing.T) {
	const good = ` [ {"id" : "a\"b", "tags":[{"n":-1.5e3},7],"x":null , "y":{} }, true] `
	valid := 0
	for seed := range uint64(2000) {
		damage := func() []byte { return Damage([]byte(good), rand.New(rand.NewPCG(seed, 0)).IntN) } //nolint:gosec // not for security
		got := damage()
		if !bytes.Equal(got, damage()) {
			t.Fatalf("seed %d: two damages", seed)
		}
		if json.Valid(got) {
			valid++
		}
	}
	if valid < 1000 || valid > 1900 {
		t.Errorf("%d of 2000 are JSON", valid)
	}
	if got := Damage([]byte("no JSON"), func(int) int { panic("asked") }); string(got) != "no JSON" {
		t.Errorf("%q", got)
	}
}
