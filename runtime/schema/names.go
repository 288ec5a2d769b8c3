package schema

import (
	"fmt"
	"strconv"
	"strings"
)

// Reserved is a set of top-level column names, in lower case, that a payload field cannot have.
type Reserved map[string]bool

// NewReserved is the names that Iceberg keeps for metadata columns (a table with a real column of such a name cannot be read by Spark)
// and the names given, which are the coordinate columns of a job and what its tables call their partitions. Comparison is without case, as
// engines compare.
func NewReserved(names ...string) Reserved {
	r := Reserved{}
	for _, name := range []string{"_file", "_pos", "_deleted", "_spec_id", "_partition", "_row_id", "_last_updated_sequence_number",
		"_change_type", "_change_ordinal", "_commit_snapshot_id"} {
		r[name] = true
	}
	for _, name := range names {
		r[fold(name)] = true
	}
	return r
}

// fold is the form in which names are compared: Spark and others do not look at case.
func fold(name string) string { return strings.ToLower(name) }

// sourcePrefix begins the comment of a column whose name is not what the payload calls it. The comment is kept by the table, and so a
// restart finds the field's column again.
const sourcePrefix = "payload field "

// Source is what the payload calls the field: its name, or for a renamed column what its comment says.
func (f Field) Source() string {
	if quoted, ok := strings.CutPrefix(f.Doc, sourcePrefix); ok {
		if name, err := strconv.Unquote(quoted); err == nil {
			return name
		}
	}
	return f.Name
}

// newField makes a column for a payload field, named as Merge says. The result depends only on the name and the columns that are there.
func newField(source string, t Type, taken map[string]bool, reserved Reserved) Field {
	clean := strings.Map(func(r rune) rune {
		if r == '.' || r < ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, source)
	if clean == "" {
		clean = "_empty"
	}
	name := clean
	for n := 2; taken[fold(name)] || reserved[fold(name)]; n++ {
		name = clean + "_" + strconv.Itoa(n)
	}
	f := Field{Name: name, Type: t}
	if name != source {
		f.Doc = sourcePrefix + strconv.Quote(source)
	}
	return f
}

func validateName(name string, reserved Reserved) error {
	switch {
	case name == "":
		return fmt.Errorf("the name is empty")
	case len(name) > MaxName:
		return &LimitError{What: fmt.Sprintf("the name has %d bytes, more than %d", len(name), MaxName)}
	case reserved[fold(name)]:
		return fmt.Errorf("the name is reserved (for Kafka's coordinates, by Iceberg, or for a partition of the table); choose another")
	}
	if i := strings.IndexFunc(name, func(r rune) bool { return r == '.' || r < ' ' || r == 0x7f }); i >= 0 {
		return fmt.Errorf("the name has %q in it; dots and control characters break paths in query engines", name[i])
	}
	return nil
}
