// Package exec is the transform that runs a program: any that reads an Arrow IPC stream on its standard input and writes one on its standard
// output, one batch for each that it has read, and flushes behind each.
//
//	transform: [{exec: {command: [python3, mask.py], timeout: 30s, memory: 2GiB}}]
//
// The program gets the columns that a transform gets, the coordinates first, and answers with the coordinates as they are and whatever
// columns it likes. It may leave rows out, but not add, repeat or reorder any. A row with text in the column firn_error is rejected with
// that message; the column itself goes no further. Its standard error is logged at debug level, and its end is part of messages. It must
// answer a batch without rows with one, and the same batch with the same answer.
//
// An answer is one batch, not compressed, and has the columns of tables: no dictionaries or unsigned numbers, names that a column can have. It
// is looked through before anything is made of it, whatever it claims to be, and may take no more than its memory.
//
// A program that ends, answers late, or answers what it must not is killed and started again, and the batch is given again, then halves of
// it, until the rows that it fails for are found. These are rejected: what becomes of them is the job's error policy. Before a row is
// blamed the program has to answer a batch without rows; one that does not is broken, and so is one that is not there or may not be run: the
// table waits for it and tries again, and a bounded run ends with an error. So no row is lost and none comes twice, whenever the program or Firn
// dies.
package exec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/job"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
)

// Settings are what a job file says.
type Settings struct {
	Command []string     `yaml:"command" required:"true"` // the program and its arguments
	Timeout job.Duration `yaml:"timeout"`                 // for one batch, default 30s
	Memory  job.Size     `yaml:"memory"`                  // bytes that the program may take as data (Linux), and that an answer may have; default 2GiB
}

const (
	defaultTimeout = 30 * time.Second
	defaultMemory  = 2 << 30
	maxFailures    = 256 // of the program within one batch; a table halts then
	errorColumn    = "firn_error"

	classFailed   = "program_failed"   // the program ended, was late or answered what it must not, for this row alone
	classRejected = "program_rejected" // the program said so
)

// Kind is the kind of transform.
func Kind() plugin.Transform { return plugin.NewTransform(New) }

// Transform runs a program. The program is started by the first batch.
type Transform struct {
	command []string
	timeout time.Duration
	limit   int64 // bytes
	log     *slog.Logger
	mem     memory.Allocator

	running  *process // nil: none
	failures int      // of the program, within the present batch
}

var (
	_ processor.Transform = (*Transform)(nil)
	_ processor.Needing   = (*Transform)(nil)
)

// New makes a transform of its settings. It starts nothing.
func New(s Settings, env plugin.Env) (processor.Transform, error) {
	t := &Transform{command: s.Command, timeout: defaultTimeout, limit: defaultMemory, log: env.Logger, mem: env.Allocator}
	if len(s.Command) == 0 || s.Command[0] == "" {
		return nil, errors.New("command: missing; write the program and its arguments as a list")
	}
	if s.Timeout != 0 {
		t.timeout = time.Duration(s.Timeout)
	}
	if s.Memory != 0 {
		t.limit = int64(s.Memory)
	}
	return t, nil
}

// Apply implements processor.Transform.
func (t *Transform) Apply(ctx context.Context, b processor.Batch) (processor.Batch, error) {
	rows := b.Records
	defer rows.Release()
	t.failures = 0
	b.Records = nil
	out, err := t.divide(ctx, b.Source, rows, 2)
	if err != nil {
		return processor.Batch{}, err
	}
	b.Rejected = append(b.Rejected, out.rejected...)
	b.Records, err = out.join(t.mem)
	return b, err
}

// Missing implements processor.Needing: the program has to be there. Whether it works shows when it gets rows.
func (t *Transform) Missing() error {
	if _, err := exec.LookPath(t.command[0]); err != nil {
		return fmt.Errorf("command: %w", err)
	}
	return nil
}

// Close ends the program.
func (t *Transform) Close() error {
	if t.running != nil {
		t.running.end()
		t.running = nil
	}
	return nil
}

// answer is what rows became.
type answer struct {
	batches  []arrow.RecordBatch // owned, none without rows
	rejected []processor.Rejection
}

func (a answer) release() {
	for _, b := range a.batches {
		b.Release()
	}
}

// divide gives rows to the program, as often as tries says, and then in halves.
func (t *Transform) divide(ctx context.Context, source processor.Source, rows arrow.RecordBatch, tries int) (answer, error) {
	var failed error
	for range tries {
		a, err := t.ask(ctx, source, rows)
		var failure *failure
		if !errors.As(err, &failure) {
			return a, err
		}
		failed = err
		if t.failures++; t.failures > maxFailures {
			return answer{}, &processor.HaltError{Reason: fmt.Sprintf("program %s failed %d times within one batch, last: %v", t.command[0], t.failures, err),
				Decide: "mend the program, or let it say in column " + errorColumn + " which rows it does not take"}
		}
	}
	n := rows.NumRows()
	if n == 1 {
		return t.blame(ctx, source, rows, failed)
	}
	var all answer
	for _, half := range [][2]int64{{0, n / 2}, {n / 2, n}} {
		part := rows.NewSlice(half[0], half[1])
		tries := 1
		if part.NumRows() == 1 {
			tries = 2
		}
		a, err := t.divide(ctx, source, part, tries)
		part.Release()
		if err != nil {
			all.release()
			return answer{}, err
		}
		all.batches, all.rejected = append(all.batches, a.batches...), append(all.rejected, a.rejected...)
	}
	return all, nil
}

