package rebuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/processors/iceberg/deadletter"
	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/processor"
)

// letterSet is the dead letters of one source.
type letterSet struct {
	dead, resolved *roaring64.Bitmap
	rows           int64 // of the table
}

// nameless is where letters of a source lie that do not say which topic of the name they are of.
func nameless(s processor.Source) processor.Source {
	s.ID = kfs.TopicID{}
	return s
}

// readLetters reads which letters of sources a table has, below some offsets; t is nil if there is no table.
func (r *Rebuild) readLetters(ctx context.Context, t *table.Table, below map[processor.Source]int64) (map[processor.Source]*letterSet, error) {
	sets := map[processor.Source]*letterSet{}
	byPlace := map[processor.Source]processor.Source{}
	for source := range below {
		sets[source] = &letterSet{dead: roaring64.New(), resolved: roaring64.New()}
		byPlace[source], byPlace[nameless(source)] = source, source
	}
	if t == nil || t.CurrentSnapshot() == nil {
		return sets, nil
	}
	for l, err := range deadletter.Read(ctx, t, deadletter.Selection{Offsets: true, Prefix: r.Prefix}) {
		if err != nil {
			return nil, err
		}
		source, ok := byPlace[processor.Source{Topic: l.Topic, ID: l.TopicID, Partition: l.Partition}]
		if !ok || l.Offset >= below[source] {
			continue
		}
		set := sets[source]
		if set.rows++; l.Resolved.IsZero() {
			set.dead.Add(uint64(l.Offset))
		} else {
			set.resolved.Add(uint64(l.Offset))
		}
	}
	return sets, nil
}

// bothLetters reads the letters of the rebuild, which lie in ours, and of the job.
func (r *Rebuild) bothLetters(ctx context.Context, ours *table.Table, below map[processor.Source]int64) (want, have map[processor.Source]*letterSet, err error) {
	_, theirs, err := r.look(ctx, r.Catalog, r.Letters)
	if err != nil {
		return nil, nil, err
	}
	if want, err = r.readLetters(ctx, ours, below); err != nil {
		return nil, nil, err
	}
	have, err = r.readLetters(ctx, theirs, below)
	return want, have, err
}

// sink opens the dead-letter table of readers for the job, or for a backfill of it.
func (r *Rebuild) sink(ctx context.Context, job string) (*iceberg.Sink, error) {
	options := r.options()
	options.Job = job
	opened, err := iceberg.New(iceberg.Config{Catalog: r.Catalog, Options: options, Prefix: r.Prefix}).Open(ctx, processors.Table{Name: r.Letters, DeadLetters: true})
	if err != nil {
		return nil, err
	}
	s, ok := opened.(*iceberg.Sink)
	if !ok {
		return nil, fmt.Errorf("the sink of dead letters is a %T", opened)
	}
	return s, nil
}

// addLetters makes the dead letters of the rebuild be there, as letters that are not resolved: each that is not there comes, each that is
// resolved is so no more. It counts, for every source, those letters that the rebuild does not have. catalog.ErrMoved
// says that dead letters are decided of records that the rebuild does not have.
func (r *Rebuild) addLetters(ctx context.Context, s *Standing) (superseded map[string]int64, err error) {
	below, reopen := s.ends(), map[processor.Source][]int64{}
	_, ours, err := r.look(ctx, r.lake(), r.Letters)
	if err != nil {
		return nil, err
	}
	want, have, err := r.bothLetters(ctx, ours, below)
	if err != nil {
		return nil, err
	}
	sink, err := r.sink(ctx, r.Job)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	if err := sink.Resolvable(ctx); err != nil {
		return nil, err
	}
	decided, err := sink.Committed(ctx)
	if err != nil {
		return nil, err
	}
	superseded = map[string]int64{}
	missing := map[processor.Source]*roaring64.Bitmap{}
	for _, source := range s.Sources {
		if decided[source.Source] > source.To {
			return nil, fmt.Errorf("dead letters of %s: %w", iceberg.SourceKey(source.Source), catalog.ErrMoved)
		}
		want, have := want[source.Source].dead, have[source.Source]
		absent := roaring64.AndNot(want, roaring64.Or(have.dead, have.resolved))
		if !absent.IsEmpty() {
			missing[source.Source] = absent
		}
		if again := roaring64.AndNot(roaring64.And(want, have.resolved), have.dead); !again.IsEmpty() {
			reopen[source.Source] = offsetsOf(again)
			reopen[nameless(source.Source)] = reopen[source.Source]
		}
		if n := have.rows + int64(absent.GetCardinality()) - int64(want.GetCardinality()); n != 0 {
			superseded[iceberg.SourceKey(source.Source)] = n
		}
	}
	if err := r.addMissing(ctx, ours, decided, missing); err != nil {
		return nil, err
	}
	_, err = sink.Reopen(ctx, reopen)
	return superseded, err
}

