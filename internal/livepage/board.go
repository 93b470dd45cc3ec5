package livepage

import (
	"cmp"
	"slices"
	"time"
)

// Bounds of what is kept, and of what is shown.
const (
	maxUnended = 1000 // jobs kept
	maxEnded   = 200
	showActive = 200 // rows
	showEnded  = 50
	// Recent is how long a job that ended is shown.
	Recent = 24 * time.Hour
)

// Job is a row of the page.
type Job struct {
	Key, Action, State string // the state in the contract's words
	Ended              bool
	Phase, Outcome     string
	Attempt            int
	Done, Total, Bytes int64
	WaitingFor, Detail string // what it waits for; empty when it does not wait
	WaitingSince       time.Time
	Code, Message      string // of the error that it ended with, or that its last attempt did
	Cancelled          bool   // it is being cancelled
	Created, Updated   time.Time

	ItemRate, ByteRate float64 // a second, by its last two changes; 0 when not known
}

// Percent is how much of the job's items is done, from 0 to 100.
func (j Job) Percent() int64 {
	if j.Total <= 0 {
		return 0
	}
	return max(0, min(100, 100*j.Done/j.Total))
}

// Board keeps the jobs that the page may show. Its zero value is empty.
type Board struct {
	jobs    map[string]Job
	dropped bool // jobs that have not ended were left out
}

// Put adds a job, or changes it.
func (b *Board) Put(j Job) {
	if b.jobs == nil {
		b.jobs = map[string]Job{}
	}
	if before, ok := b.jobs[j.Key]; ok && !j.Ended {
		j.ItemRate, j.ByteRate = before.ItemRate, before.ByteRate
		if took := j.Updated.Sub(before.Updated).Seconds(); took > 0 && j.Attempt == before.Attempt && j.Done >= before.Done {
			j.ItemRate, j.ByteRate = float64(j.Done-before.Done)/took, max(0, float64(j.Bytes-before.Bytes))/took
		}
	}
	b.jobs[j.Key] = j
	b.trim()
}

// Remove removes a job.
func (b *Board) Remove(key string) { delete(b.jobs, key) }

// trim bounds the board. Of ended jobs the oldest are left out, of others those that split puts
// last.
func (b *Board) trim() {
	if len(b.jobs) <= maxUnended+maxEnded { // only then can either kind be too many to keep
		return
	}
	active, ended := b.split()
	b.dropped = b.dropped || len(active) > maxUnended
	for _, some := range [][]Job{tail(active, maxUnended), tail(ended, maxEnded/2)} {
		for _, j := range some {
			delete(b.jobs, j.Key)
		}
	}
}

// tail is all but the first n.
func tail(jobs []Job, n int) []Job { return jobs[min(n, len(jobs)):] }

// split gives the jobs that have not ended, those at work first, and those that have, the newest
// first.
func (b *Board) split() (active, ended []Job) {
	for _, j := range b.jobs {
		if j.Ended {
			ended = append(ended, j)
		} else {
			active = append(active, j)
		}
	}
	slices.SortFunc(active, func(a, b Job) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), a.Created.Compare(b.Created), cmp.Compare(a.Key, b.Key))
	})
	slices.SortFunc(ended, func(a, b Job) int { return cmp.Or(b.Updated.Compare(a.Updated), cmp.Compare(a.Key, b.Key)) })
	return active, ended
}

// rank orders jobs: those at work, those that wait, those that have not begun.
func rank(j Job) int {
	switch {
	case j.WaitingFor != "":
		return 1
	case j.Attempt == 0:
		return 2
	}
	return 0
}

// Show fills in the jobs of a snapshot.
func (b *Board) Show(s *Snapshot) {
	active, ended := b.split()
	for _, j := range active {
		if j.WaitingFor != "" {
			s.Waiting++
		}
	}
	s.Unended, s.AtLeast = len(active), b.dropped
	s.Active = active[:min(showActive, len(active))]
	ended = slices.DeleteFunc(ended, func(j Job) bool { return s.At.Sub(j.Updated) > Recent })
	s.Ended = ended[:min(showEnded, len(ended))]
}
