package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/apache/iceberg-go"
	icebergio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"github.com/firn-io/firn/kfs/blob"
)

const (
	// maxProperty is the largest progress that is kept in a table property, in bytes.
	maxProperty = 32 << 10
	// maxProgress is the largest progress file that is read, in bytes: some 200,000 sources.
	maxProgress = 32 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// request is a commit as it goes to the catalog. It may be sent again as it is.
type request struct {
	requirements []table.Requirement
	updates      []table.Update
}

// request writes the manifests of a commit on top of the loaded table and pins it to the branch's head as loaded. The library's own
// commit loop is not used: it would rebase and send again without looking at the position, and delete files of a request whose
// outcome it believes to know.
func (c *Committer) request(ctx context.Context, t *table.Table, r *Receipt, base position, files []iceberg.DataFile, plan *Rewrite) (*request, error) {
	var head int64
	if s := t.CurrentSnapshot(); s != nil {
		head = s.SnapshotID
	}
	after := advance(base.sources, r, t.Metadata().TableUUID().String(), head)
	after.Lost = lose(base.lost, r)
	after.Since = base.since
	progress, err := c.encodeProgress(ctx, after)
	if err != nil {
		return nil, err
	}
	summary, err := r.summary()
	if err != nil {
		return nil, err
	}
	props := iceberg.Properties{progressPrefix + r.Job: progress}
	switch r.Kind {
	case KindData, KindRepair:
		return appendRequest(ctx, t, summary, props, files)
	case KindReplace:
		return c.rewriteRequest(ctx, t, plan, summary, props)
	}
	return c.emptyRequest(ctx, t, summary, props)
}

// appendRequest adds files, with the metadata that we already have: no footer is read again.
func appendRequest(ctx context.Context, t *table.Table, summary map[string]string, props iceberg.Properties, files []iceberg.DataFile) (*request, error) {
	tx := t.NewTransaction()
	if err := tx.SetProperties(props); err != nil {
		return nil, fmt.Errorf("set properties: %w", err)
	}
	if err := tx.NewRowDelta(summary).AddRows(files...).Commit(ctx); err != nil {
		return nil, fmt.Errorf("write manifests: %w", err)
	}
	commit, err := tx.TableCommit()
	if err != nil {
		return nil, fmt.Errorf("build commit: %w", err)
	}
	return &request{requirements: commit.Requirements, updates: commit.Updates}, nil
}

// emptyRequest adds a snapshot that holds what its parent holds. A change of properties alone would not do: no catalog checks a pin
// for it.
func (c *Committer) emptyRequest(ctx context.Context, t *table.Table, summary map[string]string, props iceberg.Properties) (*request, error) {
	id, err := c.snapshotID()
	if err != nil {
		return nil, err
	}
	meta := t.Metadata()
	snapshot := &table.Snapshot{
		SnapshotID:  id,
		TimestampMs: c.opts.Now().UnixMilli(),
		SchemaID:    &meta.CurrentSchema().ID,
	}
	if meta.Version() > 1 {
		snapshot.SequenceNumber = meta.LastSequenceNumber() + 1
	}
	totals := map[string]string{}
	if parent := meta.CurrentSnapshot(); parent != nil {
		snapshot.ParentSnapshotID = &parent.SnapshotID
		if parent.Summary != nil {
			totals = parent.Summary.Properties
		}
	}
	snapshot.Summary = &table.Summary{Operation: table.OpAppend, Properties: carryTotals(totals, summary)}
	if snapshot.ManifestList, err = c.writeManifestList(ctx, t, snapshot); err != nil {
		return nil, err
	}
	return &request{
		requirements: []table.Requirement{
			table.AssertTableUUID(meta.TableUUID()),
			table.AssertRefSnapshotID(table.MainBranch, snapshot.ParentSnapshotID),
		},
		updates: []table.Update{
			table.NewSetPropertiesUpdate(props),
			table.NewAddSnapshotUpdate(snapshot),
			moveMain(meta, id),
		},
	}, nil
}

// carryTotals is the summary of a snapshot that changes no file: ours, and the totals of its parent.
func carryTotals(parent, summary map[string]string) iceberg.Properties {
	out := iceberg.Properties(maps.Clone(summary))
	for _, key := range []string{"total-data-files", "total-delete-files", "total-records", "total-files-size", "total-position-deletes", "total-equality-deletes"} {
		out[key] = "0"
		if value, ok := parent[key]; ok {
			out[key] = value
		}
	}
	return out
}

// writeManifestList writes the list of a snapshot that has its parent's manifests and no others.
func (c *Committer) writeManifestList(ctx context.Context, t *table.Table, s *table.Snapshot) (location string, err error) {
	fs, err := writableIO(ctx, t)
	if err != nil {
		return "", err
	}
	var manifests []iceberg.ManifestFile
	if parent := t.CurrentSnapshot(); parent != nil {
		if manifests, err = parent.Manifests(fs); err != nil {
			return "", fmt.Errorf("manifests of snapshot %d: %w", parent.SnapshotID, err)
		}
	}
	locations, err := t.LocationProvider()
	if err != nil {
		return "", fmt.Errorf("locations: %w", err)
	}
	id, err := uuid.NewRandomFromReader(c.opts.Rand)
	if err != nil {
		return "", fmt.Errorf("name of the manifest list: %w", err)
	}
	location = locations.NewMetadataLocation(fmt.Sprintf("snap-%d-0-%s.avro", s.SnapshotID, id))
	out, err := fs.Create(location)
	if err != nil {
		return "", fmt.Errorf("manifest list: %w", err)
	}
	defer func() {
		if closeErr := out.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("manifest list %s: %w", location, closeErr)
		}
	}()
	var rows int64
	firstRow := t.Metadata().NextRowID()
	if t.Metadata().Version() >= 3 {
		s.FirstRowID, s.AddedRows = &firstRow, &rows
	}
	if err := iceberg.WriteManifestList(t.Metadata().Version(), out, s.SnapshotID, s.ParentSnapshotID, &s.SequenceNumber, firstRow, manifests); err != nil {
		return "", fmt.Errorf("manifest list %s: %w", location, err)
	}
	return location, nil
}

