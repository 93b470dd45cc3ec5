package deletion

import (
	"context"
	"errors"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deleteplan"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// planHead is the head that the command's plan has now, at the host of the Training API.
func (d *Deleter) planHead(host string) bagfile.Plan {
	return deleteplan.NewHead(d.Pseudonym.Redact(d.Command.Data), host)
}

// planDelete makes the plan. Until a delete is begun nothing is changed, so where the service
// contradicts itself, or something comes or goes, the plan is made again. Where images come and go
// all the time it is refused. The caller closes the plan's spool.
func (d *Deleter) planDelete(ctx context.Context) (plan *deleteplan.Plan, refusal *contract.Error, err error) {
	err = d.poll(ctx, 0, "plan", "", func(ctx context.Context) (_ string, err error) {
		plan, err = d.readPlan(ctx)
		return "", err
	})
	if errors.Is(err, cv.ErrUnstable) && !errors.Is(err, survey.ErrEndless) {
		return nil, &contract.Error{Code: contract.CodePlanChanged, Retryable: true, Message: "what the selection holds changes all the time, so nothing was deleted: " +
			err.Error() + "; publish the delete again under a new id when less is changed"}, nil
	}
	return plan, nil, err
}

// readPlan makes the plan once.
func (d *Deleter) readPlan(ctx context.Context) (_ *deleteplan.Plan, err error) {
	spool := sink.NewSpool(d.Bags.SpoolDir)
	d.planned = d.Now()
	plan, err := deleteplan.Planner{
		Client: d.Client, Control: d.Control, Data: d.Command.Data, ServiceTime: d.Calls.ServiceTime, Claim: d.Attempt.Claim,
		Progress: func(ctx context.Context, found int) error {
			return d.Attempt.Progress(ctx, contract.Progress{Done: int64(found)}, d.Job.Created)
		},
	}.Write(ctx, spool, d.planHead(d.Client.Host()))
	if err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	return plan, nil
}
