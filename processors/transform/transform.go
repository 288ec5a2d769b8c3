// Package transform is the transforms that every Firn has: select, drop, rename, cast, filter, compute and timestamp.
//
// The coordinate columns stay as they are; a setting that names one is an error, except in expressions. Every transform treats a column that is
// not there as one that is null in every row, for an inferred schema only gets a column when a record has a value for it; where the columns
// are declared, a name that is not among them is an error before the job starts. Null stays null: no transform rejects a row for it. A value
// that a transform cannot convert exactly rejects its row, which becomes what the job's error policy says.
//
// # Paths
//
// select, drop, rename, cast and timestamp take paths into structs: after.id is field id of column after. A field of a struct that is null is
// null, and stays within a null struct; one that is lifted out of it is null by itself. Lists are not gone into: what is in one cannot be
// named. A dot always parts two names; a name that has one stands in backquotes, `a.b`.c, where a backquote is written twice. Firn makes no
// such names (payload field a.b is column a_b), but tables of others may have them.
//
//	select   keeps the structs that a field is in, with what was named of them
//	drop     a struct of which nothing is left goes too
//	rename   after.id: after.key renames in the struct, after.id: id lifts to the top; a field does not get into another struct
//	cast     in the struct
//	timestamp  likewise; column is a name at the top, or beside the field
//
// Where the schema is inferred, a path may meet a column that is no struct, a list or a number: rows with a value there are rejected, for
// what was to be dropped or changed could be in it.
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
// know no clock and no chance. One that fails for another reason than a null, or takes more than a bounded number of steps, rejects its row,
// whatever it compared with null before. Where the schema is inferred and the columns have other types than the expression wants, rows with
// values there are rejected.
package transform

import (
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/firn-io/firn/runtime/plugin"
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
	classPath       = "no_struct"         // a value that is no struct, where a path leads into one
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

// setField puts a field in the place of the one of its name, or behind all: of the struct at a place, or of the top.
func setField(fields []arrow.Field, in []int, f arrow.Field) []arrow.Field {
	fields = slices.Clone(fields)
	if len(in) > 0 {
		inner := fields[in[0]].Type.(*arrow.StructType).Fields()
		fields[in[0]].Type = arrow.StructOf(setField(inner, in[1:], f)...)
		return fields
	}
	if i := placeOf(fields, f.Name); i >= 0 {
		fields[i] = f
		return fields
	}
	return append(fields, f)
}

// placeOf is the place of the field of a name, -1 if there is none. A name that differs in case only is the same, unless both are there: engines
// compare names without case.
func placeOf(fields []arrow.Field, name string) int {
	i := slices.IndexFunc(fields, func(f arrow.Field) bool { return f.Name == name })
	if i < 0 {
		i = slices.IndexFunc(fields, func(f arrow.Field) bool { return strings.EqualFold(f.Name, name) })
	}
	return i
}

// offset is the offset of a row's record.
func offset(rows arrow.RecordBatch, row int) int64 { return rows.Column(2).(*array.Int64).Value(row) }
