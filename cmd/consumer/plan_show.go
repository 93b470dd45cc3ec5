package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// readPlan reads the bundle of a plan at a place, which must pass verification. receipt is the
// digest of its receipt; empty: any.
func readPlan(p *program, s3 storeAccess, where, receipt string) (says bagfile.Deletion, err error) {
	b, err := s3.openBundle(p.ctx, p.env, where)
	if err != nil {
		return says, err
	}
	defer b.close()
	bag := &summarized{bag: b.bag}
	report, err := verify.Bag(p.ctx, bag, verify.Options{MaxProblems: 3})
	if err := b.judge(p.ctx, report, err); err != nil {
		return says, err
	}
	if receipt != "" && receipt != report.ReceiptSHA256 {
		return says, fmt.Errorf("%w: the plan's bundle %s has another receipt than its event says: it was replaced", errVerifyFailed, where)
	}
	if err := json.Unmarshal(bag.summary, &says); err != nil || !says.DryRun {
		return says, fmt.Errorf("%w: %s is not the bundle of a plan", errUsage, where)
	}
	return says, nil
}

// summarized is a bag that remembers its summary as it was verified.
type summarized struct {
	bag     verify.Source
	mu      sync.Mutex
	summary []byte
}

var _ verify.Source = (*summarized)(nil)

// List implements verify.Source.
func (s *summarized) List(ctx context.Context) iter.Seq2[verify.File, error] {
	return s.bag.List(ctx)
}

// maxSummary bounds data/deletion.json, in bytes.
const maxSummary = 16 << 20

// Open implements verify.Source.
func (s *summarized) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	in, err := s.bag.Open(ctx, name)
	if err != nil || name != string(sink.DeletionFile) {
		return in, err //nolint:wrapcheck // it is the source's
	}
	b, err := io.ReadAll(io.LimitReader(in, maxSummary))
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.summary = b
	return io.NopCloser(bytes.NewReader(b)), nil
}

// shownPlan is a plan to be shown: its event, and its bundle where that can be read.
type shownPlan struct {
	event  contract.Event
	says   bagfile.Deletion
	unread error  // why the bundle was not read; nil when it was
	data   []byte // of the dry run's command
}

// errNoStorage is why the bundle of a plan is not read where no storage is set.
var errNoStorage = errors.New("set AWS_REGION or AWS_ENDPOINT_URL_S3, and a key that may read it")

// plan reads the bundle of a plan, where storage is set.
func (s storeAccess) plan(p *program, event contract.Event, data []byte) shownPlan {
	plan := shownPlan{event: event, data: data, unread: errNoStorage}
	if b := event.Data.Bundle; b != nil && s.Region+s.Endpoint+s.KeyID+s.KeyIDFile != "" {
		plan.says, plan.unread = readPlan(p, s, b.URI, b.ReceiptSHA256)
	}
	return plan
}

// print prints what a delete would remove, of which account, and what stays.
func (d shownPlan) print(w io.Writer) {
	fmt.Fprintln(w, "would be deleted:")
	t := newTable(w)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, "  "+name+"\t"+format+"\n", args...) }
	asked := d.asked()
	resource := asked.Resource
	if resource == "" {
		resource = defaultResource
	}
	if d.unread == nil {
		row("account", "%s, at %s", resource, d.says.Endpoint)
		printPlanned(t, d.says.Projects)
	} else {
		row("account", "%s", resource)
		for _, id := range asked.ProjectIDs {
			row("project", "%s", id)
		}
		row("names", "not read from the plan's bundle: %s", oneLine(d.unread.Error()))
	}
	printThings(t, d.event.Data.Counts)
	row("plan", "sha256 %s", d.event.Data.Plan.SHA256)
	row("every id", "%s", d.event.Data.Plan.URI)
	for _, r := range d.event.Data.Residuals {
		row("would remain", "%s: %s", r.Category, r.Reason)
	}
	t.Flush()
}

// asked is what the dry run asked for.
func (d shownPlan) asked() (asked struct {
	Resource   string   `json:"resource"`
	ProjectIDs []string `json:"project_ids"`
}) {
	_ = json.Unmarshal(d.data, &asked) // the service accepted it
	return asked
}

// printPlanned prints the projects of a plan.
func printPlanned(w io.Writer, projects []bagfile.DeletionProject) {
	for _, one := range projects {
		extent := "parts of the project"
		if one.Project {
			extent = "the whole project"
		}
		one.Counts.Projects = 0 // it is this one
		fmt.Fprintf(w, "  project\t%s %q: %s (%s)\n", one.ID, one.Name, extent, things(one.Counts))
	}
}
