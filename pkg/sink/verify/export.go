package verify

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// checkExport compares what an export says with what it has.
func (v *verifier) checkExport(ctx context.Context) error {
	if err := v.nameFiles(ctx, func(i int) bool { return v.payload[i].blob && !v.recorded[i] }, "no record speaks of it"); err != nil {
		return err
	}
	inv := v.statements.inventory
	if inv == nil {
		return nil
	}
	for id := range v.projects {
		if inv.projects[id] == nil {
			v.problem(sink.ProjectPath(id, ""), "the inventory does not name this project")
		}
	}
	if v.receipt == nil {
		return nil
	}
	var counts bagfile.Counts
	for _, id := range inv.order {
		p := v.projects[id]
		if p == nil {
			p = newProject(id)
		}
		c := checkedProject{v: v, p: p, l: inv.projects[id]}
		counts.Add(c.check())
	}
	v.checkProjects(inv)
	v.compareExport(inv, counts)
	return nil
}

// checkProjects compares the projects of the inventory with those that the command names.
func (v *verifier) checkProjects(inv *inventory) {
	if v.scope.AllProjects == (len(v.scope.ProjectIDs) > 0) {
		v.problem(sink.RequestFile, "it must name either all projects or some")
		return
	}
	if v.scope.AllProjects {
		return
	}
	for _, id := range inv.order {
		if !ids(v.scope.ProjectIDs).has(id) {
			v.problem(sink.InventoryFile, "it has project %s, which the command does not name", id)
		}
	}
	for _, id := range v.scope.ProjectIDs {
		if inv.projects[id] == nil {
			v.problem(sink.InventoryFile, "it lacks project %s, which the command names", id)
		}
	}
}

// compareExport compares the summary and the receipt with what was counted.
func (v *verifier) compareExport(inv *inventory, counts bagfile.Counts) {
	e, p := v.statements.export, &v.receipt.Predicate
	exceptions, unstable := inv.exceptions(p.Command.Action), 0
	for _, l := range inv.projects {
		unstable += l.unstable
	}
	var says bagfile.ExportVerification
	if err := json.Unmarshal(p.Verification, &says); err != nil || says.PayloadObjects != len(v.payload) || says.Unstable != unstable {
		v.problem(sink.ReceiptFile, "its verification is not that of %d files and %d unstable listings", len(v.payload), unstable)
	}
	if e == nil {
		return
	}
	bad := func(format string, args ...any) { v.problem(sink.ExportFile, format, args...) }
	v.checkSummary(sink.ExportFile, summary{e.ID, string(e.Reference), e.Scope, e.Outcome, e.Counts, e.StartedAt, e.FinishedAt, e.Tool})
	counts.Bytes = v.payloadBytes - max(v.fileSize(sink.ExportFile), 0)
	if v.unknown > 0 {
		counts.Bytes = e.Counts.Bytes
	}
	said := e.Counts.ByName()
	for name, found := range counts.ByName() {
		if said[name] != found {
			bad("%s", differ(name, said[name], found))
		}
	}
	if e.Exceptions != exceptions || p.Exceptions != exceptions {
		bad("it says %d exceptions and the receipt %d, the inventory has %d", e.Exceptions, p.Exceptions, exceptions)
	}
	outcome := bagfile.OutcomeComplete
	switch {
	case exceptions > 0:
		outcome = bagfile.OutcomeExceptions
	case counts.Empty():
		outcome = bagfile.OutcomeNothingFound
	}
	if e.Outcome != outcome {
		bad("its outcome is %s; by what is there it is %s", quote(e.Outcome), outcome)
	}
	if e.Endpoint == "" || e.APIVersion == "" {
		bad("it names no endpoint or no version of the API")
	}
}

// fileSize is the size of a file as listed or read, -1 when it is not there.
func (v *verifier) fileSize(name sink.Path) int64 {
	if i := v.locate(name); i >= 0 {
		return v.sizeOf(i)
	}
	return -1
}

