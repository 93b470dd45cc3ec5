package bagit

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// digest is the first half of a SHA-256, or the beginning of another digest.
type digest [16]byte

// manifest is a payload manifest, whose slices go with the payload.
type manifest struct {
	name      string
	algorithm string
	sums      []digest
	listed    []bool
}

// missing is a line of a manifest whose file was not found under its name.
type missing struct {
	path string
	of   *manifest
	sum  digest
}

var manifestName = regexp.MustCompile(`^(tag)?manifest-([A-Za-z0-9_-]{1,40})\.txt$`)

// manifestNames are the manifests of a kind, sorted. More than can be read are an error.
func (c *checker) manifestNames(tag bool) ([]string, error) {
	var names []string
	for name := range c.tags {
		if m := manifestName.FindStringSubmatch(name); m != nil && (m[1] != "") == tag {
			names = append(names, name)
		}
	}
	if len(names) > maxOfKind {
		kind := map[bool]string{false: "payload", true: "tag"}[tag]
		return nil, fmt.Errorf("there are %d %s manifests: at most %d are read", len(names), kind, maxOfKind)
	}
	slices.Sort(names)
	return names, nil
}

func algorithmOf(name string) string {
	return strings.ToLower(manifestName.FindStringSubmatch(name)[2])
}

// readManifests reads all payload manifests.
func (c *checker) readManifests(ctx context.Context) error {
	names, err := c.manifestNames(false)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		c.problem("", "it has no payload manifest, such as manifest-sha256.txt")
	}
	for _, name := range names {
		m := &manifest{name: name, algorithm: algorithmOf(name), sums: make([]digest, len(c.payload)), listed: make([]bool, len(c.payload))}
		c.manifests = append(c.manifests, m)
		c.report.Plain.Algorithms = append(c.report.Plain.Algorithms, m.algorithm)
		if err := c.lines(ctx, name, func(n int, line string) { c.manifestLine(m, n, line) }); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) manifestLine(m *manifest, n int, line string) {
	sum, raw, ok := c.cutLine(m.name, m.algorithm, n, line)
	if !ok {
		return
	}
	candidates := c.candidates(raw)
	for i, name := range candidates {
		clean, err := payloadPath(name)
		if err != nil {
			c.problem(m.name, "line %d: %s %v", n, quote(raw), err)
			return
		}
		if clean != name {
			c.note(m.name, "line %d: a path should not begin with ./", n)
		}
		candidates[i] = clean
		if at := c.locate(clean); at >= 0 {
			c.markListed(m, at, clean, sum)
			return
		}
	}
	if len(c.missing) < maxMissing {
		c.missing = append(c.missing, missing{candidates[0], m, sum})
		return
	}
	c.problem(candidates[0], "it is missing: %s lists it", m.name)
}

// markListed notes that a manifest lists a file.
func (c *checker) markListed(m *manifest, at int, name string, sum digest) {
	switch {
	case !m.listed[at]:
		m.listed[at], m.sums[at] = true, sum
	case m.sums[at] != sum:
		c.problem(m.name, "it lists %s twice, with two digests", quote(name))
	case c.version == final:
		c.problem(m.name, "it lists %s twice", quote(name))
	default:
		c.note(m.name, "it lists %s twice", quote(name))
	}
}

// cutLine takes a line of a manifest apart: digest in hex of any case, blanks, path. The asterisk
// that md5sum and its like put before a path is no part of it.
func (c *checker) cutLine(file, algorithm string, n int, line string) (sum digest, name string, ok bool) {
	if line == "" {
		return sum, "", false
	}
	end := strings.IndexAny(line, " \t")
	if end < 0 {
		c.problem(file, "line %d has no path", n)
		return sum, "", false
	}
	raw, err := hex.DecodeString(line[:end])
	if a, known := algorithms[algorithm]; err != nil || known && len(raw) != a().Size() || len(raw) < 4 {
		c.problem(file, "line %d does not begin with a digest of %s", n, algorithm)
		return sum, "", false
	}
	copy(sum[:], raw)
	name = strings.TrimLeft(line[end:], " \t")
	if marked, ok := strings.CutPrefix(name, "*"); ok {
		c.note(file, "line %d: a path should not begin with *", n)
		name = marked
	}
	if name == "" {
		c.problem(file, "line %d has no path", n)
	}
	return sum, name, name != ""
}

