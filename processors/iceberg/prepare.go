package iceberg

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	iceberglib "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/runtime/processor"
)

// prepare makes the sink ready for batches of a schema: the table exists, and has every column of it.
func (s *Sink) prepare(ctx context.Context, source *arrow.Schema) error {
	if !s.stale && s.writer != nil && (s.writer.source == source || s.writer.source.Equal(source)) {
		return nil
	}
	want, err := s.wanted(source)
	if err != nil {
		return err
	}
	t, err := s.evolve(ctx, want)
	if err != nil {
		return err
	}
	if err := s.checkCoordinates(t.Schema()); err != nil {
		return fmt.Errorf("table %s was not made for this: %w", s.spec.Name, err)
	}
	// Files of one group share a spec, and a file has one schema: the open ones end here. Those of an older schema stay good as long as it is
	// a part of the new one: another process may have replaced a column.
	if s.gathered != nil {
		if err := s.putAside(ctx); err != nil {
			return err
		}
	}
	if err := s.finishAll(); err != nil {
		return err
	}
	waiting := s.gathered != nil && s.gathered.total > 0
	if (len(s.done) > 0 || waiting) && s.table != nil && s.table.Metadata().DefaultPartitionSpec() != t.Metadata().DefaultPartitionSpec() {
		return fmt.Errorf("the table's partition spec was changed: %w", catalog.ErrRestage)
	}
	if len(s.done) > 0 || waiting {
		if err := holds(t.Schema(), s.fits); err != nil {
			return fmt.Errorf("%w: %w", err, catalog.ErrRestage)
		}
	}
	if len(s.done) > 0 {
		s.schema = t.Schema().ID
	}
	w := &writer{source: source}
	if w.conformer, err = newConformer(s.cfg.Allocator, source, t.Schema()); err != nil {
		return err
	}
	if w.splitter, err = newSplitter(s.cfg.Allocator, t.Spec(), t.Schema(), w.conformer.schema); err != nil {
		return err
	}
	if w.layout, err = newLayout(ctx, t, w.conformer.schema, &s.cfg); err != nil {
		return err
	}
	if waiting && !w.splitter.alike(s.writer.splitter) {
		return fmt.Errorf("a column that the table is partitioned by has another type now: %w", catalog.ErrRestage)
	}
	w.offset = w.conformer.schema.FieldIndices(s.cfg.Prefix + "offset")[0]
	s.seen, s.table, s.fits, s.writer, s.stale = t, t, t.Schema(), w, false
	return nil
}

// follow has the next batch look at the table anew where somebody else has changed how it is partitioned. What was written as it was partitioned
// before goes with its group.
func (s *Sink) follow(meta table.Metadata) {
	if s.table != nil && s.table.Metadata().DefaultPartitionSpec() != meta.DefaultPartitionSpec() {
		s.stale = true
	}
}

// wanted is the columns that the table must have for batches of a schema.
func (s *Sink) wanted(source *arrow.Schema) (*iceberglib.Schema, error) {
	want, err := icebergSchema(source)
	if err == nil {
		err = s.checkCoordinates(want)
	}
	return want, err
}

// Takes tells why Stage would not take batches of a schema, nil if it would, by the table as Committed has seen it. It changes nothing.
func (s *Sink) Takes(source *arrow.Schema) error {
	want, err := s.wanted(source)
	switch {
	case err != nil:
		return err
	case s.seen == nil:
		_, err = partitionSpec(s.spec.Partition, want)
	default:
		_, err = catalog.Widen(s.seen.Metadata(), want)
	}
	return asProcessor(err)
}

// evolve makes the table where it is missing, and widens it where it is too narrow.
func (s *Sink) evolve(ctx context.Context, want *iceberglib.Schema) (*table.Table, error) {
	t, err := s.committer.Evolve(ctx, want)
	if errors.Is(err, catalog.ErrNoTable) {
		if known := s.committer.Known().Table; known != "" {
			return nil, &catalog.HaltError{
				Reason: fmt.Sprintf("table %s, which was %s, is gone: it was dropped, or is being renamed", s.spec.Name, known),
				Decide: "bring it back; or finish what renames it; then start the job again",
			}
		}
		if _, err = s.create(ctx, want); err == nil {
			t, err = s.committer.Evolve(ctx, want) // another writer's table may be the one that is there
		}
	}
	var replace *catalog.ReplaceError
	if errors.As(err, &replace) {
		if err = s.replaceColumns(ctx, want); err == nil {
			t, err = s.committer.Evolve(ctx, want)
		}
	}
	return t, err
}

