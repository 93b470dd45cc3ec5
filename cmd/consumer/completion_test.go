package main

import (
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestCompletions holds what a word may become: commands, flags that show, and values where these
// are few.
func TestCompletions(t *testing.T) {
	parser, err := kong.New(&cli{}, kong.Bind(&program{}))
	if err != nil {
		t.Fatal(err)
	}
	addLongNames(parser.Model.Node)
	for _, c := range []struct{ typed, want string }{
		{"doc", "doctor"},
		{"dead ", "ls show replay rm"},
		{"run --vision-training-key", "--vision-training-key-file"}, // the key itself is for its variable alone
		{"jobs --act", "--action"},
		{"export --output=", "--output=text --output=json"},
		{"export --consumer-subject-prefix cv -o j", "json"},
		{"export --no-wait -o ", "text json"},
		{"keys new --type e", "ed25519"},
		{"schema re", "receipt"},
		{"completion ", "bash zsh fish"},
		{"jobs show ", ""},
		{"__com", ""},
	} {
		var got []string
		for _, one := range completions(parser.Model.Node, strings.Split(c.typed, " ")) {
			got = append(got, one.word)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q becomes %q, want %q", c.typed, got, c.want)
		}
	}
}
