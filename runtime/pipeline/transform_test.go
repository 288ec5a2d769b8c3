package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// applied is a transform made of a function.
type applied func(processor.Batch) (processor.Batch, error)

func (f applied) Apply(_ context.Context, b processor.Batch) (processor.Batch, error) { return f(b) }

// sieve leaves out the rows whose offset is divisible by 5, and rejects those where the rest is 3.
func sieve(mem memory.Allocator) applied {
	return func(b processor.Batch) (processor.Batch, error) {
		defer b.Records.Release()
		offsets := b.Records.Column(2).(*array.Int64)
		keep := make([]bool, offsets.Len())
		for i := range keep {
			o := offsets.Value(i)
			keep[i] = o%5 != 0 && o%5 != 3
			if o%5 == 3 {
				b.Rejected = append(b.Rejected, processor.Rejection{Offset: o, Class: "no_good", Message: fmt.Sprint("offset ", o)})
			}
		}
		var err error
		b.Records, err = processor.KeepRows(b.Records, keep, mem)
		return b, err
	}
}

func steps(t ...processor.Transform) func(string) ([]Step, error) {
	return func(string) ([]Step, error) {
		var all []Step
		for i, one := range t {
			all = append(all, Step{fmt.Sprint(i + 1), one})
		}
		return all, nil
	}
}

// TestTransforms: rows that a transform leaves out are nowhere, rows that it rejects are dead letters with all that their records had, and
// the offsets of both are covered.
func TestTransforms(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	j := tailtest.Journal{Store: store}
	j.Append(t, []kfs.Entry{cluster, events})
	for i := range 10 {
		j.Append(t, nil, jsons(events, 0, 10*i, 10))
	}
	cfg := testConfig(t, store, l)
	cfg.OpenTransforms = steps(sieve(l.mem))
	if err := run(t, cfg); err != nil {
		t.Fatal(err)
	}
	var rows, dead []int64
	for o := range int64(100) {
		switch o % 5 {
		case 0:
		case 3:
			dead = append(dead, o)
		default:
			rows = append(rows, o)
		}
	}
	events0 := processor.Source{Topic: "events", ID: events.ID}
	if got := l.table("db.events").offsets(0); !slices.Equal(got, rows) {
		t.Errorf("rows %v, want %v", got, rows)
	}
	if got := l.table(deadLetterTable).offsets(0); !slices.Equal(got, dead) {
		t.Errorf("dead letters %v, want %v", got, dead)
	}
	if letter := l.table(deadLetterTable).rows[events0][0].text; letter != "value=eyJuIjozfQ==;error_class=no_good;error_message=offset 3;job=test;topic_id=AWV2ZW50cwAAAAAAAAAAAA;resolved_at=(null);" {
		t.Errorf("letter %s", letter)
	}
	if next := l.table("db.events").next[events0]; next != 100 {
		t.Errorf("the table stands at %d", next)
	}
}

func TestTransformPolicies(t *testing.T) {
	for policy, want := range map[Policy]int{Skip: 60, Halt: 2} {
		store, l := blob.NewMemory(nil), newLake(t)
		j := tailtest.Journal{Store: store}
		j.Append(t, []kfs.Entry{cluster, events})
		j.Append(t, nil, jsons(events, 0, 0, 3)) // offset 3 comes alone, so that what is before it can be committed
		cfg := testConfig(t, store, l)
		cfg.Errors, cfg.OpenTransforms = policy, steps(sieve(l.mem))
		if err := run(t, cfg); err != nil {
			t.Fatal(err)
		}
		j.Append(t, nil, jsons(events, 0, 3, 97))
		err := run(t, cfg)
		if policy == Halt && (err == nil || !strings.Contains(err.Error(), "events/0 offset 3 is no row: no_good: offset 3")) {
			t.Errorf("halt: %v", err)
		}
		if policy == Skip && err != nil {
			t.Errorf("skip: %v", err)
		}
		if got := len(l.table("db.events").offsets(0)); got != want {
			t.Errorf("policy %d: %d rows, want %d", policy, got, want)
		}
	}
}

