package tail

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

const (
	// maxRanges bounds the GETs of one object beside that of its manifest.
	maxRanges = 4
	// closeBy is the gap between two wanted ranges that is read along: less than what one more request costs.
	closeBy = 64 << 10
	// smallObject is the size up to which objects are read whole: the request for the manifest would cost more than what it saves.
	smallObject = 512 << 10
)

// span is bytes of an object.
type span struct{ off, end int64 }

// coalesce gives the ranges to read so that all wanted spans, in order, are covered: no more than maxRanges, and as few bytes as that allows.
func coalesce(wanted []span) []span {
	var out []span
	for _, w := range wanted {
		if n := len(out); n > 0 && w.off-out[n-1].end <= closeBy {
			out[n-1].end = w.end
		} else {
			out = append(out, w)
		}
	}
	for len(out) > maxRanges {
		best := 1
		for i := 2; i < len(out); i++ {
			if out[i].off-out[i-1].end < out[best].off-out[best-1].end {
				best = i
			}
		}
		out[best-1].end = out[best].end
		out = slices.Delete(out, best, best+1)
	}
	return out
}

func length(spans []span) (n int64) {
	for _, s := range spans {
		n += s.end - s.off
	}
	return n
}

// shape is what lately read objects were like: how much of their segments would be read in ranges, and how long their manifests are.
type shape struct {
	wanted, total float64 // bytes, older objects counting less
	tail          int64   // bytes from the manifest to the end, at most
}

// add takes note of an object.
func (s *shape) add(m *kfs.Manifest, size int64, wanted []span) {
	all := segmentBytes(m)
	s.wanted, s.total = s.wanted/2+float64(length(coalesce(wanted))), s.total/2+float64(all)
	tail := size - kfs.HeaderSize - all
	s.tail = max(s.tail-s.tail/8, tail+tail/4)
}

func segmentBytes(m *kfs.Manifest) (n int64) {
	for i := range m.Segments {
		n += m.Segments[i].Length
	}
	return n
}

// partial tells whether an object like those is to be read in parts, manifest first: where less than half of it is wanted, and it is large.
func (s *shape) partial() bool {
	return s.total > 2*smallObject && 2*s.wanted < s.total
}

// wants lists the segments that are to be read, in order, as the manifest has them.
func (t *Tailer) wants(m *kfs.Manifest) (wanted []span) {
	for i := range m.Segments {
		if s := &m.Segments[i]; t.wanted(s) {
			wanted = append(wanted, span{s.Position, s.Position + s.Length})
		}
	}
	return wanted
}

func (t *Tailer) wanted(s *kfs.Segment) bool {
	return t.cfg.Match(s.Name) && (t.cfg.Wants == nil || t.cfg.Wants(s.ID()))
}

// part is bytes of an object that were read.
type part struct {
	off  int64
	body []byte
}

// runParts reads the object's manifest and then what is wanted: the whole if that is half of it or more.
func (f *flight) runParts(ctx context.Context, store blob.Store, budget Budget, before <-chan struct{}, tail int64, wants func(*kfs.Manifest) []span) error {
	granted := false
	defer func() {
		if !granted {
			close(f.granted)
		}
	}()
	if err := f.readTail(ctx, store, tail); err != nil {
		return err
	}
	if f.manifest == nil {
		return nil // whoever opens it sees the error
	}
	ranges := coalesce(wants(f.manifest))
	if 2*length(ranges) >= segmentBytes(f.manifest) && len(ranges) > 0 {
		granted = true // by run
		return f.run(ctx, store, budget, before)
	}
	if before != nil {
		select {
		case <-before:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	bytes := length(ranges)
	if err := budget.Acquire(ctx, bytes); err != nil {
		return err
	}
	f.release = func() { budget.Release(bytes) }
	f.parts = make([]part, len(ranges))
	g, gets := errgroup.WithContext(ctx)
	for i, r := range ranges {
		g.Go(func() error {
			body, _, err := blob.ReadAll(gets, store, f.key, blob.Bytes(r.off, r.end-r.off), r.end-r.off)
			if err == nil && int64(len(body)) != r.end-r.off {
				err = fmt.Errorf("%d bytes of %d from byte %d", len(body), r.end-r.off, r.off)
			}
			f.parts[i] = part{r.off, body}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		f.release()
		return fmt.Errorf("get %s: %w", f.key, err)
	}
	return nil
}

// records is a segment's bytes; nil if they were not read.
func (f *flight) records(s *kfs.Segment) []byte {
	if f.parts == nil {
		return s.Bytes(f.body)
	}
	for _, p := range f.parts {
		if at := s.Position - p.off; at >= 0 && at+s.Length <= int64(len(p.body)) {
			return p.body[at : at+s.Length : at+s.Length]
		}
	}
	return nil
}
