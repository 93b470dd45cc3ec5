package webpage

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"
	"text/template/parse"
)

// builtins are the functions that all templates have.
var builtins = Funcs{"eq": equal, "lt": less, "len": length, "not": func(v any) bool { return !truth(reflect.ValueOf(v)) }, "url": URL}

func equal(a, b any) bool {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	if x.CanInt() && y.CanInt() {
		return x.Int() == y.Int()
	}
	return x.Kind() == reflect.String && y.Kind() == reflect.String && x.String() == y.String()
}

func less(a, b any) bool {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	return x.CanInt() && y.CanInt() && x.Int() < y.Int()
}

func length(v any) int { return reflect.ValueOf(v).Len() }

// execution is one run of a template.
type execution struct {
	t     *Templates
	w     io.Writer
	funcs Funcs
	vars  []variable // the last of a name counts
}

type variable struct {
	name  string
	value reflect.Value
}

// template executes a template on data of its own.
func (x *execution) template(tree *parse.Tree, data any) error {
	dot, outer := reflect.ValueOf(data), x.vars
	x.vars = []variable{{"$", dot}}
	err := x.list(dot, tree.Root)
	x.vars = outer
	return err
}

// list executes nodes one after the other. What is declared among them ends with them.
func (x *execution) list(dot reflect.Value, l *parse.ListNode) error {
	if l == nil {
		return nil
	}
	declared := len(x.vars)
	for _, n := range l.Nodes {
		if err := x.node(dot, n); err != nil {
			return err
		}
	}
	x.vars = x.vars[:declared]
	return nil
}

func (x *execution) node(dot reflect.Value, n parse.Node) error {
	switch n := n.(type) {
	case *parse.TextNode:
		_, err := x.w.Write(n.Text)
		return err //nolint:wrapcheck // the writer's own
	case *parse.ActionNode:
		v, trusted, err := x.pipe(dot, n.Pipe)
		if err != nil || len(n.Pipe.Decl) > 0 {
			return err
		}
		return x.print(v, trusted)
	case *parse.IfNode:
		v, _, err := x.pipe(dot, n.Pipe)
		if err != nil {
			return err
		}
		if truth(v) {
			return x.list(dot, n.List)
		}
		return x.list(dot, n.ElseList)
	case *parse.WithNode:
		declared := len(x.vars)
		v, _, err := x.pipe(dot, n.Pipe)
		if err != nil {
			return err
		}
		if truth(v) {
			err = x.list(v, n.List)
		} else {
			err = x.list(dot, n.ElseList)
		}
		x.vars = x.vars[:declared]
		return err
	case *parse.RangeNode:
		return x.rangeOver(dot, n)
	case *parse.TemplateNode:
		var data any
		if n.Pipe != nil {
			v, _, err := x.pipe(dot, n.Pipe)
			if err != nil {
				return err
			}
			if v.IsValid() {
				data = v.Interface()
			}
		}
		return x.template(x.t.trees[n.Name], data)
	}
	return fmt.Errorf("%s is not known here", n)
}

// rangeOver executes the body of a range for each element of a list.
func (x *execution) rangeOver(dot reflect.Value, n *parse.RangeNode) error {
	list, _, err := x.commands(dot, n.Pipe)
	if err != nil {
		return err
	}
	list = indirect(list)
	if !list.IsValid() || list.Kind() != reflect.Slice {
		return fmt.Errorf("%s is not a list", n.Pipe)
	}
	if list.Len() == 0 {
		return x.list(dot, n.ElseList)
	}
	declared := len(x.vars)
	for i := range list.Len() {
		element := list.Index(i)
		switch d := n.Pipe.Decl; len(d) {
		case 1:
			x.vars = append(x.vars, variable{d[0].Ident[0], element})
		case 2:
			x.vars = append(x.vars, variable{d[0].Ident[0], reflect.ValueOf(i)}, variable{d[1].Ident[0], element})
		}
		if err := x.list(element, n.List); err != nil {
			return err
		}
		x.vars = x.vars[:declared]
	}
	return nil
}

// pipe gives a pipeline's value, and whether a function made it HTML. It declares its variable.
func (x *execution) pipe(dot reflect.Value, p *parse.PipeNode) (v reflect.Value, trusted bool, err error) {
	v, trusted, err = x.commands(dot, p)
	for _, d := range p.Decl {
		x.vars = append(x.vars, variable{d.Ident[0], v})
	}
	return v, trusted, err
}

