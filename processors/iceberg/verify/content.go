package verify

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	sink "github.com/firn-io/firn/processors/iceberg"
)

// concurrent is how many manifests, or data files, are read at a time.
const concurrent = 8

// columns are the field ids of the coordinates.
type columns struct {
	topic, partition, offset int
	topicID                  int      // 0: rows do not say which of the topics that had the name
	names                    []string // in that order
}

func (v *verifier) columnsOf(schema *iceberg.Schema) (columns, error) {
	var c columns
	for _, want := range []struct {
		name string
		of   iceberg.Type
		id   *int
	}{
		{"topic", iceberg.PrimitiveTypes.String, &c.topic},
		{"partition", iceberg.PrimitiveTypes.Int32, &c.partition},
		{"offset", iceberg.PrimitiveTypes.Int64, &c.offset},
	} {
		f, ok := schema.FindFieldByName(v.Prefix + want.name)
		if !ok || !f.Type.Equals(want.of) {
			return c, fmt.Errorf("there is no column %s%s of type %s: without the coordinates nothing can be proved", v.Prefix, want.name, want.of)
		}
		*want.id, c.names = f.ID, append(c.names, f.Name)
	}
	if f, ok := schema.FindFieldByName(sink.TopicIDColumn); ok && v.Letters {
		c.topicID, c.names = f.ID, append(c.names, f.Name)
	}
	return c, nil
}

// file is what is kept of a data file. Manifests say far more of each, and a table may have a million.
type file struct {
	path   string
	rows   int64 // that have an offset
	blind  int64 // rows without one: they are nobody's that is verified
	silent bool  // the manifest does not say which of the two they are; they are among rows
	place  place // of all rows, where the manifest says so
	span   kfs.Span
}

// content is the files of a snapshot.
type content struct {
	data        []file
	rows, blind int64 // of the data files
	silent      bool  // of some of them it is not known
	deleted     int64 // that position deletes and deletion vectors name, at most
	deletes     int   // delete files. Of equality deletes nobody knows how many rows they hide
}

// change is what one snapshot did to the files.
type change struct {
	catalog.Entry
	added, removed int64  // rows of data files, of those that have an offset
	blind          int64  // rows without one: those that came, less those that went
	silent         bool   // of some it is not known
	addedDeletes   int64  // rows that new delete files name
	deletes        int    // delete files that came, less those that went
	deleteFiles    bool   // some came or went
	equality       bool   // of them: equality deletes
	came, gone     []file // if somebody else did it
	listed         bool   // among the report's removals
}

// net is how many rows the table has more after the change; below zero if it has fewer.
func (c *change) net() int64 { return c.added - c.removed - c.addedDeletes }