// TestTransformFails: an error is no verdict on any record. The span comes again.
func TestTransformFails(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	j := tailtest.Journal{Store: store}
	j.Append(t, []kfs.Entry{cluster, events})
	j.Append(t, nil, jsons(events, 0, 0, 10))
	cfg := testConfig(t, store, l)
	failures := 3
	cfg.OpenTransforms = steps(applied(func(b processor.Batch) (processor.Batch, error) {
		if failures > 0 {
			failures--
			b.Records.Release()
			return processor.Batch{}, errors.New("not now")
		}
		return b, nil
	}))
	if err := run(t, cfg); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, l.table("db.events"), 0, 0, 10)
	if n := len(l.table(deadLetterTable).offsets(0)); n > 0 {
		t.Errorf("%d dead letters", n)
	}
}

// TestTransformBreaksItsContract: what breaks the rules of Transform never reaches a table.
func TestTransformBreaksItsContract(t *testing.T) {
	for name, c := range map[string]struct {
		transform applied
		want      string
	}{
		"repeats a row": {func(b processor.Batch) (processor.Batch, error) {
			defer b.Records.Release()
			var columns []arrow.Array
			for _, column := range b.Records.Columns() {
				both, err := array.Concatenate([]arrow.Array{column, column}, memory.DefaultAllocator)
				if err != nil {
					return b, err
				}
				columns = append(columns, both)
			}
			b.Records = array.NewRecordBatch(b.Records.Schema(), columns, 2*b.Records.NumRows())
			return b, nil
		}, "comes twice or out of order"},
		"drops the coordinates": {func(b processor.Batch) (processor.Batch, error) {
			defer b.Records.Release()
			s := b.Records.Schema()
			b.Records = array.NewRecordBatch(arrow.NewSchema(s.Fields()[1:], nil), b.Records.Columns()[1:], b.Records.NumRows())
			return b, nil
		}, "column 0 of the result is not kafka_topic"},
		"rejects what is not there": {func(b processor.Batch) (processor.Batch, error) {
			b.Rejected = append(b.Rejected, processor.Rejection{Offset: 1000})
			return b, nil
		}, "offset 1000 is rejected and no row"},
		"rejects and keeps": {func(b processor.Batch) (processor.Batch, error) {
			b.Rejected = append(b.Rejected, processor.Rejection{Offset: 1})
			return b, nil
		}, "offset 1 is rejected and a row"},
		"makes a type that no table has": {func(b processor.Batch) (processor.Batch, error) {
			defer b.Records.Release()
			made := array.NewUint8Builder(memory.DefaultAllocator)
			for range b.Records.NumRows() {
				made.Append(1)
			}
			fields := append(slices.Clone(b.Records.Schema().Fields()), arrow.Field{Name: "byte", Type: arrow.PrimitiveTypes.Uint8})
			b.Records = array.NewRecordBatch(arrow.NewSchema(fields, nil), append(slices.Clone(b.Records.Columns()), made.NewArray()), b.Records.NumRows())
			return b, nil
		}, "column byte: type uint8 is none that payload fields can have"},
		"moves the span": {func(b processor.Batch) (processor.Batch, error) {
			b.Span.Next++
			return b, nil
		}, "the result is events/0"},
	} {
		store, l := blob.NewMemory(nil), newLake(t)
		j := tailtest.Journal{Store: store}
		j.Append(t, []kfs.Entry{cluster, events})
		j.Append(t, nil, jsons(events, 0, 0, 10))
		cfg := testConfig(t, store, l)
		cfg.OpenTransforms = steps(c.transform)
		if err := run(t, cfg); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "transform 1: ") {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(l.table("db.events").offsets(0)); n > 0 {
			t.Errorf("%s: %d rows were committed", name, n)
		}
	}
}

