package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

var updateCommands = flag.Bool("update-commands", false, "write docs/commands.md")

// TestCommandsArePublished holds docs/commands.md to the commands and flags that there are.
func TestCommandsArePublished(t *testing.T) {
	const page, marker = "../../docs/commands.md", "<!-- What follows is written by `make commands-page`. -->\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	intro, _, found := strings.Cut(string(text), marker)
	if !found {
		t.Fatalf("no marker in %s", page)
	}
	want := intro + marker + commandsPage(t)
	if *updateCommands {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil { //nolint:gosec // a page is for every reader
			t.Fatal(err)
		}
	} else if string(text) != want {
		t.Errorf("%s is not what the commands say of themselves: run make commands-page, and look at what changes", page)
	}
}

// commandsPage describes all commands, and then the settings that are flags of several.
func commandsPage(t *testing.T) string {
	t.Helper()
	parser, err := kong.New(&cli{}, kong.Bind(&program{}), kong.Name("consumer"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	settings := map[string]*kong.Flag{}
	const width = 100
	prose := screen{width: width}
	for _, leaf := range parser.Model.Leaves(true) {
		var words []string
		for n := leaf; n.Type == kong.CommandNode; n = n.Parent {
			words = append([]string{n.Name}, words...)
		}
		fmt.Fprintf(&b, "\n## consumer %s\n\n%s\n", strings.Join(words, " "), prose.wrap(markdown(leaf.Help), 0, 0))
		if leaf.Detail != "" {
			fmt.Fprintf(&b, "\n%s\n", prose.wrap(markdown(leaf.Detail), 0, 0))
		}
		var rows, named []string
		for _, p := range leaf.Positional {
			rows = append(rows, fmt.Sprintf("| `%s` | %s |\n", strings.Trim(p.Summary(), "[]<> ."), cell(p)))
		}
		for _, f := range leaf.Flags {
			switch {
			case f.Hidden, f.Name == "help":
			case f.Tag.Has("var"):
				settings[f.Name] = f
				named = append(named, "`--"+f.Name+"`")
			default:
				short := ""
				if f.Short != 0 {
					short = fmt.Sprintf("`-%c`, ", f.Short)
				}
				value := ""
				if !f.IsBool() {
					value = " " + f.FormatPlaceHolder()
				}
				rows = append(rows, fmt.Sprintf("| %s`--%s%s` | %s |\n", short, f.Name, value, cell(f.Value)))
			}
		}
		if len(rows) > 0 {
			fmt.Fprintf(&b, "\n| argument or flag | means |\n| --- | --- |\n%s", strings.Join(rows, ""))
		}
		if len(named) > 0 {
			list := strings.Join(named, ", ")
			if len(named) > 30 { // consumer run and its like
				list = "all"
			}
			fmt.Fprintf(&b, "\n%s\n", prose.wrap("[Settings](#settings): "+list+".", 0, 0))
		}
	}
	b.WriteString("\n## Settings\n\n| flag | variable | means |\n| --- | --- | --- |\n")
	all := make([]*kong.Flag, 0, len(settings))
	for _, f := range settings {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *kong.Flag) int { return cmp.Compare(variables(a.Tag)[0], variables(b.Tag)[0]) })
	for _, f := range all {
		fmt.Fprintf(&b, "| `--%s` | `%s` | %s |\n", f.Name, strings.Join(variables(f.Tag), "`, `"), cell(f.Value))
	}
	return b.String()
}

// cell is a value's help in a table.
func cell(v *kong.Value) string { return strings.ReplaceAll(markdown(v.Help), "|", "\\|") }

// markdown is text whose characters mean nothing more.
func markdown(text string) string {
	return strings.NewReplacer("<", "\\<", "*", "\\*", "_", "\\_", "\n", " ").Replace(text)
}

// TestOneSpellingOfOutput holds -o to text and json, wherever it is.
func TestOneSpellingOfOutput(t *testing.T) {
	parser, err := kong.New(&cli{}, kong.Bind(&program{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(true) {
		for _, f := range leaf.Flags {
			if (f.Name == "output" || f.Short == 'o') && (f.Name != "output" || f.Short != 'o' || f.Enum != "text,json" || f.Default != "text") {
				t.Errorf("%s has --%s, -%c, of %s", leaf.Path(), f.Name, f.Short, f.Enum)
			}
		}
	}
}
