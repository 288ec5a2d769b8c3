package verify

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	sink "github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/processor"
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

// content is the files of a snapshot.
type content struct {
	data      []iceberg.DataFile
	rows      int64 // of the data files
	deleted   int64 // that position deletes and deletion vectors name, at most
	deletes   int   // delete files
	equality  bool  // of which some are equality deletes: nobody knows how many rows they hide
	manifests int
}

// change is what one snapshot did to the files.
type change struct {
	catalog.Entry
	added, removed         int64 // rows of data files
	addedFiles, gone       []iceberg.DataFile
	addedDeletes           int64 // rows that new delete files name
	deleteFiles            bool  // it added or removed delete files
	equality               bool
	foreignRows, blindRows int64 // of the added: with offsets, and without
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
	v.live.manifests = len(manifests)
	entries := make([][]iceberg.ManifestEntry, len(manifests))
	if err := v.readManifests(ctx, manifests, entries, true); err != nil {
		return err
	}
	for _, list := range entries {
		for _, e := range list {
			v.live.add(e.DataFile())
		}
	}
	v.report.Files, v.report.Rows = len(v.live.data), v.live.rows-v.live.deleted
	return nil
}

func (c *content) add(f iceberg.DataFile) {
	switch f.ContentType() {
	case iceberg.EntryContentData:
		c.data = append(c.data, f)
		c.rows += f.Count()
		return
	case iceberg.EntryContentEqDeletes:
		c.equality = true
	default:
		c.deleted += f.Count()
	}
	c.deletes++
}

// readManifests reads manifests several at a time.
func (v *verifier) readManifests(ctx context.Context, manifests []iceberg.ManifestFile, into [][]iceberg.ManifestEntry, live bool) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrent)
	for i, m := range manifests {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			for e, err := range m.Entries(v.fs, live) {
				if err != nil {
					return fmt.Errorf("manifest %s: %w", m.FilePath(), err)
				}
				into[i] = append(into[i], e)
			}
			return nil
		})
	}
	return g.Wait()
}

