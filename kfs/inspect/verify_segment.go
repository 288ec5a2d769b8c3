package inspect

import (
	"context"
	"errors"
	"iter"
	"strings"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/record"
)

// segments verifies the settled segments of a namespace, of Firn or of KafScale, with their indexes.
func (v *Verifier) segments(ctx context.Context) error {
	folder, next := "", int64(0)
	for f, err := range readAll(ctx, v.Store, settledSegments(ctx, v.Store), blob.All) {
		if err != nil {
			return err
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
		folder, next = in, h.Span.Next // 0 behind a damaged one
		if ok {
			if err := v.index(ctx, f); err != nil {
				return err
			}
		}
	}
	return nil
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
