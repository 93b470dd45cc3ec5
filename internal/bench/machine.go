package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// machine describes where and when something was measured, as lines of Markdown. What the system
// does not say is left out.
func machine(ctx context.Context, now time.Time, dir string) string {
	field := func(file, name string) string {
		text, _ := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == name {
				return strings.TrimSpace(value)
			}
		}
		return "unknown"
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	commit, err := output(ctx, "", "git", "describe", "--always", "--dirty")
	if err != nil {
		commit = "unknown"
	}
	return fmt.Sprintf(`- %s, commit %s
- %s, %s; memory %s; Linux %s; %s, GOMAXPROCS %d
- data in %s; load average before the first run %s
`, now.UTC().Format("2006-01-02 15:04 MST"), commit,
		field("/proc/cpuinfo", "model name"), plural(runtime.NumCPU(), "core"), field("/proc/meminfo", "MemTotal"), bytes.TrimSpace(kernel),
		runtime.Version(), runtime.GOMAXPROCS(0), dir, firstField(string(load)))
}

func firstField(s string) string {
	first, _, _ := strings.Cut(s, " ")
	return first
}
