package job

import _ "embed"

//go:embed job.schema.json
var jsonSchema []byte

// JSONSchema is the JSON Schema of job files with the transforms that are built in, for editors. It is made from the types that job files are
// read into: their tags (enum, pattern, minimum, required, one), their comments, and what those with a method JSONSchema say themselves. `make
// schema` writes it anew.
func JSONSchema() []byte { return jsonSchema }
