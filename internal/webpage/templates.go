package webpage

import (
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/template/parse"
)

// HTML is text that is shown as it is. Only functions give it: a value of this type that is shown
// by itself is escaped as any other.
type HTML string

// Funcs are functions of templates, by name. Each gives one value, which is HTML where it is not to
// be escaped.
type Funcs map[string]any

// Templates are parsed templates, by name. They can be executed at the same time.
type Templates struct {
	trees map[string]*parse.Tree
	funcs Funcs
}

// Parse parses a text and the templates that it defines; name is that of what stands outside of
// definitions. Templates in a later text may use those in earlier ones.
func Parse(funcs Funcs, texts ...Text) (*Templates, error) {
	t := &Templates{trees: map[string]*parse.Tree{}, funcs: maps.Clone(builtins)}
	maps.Copy(t.funcs, funcs)
	for _, text := range texts {
		trees, err := parse.Parse(text.Name, text.Text, "", "", t.funcs)
		if err != nil {
			return nil, fmt.Errorf("parse a template: %w", err)
		}
		maps.Copy(t.trees, trees)
	}
	for _, name := range slices.Sorted(maps.Keys(t.trees)) {
		if err := t.check(t.trees[name].Root); err != nil {
			return nil, fmt.Errorf("template %s: %w", name, err)
		}
	}
	return t, nil
}

// Text is a named text of templates.
type Text struct{ Name, Text string }

// MustParse is Parse for texts that are part of the program.
func MustParse(funcs Funcs, texts ...Text) *Templates {
	t, err := Parse(funcs, texts...)
	if err != nil {
		panic(err)
	}
	return t
}

// check refuses what Execute does not know.
func (t *Templates) check(n parse.Node) error {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return nil
		}
		for _, child := range n.Nodes {
			if err := t.check(child); err != nil {
				return err
			}
		}
	case *parse.TextNode, *parse.ActionNode:
	case *parse.IfNode:
		return t.checkBranch(&n.BranchNode)
	case *parse.RangeNode:
		return t.checkBranch(&n.BranchNode)
	case *parse.WithNode:
		return t.checkBranch(&n.BranchNode)
	case *parse.TemplateNode:
		if t.trees[n.Name] == nil {
			return fmt.Errorf("there is no template %q", n.Name)
		}
	default:
		return fmt.Errorf("%s is not known here", n)
	}
	return nil
}

func (t *Templates) checkBranch(b *parse.BranchNode) error {
	if err := t.check(b.List); err != nil {
		return err
	}
	return t.check(b.ElseList)
}

// Execute writes what a template makes of data. Functions in own stand for those that were parsed
// with, for this time.
func (t *Templates) Execute(w io.Writer, name string, data any, own Funcs) error {
	tree := t.trees[name]
	if tree == nil {
		return fmt.Errorf("there is no template %q", name)
	}
	funcs := t.funcs
	if len(own) > 0 {
		funcs = maps.Clone(funcs)
		maps.Copy(funcs, own)
	}
	x := &execution{t: t, w: w, funcs: funcs}
	return x.template(tree, data)
}

// escaper escapes text for HTML's text and quoted attributes, byte for byte as html/template does.
var escaper = strings.NewReplacer("\x00", "\uFFFD", `"`, "&#34;", "&", "&amp;", "'", "&#39;", "+", "&#43;", "<", "&lt;", ">", "&gt;")

// URL is the address of a file, relative to the page: what its path would say otherwise, of another
// server or scheme, is escaped. It is meant to be a function of templates.
func URL(path string) string { return (&url.URL{Path: path}).String() }
