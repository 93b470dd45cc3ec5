package handler_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The limits and places that TestArchitecture holds.
const (
	module          = "github.com/cvconsumer/cvconsumer"
	handlerDir      = "pkg/handler"
	maxMethods      = 7    // of an interface, those of embedded interfaces included
	maxPackageLines = 2500 // of production code, comments included
	maxFileLines    = 430
)

// TestArchitecture reads the production code of pkg/handler and of everything below it, and holds
// what no linter holds: one function ends a command, interfaces are small, no struct inherits
// methods, and no package or file grows beyond what can be read at once.
func TestArchitecture(t *testing.T) {
	code := parseModule(t, "../..")
	for _, rule := range []struct {
		name  string
		check func(*moduleCode) []string
	}{
		{"one function ends a command", (*moduleCode).checkEnds},
		{"interfaces are small", (*moduleCode).checkInterfaces},
		{"structs do not inherit methods", (*moduleCode).checkEmbedding},
		{"packages and files are short", (*moduleCode).checkLengths},
	} {
		t.Run(rule.name, func(t *testing.T) {
			for _, problem := range rule.check(code) {
				t.Error(problem)
			}
		})
	}
}

// moduleCode is the production code of this module's packages.
type moduleCode struct {
	positions *token.FileSet
	files     []*codeFile // sorted by path
	types     map[typeName]*codeType
}

// codeFile is one source file that is no test.
type codeFile struct {
	dir     string // slash-separated, relative to the module's root
	path    string
	lines   int
	syntax  *ast.File
	imports map[string]string // the directory in this module, by the name that the file uses for it
}

// typeName names a type of this module: the directory of its package, and its name there.
type typeName struct{ dir, name string }

// codeType is a type with what is declared of it.
type codeType struct {
	file    *codeFile
	expr    ast.Expr
	alias   bool
	methods map[string]bool // those declared with it as the receiver
}

// handlers are the files of pkg/handler and of the packages below it.
func (m *moduleCode) handlers() []*codeFile {
	return slices.DeleteFunc(slices.Clone(m.files), func(f *codeFile) bool {
		return f.dir != handlerDir && !strings.HasPrefix(f.dir, handlerDir+"/")
	})
}

// parseModule parses what lies below pkg in the module with this root.
func parseModule(t *testing.T, root string) *moduleCode {
	t.Helper()
	m := &moduleCode{positions: token.NewFileSet(), types: map[typeName]*codeType{}}
	err := filepath.WalkDir(filepath.Join(root, "pkg"), func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		f := &codeFile{path: filepath.ToSlash(relative), lines: bytes.Count(source, []byte("\n")), imports: map[string]string{}}
		f.dir = path.Dir(f.path)
		if f.syntax, err = parser.ParseFile(m.positions, f.path, source, parser.SkipObjectResolution); err != nil {
			return err
		}
		for _, spec := range f.syntax.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			dir, ours := strings.CutPrefix(imported, module+"/")
			switch {
			case !ours:
			case spec.Name != nil:
				f.imports[spec.Name.Name] = dir
			default: // packages of this module are named as their directories are
				f.imports[path.Base(dir)] = dir
			}
		}
		m.files = append(m.files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.handlers()) < 50 {
		t.Fatalf("%s has only %d files: is it elsewhere?", handlerDir, len(m.handlers()))
	}
	for _, f := range m.files {
		m.addTypes(f)
	}
	for _, f := range m.files {
		m.addMethods(f)
	}
	return m
}

// addTypes notes the types that a file declares at package level.
func (m *moduleCode) addTypes(f *codeFile) {
	for _, d := range f.syntax.Decls {
		declared, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range declared.Specs {
			if spec, ok := s.(*ast.TypeSpec); ok {
				m.types[typeName{f.dir, spec.Name.Name}] = &codeType{
					file: f, expr: spec.Type, alias: spec.Assign.IsValid(), methods: map[string]bool{},
				}
			}
		}
	}
}

