package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

// command is what each command of cli is.
type command interface{ Run(p *program) error }

// lineError is a command line that cannot be parsed, as far as it was.
type lineError struct {
	error
	parsed *kong.Context
}

// Unwrap gives what is wrong with it.
func (e *lineError) Unwrap() error { return e.error }

// parseLine reads a command line in the steps of kong's Parse, but for its hooks, and checks it in
// kong's words. Kong looks for hooks and Run by names that are known only while it runs, for which
// the linker would keep every exported method of the program: a quarter of the binary. A line that
// asks for help is not read further.
func parseLine(k *kong.Kong, env *environ, args []string) (*kong.Context, error) {
	parsed, err := kong.Trace(k, args)
	if err != nil {
		return nil, fmt.Errorf("read the command line: %w", err)
	}
	if parsed.Error != nil {
		return nil, &lineError{parsed.Error, parsed}
	}
	if asksForHelp(parsed) {
		return parsed, nil
	}
	if err := parsed.Reset(); err != nil {
		return nil, &lineError{err, parsed}
	}
	if err := parsed.Resolve(); err != nil {
		return nil, &lineError{err, parsed}
	}
	if _, err := parsed.Apply(); err != nil {
		return nil, &lineError{err, parsed}
	}
	if err := env.Validate(k.Model); err != nil {
		return nil, &lineError{err, parsed}
	}
	if err := checkLine(parsed); err != nil {
		return nil, &lineError{err, parsed}
	}
	return parsed, nil
}

// asksForHelp reports whether a command line has --help.
func asksForHelp(parsed *kong.Context) bool {
	return slices.ContainsFunc(parsed.Path, func(p *kong.Path) bool { return p.Flag != nil && p.Flag == parsed.Model.HelpFlag })
}

// checkLine holds a command line to the tags that cli has: enum, required and xor.
func checkLine(parsed *kong.Context) error {
	for _, path := range parsed.Path {
		if err := checkEnums(path); err != nil {
			return err
		}
	}
	for _, path := range parsed.Path {
		if err := checkMissingFlags(path.Flags); err != nil {
			return err
		}
	}
	node := parsed.Selected()
	if node == nil {
		node = parsed.Model.Node
	}
	if err := checkMissingWords(node); err != nil {
		return err
	}
	for _, path := range parsed.Path {
		if err := checkTogether(path.Flags); err != nil {
			return err
		}
	}
	return nil
}

// checkEnums checks the values of a part of the command line, those by default included.
func checkEnums(path *kong.Path) error {
	var values []*kong.Value
	switch {
	case path.Flag != nil:
		values = append(values, path.Flag.Value)
	case path.Positional != nil:
		values = append(values, path.Positional)
	default:
		for _, v := range path.Node().Values() {
			if !v.Required || v.HasDefault {
				values = append(values, v)
			}
		}
	}
	for _, v := range values {
		if v.Enum == "" {
			continue
		}
		given := fmt.Sprint(v.Target)
		if slices.Contains(v.EnumSlice(), given) {
			continue
		}
		quoted := make([]string, 0, len(v.EnumSlice()))
		for _, one := range v.EnumSlice() {
			quoted = append(quoted, strconv.Quote(one))
		}
		return fmt.Errorf("%s must be one of %s but got %q", v.ShortSummary(), strings.Join(quoted, ","), given)
	}
	return nil
}

// checkMissingFlags refuses a line without a flag that it must have.
func checkMissingFlags(flags []*kong.Flag) error {
	var missing []string
	for _, f := range flags {
		if f.Required && !f.Set {
			missing = append(missing, f.Summary())
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return errors.New("missing flags: " + strings.Join(missing, ", "))
}

// checkMissingWords refuses a line without an argument of its command, or that ends at a command
// which only has others below it.
func checkMissingWords(n *kong.Node) error {
	var missing, arguments []string
	for _, v := range n.Positional {
		if v.Required && !v.Set {
			arguments = append(arguments, v.Summary())
		}
	}
	if len(arguments) > 0 {
		missing = append(missing, strconv.Quote(strings.Join(arguments, " ")))
	}
	for _, child := range n.Children {
		if !child.Hidden {
			missing = append(missing, strconv.Quote(child.Name))
		}
	}
	if len(missing) > 5 {
		missing = append(missing[:5], "...")
	}
	switch len(missing) {
	case 0:
		return nil
	case 1:
		return errors.New("expected " + missing[0])
	}
	return errors.New("expected one of " + strings.Join(missing, ", "))
}

// checkTogether refuses flags of which a line may have only one.
func checkTogether(flags []*kong.Flag) error {
	seen := map[string]*kong.Flag{}
	for _, f := range flags {
		if !f.Set {
			continue
		}
		for _, group := range f.Xor {
			if other := seen[group]; other != nil {
				return fmt.Errorf("--%s and --%s can't be used together", other.Name, f.Name)
			}
			seen[group] = f
		}
	}
	return nil
}