// replay goes through the snapshots of the branch, the oldest first: what each did is held against its receipt, and their sum against
// what is there.
func (v *verifier) replay(ctx context.Context) error {
	changes := make([]*change, len(v.account.Branch))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrent)
	for i, e := range v.account.Branch {
		g.Go(func() (err error) {
			changes[len(changes)-1-i], err = v.changeOf(gctx, e)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	var sum int64
	countable := true // no delete files: then rows can be counted without reading them
	for _, c := range changes {
		sum += c.net()
		countable = countable && !c.deleteFiles
		v.judge(c, countable)
	}
	if v.live.deletes > 0 || !countable {
		if !v.Deep {
			v.note("there are delete files: which rows they hide is known only to those who read them (--deep)")
		}
		return nil
	}
	v.checkSum(v.live.rows - sum)
	return nil
}

// changeOf reads what a snapshot did: the entries that are its own in the manifests that it wrote.
func (v *verifier) changeOf(ctx context.Context, e catalog.Entry) (*change, error) {
	c := &change{Entry: e}
	id := e.Snapshot.SnapshotID
	all, err := e.Snapshot.Manifests(v.fs)
	if err != nil {
		return nil, fmt.Errorf("manifests of snapshot %d: %w", id, err)
	}
	own := slices.DeleteFunc(all, func(m iceberg.ManifestFile) bool { return m.SnapshotID() != id })
	entries := make([][]iceberg.ManifestEntry, len(own))
	if err := v.readManifests(ctx, own, entries, false); err != nil {
		return nil, err
	}
	for _, list := range entries {
		for _, entry := range list {
			if entry.SnapshotID() == id && entry.Status() != iceberg.EntryStatusEXISTING {
				c.take(entry.DataFile(), entry.Status() == iceberg.EntryStatusADDED, v.columns.offset)
			}
		}
	}
	return c, nil
}

func (c *change) take(f iceberg.DataFile, added bool, offsetID int) {
	if f.ContentType() != iceberg.EntryContentData {
		c.deleteFiles = true
		c.equality = c.equality || f.ContentType() == iceberg.EntryContentEqDeletes
		if added && f.ContentType() != iceberg.EntryContentEqDeletes {
			c.addedDeletes += f.Count()
		} else if !added && f.ContentType() != iceberg.EntryContentEqDeletes {
			c.addedDeletes -= f.Count() // a vector that replaces another, or deletes that were applied to the files
		}
		return
	}
	if !added {
		c.removed += f.Count()
		c.gone = append(c.gone, f)
		return
	}
	c.added += f.Count()
	c.addedFiles = append(c.addedFiles, f)
	if nulls, ok := f.NullValueCounts()[offsetID]; ok && nulls == f.Count() {
		c.blindRows += f.Count()
	} else {
		c.foreignRows += f.Count()
	}
}

// judge holds what a snapshot did against what it says. countable is false if delete files make its rows uncountable.
func (v *verifier) judge(c *change, countable bool) {
	id := c.Snapshot.SnapshotID
	if r := c.Receipt; r != nil {
		if !v.ours(r.Job) {
			return
		}
		rows := r.Rows()
		switch {
		case r.Kind == catalog.KindReplace && countable && c.net() != 0:
			v.find(Finding{Kind: Missing, Snapshot: id, What: fmt.Sprintf("snapshot %d of job %s wrote %d rows in place of %d", id, r.Job, c.added, c.removed)})
		case r.Kind != catalog.KindReplace && (c.added != rows || c.removed > 0 || c.deleteFiles):
			v.find(Finding{Kind: Damage, Snapshot: id, What: fmt.Sprintf("snapshot %d of job %s added %d rows and removed %d; its receipt counts %d", id, r.Job, c.added, c.removed, rows)})
		}
		return
	}
	operation := table.OpAppend
	if c.Snapshot.Summary != nil {
		operation = c.Snapshot.Summary.Operation
	}
	switch {
	case operation == table.OpReplace:
		if countable && c.net() != 0 {
			v.find(Finding{Kind: Missing, Snapshot: id, What: fmt.Sprintf("snapshot %d says that it rewrote files, but it removed %d rows and added %d", id, c.removed, c.added)})
		}
	case c.net() < 0 || c.equality:
		v.removed = append(v.removed, c)
		v.report.Removals = append(v.report.Removals, Removal{Snapshot: id, Operation: string(operation), Time: c.Snapshot.TimestampMs, Rows: -c.net()})
		if v.Strict {
			v.find(Finding{Kind: Removed, Snapshot: id, What: fmt.Sprintf("snapshot %d (%s) removed %d rows", id, operation, -c.net())})
		}
	case c.net() > 0 && c.foreignRows > 0:
		v.find(Finding{Kind: Foreign, Snapshot: id, What: fmt.Sprintf("snapshot %d (%s) added %d rows with offsets, and no receipt says where from", id, operation, c.net())})
	case c.net() > 0:
		v.note("snapshot %d (%s) added %d rows without offsets: they are not the job's", id, operation, c.net())
	}
}

// checkSum holds the rows that are older than every snapshot that is left against what receipts counted there.
func (v *verifier) checkSum(older int64) {
	if v.account.Complete && older != 0 && !v.counted() {
		v.find(Finding{Kind: Damage, What: fmt.Sprintf("the files hold %d rows more than the snapshots of the branch have added", older)})
		return
	}
	var want int64
	for _, s := range v.sources {
		for _, a := range s.jobs {
			rows, ok := a.expiredRows()
			if !ok {
				v.note("%s: how many rows were committed before the oldest snapshot that is left was not counted; --deep finds what is missing", s.key)
				return
			}
			want += rows
		}
	}
	if len(v.sources) == 0 || older == want {
		return
	}
	kind, what := Missing, fmt.Sprintf("%d rows that were committed before the oldest snapshot that is left should be there, %d are: an expired snapshot of somebody else may have removed them", want, older)
	if older > want {
		kind, what = Foreign, fmt.Sprintf("%d rows are older than the oldest snapshot that is left, the jobs have committed %d there", older, want)
	}
	v.find(Finding{Kind: kind, What: what})
}

// counted reports whether some rows are older than the receipts that are left, as the jobs' own records say: expiry may have made the
// oldest survivor one without a parent.
func (v *verifier) counted() bool {
	for _, s := range v.sources {
		for _, a := range s.jobs {
			if rows, ok := a.expiredRows(); !ok || rows > 0 {
				return true
			}
		}
	}
	return false
}

// checkFiles looks at what the manifests say of each live file.
func (v *verifier) checkFiles() {
	seen := map[string]bool{}
	dense := map[place][]kfs.Span{}
	files := map[kfs.Span]string{}
	for _, f := range v.live.data {
		if seen[f.FilePath()] {
			v.find(Finding{Kind: Duplicate, What: fmt.Sprintf("file %s is in the table twice: %d rows", f.FilePath(), f.Count())})
			continue
		}
		seen[f.FilePath()] = true
		at, span, ok := v.bounds(f)
		if !ok {
			continue
		}
		if n := span.Len(); f.Count() > n {
			v.find(Finding{Kind: Duplicate, Source: v.keyOf(at), Spans: []kfs.Span{span}, What: fmt.Sprintf("file %s has %d rows for the %d offsets of %s", f.FilePath(), f.Count(), n, span)})
		} else if f.Count() == n {
			dense[at] = append(dense[at], span)
			files[span] = f.FilePath()
		}
		if s := v.at(at); s != nil && !(within(span.Base, s.spans()) && within(span.Next-1, s.spans())) {
			v.find(Finding{Kind: Foreign, Source: s.key, Spans: []kfs.Span{span}, What: fmt.Sprintf("file %s has offsets of %s, the table accounts for %s", f.FilePath(), span, list(s.spans()))})
		}
	}
	for at, spans := range dense {
		slices.SortFunc(spans, func(a, b kfs.Span) int { return cmp.Or(cmp.Compare(a.Base, b.Base), cmp.Compare(a.Next, b.Next)) })
		for i := range spans[1:] {
			a, b := spans[i], spans[i+1]
			if both := (kfs.Span{Base: b.Base, Next: min(a.Next, b.Next)}); !both.Empty() && v.live.deletes == 0 {
				v.find(Finding{Kind: Duplicate, Source: v.keyOf(at), Spans: []kfs.Span{both}, What: fmt.Sprintf("files %s and %s both hold every offset of %s", files[a], files[b], both)})
			}
		}
	}
}

// bounds tells where the rows of a file lie, if all of them are of one source and the manifest says so.
func (v *verifier) bounds(f iceberg.DataFile) (place, kfs.Span, bool) {
	lower, upper := f.LowerBoundValues(), f.UpperBoundValues()
	low, high := lower[v.columns.offset], upper[v.columns.offset]
	from, to := lower[v.columns.partition], upper[v.columns.partition]
	if len(low) != 8 || len(high) != 8 || len(from) != 4 || string(from) != string(to) || len(v.topics()) != 1 {
		return place{}, kfs.Span{}, false
	}
	if nulls := f.NullValueCounts()[v.columns.offset]; nulls != 0 {
		return place{}, kfs.Span{}, false
	}
	span := kfs.Span{Base: int64(binary.LittleEndian.Uint64(low)), Next: int64(binary.LittleEndian.Uint64(high)) + 1}
	return place{v.topics()[0], int32(binary.LittleEndian.Uint32(from))}, span, !span.Empty()
}

// topicOf is what a place calls the topic of a source.
func (v *verifier) topicOf(s processor.Source) string {
	if v.columns.topicID == 0 {
		return s.Topic
	}
	return s.Topic + "/" + s.ID.String()
}

// topics are the topics that the table is filled from.
func (v *verifier) topics() []string {
	var names []string
	for _, s := range v.sources {
		if !slices.Contains(names, s.place.topic) {
			names = append(names, s.place.topic)
		}
	}
	return names
}

func (v *verifier) at(p place) *source {
	for _, s := range v.sources {
		if s.place == p {
			return s
		}
	}
	return nil
}

func (v *verifier) keyOf(p place) string {
	if s := v.at(p); s != nil {
		return s.key
	}
	return fmt.Sprintf("%s/%d", p.topic, p.partition)
}

// within reports whether an offset lies in one of spans.
func within(offset int64, spans []kfs.Span) bool {
	return slices.ContainsFunc(spans, func(s kfs.Span) bool { return s.Contains(offset) })
}
