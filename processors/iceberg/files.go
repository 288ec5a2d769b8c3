package iceberg

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/apache/iceberg-go"
	icebergio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/runtime/plugin"
)

const (
	// wholeGroupRows and wholeGroupBytes are what makes a batch a row group of its own. Smaller ones gather in a buffered row group.
	wholeGroupRows  = 32 << 10
	wholeGroupBytes = 8 << 20
	// rowGroupBytes and rowGroupRows end a buffered row group.
	rowGroupBytes = 64 << 20
	rowGroupRows  = 1 << 20
)

// codecs are the values of write.parquet.compression-codec.
var codecs = map[string]compress.Compression{
	"zstd":         compress.Codecs.Zstd,
	"snappy":       compress.Codecs.Snappy,
	"gzip":         compress.Codecs.Gzip,
	"uncompressed": compress.Codecs.Uncompressed,
	"none":         compress.Codecs.Uncompressed,
}

// codecOf is the codec that a table's properties ask for.
func codecOf(props iceberg.Properties) (compress.Compression, error) {
	name := props.Get(table.ParquetCompressionKey, "zstd")
	codec, ok := codecs[strings.ToLower(name)]
	if !ok {
		return codec, fmt.Errorf("table property %s is %q; there is zstd, snappy, gzip, uncompressed", table.ParquetCompressionKey, name)
	}
	return codec, nil
}

// layout is what the files of one schema have in common.
type layout struct {
	fs        icebergio.WriteFileIO
	locations table.LocationProvider
	table     *table.Table
	iceberg   *iceberg.Schema // that the files belong to
	spec      iceberg.PartitionSpec
	schema    *arrow.Schema
	parquet   []parquet.WriterProperty
	arrow     pqarrow.ArrowWriterProperties
	group     int64 // Arrow bytes that end a buffered row group
}

// newLayout prepares for files of the given schema in a table. Offsets never repeat, so they are not worth a dictionary.
func newLayout(ctx context.Context, t *table.Table, schema *arrow.Schema, cfg *Config) (*layout, error) {
	mem := cfg.Allocator
	// The library keeps the context for all that is done to files later, which is more than this call.
	fs, err := t.FS(context.WithoutCancel(ctx))
	if err != nil {
		return nil, fmt.Errorf("files of table %s: %w", strings.Join(t.Identifier(), "."), err)
	}
	w, ok := fs.(icebergio.WriteFileIO)
	if !ok {
		return nil, fmt.Errorf("files of table %s cannot be written at %s", strings.Join(t.Identifier(), "."), t.Location())
	}
	locations, err := t.LocationProvider()
	if err != nil {
		return nil, fmt.Errorf("locations of table %s: %w", strings.Join(t.Identifier(), "."), err)
	}
	props := t.Properties()
	codec, err := codecOf(props)
	if err != nil {
		return nil, err
	}
	opts := []parquet.WriterProperty{
		parquet.WithAllocator(mem),
		parquet.WithVersion(parquet.V2_LATEST),
		parquet.WithCompression(codec),
		parquet.WithMaxRowGroupLength(rowGroupRows),
		parquet.WithDataPageSize(int64(props.GetInt(table.ParquetPageSizeBytesKey, table.ParquetPageSizeBytesDefault))),
		parquet.WithDictionaryPageSizeLimit(int64(props.GetInt(table.ParquetDictSizeBytesKey, table.ParquetDictSizeBytesDefault))),
		parquet.WithStats(true),
		parquet.WithStoreDecimalAsInteger(true),
		parquet.WithCreatedBy("firn"),
	}
	switch codec {
	case compress.Codecs.Zstd:
		opts = append(opts, parquet.WithCompressionLevel(props.GetInt(table.ParquetCompressionLevelKey, 1)))
	case compress.Codecs.Gzip:
		opts = append(opts, parquet.WithCompressionLevel(props.GetInt(table.ParquetCompressionLevelKey, -1)))
	}
	opts = append(opts, parquet.WithDictionaryFor(cfg.Prefix+"offset", false))
	group := min(rowGroupBytes, cfg.FileBytes)
	if cfg.Spill != (plugin.Spill{}) { // one file at a time is written to, and must not end for want of memory
		group = min(group, cfg.MemoryBytes/4)
	}
	return &layout{
		fs: w, locations: locations, table: t, iceberg: t.Schema(), spec: t.Spec(), schema: schema,
		parquet: opts,
		arrow:   pqarrow.NewArrowWriterProperties(pqarrow.WithAllocator(mem)),
		group:   group,
	}, nil
}

