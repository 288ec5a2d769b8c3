package pipeline

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
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
	id        string // of the topic; a dead letter says it, of a row the table's position does
	partition int32
	offset    int64
	values    map[int]string
}

// source is the key of the row's source.
func (r *simRow) source() string { return fmt.Sprintf("%s/%s/%d", r.topic, r.id, r.partition) }

// simPlace is an offset of a source partition.
type simPlace struct {
	source string // its key
	offset int64
}

// simRows are the rows of a table's branch, by the keys of their sources and by offset.
type simRows map[string]map[int64]simRow

func (r simRows) add(row simRow) {
	if r[row.source()] == nil {
		r[row.source()] = map[int64]simRow{}
	}
	r[row.source()][row.offset] = row
}

func (r simRows) has(source string, offset int64) bool {
	_, ok := r[source][offset]
	return ok
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
				case f.Name == "topic_id":
					row.id = strings.Clone(column.ValueStr(i))
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

// headRows are the rows of a table's branch. They are not to be changed.
func (s *simulation) headRows(t *simTable) simRows {
	head := t.now().CurrentSnapshot()
	if head == nil {
		return nil
	}
	if t.rows != nil && t.rowsOf == head.SnapshotID {
		return t.rows
	}
	ids := map[string]string{} // of topics, as the table has its rows of them
	if t.name != simLetters {
		next, _ := s.position(t.now())
		for _, key := range slices.Sorted(maps.Keys(next)) {
			topic, rest, _ := strings.Cut(key, "/")
			ids[topic], _, _ = strings.Cut(rest, "/")
		}
	}
	t.rows, t.rowsOf = simRows{}, head.SnapshotID
	for _, path := range s.lake.filesOf(head) {
		for _, row := range s.lake.rowsOf(path) {
			if id, ok := ids[row.topic]; ok {
				row.id = id
			}
			if t.rows.has(row.source(), row.offset) {
				s.wrong("table %s has %s offset %d twice", t.name, sourceName(row.source()), row.offset)
			}
			t.rows.add(row)
		}
	}
	return t.rows
}
