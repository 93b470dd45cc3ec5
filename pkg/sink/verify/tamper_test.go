package verify_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// tampering is a change of a bag after which everything is recomputed that an attacker without a
// key can recompute. It must be found.
type tampering struct {
	name   string
	change func(e *editor)
	want   string // in what is found; ASCII only
	raw    bool   // nothing is recomputed
	blob   bool   // only a picture, a model or a page is changed, into which Statements does not look
}

// editor changes a bag. A change that changes nothing fails the test.
type editor struct {
	t *testing.T
	m memory
}

// swap replaces a text in files; a name may have a star at its end.
func (e *editor) swap(names, old, new string) {
	e.t.Helper()
	for pattern := range strings.SplitSeq(names, " ") {
		n := 0
		for _, name := range e.match(pattern) {
			n += strings.Count(e.m[name], old)
			e.m[name] = strings.ReplaceAll(e.m[name], old, new)
		}
		if n == 0 {
			e.t.Fatalf("no %s has %s", pattern, old)
		}
	}
}

// match is the files of a name, which may have stars.
func (e *editor) match(pattern string) (names []string) {
	for name := range e.m {
		if ok, err := filepath.Match(pattern, name); err == nil && ok {
			names = append(names, name)
		}
	}
	return names
}

// put adds or replaces a file.
func (e *editor) put(name, content string) { e.m[name] = content }

// drop removes files.
func (e *editor) drop(patterns ...string) {
	e.t.Helper()
	for _, pattern := range patterns {
		names := e.match(pattern)
		if len(names) == 0 {
			e.t.Fatalf("there is no %s", pattern)
		}
		for _, name := range names {
			delete(e.m, name)
		}
	}
}

// lines changes the lines of files that contain a text: with its result, or away when that is
// empty.
func (e *editor) lines(pattern, having string, to func(line string) string) {
	e.t.Helper()
	n := 0
	for _, name := range e.match(pattern) {
		var out strings.Builder
		for line := range strings.Lines(e.m[name]) {
			if strings.Contains(line, having) {
				line = to(line)
				n++
			}
			out.WriteString(line)
		}
		e.m[name] = out.String()
	}
	if n == 0 {
		e.t.Fatalf("no line of %s has %s", pattern, having)
	}
}

func away(string) string       { return "" }
func twice(line string) string { return line + line }
func say(names, old, new string) func(*editor) {
	return func(e *editor) { e.swap(names, old, new) }
}

func tampered(t *testing.T, base memory, c tampering) memory {
	t.Helper()
	e := &editor{t: t, m: maps.Clone(base)}
	c.change(e)
	if c.raw {
		return e.m
	}
	return forge(t, e.m)
}

// TestTampering changes bags of all kinds in more than two hundred ways. Each is found, in a folder
// as in S3 (under the race detector: one in twelve in S3).
func TestTampering(t *testing.T) {
	golden := load(t, "two-tags")
	n := 0
	for _, kind := range []struct {
		name  string
		bag   memory
		cases []tampering
	}{
		{"export", golden, exportTamperings()},
		{"export_first", firstOf(t, golden), firstTamperings()},
		{"delete", deletion(t, false), deleteTamperings()},
		{"plan", deletion(t, true), planTamperings()},
	} {
		n += len(kind.cases)
		folder, stored := newFolder(t, kind.bag), newStored(t, kind.bag)
		for i, c := range kind.cases {
			t.Run(kind.name+"/"+c.name, func(t *testing.T) {
				m := tampered(t, kind.bag, c)
				got := problems(t, m)
				if !strings.Contains(got, c.want) {
					t.Errorf("want %q in\n%s", c.want, got)
				}
				if strings.ContainsFunc(strings.ReplaceAll(got, "\n", ""), func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Errorf("characters that are not printable in %q", got)
				}
				if without := findings(t, m, verify.Statements); without != got && !c.blob {
					t.Errorf("want\n%s\nwithout a look into pictures and models\n%s", got, without)
				}
				places := []place{folder, stored}
				if every := 1 + 11*race; i%every > 0 {
					places = places[:1]
				}
				for _, place := range places {
					place.hold(t, m)
					if there := problems(t, place.source()); there != got {
						t.Errorf("in memory\n%s\nin %T\n%s", got, place, there)
					}
				}
			})
		}
	}
	if n < 80 {
		t.Errorf("only %d kinds of tampering", n)
	}
}

// place is where a bag is stored.
type place interface {
	hold(t *testing.T, m memory)
	source() verify.Source
}

// changes tells which files a place must write and remove to hold a bag.
func changes(held *memory, m memory, write func(name, content string), remove func(name string)) {
	for name := range *held {
		if _, ok := m[name]; !ok {
			remove(name)
		}
	}
	for name, content := range m {
		if old, ok := (*held)[name]; !ok || old != content {
			write(name, content)
		}
	}
	*held = m
}

type folder struct {
	dir  string
	held memory
}

func newFolder(t *testing.T, m memory) *folder {
	f := &folder{dir: t.TempDir()}
	f.hold(t, m)
	return f
}

func (f *folder) source() verify.Source { return verify.Dir(f.dir) }

func (f *folder) hold(t *testing.T, m memory) {
	t.Helper()
	changes(&f.held, m, func(name, content string) {
		path := filepath.Join(f.dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(content), 0o600))
	}, func(name string) { must(t, os.Remove(filepath.Join(f.dir, name))) })
}

type stored struct {
	server *sinktest.Server
	bucket string
	held   memory
}

func newStored(t *testing.T, m memory) *stored {
	server := sinktest.Shared(t)
	s := &stored{server: server, bucket: server.Bucket(t, sinktest.BucketOptions{})}
	s.hold(t, m)
	return s
}

func (s *stored) source() verify.Source {
	return verify.Stored(sink.NewStore(s.server.Client(), sink.StoreOptions{Bucket: s.bucket}), "p/bag/")
}

func (s *stored) hold(t *testing.T, m memory) {
	t.Helper()
	key := func(name string) *string { return aws.String("p/bag/" + name) }
	changes(&s.held, m, func(name, content string) {
		_, err := s.server.Client().PutObject(context.Background(), &s3.PutObjectInput{Bucket: &s.bucket, Key: key(name), Body: strings.NewReader(content)})
		must(t, err)
	}, func(name string) {
		_, err := s.server.Client().DeleteObject(context.Background(), &s3.DeleteObjectInput{Bucket: &s.bucket, Key: key(name)})
		must(t, err)
	})
}