// checkedProject compares one project's files with the inventory.
type checkedProject struct {
	v      *verifier
	p      *project
	l      *listed
	counts bagfile.Counts
}

// category is what the inventory says of a category; nothing when it does not name it.
func (c *checkedProject) category(name string) *category {
	if k := c.l.categories[name]; k != nil {
		return k
	}
	return &category{}
}

// excused reports whether a category has something that the service did not give: what that would
// be need not be there. Pictures and models that failed excuse no lack of the files that name them.
func (c *checkedProject) excused(name string) bool {
	k := c.category(name)
	return k.calls > 0 || k.failed > int64(len(k.things))
}

// bad notes a problem of the inventory with this project.
func (c *checkedProject) bad(format string, args ...any) {
	c.v.problem(sink.InventoryFile, "project "+c.p.id.String()+": "+format, args...)
}

// want notes that a file of the project, or of an iteration, is missing.
func (c *checkedProject) want(there bool, category string, name sink.Path) {
	if !there && !c.excused(category) && !c.v.hasProblem(name) {
		c.v.problem(name, "it is missing: the project has %s", category)
	}
}

// unasked notes files of a category that the command does not name.
func (c *checkedProject) unasked(there bool, category string, name sink.Path) {
	if there && !c.v.scope.Has(category) {
		c.v.problem(name, "the command does not ask for %s", category)
	}
}

// check compares and gives what was counted.
func (c *checkedProject) check() bagfile.Counts {
	for _, name := range c.v.scope.Categories {
		if c.l.categories[name] == nil {
			c.bad("it has no %s, which the command asks for", name)
		}
	}
	for name, k := range c.l.categories {
		if !c.v.scope.Has(name) && (k.exported != 0 || k.listed != 0 || k.bytes != 0) {
			c.bad("it has %s, which the command does not ask for", name)
		}
	}
	if c.l.gone {
		if len(c.p.has)+len(c.p.iterations) > 0 {
			c.bad("it is gone, and has files")
		}
		for name, k := range c.l.categories {
			if k.listed != 0 || k.exported != 0 || k.bytes != 0 || k.failed != 0 {
				c.bad("it is gone, and has %s", name)
			}
		}
		return c.counts
	}
	c.few()
	c.iterations()
	c.images()
	c.predictions()
	c.models()
	return c.counts
}

// few checks the project itself and its tags.
func (c *checkedProject) few() {
	s, id := &c.v.scope, c.p.id
	c.unasked(c.p.has[projectFile], bagfile.Projects, sink.ProjectPath(id, "project.json"))
	c.unasked(c.p.has[tagsFile], bagfile.Tags, sink.ProjectPath(id, "tags.json"))
	c.unasked(c.p.has[iterationsFile], bagfile.Iterations, sink.ProjectPath(id, "iterations.json"))
	if s.Has(bagfile.Projects) {
		c.want(c.p.has[projectFile], bagfile.Projects, sink.ProjectPath(id, "project.json"))
		c.counts.Projects = 1 // also where the service refused project.json
		c.number(bagfile.Projects, c.counts.Projects)
	}
	if s.Has(bagfile.Tags) {
		c.want(c.p.has[tagsFile] || len(s.IterationIDs) > 0, bagfile.Tags, sink.ProjectPath(id, "tags.json"))
		c.counts.Tags = int64(len(c.p.tags))
		c.number(bagfile.Tags, c.counts.Tags)
		for tag := range c.p.tags {
			if len(s.TagIDs) > 0 && !ids(s.TagIDs).has(tag) {
				c.bad("it has tag %s, which the command does not name", tag)
			}
		}
	}
	if s.Has(bagfile.Iterations) {
		c.want(c.p.has[iterationsFile], bagfile.Iterations, sink.ProjectPath(id, "iterations.json"))
	}
}

// number compares how many things of a category the inventory has with how many there are.
func (c *checkedProject) number(name string, found int64) {
	if k := c.category(name); int64(k.exported) != found {
		c.bad("it has %d %s, there are %d", k.exported, name, found)
	}
}

