// Package webpagetest has html/template judge the templates of package webpage.
package webpagetest

import (
	"errors"
	"html/template"
	"io"
	"reflect"
	"strings"
	"testing"
	"text/template/parse"

	"github.com/cvconsumer/cvconsumer/internal/webpage"
)

// Contexts fails where templates show something in a place for which package webpage's escaping is
// not enough, as html/template sees it: anything but text and quoted attributes. In styles there
// may be what the function "style" gives, in scripts what "script" gives, in addresses what "url"
// gives; what other functions give as HTML must be in text.
func Contexts(t *testing.T, funcs webpage.Funcs, texts ...webpage.Text) {
	t.Helper()
	all := template.FuncMap{"url": webpage.URL}
	markup := map[string]bool{}
	for name, f := range funcs {
		markup[name] = reflect.TypeOf(f).Out(0) == reflect.TypeFor[webpage.HTML]()
		all[name] = f
	}
	judge := template.New("").Funcs(all)
	for _, text := range texts {
		template.Must(judge.New(text.Name).Parse(text.Text))
	}
	shown := 0
	for _, one := range judge.Templates() {
		// The ways of escaping are found before it is executed, which fails without data.
		var refused *template.Error
		if err := one.Execute(io.Discard, nil); errors.As(err, &refused) && refused.ErrorCode != template.OK {
			t.Errorf("html/template refuses %s: %v", one.Name(), err)
		}
	}
	for _, one := range judge.Templates() {
		if one.Tree == nil {
			continue
		}
		actions(one.Tree.Root, func(n *parse.ActionNode) {
			shown++
			first := strings.Fields(n.Pipe.Cmds[0].String())[0]
			for _, c := range n.Pipe.Cmds[1:] {
				switch how := strings.TrimPrefix(c.String(), "_html_template_"); {
				case how == "htmlescaper", how == "rcdataescaper" && !markup[first], how == "attrescaper" && !markup[first]:
				case strings.HasPrefix(how, "css") && first == "style", strings.HasPrefix(how, "jsval") && first == "script":
				case how == "urlfilter" && first == "url", how == "urlnormalizer" && first == "url":
				default:
					t.Errorf("%s: %s is to be escaped by %s", one.Name(), n.Pipe.Cmds[0], how)
				}
			}
		})
	}
	if shown == 0 {
		t.Error("the templates show nothing")
	}
}

// actions calls use for everything that is shown below a node.
func actions(n parse.Node, use func(*parse.ActionNode)) {
	branch := func(b *parse.BranchNode) {
		actions(b.List, use)
		if b.ElseList != nil {
			actions(b.ElseList, use)
		}
	}
	switch n := n.(type) {
	case *parse.ListNode:
		for _, child := range n.Nodes {
			actions(child, use)
		}
	case *parse.ActionNode:
		if len(n.Pipe.Decl) == 0 {
			use(n)
		}
	case *parse.IfNode:
		branch(&n.BranchNode)
	case *parse.RangeNode:
		branch(&n.BranchNode)
	case *parse.WithNode:
		branch(&n.BranchNode)
	}
}
