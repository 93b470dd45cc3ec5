package sink_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

var digestA = strings.Repeat("ab", 32)

func TestManifestLine(t *testing.T) {
	for _, tc := range []struct{ name, path, printed string }{
		{"plain", "data/export.json", "data/export.json"},
		{"blanks", "data/a b", "data/a b"},
		{"line breaks and percent", "data/a\r\n%0A", "data/a%0D%0A%250A"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			line := sink.AppendManifestLine(nil, sink.ManifestLine{SHA256: digestA, Path: sink.Path(tc.path)})
			if want := digestA + "  " + tc.printed + "\n"; string(line) != want {
				t.Errorf("printed %q, want %q", line, want)
			}
			back, err := sink.ParseManifestLine(line[:len(line)-1])
			if err != nil || back.SHA256 != digestA || string(back.Path) != tc.path {
				t.Errorf("parsed %+v, %v", back, err)
			}
		})
	}
	for name, line := range map[string]string{
		"empty":             "",
		"no path":           digestA + "  ",
		"one blank":         digestA + " data/a",
		"binary mode":       digestA + " *data/a",
		"upper case":        strings.ToUpper(digestA) + "  data/a",
		"short digest":      digestA[2:] + "  data/a",
		"carriage return":   digestA + "  data/a\r",
		"unknown encoding":  digestA + "  data/%41",
		"lower-case escape": digestA + "  data/%0a",
		"cut escape":        digestA + "  data/%2",
	} {
		if l, err := sink.ParseManifestLine([]byte(line)); err == nil {
			t.Errorf("%s: parsed %+v", name, l)
		}
	}
}

func TestManifestLinesGoOn(t *testing.T) {
	text := digestA + "  data/a\nnonsense\n" + digestA + "  data/" + strings.Repeat("x", 70_000) + "\n" + digestA + "  data/b\n" + digestA + "  data/cut"
	var good []string
	var bad []string
	for l, err := range sink.ManifestLines(strings.NewReader(text)) {
		if err != nil {
			bad = append(bad, err.Error())
			continue
		}
		good = append(good, string(l.Path))
	}
	if strings.Join(good, " ") != "data/a data/b" || len(bad) != 3 || !strings.Contains(bad[0], "line 2") {
		t.Errorf("good %q, bad %q", good, bad)
	}
	cause := errors.New("the network is gone")
	for _, err := range sink.ManifestLines(iotest.ErrReader(cause)) {
		var readErr *sink.ReadError
		if !errors.As(err, &readErr) || !errors.Is(err, cause) {
			t.Errorf("got %v", err)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(digestA + "  data/export.json\n"))
	f.Add([]byte(digestA + "  data/a%0Ab%25\n" + digestA + "  data/b\n"))
	f.Add([]byte(digestA + " *data/b\r\n"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var printed []byte
		for l, err := range sink.ManifestLines(bytes.NewReader(text)) {
			if err != nil {
				return
			}
			printed = sink.AppendManifestLine(printed, l)
		}
		if !bytes.Equal(printed, text) {
			t.Errorf("parsed and printed, %q became %q", text, printed)
		}
	})
}

func FuzzManifestPath(f *testing.F) {
	f.Add("data/a")
	f.Add("data/%0A\n\r%%")
	f.Fuzz(func(t *testing.T, path string) {
		line := sink.AppendManifestLine(nil, sink.ManifestLine{SHA256: digestA, Path: sink.Path(path)})
		if bytes.Count(line, []byte("\n")) != 1 {
			t.Fatalf("path %q makes more than a line: %q", path, line)
		}
		back, err := sink.ParseManifestLine(line[:len(line)-1])
		if path == "" {
			return
		}
		if err != nil || string(back.Path) != path {
			t.Errorf("path %q came back as %q, %v", path, back.Path, err)
		}
	})
}