// addMethods notes the methods that a file declares.
func (m *moduleCode) addMethods(f *codeFile) {
	for _, d := range f.syntax.Decls {
		declared, ok := d.(*ast.FuncDecl)
		if !ok || declared.Recv == nil {
			continue
		}
		if of := m.named(f, declared.Recv.List[0].Type); of != nil {
			of.methods[declared.Name.Name] = true
		}
	}
}

// named is the type of this module that an expression names, if it does: T, *T, T[U] or package.T.
func (m *moduleCode) named(f *codeFile, x ast.Expr) *codeType {
	switch x := x.(type) {
	case *ast.StarExpr:
		return m.named(f, x.X)
	case *ast.ParenExpr:
		return m.named(f, x.X)
	case *ast.IndexExpr:
		return m.named(f, x.X)
	case *ast.IndexListExpr:
		return m.named(f, x.X)
	case *ast.Ident:
		return m.types[typeName{f.dir, x.Name}]
	case *ast.SelectorExpr:
		if p, ok := x.X.(*ast.Ident); ok && f.imports[p.Name] != "" {
			return m.types[typeName{f.imports[p.Name], x.Sel.Name}]
		}
	}
	return nil
}

// methodsOf are the methods that a type of this module has: declared, inherited from what it
// embeds, or demanded by an interface. What other modules' types have is left out.
func (m *moduleCode) methodsOf(of *codeType) map[string]bool {
	all := maps.Clone(of.methods)
	switch x := of.expr.(type) {
	case *ast.StructType:
		for _, field := range x.Fields.List {
			if embedded := m.named(of.file, field.Type); embedded != nil && len(field.Names) == 0 {
				maps.Copy(all, m.methodsOf(embedded))
			}
		}
	case *ast.InterfaceType:
		maps.Copy(all, m.demanded(of.file, x))
	default: // an alias has what its type has, another definition what an interface demands
		if under := m.named(of.file, x); under != nil {
			if _, demands := under.expr.(*ast.InterfaceType); demands || of.alias {
				maps.Copy(all, m.methodsOf(under))
			}
		}
	}
	return all
}

// demanded are the methods of an interface, those of embedded interfaces included.
func (m *moduleCode) demanded(f *codeFile, x *ast.InterfaceType) map[string]bool {
	all := map[string]bool{}
	for _, element := range x.Methods.List {
		for _, name := range element.Names {
			all[name.Name] = true
		}
		if embedded := m.named(f, element.Type); embedded != nil && len(element.Names) == 0 {
			maps.Copy(all, m.methodsOf(embedded))
		}
	}
	return all
}

// at says where a node is, as file:line.
func (m *moduleCode) at(n ast.Node) string {
	p := m.positions.Position(n.Pos())
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// endFunctions are the only functions that may use what publishes events, and what makes them.
var endFunctions = map[string][]string{
	"PublishDead":  {"publishTerminal"},
	"PublishEvent": {"publishTerminal", "publishAccepted", "publishDuplicate"}, // and those that publish what NewProgressEvent made
	"NewEvent":     {"terminalChange", "publishAccepted", "publishDuplicate"},
}

// checkEnds holds that one function publishes terminal events and dead letters, so that a command
// cannot end in two ways, and that events are made where a command is accepted, where it ends, and
// where a message that only repeats another is answered.
func (m *moduleCode) checkEnds() (problems []string) {
	used := map[string]map[string]ast.Decl{} // by what is used: the functions that do, by name
	for _, f := range m.handlers() {
		for _, d := range f.syntax.Decls {
			function := "the package's variables"
			if declared, ok := d.(*ast.FuncDecl); ok {
				function = declared.Name.Name
			}
			progress := map[ast.Node]bool{} // uses of PublishEvent for a progress event
			ast.Inspect(d, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && m.publishesProgress(f, call) {
					progress[call.Fun] = true
				}
				use, ok := n.(*ast.SelectorExpr)
				if !ok || progress[use] {
					return true
				}
				what := use.Sel.Name
				allowed, watched := endFunctions[what]
				if !watched || what == "NewEvent" && m.imported(f, use) != handlerDir+"/contract" {
					return true
				}
				first := used[what][function]
				if f.dir != handlerDir || !slices.Contains(allowed, function) || first != nil && first != d {
					problems = append(problems, fmt.Sprintf("%s: %s uses %s; in %s only %s may, each declared once: return an action.Result, which the coordinator turns into job, event and acknowledgement",
						m.at(use), function, what, handlerDir, strings.Join(allowed, " and ")))
					return true
				}
				if used[what] == nil {
					used[what] = map[string]ast.Decl{}
				}
				used[what][function] = d
				return true
			})
		}
	}
	for what, allowed := range endFunctions {
		for _, function := range allowed {
			if used[what][function] == nil {
				problems = append(problems, fmt.Sprintf("%s: no function %s uses %s: where it has another name now, change endFunctions in this test", handlerDir, function, what))
			}
		}
	}
	return problems
}

