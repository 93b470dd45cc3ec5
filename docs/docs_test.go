// Package docs_test holds the guides to the program and to each other. It compiles nothing but the
// contract: docs/commands.md, which a test of cmd/consumer holds to the program, says which
// commands, flags and settings there are.
package docs_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

const root = ".."

// files reads the files of the repository with one of these extensions, by name relative to root.
func files(t *testing.T, extensions ...string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != root && (entry.Name()[0] == '.' || slices.Contains([]string{"bin", "bundles", "dist", "node_modules"}, entry.Name())):
			return fs.SkipDir
		case entry.IsDir() || !slices.Contains(extensions, filepath.Ext(name)):
			return nil
		}
		text, err := os.ReadFile(name)
		found[filepath.ToSlash(strings.TrimPrefix(name, root+string(filepath.Separator)))] = string(text)
		return err
	})
	if err != nil || len(found) == 0 {
		t.Fatalf("%d files with %v: %v", len(found), extensions, err)
	}
	return found
}

var (
	fenced     = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	inlineCode = regexp.MustCompile("`[^`]*`")
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading    = regexp.MustCompile(`(?m)^#+ (.+)$`)
	linkText   = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// anchors are what links to the headings of a page end with, as GitHub makes them.
func anchors(page string) map[string]bool {
	all := map[string]bool{}
	for _, found := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		title := strings.ToLower(linkText.ReplaceAllString(found[1], "$1"))
		all[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return r
			}
			return -1
		}, title)] = true
	}
	return all
}

// listed finds the files that a line of a package's documentation lists.
var listed = regexp.MustCompile(`(?m)^//   - .*\n(?:^//     .*\n)*`)

// TestMapsNameEveryFile holds the list of files in a package's documentation, where there is one,
// to the files that are there.
func TestMapsNameEveryFile(t *testing.T) {
	goFile := regexp.MustCompile(`\b[a-z_0-9]+\.go\b`)
	sources, lists := files(t, ".go"), 0
	for name, text := range sources {
		dir := path.Dir(name)
		named := map[string]bool{"doc.go": true}
		for _, line := range listed.FindAllString(text, -1) {
			for _, file := range goFile.FindAllString(line, -1) {
				named[file] = true
			}
		}
		if path.Base(name) != "doc.go" || len(named) == 1 {
			continue
		}
		lists++
		for _, file := range goFile.FindAllString(text, -1) {
			if _, there := sources[path.Join(dir, file)]; !there {
				t.Errorf("%s names %s, which is not there", name, file)
			}
			named[file] = true
		}
		for other := range sources {
			if path.Dir(other) == dir && !strings.HasSuffix(other, "_test.go") && !named[path.Base(other)] {
				t.Errorf("%s does not name %s", name, path.Base(other))
			}
		}
	}
	if lists < 15 {
		t.Errorf("%d packages list their files", lists)
	}
}

// TestLinks follows every link between files of the repository, and every mention of a section such
// as docs/PAGE.md#SECTION in what is no page: each file and each section is there.
func TestLinks(t *testing.T) {
	pages, followed := files(t, ".md"), 0
	follow := func(from, target, anchor string) {
		followed++
		page, read := pages[target]
		if !read {
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s leads to %s, which is not there", from, target)
				return
			}
		}
		if anchor != "" && !anchors(page)[anchor] {
			t.Errorf("%s leads to %s#%s, and there is no such section", from, target, anchor)
		}
	}
	for name, text := range pages {
		text = inlineCode.ReplaceAllString(fenced.ReplaceAllString(text, ""), "")
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			switch {
			case strings.HasPrefix(target, "https://"): // of others, which no test asks
			case target == "":
				follow(name, name, anchor)
			case strings.Contains(target, ":") || path.IsAbs(target):
				t.Errorf("%s leads to %s: link to a file, or with https", name, found[1])
			default:
				follow(name, path.Join(path.Dir(name), target), anchor)
			}
		}
	}
	mention := regexp.MustCompile(`\bdocs/([a-z-]+\.md)(?:#([a-z0-9_-]+))?`)
	for name, text := range files(t, ".go", ".yml", ".yaml", ".json", ".env", ".service", ".tpl") {
		for _, found := range mention.FindAllStringSubmatch(text, -1) {
			follow(name, "docs/"+found[1], found[2])
		}
	}
	if followed < 250 {
		t.Errorf("only %d links were followed", followed)
	}
}

// section is what stands below a heading, up to the next of its level or above.
func section(t *testing.T, page, title string) string {
	t.Helper()
	_, rest, found := strings.Cut(page, "\n"+title+"\n")
	if !found {
		t.Fatalf("no section %q", title)
	}
	level := strings.Count(strings.Fields(title)[0], "#")
	for _, end := range regexp.MustCompile(`(?m)^(#+) `).FindAllStringSubmatchIndex(fenced.ReplaceAllStringFunc(rest, blank), -1) {
		if end[3]-end[2] <= level {
			return rest[:end[0]]
		}
	}
	return rest
}

// blank is text of the same length that means nothing.
func blank(text string) string { return strings.Repeat("x", len(text)) }

