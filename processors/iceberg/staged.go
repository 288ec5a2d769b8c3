package iceberg

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	iceberglib "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/codec"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// stagedLife is how long staged files may wait for their commit. Those that no snapshot names are removed some day, and a process that was
// stopped in its steps for long must not commit what is gone.
const stagedLife = 12 * time.Hour

// stagedVersion is the version of Staged.Data, a JSON object.
const stagedVersion = 1

// staged is what Staged.Data holds: everything that a committer needs, in this process or in another.
type staged struct {
	Version int                        `json:"version"`
	Table   string                     `json:"table"`   // the table's uuid; empty if there are no files
	Schema  int                        `json:"schema"`  // the schema id that the files were written with
	Spec    int                        `json:"spec"`    // the partition spec id
	Format  int                        `json:"format"`  // the table's format version
	Created int64                      `json:"created"` // when the first file was begun, in Unix milliseconds
	Ranges  map[string]catalog.Advance `json:"ranges"`
	Files   [][]byte                   `json:"files,omitempty"`   // manifest entries in Avro
	Letters map[string]string          `json:"letters,omitempty"` // see Sink.Cite: the mark of each source
}

// parseStaged reads Staged.Data.
func parseStaged(data []byte) (*staged, error) {
	s := &staged{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("staged output: %w", err)
	}
	if s.Version != stagedVersion {
		return nil, fmt.Errorf("staged output of version %d is not known to this program, which knows %d", s.Version, stagedVersion)
	}
	return s, nil
}

// decode gives the data files.
func (s *staged) decode(meta table.Metadata) ([]iceberglib.DataFile, error) {
	if err := s.fits(meta); err != nil {
		return nil, err
	}
	spec, schema := meta.PartitionSpecByID(s.Spec), schemaByID(meta, s.Schema)
	files := make([]iceberglib.DataFile, len(s.Files))
	for i, b := range s.Files {
		f, err := codec.DecodeDataFile(b, *spec, schema, s.Format)
		if err != nil {
			return nil, fmt.Errorf("staged data file: %w", err)
		}
		files[i] = f
	}
	return files, nil
}

// fresh tells why the files are too old to be committed, nil if they are not.
func (s *staged) fresh(now time.Time) error {
	if age := now.Sub(time.UnixMilli(s.Created)); len(s.Files) > 0 && age > stagedLife {
		return fmt.Errorf("they were staged %s ago, more than %s", age.Round(time.Minute), stagedLife)
	}
	return nil
}

// fits tells why the files do not fit a table: every field id that they use must be there, with a type that holds theirs.
func (s *staged) fits(meta table.Metadata) error {
	if len(s.Files) == 0 {
		return nil
	}
	if id := meta.TableUUID().String(); id != s.Table {
		return fmt.Errorf("they were staged for table %s, this is %s", s.Table, id)
	}
	if s.Format != meta.Version() {
		return fmt.Errorf("they were staged for format version %d, the table is version %d", s.Format, meta.Version())
	}
	if meta.PartitionSpecByID(s.Spec) == nil {
		return fmt.Errorf("partition spec %d is gone", s.Spec)
	}
	old := schemaByID(meta, s.Schema)
	if old == nil {
		return fmt.Errorf("schema %d is gone", s.Schema)
	}
	if current := meta.CurrentSchema(); old.ID != current.ID {
		return holds(current, old)
	}
	return nil
}

// holds tells why files of an older schema do not fit the current one, nil if they do.
func holds(current, old *iceberglib.Schema) error {
	for _, id := range old.FieldIDs() {
		was, _ := old.FindFieldByID(id)
		is, ok := current.FindFieldByID(id)
		name, _ := old.FindColumnName(id)
		if !ok {
			return fmt.Errorf("column %s (field %d) is gone", name, id)
		}
		if _, nested := was.Type.(iceberglib.NestedType); !nested && !catalog.Holds(is.Type, was.Type) {
			return fmt.Errorf("column %s (field %d) was %s and is %s", name, id, was.Type, is.Type)
		}
	}
	return nil
}

func schemaByID(meta table.Metadata, id int) *iceberglib.Schema {
	for _, s := range meta.Schemas() {
		if s.ID == id {
			return s
		}
	}
	return nil
}

// SourceKey is how a source is named in receipts: topic/topic id/partition.
func SourceKey(s processor.Source) string {
	return s.Topic + "/" + kfs.PartitionID{Topic: s.ID, Partition: s.Partition}.String()
}

// ParseSource reads what SourceKey wrote.
func ParseSource(key string) (processor.Source, error) {
	parts := strings.Split(key, "/")
	if len(parts) != 3 {
		return processor.Source{}, fmt.Errorf("source %q is not topic/topic id/partition", key)
	}
	id, err := kfs.ParseTopicID(parts[1])
	if err != nil {
		return processor.Source{}, fmt.Errorf("source %q: %w", key, err)
	}
	partition, err := strconv.ParseInt(parts[2], 10, 32)
	if err != nil || partition < 0 || strconv.FormatInt(partition, 10) != parts[2] {
		return processor.Source{}, fmt.Errorf("source %q: %q is not a partition", key, parts[2])
	}
	return processor.Source{Topic: parts[0], ID: id, Partition: int32(partition)}, nil
}

// ranges joins what several staged outputs cover and checks it against what a commit is to advance: the spans of a source must follow
// one another without holes, from from to to. A source that nothing staged covers advances without rows.
func ranges(from, to processor.Positions, all []*staged) (map[string]catalog.Advance, error) {
	bySource := map[string][]catalog.Advance{}
	for _, s := range all {
		for source, a := range s.Ranges {
			bySource[source] = append(bySource[source], a)
		}
	}
	out := make(map[string]catalog.Advance, len(to))
	for source, next := range to {
		base, ok := from[source]
		if !ok || next < base {
			return nil, fmt.Errorf("commit of %s: to is %d, from is %d (given: %t)", SourceKey(source), next, base, ok)
		}
		key := SourceKey(source)
		sum := catalog.Advance{Span: kfs.Span{Base: base, Next: next}, High: -1}
		parts := bySource[key]
		delete(bySource, key)
		slices.SortFunc(parts, func(a, b catalog.Advance) int { return int(min(1, max(-1, a.Span.Base-b.Span.Base))) })
		at := base
		for _, p := range parts {
			if p.Span.Base != at {
				return nil, fmt.Errorf("commit of %s: staged output begins at %d, the one before ends at %d", key, p.Span.Base, at)
			}
			at = p.Span.Next
			sum.High = max(sum.High, p.High)
			sum.Rows += p.Rows
		}
		if len(parts) > 0 && at != next {
			return nil, fmt.Errorf("commit of %s to %d: staged output ends at %d", key, next, at)
		}
		out[key] = sum
	}
	for source := range from {
		if _, ok := to[source]; !ok {
			return nil, fmt.Errorf("commit of %s: from is given, to is not", SourceKey(source))
		}
	}
	if len(bySource) > 0 {
		return nil, fmt.Errorf("staged output covers %s, which the commit does not advance", strings.Join(slices.Sorted(maps.Keys(bySource)), ", "))
	}
	return out, nil
}
