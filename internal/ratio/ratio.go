// Package ratio is for benchmarks that compare two ways in the same run: the machine's mood, which
// moves both, leaves their ratio alone.
package ratio

import "time"

// B is what Report needs of a *testing.B.
type B interface {
	Helper()
	Loop() bool
	ReportMetric(n float64, unit string)
}

// Report runs subject and baseline in turn as the benchmark's loop, and reports how many times as
// long as the baseline the subject takes. The benchmark's own figures are of both together.
func Report(b B, subject, baseline func()) {
	b.Helper()
	var ours, theirs time.Duration
	for b.Loop() {
		begun := time.Now() //nolint:forbidigo // measuring is the point
		subject()
		between := time.Now() //nolint:forbidigo // measuring is the point
		baseline()
		ours += between.Sub(begun)
		theirs += time.Since(between) //nolint:forbidigo // measuring is the point
	}
	if theirs > 0 {
		b.ReportMetric(float64(ours)/float64(theirs), "x-baseline")
	}
}
