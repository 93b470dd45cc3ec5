package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// fakeTerminal is output on a terminal.
type fakeTerminal struct {
	bytes.Buffer
	width int
}

func (n *fakeTerminal) screen() screen { return screen{width: n.width} }

// TestTablesFitAndAreNeverCut prints tables to a pipe, and to terminals of several widths.
func TestTablesFitAndAreNeverCut(t *testing.T) {
	const id = "0f3b2a77-3a57-4b8c-9a67-5c1c1df0a111"
	long := strings.Repeat("the store refused it, ", 10) + "s3://bundles/" + strings.Repeat("x", 80) + "/"
	for _, c := range []struct {
		width int
		want  string
	}{
		{0, "ID                                    STATE      PROGRESS  NOTE\n" +
			id + "  running    3/10      " + long + "\n" +
			"req-1                                 completed  -         \n"},
		{60, "ID                                    STATE      PROGRESS\n" +
			id + "  running    3/10\n" +
			"  note the store refused it, the store refused it, the store\n" +
			"  refused it, the store refused it, the store refused it,\n" +
			"  the store refused it, the store refused it, the store\n" +
			"  refused it, the store refused it, the store refused it,\n" +
			"  s3://bundles/" + strings.Repeat("x", 80) + "/\n" +
			"req-1                                 completed  -\n"},
		{20, "ID\n" + id + "\n  state running,\n  progress 3/10,\n"},
	} {
		out := &fakeTerminal{width: c.width}
		table := newTable(plain{out})
		fmt.Fprintln(table, "ID\tSTATE\tPROGRESS\tNOTE")
		fmt.Fprintf(table, "%s\trunning\t3/10\t%s\n", id, long)
		fmt.Fprintln(table, "req-1\tcompleted\t-\t")
		table.Flush()
		if got := out.String(); got != c.want && (c.width != 20 || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%d columns:\n%s", c.width, got)
		}
	}
	out := &fakeTerminal{width: 30}
	table := newTable(out)
	fmt.Fprintln(table, "  command\treq-1")
	fmt.Fprintln(table, "  would remain\texported models: they go with the account")
	table.Flush()
	if want := "  command       req-1\n  would remain  exported\n                models: they\n                go with the\n                account\n"; out.String() != want {
		t.Errorf("two columns:\n%s", out)
	}
}
