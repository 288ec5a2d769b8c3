package iceberg

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	iceberglib "github.com/apache/iceberg-go"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
)

// meter is an allocator that knows how much was in use at most, and looks at something with each allocation.
type meter struct {
	memory.Allocator
	now, most atomic.Int64
	look      func()
}

func (m *meter) Allocate(n int) []byte {
	m.add(n)
	return m.Allocator.Allocate(n)
}

func (m *meter) Reallocate(n int, b []byte) []byte {
	m.add(n - len(b))
	return m.Allocator.Reallocate(n, b)
}

func (m *meter) Free(b []byte) {
	m.now.Add(-int64(len(b)))
	m.Allocator.Free(b)
}

func (m *meter) add(n int) {
	now := m.now.Add(int64(n))
	for most := m.most.Load(); now > most && !m.most.CompareAndSwap(most, now); most = m.most.Load() {
	}
	if m.look != nil {
		m.look()
	}
}

// shuffled makes a batch of rows of days that come in no order, with as many columns more as asked for.
func shuffled(mem memory.Allocator, random *rand.Rand, base, next int64, days, more int) processor.Batch {
	fields := eventSchema.Fields()
	for i := range more {
		fields = append(fields, arrow.Field{Name: fmt.Sprint("more", i), Nullable: true, Type: arrow.StructOf(
			arrow.Field{Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
			arrow.Field{Name: "all", Type: arrow.ListOf(arrow.PrimitiveTypes.Int64), Nullable: true})})
	}
	b := array.NewRecordBuilder(mem, arrow.NewSchema(fields, nil))
	defer b.Release()
	for offset := base; offset < next; offset++ {
		b.Field(0).(*array.StringBuilder).Append("events")
		b.Field(1).(*array.Int32Builder).Append(0)
		b.Field(2).(*array.Int64Builder).Append(offset)
		b.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(int64(20_000+random.IntN(days))*day + offset))
		b.Field(4).(*array.StringBuilder).Append(fmt.Sprint("the row of offset ", offset))
		for i := range more {
			if offset%3 == 0 {
				b.Field(5 + i).AppendNull()
				continue
			}
			s := b.Field(5 + i).(*array.StructBuilder)
			s.Append(true)
			s.FieldBuilder(0).(*array.Int64Builder).Append(offset)
			l := s.FieldBuilder(1).(*array.ListBuilder)
			l.Append(true)
			l.ValueBuilder().(*array.Int64Builder).Append(offset)
		}
	}
	return processor.Batch{Source: source0, Span: kfs.Span{Base: base, Next: next}, Records: b.NewRecordBatch()}
}

// filesOf describes what was staged.
func filesOf(t *testing.T, s *Sink, sealed processor.Staged) []iceberglib.DataFile {
	t.Helper()
	p, err := parseStaged(sealed.Data)
	if err != nil {
		t.Fatal(err)
	}
	files, err := s.files(t.Context(), []*staged{p})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestGather brings rows of 2,000 days in, in no order: each day gets one file, few are open at a time, and the memory is bounded.
func TestGather(t *testing.T) {
	const days, batches, rows = 2_000 / oneOf, 30, 8_000
	for name, gather := range map[string]plugin.Spill{"as they come": {}, "gathered": {Folder: t.TempDir(), Bytes: 1 << 30}} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			m := &meter{}
			const bound = 16 << 20
			s, mem := openSink(t, catalog.New(catalogtest.NewFake()), processors.Table{Name: "db.events", Partition: []string{"day(kafka_timestamp)"}}, func(c *Config) {
				m.Allocator = c.Allocator
				c.Spill, c.MemoryBytes, c.OpenFiles, c.Allocator = gather, bound, 4, m
			})
			open := 0
			var mu sync.Mutex // guards open: columns of a batch are allocated at the same time
			m.look = func() {
				mu.Lock()
				defer mu.Unlock()
				open = max(open, len(s.open))
			}
			var staged int64
			some := int64(batches)
			if gather == (plugin.Spill{}) {
				some = 2
			}
			for i := range some {
				b := shuffled(mem, random, i*rows, (i+1)*rows, days, 0)
				staged += recordBytes(b.Records)
				stage(t, s, b)
			}
			sealed := seal(t, s)
			files := filesOf(t, s, sealed)
			t.Logf("%d rows of %d bytes as Arrow in %d days: %d files, at most %d open at a time, at most %d bytes of Arrow and Parquet in memory",
				some*rows, staged, days, len(files), open, m.most.Load())
			if open > 4 || open == 0 {
				t.Errorf("%d files were open at a time", open)
			}
			if gather == (plugin.Spill{}) {
				if len(files) <= days {
					t.Errorf("%d files: rows were to be written as they come", len(files))
				}
				return
			}
			if len(files) != days {
				t.Errorf("%d files for %d days", len(files), days)
			}
			if m.most.Load() > bound || staged < 2*bound/3 {
				t.Errorf("%d bytes were in memory at a time, the bound is %d, and there were %d", m.most.Load(), bound, staged)
			}
			if err := s.Commit(t.Context(), processor.Positions{source0: 0}, processor.Positions{source0: batches * rows}, []processor.Staged{sealed}); err != nil {
				t.Fatal(err)
			}
			wantOffsets(t, s, map[int64]int64{0: batches * rows})
		})
	}
}

