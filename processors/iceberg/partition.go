package iceberg

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/runtime/plugin"
)

// expression is a partition expression: a column, or transform(column), or transform(number, column).
var expression = regexp.MustCompile(`^\s*(?:([a-z]+)\s*\(\s*(?:([0-9]+)\s*,\s*)?(.+?)\s*\)|([^()]+?))\s*$`)

// partitionField is a partition expression of a job file.
type partitionField struct {
	column    string // the path of the source column, its parts joined by dots
	transform iceberg.Transform
}

// CheckTable says what is wrong with a table that a job file describes, as far as that is known without a catalog. columns are those that
// the table would have, nil if they are not known.
func CheckTable(t plugin.Table, columns *arrow.Schema) error {
	if _, err := catalog.ParseIdentifier(t.Name); err != nil {
		return err
	}
	if err := checkProperties(t.Properties); err != nil {
		return err
	}
	schema, err := supposed(t.Partition)
	if err == nil && columns != nil {
		schema, err = icebergSchema(columns)
	}
	if err == nil {
		_, err = partitionSpec(t.Partition, schema)
	}
	return err
}

// supposed is the columns that a table is to be partitioned by, of types that can be: what is wrong with the expressions whatever the columns
// are, is wrong with these.
func supposed(expressions []string) (*iceberg.Schema, error) {
	var columns []iceberg.NestedField
	for _, s := range expressions {
		f, err := parsePartition(s)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(columns, func(c iceberg.NestedField) bool { return c.Name == f.column }) {
			continue
		}
		c := iceberg.NestedField{ID: len(columns) + 1, Name: f.column, Type: iceberg.PrimitiveTypes.TimestampTz}
		if !f.transform.CanTransform(c.Type) {
			c.Type = iceberg.PrimitiveTypes.String
		}
		columns = append(columns, c)
	}
	return iceberg.NewSchema(0, columns...), nil
}

// checkProperties says which properties a table cannot be made with.
func checkProperties(props map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(props)) {
		if strings.HasPrefix(key, "firn.") {
			return fmt.Errorf("table property %s: those that begin with firn. are what jobs note for themselves; leave it out", key)
		}
	}
	if v, ok := props[table.PropertyFormatVersion]; ok && v != "1" && v != "2" && v != "3" {
		return fmt.Errorf("table property %s is %q; there is 1, 2, 3", table.PropertyFormatVersion, v)
	}
	_, err := codecOf(props)
	return err
}

// Reserved is the names of a table's partitions. A column that is not what the partition is made of cannot have one: Spark and Trino do not load
// a table with both.
func Reserved(expressions []string) []string {
	var names []string
	for _, s := range expressions {
		f, err := parsePartition(s)
		if err != nil {
			continue // CheckTable says so
		}
		if name := partitionName(f); name != f.column {
			names = append(names, name)
		}
	}
	return names
}

// parsePartition reads a partition expression: kafka_topic, year(c), month(c), day(c), hour(c), bucket(16, c), truncate(4, c).
func parsePartition(s string) (partitionField, error) {
	m := expression.FindStringSubmatch(s)
	switch {
	case m == nil && strings.ContainsRune(s, '(') && !strings.ContainsRune(s, ')'):
		return partitionField{}, fmt.Errorf("partition %q: a comma begins the next one: put it in quotes, \"bucket(16, column)\"", s)
	case m == nil:
		return partitionField{}, fmt.Errorf("partition %q: write a column, or day(column), bucket(16, column), truncate(4, column), …", s)
	}
	name, number, column := m[1], m[2], m[3]
	if column == "" {
		return partitionField{column: m[4], transform: iceberg.IdentityTransform{}}, nil
	}
	f := partitionField{column: column}
	width := 0
	if number != "" {
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil || n == 0 {
			return partitionField{}, fmt.Errorf("partition %q: %s is not a positive number below 2^31", s, number)
		}
		width = int(n)
	}
	switch name {
	case "identity":
		f.transform = iceberg.IdentityTransform{}
	case "year", "years":
		f.transform = iceberg.YearTransform{}
	case "month", "months":
		f.transform = iceberg.MonthTransform{}
	case "day", "days":
		f.transform = iceberg.DayTransform{}
	case "hour", "hours":
		f.transform = iceberg.HourTransform{}
	case "bucket":
		f.transform = iceberg.BucketTransform{NumBuckets: width}
	case "truncate":
		f.transform = iceberg.TruncateTransform{Width: width}
	default:
		return partitionField{}, fmt.Errorf("partition %q: transform %s is not known; there is year, month, day, hour, bucket, truncate, identity", s, name)
	}
	if takesNumber := name == "bucket" || name == "truncate"; takesNumber != (width > 0) {
		if takesNumber {
			return partitionField{}, fmt.Errorf("partition %q: %s needs a number first, %s(16, %s)", s, name, name, column)
		}
		return partitionField{}, fmt.Errorf("partition %q: %s takes no number", s, name)
	}
	return f, nil
}

// noColumnError says that a table would not have a column that it is to be partitioned by.
type noColumnError struct{ expression, column string }

// Error implements error.
func (e *noColumnError) Error() string {
	return fmt.Sprintf("partition %q: the table has no column %s", e.expression, e.column)
}

// partitionSpec binds the expressions to the schema of a new table. A *noColumnError says which column it lacks.
func partitionSpec(expressions []string, schema *iceberg.Schema) (*iceberg.PartitionSpec, error) {
	var opts []iceberg.PartitionOption
	for _, s := range expressions {
		f, err := parsePartition(s)
		if err != nil {
			return nil, err
		}
		column, ok := schema.FindFieldByName(f.column)
		if !ok {
			return nil, &noColumnError{s, f.column}
		}
		if !f.transform.CanTransform(column.Type) {
			return nil, fmt.Errorf("partition %q: a column of type %s cannot be partitioned so", s, column.Type)
		}
		opts = append(opts, iceberg.AddPartitionFieldBySourceID(column.ID, partitionName(f), f.transform, schema, nil))
	}
	spec, err := iceberg.NewPartitionSpecOpts(opts...)
	if err != nil {
		return nil, fmt.Errorf("partition by %s: %w", strings.Join(expressions, ", "), err)
	}
	return &spec, nil
}

// partitionName is the field's name as other engines would give it, without the dots of a nested column: those break Spark and Trino.
func partitionName(f partitionField) string {
	column := strings.ReplaceAll(f.column, ".", "_")
	switch f.transform.(type) {
	case iceberg.IdentityTransform:
		if column == f.column {
			return column
		}
		return column + "_value"
	case iceberg.BucketTransform:
		return column + "_bucket"
	case iceberg.TruncateTransform:
		return column + "_trunc"
	}
	return column + "_" + f.transform.String()
}
