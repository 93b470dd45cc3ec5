package sink

import (
	"path"

	"github.com/cvconsumer/cvconsumer/internal/links"
)

// scanText looks for signed links in a text held in memory.
func (v *verifier) scanText(name Path, b []byte) {
	var scan links.Scanner
	_, _ = scan.Write(b)
	v.noteLeak(name, &scan)
}

// noteLeak notes what a scan found.
func (v *verifier) noteLeak(name Path, scan *links.Scanner) {
	if scan.Found() {
		v.problem(name, "there is a signed link, whose query begins at byte %d", scan.At())
	}
}

// isText reports whether a file is text by its name, to be searched for signed links.
func isText(name Path) bool {
	switch path.Ext(string(name)) {
	case ".json", ".jsonl", ".txt", ".html", ".htm", ".csv", ".md", ".xml", ".yaml", ".yml", ".js", ".css":
		return true
	}
	return false
}
