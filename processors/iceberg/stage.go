package iceberg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/google/uuid"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/runtime/processor"
)

// write splits a batch by partition and adds the parts to their files. It gives the greatest offset.
func (s *Sink) write(ctx context.Context, b processor.Batch) (int64, error) {
	rec, err := s.writer.conformer.apply(ctx, b.Records)
	if err != nil {
		return 0, err
	}
	defer rec.Release()
	offsets, ok := rec.Column(s.writer.offset).(*array.Int64)
	if !ok || offsets.NullN() > 0 {
		return 0, fmt.Errorf("column %soffset holds nulls or is no long", s.cfg.Prefix)
	}
	first, high := offsets.Value(0), offsets.Value(offsets.Len()-1)
	if !b.Span.Contains(first) || !b.Span.Contains(high) || high < first {
		return 0, fmt.Errorf("the rows have offsets %d to %d", first, high)
	}
	if s.gathered != nil && len(s.writer.splitter.fields) > 0 {
		return high, s.gather(ctx, rec)
	}
	parts, err := s.writer.splitter.split(ctx, rec)
	if err != nil {
		return 0, err
	}
	defer func() {
		for _, p := range parts {
			p.release()
		}
	}()
	perRow := float64(recordBytes(rec)) / float64(rec.NumRows())
	for _, p := range parts {
		for _, rows := range p.slices {
			if err := s.append(s.writer.layout, p, rows, int64(perRow*float64(rows.NumRows()))); err != nil {
				return 0, err
			}
		}
	}
	return high, nil
}

// recordBytes is the size of the record's buffers.
func recordBytes(rec arrow.RecordBatch) int64 {
	var n int64
	for _, column := range rec.Columns() {
		n += dataBytes(column.Data())
	}
	return n
}

func dataBytes(d arrow.ArrayData) int64 {
	var n int64
	for _, b := range d.Buffers() {
		if b != nil {
			n += int64(b.Len())
		}
	}
	for _, child := range d.Children() {
		n += dataBytes(child)
	}
	return n
}

// append adds rows to the file of their partition, within the bounds of the sink. l is the layout of files that are begun.
func (s *Sink) append(l *layout, p *part, rows arrow.RecordBatch, bytes int64) error {
	w := s.open[p.key]
	if w == nil {
		if len(s.open) >= s.cfg.OpenFiles {
			if err := s.finish(s.pick(func(a, b *fileWriter) bool { return a.used < b.used })); err != nil {
				return err
			}
		}
		name, err := s.newID()
		if err != nil {
			return err
		}
		if w, err = l.create(name, p.values, rows); err != nil {
			return err
		}
		s.open[p.key] = w
		s.schema = s.table.Schema().ID
		s.began = cmp.Or(s.began, s.now().UnixMilli())
	}
	s.clock++
	w.used = s.clock
	before := w.held
	if err := w.write(rows, bytes); err != nil {
		return err
	}
	s.held += w.held - before
	if w.size() >= s.cfg.FileBytes {
		return s.finish(p.key)
	}
	if s.held > s.cfg.MemoryBytes {
		return s.finish(s.pick(func(a, b *fileWriter) bool { return a.held > b.held }))
	}
	return nil
}

// pick finds the open file that comes first.
func (s *Sink) pick(before func(a, b *fileWriter) bool) string {
	var best string
	var found *fileWriter
	for key, w := range s.open {
		if found == nil || before(w, found) {
			best, found = key, w
		}
	}
	return best
}

// finish ends one file.
func (s *Sink) finish(key string) error {
	w := s.open[key]
	file, err := w.close()
	if err != nil {
		return err
	}
	s.held -= w.held
	delete(s.open, key)
	s.done = append(s.done, file)
	return nil
}

// finishAll ends every open file, in an order that is the same each time.
func (s *Sink) finishAll() error {
	for _, key := range slices.Sorted(maps.Keys(s.open)) {
		if err := s.finish(key); err != nil {
			return err
		}
	}
	return nil
}

// newID draws a random name.
func (s *Sink) newID() (string, error) {
	var id uuid.UUID
	var err error
	if s.rand != nil {
		id, err = uuid.NewRandomFromReader(s.rand)
	} else {
		id, err = uuid.NewRandom()
	}
	if err != nil {
		return "", fmt.Errorf("name of a data file: %w", err)
	}
	return id.String(), nil
}

// reset forgets what was staged.
func (s *Sink) reset() {
	s.ranges, s.open, s.done, s.held, s.began = map[string]catalog.Advance{}, map[string]*fileWriter{}, nil, 0, 0
}

// drop gives up what was staged since the last Seal and removes its files, which no request has named.
func (s *Sink) drop() error {
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(s.open)) {
		errs = append(errs, s.open[key].abort())
	}
	if s.writer != nil {
		for _, f := range s.done {
			if err := s.writer.layout.fs.Remove(f.FilePath()); err != nil {
				errs = append(errs, fmt.Errorf("remove data file %s: %w", f.FilePath(), err))
			}
		}
	}
	if s.gathered != nil {
		errs = append(errs, s.gathered.reset())
	}
	s.reset()
	s.stale = true
	return errors.Join(errs...)
}

// Close gives up what was staged since the last Seal.
func (s *Sink) Close() error {
	err := s.drop()
	if s.gathered != nil {
		err = errors.Join(err, s.gathered.spill.close())
	}
	return err
}
