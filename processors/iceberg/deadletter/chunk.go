package deadletter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/processor"
)

// retrying is a retry of the letters of one table.
type retrying struct {
	*Retry
	letters  *table.Table
	spec     processors.Table
	account  *catalog.Account
	streams  *streams
	remake   *pipeline.Remake
	sinks    map[string]*iceberg.Sink     // by the job that accounts for the offsets
	resolved map[processor.Source][]int64 // letters to be marked
	reasons  map[string]*Reason
	out      Retried
	done     int
	total    int
}

// run tries letters, source by source.
func (t *retrying) run(ctx context.Context, places []processor.Source, wanted map[processor.Source][]int64) (err error) {
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
	if t.streams, err = streamsOf(t.account, t.Job); err != nil {
		return err
	}
	if t.remake, err = t.Remake(t.spec.Name); err != nil {
		return err
	}
	t.sinks = map[string]*iceberg.Sink{}
	defer func() {
		for _, s := range t.sinks {
			err = errors.Join(err, s.Close())
		}
		err = errors.Join(err, pipeline.CloseSteps(t.remake.Transforms))
	}()
	slices.SortFunc(places, func(a, b processor.Source) int {
		return a.Compare(b)
	})
	for _, at := range places {
		if err := t.source(ctx, at, wanted[at]); err != nil {
			return fmt.Errorf("dead letters of %s/%d: %w", at.Topic, at.Partition, err)
		}
	}
	return nil
}

// source tries the letters of one source: those that the job, or a backfill of it, has accounted for.
func (t *retrying) source(ctx context.Context, at processor.Source, offsets []int64) error {
	src, others, err := t.streams.find(at)
	if err != nil {
		return err
	}
	if src == nil && others {
		t.out.Former += int64(len(offsets))
		t.told(len(offsets))
		return nil
	}
	left := slices.Clone(offsets)
	if src != nil {
		for job, span := range t.account.Accounted(t.Job, iceberg.SourceKey(*src)) {
			first, _ := slices.BinarySearch(left, span.Base)
			end, _ := slices.BinarySearch(left, span.Next)
			if first == end {
				continue
			}
			if err := t.owned(ctx, job, at, *src, slices.Clone(left[first:end])); err != nil {
				return err
			}
			left = slices.Delete(left, first, end)
		}
	}
	t.out.Ahead += int64(len(left))
	t.told(len(left))
	return nil
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

// owned tries letters of offsets that one job has accounted for, some at a time.
func (t *retrying) owned(ctx context.Context, job string, place processor.Source, src processor.Source, offsets []int64) error {
	sink, err := t.sink(ctx, job)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(offsets, chunkLetters) {
		if err := t.chunk(ctx, sink, place, src, chunk); err != nil {
			return err
		}
	}
	return nil
}

// errLarge says that letters take too much memory at once.
var errLarge = errors.New("the letters are too large for one commit")

// chunk tries some letters. Where they are too large together it tries the halves.
func (t *retrying) chunk(ctx context.Context, sink *iceberg.Sink, place processor.Source, src processor.Source, offsets []int64) error {
	letters, err := t.read(ctx, place, offsets)
	if err == nil {
		err = t.rounds(ctx, sink, place, src, letters)
	}
	if (errors.Is(err, errLarge) || errors.Is(err, decode.ErrFull)) && len(offsets) > 1 {
		half := len(offsets) / 2
		if err := t.chunk(ctx, sink, place, src, offsets[:half]); err != nil {
			return err
		}
		return t.chunk(ctx, sink, place, src, offsets[half:])
	}
	if err == nil {
		t.told(len(offsets))
	}
	return err
}

func (t *retrying) told(n int) {
	if t.done += n; t.Told != nil && n > 0 {
		t.Told(t.spec.Name, t.done, t.total)
	}
}

// read reads letters whole, in order of offset, each once.
func (t *retrying) read(ctx context.Context, place processor.Source, offsets []int64) ([]Letter, error) {
	want := Selection{Topic: place.Topic, TopicID: &place.ID, Partition: &place.Partition, Prefix: t.Prefix,
		Span: kfs.Span{Base: offsets[0], Next: offsets[len(offsets)-1] + 1}}
	letters := make([]Letter, len(offsets))
	bytes := 0
	for l, err := range Read(ctx, t.letters, want) {
		if err != nil {
			return nil, err
		}
		at, ok := slices.BinarySearch(offsets, l.Offset)
		if !ok {
			continue
		}
		if bytes += len(l.Key) + len(l.Value); bytes > chunkBytes && len(offsets) > 1 {
			return nil, errLarge
		}
		letters[at] = l
	}
	return letters, nil
}

// rounds brings letters to an end, beginning anew where others have changed the table in between.
func (t *retrying) rounds(ctx context.Context, sink *iceberg.Sink, place processor.Source, src processor.Source, letters []Letter) error {
	for round := 1; ; round++ {
		err := t.round(ctx, sink, place, src, letters)
		var unfit processor.Unfit
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case errors.As(err, &unfit) && !slices.Contains(t.remake.Pins, unfit.UnfitColumn()) && len(t.remake.Pins) < maxPins:
			// What the column cannot hold is no row: decoding says so when it may not widen the column.
			t.remake.Pins = append(t.remake.Pins, unfit.UnfitColumn())
			round--
		case (errors.Is(err, iceberg.ErrRowsThere) || errors.Is(err, processor.ErrMoved)) && round < maxRounds:
		default:
			return err
		}
	}
}

