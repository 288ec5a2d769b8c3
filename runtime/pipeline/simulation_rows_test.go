package pipeline

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	icetable "github.com/apache/iceberg-go/table"
)

// simRow is a row of a data file: where it came from, and its other values as text by field id.
type simRow struct {
	topic     string
	partition int32
	offset    int64
	values    map[int]string
}

func (r *simRow) source() string { return fmt.Sprintf("%s/%d", r.topic, r.partition) }

// simPlace is an offset of a source partition.
type simPlace struct {
	source string
	offset int64
}

// filesOf are the data files of a snapshot, each as often as it is there.
func (l *simLake) filesOf(snapshot *icetable.Snapshot) (all []string) {
	if all, ok := l.lists[snapshot.ManifestList]; ok {
		return all
	}
	defer func() { l.lists[snapshot.ManifestList] = all }()
	manifests, err := snapshot.Manifests(simFiles{l: l})
	if err != nil {
		l.s.wrong("manifests of a snapshot: %v", err)
		return nil
	}
	for _, m := range manifests {
		files, ok := l.lists[m.FilePath()]
		if !ok {
			for e, err := range m.Entries(simFiles{l: l}, true) {
				if err != nil {
					l.s.wrong("a manifest: %v", err)
					return nil
				}
				files = append(files, e.DataFile().FilePath())
			}
			l.lists[m.FilePath()] = files
		}
		all = append(all, files...)
	}
	return all
}

// read reads a file whole.
func (l *simLake) read(path string) ([]byte, error) {
	f, err := l.files.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// rowsOf reads a data file, once.
func (l *simLake) rowsOf(path string) []simRow {
	if rows, ok := l.rows[path]; ok {
		return rows
	}
	rows, err := l.readRows(path)
	if err != nil {
		l.s.wrong("data file: %v", err)
	}
	l.rows[path] = rows
	return rows
}

func (l *simLake) readRows(path string) ([]simRow, error) {
	body, err := l.read(path)
	if err != nil {
		return nil, err
	}
	pf, err := file.NewParquetReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer pf.Close()
	reader, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	tab, err := reader.ReadTable(l.s.t.Context())
	if err != nil {
		return nil, err
	}
	defer tab.Release()
	var rows []simRow
	batches := array.NewTableReader(tab, 0)
	defer batches.Release()
	for batches.Next() {
		rec := batches.RecordBatch()
		for i := range int(rec.NumRows()) {
			row := simRow{values: map[int]string{}}
			for c, f := range rec.Schema().Fields() {
				column := rec.Column(c)
				switch {
				case f.Name == "kafka_topic":
					row.topic = strings.Clone(column.ValueStr(i))
				case f.Name == "kafka_partition":
					row.partition = column.(*array.Int32).Value(i)
				case f.Name == "kafka_offset":
					row.offset = column.(*array.Int64).Value(i)
				case strings.HasPrefix(f.Name, "kafka_") || column.IsNull(i):
				default:
					row.values[fieldID(f)] = strings.Clone(column.ValueStr(i))
				}
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func fieldID(f arrow.Field) int {
	text, _ := f.Metadata.GetValue(icetable.ArrowParquetFieldIDKey)
	id, err := strconv.Atoi(text)
	if err != nil {
		return -1
	}
	return id
}

// headRows are the rows of a table's branch, by source partition.
func (s *simulation) headRows(t *simTable) map[string]map[int64]simRow {
	all := map[string]map[int64]simRow{}
	head := t.now().CurrentSnapshot()
	if head == nil {
		return all
	}
	for _, path := range s.lake.filesOf(head) {
		for _, row := range s.lake.rowsOf(path) {
			source := row.source()
			if all[source] == nil {
				all[source] = map[int64]simRow{}
			}
			if _, ok := all[source][row.offset]; ok {
				s.wrong("table %s has %s offset %d twice", t.name, source, row.offset)
			}
			all[source][row.offset] = row
		}
	}
	return all
}
