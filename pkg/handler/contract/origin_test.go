package contract

import (
	"encoding/json"
	"testing"
)

// TestOrigin has a command published again, twice: its objects stay sealed for its first message,
// also after the job was stored and read.
func TestOrigin(t *testing.T) {
	j := Job{Command: CommandRef{Seq: 7, Stream: "s1"}}
	for i, c := range []Command{{Seq: 9, Stream: "s1"}, {Seq: 1, Stream: "s2"}} {
		j.PublishedAgain(c)
		raw, err := json.Marshal(j)
		if err != nil {
			t.Fatal(err)
		}
		if j, err = DecodeJob(raw); err != nil {
			t.Fatal(err)
		}
		if j.Origin() != (Origin{"s1", 7}) || j.Command.Seq != c.Seq || j.Origin().String() != "s1/7" {
			t.Errorf("%d: origin %v of %+v", i, j.Origin(), j.Command)
		}
	}
}
