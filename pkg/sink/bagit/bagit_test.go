package bagit_test

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	"github.com/cvconsumer/cvconsumer/pkg/sink/bagit"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify/verifytest"
)

// memory is a bag held in memory, of which some files cannot be read.
type memory map[string]string

const unreadable = "\x00unreadable"

func (m memory) List(ctx context.Context) iter.Seq2[verify.File, error] {
	return verifytest.Memory(m).List(ctx)
}

func (m memory) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if m[name] == unreadable {
		return nil, errors.New("permission denied")
	}
	return verifytest.Memory(m).Open(ctx, name)
}

func sum(algorithm, text string) string {
	switch b := []byte(text); algorithm {
	case "md5":
		return fmt.Sprintf("%x", md5.Sum(b))
	case "sha1":
		return fmt.Sprintf("%x", sha1.Sum(b))
	case "sha224":
		return fmt.Sprintf("%x", sha256.Sum224(b))
	case "sha384":
		return fmt.Sprintf("%x", sha512.Sum384(b))
	case "sha512":
		return fmt.Sprintf("%x", sha512.Sum512(b))
	default:
		return fmt.Sprintf("%x", sha256.Sum256(b))
	}
}

const (
	hello = "data/hello.txt"
	deep  = "data/a/b/deep.txt"
)

// bag is a bag of a version, with manifests of these algorithms.
func bag(version string, algorithms ...string) memory {
	m := memory{
		"bagit.txt": "BagIt-Version: " + version + "\nTag-File-Character-Encoding: UTF-8\n",
		hello:       "hello\n", deep: "deep\n",
		"bag-info.txt": "Source-Organization: Some\n  Library\nPayload-Oxum: 11.2\n",
	}
	for _, a := range algorithms {
		m["manifest-"+a+".txt"] = sum(a, m[hello]) + "  " + hello + "\n" + sum(a, m[deep]) + "  " + deep + "\n"
	}
	return m
}

// tagged adds a tag manifest over all tag files.
func (m memory) tagged(algorithm string) memory {
	text := ""
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if !strings.HasPrefix(name, "data/") && !strings.HasPrefix(name, "tagmanifest-") {
			text += sum(algorithm, m[name]) + " " + name + "\n"
		}
	}
	m["tagmanifest-"+algorithm+".txt"] = text
	return m
}

// with changes a file.
func (m memory) with(name, content string) memory {
	m[name] = content
	return m
}

// many adds ten files.
func many(m memory, name, content string) memory {
	for i := range 10 {
		m[fmt.Sprintf(name, i)] = content
	}
	return m
}

// without removes a file.
func (m memory) without(name string) memory {
	delete(m, name)
	return m
}

// edit replaces a part of a file.
func (m memory) edit(name, from, to string) memory {
	if !strings.Contains(m[name], from) {
		panic(name + " does not have " + from)
	}
	m[name] = strings.ReplaceAll(m[name], from, to)
	return m
}

// encoded encodes all tag files but bagit.txt.
func (m memory) encoded(name string, encode func(string) (string, error)) memory {
	m.edit("bagit.txt", "UTF-8", name)
	for file, text := range m {
		if file == "bagit.txt" || strings.HasPrefix(file, "data/") {
			continue
		}
		var err error
		if m[file], err = encode(text); err != nil {
			panic(err)
		}
	}
	return m
}