// iterations checks the folders of iterations, and what is read of each of them.
func (c *checkedProject) iterations() {
	s, named := &c.v.scope, 0
	for id, it := range c.p.iterations {
		file := func(name string) sink.Path { return sink.IterationPath(c.p.id, id, name) }
		if len(s.IterationIDs) > 0 && !ids(s.IterationIDs).has(id) {
			c.bad("it has iteration %s, which the command does not name", id)
		}
		if it.named {
			named++
		}
		if s.Has(bagfile.Iterations) {
			if !it.named && c.p.has[iterationsFile] {
				c.v.problem(file(""), "iterations.json does not name this iteration")
			}
			c.want(it.has[iterationFile], bagfile.Iterations, file("iteration.json"))
			if it.has[iterationFile] && it.named && it.digests[0] != it.digests[1] {
				c.v.problem(file("iteration.json"), "it says something else of the iteration than iterations.json")
			}
		}
		if s.Has(bagfile.Tags) {
			c.want(it.has[iterationTags], bagfile.Tags, file("tags.json"))
		}
		if s.Has(bagfile.Images) && len(s.ImageIDs) == 0 {
			c.want(it.has[iterationImages], bagfile.Images, file("images.jsonl"))
		}
		if s.Has(bagfile.Exports) {
			c.want(it.has[exportsFile], bagfile.Exports, file("exports.json"))
		}
		for shape, category := range map[shape]string{
			iterationFile: bagfile.Iterations, iterationTags: bagfile.Tags, iterationImages: bagfile.Images, exportsFile: bagfile.Exports,
			performanceFile: bagfile.Performance, performancesFile: bagfile.Performance, modelFile: bagfile.Exports,
		} {
			c.unasked(it.has[shape], category, file(""))
		}
		c.performance(id, it)
	}
	if s.Has(bagfile.Iterations) {
		c.counts.Iterations = int64(named)
		c.number(bagfile.Iterations, c.counts.Iterations)
	}
	if s.Has(bagfile.Performance) {
		c.number(bagfile.Performance, c.counts.Performance)
	}
}

// performance checks the performance of an iteration, or that it is said to have none.
func (c *checkedProject) performance(id uuid.UUID, it *iteration) {
	if !c.v.scope.Has(bagfile.Performance) {
		return
	}
	name := sink.IterationPath(c.p.id, id, "performance.json")
	untrained := c.l.untrained[id]
	if it.has[performanceFile] {
		c.counts.Performance++
	}
	switch {
	case it.has[performanceFile] && untrained:
		c.v.problem(name, "the inventory says that the iteration is untrained")
	case !untrained:
		c.want(it.has[performanceFile], bagfile.Performance, name)
		c.want(it.has[performancesFile], bagfile.Performance, sink.IterationPath(c.p.id, id, "image-performance.jsonl"))
	case it.has[performancesFile]:
		c.v.problem(sink.IterationPath(c.p.id, id, "image-performance.jsonl"), "the inventory says that the iteration is untrained")
	}
}

// images compares the records of images with the inventory.
func (c *checkedProject) images() {
	s := &c.v.scope
	name := sink.ProjectPath(c.p.id, "images.jsonl")
	c.unasked(c.p.has[imagesFile], bagfile.Images, name)
	if !s.Has(bagfile.Images) {
		return
	}
	c.want(c.p.has[imagesFile] || len(s.IterationIDs) > 0, bagfile.Images, name)
	r := &c.p.images
	if len(s.ImageIDs) > 0 {
		if id := r.all.without(s.ImageIDs); id != uuid.Nil {
			c.bad("it has image %s, which the command does not name", id)
		}
	}
	c.counts.Images = int64(len(r.all))
	k := c.category(bagfile.Images)
	if k.distinct != nil && *k.distinct != len(r.all) {
		c.bad("it has %d distinct images, there are records of %d", *k.distinct, len(r.all))
	}
	if k.scopes >= 0 && k.scopes != k.listed {
		c.bad("it says that %d images were listed, and %d in its scopes", k.listed, k.scopes)
	}
	c.compare(bagfile.Images, r, c.l.removed)
}

