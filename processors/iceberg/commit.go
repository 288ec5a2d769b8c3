package iceberg

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	iceberglib "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/codec"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// upkeepEvery is the number of commits after which manifests are merged and old snapshots are removed: of those of this sink, or of all to the
// table by its own count, for processes may end after a few.
const upkeepEvery = 100

// Seal ends the files that were written since the last Seal and describes them. After an error all of that is given up.
func (s *Sink) Seal(ctx context.Context) (processor.Staged, error) {
	out, err := s.seal(ctx)
	if err != nil {
		return processor.Staged{}, errors.Join(fmt.Errorf("seal: %w", err), s.drop())
	}
	s.reset()
	return out, nil
}

func (s *Sink) seal(ctx context.Context) (processor.Staged, error) {
	if s.gathered != nil {
		if err := s.settle(ctx); err != nil {
			return processor.Staged{}, err
		}
	}
	if err := s.finishAll(); err != nil {
		return processor.Staged{}, err
	}
	desc := staged{Version: stagedVersion, Created: cmp.Or(s.began, s.now().UnixMilli()), Ranges: s.ranges}
	if len(s.done) > 0 {
		meta := s.table.Metadata()
		spec, schema := s.table.Spec(), schemaByID(meta, s.schema)
		desc.Table, desc.Schema, desc.Spec, desc.Format = meta.TableUUID().String(), s.schema, spec.ID(), meta.Version()
		for _, f := range s.done {
			b, err := codec.EncodeDataFile(f, spec, schema, desc.Format)
			if err != nil {
				return processor.Staged{}, fmt.Errorf("describe data file %s: %w", f.FilePath(), err)
			}
			desc.Files = append(desc.Files, b)
		}
	}
	data, err := json.Marshal(desc)
	if err != nil {
		return processor.Staged{}, err
	}
	spans := make(map[processor.Source]kfs.Span, len(s.ranges))
	for key, a := range s.ranges {
		source, err := ParseSource(key)
		if err != nil {
			return processor.Staged{}, err
		}
		spans[source] = a.Span
	}
	return processor.Staged{Spans: spans, Data: data}, nil
}

// Commit makes the staged files visible and moves the position from from to to, all or nothing. A table that does not exist has no
// position to move: as long as nothing was staged for it, Commit does nothing. One that was there and is gone is an error. Errors:
// processor.ErrMoved, *processor.HaltError; after any other the outcome may be unknown, and Committed tells.
func (s *Sink) Commit(ctx context.Context, from, to processor.Positions, all []processor.Staged) error {
	if err := s.commit(ctx, from, to, all); err != nil {
		s.stale = true
		return asProcessor(err)
	}
	s.commits++
	if n := s.committer.Sequence(); s.commits >= upkeepEvery || n > 0 && n%upkeepEvery == 0 {
		s.commits = 0
		// The commit has landed; that the table is not tidied up is no reason to say otherwise.
		if err := s.committer.Upkeep(ctx); err != nil {
			slog.WarnContext(ctx, "upkeep is left for later", "table", s.spec.Name, "error", err)
		}
	}
	return nil
}

func (s *Sink) commit(ctx context.Context, from, to processor.Positions, all []processor.Staged) error {
	var parsed []*staged
	for _, st := range all {
		p, err := parseStaged(st.Data)
		if err != nil {
			return err
		}
		parsed = append(parsed, p)
	}
	advances, err := ranges(from, to, parsed)
	if err != nil {
		return err
	}
	group := catalog.Group{
		Ranges: advances,
		Beside: func(positions map[string]int64) error { return s.recreated(positions, to) },
		Fits: func(meta table.Metadata) error {
			s.follow(meta)
			for _, p := range parsed {
				if err := errors.Join(p.fresh(s.now()), p.fits(meta)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	if group.Letters, err = letters(advances, parsed); err != nil {
		return err
	}
	if group.Files, err = s.files(ctx, parsed); err != nil {
		return err
	}
	err = s.committer.Commit(ctx, group)
	if errors.Is(err, catalog.ErrNoTable) && len(group.Files) == 0 && s.committer.Known().Table == "" {
		return nil
	}
	return err
}

// files decodes what was staged. It needs a table that has the schema and the partition spec that the files were written with.
func (s *Sink) files(ctx context.Context, all []*staged) ([]iceberglib.DataFile, error) {
	t := s.table
	var files []iceberglib.DataFile
	for _, p := range all {
		if len(p.Files) == 0 {
			continue
		}
		if t == nil || p.fits(t.Metadata()) != nil {
			var err error
			if t, err = s.committer.Load(ctx); err != nil {
				return nil, err
			}
		}
		decoded, err := p.decode(t.Metadata())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", catalog.ErrRestage, err)
		}
		files = append(files, decoded...)
	}
	return files, nil
}

// recreated halts where a table with these positions was filled from another incarnation of a topic, or would be from two at once: nothing in
// it would tell their rows apart.
func (s *Sink) recreated(known map[string]int64, to processor.Positions) error {
	if s.spec.DeadLetters {
		return nil
	}
	halt := func(topic string, id kfs.TopicID, filled string, before kfs.TopicID) error {
		return &catalog.HaltError{
			Reason: fmt.Sprintf("topic %s is %s, the table %s %s filled from %s: the topic was deleted and created again", topic, id, s.spec.Name, filled, before),
			Decide: "its offsets begin anew and mean other records. To keep the rows that are there, give the topic another table, by table.name or in a job of its own, and start the job again; to fill this table anew, stop the job, drop the table, delete jobs/" + s.cfg.Options.Job + ".json from the source's store and start the job again",
		}
	}
	ids := map[string]kfs.TopicID{} // of the topics that advance
	for source := range to {
		id, ok := ids[source.Topic]
		if ok && id != source.ID {
			return halt(source.Topic, source.ID, "would at once be", id)
		}
		ids[source.Topic] = source.ID
	}
	for _, key := range slices.Sorted(maps.Keys(known)) {
		before, err := ParseSource(key)
		if err != nil {
			return fmt.Errorf("position of table %s: %w", s.spec.Name, err)
		}
		if id, ok := ids[before.Topic]; ok && id != before.ID {
			return halt(before.Topic, id, "was", before.ID)
		}
	}
	return nil
}

// Discard removes the files of staged output that was never part of a Commit call.
func (s *Sink) Discard(ctx context.Context, all []processor.Staged) error {
	var errs []error
	for _, st := range all {
		p, err := parseStaged(st.Data)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		files, err := s.files(ctx, []*staged{p})
		if err != nil {
			errs = append(errs, fmt.Errorf("discard: %w", err))
			continue
		}
		errs = append(errs, s.remove(ctx, files))
	}
	return errors.Join(errs...)
}

// remove deletes files.
func (s *Sink) remove(ctx context.Context, files []iceberglib.DataFile) error {
	if len(files) == 0 {
		return nil
	}
	t, err := s.committer.Load(ctx)
	if err != nil {
		return fmt.Errorf("discard: %w", err)
	}
	fs, err := t.FS(ctx)
	if err != nil {
		return fmt.Errorf("discard: %w", err)
	}
	var errs []error
	for _, f := range files {
		if err := fs.Remove(f.FilePath()); err != nil {
			errs = append(errs, fmt.Errorf("remove data file %s: %w", f.FilePath(), err))
		}
	}
	return errors.Join(errs...)
}
