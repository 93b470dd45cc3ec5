package sink

import _ "embed"

//go:embed receipt.schema.json
var receiptSchema string

// ReceiptSchema returns the JSON Schema (draft 2020-12) of receipt.json.
func ReceiptSchema() []byte { return []byte(receiptSchema) }
