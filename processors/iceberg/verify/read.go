package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go"
	icebergio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
	"github.com/parquet-go/parquet-go"
	"golang.org/x/sync/errgroup"
)

// reader reads the coordinates of rows: of a file by itself, two columns, or three where the table holds several topics; and of files
// with deletes through the library's own reader, which applies them.
type reader struct {
	table    *table.Table
	fs       icebergio.IO
	columns  columns
	topic    string                // of all rows; "" if the table holds several topics
	sole     map[string]string     // of the names of topics, what places call the only one of that name; nil if there is but one topic each
	progress func(done, total int) // in files; may be nil
	// broken is told of files that are not there, or are no Parquet that can be read, which then have no rows. If it is nil they are errors.
	broken func(path string, why error)

	mu    sync.Mutex // guards what follows
	rows  map[place]*offsets
	read  int
	total int
}

// add takes what some files, or parts of them, hold.
func (r *reader) add(found map[place][]int64, files int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.read += files; r.progress != nil && files > 0 {
		r.progress(r.read, r.total)
	}
	for at, values := range found {
		o := r.rows[at]
		if o == nil {
			o = newOffsets()
			r.rows[at] = o
		}
		o.add(values)
	}
}

// snapshot reads the live rows of a snapshot.
func (r *reader) snapshot(ctx context.Context, id int64) error {
	scan := r.table.Scan(table.WithSnapshotID(id), table.WithSelectedFields(r.columns.names...))
	tasks, err := scan.PlanFiles(ctx)
	if err != nil {
		return fmt.Errorf("files of snapshot %d: %w", id, err)
	}
	r.total = len(tasks)
	var whole []file
	var partly []table.FileScanTask
	for _, task := range tasks {
		if len(task.DeleteFiles)+len(task.EqualityDeleteFiles)+len(task.DeletionVectorFiles) == 0 && task.File.FileFormat() == iceberg.ParquetFile {
			whole = append(whole, file{path: task.File.FilePath()})
		} else {
			partly = append(partly, task)
		}
	}
	parted, err := passes(partly, passBytes, fileBytes) // before anything is read
	if err != nil {
		return err
	}
	if err := r.files(ctx, whole); err != nil {
		return err
	}
	for _, tasks := range parted {
		if err := r.tasks(ctx, scan, tasks); err != nil {
			return fmt.Errorf("rows of snapshot %d: %w", id, err)
		}
	}
	return nil
}

// tasks reads files through the library, which holds all their deletes.
func (r *reader) tasks(ctx context.Context, scan *table.Scan, tasks []table.FileScanTask) error {
	_, batches, err := scan.ReadTasks(ctx, tasks)
	if err != nil {
		return err
	}
	for rec, err := range batches {
		if err != nil {
			return err
		}
		found, err := r.batch(rec)
		rec.Release()
		if err != nil {
			return err
		}
		r.add(found, 0)
	}
	r.add(nil, len(tasks))
	return nil
}

// batch takes the coordinates of rows in Arrow.
func (r *reader) batch(rec arrow.RecordBatch) (map[place][]int64, error) {
	at := make([]int, len(r.columns.names))
	for i, name := range r.columns.names {
		found := rec.Schema().FieldIndices(name)
		if len(found) != 1 {
			return nil, fmt.Errorf("rows without the column %s: %s", name, rec.Schema())
		}
		at[i] = found[0]
	}
	topics, okTopic := rec.Column(at[0]).(array.StringLike)
	partitions, okPartition := rec.Column(at[1]).(*array.Int32)
	offsets, okOffset := rec.Column(at[2]).(*array.Int64)
	var ids array.StringLike
	okID := len(at) < 4
	if !okID {
		ids, okID = rec.Column(at[3]).(array.StringLike)
	}
	if !okTopic || !okPartition || !okOffset || !okID {
		return nil, fmt.Errorf("coordinates have types %s", rec.Schema())
	}
	found := map[place][]int64{}
	for i := range int(rec.NumRows()) {
		if offsets.IsNull(i) || partitions.IsNull(i) || topics.IsNull(i) {
			continue // nobody's row of ours
		}
		id := ""
		if ids != nil && ids.IsValid(i) {
			id = ids.Value(i)
		}
		p := place{r.topicOf(topics.Value(i), id), partitions.Value(i)}
		found[p] = append(found[p], offsets.Value(i))
	}
	return found, nil
}

