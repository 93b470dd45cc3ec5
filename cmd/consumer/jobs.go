package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/human"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
)

type jobsCmd struct {
	Ls     jobsLsCmd     `cmd:"" default:"withargs" help:"List the jobs, the latest first."`
	Show   jobsShowCmd   `cmd:"" help:"Show one job."`
	Watch  jobsWatchCmd  `cmd:"" help:"Follow a command to its end."`
	Cancel jobsCancelCmd `cmd:"" help:"Cancel a command."`
}

// access is the flags of every command that reads from NATS.
type access struct {
	outputFlag `embed:""`
	NATS       natsSettings `embed:"" group:"NATS:"`
}

// open connects to NATS; close ends that.
func (a access) open(p *program) (q *natsq.Queue, closeAll func(), err error) {
	bad := p.env.unknown()
	conf := a.NATS.config(&bad)
	if err := bad.err(); err != nil {
		return nil, nil, err
	}
	nc, q, err := openRequester(p.ctx, conf)
	if err != nil {
		return nil, nil, err
	}
	return q, nc.Close, nil
}

type jobsLsCmd struct {
	State  []string `name:"state" placeholder:"STATE" help:"Only jobs that are accepted, running, completed, failed, refused or cancelled."`
	Action []string `name:"action" placeholder:"ACTION" help:"Only export, delete or cancel."`
	Access access   `embed:""`
}

// Run lists the jobs.
func (c jobsLsCmd) Run(p *program) error {
	for _, s := range c.State {
		if !slices.Contains([]string{"accepted", "running", "completed", "failed", "refused", "cancelled"}, s) {
			return fmt.Errorf("%w: --state: %q is not a state: use accepted, running, completed, failed, refused or cancelled", errUsage, s)
		}
	}
	for _, a := range c.Action {
		if !slices.Contains([]string{"export", "delete", "cancel"}, a) {
			return fmt.Errorf("%w: --action: %q is not an action: use export, delete or cancel", errUsage, a)
		}
	}
	q, closeAll, err := c.Access.open(p)
	if err != nil {
		return err
	}
	defer closeAll()
	jobs := []contract.Job{}
	for job, err := range q.Jobs(p.ctx) {
		switch {
		case err != nil && job.ID == "":
			return fmt.Errorf("%w: %w", errUnreachable, err)
		case err != nil:
			fmt.Fprintf(plain{p.stderr}, "consumer: %v\n", err)
		case (len(c.State) == 0 || slices.Contains(c.State, string(job.State))) && (len(c.Action) == 0 || slices.Contains(c.Action, string(job.Action))):
			jobs = append(jobs, job)
		}
	}
	slices.SortStableFunc(jobs, func(a, b contract.Job) int { return b.Created.Compare(a.Created) })
	if c.Access.json() {
		return printJSON(p.stdout, jobs)
	}
	t := newTable(p.stdout)
	fmt.Fprintln(t, "ID\tACTION\tSTATE\tATTEMPT\tPROGRESS\tCREATED\tNOTE")
	for _, j := range jobs {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", j.Key(), j.Action, j.State, j.Attempt, progressOf(j), j.Created.UTC().Format(time.DateTime), oneLine(noteOf(j)))
	}
	return t.Flush()
}

// progressOf is how far a job is, in units.
func progressOf(j contract.Job) string {
	if j.Progress.Total == 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d", j.Progress.Done, j.Progress.Total)
}

// noteOf is the most important thing to know about a job, in a line.
func noteOf(j contract.Job) string {
	switch {
	case j.LeftBehind != "":
		return "left objects behind: consumer gc"
	case j.Error != nil && j.State.Terminal():
		return inFlags(j.Error.Error())
	case j.Cancel != nil && !j.State.Terminal():
		return "cancelled by " + j.Cancel.ID + ", ending"
	case j.Waiting != nil:
		return "waits for " + j.Waiting.For + ": " + j.Waiting.Detail
	case j.Error != nil:
		return "last attempt: " + j.Error.Message
	case j.Outcome != "":
		return string(j.Outcome)
	default:
		return j.Phase
	}
}

type jobsShowCmd struct {
	ID     string `arg:"" name:"id" help:"Id of the command; cancel.ID for the cancel with that id."`
	Access access `embed:""`
}

// Run shows one job.
func (c jobsShowCmd) Run(p *program) error {
	q, closeAll, err := c.Access.open(p)
	if err != nil {
		return err
	}
	defer closeAll()
	job, err := findJob(p.ctx, q, c.ID)
	if err != nil {
		return err
	}
	if c.Access.json() {
		return printJSON(p.stdout, job)
	}
	printJob(p.stdout, job)
	return nil
}

