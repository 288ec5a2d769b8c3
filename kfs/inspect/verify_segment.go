package inspect

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/record"
)

// listing is a settled segment that a journal lists: it, and no other, is read for its offsets.
type listing struct {
	kfs.SettledSegment
	gone bool // it lies before the log start, or its topic has ended: it may be deleted
}

// list notes the settled segments that an entry or a checkpoint lists.
func (v *Verifier) list(w *walk, id kfs.PartitionID, segments []kfs.SettledSegment) {
	for _, s := range segments {
		w.settled = append(w.settled, placed{id, s})
	}
}

// placed is a segment of a partition.
type placed struct {
	id      kfs.PartitionID
	segment kfs.SettledSegment
}

// listed takes over what a journal lists, when all of it was walked.
func (v *Verifier) listed(w *walk) {
	if v.listings == nil {
		v.listings, v.partitions = map[string]listing{}, map[kfs.PartitionID]bool{}
	}
	for id := range w.partitions {
		v.partitions[id] = true
	}
	for _, s := range w.settled {
		p := w.partition(s.id)
		v.listings[s.segment.Key] = listing{s.segment, p.ended || s.segment.Span.Next <= p.logStart}
	}
}

// segments verifies the settled segments of a namespace, of Firn or of KafScale, with their indexes. Of a partition that a journal
// has, those count that the journal lists; another one is what a crash has left, or waits to be deleted.
func (v *Verifier) segments(ctx context.Context) error {
	folder, next := "", int64(0)
	for f, err := range readAll(ctx, v.Store, settledSegments(ctx, v.Store), blob.All) {
		if err != nil {
			return err
		}
		l, isListed := v.listings[f.Key]
		delete(v.listings, f.Key)
		if id, _, number, _, ok := kfs.ParseSegmentKey(f.Key); ok && v.partitions[kfs.PartitionID{Topic: id, Partition: number}] && (!isListed || l.gone) {
			v.summary.Unlisted++
			v.done(f.Size)
			continue
		}
		h, ok := v.segment(f)
		in, _, _ := strings.Cut(f.Key, "/segment-")
		if ok && in == folder && next > 0 {
			switch base := h.Span.Base; {
			case base < next:
				v.find(f.Key, 0, "%s overlaps the segment before, which ends at %d", h.Span, next)
			case base > next:
				v.find(f.Key, 0, "a gap: offsets [%d, %d) are missing between the segment before and this one", next, base)
			}
		}
		if ok && isListed {
			v.compareListing(f, h, l)
		}
		folder, next = in, h.Span.Next // 0 behind a damaged one
		if ok {
			if err := v.index(ctx, f); err != nil {
				return err
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(v.listings)) {
		if l := v.listings[key]; !l.gone {
			v.find(key, 0, "a journal lists this segment, %s, which is not there", l.Span)
		}
	}
	return nil
}

// compareListing compares a segment with what its journal says of it.
func (v *Verifier) compareListing(f file, h kfs.SettledHeader, l listing) {
	crc := kfs.Checksum(f.body[:len(f.body)-kfs.SegmentFooterSize])
	if h.Span != l.Span || f.Size != l.Length || crc != l.CRC {
		v.find(f.Key, 0, "it holds %s in %d bytes with CRC %08x, its journal says %s in %d with %08x", h.Span, f.Size, crc, l.Span, l.Length, l.CRC)
	}
}

func settledSegments(ctx context.Context, store blob.Store) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		for info, err := range objects(ctx, store, "", "") {
			if (err != nil || kindOf(info.Key) == KindSegment) && !yield(info, err) {
				return
			}
		}
	}
}

// segment verifies a settled segment by itself, down to its record batches.
func (v *Verifier) segment(f file) (h kfs.SettledHeader, ok bool) {
	v.summary.Segments++
	defer v.done(f.Size)
	h, err := kfs.OpenSegment(f.body)
	if err != nil {
		v.find(f.Key, 0, "%w", err)
		return kfs.SettledHeader{}, false
	}
	if _, _, _, base, ok := kfs.ParseSegmentKey(f.Key); ok && base != h.Span.Base {
		v.find(f.Key, 0, "it begins at offset %d", h.Span.Base)
	}
	at := int64(kfs.SegmentHeaderSize)
	for batch, err := range record.Batches(f.body[at : len(f.body)-kfs.SegmentFooterSize]) {
		if err == nil {
			err = record.Verify(batch)
		}
		if err != nil {
			v.find(f.Key, at, "%w", err)
		}
		v.summary.Batches++
		at += int64(len(batch))
	}
	v.summary.Records += int64(h.Records)
	return h, true
}

// index verifies the index of a segment.
func (v *Verifier) index(ctx context.Context, segment file) error {
	key := strings.TrimSuffix(segment.Key, ".kfs") + ".index"
	body, _, err := blob.ReadAll(ctx, v.Store, key, blob.All, maxObject)
	if errors.Is(err, blob.ErrNotFound) {
		v.find(key, 0, "the segment has no index")
		return nil
	}
	if err != nil {
		return err
	}
	x, err := kfs.DecodeIndex(body)
	if err == nil {
		err = x.Check(segment.body)
	}
	if err != nil {
		v.find(key, 0, "%w", err)
	}
	return nil
}
