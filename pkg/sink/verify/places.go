package verify

import (
	"context"
	"fmt"
	"io"
	"iter"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// maxFound is how many bags one place may hold.
const maxFound = 100_000

// Place is what a place holds.
type Place struct {
	Bags   []Located // in the order of their roots
	Loose  int       // how many files are in none of them, working objects not counted
	Sample string    // one of these files
}

// Located is a bag in a place.
type Located struct {
	Root   string // within the place, with a slash at its end; empty: the place itself
	Source Source
}

// Look finds the bags of a place: the place itself, if a file that only bags have is right there,
// else every folder below it that has such a file. It does not look for bags within bags. A place
// without such a file counts as one bag, of which everything is missing.
func Look(ctx context.Context, src Source) (Place, error) {
	roots := map[string]struct{}{}
	for file, err := range src.List(ctx) {
		if err != nil {
			return Place{}, err
		}
		root, ok := rootOf(file.Name)
		if !ok {
			continue
		}
		if root == "" {
			return Place{Bags: []Located{{Source: src}}}, nil
		}
		if roots[root] = struct{}{}; len(roots) > maxFound {
			return Place{}, fmt.Errorf("there are more than %d bundles here: name a folder or prefix below this one", maxFound)
		}
	}
	if len(roots) == 0 {
		return Place{Bags: []Located{{Source: src}}}, nil
	}
	p := Place{}
	for root := range roots {
		if _, within := enclosing(roots, root); !within {
			p.Bags = append(p.Bags, Located{Root: root, Source: below(src, root)})
		}
	}
	slices.SortFunc(p.Bags, func(a, b Located) int { return strings.Compare(a.Root, b.Root) })
	for file, err := range src.List(ctx) {
		if err != nil {
			return Place{}, err
		}
		if _, within := enclosing(roots, file.Name); !within && !working(file.Name) {
			if p.Loose++; p.Loose == 1 {
				p.Sample = file.Name
			}
		}
	}
	return p, nil
}

// rootOf is the root of the bag that has the file, if it is one that only bags have.
func rootOf(name string) (root string, ok bool) {
	dir, base := path.Split(name)
	switch {
	case name == string(sink.FailureFile), strings.HasSuffix(name, "/"+string(sink.FailureFile)):
		return strings.TrimSuffix(name, string(sink.FailureFile)), true
	case base == string(sink.BagItFile), base == string(sink.BagInfoFile), base == string(sink.ReceiptFile), base == string(sink.SignatureFile):
		return dir, true
	case path.Ext(base) == ".txt" && (strings.HasPrefix(base, "manifest-") || strings.HasPrefix(base, "tagmanifest-")):
		return dir, true
	}
	return "", false
}

// enclosing is the outermost root that a name lies in. A root does not lie in itself.
func enclosing(roots map[string]struct{}, name string) (root string, ok bool) {
	for i := range len(name) - 1 {
		if name[i] != '/' {
			continue
		}
		if _, ok := roots[name[:i+1]]; ok {
			return name[:i+1], true
		}
	}
	return "", false
}

// working reports whether a file is one that the service keeps beside its bags.
func working(name string) bool {
	return strings.Contains("/"+name, "/.work/") || path.Base(name) == ".deployment"
}

// below is the part of a source below a root that ends in a slash.
func below(src Source, root string) Source {
	switch src := src.(type) {
	case dirSource:
		return Dir(filepath.Join(string(src), filepath.FromSlash(root)))
	case storeSource:
		return Stored(src.store, src.root+sink.Key(root))
	case *Zip:
		return src.below(root)
	}
	return part{src, root}
}

// part is a part of a source.
type part struct {
	whole Source
	root  string
}

// List implements Source.
func (p part) List(ctx context.Context) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		for file, err := range p.whole.List(ctx) {
			within := false
			if file.Name, within = strings.CutPrefix(file.Name, p.root); !within && err == nil {
				continue
			}
			if !yield(file, err) || err != nil {
				return
			}
		}
	}
}

// Open implements Source.
func (p part) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	return p.whole.Open(ctx, p.root+name)
}

// Foreign reports whether another tool made the bag: it has files that only bags have, and none
// that only this program makes. It is false if a file cannot be read.
func Foreign(ctx context.Context, src Source) bool {
	for _, name := range []sink.Path{sink.ReceiptFile, sink.ExportFile, sink.DeletionFile, sink.RequestFile, sink.FailureFile, sink.SignatureFile} {
		body, err := src.Open(ctx, string(name))
		if err == nil {
			_ = body.Close()
			return false
		}
		if !IsMissing(err) {
			return false
		}
	}
	for file, err := range src.List(ctx) {
		if err != nil {
			return false
		}
		if root, ok := rootOf(file.Name); ok && root == "" {
			return true
		}
	}
	return false
}
