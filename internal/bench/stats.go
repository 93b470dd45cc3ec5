package main

import (
	"slices"
	"time"
)

// sample is one run of one contender.
type sample struct {
	Took  time.Duration // from the word to the end of the work
	CPU   time.Duration // of its process meanwhile, user and system
	Peak  int64         // of resident memory, bytes
	Files int
	Bytes int64
}

// perSecond is how many files a second were copied, cpu what each cost.
func (s sample) perSecond() float64     { return float64(s.Files) / s.Took.Seconds() }
func (s sample) cpu() float64           { return s.CPU.Seconds() * 1000 / float64(s.Files) }
func (s sample) megabytes() float64     { return float64(s.Bytes) / 1e6 / s.Took.Seconds() }
func (s sample) cpuOfMegabyte() float64 { return s.CPU.Seconds() * 1000 / (float64(s.Bytes) / 1e6) }
func (s sample) peak() float64          { return float64(s.Peak) / (1 << 20) }

// median is the middle of some numbers, or the mean of the two in the middle; 0 of none.
func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	middle := len(all) / 2
	if len(all)%2 == 1 {
		return all[middle]
	}
	return (all[middle-1] + all[middle]) / 2
}

// each is one number of each sample.
func each(samples []sample, of func(sample) float64) []float64 {
	all := make([]float64, 0, len(samples))
	for _, s := range samples {
		all = append(all, of(s))
	}
	return all
}

// medianRatio is the median of the ratios of two contenders round by round: what slows the machine
// down for a while slows both.
func medianRatio(subject, baseline []sample, of func(sample) float64) float64 {
	var all []float64
	for i := range min(len(subject), len(baseline)) {
		if below := of(baseline[i]); below > 0 {
			all = append(all, of(subject[i])/below)
		}
	}
	return median(all)
}