// readContent reads the manifests of the head.
func (v *verifier) readContent(ctx context.Context) error {
	v.live = &content{}
	head := v.table.CurrentSnapshot()
	if head == nil {
		return nil
	}
	manifests, err := head.Manifests(v.fs)
	if err != nil {
		return fmt.Errorf("manifests of snapshot %d: %w", head.SnapshotID, err)
	}
	parts := make([]content, len(manifests))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrent)
	for i, m := range manifests {
		g.Go(func() error {
			return v.eachEntry(ctx, m, true, func(e iceberg.ManifestEntry) { parts[i].add(v, e) })
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := range parts {
		v.live.join(&parts[i])
	}
	v.report.Files, v.report.Rows = len(v.live.data), v.live.rows+v.live.blind-v.live.deleted
	return nil
}

func (c *content) add(v *verifier, e iceberg.ManifestEntry) {
	f := e.DataFile()
	switch f.ContentType() {
	case iceberg.EntryContentData:
		one := v.fileOf(e)
		c.data = append(c.data, one)
		c.rows, c.blind, c.silent = c.rows+one.rows, c.blind+one.blind, c.silent || one.silent
		return
	case iceberg.EntryContentEqDeletes:
	default:
		c.deleted += f.Count()
	}
	c.deletes++
}

func (c *content) join(o *content) {
	c.data = append(c.data, o.data...)
	o.data = nil
	c.rows, c.blind, c.silent = c.rows+o.rows, c.blind+o.blind, c.silent || o.silent
	c.deleted, c.deletes = c.deleted+o.deleted, c.deletes+o.deletes
}

// eachEntry gives the entries of a manifest, those of its files that are live or all of them.
func (v *verifier) eachEntry(ctx context.Context, m iceberg.ManifestFile, live bool, do func(iceberg.ManifestEntry)) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for e, err := range m.Entries(v.fs, live) {
		if err != nil {
			return fmt.Errorf("manifest %s: %w", m.FilePath(), err)
		}
		do(e)
	}
	return nil
}

// changeOf reads what a snapshot did: the entries that are its own in the manifests that it wrote.
func (v *verifier) changeOf(ctx context.Context, e catalog.Entry) (*change, error) {
	c := &change{Entry: e}
	id := e.Snapshot.SnapshotID
	manifests, err := e.Snapshot.Manifests(v.fs)
	if err != nil {
		return nil, fmt.Errorf("manifests of snapshot %d: %w", id, err)
	}
	for _, m := range manifests {
		if m.SnapshotID() != id {
			continue
		}
		err := v.eachEntry(ctx, m, false, func(entry iceberg.ManifestEntry) {
			if entry.SnapshotID() == id && entry.Status() != iceberg.EntryStatusEXISTING {
				c.take(v, entry)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *change) take(v *verifier, e iceberg.ManifestEntry) {
	f, sign := e.DataFile(), int64(1)
	added := e.Status() == iceberg.EntryStatusADDED
	if !added {
		sign = -1
	}
	if f.ContentType() != iceberg.EntryContentData {
		c.deleteFiles, c.deletes = true, c.deletes+int(sign)
		if f.ContentType() == iceberg.EntryContentEqDeletes {
			c.equality = true
		} else {
			c.addedDeletes += sign * f.Count() // one that goes was replaced by another, or applied to the files
		}
		return
	}
	one := v.fileOf(e)
	c.blind, c.silent = c.blind+sign*one.blind, c.silent || one.silent
	if added {
		c.added += one.rows
	} else {
		c.removed += one.rows
	}
	switch {
	case c.Receipt != nil: // who removed rows is asked of others
	case added:
		c.came = append(c.came, one)
	default:
		c.gone = append(c.gone, one)
	}
}

// fileOf is what a manifest says of a data file.
func (v *verifier) fileOf(e iceberg.ManifestEntry) file {
	f := e.DataFile()
	one := file{path: f.FilePath(), rows: f.Count()}
	nulls, known := f.NullValueCounts()[v.columns.offset]
	if known {
		one.rows, one.blind = f.Count()-nulls, nulls
	} else if has, sure := v.hasOffsets(e.SequenceNum()); !has {
		if sure {
			one.rows, one.blind = 0, f.Count()
		} else {
			one.silent = len(f.ValueCounts()) > 0 // it counts others, and this column may be younger than the file
		}
	}
	one.place, one.span = v.boundsOf(f)
	return one
}

// hasOffsets reports whether the table had the column of offsets when the files of a sequence number were added. sure is false if nobody knows any more.
func (v *verifier) hasOffsets(sequence int64) (has, sure bool) {
	schema, sure := v.schemaAt[sequence]
	if !sure {
		return false, false
	}
	for _, s := range v.table.Metadata().Schemas() {
		if s.ID == schema {
			_, has = s.FindFieldByID(v.columns.offset)
			return has, true
		}
	}
	return false, false
}

// schemasBySequence gives the ids of the schemas that the table had, by the sequence numbers of the snapshots that are left.
func schemasBySequence(meta table.Metadata) map[int64]int {
	out := map[int64]int{}
	for _, s := range meta.Snapshots() {
		if s.SchemaID != nil {
			out[s.SequenceNumber] = *s.SchemaID
		}
	}
	return out
}

// boundsOf tells where the rows of a file lie that have an offset, if all of them are of one source and the manifest says so; else the span is empty.
func (v *verifier) boundsOf(f iceberg.DataFile) (at place, span kfs.Span) {
	lower, upper := f.LowerBoundValues(), f.UpperBoundValues()
	low, high := lower[v.columns.offset], upper[v.columns.offset]
	from, to := lower[v.columns.partition], upper[v.columns.partition]
	if len(low) != 8 || len(high) != 8 || len(from) != 4 || string(from) != string(to) {
		return at, span
	}
	at.topic, at.partition = v.sole, int32(binary.LittleEndian.Uint32(from))
	if at.topic == "" && v.columns.topicID == 0 {
		// Bounds of long texts are shortened, the upper one to a greater text.
		if least := lower[v.columns.topic]; string(least) == string(upper[v.columns.topic]) {
			at.topic = string(least)
		}
	}
	if at.topic == "" {
		return place{}, span
	}
	return at, kfs.Span{Base: int64(binary.LittleEndian.Uint64(low)), Next: int64(binary.LittleEndian.Uint64(high)) + 1}
}
