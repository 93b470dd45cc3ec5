package main

import (
	"reflect"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestLinesAreReadAsKongReadsThem holds parseLine to kong's own Parse, which it stands for: the
// same values, or the same words about what is wrong.
func TestLinesAreReadAsKongReadsThem(t *testing.T) {
	t.Parallel()
	model := func(env *environ) (*kong.Kong, *cli) {
		var commands cli
		k, err := kong.New(&commands, kong.Name("consumer"), kong.Resolvers(env), kong.Bind(&program{}))
		if err != nil {
			t.Fatal(err)
		}
		addLongNames(k.Model.Node)
		return k, &commands
	}
	for _, c := range []struct {
		line  string
		vars  []string
		wrong string // a part of what is said
	}{
		{line: "", wrong: "expected one of"},
		{line: "jobs", vars: []string{"NATS_URL=nats://a:4222"}},
		{line: "jobs show", wrong: "expected"},
		{line: "dead replay --bogus", wrong: "unknown flag"},
		{line: "bogus", wrong: "unexpected argument"},
		{line: "run --commands=7 --consumer-drain=10s", vars: []string{"CONSUMER_WORKERS=3", "CONSUMER_COMMANDS=9"}},
		{line: "schema event"},
		{line: "schema"},
		{line: "schema bogus", wrong: "must be one of"},
		{line: "completion", wrong: "expected"},
		{line: "completion bash"},
		{line: "completion tcsh", wrong: "must be one of"},
		{line: "jobs --output=xml", wrong: "must be one of"},
		{line: "approve", wrong: "missing flags"},
		{line: "convert bag", wrong: "missing flags"},
		{line: "convert bag --to=coco,yolo --images=move", wrong: "must be one of"},
		{line: "convert bag out --to=coco,yolo --images=copy"},
		{line: "delete --data=a --command=b", wrong: "can't be used together"},
		{line: "delete --data=a", vars: []string{"CONSUMER_BUCKET=b"}},
		{line: "verify", wrong: "expected"},
		{line: "verify a b"},
		{line: "__complete -- jobs --o"},
	} {
		args := strings.Fields(c.line)
		theirs, want := model(newEnviron(c.vars))
		_, wantErr := theirs.Parse(args)
		env := newEnviron(c.vars)
		ours, got := model(env)
		_, err := parseLine(ours, env, args)
		if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
			t.Errorf("%q: %v; kong says %v", c.line, err, wantErr)
		}
		if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%q: %v; want %q", c.line, err, c.wrong)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v; kong has %+v", c.line, got, want)
		}
		if len(env.known) == 0 && c.wrong == "" {
			t.Errorf("%q: the variables that name settings are not known", c.line)
		}
	}
}

// TestEveryCommandRuns holds the types of all commands to what execute calls, and the tags of all
// flags to those that checkLine knows.
func TestEveryCommandRuns(t *testing.T) {
	t.Parallel()
	k, err := kong.New(&cli{})
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range k.Model.Leaves(false) {
		if _, ok := leaf.Target.Addr().Interface().(command); !ok {
			t.Errorf("%s has no Run(*program) error", leaf.FullPath())
		}
		for n := leaf; n != nil; n = n.Parent {
			if _, ok := n.Target.Addr().Interface().(command); ok && n != leaf {
				t.Errorf("%s has Run, and commands below it", n.FullPath())
			}
			for _, f := range n.Flags {
				if len(f.And) > 0 || len(f.LastWins) > 0 || f.Required && len(f.Xor) > 0 || len(f.Envs) > 0 {
					t.Errorf("%s --%s has a tag that checkLine does not know", n.FullPath(), f.Name)
				}
			}
		}
	}
}
