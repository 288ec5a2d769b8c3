package iceberg

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/iceberg-go"

	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/runtime/processor"
)

func TestParsePartition(t *testing.T) {
	for s, want := range map[string]string{
		"kafka_topic":          "kafka_topic identity",
		" a.b ":                "a.b identity",
		"identity(x)":          "x identity",
		"day(kafka_timestamp)": "kafka_timestamp day",
		"hours( ts )":          "ts hour",
		"month(ts)":            "ts month",
		"year(ts)":             "ts year",
		"bucket(16, user_id)":  "user_id bucket[16]",
		"truncate(4,name)":     "name truncate[4]",
	} {
		f, err := parsePartition(s)
		if err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		if got := f.column + " " + f.transform.String(); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
	for _, s := range []string{"", "day()", "bucket(x)", "bucket(0, x)", "bucket(-1, x)", "bucket(99999999999, x)", "day(3, x)", "week(x)", "day(x", "day x)", "truncate(a, b)"} {
		if f, err := parsePartition(s); err == nil {
			t.Errorf("%q became %v", s, f)
		}
	}
}

// TestPartitionNames: no column gets the name of a partition that is not made of it, because Spark and Trino would not load the table any more.
func TestPartitionNames(t *testing.T) {
	expressions := []string{"kafka_topic", "a.b", "day(kafka_timestamp)", "bucket(4, id)", "truncate(2, name)", "no such("}
	if got, want := Reserved(expressions), []string{"a_b_value", "kafka_timestamp_day", "id_bucket", "name_trunc"}; !slices.Equal(got, want) {
		t.Errorf("reserved are %v, want %v", got, want)
	}
	for _, table := range []struct {
		partition []string
		made      bool // before the column comes
		halts     bool
	}{
		{[]string{"day(kafka_timestamp)"}, false, false},
		{[]string{"truncate(2, name)"}, false, true},
		{[]string{"truncate(2, name)"}, true, true},
		{[]string{"day(name)"}, false, true},
		{[]string{"nothing"}, false, false}, // it may come yet
	} {
		s, mem := openSink(t, openSQLite(t), processors.Table{Name: "default.names", Partition: table.partition}, nil)
		if table.made {
			stage(t, s, events(mem, source0, 0, 3))
		}
		b := events(mem, source0, 3, 6)
		fields := append(slices.Clone(b.Records.Schema().Fields()), arrow.Field{Name: "name_trunc", Type: arrow.BinaryTypes.String, Nullable: true})
		columns := append(slices.Clone(b.Records.Columns()), b.Records.Column(int(b.Records.Schema().FieldIndices("name")[0])))
		records := array.NewRecordBatch(arrow.NewSchema(fields, nil), columns, b.Records.NumRows())
		b.Records.Release()
		b.Records = records
		err := s.Stage(t.Context(), b)
		b.Records.Release()
		var halt *processor.HaltError
		if errors.As(err, &halt) != table.halts {
			t.Errorf("%+v: %v", table, err)
		}
		var stuck *processor.StuckError
		if waits := table.partition[0] == "nothing"; errors.As(err, &stuck) != waits || waits && !stuck.Records {
			t.Errorf("%+v: %v", table, err)
		}
	}
}

func FuzzParsePartition(f *testing.F) {
	f.Add("bucket(16, user_id)")
	f.Add("day(kafka_timestamp)")
	f.Add("a.b")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePartition(s)
		if err != nil {
			return
		}
		if p.column == "" || p.transform == nil {
			t.Errorf("%q became %v", s, p)
		}
	})
}