// rows are the words in code of the first cells of the tables in a text.
func rows(text string) []string {
	found := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| ([^|]*) \|`).FindAllStringSubmatch(text, -1) {
		for _, word := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(row[1], -1) {
			found[word[1]] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// TestContractIsDocumented compares error codes, statuses and waits in docs/requesters.md with the
// contract, in both directions.
func TestContractIsDocumented(t *testing.T) {
	page := files(t, ".md")["docs/requesters.md"]
	refused, failed := rows(section(t, page, "### Refused")), rows(section(t, page, "### Failed"))
	statuses := []string{}
	for _, s := range []contract.Status{
		contract.StatusAccepted, contract.StatusProgress, contract.StatusCompleted, contract.StatusFailed, contract.StatusRefused, contract.StatusCancelled, contract.StatusDuplicate,
	} {
		statuses = append(statuses, string(s))
	}
	for _, c := range []struct {
		what       string
		has, wants []string
	}{
		{"error codes", slices.Concat(refused, failed), contract.Codes()},
		{"codes of refusals", refused, append(contract.RefusalOrder(), contract.CodeTooLate)},
		{"statuses", rows(section(t, page, "## Wait")[:strings.Index(section(t, page, "## Wait"), "The event is a CloudEvent")]), statuses},
		{"waits", rows(section(t, page, "## When it takes longer")), []string{
			contract.WaitCommand, contract.WaitCredential, contract.WaitStorage, contract.WaitRate, contract.WaitTraining, contract.WaitTimestamp,
		}},
	} {
		has, wants := slices.Compact(slices.Sorted(slices.Values(c.has))), slices.Compact(slices.Sorted(slices.Values(c.wants)))
		if !slices.Equal(has, wants) {
			t.Errorf("%s: documented are %v, and there are %v", c.what, has, wants)
		}
	}
}

// TestFieldsAreDocumented compares the fields of commands and events in docs/requesters.md with
// their schemas, in both directions.
func TestFieldsAreDocumented(t *testing.T) {
	page := files(t, ".md")["docs/requesters.md"]
	properties := func(name string) []string {
		text, err := os.ReadFile(filepath.Join(root, "pkg/handler/contract/schema", name))
		if err != nil {
			t.Fatal(err)
		}
		var schema any
		if err := json.Unmarshal(text, &schema); err != nil {
			t.Fatal(err)
		}
		all := map[string]bool{}
		var walk func(value any)
		walk = func(value any) {
			switch v := value.(type) {
			case map[string]any:
				if named, is := v["properties"].(map[string]any); is {
					for name := range named {
						all[name] = true
					}
				}
				for _, member := range v {
					walk(member)
				}
			case []any:
				for _, element := range v {
					walk(element)
				}
			}
		}
		walk(schema)
		return slices.Sorted(maps.Keys(all))
	}
	commands := section(t, page, "## Data") + section(t, page, "## Delete") + section(t, page, "## Cancel")
	events, _, _ := strings.Cut(section(t, page, "## Wait"), "### Refused")
	_, eventTable, _ := strings.Cut(events, "These are the fields of `data`")
	commandTable, _, _ := strings.Cut(section(t, page, "## Data"), "Give at most one kind of narrowing")
	deleteTable, _, _ := strings.Cut(section(t, page, "## Delete"), "### What is deleted")
	for _, c := range []struct{ name, text, table string }{
		{"command.json", commands, commandTable + deleteTable}, {"event.json", events, eventTable},
	} {
		has := properties(c.name)
		for _, name := range has {
			if !regexp.MustCompile("`" + name + "`").MatchString(c.text) {
				t.Errorf("docs/requesters.md does not tell of %s of %s", name, c.name)
			}
		}
		for _, name := range rows(c.table) {
			if !slices.Contains(has, name) {
				t.Errorf("docs/requesters.md tells of %s, which %s does not have", name, c.name)
			}
		}
	}
}

// commands are the flags of each command, by its name such as "jobs watch", and the variables of
// all settings.
func commands(t *testing.T) (flags map[string]map[string]bool, settings []string) {
	t.Helper()
	page := files(t, ".md")["docs/commands.md"]
	flag := regexp.MustCompile("`(--?[a-z0-9][a-z0-9-]*)[ `]")
	of := func(text string) map[string]bool {
		all := map[string]bool{"--help": true, "-h": true}
		for _, found := range flag.FindAllStringSubmatch(text, -1) {
			all[found[1]] = true
		}
		return all
	}
	table := section(t, page, "## Settings")
	every := of(table)
	for _, found := range regexp.MustCompile("`([A-Z][A-Z0-9_]+)`").FindAllStringSubmatch(table, -1) {
		settings = append(settings, found[1])
	}
	flags = map[string]map[string]bool{}
	for _, found := range regexp.MustCompile(`(?m)^## consumer (.+)$`).FindAllStringSubmatch(page, -1) {
		text := section(t, page, found[0])
		var lines []string // tables and lists of settings, and no prose
		for block := range strings.SplitSeq(text, "\n\n") {
			if strings.HasPrefix(block, "|") || strings.HasPrefix(block, "[Settings]") {
				lines = append(lines, block)
			}
		}
		flags[found[1]] = of(strings.Join(lines, "\n"))
		if strings.Contains(text, "[Settings](#settings): all.") {
			maps.Copy(flags[found[1]], every)
		}
		if group, is := strings.CutSuffix(found[1], " ls"); is {
			flags[group] = flags[found[1]]
		}
	}
	return flags, settings
}

