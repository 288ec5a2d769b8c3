package job

import _ "embed"

//go:embed job.schema.json
var jsonSchema []byte

// JSONSchema is the JSON Schema of job files with the transforms that are built in, for editors. It is made from the types of this package
// and their comments: `make schema` writes it anew.
func JSONSchema() []byte { return jsonSchema }