// Every value of a batch must go to the partition that Iceberg's own transform names, however the rows are cut.
func TestSplit(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	schema := iceberg.NewSchema(0,
		iceberg.NestedField{ID: 1, Name: "ts", Type: iceberg.PrimitiveTypes.TimestampTz},
		iceberg.NestedField{ID: 2, Name: "name", Type: iceberg.PrimitiveTypes.String},
		iceberg.NestedField{ID: 3, Name: "s", Type: &iceberg.StructType{FieldList: []iceberg.NestedField{{ID: 4, Name: "n", Type: iceberg.PrimitiveTypes.Int64}}}},
	)
	records := arrow.NewSchema([]arrow.Field{
		{Name: "ts", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
		{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "s", Type: arrow.StructOf(arrow.Field{Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true}), Nullable: true},
	}, nil)
	var rows []string
	for i := range 200 {
		switch {
		case i%17 == 0:
			rows = append(rows, `{"ts":null,"name":null,"s":null}`)
		default:
			// Before and after 1970, in runs and mixed.
			at := []string{"1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "2024-02-29T12:30:00Z", "2024-03-01T00:00:00Z"}[i/50]
			rows = append(rows, fmt.Sprintf(`{"ts":%q,"name":"n%c%d","s":{"n":%d}}`, at, 'a'+rune(i%3), i, i%5))
		}
	}
	rec, _, err := array.RecordFromJSON(mem, records, strings.NewReader("["+strings.Join(rows, ",")+"]"))
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Release()
	for _, expressions := range [][]string{
		nil, {"day(ts)"}, {"hour(ts)"}, {"month(ts)"}, {"year(ts)"}, {"name"}, {"truncate(2, name)"}, {"bucket(4, name)"}, {"s.n"}, {"bucket(3, s.n)"}, {"day(ts)", "truncate(2, name)"}, {"ts"},
	} {
		t.Run(strings.Join(expressions, " "), func(t *testing.T) {
			spec, err := partitionSpec(expressions, schema)
			if err != nil {
				t.Fatal(err)
			}
			s, err := newSplitter(mem, *spec, schema, records)
			if err != nil {
				t.Fatal(err)
			}
			parts, err := s.split(t.Context(), rec)
			if err != nil {
				t.Fatal(err)
			}
			seen, keys := 0, []string{}
			for _, p := range parts {
				keys = append(keys, p.key)
				for _, slice := range p.slices {
					seen += int(slice.NumRows())
					for row := range int(slice.NumRows()) {
						if got := s.values(slice, row); fmt.Sprint(got) != fmt.Sprint(p.values) {
							t.Errorf("a row of %v is in the partition %v", got, p.values)
						}
					}
				}
				p.release()
			}
			slices.Sort(keys)
			if len(slices.Compact(keys)) != len(parts) {
				t.Errorf("%d parts have %d keys", len(parts), len(keys))
			}
			if seen != int(rec.NumRows()) {
				t.Errorf("%d rows came out of %d", seen, rec.NumRows())
			}
		})
	}
}

// A reader that knows the partitioning finds the rows: what the manifests say of the files is true.
func TestPartitionsAreRead(t *testing.T) {
	for _, expressions := range [][]string{{"day(kafka_timestamp)"}, {"bucket(4, name)"}, {"truncate(2, name)"}, {"kafka_topic", "hour(kafka_timestamp)"}, {"month(kafka_timestamp)"}, {"year(kafka_timestamp)"}} {
		s, mem := openSink(t, openSQLite(t), processors.Table{Name: "default.parts", Partition: expressions}, nil)
		stage(t, s, events(mem, source0, 0, 300))
		if err := s.Commit(t.Context(), processor.Positions{source0: 0}, processor.Positions{source0: 300}, []processor.Staged{seal(t, s)}); err != nil {
			t.Fatal(err)
		}
		loaded, err := s.committer.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, filter := range []iceberg.BooleanExpression{
			iceberg.EqualTo(iceberg.Reference("name"), "n77"),
			iceberg.NewAnd(iceberg.EqualTo(iceberg.Reference("kafka_topic"), "events"), iceberg.EqualTo(iceberg.Reference("kafka_timestamp"), iceberg.Timestamp(20_000*day+77*1_000_000))),
		} {
			if n := count(t, loaded, filter); n != 1 {
				t.Errorf("partitioned by %v: %v finds %d rows, want 1", expressions, filter, n)
			}
		}
	}
}
