package iceberg

import (
	"context"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// gathered are rows that are held back, to write those of each partition together: few large files of many partitions whose rows come in no
// order. They wait in memory, then sorted by partition on disk.
type gathered struct {
	mem     memory.Allocator
	spill   *spill
	limit   int64 // bytes of rows in memory
	rows    []arrow.RecordBatch
	numbers [][]int32 // of their partitions, by row
	held    int64
	byKey   map[string]int32
	parts   []*part // by number, without rows
	total   int64   // rows that wait in all
}

func newGathered(cfg *Config) *gathered {
	return &gathered{
		mem: cfg.Allocator, spill: newSpill(cfg.Spill, cfg.MemoryBytes/4, cfg.Allocator), limit: cfg.MemoryBytes / 4,
		byKey: map[string]int32{},
	}
}

// add takes rows of a schema of files. They are borrowed.
func (g *gathered) add(s *splitter, rec arrow.RecordBatch) {
	numbers := make([]int32, rec.NumRows())
	s.runs(rec, func(key []byte, row int) int {
		n, ok := g.byKey[string(key)]
		if !ok {
			n = int32(len(g.parts))
			g.parts = append(g.parts, &part{key: string(key), values: s.values(rec, row)})
			g.byKey[string(key)] = n
		}
		return int(n)
	}, func(n int, from, to int64) {
		for row := from; row < to; row++ {
			numbers[row] = int32(n)
		}
	})
	rec.Retain()
	g.rows, g.numbers = append(g.rows, rec), append(g.numbers, numbers)
	g.held += recordBytes(rec) + 4*rec.NumRows()
	g.total += rec.NumRows()
}

// sort empties the memory: the rows in order of their partitions' numbers, of one partition as they came. The caller releases them.
func (g *gathered) sort(ctx context.Context) (arrow.RecordBatch, []int32, error) {
	all, err := g.concatenate()
	if err != nil {
		return nil, nil, err
	}
	numbers := slices.Concat(g.numbers...)
	g.forget()
	if slices.IsSorted(numbers) {
		return all, numbers, nil
	}
	defer all.Release()
	starts := make([]int64, len(g.parts)+1)
	for _, n := range numbers {
		starts[n+1]++
	}
	for n := range g.parts {
		starts[n+1] += starts[n]
	}
	order, sorted := make([]int64, len(numbers)), make([]int32, len(numbers))
	for row, n := range numbers {
		order[starts[n]], sorted[starts[n]] = int64(row), n
		starts[n]++
	}
	indices := array.NewInt64Builder(g.mem)
	defer indices.Release()
	indices.AppendValues(order, nil)
	rows, err := take(ctx, g.mem, all, indices.NewInt64Array())
	return rows, sorted, err
}

// concatenate makes one record of the rows in memory.
func (g *gathered) concatenate() (arrow.RecordBatch, error) {
	if len(g.rows) == 1 {
		g.rows[0].Retain()
		return g.rows[0], nil
	}
	schema := g.rows[0].Schema()
	columns := make([]arrow.Array, 0, schema.NumFields())
	defer func() {
		for _, c := range columns {
			c.Release()
		}
	}()
	var n int64
	for _, r := range g.rows {
		n += r.NumRows()
	}
	for i := range schema.NumFields() {
		pieces := make([]arrow.Array, len(g.rows))
		for j, r := range g.rows {
			pieces[j] = r.Column(i)
		}
		column, err := array.Concatenate(pieces, g.mem)
		if err != nil {
			return nil, err
		}
		columns = append(columns, column)
	}
	return array.NewRecordBatch(schema, columns, n), nil
}

// forget gives up the rows in memory.
func (g *gathered) forget() {
	for _, r := range g.rows {
		r.Release()
	}
	g.rows, g.numbers, g.held = nil, nil, 0
}

// reset forgets all that waits.
func (g *gathered) reset() error {
	g.forget()
	g.byKey, g.parts, g.total = map[string]int32{}, nil, 0
	return g.spill.reset()
}

// gather takes rows that are to be written later.
func (s *Sink) gather(ctx context.Context, rec arrow.RecordBatch) error {
	s.gathered.add(s.writer.splitter, rec)
	if s.gathered.held < s.gathered.limit {
		return nil
	}
	return s.putAside(ctx)
}

// putAside empties the memory. Partitions that have a row group's worth get one, the rows of the others go to the disk.
func (s *Sink) putAside(ctx context.Context) error {
	g := s.gathered
	if len(g.rows) == 0 {
		return nil
	}
	rows, numbers, err := g.sort(ctx)
	if err != nil {
		return err
	}
	defer rows.Release()
	perRow := max(1, recordBytes(rows)/rows.NumRows())
	run, err := g.spill.begin(rows.Schema(), perRow)
	if err != nil {
		return err
	}
	rest := 0 // from there to the next large partition
	for from, to := 0, 0; from < len(numbers); from = to {
		to = endOf(numbers, from)
		bytes := perRow * int64(to-from)
		if bytes < wholeGroupBytes {
			continue
		}
		if err := run.write(rows, numbers, rest, from); err != nil {
			return err
		}
		piece := rows.NewSlice(int64(from), int64(to))
		err := s.append(s.writer.layout, g.parts[numbers[from]], piece, bytes)
		piece.Release()
		if err != nil {
			return err
		}
		g.total -= int64(to - from)
		rest = to
	}
	if err := run.write(rows, numbers, rest, len(numbers)); err != nil {
		return err
	}
	if err := run.end(); err != nil {
		return err
	}
	if g.spill.full() {
		return s.drain(ctx)
	}
	return nil
}

// settle writes all rows that wait to data files.
func (s *Sink) settle(ctx context.Context) error {
	if err := s.putAside(ctx); err != nil {
		return err
	}
	return s.drain(ctx)
}

// endOf is where the run of equal numbers ends that begins at from.
func endOf(numbers []int32, from int) int {
	to := from + 1
	for to < len(numbers) && numbers[to] == numbers[from] {
		to++
	}
	return to
}
