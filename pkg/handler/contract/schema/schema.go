// Package schema holds the published contracts: JSON Schemas (draft 2020-12) of commands, events
// and jobs, and the AsyncAPI document that says on which subjects they travel. The decoder in
// package contract decides what a command is; tests there hold both to each other.
package schema

import _ "embed"

// The $id of each schema, by which the others refer to it.
const (
	CommandID = "urn:cvconsumer:schema:command:1"
	EventID   = "urn:cvconsumer:schema:event:1"
	JobID     = "urn:cvconsumer:schema:job:1"
)

//go:embed command.json
var command string

//go:embed event.json
var event string

//go:embed job.json
var job string

//go:embed asyncapi.yaml
var asyncAPI string

// Command returns the schema of a command's data. Its definitions export, delete and cancel are the
// data of each action.
func Command() []byte { return []byte(command) }

// Event returns the schema of a published event.
func Event() []byte { return []byte(event) }

// Job returns the schema of a job. It refers to the event's schema by its $id.
func Job() []byte { return []byte(job) }

// AsyncAPI returns the AsyncAPI 3.0 document of all subjects, in YAML. It has the schemas by
// reference to the files beside it.
func AsyncAPI() []byte { return []byte(asyncAPI) }