// addMissing brings letters over, some at a time, each under the name of who accounts for it. The job stands at decided.
func (r *Rebuild) addMissing(ctx context.Context, from *table.Table, decided processor.Positions, missing map[processor.Source]*roaring64.Bitmap) (err error) {
	account, err := r.account(ctx, r.Catalog, r.Letters)
	if err != nil {
		return err
	}
	passes := &deadletter.Passes{Table: from, Select: deadletter.Selection{Prefix: r.Prefix}, Wanted: map[processor.Source][]int64{}}
	sources, keepers, sinks := map[processor.Source]processor.Source{}, map[processor.Source][]keeper{}, map[string]*iceberg.Sink{}
	defer func() {
		for _, sink := range sinks {
			err = errors.Join(err, sink.Close())
		}
	}()
	var places []processor.Source
	for _, source := range slices.SortedFunc(maps.Keys(missing), processor.Source.Compare) {
		keepers[source] = r.keepers(account, decided, source)
		offsets := offsetsOf(missing[source])
		for _, place := range []processor.Source{source, nameless(source)} {
			passes.Wanted[place], sources[place], places = offsets, source, append(places, place)
		}
	}
	return passes.Each(ctx, places, func(place processor.Source, letters []deadletter.Letter) error {
		source := sources[place]
		for chunk := range deadletter.Chunks(letters) {
			for len(chunk) > 0 {
				i := slices.IndexFunc(keepers[source], func(k keeper) bool { return chunk[0].Offset < k.end })
				k := &keepers[source][i]
				// Those that the keeper has passed come as a repair, the others move it on: never beyond where the table of rows stands.
				end := k.end
				if chunk[0].Offset < k.next {
					end = k.next
				}
				n, _ := slices.BinarySearchFunc(chunk, end, func(l deadletter.Letter, end int64) int { return cmp.Compare(l.Offset, end) })
				sink, ok := sinks[k.job]
				if !ok {
					opened, err := r.sink(ctx, k.job)
					if err != nil {
						return err
					}
					sink, sinks[k.job] = opened, opened
				}
				var err error
				if k.next, err = r.addChunk(ctx, sink, source, chunk[:n], k.next); err != nil {
					return fmt.Errorf("dead letters of %s: %w", iceberg.SourceKey(source), err)
				}
				chunk = chunk[n:]
			}
		}
		return nil
	})
}

// addChunk commits letters to a table that stands at next, and gives where it stands then.
func (r *Rebuild) addChunk(ctx context.Context, sink *iceberg.Sink, source processor.Source, chunk []deadletter.Letter, next int64) (int64, error) {
	letters, offsets := make([]decode.DeadLetter, len(chunk)), make([]int64, len(chunk))
	for i, l := range chunk {
		offsets[i] = l.Offset
		letters[i] = decode.DeadLetter{Source: source, Offset: l.Offset, Timestamp: l.Time.UnixMilli(), Key: l.Key, Value: l.Value, Class: decode.Class(l.Class), Message: l.Message}
		for _, h := range l.Headers {
			letters[i].Headers = append(letters[i].Headers, decode.Header(h))
		}
	}
	end := offsets[len(offsets)-1] + 1
	span := kfs.Span{Base: next, Next: end}
	repair := end <= next
	if repair {
		span.Base = offsets[0]
	}
	rows := decode.DeadLetterBatch(r.Prefix, r.Job, letters, memory.DefaultAllocator)
	defer rows.Release()
	if err := sink.Stage(ctx, processor.Batch{Source: source, Span: span, Records: rows}); err != nil {
		return next, err
	}
	staged, err := sink.Seal(ctx)
	if err != nil {
		return next, err
	}
	if repair {
		return next, sink.Amend(ctx, staged, map[processor.Source][]int64{source: offsets})
	}
	return end, sink.Commit(ctx, processor.Positions{source: span.Base}, processor.Positions{source: end}, []processor.Staged{staged})
}

// resolveLetters marks the letters as resolved that the rebuild does not have, whose letters lie in ours, of the records that it was made of.
func (r *Rebuild) resolveLetters(ctx context.Context, rebuilt *catalog.Rebuilt, ours *table.Table) (err error) {
	progress, err := rebuilt.Positions(ctx, r.Store)
	if err != nil {
		return err
	}
	below := map[processor.Source]int64{}
	for key, p := range progress {
		source, err := iceberg.ParseSource(key)
		if err != nil {
			return err
		}
		below[source] = p.Next
	}
	want, have, err := r.bothLetters(ctx, ours, below)
	if err != nil {
		return err
	}
	resolve := map[processor.Source][]int64{}
	for source := range below {
		gone := roaring64.AndNot(have[source].dead, want[source].dead)
		gone.RemoveRange(0, uint64(progress[iceberg.SourceKey(source)].First)) // what the log did not have any more stays as it is
		if !gone.IsEmpty() {
			resolve[source] = offsetsOf(gone)
			resolve[nameless(source)] = resolve[source]
		}
	}
	sink, err := r.sink(ctx, r.Job)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	_, err = sink.Resolve(ctx, resolve, r.now())
	return err
}

func offsetsOf(set *roaring64.Bitmap) []int64 {
	all := make([]int64, 0, set.GetCardinality())
	for it := set.Iterator(); it.HasNext(); {
		all = append(all, int64(it.Next()))
	}
	return all
}
