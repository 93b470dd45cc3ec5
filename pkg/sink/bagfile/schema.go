package bagfile

import _ "embed"

//go:embed deletion.schema.json
var deletionSchema string

//go:embed inventory.schema.json
var inventorySchema string

// DeletionSchema returns the JSON Schema (draft 2020-12) of data/deletion.json.
func DeletionSchema() []byte { return []byte(deletionSchema) }

// InventorySchema returns the JSON Schema (draft 2020-12) of evidence/inventory.json.
func InventorySchema() []byte { return []byte(inventorySchema) }
