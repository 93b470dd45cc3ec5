package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/bench/workload"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		of   []float64
		want float64
	}{{nil, 0}, {[]float64{7}, 7}, {[]float64{9, 1, 5}, 5}, {[]float64{8, 1, 2, 4}, 3}} {
		if got := median(c.of); got != c.want {
			t.Errorf("the median of %v is %v, not %v", c.of, got, c.want)
		}
	}
	numbers := []float64{3, 1, 2}
	if median(numbers); numbers[0] != 3 {
		t.Errorf("the median has sorted what it was given: %v", numbers)
	}
}

// run is a sample of 100 files of 1 MB that took so long, and so much of the processor.
func run(took, cpu time.Duration) sample {
	return sample{Took: took, CPU: cpu, Peak: 40 << 20, Files: 100, Bytes: 100e6}
}

// A round in which the machine was slow moves neither ratio.
func TestMedianRatio(t *testing.T) {
	subject := []sample{run(2*time.Second, 0), run(20*time.Second, 0), run(2*time.Second, 0)}
	baseline := []sample{run(time.Second, 0), run(10*time.Second, 0), run(4*time.Second, 0)}
	if got := medianRatio(subject, baseline, sample.perSecond); got != 0.5 {
		t.Errorf("the ratio is %v, not 0.5", got)
	}
	if got := medianRatio(subject, []sample{{}}, sample.cpu); got != 0 {
		t.Errorf("the ratio to nothing is %v", got)
	}
}

func TestTable(t *testing.T) {
	c, err := workload.Parse("100x1m")
	if err != nil {
		t.Fatal(err)
	}
	r := result{c: c, contenders: []string{"relay", baseline, habit, "product"}, samples: map[string][]sample{
		baseline:  {run(time.Second, time.Second), run(2*time.Second, time.Second), run(time.Second, time.Second)},
		habit:     {run(4*time.Second, time.Second), run(4*time.Second, time.Second), run(4*time.Second, time.Second)},
		"product": {run(50*time.Millisecond, 1500*time.Millisecond), run(4*time.Second, 1500*time.Millisecond), run(2*time.Second, 1500*time.Millisecond)},
	}}
	const want = "#### 100 images of 1 MiB: `100x1m`, 3 rounds\n\n" + `|  | images/s | least to most | CPU ms an image | peak MiB | speed / proving relay | speed / script | CPU / proving relay |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| proving relay | 100 | 50 to 100 | 10.00 | 40 | 1.00 | 4.00 | 1.00 |
| script | 25 | 25 to 25 | 10.00 | 40 | 0.25 | 1.00 | 1.00 |
| product | 50 | 25 to 2,000 | 15.00 | 40 | 0.50 | 2.00 | 1.50 |
`
	if got := r.table(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	r.c.ModelBytes = 100e6
	if got := r.table(); !strings.Contains(got, "| MB/s |") || !strings.Contains(got, "| product | 50 |") {
		t.Errorf("of a model:\n%s", got)
	}
}

// TestTableOfNode compares with the script for Node where that took part, and with no contender
// that did not.
func TestTableOfNode(t *testing.T) {
	c, err := workload.Parse("100x1m")
	if err != nil {
		t.Fatal(err)
	}
	r := result{c: c, contenders: []string{nodeHabit, "product"}, samples: map[string][]sample{
		nodeHabit: {run(4*time.Second, 2*time.Second)},
		"product": {run(2*time.Second, time.Second)},
	}}
	const want = "#### 100 images of 1 MiB: `100x1m`, 1 round\n\n" + `|  | images/s | least to most | CPU ms an image | peak MiB | speed / npm |
| --- | ---: | ---: | ---: | ---: | ---: |
| npm | 25 | 25 to 25 | 20.00 | 40 | 1.00 |
| product | 50 | 50 to 50 | 10.00 | 40 | 2.00 |
`
	if got := r.table(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestInstallNode has the benchmark say what is missing where there is no Node, or no npm.
func TestInstallNode(t *testing.T) {
	path := t.TempDir()
	t.Setenv("PATH", path)
	for _, missing := range []string{"Node", "npm"} {
		if _, _, err := installNode(t.Context(), "npm", t.TempDir()); err == nil || !strings.Contains(err.Error(), "needs "+missing) {
			t.Errorf("without %s: %v", missing, err)
		}
		if err := os.WriteFile(filepath.Join(path, "node"), nil, 0o700); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
}

func TestNumber(t *testing.T) {
	for n, want := range map[float64]string{0: "0.0", 9.94: "9.9", 10: "10", 999.6: "1,000", 1234567: "1,234,567"} {
		if got := number(n); got != want {
			t.Errorf("%v is %s, not %s", n, got, want)
		}
	}
}

func TestUsage(t *testing.T) {
	cpu, err := cpuOf("42 (a) b (c)) S 1 42 42 0 -1 4194560 1 2 3 4 150 27 5 6 20 0")
	if err != nil || cpu != 1770*time.Millisecond {
		t.Errorf("processor time %s, %v", cpu, err)
	}
	peak, err := peakOf("Name:\tx\nVmPeak:\t  900 kB\nVmHWM:\t  123 kB\nVmRSS:\t 99 kB\n")
	if err != nil || peak != 123<<10 {
		t.Errorf("peak of memory %d, %v", peak, err)
	}
	for _, wrong := range []string{"", "42 (a) S 1 2", "42 (a) S 1 42 42 0 -1 4194560 1 2 3 4 x 27 5"} {
		if _, err := cpuOf(wrong); err == nil {
			t.Errorf("%q has a processor time", wrong)
		}
		if _, err := peakOf(wrong); err == nil {
			t.Errorf("%q has a peak of memory", wrong)
		}
	}
}
