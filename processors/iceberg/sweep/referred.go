package sweep

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/apache/iceberg-go"
	icebergio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
)

// settle holds the candidates against the table as it is now, and deletes those that nothing refers to.
func (s *sweeper) settle(ctx context.Context) error {
	if s.held == 0 {
		return nil
	}
	t, err := s.load(ctx)
	if err != nil {
		return err
	}
	if catalog.Path(t.Location()) != s.root {
		return fmt.Errorf("the table has moved to %s", t.Location())
	}
	files, err := t.FS(ctx)
	if err != nil {
		return fmt.Errorf("files: %w", err)
	}
	if err := s.keep(ctx, t, files); err != nil {
		return err
	}
	var errs []error
	for _, all := range s.pending {
		for _, c := range all {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if !s.DryRun {
				if err := files.Remove(c.path); err != nil {
					s.report.Failed++
					if len(errs) < 3 {
						errs = append(errs, fmt.Errorf("delete: %w", err))
					}
					continue
				}
				s.Logger.DebugContext(ctx, "an orphan is gone", "table", s.Table, "file", c.path, "bytes", c.bytes)
			}
			sum := s.report.Swept[c.kind]
			sum.add(c.bytes)
			s.report.Swept[c.kind] = sum
		}
	}
	clear(s.pending)
	s.held = 0
	return errors.Join(errs...)
}

// keep takes out of the candidates all that the table refers to. What cannot be read ends the sweep: it might refer to anything.
func (s *sweeper) keep(ctx context.Context, t *table.Table, files icebergio.IO) error {
	meta := t.Metadata()
	s.refers(t.MetadataLocation())
	for e := range meta.PreviousFiles() {
		s.refers(e.MetadataFile)
	}
	for f := range meta.Statistics() {
		s.refers(f.StatisticsPath)
	}
	for f := range meta.PartitionStatistics() {
		s.refers(f.StatisticsPath)
	}
	read := map[string]bool{} // manifests: snapshots share most of them
	for _, snapshot := range meta.Snapshots() {
		s.refers(snapshot.ManifestList)
		manifests, err := snapshot.Manifests(files)
		if err != nil {
			return fmt.Errorf("manifests of snapshot %d: %w", snapshot.SnapshotID, err)
		}
		for _, m := range manifests {
			if read[m.FilePath()] {
				continue
			}
			read[m.FilePath()] = true
			s.refers(m.FilePath())
			if err := s.entries(ctx, m, files); err != nil {
				return err
			}
		}
	}
	return nil
}

// entries takes out what a manifest names, be it added, carried or deleted.
func (s *sweeper) entries(ctx context.Context, m iceberg.ManifestFile, files icebergio.IO) error {
	for e, err := range m.Entries(files, false) {
		if err != nil {
			return fmt.Errorf("manifest %s: %w", m.FilePath(), err)
		}
		s.refers(e.DataFile().FilePath())
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// refers takes a file out of the candidates, with all others of its name.
func (s *sweeper) refers(location string) {
	if location == "" {
		return
	}
	name := path.Base(catalog.Path(location))
	for _, c := range s.pending[name] {
		s.report.Kept.add(c.bytes)
		s.held--
	}
	delete(s.pending, name)
}
