package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" name:"shell" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help implements kong.HelpProvider.
func (completionCmd) Help() string {
	return "Prints a script that completes commands, flags and their values. Try it with source <(consumer completion bash); for good, put it where your shell looks: " +
		"bash: ~/.local/share/bash-completion/completions/consumer; zsh: a file _consumer in a folder of $fpath; fish: ~/.config/fish/completions/consumer.fish."
}

// completionScripts are what each shell runs to complete a command line: all ask the program
// itself. Where it knows no answer, files are completed.
var completionScripts = map[string]string{
	"bash": `_consumer() {
	local IFS=$'\n'
	COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1)" -- "${COMP_WORDS[COMP_CWORD]#=}"))
}
complete -o default -F _consumer consumer
`,
	"zsh": `#compdef consumer
_consumer() {
	local -a found
	local line
	for line in "${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
		[[ -n $line ]] && found+=("${line%%$'\t'*}:${line#*$'\t'}")
	done
	if (( $#found )); then _describe consumer found; else _files; fi
}
compdef _consumer consumer
`,
	"fish": `function __consumer_complete
	set -l words (commandline -opc)
	set -l last (commandline -ct)
	set -l found ($words[1] __complete -- $words[2..] "$last" 2>/dev/null)
	if test (count $found) -gt 0
		printf '%s\n' $found
	else
		__fish_complete_path "$last"
	end
end
complete -c consumer -f -a '(__consumer_complete)'
`,
}

// Run prints the script of a shell.
func (c completionCmd) Run(p *program) error {
	_, err := fmt.Fprint(p.raw, completionScripts[c.Shell])
	return err
}

// completeCmd answers the scripts.
type completeCmd struct {
	Words []string `arg:"" optional:"" passthrough:"" help:"The words before the cursor, the last one as far as it is typed."`
}

// Run prints what the last word may become, one to a line, each with a tab and what it means.
func (c completeCmd) Run(p *program) error {
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	for _, one := range completions(p.line.Model.Node, words) {
		fmt.Fprintf(p.raw, "%s\t%s\n", one.word, one.help)
	}
	return nil
}

// candidate is what a word may become.
type candidate struct{ word, help string }

// completions are what the last of the words may become, below a node of the command line.
func completions(n *kong.Node, words []string) []candidate {
	if len(words) == 0 {
		return nil
	}
	var pending *kong.Flag // whose value comes next
	given, last := words[:len(words)-1], words[len(words)-1]
	argument := 0 // of the node's
	for _, w := range given {
		name, _, hasValue := strings.Cut(w, "=")
		child := childOf(n, w)
		switch {
		case w == "=": // bash splits --flag=value
		case pending != nil:
			pending = nil
		case strings.HasPrefix(w, "-"):
			if f := flagNamed(n, name); f != nil && !hasValue && !f.IsBool() {
				pending = f
			}
		case child != nil:
			n = child
		default:
			argument++
		}
	}
	if pending != nil {
		return starting(values(pending.Value, ""), strings.TrimPrefix(last, "="))
	}
	if name, _, hasValue := strings.Cut(last, "="); hasValue {
		if f := flagNamed(n, name); f != nil {
			return starting(values(f.Value, name+"="), last)
		}
		return nil
	}
	if strings.HasPrefix(last, "-") {
		return starting(flagsOf(n), last)
	}
	var all []candidate
	for _, child := range n.Children {
		if !child.Hidden {
			all = append(all, candidate{child.Name, child.Help})
		}
	}
	if len(all) == 0 && argument < len(n.Positional) {
		all = values(n.Positional[argument], "")
	}
	return starting(all, last)
}

// starting are the candidates that begin with what is typed.
func starting(all []candidate, typed string) []candidate {
	return slices.DeleteFunc(all, func(c candidate) bool { return !strings.HasPrefix(c.word, typed) })
}

// childOf is the command of a name below a node; nil when there is none.
func childOf(n *kong.Node, name string) *kong.Node {
	for _, child := range n.Children {
		if child.Name == name {
			return child
		}
	}
	return nil
}

// eachFlag calls f for the flags that may be given to a command: its own, those of its default
// command, and those of all.
func eachFlag(n *kong.Node, f func(*kong.Flag)) {
	if n.DefaultCmd != nil {
		for _, one := range n.DefaultCmd.Flags {
			f(one)
		}
	}
	for ; n != nil; n = n.Parent {
		for _, one := range n.Flags {
			f(one)
		}
	}
}

// flagNamed is the flag that --name, or -n, means; nil when there is none.
func flagNamed(n *kong.Node, name string) (found *kong.Flag) {
	eachFlag(n, func(f *kong.Flag) {
		if name == "--"+f.Name || f.Short != 0 && name == "-"+string(f.Short) || slices.Contains(f.Aliases, strings.TrimPrefix(name, "--")) {
			found = cmp.Or(found, f)
		}
	})
	return found
}

// flagsOf are the flags that may be given to a command.
func flagsOf(n *kong.Node) []candidate {
	var all []candidate
	eachFlag(n, func(f *kong.Flag) {
		if !f.Hidden {
			all = append(all, candidate{"--" + f.Name, f.Help})
		}
	})
	return all
}

// values are the values that a flag or an argument may have, where these are few.
func values(v *kong.Value, prefix string) []candidate {
	var all []candidate
	if v.Enum != "" {
		for _, one := range v.EnumSlice() {
			all = append(all, candidate{word: prefix + one})
		}
	}
	return all
}