// findJob reads a job; one that does not exist is an errRefused that says so.
func findJob(ctx context.Context, q *natsq.Queue, id string) (contract.Job, error) {
	if err := checkKey(id); err != nil {
		return contract.Job{}, err
	}
	job, _, err := q.Job(ctx, id)
	if !errors.Is(err, contract.ErrNoJob) {
		return job, err
	}
	if job.Cancel != nil {
		return job, fmt.Errorf("%w: there is no job %s yet; the cancel %s waits for it", errRefused, id, job.Cancel.ID)
	}
	queued, err := inQueue(ctx, q, id)
	switch {
	case errors.Is(err, natsq.ErrDenied):
		return job, fmt.Errorf("%w: there is no job %s; %s%s", errRefused, id, queueUnseen, cancelHint(ctx, q, id))
	case err != nil:
		return job, err
	case queued:
		return job, fmt.Errorf("%w: there is no job %s yet: its message is in the queue, and the service has not taken it", errRefused, id)
	}
	return job, fmt.Errorf("%w: there is no job %s%s", errRefused, id, cancelHint(ctx, q, id))
}

func printJob(w io.Writer, j contract.Job) {
	t := newTable(w)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	row("id", "%s", j.ID)
	row("action", "%s", j.Action)
	row("state", "%s", j.State)
	if j.Outcome != "" {
		row("outcome", "%s", j.Outcome)
	}
	if j.Phase != "" {
		row("phase", "%s", j.Phase)
	}
	row("attempts", "%d", j.Attempt)
	if g := j.Progress; g.Total > 0 {
		row("progress", "%d of %d units, %s", g.Done, g.Total, human.Bytes(g.Bytes))
	}
	if x := j.Waiting; x != nil {
		row("waiting", "for %s since %s: %s", x.For, x.Since.UTC().Format(time.RFC3339), oneLine(x.Detail))
	}
	if j.Bundle != "" {
		row("bundle", "%s", string(j.Bundle))
	}
	if j.Error != nil {
		row("error", "%s", oneLine(inFlags(j.Error.Error())))
	}
	if j.Cancel != nil {
		row("cancel", "%s of %s", j.Cancel.ID, j.Cancel.Time.UTC().Format(time.RFC3339))
	}
	if j.LeftBehind != "" {
		row("left behind", "%s", string(j.LeftBehind))
	}
	if j.GivenID != "" {
		row("given id", "%s", string(j.GivenID))
	}
	if j.ReplayOf != "" {
		row("replay of", "%s", string(j.ReplayOf))
	}
	row("created", "%s", j.Created.UTC().Format(time.RFC3339))
	row("updated", "%s", j.Updated.UTC().Format(time.RFC3339))
	t.Flush()
}

type jobsWatchCmd struct {
	ID      string        `arg:"" name:"id" help:"Id of the command, which need not be published yet; cancel.ID for the cancel with that id."`
	Seq     uint64        `name:"seq" placeholder:"N" help:"Wait for the answer to the message with this sequence, as its publisher was told, and not for that to another message with the same id."`
	Known   bool          `name:"known" help:"Exit 3 at once if nothing is known of the id, instead of waiting for it to be published."`
	Timeout time.Duration `name:"timeout" placeholder:"DURATION" help:"Stop waiting after this time; the command goes on."`
	Access  access        `embed:""`
}

// Help implements kong.HelpProvider.
func (jobsWatchCmd) Help() string {
	return "Waits for an id of which nothing is known yet, and says so. Exits 0 when the command completed, 3 when it failed, was refused or was cancelled, 1 when --timeout ended the wait."
}

// Run shows a command's events until the last.
func (c jobsWatchCmd) Run(p *program) error {
	q, closeAll, err := c.Access.open(p)
	if err != nil {
		return err
	}
	defer closeAll()
	ctx := p.ctx
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.Timeout, errTimeout)
		defer cancel()
	}
	if c.Seq > 0 {
		return c.awaitMessage(ctx, p, q)
	}
	unknown, err := nothingKnown(p.ctx, q, c.ID)
	switch {
	case err != nil:
		return err
	case unknown != nil && c.Known:
		return fmt.Errorf("%w: %w", errRefused, unknown)
	case unknown != nil:
		fmt.Fprintf(plain{p.stderr}, "consumer: %v; waiting for it to be published\n", unknown)
	}
	// The job has the end even where the event has expired or is not published yet.
	if job, _, err := q.Job(p.ctx, c.ID); err == nil && job.State.Terminal() && job.Event != nil {
		return printEnd(p, *job.Event, c.Access.json())
	}
	event, err := watch(ctx, q, p.stderr, c.ID)
	if err != nil {
		return err
	}
	return printEnd(p, event, c.Access.json())
}