// publishesProgress reports whether a call is PublishEvent(ctx, contract.NewProgressEvent(…)).
func (m *moduleCode) publishesProgress(f *codeFile, call *ast.CallExpr) bool {
	use, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || use.Sel.Name != "PublishEvent" || len(call.Args) != 2 {
		return false
	}
	made, ok := call.Args[1].(*ast.CallExpr)
	if !ok {
		return false
	}
	by, ok := made.Fun.(*ast.SelectorExpr)
	return ok && by.Sel.Name == "NewProgressEvent" && m.imported(f, by) == handlerDir+"/contract"
}

// imported is the directory of the package of this module that a selector is of; empty if it is of
// none.
func (m *moduleCode) imported(f *codeFile, use *ast.SelectorExpr) string {
	if p, ok := use.X.(*ast.Ident); ok {
		return f.imports[p.Name]
	}
	return ""
}

// checkInterfaces holds that interfaces are small enough to be stood in for.
func (m *moduleCode) checkInterfaces() (problems []string) {
	for _, f := range m.handlers() {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			x, ok := n.(*ast.InterfaceType)
			if !ok {
				return true
			}
			if methods := m.demanded(f, x); len(methods) > maxMethods {
				problems = append(problems, fmt.Sprintf("%s: an interface of %d methods (%s), %d are allowed: ask for less, or split it by what its users need",
					m.at(x), len(methods), strings.Join(slices.Sorted(maps.Keys(methods)), ", "), maxMethods))
			}
			for _, element := range x.Methods.List {
				if _, foreign := element.Type.(*ast.SelectorExpr); foreign && m.named(f, element.Type) == nil {
					problems = append(problems, fmt.Sprintf("%s: an interface embeds one of another module, whose methods are not counted here: name the methods instead", m.at(element)))
				}
			}
			return true
		})
	}
	return problems
}

// checkEmbedding holds that no struct inherits the methods of another type of this module. natsq
// is left out.
func (m *moduleCode) checkEmbedding() (problems []string) {
	for _, f := range m.handlers() {
		if f.dir == handlerDir+"/natsq" {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			x, ok := n.(*ast.StructType)
			if !ok {
				return true
			}
			for _, field := range x.Fields.List {
				embedded := m.named(f, field.Type)
				if embedded == nil || len(field.Names) > 0 {
					continue
				}
				if methods := m.methodsOf(embedded); len(methods) > 0 {
					problems = append(problems, fmt.Sprintf("%s: a struct embeds a type with methods (%s) and inherits them: make it a named field",
						m.at(field), strings.Join(slices.Sorted(maps.Keys(methods)), ", ")))
				}
			}
			return true
		})
	}
	return problems
}

// checkLengths holds that packages and files stay short enough to be read at once.
func (m *moduleCode) checkLengths() (problems []string) {
	packages := map[string]int{}
	for _, f := range m.handlers() {
		packages[f.dir] += f.lines
		if f.lines > maxFileLines {
			problems = append(problems, fmt.Sprintf("%s:%d: the file has %d lines, %d are allowed: split it by what it tells", f.path, maxFileLines+1, f.lines, maxFileLines))
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		if n := packages[dir]; n > maxPackageLines {
			problems = append(problems, fmt.Sprintf("%s:1: the package has %d lines without tests, %d are allowed: move a part that stands by itself into a package of its own", dir, n, maxPackageLines))
		}
	}
	return problems
}