// create makes the table with the first batch's schema.
func (s *Sink) create(ctx context.Context, schema *iceberglib.Schema) (*table.Table, error) {
	spec, err := partitionSpec(s.spec.Partition, schema)
	var none *noColumnError
	switch {
	case errors.As(err, &none):
		return nil, &processor.StuckError{
			Reason: fmt.Sprintf("table %s cannot be made: %v, for no record has had it", s.spec.Name, err), Records: true,
			Mend: fmt.Sprintf("let records have %s, or change table.partition in the job file; with a declared schema that names it the table is made without such a record", none.column),
		}
	case err != nil:
		return nil, &catalog.HaltError{
			Reason: fmt.Sprintf("table %s cannot be made: %v", s.spec.Name, err),
			Decide: "change table.partition in the job file, or give columns other types or names by its transforms or its schema",
		}
	}
	props := map[string]string{table.ParquetCompressionKey: "zstd", table.ParquetCompressionLevelKey: "1"}
	for key, value := range s.spec.Properties {
		props[key] = value
	}
	return s.committer.Create(ctx, schema, spec, props)
}

// checkCoordinates refuses a schema without the columns that say where a row came from: without them nothing can be proved.
func (s *Sink) checkCoordinates(schema *iceberglib.Schema) error {
	for name, want := range map[string]iceberglib.Type{
		"topic": iceberglib.PrimitiveTypes.String, "partition": iceberglib.PrimitiveTypes.Int32, "offset": iceberglib.PrimitiveTypes.Int64,
	} {
		f, ok := schema.FindFieldByName(s.cfg.Prefix + name)
		if !ok {
			return fmt.Errorf("column %s%s (%s) is missing", s.cfg.Prefix, name, want)
		}
		if !catalog.Holds(f.Type, want) {
			return fmt.Errorf("column %s%s is %s, not %s", s.cfg.Prefix, name, f.Type, want)
		}
	}
	return nil
}

// sound halts where a column that says where rows came from was renamed or dropped: made anew, it would not have the offsets of the rows that are
// there. A table that never had it gets it.
func (s *Sink) sound(meta table.Metadata) error {
	for _, name := range []string{s.cfg.Prefix + "topic", s.cfg.Prefix + "partition", s.cfg.Prefix + "offset"} {
		if _, ok := meta.CurrentSchema().FindFieldByName(name); ok {
			continue
		}
		for _, before := range meta.Schemas() {
			f, ok := before.FindFieldByName(name)
			if !ok {
				continue
			}
			halt := &catalog.HaltError{
				Reason: fmt.Sprintf("column %s, by which rows are known, was dropped", name),
				Decide: fmt.Sprintf("make the table's schema %d its current one again; or make the table anew, with firn rebuild", before.ID),
			}
			if now, ok := meta.CurrentSchema().FindColumnName(f.ID); ok {
				halt.Reason = fmt.Sprintf("column %s, by which rows are known, was renamed to %s", name, now)
				halt.Decide = "rename it back"
			}
			return halt
		}
	}
	return nil
}

// icebergSchema is the schema as Iceberg has it, without the columns that hold nothing.
func icebergSchema(source *arrow.Schema) (*iceberglib.Schema, error) {
	fields := withoutNulls(source.Fields())
	schema, err := table.ArrowSchemaToIcebergWithFreshIDs(arrow.NewSchema(fields, nil), false)
	if err != nil {
		return nil, fmt.Errorf("schema of the batch: %w", err)
	}
	return schema, nil
}

// withoutNulls leaves out fields of type null, which Iceberg's version 2 does not have.
func withoutNulls(fields []arrow.Field) []arrow.Field {
	var out []arrow.Field
	for _, f := range fields {
		switch t := f.Type.(type) {
		case *arrow.NullType:
			continue
		case *arrow.StructType:
			f.Type = arrow.StructOf(withoutNulls(t.Fields())...)
		case *arrow.ListType:
			if element := withoutNulls([]arrow.Field{t.ElemField()}); len(element) == 1 {
				f.Type = arrow.ListOfField(element[0])
			} else {
				continue // a list of nulls says nothing of its elements
			}
		}
		out = append(out, f)
	}
	return out
}
