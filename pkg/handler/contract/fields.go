package contract

import (
	"slices"
	"strings"
	"unicode"
)

// decodeData reads the data of a command with the given id and action.
func decodeData(action Action, raw []byte) (Data, error) {
	if err := checkText("data", raw, MaxCommandBytes); err != nil {
		return Data{}, err
	}
	if err := checkSurrogates("data", raw); err != nil {
		return Data{}, err
	}
	fields, isObject, err := readObject("data", raw)
	if err != nil {
		return Data{}, err
	}
	if !isObject {
		return Data{}, faultf("data", "must be a JSON object")
	}
	var d Data
	for _, f := range fields {
		if err := checkField(action, f.name); err != nil {
			return Data{}, err
		}
		if f.isNull() {
			return Data{}, faultf(f.name, "must not be null: leave it out instead")
		}
		if err := d.set(f); err != nil {
			return Data{}, err
		}
	}
	if action == ActionCancel {
		if d.CancelID == "" {
			return Data{}, faultf("id", "missing: name the command to cancel")
		}
		return d, nil
	}
	if d.Resource == "" {
		d.Resource = DefaultResource
	}
	d = d.normalized()
	if err := d.checkSelection(); err != nil {
		return Data{}, err
	}
	if len(d.Categories) == 0 {
		d.Categories = DefaultCategories(action, d.Narrowing())
	} else if err := d.checkCategories(action); err != nil {
		return Data{}, err
	}
	if d.ExportRetainUntil != nil && !d.ExportFirst {
		return Data{}, faultf("export_retain_until", "locks the bag of export_first: set export_first, or leave this out")
	}
	return d, nil
}

// checkField fails unless name is a field of the action, and says why it is none.
func checkField(action Action, name string) error {
	fields := dataFields()
	for _, f := range fields {
		if f.name != name {
			continue
		}
		if slices.Contains(f.of, action) {
			return nil
		}
		if f.of[0] == ActionCancel {
			return faultf(name, "only a cancel has it: a command's own id goes into its envelope or the Nats-Msg-Id header")
		}
		if action == ActionCancel {
			return faultf(name, "a cancel has only id, the command to cancel")
		}
		return faultf(name, "only a delete has it: leave it out, or publish the command on the delete subject")
	}
	for _, f := range fields {
		if strings.EqualFold(f.name, name) {
			return faultf(showable(name), "wrong letter case: write %s", f.name)
		}
	}
	return unknownField("", name)
}

// dataField is one field of a command's data and the actions that have it.
type dataField struct {
	name string
	of   []Action
}

func dataFields() []dataField {
	both := []Action{ActionExport, ActionDelete}
	return []dataField{
		{"resource", both},
		{"all_projects", both},
		{"project_ids", both},
		{string(NarrowIterations), both},
		{string(NarrowTags), both},
		{string(NarrowImages), both},
		{string(NarrowMetadata), both},
		{"categories", both},
		{"reference", both},
		{"not_after", both},
		{"retain_until", both},
		{"dry_run", []Action{ActionDelete}},
		{"approved_plan", []Action{ActionDelete}},
		{"export_first", []Action{ActionDelete}},
		{"export_retain_until", []Action{ActionDelete}},
		{"unpublish", []Action{ActionDelete}},
		{"expect", []Action{ActionDelete}},
		{"id", []Action{ActionCancel}},
	}
}

// set reads one field, which is known to belong to the command.
func (d *Data) set(f member) (err error) {
	switch f.name {
	case "resource":
		d.Resource, err = f.line(MaxResource)
	case "all_projects":
		d.AllProjects, err = f.boolean()
	case "project_ids":
		d.ProjectIDs, err = f.uuids(MaxProjectIDs)
	case string(NarrowIterations):
		d.IterationIDs, err = f.uuids(MaxNarrowingIDs)
	case string(NarrowTags):
		d.TagIDs, err = f.uuids(MaxNarrowingIDs)
	case string(NarrowImages):
		d.ImageIDs, err = f.uuids(MaxNarrowingIDs)
	case string(NarrowMetadata):
		d.ImageMetadata, err = f.metadata()
	case "categories":
		d.Categories, err = f.categories()
	case "reference":
		d.Reference, err = f.line(MaxReference)
	case "not_after":
		d.NotAfter, err = f.time()
	case "retain_until":
		d.RetainUntil, err = f.time()
	case "dry_run":
		d.DryRun, err = f.boolean()
	case "approved_plan":
		d.ApprovedPlan, err = f.digest()
	case "export_first":
		d.ExportFirst, err = f.boolean()
	case "export_retain_until":
		d.ExportRetainUntil, err = f.time()
	case "unpublish":
		d.Unpublish, err = f.boolean()
	case "expect":
		d.Expect, err = f.expect()
	case "id":
		if d.CancelID, err = f.text(); err == nil {
			err = checkID(f.name, d.CancelID)
		}
	}
	return err
}

// checkSelection checks that the selecting fields fit together.
func (d *Data) checkSelection() error {
	switch {
	case d.AllProjects && len(d.ProjectIDs) > 0:
		return faultf("all_projects", "give either this or project_ids, not both")
	case !d.AllProjects && len(d.ProjectIDs) == 0:
		return faultf("project_ids", "missing: name the projects here, or set all_projects to true")
	}
	var given []Narrowing
	for _, n := range []struct {
		name  Narrowing
		count int
	}{
		{NarrowIterations, len(d.IterationIDs)}, {NarrowTags, len(d.TagIDs)}, {NarrowImages, len(d.ImageIDs)}, {NarrowMetadata, len(d.ImageMetadata)},
	} {
		if n.count > 0 {
			given = append(given, n.name)
		}
	}
	switch {
	case len(given) > 1:
		return faultf(string(given[1]), "at most one narrowing: leave out either this or %s", given[0])
	case len(given) == 1 && given[0] != NarrowMetadata && len(d.ProjectIDs) != 1:
		return faultf(string(given[0]), "needs exactly one project in project_ids, the one these belong to")
	}
	return nil
}

// checkCategories checks that the action can take the categories under the narrowing.
func (d *Data) checkCategories(action Action) error {
	narrowing := d.Narrowing()
	allowed := AllowedCategories(action, narrowing)
	for _, c := range d.Categories {
		if !slices.Contains(allowed, c) {
			return faultf("categories", "%s is not something %s narrows in a %s: use only %s", c, narrowing, action, joinCategories(allowed))
		}
	}
	return nil
}

func joinCategories(categories []Category) string {
	var names []string
	for _, c := range categories {
		names = append(names, string(c))
	}
	return strings.Join(names, ", ")
}

func unknownField(parent, name string) error {
	return faultf(parent+showable(name), "unknown field: leave it out")
}

// showable returns a field's name when it looks like one; anything else might be a value or a
// secret in the wrong place and is not repeated.
func showable(name string) string {
	digits := strings.IndexFunc(name, unicode.IsDigit) >= 0 && len(name) > 20
	if !namePattern.MatchString(name) || digits {
		return "(a name not shown)"
	}
	return name
}