// TestGatherBounded merges early where the disk is full, and writes at once what is a file's worth.
func TestGatherBounded(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	s, mem := openSink(t, catalog.New(catalogtest.NewFake()), processors.Table{Name: "db.events", Partition: []string{"day(kafka_timestamp)"}}, func(c *Config) {
		c.Spill, c.MemoryBytes = plugin.Spill{Folder: t.TempDir(), Bytes: 2 << 20}, 8<<20
	})
	const first, rows = 200_000, 60_000
	stage(t, s, shuffled(mem, random, 0, first, 1, 0)) // all of one day
	if len(s.gathered.spill.sorted) != 0 || len(s.open) != 1 {
		t.Errorf("a partition with a row group's worth is on disk: %d runs, %d files are open", len(s.gathered.spill.sorted), len(s.open))
	}
	for i := range int64(3) {
		stage(t, s, shuffled(mem, random, first+i*rows, first+(i+1)*rows, 40, 0))
		if size := s.gathered.spill.size; size >= 2<<20 {
			t.Errorf("%d bytes on disk", size)
		}
	}
	sealed := seal(t, s)
	if n := len(filesOf(t, s, sealed)); n < 80 || n > 121 {
		t.Errorf("%d files, want about 40 each time that the disk is full", n)
	}
	if err := s.Commit(t.Context(), processor.Positions{source0: 0}, processor.Positions{source0: first + 3*rows}, []processor.Staged{sealed}); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, s, map[int64]int64{0: first + 3*rows})
}

// TestGatherSchemas puts rows aside while the table gets columns, and fields in them.
func TestGatherSchemas(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	s, mem := openSink(t, catalog.New(catalogtest.NewFake()), processors.Table{Name: "db.events", Partition: []string{"day(kafka_timestamp)"}}, func(c *Config) {
		c.Spill = plugin.Spill{Folder: t.TempDir(), Bytes: 1 << 30}
	})
	var at int64
	for _, more := range []int{1, 0, 3, 2} {
		stage(t, s, shuffled(mem, random, at, at+500, 10, more))
		at += 500
	}
	sealed := seal(t, s)
	if n := len(filesOf(t, s, sealed)); n != 10 {
		t.Errorf("%d files for 10 days", n)
	}
	if err := s.Commit(t.Context(), processor.Positions{source0: 0}, processor.Positions{source0: at}, []processor.Staged{sealed}); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, s, map[int64]int64{0: at})
	table, err := s.committer.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, batches, err := table.Scan().ToArrowRecords(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for rec, err := range batches {
		if err != nil {
			t.Fatal(err)
		}
		offsets := rec.Column(rec.Schema().FieldIndices("kafka_offset")[0]).(*array.Int64)
		for i := range 3 {
			column := rec.Column(rec.Schema().FieldIndices(fmt.Sprint("more", i))[0]).(*array.Struct)
			for row := range int(rec.NumRows()) {
				offset := offsets.Value(row)
				there := []int{1, 0, 3, 2}[offset/500] > i && offset%3 != 0
				if got := column.IsValid(row); got != there || there && column.Field(0).(*array.Int64).Value(row) != offset {
					t.Fatalf("offset %d: more%d is there: %t, want %t", offset, i, got, there)
				}
			}
		}
		rec.Release()
	}
}

// TestGatherDisk halts where the disk fails, and leaves no file behind.
func TestGatherDisk(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	folder := t.TempDir()
	for _, c := range []struct {
		folder string
		want   bool
	}{{folder, true}, {filepath.Join(folder, "none"), false}} {
		s, mem := openSink(t, catalog.New(catalogtest.NewFake()), processors.Table{Name: "db.events", Partition: []string{"day(kafka_timestamp)"}}, func(cfg *Config) {
			cfg.Spill = plugin.Spill{Folder: c.folder, Bytes: 1 << 30}
		})
		stage(t, s, shuffled(mem, random, 0, 100, 10, 0))
		err := s.Spill(t.Context())
		var halt *processor.HaltError
		if (err == nil) != c.want || err != nil && !errors.As(err, &halt) {
			t.Errorf("%s: %v", c.folder, err)
		}
		if names, err := os.ReadDir(folder); err != nil || len(names) > 0 {
			t.Errorf("%v, %v", names, err)
		}
	}
}
