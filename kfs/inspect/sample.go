package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/record"
)

// Piece is record batches of a partition, as they are stored.
type Piece struct {
	Partition
	Span    kfs.Span // of the batches
	Time    int64    // the largest of their segment's records, Unix milliseconds
	Batches []byte
}

// Pace is how much of a partition there is.
type Pace struct {
	Partition
	Records int64         // offsets from the log start on
	Bytes   float64       // that a record takes in the store, about
	Day     float64       // records a day, about
	Over    time.Duration // of the records that Day is reckoned from, from the first to the last; less than PaceLeast is taken for that
}

// PaceLeast is the least time that a pace is reckoned from: what came in less is taken for what came in that, so that a burst is not a day's pace.
const PaceLeast = time.Hour

// Sample is some records of a namespace, and how much there is of them.
type Sample struct {
	Pieces   []Piece // in order of partition and offset
	Paces    []Pace
	Journals int
	Read     int64 // bytes
}

// The bounds of a sample.
const (
	samplePages  = 3         // index pages of a journal that are read: the first, one in the middle and the last
	sampleSpread = 8         // pieces of a partition, at most
	samplePiece  = 256 << 10 // bytes of a piece, unless its first batch is larger
	sampleReads  = 1000      // pieces in all, unless so many bytes take more
)

// stored is where records of a partition lie.
type stored struct {
	key    string
	at     int64 // of the first batch, in the object
	length int64
	span   kfs.Span
	time   int64
}

func ofSettled(s kfs.SettledSegment) stored {
	return stored{s.Key, kfs.SegmentHeaderSize, s.Length - kfs.SegmentHeaderSize - kfs.SegmentFooterSize, s.Span, s.MaxTimestamp}
}

func ofJournal(journal uint32, sequence uint64, s *kfs.Segment) stored {
	return stored{kfs.ObjectKey(journal, sequence), s.Position, s.Length, s.Span, s.MaxTimestamp}
}

// TakeSample reads about so many bytes of the topics that match, spread over partitions and time: the first batches of some segments. What it
// reads is in memory. It reads the newest checkpoints, the ends of objects behind them, and three index pages of each journal, whatever the size of the store.
func TakeSample(ctx context.Context, store blob.Store, match func(topic string) bool, bytes int64) (*Sample, error) {
	ends, err := ReadEnds(ctx, store)
	if err != nil {
		return nil, err
	}
	there, err := ends.stored(ctx)
	if err != nil {
		return nil, err
	}
	out := &Sample{Journals: len(ends.journals)}
	var wanted []Partition
	for _, p := range ends.All() {
		if !p.Ended && p.Next > p.Start && match(p.Name) && len(there[p.PartitionID]) > 0 {
			wanted = append(wanted, p)
			out.Paces = append(out.Paces, paceOf(p, there[p.PartitionID]))
		}
	}
	reads := readsOf(bytes, wanted, there)
	each := max(1, min(sampleSpread, reads/max(1, len(wanted))))
	var mu sync.Mutex // guards out
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrent)
	enough := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return out.Read >= bytes
	}
	sampled := spread(wanted, reads)
	for i := range each { // a piece of each partition, then another: where batches are large, there are fewer pieces, and not fewer partitions
		for _, p := range sampled {
			of := spread(there[p.PartitionID], each)
			if i >= len(of) {
				continue
			}
			g.Go(func() error {
				if i > 0 && enough() {
					return nil
				}
				piece, n, err := readPiece(gctx, store, p, of[i])
				if errors.Is(err, blob.ErrNotFound) {
					return nil // retention was quicker
				}
				if err != nil {
					return fmt.Errorf("%s: %w", of[i].key, err)
				}
				mu.Lock()
				defer mu.Unlock()
				out.Read += n
				out.Pieces = append(out.Pieces, piece)
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(out.Pieces, func(a, b Piece) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), slices.Compare(a.Topic[:], b.Topic[:]), cmp.Compare(a.PartitionID.Partition, b.PartitionID.Partition), cmp.Compare(a.Span.Base, b.Span.Base))
	})
	return out, nil
}