// TestBags goes through the cases of the Library of Congress's conformance suite, and others.
func TestBags(t *testing.T) {
	const sha = "manifest-sha256.txt"
	helloSum := sum("sha256", "hello\n")
	long := strings.Repeat("x", 64<<10)
	named := func(name, listed string) memory {
		return bag("1.0", "sha256").without(hello).with(name, "hello\n").edit(sha, hello, listed)
	}
	utf16 := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)
	for _, c := range []struct {
		name   string
		bag    memory
		result verify.Result
		says   string // a problem, a note or the error
	}{
		// As they should be.
		{"version 1.0", bag("1.0", "sha256").tagged("sha256"), verify.OK, ""},
		{"version 0.97", bag("0.97", "md5").tagged("md5"), verify.OK, ""},
		{"version 0.93", bag("0.93", "md5"), verify.OK, ""},
		{"metadata of old versions", bag("0.95", "md5").with("package-info.txt", "Payload-Oxum: 11.2\r\n").without("bag-info.txt"), verify.OK, ""},
		{"every algorithm", bag("1.0", "md5", "sha1", "sha224", "sha256", "sha384", "sha512").tagged("sha1").tagged("sha512"), verify.OK, ""},
		{"digests in upper case", bag("1.0", "sha256").edit(sha, helloSum, strings.ToUpper(helloSum)), verify.OK, ""},
		{"lines end in CRLF", bag("0.97", "sha256").edit(sha, "\n", "\r\n").edit("bagit.txt", "\n", "\r\n").edit("bag-info.txt", "\n", "\r\n"), verify.OK, ""},
		{"lines end in CR", bag("1.0", "sha256").edit(sha, "\n", "\r").edit("bag-info.txt", "\n", "\r"), verify.OK, ""},
		{"the last line does not end", bag("1.0", "sha256").edit(sha, deep+"\n", deep).edit("bagit.txt", "UTF-8\n", "UTF-8"), verify.OK, ""},
		{"tabs and one blank", bag("1.0", "sha256").edit(sha, "  "+hello, "\t"+hello).edit(sha, "  "+deep, " "+deep), verify.OK, ""},
		{"blanks in names", named("data/test file .txt", "data/test file .txt"), verify.OK, ""},
		{"UTF-16 with a byte-order mark", bag("0.97", "sha256").with("bag-info.txt", "Contact-Name: Núñez\nPayload-Oxum: 11.2\n").encoded("UTF-16", utf16.NewEncoder().String).tagged("md5").without("tagmanifest-md5.txt"), verify.OK, ""},
		{"ISO-8859-1", bag("0.97", "sha256").without(hello).with("data/Núñez", "hello\n").edit(sha, hello, "data/Núñez").encoded("ISO-8859-1", charmap.ISO8859_1.NewEncoder().String), verify.OK, ""},
		{"a bag within a bag", named("data/bag/bagit.txt", "data/bag/bagit.txt"), verify.OK, ""},
		{"metadata twice, in other letters and with other separators", bag("0.97", "sha256").edit("bag-info.txt", "Source", "contact-name:   Some\nContact-Name : Other\nSource"), verify.OK, ""},
		{"a name that looks encoded, before it was", bag("0.97", "sha256").without(hello).with("data/%7Etest", "hello\n").edit(sha, hello, "data/%7Etest"), verify.OK, ""},
		{"an encoded line break", named("data/a\nb\r", "data/a%0Ab%0D"), verify.OK, ""},
		{"an encoded percent", named("data/100%", "data/100%25"), verify.OK, ""},
		{"a percent that encodes nothing", named("data/100%", "data/100%"), verify.OK, ""},
		{"fetched already", bag("1.0", "sha256").with("fetch.txt", "https://host.example/hello.txt 6 "+hello+"\nhttps://host.example/deep - "+deep+"\n"), verify.OK, ""},
		{"no metadata", bag("1.0", "sha256").without("bag-info.txt"), verify.OK, ""},
		{"any manifest lists it, before 1.0", bag("0.97", "md5", "sha256").edit(sha, helloSum+"  "+hello+"\n", ""), verify.OK, ""},
		{"nothing", memory{"bagit.txt": "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n", sha: "", "bag-info.txt": "Payload-Oxum: 0.0\n"}, verify.OK, ""},

		// Unusual, and right.
		{"a leading ./", bag("0.97", "sha256").edit(sha, hello, "./"+hello), verify.OK, "should not begin with ./"},
		{"made with sha256sum", bag("0.97", "sha256").edit(sha, " "+hello, "*"+hello), verify.OK, "should not begin with *"},
		{"the same twice, before 1.0", bag("0.97", "sha256").edit(sha, deep+"\n", deep+"\n"+helloSum+"  "+hello+"\n"), verify.OK, "twice"},
		{"the same twice in other letters", bag("0.97", "sha256").edit(sha, deep+"\n", deep+"\n"+helloSum+"  data/HELLO.txt\n"), verify.OK, "case of letters"},
		{"composed otherwise", bag("1.0", "sha256").without(hello).with("data/N\u00fa\u00f1ez", "hello\n").edit(sha, hello, "data/Nu\u0301n\u0303ez"), verify.OK, "composed characters"},
		{"a byte-order mark in a tag file", bag("1.0", "sha256").with("bag-info.txt", "\ufeffPayload-Oxum: 11.2\n"), verify.OK, "byte-order mark"},

		// Wrong.
		{"no bagit.txt", bag("1.0", "sha256").without("bagit.txt"), verify.Failed, "bagit.txt: it is missing"},
		{"no version", bag("1.0", "sha256").with("bagit.txt", "Tag-File-Character-Encoding: UTF-8\n"), verify.Failed, "has 1 lines"},
		{"no encoding", bag("0.97", "sha256").with("bagit.txt", "BagIt-Version: 0.97\n"), verify.Failed, "has 1 lines"},
		{"a version that is none", bag("0.97", "sha256").edit("bagit.txt", "0.97", ".97"), verify.Failed, `"BagIt-Version: .97"`},
		{"a version that is not known", bag("2.0", "sha256"), verify.Failed, "2.0 is none that this program knows"},
		{"blanks before the colon", bag("1.0", "sha256").edit("bagit.txt", ":", " :"), verify.Failed, "blanks beside"},
		{"a byte-order mark in bagit.txt", bag("0.97", "sha256").edit("bagit.txt", "BagIt", "\ufeffBagIt"), verify.Failed, "byte-order mark"},
		{"tag files in another encoding", bag("0.97", "sha256").with("bag-info.txt", "Contact-Name: N\xfa\xf1ez\n"), verify.Failed, "line 1 is not in the encoding of tag files"},
		{"UTF-16 declared, UTF-8 there", bag("0.97", "sha256").edit("bagit.txt", "UTF-8", "UTF-16"), verify.Failed, sha + ": line"},
		{"a damaged file", bag("1.0", "sha256").with(hello, "HELLO\n"), verify.Failed, hello + ": its sha256 digest is"},
		{"a damaged file, by one of two manifests", bag("1.0", "md5", "sha256").edit("manifest-md5.txt", sum("md5", "hello\n"), sum("md5", "x")), verify.Failed, hello + ": its md5 digest is"},
		{"a damaged tag file", bag("1.0", "sha256").tagged("sha256").edit("bag-info.txt", "Some", "None"), verify.Failed, "bag-info.txt: its sha256 digest is"},
		{"a missing tag file", bag("0.97", "md5").tagged("md5").without("bag-info.txt"), verify.Failed, "bag-info.txt: it is missing"},
		{"a missing file", bag("1.0", "sha256").without(hello), verify.Failed, hello + ": it is missing"},
		{"an extra file", bag("1.0", "sha256").with("data/x", ""), verify.Failed, "data/x: it is in no manifest"},
		{"not in every manifest, since 1.0", bag("1.0", "md5", "sha256").edit(sha, helloSum+"  "+hello+"\n", ""), verify.Failed, hello + ": it is not in " + sha},
		{"wrong bytes", bag("1.0", "sha256").edit("bag-info.txt", "11.2", "12.2"), verify.Failed, "Payload-Oxum is 12.2, and there are 11 bytes in 2 files"},
		{"wrong count", bag("1.0", "sha256").edit("bag-info.txt", "11.2", "11.3"), verify.Failed, "Payload-Oxum is 11.3"},
		{"no numbers", bag("1.0", "sha256").edit("bag-info.txt", "11.2", "many"), verify.Failed, `Payload-Oxum is "many"`},
		{"one of two numbers is wrong", bag("1.0", "sha256").edit("bag-info.txt", "11.2", "11.2\npayload-oxum: 1.1"), verify.Failed, "Payload-Oxum is 1.1"},
		{"no manifest", bag("1.0").tagged("md5"), verify.Failed, "it has no payload manifest"},
		{"two digests", bag("0.97", "sha256").edit(sha, deep+"\n", deep+"\n"+sum("sha256", "x")+"  "+hello+"\n"), verify.Failed, "twice, with two digests"},
		{"two digests in other letters", bag("0.97", "sha256").edit(sha, deep+"\n", deep+"\n"+sum("sha256", "x")+"  data/HELLO.txt\n"), verify.Failed, "twice, with two digests"},
		{"the same twice, since 1.0", bag("1.0", "sha256").edit(sha, deep+"\n", deep+"\n"+helloSum+"  "+hello+"\n"), verify.Failed, "twice"},
		{"a digest of another algorithm", bag("1.0", "sha256").edit(sha, helloSum, sum("md5", "hello\n")), verify.Failed, "does not begin with a digest of sha256"},
		{"no path", bag("1.0", "sha256").edit(sha, "  "+hello, ""), verify.Failed, "line 1 has no path"},
		{"a line without an end", bag("1.0", "sha256").edit(sha, hello, "data/"+long), verify.Failed, "line 1 has more than 65536 bytes"},
		{"a tag manifest that lists itself", bag("1.0", "sha256").with("tagmanifest-md5.txt", sum("md5", "")+" tagmanifest-md5.txt\n"), verify.Failed, "does not list tag manifests"},
		{"a tag manifest without the manifest, since 1.0", bag("1.0", "sha256").with("tagmanifest-md5.txt", ""), verify.Failed, "it does not list " + sha},
		{"to fetch, and in no manifest", bag("1.0", "sha256").with("fetch.txt", "https://host.example/x - data/x\n"), verify.Failed, "which no manifest lists"},
		{"fetch.txt is none", bag("1.0", "sha256").with("fetch.txt", "https://host.example/x many "+hello+"\n"), verify.Failed, "line 1 is not URL LENGTH PATH"},
		{"it was ours", bag("1.0", "sha256").edit("bag-info.txt", "Payload", "Bag-Software-Agent: cvconsumer 1.0\nPayload"), verify.Failed, "receipt and evidence are missing"},

		// Of which nothing can be said.
		{"not fetched yet", bag("1.0", "sha256").without(hello).with("fetch.txt", "https://host.example/hello.txt - "+hello+"\n"), verify.Inconclusive, "1 files of fetch.txt have yet to be fetched"},
		{"a file cannot be read", bag("1.0", "sha256").with(hello, unreadable).without("bag-info.txt"), verify.Inconclusive, "open " + hello + ": permission denied"},
		{"an encoding that is not known", bag("1.0", "sha256").edit("bagit.txt", "UTF-8", "EBCDIC-XY"), verify.Inconclusive, `"EBCDIC-XY", which this program does not know`},
		{"manifests without end", many(bag("1.0", "sha256"), "manifest-x%d.txt", sum("md5", "")+" "+hello+"\n"+sum("md5", "")+" "+deep+"\n"), verify.Inconclusive, "there are 11 payload manifests: at most 10 are read"},
		{"tag manifests without end", many(bag("1.0", "sha256").tagged("md5"), "tagmanifest-x%d.txt", sum("md5", "")+" "+sha+"\n"), verify.Inconclusive, "there are 11 tag manifests: at most 10 are read"},
		{"an algorithm that is not known", bag("1.0").with("manifest-whirlpool.txt", "00112233 "+hello+"\n00112233 "+deep+"\n"), verify.Inconclusive, "2 files have digests of algorithms alone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := bagit.Check(t.Context(), c.bag, verify.Options{})
			said := fmt.Sprint(err, "\n", lines(r.Problems), lines(r.Plain.Notes))
			if r.Result != c.result || !strings.Contains(said, c.says) || (err != nil) != (c.result == verify.Inconclusive) {
				t.Errorf("%s: %s", r.Result, said)
			}
			if c.result == verify.OK && (c.says == "") != (len(r.Plain.Notes) == 0) {
				t.Errorf("it notes %s", said)
			}
		})
	}
}