// blame rejects the row that the program fails for, if the program works at all.
func (t *Transform) blame(ctx context.Context, source processor.Source, row arrow.RecordBatch, failed error) (answer, error) {
	none := row.NewSlice(0, 0)
	defer none.Release()
	a, err := t.ask(ctx, source, none)
	var broken *failure
	switch {
	case errors.As(err, &broken):
		return answer{}, &processor.StuckError{Reason: fmt.Sprintf("it does not answer a batch without rows either: %v", err), Mend: "mend the program, or what it needs"}
	case err != nil:
		return answer{}, err
	}
	a.release()
	offset := row.Column(2).(*array.Int64).Value(0)
	t.log.Warn("the program fails for a record", "topic", source.Topic, "partition", source.Partition, "offset", offset, "err", failed)
	return answer{rejected: []processor.Rejection{{Offset: offset, Class: classFailed, Message: failed.Error()}}}, nil
}

// ask gives rows to the program once. A *failure says that the program is at fault, and is not running any more.
func (t *Transform) ask(ctx context.Context, source processor.Source, rows arrow.RecordBatch) (answer, error) {
	if t.running != nil && !t.running.columns.Equal(rows.Schema()) {
		t.running.end()
		t.running = nil
	}
	if t.running == nil {
		p, err := start(t.command, rows.Schema(), t.limit, t.log)
		if err != nil {
			return answer{}, err
		}
		t.running = p
	}
	got, err := t.running.exchange(ctx, rows, t.timeout)
	if err == nil {
		var a answer
		if a, err = t.judge(source, rows, got); err == nil {
			return a, nil
		}
	}
	tail := t.running.kill()
	t.running = nil
	var halt *processor.HaltError
	if ctx.Err() != nil || errors.As(err, &halt) {
		return answer{}, err
	}
	return answer{}, &failure{t.command[0], err, tail}
}

// failure is a fault of the program.
type failure struct {
	program string
	err     error
	stderr  string // its end
}

func (f *failure) Error() string {
	text := fmt.Sprintf("program %s: %v", f.program, f.err)
	if f.stderr != "" {
		text += "; it said: " + f.stderr
	}
	return text
}

func (f *failure) Unwrap() error { return f.err }

// judge checks an answer and takes the rows out that the program rejects. It takes ownership of got.
func (t *Transform) judge(source processor.Source, rows, got arrow.RecordBatch) (answer, error) {
	defer got.Release()
	before, after := processor.Batch{Source: source, Records: rows}, processor.Batch{Source: source, Records: got}
	if err := processor.CheckApplied(before, after); err != nil {
		return answer{}, fmt.Errorf("its answer: %w", err)
	}
	if err := t.checkCoordinates(rows, got); err != nil {
		return answer{}, fmt.Errorf("its answer: %w", err)
	}
	var a answer
	keep := make([]bool, got.NumRows())
	for i := range keep {
		keep[i] = true
	}
	columns := got.Columns()
	fields := got.Schema().Fields()
	if i := slices.IndexFunc(fields, func(f arrow.Field) bool { return f.Name == errorColumn }); i >= 0 {
		for row := range keep {
			if columns[i].IsValid(row) {
				keep[row] = false
				a.rejected = append(a.rejected, processor.Rejection{Offset: got.Column(2).(*array.Int64).Value(row), Class: classRejected, Message: strings.Clone(excerpt(columns[i].ValueStr(row)))})
			}
		}
		columns, fields = slices.Delete(slices.Clone(columns), i, i+1), slices.Delete(slices.Clone(fields), i, i+1)
	}
	all := array.NewRecordBatch(arrow.NewSchema(fields, nil), columns, got.NumRows())
	defer all.Release()
	kept, err := processor.KeepRows(all, keep, t.mem)
	if err != nil {
		return answer{}, err
	}
	if kept.NumRows() == 0 {
		kept.Release()
		return a, nil
	}
	a.batches = append(a.batches, kept)
	return a, nil
}

// checkCoordinates compares the timestamps, keys and headers of an answer, whose offsets are those of rows in rows, with what was given.
func (t *Transform) checkCoordinates(rows, got arrow.RecordBatch) error {
	offsets, answered := rows.Column(2).(*array.Int64), got.Column(2).(*array.Int64)
	keep, next := make([]bool, rows.NumRows()), 0
	for row := range keep {
		if next < answered.Len() && offsets.Value(row) == answered.Value(next) {
			keep[row] = true
			next++
		}
	}
	given, err := processor.KeepRows(rows, keep, t.mem)
	if err != nil {
		return err
	}
	defer given.Release()
	for i := 3; i < processor.Coordinates; i++ {
		if !array.Equal(given.Column(i), got.Column(i)) {
			return fmt.Errorf("column %s has other values than were given: the coordinates of a record stay what they are", got.ColumnName(i))
		}
	}
	return nil
}

// join makes one batch of the answer, nil if there are no rows. It takes ownership of the batches.
func (a answer) join(mem memory.Allocator) (arrow.RecordBatch, error) {
	switch len(a.batches) {
	case 0:
		return nil, nil
	case 1:
		return a.batches[0], nil
	}
	defer a.release()
	schema := a.batches[0].Schema()
	var columns []arrow.Array
	defer func() {
		for _, c := range columns {
			c.Release()
		}
	}()
	rows := int64(0)
	for _, b := range a.batches {
		if !b.Schema().Equal(schema) {
			return nil, &processor.HaltError{Reason: "the program answers parts of a batch with different columns", Decide: "mend the program: its columns may depend on the columns that it gets only"}
		}
		rows += b.NumRows()
	}
	for i := range schema.NumFields() {
		var parts []arrow.Array
		for _, b := range a.batches {
			parts = append(parts, b.Column(i))
		}
		c, err := array.Concatenate(parts, mem)
		if err != nil {
			return nil, fmt.Errorf("join the answers of the program: %w", err)
		}
		columns = append(columns, c)
	}
	return array.NewRecordBatch(schema, columns, rows), nil
}
