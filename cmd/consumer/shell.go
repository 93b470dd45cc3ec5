package main

import (
	"regexp"
	"strings"
)

// shellLine is a command line that a shell reads as these arguments.
func shellLine(args ...string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = arg
		if arg == "" || strings.ContainsFunc(arg, func(r rune) bool {
			return !strings.ContainsRune("_@%+=:,./-", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		}) {
			quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// withoutFlags leaves some flags and their values out of arguments. A flag that takes no value is
// given with an exclamation mark behind its name.
func withoutFlags(args []string, flags ...string) []string {
	var out []string
	skip := false
	for _, arg := range args {
		name, _, hasValue := strings.Cut(arg, "=")
		drop := false
		for _, f := range flags {
			bare, isSwitch := strings.CutSuffix(f, "!")
			if name == bare {
				drop = true
				skip = !hasValue && !isSwitch
			}
		}
		switch {
		case drop:
		case skip:
			skip = false
		default:
			out = append(out, arg)
		}
	}
	return out
}

// natsFlag matches the flags that say which NATS is meant. Each takes a value.
var natsFlag = regexp.MustCompile(`^--(context|(consumer-)?(nats-[a-z-]+|subject-prefix))$`)

// onlyNATS are the flags of arguments that say which NATS is meant, with their values, for a shell.
func onlyNATS(args []string) string {
	var out []string
	for i, arg := range args {
		if name, _, hasValue := strings.Cut(arg, "="); natsFlag.MatchString(name) {
			out = append(out, arg)
			if !hasValue {
				out = append(out, args[min(i+1, len(args)):min(i+2, len(args))]...)
			}
		}
	}
	return shellLine(out...)
}

// nats is how NATS is reached, and which flags of this command line say so.
func (p *program) nats(s natsSettings, bad *problems) natsConfig {
	c := s.config(bad)
	c.Flags = onlyNATS(p.args)
	return c
}