// readsOf is how many pieces make about so many bytes of the partitions: as many more as segments are smaller than a piece, up to sampleReads.
func readsOf(bytes int64, of []Partition, there map[kfs.PartitionID][]stored) int {
	var size, segments int64
	for _, p := range of {
		for _, s := range there[p.PartitionID] {
			size, segments = size+min(s.length, samplePiece), segments+1
		}
	}
	least := max(1, bytes/samplePiece)
	return int(max(least, min(sampleReads, bytes*segments/max(1, size))))
}

// stored lists where records of each partition lie, in order of offset; of what index pages say, a part.
func (e *Ends) stored(ctx context.Context) (map[kfs.PartitionID][]stored, error) {
	all := map[kfs.PartitionID][]stored{}
	for id, settled := range e.settled {
		for _, s := range settled {
			all[id] = append(all[id], ofSettled(s))
		}
	}
	for journal, r := range e.journals {
		objects := slices.Clone(r.objects)
		for _, ref := range spread(r.pages, samplePages) {
			page, err := e.page(ctx, journal, ref)
			if err != nil {
				return nil, err
			}
			objects = append(objects, page...)
		}
		for i := range objects {
			for j := range objects[i].Segments {
				s := &objects[i].Segments[j]
				all[s.ID()] = append(all[s.ID()], ofJournal(journal, objects[i].Sequence, s))
			}
		}
	}
	for id, list := range all {
		start := e.partitions[id].Start
		list = slices.DeleteFunc(list, func(s stored) bool { return s.span.Next <= start || s.length <= 0 })
		slices.SortFunc(list, func(a, b stored) int { return cmp.Compare(a.span.Base, b.span.Base) })
		all[id] = list
	}
	return all, nil
}

// paceOf reckons how much there is of a partition, and how much comes a day: by the last day, or by all that there is if that is less.
func paceOf(p Partition, there []stored) Pace {
	pace := Pace{Partition: p, Records: p.Next - p.Start}
	var bytes, records int64
	for _, s := range there {
		bytes, records = bytes+s.length, records+s.span.Len()
	}
	pace.Bytes = float64(bytes) / float64(max(1, records))
	const day = 24 * time.Hour
	last := there[len(there)-1]
	i, _ := slices.BinarySearchFunc(there, last.time-day.Milliseconds(), func(s stored, at int64) int { return cmp.Compare(s.time, at) })
	first := there[min(i, len(there)-1)]
	pace.Over = time.Duration(last.time-first.time) * time.Millisecond
	pace.Day = float64(last.span.Next-first.span.Base) * day.Seconds() / max(PaceLeast, pace.Over).Seconds()
	return pace
}

// spread takes at most n of a list, evenly, the first and the last among them.
func spread[T any](all []T, n int) []T {
	if len(all) <= n {
		return all
	}
	if n == 1 {
		return all[len(all)-1:]
	}
	out := make([]T, n)
	for i := range out {
		out[i] = all[i*(len(all)-1)/(n-1)]
	}
	return out
}

// readPiece reads the first batches of a segment, whole ones, each checked by its own CRC. n is how many bytes were read.
func readPiece(ctx context.Context, store blob.Store, p Partition, s stored) (piece Piece, n int64, err error) {
	body, _, err := blob.ReadAll(ctx, store, s.key, blob.Bytes(s.at, min(s.length, samplePiece)), samplePiece)
	if err != nil {
		return piece, 0, err
	}
	n = int64(len(body))
	if h, err := record.ParseHeader(body); errors.Is(err, record.ErrTruncated) && h.Size() > len(body) && int64(h.Size()) <= s.length {
		if body, _, err = blob.ReadAll(ctx, store, s.key, blob.Bytes(s.at, int64(h.Size())), maxObject); err != nil {
			return piece, n, err
		}
		n += int64(len(body))
	}
	piece = Piece{Partition: p, Span: kfs.Span{Base: s.span.Base, Next: s.span.Base}, Time: s.time}
	whole := 0
	for batch, err := range record.Batches(body) {
		if err == nil {
			err = record.Verify(batch)
		}
		var h record.Header
		if err == nil {
			h, err = record.ParseHeader(batch)
		}
		if err != nil {
			if whole == 0 {
				return piece, n, err
			}
			break // cut off
		}
		whole += len(batch)
		piece.Span.Next = h.LastOffset() + 1
	}
	piece.Batches = body[:whole]
	return piece, n, nil
}
