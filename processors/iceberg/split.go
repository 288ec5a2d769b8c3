package iceberg

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/iceberg-go"

	"github.com/firn-io/firn/catalog"
)

// minRun is the mean number of rows of a run from which on runs are sliced instead of gathered: slices copy nothing, but every one of
// them is a call of the Parquet writer for each column.
const minRun = 64

// part is the rows of a batch that belong to one partition.
type part struct {
	key    string      // equal for equal partitions
	values map[int]any // by partition field id; absent for null
	slices []arrow.RecordBatch
}

// release gives the part's rows back.
func (p *part) release() {
	for _, r := range p.slices {
		r.Release()
	}
}

// splitter splits batches of one schema by partition value.
type splitter struct {
	fields []splitField
	mem    memory.Allocator
}

// splitField finds the partition value of one partition field.
type splitField struct {
	id        int
	path      []int // of the source column: indexes into the record, then into structs; nil if the batches do not have it
	source    iceberg.Type
	transform iceberg.Transform
}

// newSplitter prepares for records of the given schema, whose columns are a selection of the table's. A HaltError tells of a partitioning that files
// cannot be written by.
func newSplitter(mem memory.Allocator, spec iceberg.PartitionSpec, table *iceberg.Schema, records *arrow.Schema) (*splitter, error) {
	s := &splitter{mem: mem}
	for _, f := range spec.Fields() {
		if _, void := f.Transform.(iceberg.VoidTransform); void {
			continue
		}
		name, ok := table.FindColumnName(f.SourceID())
		if !ok {
			return nil, unwritable(f, fmt.Sprintf("its source column %d is not in the table's schema", f.SourceID()))
		}
		source, _ := table.FindTypeByID(f.SourceID())
		if !f.Transform.CanTransform(source) {
			return nil, unwritable(f, fmt.Sprintf("transform %s of a column of type %s is not supported", f.Transform, source))
		}
		s.fields = append(s.fields, splitField{id: f.FieldID, path: arrowPath(records, strings.Split(name, ".")), source: source, transform: f.Transform})
	}
	return s, nil
}

func unwritable(f iceberg.PartitionField, why string) error {
	return &catalog.HaltError{
		Reason: fmt.Sprintf("the table is partitioned by field %s, by which no file can be written: %s", f.Name, why),
		Decide: "take the field out of the table's partition spec",
	}
}

// alike reports whether two splitters of one spec name partitions alike.
func (s *splitter) alike(other *splitter) bool {
	return slices.EqualFunc(s.fields, other.fields, func(a, b splitField) bool { return a.source.Equals(b.source) })
}

// arrowPath finds a column by the parts of its name.
func arrowPath(schema *arrow.Schema, parts []string) []int {
	fields := schema.Fields()
	var path []int
	for depth, part := range parts {
		at := -1
		for i, f := range fields {
			if f.Name == part {
				at = i
			}
		}
		if at < 0 {
			return nil
		}
		path = append(path, at)
		if depth < len(parts)-1 {
			st, ok := fields[at].Type.(*arrow.StructType)
			if !ok {
				return nil
			}
			fields = st.Fields()
		}
	}
	return path
}

// split gives the record's parts, in order of their first rows. The caller releases them.
func (s *splitter) split(ctx context.Context, rec arrow.RecordBatch) ([]*part, error) {
	if len(s.fields) == 0 {
		rec.Retain()
		return []*part{{slices: []arrow.RecordBatch{rec}}}, nil
	}
	type run struct{ from, to int64 }
	var (
		parts []*part
		runs  [][]run
		byKey = map[string]int{}
		total int
	)
	s.runs(rec, func(key []byte, row int) int {
		at, ok := byKey[string(key)]
		if !ok {
			at = len(parts)
			byKey[string(key)] = at
			parts = append(parts, &part{key: string(key), values: s.values(rec, row)})
			runs = append(runs, nil)
		}
		return at
	}, func(at int, from, to int64) {
		runs[at] = append(runs[at], run{from, to})
		total++
	})
	if int64(total)*minRun <= rec.NumRows() || total == len(parts) {
		for i, p := range parts {
			for _, r := range runs[i] {
				p.slices = append(p.slices, rec.NewSlice(r.from, r.to))
			}
		}
		return parts, nil
	}
	for i, p := range parts {
		indices := array.NewInt64Builder(s.mem)
		for _, r := range runs[i] {
			for row := r.from; row < r.to; row++ {
				indices.Append(row)
			}
		}
		taken, err := take(ctx, s.mem, rec, indices.NewInt64Array())
		if err != nil {
			for _, p := range parts[:i] {
				p.release()
			}
			return nil, fmt.Errorf("split by partition: %w", err)
		}
		p.slices = []arrow.RecordBatch{taken}
	}
	return parts, nil
}

// runs finds the runs of rows of one partition, in order. number gives a partition by its key, for the run that begins at row.
func (s *splitter) runs(rec arrow.RecordBatch, number func(key []byte, row int) int, run func(number int, from, to int64)) {
	columns := make([]cells, len(s.fields))
	for i, f := range s.fields {
		columns[i] = f.cells(rec)
	}
	var key []byte
	before := make([]cell, len(columns))
	last, from := 0, 0
	for row := range int(rec.NumRows()) {
		same := row > 0
		for i, c := range columns {
			v := c(row)
			same = same && v == before[i]
			before[i] = v
		}
		if same {
			continue
		}
		if row > 0 {
			run(last, int64(from), int64(row))
		}
		key = key[:0]
		for _, v := range before {
			key = v.append(key)
		}
		last, from = number(key, row), row
	}
	if rec.NumRows() > 0 {
		run(last, int64(from), rec.NumRows())
	}
}

// take gathers rows. It takes ownership of indices.
func take(ctx context.Context, mem memory.Allocator, rec arrow.RecordBatch, indices arrow.Array) (arrow.RecordBatch, error) {
	defer indices.Release()
	ctx = compute.WithAllocator(ctx, mem)
	rows := compute.NewDatum(rec)
	defer rows.Release()
	at := compute.NewDatum(indices)
	defer at.Release()
	out, err := compute.Take(ctx, *compute.DefaultTakeOptions(), rows, at)
	if err != nil {
		return nil, err
	}
	return out.(*compute.RecordDatum).Value, nil
}

// values are the partition values of a row, as the manifest wants them.
func (s *splitter) values(rec arrow.RecordBatch, row int) map[int]any {
	out := map[int]any{}
	for _, f := range s.fields {
		column := f.column(rec)
		if column == nil || f.hidden(rec, row) {
			continue
		}
		literal := literalAt(column, row, f.source)
		if literal == nil {
			continue
		}
		if v := f.transform.Apply(iceberg.Optional[iceberg.Literal]{Valid: true, Val: literal}); v.Valid {
			out[f.id] = v.Val.Any()
		}
	}
	return out
}

// column is the source column, nil if the record does not have it.
func (f *splitField) column(rec arrow.RecordBatch) arrow.Array {
	if f.path == nil {
		return nil
	}
	column := rec.Column(f.path[0])
	for _, i := range f.path[1:] {
		column = column.(*array.Struct).Field(i)
	}
	return column
}

// hidden reports whether a struct around the source column is null in the row.
func (f *splitField) hidden(rec arrow.RecordBatch, row int) bool {
	if len(f.path) < 2 {
		return false
	}
	column := rec.Column(f.path[0])
	for _, i := range f.path[1:] {
		if column.IsNull(row) {
			return true
		}
		column = column.(*array.Struct).Field(i)
	}
	return false
}
