package tail

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/namespace"
)

var errNoTime = errors.New("the store's answers carry no time: a journal cannot be followed without the store's clock")

const maxMetaBytes = 1 << 30 // of a checkpoint or an index page

// Open finds the newest checkpoint and loads it. A namespace that is being restored is refused (namespace.ErrRestoring).
func (t *Tailer) Open(ctx context.Context) error {
	if err := namespace.Usable(ctx, t.cfg.Store); err != nil {
		return err
	}
	for {
		found, err := t.list(ctx, false)
		if err != nil {
			return err
		}
		t.since, t.checkpoint = found.serverTime, nil
		if !found.any {
			return nil
		}
		t.checkpoint, err = t.load(ctx, found.newest)
		if !errors.Is(err, blob.ErrNotFound) { // else newer ones were written meanwhile
			return err
		}
	}
}

// Checkpoint is what Open found; nil if the journal has none yet. It must not be changed.
func (t *Tailer) Checkpoint() *kfs.Checkpoint { return t.checkpoint }

// Seek says where reading begins, after Open: at these offsets, one per partition that the checkpoint knows and that is wanted from
// before its end. Everything behind the checkpoint is given anyway. Objects also hold what was not asked for: the caller skips it.
// An offset below the partition's log start counts as the log start.
func (t *Tailer) Seek(ctx context.Context, offsets map[kfs.PartitionID]int64) error {
	c := t.checkpoint
	h := newChain(t.cfg.Journal, c)
	t.settled = nil
	if c != nil {
		first, err := t.find(ctx, t.seekSettled(offsets))
		if err != nil {
			return err
		}
		if first != nil {
			h.backTo(c, *first)
		}
	}
	t.land()
	t.core = newCore(h, c, t.since)
	t.todo = t.core.step(waited{})
	return nil
}

// settled is a segment that is to be read.
type settled struct {
	topic   string
	id      kfs.PartitionID
	segment kfs.SettledSegment
}

// Until says, before Seek, where the reading of partitions ends: of those with an offset here nothing is sought that begins there or behind
// it. Objects may give it all the same.
func (t *Tailer) Until(ends map[kfs.PartitionID]int64) { t.ends = ends }

// seekSettled queues the segments that hold wanted offsets and gives the offsets that must be found in the journal.
func (t *Tailer) seekSettled(offsets map[kfs.PartitionID]int64) map[kfs.PartitionID]int64 {
	needed := map[kfs.PartitionID]int64{}
	for i := range t.checkpoint.Partitions {
		p := &t.checkpoint.Partitions[i]
		at, wanted := offsets[p.ID()]
		if !wanted || at >= p.Next || p.Ended {
			continue
		}
		at = max(at, p.LogStart)
		end, ok := t.ends[p.ID()]
		if !ok {
			end = p.Next
		}
		for _, s := range p.Settled {
			if at < s.Span.Next && s.Span.Base < end {
				t.settled = append(t.settled, settled{p.Name, p.ID(), s})
				at = s.Span.Next
			}
		}
		if at < min(end, p.Next) {
			needed[p.ID()] = at
		}
	}
	return needed
}

// find goes through the index of live objects, from the newest to the oldest, for the first object that holds a needed offset. It reads no
// more pages than it must.
func (t *Tailer) find(ctx context.Context, needed map[kfs.PartitionID]int64) (first *kfs.Object, err error) {
	search := func(objects []kfs.Object) {
		for i := len(objects) - 1; i >= 0 && len(needed) > 0; i-- {
			for j := range objects[i].Segments {
				s := &objects[i].Segments[j]
				if at, ok := needed[s.ID()]; ok && s.Span.Contains(at) {
					delete(needed, s.ID())
					first = &objects[i]
				}
			}
		}
	}
	search(t.checkpoint.Objects)
	for i := len(t.checkpoint.Pages) - 1; i >= 0 && len(needed) > 0; i-- {
		page, err := t.loadPage(ctx, t.checkpoint.Pages[i])
		if err != nil {
			return nil, err
		}
		search(page.Objects)
	}
	for id, at := range needed {
		return nil, fmt.Errorf("%s: %w", kfs.CheckpointKey(t.cfg.Journal, t.checkpoint.Sequence),
			corrupt("partition %s: no object or segment in its index holds offset %d", id, at))
	}
	return first, nil
}

// nextSettled gives the next settled segment. A damaged one ends its partition only.
func (t *Tailer) nextSettled(ctx context.Context) (*Object, error) {
	next := t.settled[0]
	s := next.segment
	f := &flight{key: s.Key, granted: make(chan struct{})}
	f.err = f.run(ctx, t.cfg.Store, t.cfg.Budget, nil)
	piece := Piece{Topic: next.topic, ID: next.id, Span: s.Span, Latest: s.MaxTimestamp, Ref: kfs.Ref{Key: s.Key, Len: s.Length}}
	o, err := settledObject(f, t.cfg.Now(), piece, func(object []byte) (kfs.SettledHeader, error) { return openSettled(object, s) })
	if err == nil {
		t.settled = t.settled[1:]
	}
	return o, err
}

