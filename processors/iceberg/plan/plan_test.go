package plan_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/inspect"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg/plan"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestTables plans a job over a log of two partitions: fields that change their kind, records that are no rows, partitions by bucket.
func TestTables(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	store := blob.NewMemory(func() time.Time { return now })
	j := &tailtest.Journal{Store: store, Now: func() time.Time { return now }}
	topic := tailtest.Topic("events", 1, 0, 0)
	other := tailtest.Topic("others", 1, 0)
	for i := range 48 { // an object an hour, for two days
		now = now.Add(time.Hour)
		var values []string
		for n := range 10 {
			switch {
			case n == 7:
				values = append(values, "no JSON")
			case n == 8:
				values = append(values, fmt.Sprintf(`{"id": "text %d", "n": 1}`, i))
			case i%2 == 0:
				values = append(values, fmt.Sprintf(`{"id": %d, "n": %d, "o": {"a": [1]}}`, n, i))
			default:
				values = append(values, fmt.Sprintf(`{"id": %d, "n": %d.5}`, n, i))
			}
		}
		j.Append(t, nil, tailtest.Values(topic, int32(i%2), values...), tailtest.Values(other, 0, "x"))
	}
	sample, err := inspect.TakeSample(t.Context(), store, func(name string) bool { return name == "events" }, 16<<20)
	if err != nil {
		t.Fatal(err)
	}
	if len(sample.Pieces) != 16 || len(sample.Paces) != 2 || sample.Journals != 1 {
		t.Fatalf("%d pieces, %d paces, %d journals", len(sample.Pieces), len(sample.Paces), sample.Journals)
	}
	first, last := sample.Pieces[0], sample.Pieces[7]
	if first.Span.Base != 0 || last.Span.Next != 240 {
		t.Errorf("the sample of a partition goes from %s to %s, want all of [0, 240) in view", first.Span, last.Span)
	}
	reports, err := plan.Tables(t.Context(), plan.Config{
		Job: "job", Freshness: 2 * time.Second,
		Table: func(topic string) processors.Table {
			return processors.Table{Name: "db." + topic, Partition: []string{"day(kafka_timestamp)", "bucket(4, id)"}}
		},
		Remake: func(string) (*pipeline.Remake, error) {
			return &pipeline.Remake{Allocator: memory.DefaultAllocator}, nil
		},
	}, sample)
	if err != nil {
		t.Fatal(err)
	}
	if len(reports) != 1 {
		t.Fatalf("%d tables", len(reports))
	}
	r := reports[0]
	if r.Sampled != 160 || r.Rows != 128 || r.LeftOut != 0 || r.Records != 480 {
		t.Errorf("%+v", r)
	}
	for _, want := range []string{"CREATE TABLE `db`.`events` (", "`kafka_offset` BIGINT", "`id` BIGINT,\n", "`n` DOUBLE", "`o` STRUCT<`a`: ARRAY<BIGINT>>",
		"PARTITIONED BY (days(`kafka_timestamp`), bucket(4, `id`))", "USING iceberg"} {
		if !strings.Contains(r.DDL, want) {
			t.Errorf("%s\nlacks %s", r.DDL, want)
		}
	}
	if len(r.Rejects) != 2 || r.Rejects[0].Records != 16 || len(r.Rejects[0].Examples) != 3 || !strings.Contains(r.Rejects[0].Examples[0], "events/0 offset 7") {
		t.Errorf("rejects %+v", r.Rejects)
	}
	for _, f := range r.Fields {
		switch coerced := strings.Join(f.Coerced, " "); {
		case f.Field == "n" && (f.Type != "double" || coerced != "integer"), f.Field == "id" && coerced != "string", f.Field == "o" && coerced != "":
			t.Errorf("field %+v", f)
		}
	}
	// Ten records an hour to each partition in turn: 240 a day, and a bit for the ends, of which four fifths are rows, one at a time.
	if d := r.Day; d.Over < 22*3600 || d.Over > 24*3600 || d.Rows < 180 || d.Rows > 220 || d.Files < d.Commits || d.Files > 1.01*d.Commits || r.RowBytes == 0 {
		t.Errorf("a day %+v, %g bytes a row", d, r.RowBytes)
	}
}

// TestTopicsOnOneTable plans topics that the job would take for one table, the case of letters aside: they are one report, which names them.
func TestTopicsOnOneTable(t *testing.T) {
	store := blob.NewMemory(nil)
	j := &tailtest.Journal{Store: store}
	for i, name := range []string{"a.b", "A-B", "other"} {
		j.Append(t, nil, tailtest.Values(tailtest.Topic(name, byte(i+1), 0), 0, `{"n": 1}`))
	}
	sample, err := inspect.TakeSample(t.Context(), store, func(string) bool { return true }, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	reports, err := plan.Tables(t.Context(), plan.Config{
		Job: "job", Freshness: 2 * time.Second,
		Table: func(topic string) processors.Table {
			return processors.Table{Name: "db." + strings.NewReplacer(".", "_", "-", "_").Replace(topic)}
		},
		Remake: func(string) (*pipeline.Remake, error) {
			return &pipeline.Remake{Allocator: memory.DefaultAllocator}, nil
		},
	}, sample)
	if err != nil {
		t.Fatal(err)
	}
	if len(reports) != 2 {
		t.Fatalf("%d tables, want two", len(reports))
	}
	if r := reports[0]; len(r.Topics) != 2 || r.Records != 2 {
		t.Errorf("topics %v and %d records go to %s, want both", r.Topics, r.Records, r.Table)
	}
}

// TestSampleOfLargeBatches: a batch may be larger than a piece. Then there are fewer pieces, and some of every partition still.
func TestSampleOfLargeBatches(t *testing.T) {
	const partitions, objects, piece = 4, 6, 256 << 10
	store := blob.NewMemory(nil)
	j := tailtest.Journal{Store: store}
	topic := tailtest.Topic("events", 1, make([]uint32, partitions)...)
	value := strings.Repeat("x", 2*piece)
	for range objects {
		var all []tailtest.Records
		for p := range int32(partitions) {
			all = append(all, tailtest.Values(topic, p, value))
		}
		j.Append(t, nil, all...)
	}
	sample, err := inspect.TakeSample(t.Context(), store, func(string) bool { return true }, 8*piece)
	if err != nil {
		t.Fatal(err)
	}
	of := map[int32]int{}
	for _, p := range sample.Pieces {
		of[p.PartitionID.Partition]++
	}
	if most := int64(8+3*8) * piece; len(of) != partitions || sample.Read < 8*piece || sample.Read > most {
		t.Errorf("pieces by partition %v, %d bytes; at most %d", of, sample.Read, most)
	}
}
