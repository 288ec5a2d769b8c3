// Package transform is the transforms that every Firn has: select, drop, rename, cast, filter, compute and timestamp.
//
// They work on top-level columns. The coordinate columns stay as they are; a setting that names one is an error, except in expressions.
// Every transform treats a column that is not there as one that is null in every row, for an inferred schema only gets a column when a
// record has a value for it; where the columns are declared, a name that is not among them is an error before the job starts. Null stays
// null: no transform rejects a row for it. A value that a transform cannot convert exactly rejects its row, which becomes what the job's
// error policy says.
//
// # Expressions
//
// filter and compute take expressions in CEL (cel.dev), compiled once for the columns there are and checked against their types. Columns
// are variables; row.`user-id` is one whose name is no identifier. Members of structs are fields: geo.lat. Types are
//
//	boolean bool · int, long int · float, double double · string string · binary bytes · date, timestamp, timestamptz timestamp ·
//	list list · struct an object; decimal has none, cast it first
//
// Besides the standard functions there are those of CEL's string and math extensions, and numbers of different types can be compared.
// == and != compare null like any value: a != 5 is true where a is null. Any other operator or function that meets a null makes the whole
// expression null, as in SQL, unless it is decided without: "a == null || a < 5" is. A row for which a filter is null is not kept. Expressions
// know no clock and no chance. One that fails, or takes more than a bounded number of steps, rejects its row. Where the schema is inferred
// and the columns have other types than the expression wants, rows with values there are rejected.
package transform

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
)

// Kinds are the transforms of this package by their names in job files.
func Kinds() plugin.Transforms {
	return plugin.Transforms{
		"select":    plugin.NewTransform(newSelect).Keeping(),
		"drop":      plugin.NewTransform(newDrop).Keeping(),
		"rename":    plugin.NewTransform(newRename).Keeping(),
		"cast":      plugin.NewTransform(newCast).Keeping(),
		"filter":    plugin.NewTransform(newFilter),
		"compute":   plugin.NewTransform(newCompute).Keeping(),
		"timestamp": plugin.NewTransform(newTimestamp).Keeping(),
	}
}

// The classes of rejections.
const (
	classCast       = "cast_failed"       // a value that the wanted type cannot hold exactly
	classExpression = "expression_failed" // an expression that has no value for the row
	className       = "name_taken"        // a field of the record has the name that another column was given
)

// coordinates are the names of the columns that stay.
var coordinates = schema.NewReserved("kafka_topic", "kafka_partition", "kafka_offset", "kafka_timestamp", "kafka_key", "kafka_headers")

// checkNames refuses names that a column cannot be given.
func checkNames(names ...string) error {
	s := schema.Schema{}
	for _, name := range names {
		s.Fields = append(s.Fields, schema.Field{Name: name, Type: schema.Type{Kind: schema.Boolean}})
	}
	return s.Validate(coordinates)
}

// checkPayload refuses names of coordinates, and of nothing.
func checkPayload(names ...string) error {
	if len(names) == 0 {
		return fmt.Errorf("name at least one column")
	}
	for _, name := range names {
		if coordinates[strings.ToLower(name)] {
			return fmt.Errorf("column %s stays as it is: it says where a row came from", name)
		}
	}
	return nil
}

// missing is the error that a column is not there.
func missing(name string, in *arrow.Schema) error {
	var there []string
	for _, f := range in.Fields() {
		there = append(there, f.Name)
	}
	return fmt.Errorf("there is no column %q; there are %s", name, strings.Join(there, ", "))
}

// require refuses names that are not among the columns.
func require(in *arrow.Schema, names ...string) error {
	for _, name := range names {
		if !in.HasField(name) {
			return missing(name, in)
		}
	}
	return nil
}

// project is the batch with those columns, in that order. It takes ownership of rows.
func project(rows arrow.RecordBatch, columns []int) arrow.RecordBatch {
	if len(columns) == int(rows.NumCols()) && slices.IsSorted(columns) {
		return rows
	}
	defer rows.Release()
	var fields []arrow.Field
	var arrays []arrow.Array
	for _, i := range columns {
		fields, arrays = append(fields, rows.Schema().Field(i)), append(arrays, rows.Column(i))
	}
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), arrays, rows.NumRows())
}

// setField puts a column in the place of the one of its name, or behind all.
func setField(in *arrow.Schema, f arrow.Field) *arrow.Schema {
	fields := slices.Clone(in.Fields())
	if i := indexOf(in, f.Name); i >= 0 {
		fields[i] = f
	} else {
		fields = append(fields, f)
	}
	return arrow.NewSchema(fields, nil)
}

// indexOf finds a column by its name; -1 if there is none.
func indexOf(s *arrow.Schema, name string) int {
	return slices.IndexFunc(s.Fields(), func(f arrow.Field) bool { return f.Name == name })
}

// offset is the offset of a row's record.
func offset(rows arrow.RecordBatch, row int) int64 { return rows.Column(2).(*array.Int64).Value(row) }

// without is the columns but those for which drop holds.
func without(s *arrow.Schema, drop func(name string) bool) *arrow.Schema {
	return arrow.NewSchema(slices.DeleteFunc(slices.Clone(s.Fields()), func(f arrow.Field) bool { return drop(f.Name) }), nil)
}

// only is the columns of a batch that stay, and its coordinates.
func only(s *arrow.Schema, stay func(name string) bool) []int {
	var columns []int
	for i, f := range s.Fields() {
		if i < processor.Coordinates || stay(f.Name) {
			columns = append(columns, i)
		}
	}
	return columns
}
