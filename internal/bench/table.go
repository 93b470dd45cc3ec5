package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cvconsumer/cvconsumer/internal/bench/workload"
)

// result is what all rounds of one case gave.
type result struct {
	c          workload.Case
	contenders []string // in the order of the table
	samples    map[string][]sample
}

// The contenders that others are compared with.
const (
	baseline  = "proving relay"
	habit     = "script"
	nodeHabit = "npm"
)

// table is a result in Markdown: medians, the range of the speed, and ratios of the same round.
func (r result) table() string {
	speed, cost, unit, costUnit := sample.perSecond, sample.cpu, "images/s", "CPU ms an image"
	if r.c.ModelBytes > 0 {
		speed, cost, unit, costUnit = sample.megabytes, sample.cpuOfMegabyte, "MB/s", "CPU ms a MB"
	}
	rounds := 0
	for _, s := range r.samples {
		rounds = max(rounds, len(s))
	}
	head := []string{"", unit, "least to most", costUnit, "peak MiB"}
	compared := slices.DeleteFunc([]string{baseline, habit, nodeHabit}, func(name string) bool { return len(r.samples[name]) == 0 })
	for _, name := range compared {
		head = append(head, "speed / "+name)
	}
	if slices.Contains(compared, baseline) {
		head = append(head, "CPU / "+baseline)
	}
	rows := [][]string{head}
	for _, name := range r.contenders {
		s := r.samples[name]
		if len(s) == 0 {
			continue
		}
		speeds := each(s, speed)
		row := []string{
			name, number(median(speeds)), number(slices.Min(speeds)) + " to " + number(slices.Max(speeds)),
			fmt.Sprintf("%.2f", median(each(s, cost))), number(median(each(s, sample.peak))),
		}
		for _, other := range compared {
			row = append(row, fmt.Sprintf("%.2f", medianRatio(s, r.samples[other], speed)))
		}
		if slices.Contains(compared, baseline) {
			row = append(row, fmt.Sprintf("%.2f", medianRatio(s, r.samples[baseline], cost)))
		}
		rows = append(rows, row)
	}
	return fmt.Sprintf("#### %s: `%s`, %s\n\n%s", capital(r.c.Title()), r.c.Name, plural(rounds, "round"), markdown(rows))
}

// markdown prints rows as a table, the first of them as its head. All columns but the first are
// numbers.
func markdown(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString("| ---" + strings.Repeat(" | ---:", len(row)-1) + " |\n")
		}
	}
	return b.String()
}

// number prints a number as whole as it is certain, with thousands set off.
func number(f float64) string {
	if f < 10 {
		return fmt.Sprintf("%.1f", f)
	}
	digits := fmt.Sprintf("%.0f", f)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
