// Package overview reads what there is in JetStream, for people who look on: how much the queues
// hold, and which jobs changed. It asks the leaders, once each, and fails where they do not answer.
package overview

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/names"
)

// Backlog is what the queues hold, what is at work included.
type Backlog struct {
	Commands int64
	Oldest   time.Time // when the oldest command was published, by the server's clock; of no meaning without one
	Units    int64
	Dead     int64 // dead letters
}

// ReadBacklog asks what the queues hold.
func ReadBacklog(ctx context.Context, api *jsapi.Client, n names.Names) (Backlog, error) {
	var infos [3]jsapi.StreamInfo
	for i, stream := range []string{n.Commands, n.Work, n.Dead} {
		var err error
		if infos[i], err = api.StreamInfoOnce(ctx, 0, stream); err != nil {
			return Backlog{}, fmt.Errorf("read the info of stream %s: %w", stream, err)
		}
	}
	commands, units, dead := infos[0].State, infos[1].State, infos[2].State
	return Backlog{Commands: commands.Messages, Oldest: commands.FirstTime, Units: units.Messages, Dead: dead.Messages}, nil
}

// JobCursor is how far the jobs were read.
type JobCursor struct {
	Since time.Time // the first reading begins with the jobs that changed since then

	stream string // which stream that was
	next   uint64 // the sequence to go on with; 0 before the first reading
}

// Job is a job that changed: its entry was written or removed.
type Job struct {
	Key     string
	Job     contract.Job
	Removed bool
}

// maxJobs bounds how many jobs one reading gives. More follow with the next.
const maxJobs = 500

// ReadJobs gives the jobs that changed since an earlier reading, in the order of their changes, and
// the cursor for the next one, also with an error; more reports whether there are more already.
// Jobs that a newer version wrote are left out.
func ReadJobs(ctx context.Context, api *jsapi.Client, n names.Names, c JobCursor) (jobs []Job, next JobCursor, more bool, err error) {
	info, err := api.StreamInfoOnce(ctx, 0, n.Jobs)
	if err != nil {
		return nil, c, false, fmt.Errorf("read the info of stream %s: %w", n.Jobs, err)
	}
	if info.Identity() != c.stream {
		c.stream, c.next = info.Identity(), 0
	}
	for c.next <= info.State.Last {
		if len(jobs) == maxJobs {
			return jobs, c, true, nil
		}
		query := jsapi.MessageQuery{Seq: c.next, Next: n.JobSubject(">")}
		if c.next == 0 {
			query.Since = &c.Since
		}
		s, err := api.ReadMessageOnce(ctx, 0, n.Jobs, query)
		if err != nil {
			return jobs, c, false, fmt.Errorf("read the jobs: %w", err)
		}
		if s == nil {
			c.next = info.State.Last + 1
			break
		}
		c.next = s.Seq + 1
		j := Job{Key: strings.TrimPrefix(s.Subject, n.JobSubject("")), Removed: s.Header.Get(jsapi.HeaderKVOperation) != ""}
		if !j.Removed {
			if j.Job, err = contract.DecodeJob(s.Data); err != nil || j.Job.OnlyCancel() {
				continue
			}
		}
		jobs = append(jobs, j)
	}
	return jobs, c, false, nil
}