// files reads whole files, several at a time.
func (r *reader) files(ctx context.Context, files []file) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrent)
	for _, f := range files {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			err := r.file(f.path)
			if damage := (*damagedError)(nil); errors.As(err, &damage) && r.broken != nil {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.broken(f.path, damage.why)
				return nil
			}
			if err != nil {
				return fmt.Errorf("data file %s: %w", f.path, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// damagedError says that a file itself is at fault, not the way to it.
type damagedError struct{ why error }

func (e *damagedError) Error() string { return e.why.Error() }
func (e *damagedError) Unwrap() error { return e.why }

// watched is a file of which it is known whether the store failed to read it.
type watched struct {
	icebergio.File
	failed error
}

func (w *watched) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.File.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) { // an answer that breaks off is io.ErrUnexpectedEOF
		w.failed = err
	}
	return n, err
}

// file reads the coordinates of every row of a Parquet file. A *damagedError says that it is not there, or is no such file.
func (r *reader) file(location string) error {
	in, err := r.fs.Open(location)
	if errors.Is(err, fs.ErrNotExist) {
		return &damagedError{err}
	}
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	w := &watched{File: in}
	if err := r.parquet(w, info.Size()); err != nil {
		if w.failed == nil {
			err = &damagedError{err}
		}
		return err
	}
	r.add(nil, 1)
	return nil
}

func (r *reader) parquet(in io.ReaderAt, size int64) (err error) {
	// A file is somebody's bytes, and the library panics on some that are no Parquet.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("reading it ends in %v", p)
		}
	}()
	file, err := parquet.OpenFile(in, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return err
	}
	wanted := []int{r.columns.partition, r.columns.offset}
	if r.topic == "" {
		wanted = append(wanted, r.columns.topic)
	}
	leaves := make([]int, len(wanted))
	for i, id := range wanted {
		var there bool
		if leaves[i], there = r.leaf(file.Root(), id); !there {
			return nil // the file is older than the column, and all its rows are without one: nobody's of ours
		}
	}
	if r.topic == "" && r.columns.topicID != 0 {
		if leaf, there := r.leaf(file.Root(), r.columns.topicID); there {
			leaves = append(leaves, leaf)
		}
	}
	for _, group := range file.RowGroups() {
		if err := r.group(group, leaves); err != nil {
			return err
		}
	}
	return nil
}

// topicOf is what a place calls the topic of a row. Letters that do not say which topic of the name they are of are the only one's, or nobody's.
func (r *reader) topicOf(name, id string) string {
	switch {
	case r.sole == nil:
		return name
	case id == "":
		return cmp.Or(r.sole[name], name)
	}
	return name + "/" + id
}

// leaf finds a coordinate column: by its field id, or by name in files that have no ids.
func (r *reader) leaf(root *parquet.Column, id int) (index int, there bool) {
	names := map[int]string{}
	for i, name := range r.columns.names {
		names[[]int{r.columns.topic, r.columns.partition, r.columns.offset, r.columns.topicID}[i]] = name
	}
	ids := false
	for _, c := range root.Columns() {
		ids = ids || c.ID() != 0
		if c.ID() == id && c.Leaf() {
			return c.Index(), true
		}
	}
	if c := root.Column(names[id]); !ids && c != nil && c.Leaf() {
		return c.Index(), true
	}
	return 0, false
}

const (
	readValues = 4096    // of a column, that are read at a time
	heldValues = 1 << 18 // offsets that one reader of a file holds at most before it adds them to those of all files
)

// group reads the columns of a row group side by side.
func (r *reader) group(group parquet.RowGroup, leaves []int) error {
	chunks := group.ColumnChunks()
	columns := make([]*column, len(leaves))
	for i, leaf := range leaves {
		columns[i] = &column{in: parquet.NewColumnChunkValueReader(chunks[leaf]), buffer: make([]parquet.Value, readValues)}
	}
	found := map[place][]int64{}
	var last place
	var run []int64
	held := 0
	flush := func() {
		if len(run) > 0 {
			found[last] = append(found[last], run...)
			run = run[:0]
		}
	}
	for range group.NumRows() {
		at := place{topic: r.topic}
		var row [4]parquet.Value // what is not read is null
		for i, c := range columns {
			v, err := c.next()
			if err != nil {
				return err
			}
			row[i] = v
		}
		if row[0].IsNull() || row[1].IsNull() {
			continue // nobody's row of ours
		}
		at.partition = row[0].Int32()
		if r.topic == "" {
			at.topic = r.topicOf(string(row[2].ByteArray()), string(row[3].ByteArray()))
		}
		if at != last {
			flush()
			last = at
		}
		run = append(run, row[1].Int64())
		if held++; held == heldValues {
			flush()
			r.add(found, 0)
			clear(found)
			held = 0
		}
	}
	flush()
	r.add(found, 0)
	return nil
}

// column reads one column value by value.
type column struct {
	in     parquet.ColumnChunkValueReader
	buffer []parquet.Value
	left   []parquet.Value
}

func (c *column) next() (parquet.Value, error) {
	if len(c.left) == 0 {
		n, err := c.in.ReadValues(c.buffer)
		switch {
		case n > 0:
			c.left = c.buffer[:n]
		case errors.Is(err, io.EOF):
			return parquet.Value{}, io.ErrUnexpectedEOF
		case err == nil:
			return parquet.Value{}, io.ErrNoProgress
		default:
			return parquet.Value{}, err
		}
	}
	v := c.left[0]
	c.left = c.left[1:]
	return v, nil
}