func lines(problems []verify.Problem) (text string) {
	for _, p := range problems {
		text += p.Path + ": " + p.What + "\n"
	}
	return text
}

// TestPathsThatLeadElsewhere has a path that leads out of the bag in each of the files that have
// paths. It is a finding, and nothing is opened by it.
func TestPathsThatLeadElsewhere(t *testing.T) {
	for _, path := range []string{
		"../x", "../../../x", "data/../x", "data/../../x", "data/./x", "data//x", "/tmp/x", "//host/x", "~/x", "~root/x",
		`C:\Windows\x`, `%HomeDrive%\x`, `\\?\UNC\server\x`, `\\server\x`, "./../x", "data/%2e%2e/../x", "data/a/../../../x",
	} {
		digest := sum("sha256", "x")
		for file, text := range map[string]string{
			"manifest-sha256.txt":    digest + "  " + path + "\n",
			"tagmanifest-sha256.txt": digest + "  " + path + "\n",
			"fetch.txt":              "https://host.example/x - " + path + "\n",
		} {
			m := bag("0.97", "sha256")
			m[file] += text
			opened := &opens{memory: m}
			r, err := bagit.Check(t.Context(), opened, verify.Options{})
			if r.Result != verify.Failed || err != nil || !slices.ContainsFunc(r.Problems, func(p verify.Problem) bool { return p.Path == file }) {
				t.Errorf("%s in %s: %s, %v, %s", path, file, r.Result, err, lines(r.Problems))
			}
			for _, name := range opened.names {
				if _, there := m[name]; !there {
					t.Errorf("%s in %s: %s was opened", path, file, name)
				}
			}
		}
	}
}

// opens notes what is opened.
type opens struct {
	memory
	mu    sync.Mutex
	names []string
}

func (o *opens) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	o.mu.Lock()
	o.names = append(o.names, name)
	o.mu.Unlock()
	return o.memory.Open(ctx, name)
}

// TestReportIsPrintable has the text of a bag in its findings quoted and bounded.
func TestReportIsPrintable(t *testing.T) {
	hostile := "x\x1b[2J\u202e" + strings.Repeat("y", 10_000)
	m := bag("1.0", "sha256").with("data/"+hostile, "").with("bagit.txt", "BagIt-Version: "+hostile+"\nb\n")
	m["bag-info.txt"] += hostile + "\nPayload-Oxum: " + hostile + "\n"
	for _, m := range []memory{m, maps.Clone(m).with("bagit.txt", bag("1.0")["bagit.txt"])} {
		r, _ := bagit.Check(t.Context(), m, verify.Options{})
		for _, p := range r.Problems {
			if text := p.Path + p.What; strings.ContainsAny(text, "\x1b\u202e\n") || len(text) > 2000 {
				t.Errorf("%.100q", text)
			}
		}
		if r.Result != verify.Failed {
			t.Error(r.Result)
		}
	}
}