// commands is pipe without declarations.
func (x *execution) commands(dot reflect.Value, p *parse.PipeNode) (v reflect.Value, trusted bool, err error) {
	if len(p.Cmds) != 1 || p.IsAssign {
		return v, false, fmt.Errorf("%s: only one command is known here, and no assignment", p)
	}
	args := p.Cmds[0].Args
	if f, ok := args[0].(*parse.IdentifierNode); ok {
		return x.call(dot, f.Ident, args[1:])
	}
	if len(args) > 1 {
		return v, false, fmt.Errorf("%s is not a function", args[0])
	}
	v, err = x.argument(dot, args[0])
	return v, false, err
}

// argument gives the value of a part of a command.
func (x *execution) argument(dot reflect.Value, n parse.Node) (reflect.Value, error) {
	switch n := n.(type) {
	case *parse.DotNode:
		return dot, nil
	case *parse.FieldNode:
		return fields(dot, n.Ident)
	case *parse.VariableNode:
		for i := len(x.vars) - 1; i >= 0; i-- {
			if x.vars[i].name == n.Ident[0] {
				return fields(x.vars[i].value, n.Ident[1:])
			}
		}
	case *parse.StringNode:
		return reflect.ValueOf(n.Text), nil
	case *parse.NumberNode:
		if n.IsInt {
			return reflect.ValueOf(int(n.Int64)), nil
		}
	case *parse.PipeNode:
		v, _, err := x.commands(dot, n)
		return v, err
	}
	return reflect.Value{}, fmt.Errorf("%s is not known here", n)
}

// fields follows the names of fields, and of members of maps.
func fields(v reflect.Value, names []string) (reflect.Value, error) {
	for _, name := range names {
		v = indirect(v)
		if !v.IsValid() {
			return v, fmt.Errorf("nothing has a field %s", name)
		}
		of := v
		switch v.Kind() {
		case reflect.Struct:
			v = fieldOf(v, name)
		case reflect.Map:
			if v = v.MapIndex(reflect.ValueOf(name)); !v.IsValid() {
				v = reflect.Zero(of.Type().Elem())
			}
		default:
			v = reflect.Value{}
		}
		if !v.IsValid() || !v.CanInterface() {
			return v, fmt.Errorf("%s has no field %s", of.Type(), name)
		}
	}
	return v, nil
}

// fieldKey names a field of a type.
type fieldKey struct {
	of   reflect.Type
	name string
}

// places are where fields are, as reflect.StructField.Index has it, by fieldKey; nil where there is
// none. Types and names are those of the program's own templates, so there are few.
var places sync.Map

// fieldOf gives a field of a struct, or nothing, as FieldByName does, which looks through all
// fields each time.
func fieldOf(v reflect.Value, name string) reflect.Value {
	key := fieldKey{v.Type(), name}
	known, ok := places.Load(key)
	if !ok {
		f, _ := key.of.FieldByName(name)
		known, _ = places.LoadOrStore(key, f.Index)
	}
	index := known.([]int) //nolint:forcetypeassert // see places
	if index == nil {
		return reflect.Value{}
	}
	return v.FieldByIndex(index)
}

// call calls a function.
func (x *execution) call(dot reflect.Value, name string, args []parse.Node) (v reflect.Value, trusted bool, err error) {
	f := reflect.ValueOf(x.funcs[name])
	t := f.Type()
	if t.NumIn() != len(args) {
		return v, false, fmt.Errorf("%s takes %d values, not %d", name, t.NumIn(), len(args))
	}
	in := make([]reflect.Value, len(args))
	for i, a := range args {
		given, err := x.argument(dot, a)
		if err != nil {
			return v, false, err
		}
		if want := t.In(i); !given.IsValid() {
			given = reflect.Zero(want)
		} else if !given.Type().AssignableTo(want) {
			return v, false, fmt.Errorf("%s takes %s, not %s", name, want, given.Type())
		}
		in[i] = given
	}
	v = f.Call(in)[0]
	return v, v.Type() == reflect.TypeFor[HTML](), nil
}

// print writes a value.
func (x *execution) print(v reflect.Value, trusted bool) error {
	v = indirect(v)
	if !v.IsValid() {
		return errors.New("nothing cannot be shown")
	}
	var err error
	if trusted {
		_, err = io.WriteString(x.w, v.String())
	} else {
		_, err = escaper.WriteString(x.w, fmt.Sprint(v.Interface()))
	}
	return err //nolint:wrapcheck // the writer's own
}

// indirect follows pointers and interfaces.
func indirect(v reflect.Value) reflect.Value {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	return v
}

// truth reports whether a value counts as true: it is not false, 0, empty or nil.
func truth(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Invalid:
		return false
	case reflect.Slice, reflect.Map, reflect.String:
		return v.Len() > 0
	case reflect.Interface:
		return truth(v.Elem())
	case reflect.Struct:
		return true
	default:
		return !v.IsZero()
	}
}