// fileWriter writes one data file.
type fileWriter struct {
	layout   *layout
	location string
	out      *countingWriter
	parquet  *pqarrow.FileWriter
	values   map[int]any // of its partition
	held     int64       // Arrow bytes in the open buffered row group; 0 if there is none
	full     bool        // the open row group ends before the next rows
	used     int64       // when rows were last added, on the sink's own count
}

// create begins a file. Its name is drawn at random and is used once. sample are rows that are typical of it, or nil.
func (l *layout) create(name string, values map[int]any, sample arrow.RecordBatch) (*fileWriter, error) {
	props, err := l.properties(sample)
	if err != nil {
		return nil, err
	}
	w := &fileWriter{layout: l, location: l.locations.NewDataLocation(name + ".parquet"), values: values}
	out, err := l.fs.Create(w.location)
	if err != nil {
		return nil, fmt.Errorf("data file: %w", err)
	}
	w.out = &countingWriter{w: out}
	if w.parquet, err = pqarrow.NewFileWriter(l.schema, w.out, props, l.arrow); err != nil {
		_ = out.Close()
		_ = l.fs.Remove(w.location)
		return nil, fmt.Errorf("data file %s: %w", w.location, err)
	}
	return w, nil
}

// properties are how a file with such rows is written.
func (l *layout) properties(sample arrow.RecordBatch) (*parquet.WriterProperties, error) {
	props := parquet.NewWriterProperties(l.parquet...)
	if sample == nil {
		return props, nil
	}
	plain, err := withoutDictionary(sample, props, l.arrow)
	if err != nil || len(plain) == 0 {
		return props, err
	}
	opts := slices.Clone(l.parquet)
	for _, path := range plain {
		opts = append(opts, parquet.WithDictionaryFor(path, false))
	}
	return parquet.NewWriterProperties(opts...), nil
}

// write adds rows that take so many bytes in Arrow. Large batches become row groups of their own.
func (w *fileWriter) write(rec arrow.RecordBatch, bytes int64) error {
	if rec.NumRows() >= wholeGroupRows || bytes >= wholeGroupBytes {
		w.held = 0
		if err := w.parquet.Write(rec); err != nil {
			return fmt.Errorf("data file %s: %w", w.location, err)
		}
		return nil
	}
	if w.held == 0 || w.full {
		if err := w.parquet.NewBufferedRowGroupChecked(); err != nil {
			return fmt.Errorf("data file %s: %w", w.location, err)
		}
		w.held, w.full = 0, false
	}
	if err := w.parquet.WriteBuffered(rec); err != nil {
		return fmt.Errorf("data file %s: %w", w.location, err)
	}
	w.held += max(bytes, 1)
	w.full = w.held >= w.layout.group
	return nil
}

// size is how large the file is without its open row group, in bytes. How small that one will be is known only when it ends.
func (w *fileWriter) size() int64 { return w.out.n }

// close ends the file, makes it durable where the store leaves that to us, and describes it from the metadata that was just written.
func (w *fileWriter) close() (iceberg.DataFile, error) {
	if err := w.parquet.Close(); err != nil {
		_ = w.out.Close()
		return nil, fmt.Errorf("data file %s: %w", w.location, err)
	}
	meta, err := w.parquet.FileMetadata()
	if err != nil {
		return nil, fmt.Errorf("data file %s: %w", w.location, err)
	}
	t := w.layout.table
	file, err := table.DataFileFromMetadata(table.DataFileArgs{
		Schema: w.layout.iceberg, Spec: w.layout.spec, Format: iceberg.ParquetFile, Metadata: meta,
		FilePath: w.location, FileSize: w.out.n, Content: iceberg.EntryContentData,
		Properties: t.Properties(), FormatVersion: t.Metadata().Version(), PartitionValues: w.values,
	})
	if err != nil {
		return nil, fmt.Errorf("describe data file %s: %w", w.location, err)
	}
	return file, nil
}

// abort gives the file up. No request has named it.
func (w *fileWriter) abort() error {
	_ = w.parquet.Close() // gives its buffers back
	_ = w.out.Close()
	if err := w.layout.fs.Remove(w.location); err != nil {
		return fmt.Errorf("remove data file %s: %w", w.location, err)
	}
	return nil
}

// countingWriter counts what goes into a file.
type countingWriter struct {
	w      icebergio.FileWriter
	n      int64
	closed bool
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Close makes the file durable and closes it, once: the Parquet writer closes it too.
func (c *countingWriter) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	if s, ok := c.w.(interface{ Sync() error }); ok {
		if err := s.Sync(); err != nil {
			_ = c.w.Close()
			return err
		}
	}
	return c.w.Close()
}

var _ io.WriteCloser = (*countingWriter)(nil)
