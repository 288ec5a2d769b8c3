package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/processor"
)

// Form is how records become rows of tables: the part of a job's configuration that decides it.
type Form struct {
	Decode         decode.Config
	OpenTransforms func(table string) ([]Step, error)
	Route          func(topic string) string
	Errors         Policy
}

// maxKeptBytes bounds what is read of a configuration that was kept.
const maxKeptBytes = 4 << 20

// keep puts the job's configuration where a later one finds it, unless it is there.
func (j *Job) keep(ctx context.Context) error {
	if j.cfg.Hash == "" || j.cfg.Kept == nil {
		return nil
	}
	key := kfs.JobConfigKey(j.cfg.Name, j.cfg.Hash)
	if _, err := j.cfg.Store.Put(ctx, key, j.cfg.Kept, true); err != nil && !errors.Is(err, blob.ErrPrecondition) {
		return fmt.Errorf("keep the job's configuration: %w", err)
	}
	return nil
}

// former is a configuration that the job had before. What cannot be read any more is a HaltError.
func (j *Job) former(ctx context.Context, hash string) (*Form, error) {
	key := kfs.JobConfigKey(j.cfg.Name, hash)
	kept, _, err := blob.ReadAll(ctx, j.cfg.Store, key, blob.All, maxKeptBytes)
	gone := errors.Is(err, blob.ErrNotFound)
	if err != nil && !gone {
		return nil, fmt.Errorf("read the configuration that the job had: %w", err)
	}
	var form *Form
	if !gone {
		form, err = j.cfg.Former(hash, kept)
	}
	if err != nil {
		return nil, halted(fmt.Sprintf("%s, the job file that decided them, cannot be used: %v", key, err),
			"start the job with that file once more, or restore what it needs; or start it with --decide-anew, so that the present file decides")
	}
	return form, nil
}

// unfinished is a span of a source that another configuration has decided and the table does not have yet.
type unfinished struct {
	next   int64 // its end
	config string
}

// unfinished finds the spans that were decided under another configuration: dead letters, or rows in other tables, are ahead of the
// table's position. A source of which the table has nothing begins anew.
func (t *table) unfinished(ctx context.Context, committed, letters processor.Positions) (map[processor.Source]unfinished, error) {
	if t.job.cfg.Former == nil {
		return nil, nil
	}
	found := map[processor.Source]unfinished{}
	deciding, _ := t.sink.(processor.Deciding)
	for source, at := range committed {
		var u unfinished
		present := false // the rows that are there are of the present configuration
		if deciding != nil {
			if next, config, ok := deciding.Decided(source); ok && next > at {
				u = unfinished{next, config}
			} else if ok {
				present = config == t.job.cfg.Hash
			}
		}
		if next := letters[source]; next > at {
			config, err := t.job.letters.config(ctx, source)
			if err != nil {
				return nil, err
			}
			switch {
			case u.config == "" && present:
				// Another process has decided them, perhaps of a former configuration when a rebuild had just been swapped in: whose columns these
				// rows have, that one may not fit. They are obeyed, and the present one decides the others.
			case u.config == "":
				u = unfinished{max(u.next, next), config}
			case config == u.config:
				u.next = max(u.next, next)
			case config == "", next <= u.next:
				// The receipt of the letters has expired, or they are of a configuration that no row of the source came of: the tables have
				// begun it under another one, which took these letters as they were.
			default:
				return nil, halted(fmt.Sprintf("table %s: offsets of %s/%d from %d on were decided under two configurations, %s and %s", t.name, source.Topic, source.Partition, at, u.config, config),
					"this cannot come of this program; find out what else has written to the tables")
			}
		}
		if u.next > 0 && u.config != "" && u.config != t.job.cfg.Hash {
			found[source] = u
		}
	}
	return found, nil
}

// form is a Form at work in a worker.
type form struct {
	decode   decode.Config
	errors   Policy
	chain    chain
	columns  *arrow.Schema // what records are decoded into: those of the table, as far as transforms let them through
	decoders []*decoder    // not lent
}

// keeps reports whether records are needed after they were decoded.
func (f *form) keeps() bool { return len(f.chain) > 0 && f.errors == DeadLetter }

// see takes note of the table's columns; same says that they are what they were.
func (f *form) see(target *arrow.Schema, same bool) {
	if len(f.chain) > 0 && same {
		return // decoders know more than that: what transforms leave out
	}
	f.columns = f.chain.origin(target)
}

// openFormers opens what is needed to finish what other configurations have begun.
func (w *worker) openFormers(ctx context.Context) error {
	t := w.table
	w.formers = map[string]*form{}
	for _, source := range slices.SortedFunc(maps.Keys(w.unfinished), processor.Source.Compare) {
		u, ok := w.unfinished[source]
		if !ok || w.formers[u.config] != nil {
			continue
		}
		f, err := t.job.former(ctx, u.config)
		var halt *processor.HaltError
		switch {
		case errors.As(err, &halt) && t.job.cfg.DecideAnew:
			t.log.Warn("the job file that decided a part of the records cannot be used; the present one decides them anew", "config", u.config, "err", err)
			maps.DeleteFunc(w.unfinished, func(_ processor.Source, o unfinished) bool { return o.config == u.config })
			continue
		case errors.As(err, &halt):
			return halted(fmt.Sprintf("table %s: offsets %s of %s/%d are in a part of the job's tables: %s", t.name, kfs.Span{Base: w.positions[source], Next: u.next},
				source.Topic, source.Partition, halt.Reason), halt.Decide)
		case err != nil:
			return err
		}
		if name := f.Route(t.topic); name != t.name {
			if w.letterPositions[source] < u.next {
				return halted(fmt.Sprintf("table %s: offsets %s of %s/%d are in a part of the tables of %s", t.name, kfs.Span{Base: w.positions[source], Next: u.next}, source.Topic, source.Partition, name),
					"start the job with table.name as it was, until it has caught up; then with the new one")
			}
			maps.DeleteFunc(w.unfinished, func(_ processor.Source, o unfinished) bool { return o.config == u.config })
			continue // dead letters beside another table
		}
		former := &form{decode: f.Decode, errors: f.Errors}
		if f.OpenTransforms != nil {
			if former.chain, err = f.OpenTransforms(t.name); err != nil {
				return halted(fmt.Sprintf("table %s: the transforms that the job had: %v", t.name, err), "start the job with the file that it had, until it has caught up")
			}
		}
		w.formers[u.config] = former
	}
	for source, u := range w.unfinished {
		t.log.Info("finishing what another job file has begun before the present one goes on", "topic", source.Topic, "partition", source.Partition,
			"from", w.positions[source], "to", u.next, "config", u.config)
	}
	return nil
}
