package natsq

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

func TestHolds(t *testing.T) {
	w := newWorld(t)
	const id = "0f0e0d0c-0000-0000-0000-00000000abcd"
	held := func(want bool) {
		t.Helper()
		if got := must[bool](t)(w.q.Held(w.ctx, id)); got != want {
			t.Fatalf("held is %v, want %v", got, want)
		}
	}
	held(false)
	ok(t, w.q.PutHold(w.ctx, "11111111-0000-0000-0000-000000000000", nil))
	held(false)
	kv := must[jetstream.KeyValue](t)(w.js.KeyValue(w.ctx, "CV_HOLDS"))
	must[uint64](t)(kv.PutString(w.ctx, strings.ToUpper(id), "by hand"))
	held(true)
	ok(t, kv.Delete(w.ctx, strings.ToUpper(id)))
	held(false)
	ok(t, w.q.PutHold(w.ctx, id, []byte("case 1")))
	held(true)
	if got := must[[]Hold](t)(w.q.Holds(w.ctx)); len(got) != 2 || got[0].Project != id || got[0].Note != "case 1" || got[0].Since.IsZero() {
		t.Fatalf("holds are %+v", got)
	}
	ok(t, w.q.RemoveHold(w.ctx, strings.ToUpper(id)))
	held(false)
}