// settledObject makes an object of the GET of a settled segment, which has ended. check opens it, and holds it against what is known of it. Where
// there is no sound segment, the piece has an error; an error of this is a passing one.
func settledObject(f *flight, read time.Time, piece Piece, check func(object []byte) (kfs.SettledHeader, error)) (*Object, error) {
	o := &Object{Key: f.key, Pieces: []Piece{piece}}
	p := &o.Pieces[0]
	switch {
	case errors.Is(f.err, blob.ErrNotFound):
		p.Err = fmt.Errorf("%s: %w", f.key, corrupt("the segment is listed, but it is missing"))
	case errors.Is(f.err, kfs.ErrCorrupt):
		p.Err = f.err
	case f.err != nil:
		return nil, f.err
	default:
		o.Size, o.Read, o.release = int64(len(f.body)), read, f.release
		h, err := check(f.body)
		if err != nil {
			p.Err = fmt.Errorf("%s: %w", f.key, err)
			break
		}
		p.Span, p.Created = h.Span, time.UnixMilli(h.Created)
		p.Records = f.body[kfs.SegmentHeaderSize : len(f.body)-kfs.SegmentFooterSize]
	}
	return o, nil
}

// openSettled checks a segment against what the journal says about it.
func openSettled(object []byte, s kfs.SettledSegment) (kfs.SettledHeader, error) {
	h, err := kfs.OpenSegment(object)
	switch {
	case err != nil:
		return h, err
	case int64(len(object)) != s.Length || h.Span != s.Span:
		return h, corrupt("it holds %s in %d bytes, the journal says %s in %d", h.Span, len(object), s.Span, s.Length)
	}
	if crc := kfs.Checksum(object[:len(object)-kfs.SegmentFooterSize]); crc != s.CRC {
		return h, corrupt("its CRC is %08x, the journal says %08x", crc, s.CRC)
	}
	return h, nil
}

// list finds the newest checkpoint, and with objects also the first object at or above the next one. Its time is that of its first page.
func (t *Tailer) list(ctx context.Context, objects bool) (listed, error) {
	var l listed
	prefix, after := kfs.CheckpointPrefix(t.cfg.Journal), ""
	if objects {
		prefix = kfs.JournalPrefix(t.cfg.Journal)
		if next := t.core.chain.next; next > 0 {
			after = kfs.ObjectKey(t.cfg.Journal, next-1)
		}
	}
pages:
	for page, err := range t.cfg.Store.List(ctx, prefix, after) {
		if err != nil {
			return l, err
		}
		if l.serverTime.IsZero() {
			l.serverTime = page.ServerTime
		}
		for _, o := range page.Objects {
			if _, sequence, ok := kfs.ParseObjectKey(o.Key); ok && !l.anyObject {
				l.higher, l.anyObject = sequence, true
			}
			if _, sequence, ok := kfs.ParseCheckpointKey(o.Key); ok {
				l.newest, l.any = sequence, true
			} else if l.any {
				break pages // keys of other kinds follow
			}
		}
	}
	if l.serverTime.IsZero() {
		return l, errNoTime
	}
	return l, nil
}

func (t *Tailer) load(ctx context.Context, sequence uint64) (*kfs.Checkpoint, error) {
	key := kfs.CheckpointKey(t.cfg.Journal, sequence)
	object, _, err := blob.ReadAll(ctx, t.cfg.Store, key, blob.All, maxMetaBytes)
	if err != nil {
		return nil, err
	}
	c, err := kfs.DecodeCheckpoint(object)
	if err == nil && (c.Journal != t.cfg.Journal || c.Sequence != sequence) {
		err = corrupt("it says that it covers object %d of journal %d", c.Sequence, c.Journal)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return c, nil
}

func (t *Tailer) loadPage(ctx context.Context, ref kfs.PageRef) (*kfs.Page, error) {
	key := kfs.PageKey(t.cfg.Journal, ref.First, ref.Last)
	object, _, err := blob.ReadAll(ctx, t.cfg.Store, key, blob.All, maxMetaBytes)
	if err != nil {
		if errors.Is(err, blob.ErrNotFound) {
			err = fmt.Errorf("%s: %w", key, corrupt("the checkpoint lists the page, but it is missing"))
		}
		return nil, err
	}
	p, err := kfs.DecodePage(object)
	switch {
	case err != nil:
	case p.Journal != t.cfg.Journal || p.First != ref.First || p.Last != ref.Last:
		err = corrupt("it says that it covers [%d, %d] of journal %d", p.First, p.Last, p.Journal)
	case kfs.MetaChecksum(object) != ref.CRC:
		err = corrupt("its CRC is %08x, the checkpoint says %08x", kfs.MetaChecksum(object), ref.CRC)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return p, nil
}