// TestCommandLinesInGuides holds each command line in the guides to the commands and flags that
// there are.
func TestCommandLinesInGuides(t *testing.T) {
	known, _ := commands(t)
	call := regexp.MustCompile(`(?:^|[\s(/"])consumer ((?:[a-z]+ ?)+)([^\n;|&]*)`)
	flag := regexp.MustCompile(`(?:^|\s|\[)(--?[a-z][a-z0-9-]*)`)
	seen := 0
	for name, text := range files(t, ".md") {
		if name == "docs/commands.md" || name == "CHANGELOG.md" || name == "ARCHITECTURE.md" {
			continue
		}
		var codes []string
		for _, block := range fenced.FindAllString(text, -1) {
			codes = append(codes, strings.Split(strings.ReplaceAll(block, "\\\n", " "), "\n")...)
		}
		codes = append(codes, inlineCode.FindAllString(fenced.ReplaceAllString(text, ""), -1)...)
		for _, code := range codes {
			code, _, _ = strings.Cut(strings.ReplaceAll(strings.Trim(code, "`"), "\n", " "), " #")
			for part := range strings.SplitSeq(code, " -- ") {
				for _, found := range call.FindAllStringSubmatch(part, -1) {
					words := strings.Fields(found[1])
					if len(words) > 1 && known[words[0]+" ls"] != nil && known[words[0]+" "+words[1]] == nil {
						t.Errorf("%s: %q: consumer %s has no command %s", name, code, words[0], words[1])
					}
					for len(words) > 0 && known[strings.Join(words, " ")] == nil {
						words = words[:len(words)-1]
					}
					flags, rest := known[strings.Join(words, " ")], found[2]
					if flags == nil {
						if strings.HasPrefix(code, "consumer") && !slices.Contains([]string{"jobs", "dead", "holds", "keys"}, strings.Fields(found[1])[0]) {
							t.Errorf("%s: %q is no command", name, code)
						}
						continue
					}
					seen++
					for _, f := range flag.FindAllStringSubmatch(" "+rest, -1) {
						if !flags[f[1]] {
							t.Errorf("%s: %q: consumer %s has no flag %s", name, code, strings.Join(words, " "), f[1])
						}
					}
				}
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d command lines were seen", seen)
	}
}

// TestSettingsInGuides holds that each variable in the guides is a setting, and that the guide for
// operators has each setting.
func TestSettingsInGuides(t *testing.T) {
	_, settings := commands(t)
	others := regexp.MustCompile(`^(AZURE|OTEL)_|^AWS_(SESSION_TOKEN|CA_BUNDLE)|^CONSUMER_METADATA_FILTER$`) // of SDKs; refused by name
	variable := regexp.MustCompile(`\b(?:CONSUMER|NATS|VISION|AWS|AZURE|OTEL)_[A-Z0-9_]*[A-Z0-9]\b`)
	pages := files(t, ".md")
	for name, text := range pages {
		for _, found := range variable.FindAllString(text, -1) {
			plain := strings.TrimSuffix(found, "_FILE")
			if name != "CHANGELOG.md" && !slices.Contains(settings, found) && !slices.Contains(settings, plain) && !slices.Contains(settings, plain+"_FILE") && !others.MatchString(found) {
				t.Errorf("%s: %s is no setting", name, found)
			}
		}
	}
	for _, setting := range settings {
		if !strings.Contains(pages["docs/operators.md"], strings.TrimSuffix(setting, "_FILE")) {
			t.Errorf("docs/operators.md does not have %s", setting)
		}
	}
}

// TestRunbook holds that each alert has a section in the runbook, that the alert names it, and that
// the runbook has no other alert.
func TestRunbook(t *testing.T) {
	rules := files(t, ".yml")["deploy/prometheus/alerts.yml"]
	var alerts, sections []string
	for _, rule := range strings.Split(rules, "- alert: ")[1:] {
		name, rest, _ := strings.Cut(rule, "\n")
		alerts = append(alerts, name)
		if want := "/docs/runbook.md#" + strings.ToLower(name) + "\n"; !strings.Contains(rest, "runbook_url: https://") || !strings.Contains(rest, want) {
			t.Errorf("%s has no runbook_url that ends with %s", name, want)
		}
	}
	for _, found := range regexp.MustCompile(`(?m)^### (CVConsumer\w+)$`).FindAllStringSubmatch(files(t, ".md")["docs/runbook.md"], -1) {
		sections = append(sections, found[1])
	}
	slices.Sort(alerts)
	slices.Sort(sections)
	if len(alerts) == 0 || !slices.Equal(alerts, sections) {
		t.Errorf("the alerts are %v, and the sections %v", alerts, sections)
	}
}
