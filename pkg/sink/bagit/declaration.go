package bagit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// version is a version of BagIt.
type version struct{ major, minor int }

// known are the versions that differ in nothing that is checked here from those that are named.
func (v version) known() bool { return v.major == 0 && 93 <= v.minor && v.minor <= 97 || v == final }

// final is RFC 8493.
var final = version{1, 0}

func (v version) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

// decoder makes UTF-8 of a tag file.
type decoder func(r io.Reader) io.Reader

// decoders are the encodings of tag files that are known, by their names in lower case.
var decoders = map[string]decoder{
	"utf-8": func(r io.Reader) io.Reader { return r },
	"utf-16": func(r io.Reader) io.Reader {
		return transform.NewReader(r, unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewDecoder())
	},
	"utf-16be": func(r io.Reader) io.Reader {
		return transform.NewReader(r, unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM).NewDecoder())
	},
	"utf-16le": func(r io.Reader) io.Reader {
		return transform.NewReader(r, unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewDecoder())
	},
	"iso-8859-1":   func(r io.Reader) io.Reader { return transform.NewReader(r, charmap.ISO8859_1.NewDecoder()) },
	"windows-1252": func(r io.Reader) io.Reader { return transform.NewReader(r, charmap.Windows1252.NewDecoder()) },
	"us-ascii":     func(r io.Reader) io.Reader { return r },
}

var (
	versionLine  = regexp.MustCompile(`^BagIt-Version[ \t]*:[ \t]*([0-9]{1,4})\.([0-9]{1,4})[ \t]*$`)
	encodingLine = regexp.MustCompile(`^Tag-File-Character-Encoding[ \t]*:[ \t]*([^ \t]{1,40})[ \t]*$`)
	strictLine   = regexp.MustCompile(`^[^ \t:]+: [^ \t]+$`)
)

const declarationFile = "bagit.txt"

// readDeclaration reads bagit.txt: two lines, in every bag UTF-8 without a byte-order mark.
func (c *checker) readDeclaration(ctx context.Context) error {
	b, err := c.small(ctx, declarationFile)
	if b == nil || err != nil {
		return err
	}
	bad := func(format string, args ...any) { c.problem(declarationFile, format, args...) }
	if bytes.HasPrefix(b, []byte("\ufeff")) {
		bad("it begins with a byte-order mark")
		b = b[len("\ufeff"):]
	}
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(b))
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) != 2 {
		bad("it has %d lines, and not the two that declare version and encoding", len(lines))
		return nil
	}
	number, encoding := versionLine.FindStringSubmatch(lines[0]), encodingLine.FindStringSubmatch(lines[1])
	switch {
	case number == nil:
		bad("its first line is %s, and not BagIt-Version: M.N", quote(lines[0]))
		return nil
	case encoding == nil:
		bad("its second line is %s, and not Tag-File-Character-Encoding: NAME", quote(lines[1]))
		return nil
	}
	c.version.major, _ = strconv.Atoi(number[1])
	c.version.minor, _ = strconv.Atoi(number[2])
	c.report.Plain.Version, c.report.Plain.Encoding = c.version.String(), encoding[1]
	if !c.version.known() {
		bad("BagIt-Version %s is none that this program knows: 0.93 to 0.97, and 1.0", c.version)
	}
	for _, line := range lines {
		if !strictLine.MatchString(line) && c.version == final {
			bad("there are blanks beside the one after the colon: %s", quote(line))
		}
	}
	if c.decode = decoders[strings.ToLower(encoding[1])]; c.decode == nil {
		c.unknown = append(c.unknown, fmt.Errorf("tag files are encoded in %s, which this program does not know", quote(encoding[1])))
	}
	return nil
}