// fate is what becomes of letters in one round.
type fate struct {
	there, rows, leftOut []int64
	dead                 []processor.Rejection
}

// round decides what becomes of letters and commits those that are rows.
func (t *retrying) round(ctx context.Context, sink *iceberg.Sink, place processor.Source, src processor.Source, letters []Letter) error {
	offsets := make([]int64, len(letters))
	for i, l := range letters {
		offsets[i] = l.Offset
	}
	var f fate
	var err error
	if f.there, err = sink.RowsOf(ctx, src, offsets); err != nil {
		return err
	}
	var exact []Letter
	for _, l := range letters {
		if _, ok := slices.BinarySearch(f.there, l.Offset); ok {
			continue
		}
		if why := inexact(&l); why != "" {
			f.dead = append(f.dead, processor.Rejection{Offset: l.Offset, Class: Inexact, Message: why})
			continue
		}
		exact = append(exact, l)
	}
	if len(exact) > 0 {
		if err := t.decide(ctx, sink, src, exact, &f); err != nil {
			return err
		}
	}
	t.note(place, &f)
	return nil
}

// decide makes rows of letters and commits them.
func (t *retrying) decide(ctx context.Context, sink *iceberg.Sink, src processor.Source, letters []Letter, f *fate) error {
	batches, err := encode(letters)
	if err != nil {
		return err
	}
	if t.remake.Table, err = sink.Schema(ctx); err != nil {
		return err
	}
	span := kfs.Span{Base: letters[0].Offset, Next: letters[len(letters)-1].Offset + 1}
	b, err := t.remake.Rows(ctx, src, batches, span)
	if err != nil {
		return err
	}
	if b.Records != nil {
		defer b.Records.Release()
		if f.rows, err = t.offsets(b.Records); err != nil {
			return err
		}
	}
	f.dead = append(f.dead, b.Rejected...)
	for _, l := range letters {
		_, row := slices.BinarySearch(f.rows, l.Offset)
		if !row && !slices.ContainsFunc(b.Rejected, func(r processor.Rejection) bool { return r.Offset == l.Offset }) {
			f.leftOut = append(f.leftOut, l.Offset)
		}
	}
	if len(f.rows) == 0 || t.DryRun {
		return nil
	}
	b.Span, b.Rejected = kfs.Span{Base: f.rows[0], Next: f.rows[len(f.rows)-1] + 1}, nil
	if err := sink.Stage(ctx, b); err != nil {
		return err
	}
	staged, err := sink.Seal(ctx)
	if err != nil {
		return err
	}
	return sink.Repair(ctx, staged, map[processor.Source][]int64{src: f.rows})
}

// offsets are those of rows.
func (t *retrying) offsets(rows arrow.RecordBatch) ([]int64, error) {
	offsets, ok := rows.Column(2).(*array.Int64)
	if !ok {
		return nil, fmt.Errorf("the third column of the rows is no offset: %s", rows.Schema())
	}
	return slices.Clone(offsets.Int64Values()), nil
}

// note counts what became of letters.
func (t *retrying) note(at processor.Source, f *fate) {
	t.out.Superseded += int64(len(f.there))
	t.out.Repaired += int64(len(f.rows))
	t.out.LeftOut += int64(len(f.leftOut))
	t.out.Dead += int64(len(f.dead))
	t.resolved[at] = slices.Concat(t.resolved[at], f.there, f.rows, f.leftOut)
	for _, d := range f.dead {
		reason := t.reasons[d.Class]
		if reason == nil {
			reason = &Reason{Class: d.Class, Example: fmt.Sprintf("%s/%d offset %d: %s", at.Topic, at.Partition, d.Offset, d.Message)}
			t.reasons[d.Class] = reason
		}
		reason.Letters++
	}
}

// encode writes letters, which are in order, as the record batches that they came from, as far as rows tell the difference.
func encode(letters []Letter) ([]byte, error) {
	var out []byte
	for i := 0; i < len(letters); {
		b := record.Builder{BaseOffset: letters[i].Offset}
		for first := i; i < len(letters) && letters[i].Offset == letters[first].Offset+int64(i-first); i++ {
			var headers []record.HeaderField
			for _, h := range letters[i].Headers {
				headers = append(headers, record.HeaderField{Key: h.Key, Value: h.Value})
			}
			b.Add(letters[i].Time.UnixMilli(), letters[i].Key, letters[i].Value, headers...)
		}
		var err error
		if out, err = b.AppendTo(out); err != nil {
			return nil, fmt.Errorf("encode letters: %w", err)
		}
	}
	return out, nil
}

// inexact tells why a letter is not what the record was, see decode.DeadLetterBatch; "" if it is.
func inexact(l *Letter) string {
	const most = math.MaxInt64 / 1000
	if at := l.Time.UnixMilli(); at >= most || at <= -most {
		return "the record's time is out of bounds, the letter has the nearest that a table can hold"
	}
	for _, h := range l.Headers {
		if strings.ContainsRune(h.Key, utf8.RuneError) {
			return "a header's key was not UTF-8, the letter has it changed"
		}
	}
	return ""
}