// sieved is a job of many commits, by which of 40 records in each of two partitions 24 become rows and 8 dead letters.
func sieved(t *testing.T, l *lake) Config {
	t.Helper()
	j := tailtest.Journal{Store: blob.NewMemory(nil)}
	j.Append(t, []kfs.Entry{cluster, events})
	for i := range 4 {
		j.Append(t, nil, jsons(events, 0, 10*i, 10), jsons(events, 1, 10*i, 10))
	}
	cfg := testConfig(t, j.Store, l)
	cfg.FileSize = 1
	cfg.OpenTransforms = func(string) ([]Step, error) { return []Step{{"1 (sieve)", sieve(l.mem)}}, nil }
	return cfg
}

// TestTransformsUnderFaults loses, fails and repeats every operation of the sinks once while transforms leave out and reject rows.
func TestTransformsUnderFaults(t *testing.T) {
	for n := range 60 {
		l := newLake(t)
		cfg := sieved(t, l)
		count := 0
		fault := func(string) (before, after error) {
			if count++; count != n/2+1 {
				return nil, nil
			}
			if err := fmt.Errorf("fault %d", n); n%2 == 0 {
				return err, nil
			} else {
				return nil, err
			}
		}
		l.table("db.events").fault, l.table(deadLetterTable).fault = fault, fault
		if err := run(t, cfg); err != nil {
			t.Fatalf("fault %d: %v", n, err)
		}
		for p := range int32(2) {
			rows, dead := l.table("db.events").offsets(p), l.table(deadLetterTable).offsets(p)
			if len(rows) != 24 || len(dead) != 8 || len(slices.Compact(slices.Sorted(slices.Values(rows)))) != 24 {
				t.Errorf("fault %d: partition %d has rows %v and dead letters %v", n, p, rows, dead)
			}
		}
	}
}

func TestFit(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	field := func(name string, typ arrow.DataType) arrow.Field {
		return arrow.Field{Name: name, Type: typ, Nullable: true}
	}
	coordinates := []arrow.Field{field("kafka_topic", arrow.BinaryTypes.String), field("kafka_partition", arrow.PrimitiveTypes.Int32),
		field("kafka_offset", arrow.PrimitiveTypes.Int64), field("c", arrow.Null), field("d", arrow.Null), field("e", arrow.Null)}
	schemaOf := func(fields ...arrow.Field) *arrow.Schema {
		return arrow.NewSchema(append(slices.Clone(coordinates), fields...), nil)
	}
	in := schemaOf(field("n", arrow.PrimitiveTypes.Int64), field("s", arrow.BinaryTypes.String))
	for name, c := range map[string]struct {
		table    *arrow.Schema
		pins     []string
		rows     int64
		rejected int
		columns  int64
	}{
		"no table":    {nil, nil, 3, 0, 8},
		"same":        {in, nil, 3, 0, 8},
		"wider":       {schemaOf(field("n", arrow.PrimitiveTypes.Float64)), nil, 3, 0, 8},
		"narrower":    {schemaOf(field("n", arrow.PrimitiveTypes.Int32)), nil, 3, 0, 8},
		"pinned":      {schemaOf(field("n", arrow.PrimitiveTypes.Int32)), []string{"n"}, 1, 2, 7},
		"other":       {schemaOf(field("s", arrow.PrimitiveTypes.Int64)), nil, 2, 1, 7},
		"both others": {schemaOf(field("s", arrow.PrimitiveTypes.Int64), field("n", arrow.BinaryTypes.String)), nil, 0, 3, 6},
	} {
		rows, _, err := array.RecordFromJSON(mem, in, strings.NewReader(`[{"kafka_offset":1,"n":1},{"kafka_offset":2,"n":2},{"kafka_offset":3,"s":"a"}]`))
		if err != nil {
			t.Fatal(err)
		}
		b, err := fit(processor.Batch{Records: rows}, c.table, c.pins, mem)
		if err != nil {
			t.Fatal(err)
		}
		var n, columns int64
		if b.Records != nil {
			n, columns = b.Records.NumRows(), b.Records.NumCols()
			b.Records.Release()
		} else {
			columns = c.columns
		}
		if n != c.rows || len(b.Rejected) != c.rejected || columns != c.columns {
			t.Errorf("%s: %d rows, %d rejected, %d columns", name, n, len(b.Rejected), columns)
		}
	}
}