var (
	newlines = strings.NewReplacer("%0A", "\n", "%0a", "\n", "%0D", "\r", "%0d", "\r")
	escapes  = strings.NewReplacer("%0A", "\n", "%0a", "\n", "%0D", "\r", "%0d", "\r", "%25", "%")
)

// candidates are the names that a path of a manifest may stand for, the likeliest first. RFC 8493
// encodes CR, LF and %; before it names were encoded in several ways, or in none.
func (c *checker) candidates(raw string) []string {
	all := []string{raw, newlines.Replace(raw), escapes.Replace(raw)}
	if c.version == final {
		all = []string{escapes.Replace(raw), raw}
	}
	return slices.Compact(all)
}

// payloadPath checks that a path is one below data/, and takes a leading ./ away.
func payloadPath(name string) (string, error) {
	name = strings.TrimPrefix(name, "./")
	switch {
	case !isPayload(name):
		return "", errors.New("is not below data/")
	case path.Clean(name) != name:
		return "", errors.New("leads elsewhere, or is written with more than its names")
	}
	return name, nil
}

// drive is how paths of Windows begin that are no names: with a drive, or a variable.
var drive = regexp.MustCompile(`^(?:[A-Za-z]:|%[A-Za-z_]+%)`)

// tagPath checks that a path is one of a tag file.
func tagPath(name string) (string, error) {
	name = strings.TrimPrefix(name, "./")
	switch {
	case isPayload(name):
		return "", errors.New("is below data/")
	case path.IsAbs(name), path.Clean(name) != name, name == "..", strings.HasPrefix(name, "../"),
		strings.HasPrefix(name, "~"), strings.HasPrefix(name, `\`), drive.MatchString(name):
		return "", errors.New("leads out of the bag")
	}
	return name, nil
}

// fold is what names have in common that differ in the case of letters and in how characters are
// composed: some file systems change both.
func fold(name string) string { return norm.NFC.String(strings.ToLower(name)) }

// findMissing looks for files whose names were written otherwise, and for those that have yet to be
// fetched. The others are missing.
func (c *checker) findMissing(ctx context.Context) error {
	wanted := map[string][]int{}
	for i, m := range c.missing {
		wanted[fold(m.path)] = append(wanted[fold(m.path)], i)
	}
	found := make([]bool, len(c.missing))
	if len(wanted) > 0 {
		err := c.each(ctx, func(name string, at int) {
			key := fold(name)
			for _, i := range wanted[key] {
				m := c.missing[i]
				found[i] = true
				c.note(m.of.name, "it calls %s what is called %s: case of letters or composed characters differ", quote(m.path), quote(name))
				c.markListed(m.of, at, name, m.sum)
			}
			delete(wanted, key) // the first file counts
		})
		if err != nil {
			return err
		}
	}
	named, awaited := map[string]bool{}, map[string]bool{}
	for i, m := range c.missing {
		named[m.path] = true
		_, fetched := c.fetched[m.path]
		switch {
		case found[i]:
		case fetched:
			awaited[m.path] = true
		default:
			c.problem(m.path, "it is missing: %s lists it", m.of.name)
		}
	}
	for name := range c.fetched {
		if at := c.locate(name); !named[name] && (at < 0 || !c.listed(at)) {
			c.problem(fetchFile, "it lists %s, which no manifest lists", quote(name))
		}
	}
	if c.report.Plain.Missing = len(awaited); len(awaited) > 0 {
		c.unknown = append(c.unknown, fmt.Errorf("%d files of %s have yet to be fetched", len(awaited), fetchFile))
	}
	return nil
}

// listed reports whether any manifest lists a payload file.
func (c *checker) listed(at int) bool {
	return slices.ContainsFunc(c.manifests, func(m *manifest) bool { return m.listed[at] })
}

// nameUnlisted names the files that a manifest should list: since 1.0 each of them, before it any.
func (c *checker) nameUnlisted(ctx context.Context) error {
	if len(c.manifests) == 0 {
		return nil
	}
	return c.each(ctx, func(name string, at int) {
		switch {
		case !c.listed(at):
			c.problem(name, "it is in no manifest")
		case c.version == final:
			for _, m := range c.manifests {
				if !m.listed[at] {
					c.problem(name, "it is not in %s", m.name)
				}
			}
		}
	})
}

// each calls do for each payload file.
func (c *checker) each(ctx context.Context, do func(name string, at int)) error {
	for file, err := range c.src.List(ctx) {
		if err != nil {
			return err //nolint:wrapcheck // the source names itself
		}
		if at := c.locate(file.Name); isPayload(file.Name) && at >= 0 && !file.Twice {
			do(file.Name, at)
		}
	}
	return nil
}

const fetchFile = "fetch.txt"

// readFetch reads which files have yet to be fetched. Nothing is.
func (c *checker) readFetch(ctx context.Context) error {
	if _, ok := c.tags[fetchFile]; !ok {
		return nil
	}
	return c.lines(ctx, fetchFile, func(n int, line string) {
		if line == "" {
			return
		}
		_, rest, _ := cutBlank(line)
		length, raw, ok := cutBlank(rest)
		if !ok || raw == "" || length != "-" && strings.Trim(length, "0123456789") != "" {
			c.problem(fetchFile, "line %d is not URL LENGTH PATH", n)
			return
		}
		for i, name := range c.candidates(raw) {
			clean, err := payloadPath(name)
			switch {
			case err != nil:
				c.problem(fetchFile, "line %d: %s %v", n, quote(raw), err)
				return
			case len(c.fetched) >= maxMissing && i == 0:
				c.problem(fetchFile, "line %d: there are more than %d files to fetch", n, maxMissing)
				return
			case i == 0 || c.locate(clean) >= 0:
				c.fetched[clean] = struct{}{}
			}
		}
	})
}

// cutBlank cuts a text at the first run of blanks.
func cutBlank(text string) (before, after string, ok bool) {
	i := strings.IndexAny(text, " \t")
	if i < 0 {
		return text, "", false
	}
	return text[:i], strings.TrimLeft(text[i:], " \t"), true
}

// readTagManifests reads all tag manifests, and notes the digests that they have.
func (c *checker) readTagManifests(ctx context.Context) error {
	c.tagSums = map[string][]tagSum{}
	names, err := c.manifestNames(true)
	if err != nil {
		return err
	}
	for _, name := range names {
		algorithm, seen := algorithmOf(name), map[string]digest{}
		err := c.lines(ctx, name, func(n int, line string) {
			sum, raw, ok := c.cutLine(name, algorithm, n, line)
			if !ok {
				return
			}
			file, err := tagPath(raw)
			if err != nil {
				c.problem(name, "line %d: %s %v", n, quote(raw), err)
				return
			}
			if decoded := escapes.Replace(file); c.tags[file] == 0 && decoded != file {
				if _, there := c.tags[file]; !there {
					file = decoded
				}
			}
			before, twice := seen[file]
			_, there := c.tags[file]
			switch {
			case strings.HasPrefix(file, "tagmanifest-"):
				c.problem(name, "line %d: a tag manifest does not list tag manifests", n)
			case !there:
				c.problem(file, "it is missing: %s lists it", name)
			case twice && before != sum:
				c.problem(name, "it lists %s twice, with two digests", quote(file))
			case twice && c.version == final:
				c.problem(name, "it lists %s twice", quote(file))
			case !twice:
				c.tagSums[file] = append(c.tagSums[file], tagSum{algorithm, sum})
			}
			if there {
				seen[file] = sum
			}
		})
		if err != nil {
			return err
		}
		for _, m := range c.manifests {
			if _, ok := seen[m.name]; !ok && c.version == final {
				c.problem(name, "it does not list %s", m.name)
			}
		}
	}
	return nil
}