// predictions compares the records of predictions with the inventory.
func (c *checkedProject) predictions() {
	name := sink.ProjectPath(c.p.id, "predictions.jsonl")
	c.unasked(c.p.has[predictionsFile], bagfile.Predictions, name)
	if !c.v.scope.Has(bagfile.Predictions) {
		return
	}
	c.want(c.p.has[predictionsFile], bagfile.Predictions, name)
	c.counts.Predictions = int64(len(c.p.stored.all))
	c.compare(bagfile.Predictions, &c.p.stored, nil)
}

// compare compares records with the inventory. removed are those whose error is no exception.
func (c *checkedProject) compare(name string, r *recorded, removed ids) {
	k := c.category(name)
	c.number(name, int64(len(r.all)-len(r.bad)))
	if k.bytes != r.bytes {
		c.bad("it has %d bytes of %s, the records %d", k.bytes, name, r.bytes)
	}
	if id := r.bad.without(union(k.things, removed)); id != uuid.Nil {
		c.bad("a record of %s has an error for %s, of which it knows nothing", name, id)
	}
	if id := removed.without(r.bad); id != uuid.Nil {
		c.bad("%s was removed by what it says, and no record says so", id)
	}
	for _, id := range k.things {
		if r.all.has(id) && !r.bad.has(id) {
			c.bad("of %s it says that %s failed, and its record says that it did not", name, id)
			break
		}
	}
	if id := k.things.without(r.bad); id != uuid.Nil && k.calls == 0 {
		c.bad("of %s it says that %s failed, and no record says so", name, id)
	}
}

// unfinishedKey stands for a model of an iteration that is not done, and its status.
func unfinishedKey(iteration string, o object) uuid.UUID {
	name := o.Platform
	if o.Flavor != "" {
		name += "-" + o.Flavor
	}
	return nameKey(iteration + "/" + name + "\x00" + o.Status)
}

// models compares the models' files with what exports.json offers.
func (c *checkedProject) models() {
	if !c.v.scope.Has(bagfile.Exports) {
		return
	}
	k, files, missing := c.category(bagfile.Exports), 0, 0
	unfinished := maps.Clone(k.unfinished)
	if unfinished == nil {
		unfinished = map[uuid.UUID]int{}
	}
	for id, it := range c.p.iterations {
		offered := it.offered(c.p.id, id)
		known := map[string]bool{}
		for _, name := range offered {
			if known[name] = true; it.models[name] == 0 {
				missing++
			}
		}
		files += len(it.models)
		for name, n := range it.models {
			switch file := sink.IterationPath(c.p.id, id, "exports/"+name); {
			case !known[name]:
				c.v.problem(file, "exports.json offers no such model")
			case n > 1:
				c.v.problem(file, "there are %d files of this model", n)
			}
		}
		for _, o := range it.others {
			unfinished[unfinishedKey(id.String(), o)]--
		}
	}
	c.counts.Exports = int64(k.exported)
	failed, undone := len(k.things), 0
	for _, n := range k.unfinished {
		undone += n
	}
	if k.listed != k.exported+failed+undone {
		c.bad("it says that %d models were listed; it has %d, %d that failed and %d that were not done", k.listed, k.exported, failed, undone)
	}
	for _, n := range unfinished {
		if n != 0 {
			c.bad("its models that were not done are not those of exports.json")
			break
		}
	}
	if k.exported > files || files > k.exported+failed || k.exported+failed != files+missing {
		c.bad("it has %d models and %d that failed; there are %d files, and %d are missing", k.exported, failed, files, missing)
	}
	if c.v.unknown == 0 && k.bytes != c.p.modelBytes {
		c.bad("it has %d bytes of models, there are %d", k.bytes, c.p.modelBytes)
	}
}
