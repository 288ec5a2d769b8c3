package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/processor"
)

// retrying is a retry of the letters of one table.
type retrying struct {
	*Retry
	spec     processors.Table
	account  *catalog.Account
	remake   *pipeline.Remake
	owners   map[processor.Source][]owner // of the places in which letters lie that can be tried
	sinks    map[string]*iceberg.Sink     // by the job that accounts for the offsets
	resolved map[processor.Source][]int64 // letters to be marked
	reasons  map[string]*Reason
	failed   error // the rest of the letters is not tried
	out      Retried
	done     int
	total    int
}

// owner is a job, or a backfill of it, that accounts for offsets of a source.
type owner struct {
	job    string
	source processor.Source
	span   kfs.Span
}

// begin finds out which of the letters, by place, can be tried: those that the job, or a backfill of it, has accounted for.
func (t *retrying) begin(ctx context.Context, places []processor.Source, wanted map[processor.Source][]int64) (err error) {
	t.owners, t.sinks, t.reasons = map[processor.Source][]owner{}, map[string]*iceberg.Sink{}, map[string]*Reason{}
	for _, at := range places {
		t.total += len(wanted[at])
	}
	t.out.Letters = int64(t.total)
	if t.account, _, err = t.Catalog.Account(ctx, t.spec.Name, t.Store); errors.Is(err, catalog.ErrNoTable) {
		t.out.Ahead = t.out.Letters
		return nil
	}
	if err != nil {
		return err
	}
	if t.remake, err = t.Remake(t.spec.Name); err != nil {
		return err
	}
	all, err := streamsOf(t.account, t.Job)
	if err != nil {
		return err
	}
	for _, at := range places {
		source, others, err := all.find(at)
		if err != nil {
			return fmt.Errorf("dead letters of %s/%d: %w", at.Topic, at.Partition, err)
		}
		t.own(at, source, others, wanted[at])
	}
	return nil
}

// own finds who accounts for the letters of a place.
func (t *retrying) own(at processor.Source, source *processor.Source, others bool, offsets []int64) {
	left := len(offsets)
	if source != nil {
		for job, span := range t.account.Accounted(t.Job, iceberg.SourceKey(*source)) {
			first, _ := slices.BinarySearch(offsets, span.Base)
			end, _ := slices.BinarySearch(offsets, span.Next)
			if first < end {
				t.owners[at] = append(t.owners[at], owner{job, *source, span})
				left -= end - first
			}
		}
	}
	if source == nil && others {
		t.out.Former += int64(left)
	} else {
		t.out.Ahead += int64(left)
	}
	t.told(left)
}

// try tries letters of a place. An error is of this table alone.
func (t *retrying) try(ctx context.Context, place processor.Source, letters []Letter) {
	for _, o := range t.owners[place] {
		first, _ := slices.BinarySearchFunc(letters, o.span.Base, byOffset)
		end, _ := slices.BinarySearchFunc(letters, o.span.Next, byOffset)
		for chunk := range Chunks(letters[first:end]) {
			if t.failed != nil {
				return
			}
			sink, err := t.sink(ctx, o.job)
			if err == nil {
				err = t.chunk(ctx, sink, place, o.source, chunk)
			}
			if err != nil {
				t.failed = fmt.Errorf("dead letters of %s/%d: %w", place.Topic, place.Partition, err)
			}
		}
	}
}

func byOffset(l Letter, offset int64) int { return cmp.Compare(l.Offset, offset) }

// sink opens the table in the name of a job, once.
func (t *retrying) sink(ctx context.Context, job string) (*iceberg.Sink, error) {
	if s := t.sinks[job]; s != nil {
		return s, nil
	}
	s, err := t.open(ctx, t.spec, job)
	if err != nil {
		return nil, err
	}
	t.sinks[job] = s
	_, err = s.Committed(ctx)
	return s, err
}

// close ends it.
func (t *retrying) close() error {
	err := t.failed
	for _, s := range t.sinks {
		err = errors.Join(err, s.Close())
	}
	if t.remake != nil {
		err = errors.Join(err, pipeline.CloseSteps(t.remake.Transforms))
	}
	return err
}

func (t *retrying) told(n int) {
	if t.done += n; t.Told != nil && n > 0 {
		t.Told(t.spec.Name, t.done, t.total)
	}
}

// streams are the sources of which a job, or its backfills, have rows in a table.
type streams struct {
	ids map[string][]kfs.TopicID // of the topics of a name
	all map[processor.Source]bool
}

func streamsOf(account *catalog.Account, job string) (*streams, error) {
	all := &streams{ids: map[string][]kfs.TopicID{}, all: map[processor.Source]bool{}}
	for name, p := range account.Progress {
		if name != job && !catalog.OwnBackfill(job, name) {
			continue
		}
		for key := range p.Sources {
			s, err := iceberg.ParseSource(key)
			if err != nil {
				return nil, err
			}
			if all.all[s] = true; !slices.Contains(all.ids[s.Topic], s.ID) {
				all.ids[s.Topic] = append(all.ids[s.Topic], s.ID)
			}
		}
	}
	return all, nil
}

// find finds the source whose letters lie in a place; nil if there is none. others says that there are some of another topic of the
// same name.
func (s *streams) find(place processor.Source) (found *processor.Source, others bool, err error) {
	for _, id := range s.ids[place.Topic] {
		at := processor.Source{Topic: place.Topic, ID: id, Partition: place.Partition}
		switch {
		case !place.ID.IsZero() && id != place.ID:
			others = true
		case !s.all[at]:
		case found != nil:
			return nil, false, errors.New("the table has rows of two topics of this name: which one letters are of cannot be told")
		default:
			found = &at
		}
	}
	return found, others, nil
}
