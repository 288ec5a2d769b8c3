package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	iceberglib "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
)

// ddl is the statement by which Spark would make the table.
func ddl(name string, t *table.Table) string {
	var b strings.Builder
	var parts []string
	for _, part := range strings.Split(name, ".") {
		parts = append(parts, quoted(part))
	}
	fmt.Fprintf(&b, "CREATE TABLE %s (\n", strings.Join(parts, "."))
	fields := t.Schema().Fields()
	for i, f := range fields {
		fmt.Fprintf(&b, "  %s %s", quoted(f.Name), sparkType(f.Type))
		if f.Required {
			b.WriteString(" NOT NULL")
		}
		if f.Doc != "" {
			fmt.Fprintf(&b, " COMMENT '%s'", strings.ReplaceAll(f.Doc, "'", `\'`))
		}
		if i < len(fields)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString(") USING iceberg")
	spec := t.Spec()
	var by []string
	for _, f := range spec.Fields() {
		column, _ := t.Schema().FindColumnName(f.SourceID())
		by = append(by, sparkTransform(f.Transform, column))
	}
	if len(by) > 0 {
		fmt.Fprintf(&b, "\nPARTITIONED BY (%s)", strings.Join(by, ", "))
	}
	props := t.Properties()
	var set []string
	for _, key := range slices.Sorted(maps.Keys(props)) {
		if !strings.HasPrefix(key, "firn.") {
			set = append(set, fmt.Sprintf("'%s' = '%s'", key, strings.ReplaceAll(props[key], "'", `\'`)))
		}
	}
	if len(set) > 0 {
		fmt.Fprintf(&b, "\nTBLPROPERTIES (%s)", strings.Join(set, ", "))
	}
	return b.String() + ";"
}

func quoted(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// sparkType is Spark's name of a type.
func sparkType(t iceberglib.Type) string {
	switch t := t.(type) {
	case *iceberglib.StructType:
		var fields []string
		for _, f := range t.FieldList {
			fields = append(fields, quoted(f.Name)+": "+sparkType(f.Type))
		}
		return "STRUCT<" + strings.Join(fields, ", ") + ">"
	case *iceberglib.ListType:
		return "ARRAY<" + sparkType(t.Element) + ">"
	case *iceberglib.MapType:
		return "MAP<" + sparkType(t.KeyType) + ", " + sparkType(t.ValueType) + ">"
	case iceberglib.Int64Type:
		return "BIGINT"
	case iceberglib.TimestampTzType:
		return "TIMESTAMP"
	case iceberglib.TimestampType:
		return "TIMESTAMP_NTZ"
	case iceberglib.FixedType:
		return "BINARY"
	}
	return strings.ToUpper(t.String())
}

// sparkTransform is Spark's name of a partition transform.
func sparkTransform(t iceberglib.Transform, column string) string {
	at := quoted(column)
	switch t := t.(type) {
	case iceberglib.YearTransform:
		return "years(" + at + ")"
	case iceberglib.MonthTransform:
		return "months(" + at + ")"
	case iceberglib.DayTransform:
		return "days(" + at + ")"
	case iceberglib.HourTransform:
		return "hours(" + at + ")"
	case iceberglib.BucketTransform:
		return fmt.Sprintf("bucket(%d, %s)", t.NumBuckets, at)
	case iceberglib.TruncateTransform:
		return fmt.Sprintf("truncate(%d, %s)", t.Width, at)
	}
	return at
}