// moveMain moves the main branch to a snapshot and keeps the branch's own retention settings.
func moveMain(meta table.Metadata, snapshot int64) table.Update {
	var maxRefAge, maxSnapshotAge int64
	var minSnapshots int
	for name, ref := range meta.Refs() {
		if name != table.MainBranch {
			continue
		}
		if ref.MaxRefAgeMs != nil {
			maxRefAge = *ref.MaxRefAgeMs
		}
		if ref.MaxSnapshotAgeMs != nil {
			maxSnapshotAge = *ref.MaxSnapshotAgeMs
		}
		if ref.MinSnapshotsToKeep != nil {
			minSnapshots = *ref.MinSnapshotsToKeep
		}
	}
	return table.NewSetSnapshotRefUpdate(table.MainBranch, snapshot, table.BranchRef, maxRefAge, maxSnapshotAge, minSnapshots)
}

// writableIO is the table's file system for writing.
func writableIO(ctx context.Context, t *table.Table) (icebergio.WriteFileIO, error) {
	fs, err := t.FS(ctx)
	if err != nil {
		return nil, fmt.Errorf("files of the table: %w", err)
	}
	w, ok := fs.(icebergio.WriteFileIO)
	if !ok {
		return nil, fmt.Errorf("files of the table at %s cannot be written", t.Location())
	}
	return w, nil
}

// encodeProgress is the property's value: the progress itself, or where it lies.
func (c *Committer) encodeProgress(ctx context.Context, p *Progress) (string, error) {
	body, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("progress: %w", err)
	}
	if len(body) <= maxProperty {
		return string(body), nil
	}
	if c.opts.Store == nil {
		return "", fmt.Errorf("progress of %d sources takes %d bytes, more than the %d of a table property, and there is no store for it", len(p.Sources), len(body), maxProperty)
	}
	name, err := uuid.NewRandomFromReader(c.opts.Rand)
	if err != nil {
		return "", fmt.Errorf("name of the progress file: %w", err)
	}
	key := progressKeys(c.opts.Job, p.Table) + name.String() + ".json"
	if _, err := c.opts.Store.Put(ctx, key, body, true); err != nil {
		return "", fmt.Errorf("put %s: %w", key, err)
	}
	pointer, err := json.Marshal(progressFile{File: key, Size: int64(len(body)), CRC: crc32.Checksum(body, castagnoli), Commit: p.Commit, Streams: streams(p.Sources)})
	if err != nil {
		return "", fmt.Errorf("progress: %w", err)
	}
	return string(pointer), nil
}

// progressKeys begins the keys of the files that the progress of a job in a table was put into.
func progressKeys(job, table string) string {
	return "jobs/" + strings.ReplaceAll(job, "/", "-") + "/progress/" + table + "/"
}

// decodeProgress reads what encodeProgress wrote. store may be nil as long as the progress stands in the property.
func decodeProgress(ctx context.Context, store blob.Store, value string) (*Progress, error) {
	var pointer progressFile
	if err := json.Unmarshal([]byte(value), &pointer); err != nil {
		return nil, err
	}
	body := []byte(value)
	if pointer.File != "" {
		if store == nil {
			return nil, fmt.Errorf("the progress lies in %s, and there is no store to read it from", pointer.File)
		}
		var err error
		if body, _, err = blob.ReadAll(ctx, store, pointer.File, blob.All, maxProgress); err != nil {
			return nil, err
		}
		if int64(len(body)) != pointer.Size || crc32.Checksum(body, castagnoli) != pointer.CRC {
			return nil, fmt.Errorf("%s is not the file that was written: its size or CRC differs", pointer.File)
		}
	}
	p := &Progress{}
	if err := json.Unmarshal(body, p); err != nil {
		return nil, err
	}
	if p.Table == "" || p.Commit == "" {
		return nil, fmt.Errorf("no table or no commit in it")
	}
	return p, nil
}

// streamsOf are the streams of another job's property.
func streamsOf(value string) ([]string, error) {
	var either struct {
		Streams []string                  `json:"streams"`
		Sources map[string]SourceProgress `json:"sources"`
	}
	if err := json.Unmarshal([]byte(value), &either); err != nil {
		return nil, err
	}
	if either.Streams != nil {
		return either.Streams, nil
	}
	return streams(either.Sources), nil
}

// dropOldMetadata removes the metadata files that a commit has dropped from the table's log, where this process writes them and the
// table asks for it. They are no longer named by anything.
func (c *Catalog) dropOldMetadata(ctx context.Context, before *table.Table, after table.Metadata) {
	if !c.ownsMetadata || !after.Properties().GetBool(table.MetadataDeleteAfterCommitEnabledKey, table.MetadataDeleteAfterCommitEnabledDefault) {
		return
	}
	fs, err := before.FS(ctx)
	if err != nil {
		return
	}
	kept := slices.Collect(after.PreviousFiles())
	for old := range before.Metadata().PreviousFiles() {
		if slices.ContainsFunc(kept, func(e table.MetadataLogEntry) bool { return e.MetadataFile == old.MetadataFile }) {
			continue
		}
		if err := fs.Remove(old.MetadataFile); err != nil {
			slog.WarnContext(ctx, "old table metadata stays", "file", old.MetadataFile, "error", err)
		}
	}
}

var _ io.Closer = (*Catalog)(nil)
