package main

import (
	"errors"
	"fmt"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/schema"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

type schemaCmd struct {
	Name string `arg:"" optional:"" name:"name" default:"" enum:"command,event,job,receipt,deletion,inventory,asyncapi," help:"command, event, job, receipt, deletion, inventory or asyncapi; without a name, all are listed."`
}

// Help implements kong.HelpProvider.
func (schemaCmd) Help() string {
	return "Prints a published contract: the JSON Schema (draft 2020-12) of a command's data, of an event, of a job, or of a receipt, deletion or inventory in bundles; or the AsyncAPI 3 document of all subjects, in YAML."
}

// published are the contracts.
var published = []struct {
	name, what string
	text       func() []byte
}{
	{"command", "JSON Schema of a command's data", schema.Command},
	{"event", "JSON Schema of an event", schema.Event},
	{"job", "JSON Schema of a job in CV_JOBS", schema.Job},
	{"receipt", "JSON Schema of receipt.json", sink.ReceiptSchema},
	{"deletion", "JSON Schema of data/deletion.json", bagfile.DeletionSchema},
	{"inventory", "JSON Schema of evidence/inventory.json", bagfile.InventorySchema},
	{"asyncapi", "AsyncAPI 3 document of all subjects", schema.AsyncAPI},
}

// Run prints a contract, or lists all.
func (c schemaCmd) Run(p *program) error {
	if c.Name == "" {
		t := newTable(p.stdout)
		for _, one := range published {
			fmt.Fprintf(t, "%s\t%s\n", one.name, one.what)
		}
		return t.Flush()
	}
	for _, one := range published {
		if one.name == c.Name {
			_, err := p.raw.Write(one.text())
			return err //nolint:wrapcheck // it is the output's
		}
	}
	return errors.New("there is no contract " + c.Name)
}
