package bag

import (
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// TestOwns says whose working objects a command takes for its own: those stored under its job, and
// where that was lost, those stored for the same message.
func TestOwns(t *testing.T) {
	command := func(data string, seq uint64, stream string) contract.Command {
		c, err := contract.DecodeCommand("cv", contract.Message{
			Subject: "cv.commands.delete", Header: map[string][]string{contract.HeaderMsgID: {"del-1"}}, Body: []byte(data), Seq: seq, Stream: stream,
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const all, tags = `{"all_projects":true}`, `{"all_projects":true,"categories":["tags"]}`
	mark := func(c contract.Command, deployment, account, salt string) (Bags, Owner) {
		b := Bags{Command: c, Account: account}
		return b, b.Owner(deployment, c.Ref(salt, nil), 1)
	}
	first := command(all, 7, "s1")
	_, had := mark(first, "here", "faces", "a")
	for _, c := range []struct {
		name                      string
		now                       contract.Command
		deployment, account, salt string
		owns                      bool
	}{
		{"the same job", first, "here", "faces", "a", true},
		{"the job was lost", first, "here", "faces", "b", true},
		{"published again, under the same job", command(all, 1, "s2"), "here", "faces", "a", true},
		{"forgotten, and published again", command(all, 8, "s1"), "here", "faces", "b", false},
		{"forgotten, and published in a stream that was made again", command(all, 7, "s2"), "here", "faces", "b", false},
		{"another command with the same sequence", command(tags, 7, "s1"), "here", "faces", "b", false},
		{"another account", first, "here", "other", "b", false},
		{"another deployment", first, "there", "faces", "a", false},
	} {
		if b, now := mark(c.now, c.deployment, c.account, c.salt); had.owns(b, now) != c.owns {
			t.Errorf("%s: owned %t", c.name, !c.owns)
		}
	}
	b, _ := mark(first, "here", "faces", "a")
	if had.owns(b, b.Owner("here", first.Ref("a", nil), 2)) {
		t.Error("another version of units: owned")
	}
}
