package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/internal/human"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

type gcCmd struct {
	DryRun  bool           `name:"dry-run" short:"n" help:"Only list what would be removed."`
	Orphans bool           `name:"orphans" help:"Include the objects of ids that NATS does not know (any more). Use it only if the bucket holds nothing else below the prefix."`
	Access  access         `embed:""`
	S3      storeAccess    `embed:"" group:"Storage:"`
	Bucket  bucketSettings `embed:"" group:"Storage:"`
}

// Help implements kong.HelpProvider.
func (gcCmd) Help() string {
	return "Removes, by version, the objects of exports that failed or were cancelled, and working objects of commands that have ended. " +
		"Touches nothing of a command that has not ended, no bundle that has its receipt, and no evidence of a failed delete. Exits 1 when something could not be removed."
}

// collected is what became of one command's leftovers.
type collected struct {
	handler.Leftover
	Removed bool   `json:"removed"`
	Error   string `json:"error,omitempty"`
}

// Run finds leftovers, and removes them.
func (c gcCmd) Run(p *program) error {
	collector, access, closeAll, err := c.collector(p)
	if err != nil {
		return err
	}
	defer closeAll()
	all := []collected{}
	var failed error
	for l, err := range collector.Find(p.ctx, c.Orphans) {
		if err != nil && l.ID == "" {
			return access.unreachable(err)
		}
		if errors.Is(err, sink.ErrMisconfigured) { // so it is for every id
			return access.unreachable(err)
		}
		one := collected{Leftover: l}
		if err == nil && !c.DryRun {
			err = collector.Remove(p.ctx, l)
			one.Removed = err == nil
		}
		if err != nil {
			one.Error = err.Error()
			failed = errors.Join(failed, err)
		}
		all = append(all, one)
	}
	if c.Access.json() {
		return errors.Join(printJSON(p.stdout, all), failed)
	}
	t := newTable(p.stdout)
	fmt.Fprintln(t, "ID\tSTATE\tOBJECTS\tSIZE\tREMOVED\tWHERE")
	for _, l := range all {
		state := string(l.State)
		if state == "" {
			state = "-"
		}
		removed := map[bool]string{true: "yes", false: "no"}[l.Removed]
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\n", l.ID, state, l.Objects, human.Bytes(l.Bytes), removed, strings.Join(l.Where, " "))
	}
	return errors.Join(t.Flush(), failed)
}

// collector connects to NATS and storage; access is how the store is reached.
func (c gcCmd) collector(p *program) (_ handler.Collector, access storeConfig, closeAll func(), err error) {
	bad := p.env.unknown()
	c.Bucket.bundleSettings.check(&bad)
	c.Access.NATS.config(&bad)
	api, access, err := c.S3.client(p.ctx, bad)
	if err != nil {
		return handler.Collector{}, access, nil, err
	}
	store := sink.NewStore(api, sink.StoreOptions{Bucket: c.Bucket.Bucket, Log: zerolog.Nop()})
	work := store
	if c.Bucket.WorkBucket != "" && c.Bucket.WorkBucket != c.Bucket.Bucket {
		work = sink.NewStore(api, sink.StoreOptions{Bucket: c.Bucket.WorkBucket, Log: zerolog.Nop()})
	}
	q, closeAll, err := c.Access.open(p)
	if err != nil {
		return handler.Collector{}, access, nil, err
	}
	return handler.Collector{Queue: q, Store: store, Work: work, Prefix: c.Bucket.Prefix}, access, closeAll, nil
}
