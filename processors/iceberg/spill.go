package iceberg

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
)

// maxRuns bounds the sorted runs of a spill, of each of which a batch is in memory while they are merged.
const maxRuns = 512

// numberColumn is the last column of runs: the number of a row's partition. No name of a table's column is empty.
const numberColumn = ""

// spill is rows on disk, in runs that are each sorted by partition. What fails here fails for want of a disk: a person must look.
type spill struct {
	folder string
	bytes  int64 // bound of the file
	batch  int64 // bytes of rows that a reader of a run holds
	mem    memory.Allocator
	file   *os.File // nil until the first run
	size   int64    // of what is used of the file
	sorted []spilled
}

// spilled is one run: a stream of Arrow's IPC format.
type spilled struct {
	schema *arrow.Schema // without the numbers
	at, n  int64         // in the file
	rows   int64
}

func newSpill(cfg plugin.Spill, memory int64, mem memory.Allocator) *spill {
	return &spill{folder: cfg.Folder, bytes: cfg.Bytes, batch: max(1, memory/maxRuns), mem: mem}
}

// full reports whether the runs are to be merged before there are more.
func (s *spill) full() bool { return s.size >= s.bytes || len(s.sorted) >= maxRuns }

// reset forgets all runs.
func (s *spill) reset() error {
	s.size, s.sorted = 0, nil
	if s.file == nil {
		return nil
	}
	return s.failed(s.file.Truncate(0))
}

// close gives the file up.
func (s *spill) close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return s.failed(err)
}

func (s *spill) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w", &processor.HaltError{Reason: fmt.Sprintf("rows cannot be sorted on disk: %v", err), Decide: "give a folder with more room, or less to put there"})
}

// begin starts a run of rows of so many bytes each.
func (s *spill) begin(schema *arrow.Schema, perRow int64) (*runWriter, error) {
	if s.file == nil {
		f, err := os.CreateTemp(s.folder, "firn-spill-*")
		if err != nil {
			return nil, s.failed(err)
		}
		s.file = f
		// The file lives as long as it is open, so that nothing is left by a process that is killed.
		if err := os.Remove(f.Name()); err != nil {
			return nil, s.failed(err)
		}
	}
	fields := append(append([]arrow.Field{}, schema.Fields()...), arrow.Field{Name: numberColumn, Type: arrow.PrimitiveTypes.Int32})
	w := &runWriter{spill: s, run: spilled{schema: schema, at: s.size}, schema: arrow.NewSchema(fields, nil), step: int(max(1, s.batch/perRow))}
	w.out = bufio.NewWriterSize(io.NewOffsetWriter(s.file, s.size), 256<<10)
	w.ipc = ipc.NewWriter(countingTo{w}, ipc.WithSchema(w.schema), ipc.WithAllocator(s.mem))
	return w, nil
}

// runWriter writes one run. One that is not ended is as if it had not begun.
type runWriter struct {
	spill  *spill
	run    spilled
	schema *arrow.Schema // with the numbers
	step   int           // rows of a batch
	out    *bufio.Writer
	ipc    *ipc.Writer
}

// countingTo counts what a run takes.
type countingTo struct{ w *runWriter }

func (c countingTo) Write(p []byte) (int, error) {
	n, err := c.w.out.Write(p)
	c.w.run.n += int64(n)
	return n, err
}

// write adds the rows [from, to), which are sorted and come behind those before.
func (w *runWriter) write(rows arrow.RecordBatch, numbers []int32, from, to int) error {
	for ; from < to; from += w.step {
		if err := w.batch(rows, numbers, from, min(to, from+w.step)); err != nil {
			return w.spill.failed(err)
		}
	}
	return nil
}

func (w *runWriter) batch(rows arrow.RecordBatch, numbers []int32, from, to int) error {
	piece := rows.NewSlice(int64(from), int64(to))
	defer piece.Release()
	b := array.NewInt32Builder(w.spill.mem)
	defer b.Release()
	b.AppendValues(numbers[from:to], nil)
	column := b.NewArray()
	defer column.Release()
	numbered := array.NewRecordBatch(w.schema, append(append([]arrow.Array{}, piece.Columns()...), column), piece.NumRows())
	defer numbered.Release()
	w.run.rows += piece.NumRows()
	return w.ipc.Write(numbered)
}

// end makes the run one of the spill's, if there is anything in it.
func (w *runWriter) end() error {
	if w.run.rows == 0 {
		return nil
	}
	if err := w.ipc.Close(); err != nil {
		return w.spill.failed(err)
	}
	if err := w.out.Flush(); err != nil {
		return w.spill.failed(err)
	}
	w.spill.size += w.run.n
	w.spill.sorted = append(w.spill.sorted, w.run)
	return nil
}

// runReader reads a run from its begin.
type runReader struct {
	spill   *spill
	run     spilled
	ipc     *ipc.Reader
	convert func(arrow.RecordBatch) (arrow.RecordBatch, error) // to the schema that rows are wanted in; takes ownership
	rows    arrow.RecordBatch                                  // a batch, from the next row on; nil at the end
	numbers []int32                                            // of its rows
	perRow  int64                                              // bytes, on average
	left    int64                                              // rows behind it
}

// open reads a run's first batch.
func (s *spill) open(run spilled, convert func(arrow.RecordBatch) (arrow.RecordBatch, error)) (*runReader, error) {
	in, err := ipc.NewReader(io.NewSectionReader(s.file, run.at, run.n), ipc.WithAllocator(s.mem))
	if err != nil {
		return nil, s.failed(err)
	}
	r := &runReader{spill: s, run: run, ipc: in, convert: convert, left: run.rows}
	if err := r.load(); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// load reads the next batch, if there is one.
func (r *runReader) load() error {
	if r.rows != nil {
		r.rows.Release()
		r.rows = nil
	}
	if !r.ipc.Next() {
		err := r.ipc.Err()
		if err == nil && r.left > 0 {
			err = io.ErrUnexpectedEOF
		}
		return r.spill.failed(err)
	}
	numbered := r.ipc.RecordBatch()
	last := int(numbered.NumCols()) - 1
	r.numbers = append([]int32(nil), numbered.Column(last).(*array.Int32).Int32Values()...)
	r.left -= numbered.NumRows()
	rows, err := r.convert(array.NewRecordBatch(r.run.schema, numbered.Columns()[:last], numbered.NumRows()))
	if err != nil {
		return err
	}
	r.rows, r.perRow = rows, recordBytes(rows)/rows.NumRows()
	return nil
}

// next takes all rows of the partition of a number, if they come next, and lends them to do with about how many bytes they are.
func (r *runReader) next(number int32, do func(rows arrow.RecordBatch, bytes int64) error) error {
	for r.rows != nil && r.numbers[0] == number {
		to := endOf(r.numbers, 0)
		piece := r.rows.NewSlice(0, int64(to))
		err := do(piece, r.perRow*int64(to))
		piece.Release()
		if err != nil {
			return err
		}
		if to < len(r.numbers) {
			rest := r.rows.NewSlice(int64(to), r.rows.NumRows())
			r.rows.Release()
			r.rows, r.numbers = rest, r.numbers[to:]
		} else if err := r.load(); err != nil {
			return err
		}
	}
	return nil
}

func (r *runReader) close() {
	if r.rows != nil {
		r.rows.Release()
	}
	r.ipc.Release()
}
