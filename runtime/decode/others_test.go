package decode

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

// TestColumnsOfOthers has a table with columns that no record can fill: they stay null, and a record with a value for one is a dead letter.
func TestColumnsOfOthers(t *testing.T) {
	attributes := arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int32)
	columns := []arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "extra", Type: attributes, Nullable: true},
		{Name: "s", Type: arrow.StructOf(
			arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, arrow.Field{Name: "At", Type: arrow.FixedWidthTypes.Time64us, Nullable: true}), Nullable: true},
		{Name: "only", Type: arrow.StructOf(arrow.Field{Name: "m", Type: attributes, Nullable: true}), Nullable: true},
		{Name: "l", Type: arrow.ListOf(attributes), Nullable: true},
	}
	d := newDecoder(t, Config{}, arrow.NewSchema(columns, nil))
	appendJSON(t, d, `{"id":1}`, `{"extra":{"a":1}}`, `{"id":2,"extra":null,"only":{},"l":[],"s":{"x":1,"At":null}}`, `{"EXTRA":1}`, `{"s":{"at":"12:00"}}`, `{"only":{"m":1}}`,
		`{"l":[1]}`, `{"id":3,"s":{"y":true},"new":1}`)
	sc, rows, letters := payloadRows(t, d)
	if want := "struct<id: long, s: struct<x: long, y: boolean>, new: long>"; sc != want {
		t.Errorf("schema is %s\nwant      %s", sc, want)
	}
	equalLines(t, "rows", rows, []string{"id=1 s=(null) new=(null)", `id=2 s={"x":1,"y":null} new=(null)`, `id=3 s={"x":null,"y":true} new=1`})
	equalLines(t, "dead letters", letters, []string{"1 type_conflict", "3 type_conflict", "4 type_conflict", "5 type_conflict", "6 type_conflict"})
	columns[1].Nullable = false
	if err := d.Reset(arrow.NewSchema(columns, nil)); err == nil {
		t.Error("a required column that no record can fill is taken")
	}
}