// awaitMessage waits for the answer to the message with the sequence --seq.
func (c jobsWatchCmd) awaitMessage(ctx context.Context, p *program, q *natsq.Queue) error {
	if err := checkKey(c.ID); err != nil {
		return err
	}
	stream, err := q.CommandStream(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreachable, err)
	}
	at := place{stream: stream, seq: c.Seq}
	if err := at.answerable(ctx, q, c.ID); err != nil {
		return err
	}
	shown := newProgress(p.stderr)
	event, err := await(ctx, q, c.ID, at, shown.show)
	shown.end()
	if err != nil {
		return err
	}
	return printEnd(p, event, c.Access.json())
}

// watch shows the events of the command with a key and returns the terminal one. Where a message
// only repeated an earlier one, that is the end of their common command.
func watch(ctx context.Context, q *natsq.Queue, out io.Writer, key string) (contract.Event, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := q.WatchEvents(ctx, key)
	if err != nil {
		return contract.Event{}, fmt.Errorf("watch events: %w", err)
	}
	shown := newProgress(out)
	defer shown.end()
	for e := range events {
		if e.Data.Status.Terminal() {
			return e, nil
		}
		shown.show(e)
		if of := e.Data.DuplicateOf; of != nil {
			return watch(ctx, q, out, contract.Key(e.Data.Action, of.ID))
		}
	}
	return contract.Event{}, watchEnded(ctx)
}

type jobsCancelCmd struct {
	Target   string    `arg:"" name:"id" help:"Id of the command to cancel; it need not be published yet."`
	CancelID string    `name:"id" placeholder:"ID" help:"Id of the cancel itself; default: a random one."`
	Wait     bool      `name:"wait" help:"Also wait until the command has ended. Exits 3 if no command with the id is known."`
	Sign     signFlags `embed:"" group:"Signed commands:"`
	Access   access    `embed:""`
}

// Help implements kong.HelpProvider.
func (jobsCancelCmd) Help() string {
	return "An export stops and ends cancelled. So does a delete that has not begun to delete. Exits 3 when the cancel comes too late. " +
		"If no command with the id is known, nothing is cancelled: the service keeps the cancel for 24 hours, and a command that is published with that id meanwhile ends cancelled."
}

// Run publishes a cancel and waits for its answer.
func (c jobsCancelCmd) Run(p *program) error {
	bad := p.env.unknown()
	conf := p.nats(c.Access.NATS, &bad)
	if err := bad.err(); err != nil {
		return err
	}
	if _, actions := contract.ParseKey(c.Target); len(actions) == 1 {
		return fmt.Errorf("%w: <id>: %s is a cancel, and a cancel cannot be cancelled", errUsage, c.Target)
	}
	o := order{action: contract.ActionCancel, id: c.CancelID}
	if o.id == "" {
		o.id = uuid.NewString()
	}
	var err error
	if o.signer, err = c.Sign.signer(p); err != nil {
		return err
	}
	if o.data, err = json.Marshal(map[string]string{"id": c.Target}); err != nil {
		return fmt.Errorf("encode the cancel: %w", err)
	}
	if err := validate(conf.Subjects, o); err != nil {
		return err
	}
	event, err := request(p.ctx, conf, o, func(contract.Event) {})
	if err != nil {
		return err
	}
	kept := event.Data.Outcome == contract.OutcomeKept
	if event.Data.Status != contract.StatusCompleted || kept || !c.Wait {
		switch {
		case c.Access.json():
			err = printJSON(p.stdout, event)
		case kept:
			fmt.Fprintf(p.stdout, "no command with the id %s is known, so nothing was cancelled; the cancel is kept for 24 hours, and %s ends cancelled if it is published in that time\n", c.Target, c.Target)
		case event.Data.Status == contract.StatusCompleted:
			fmt.Fprintf(p.stdout, "%s ends cancelled\n", c.Target)
		}
		if err == nil && kept && c.Wait {
			err = fmt.Errorf("%w: there is no command %s to wait for", errRefused, c.Target)
		}
		return cmp.Or(err, completed(event))
	}
	q, closeAll, err := c.Access.open(p)
	if err != nil {
		return err
	}
	defer closeAll()
	end, err := watch(p.ctx, q, p.stderr, c.Target)
	if err != nil {
		return err
	}
	if c.Access.json() {
		return printJSON(p.stdout, end)
	}
	fmt.Fprintf(p.stdout, "%s ended: %s\n", c.Target, describeEvent(end))
	return nil
}
