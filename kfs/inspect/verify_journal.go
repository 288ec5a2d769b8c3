package inspect

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// walk is what verifying a journal knows of it. Where damage hides something, the walk forgets what it cannot know, so that one
// damage is one finding.
type walk struct {
	journal     uint32
	checkpoints []uint64 // sequences, ascending, of those not met yet
	first       uint64   // the first object that is there
	seen        []trace  // one for each sequence from first on
	crc         uint32   // of the last object
	epoch       int32    // of the last object
	known       bool     // whether crc and epoch are known
	complete    bool     // whether partitions is all that the journal holds
	partitions  map[kfs.PartitionID]*progress
	newest      *kfs.Checkpoint
	newestKey   string
	pages       []kfs.PageRef // of the two newest checkpoints
	settled     []placed      // segments that are listed
}

// trace is what is kept of a walked object.
type trace struct {
	crc    uint32
	here   bool
	digest uint64 // of what an index says of it
}

// progress is how far a partition got.
type progress struct {
	next     int64
	logStart int64
	sure     bool // whether next is known
	ended    bool
}

func (v *Verifier) journal(ctx context.Context, journal uint32) error {
	w := &walk{journal: journal, partitions: map[kfs.PartitionID]*progress{}}
	for info, err := range objects(ctx, v.Store, kfs.CheckpointPrefix(journal), "") {
		if err != nil {
			return err
		}
		_, sequence, ok := kfs.ParseCheckpointKey(info.Key)
		if !ok {
			v.find(info.Key, 0, "no checkpoint has such a key")
			continue
		}
		w.checkpoints = append(w.checkpoints, sequence)
	}
	for f, err := range readAll(ctx, v.Store, journalObjects(ctx, v.Store, journal, ""), blob.All) {
		if errors.Is(err, blob.ErrNotFound) {
			return fmt.Errorf("journal %d: an object went away while it was being read: verify again: %w", journal, err)
		}
		if err == nil {
			err = v.step(ctx, w, f)
		}
		if err != nil {
			return err
		}
	}
	if err := v.end(ctx, w); err != nil {
		return err
	}
	v.listed(w)
	return v.indexPages(ctx, w)
}

// step goes one object further.
func (v *Verifier) step(ctx context.Context, w *walk, f file) error {
	_, sequence, _ := kfs.ParseObjectKey(f.Key)
	if err := v.reach(ctx, w, sequence); err != nil {
		return err
	}
	m, crc := v.object(f)
	if m != nil && len(w.seen) == 1 && w.known && m.Follows(w.journal, m.Sequence-1, w.crc, w.epoch) != nil {
		if live, err := v.live(ctx, w); err != nil {
			return err
		} else if sequence <= live {
			if err := v.beginAnew(ctx, w, sequence); err != nil {
				return err
			}
		}
	}
	if m == nil {
		w.seen = append(w.seen, trace{})
		w.forget()
	} else {
		w.seen = append(w.seen, trace{crc, true, digest(&kfs.Object{Sequence: sequence, CRC: crc, Size: f.Size, Created: m.Created, Segments: m.Segments})})
		v.follow(w, f.Key, m)
		w.crc, w.epoch, w.known = crc, m.Epoch, true
		v.apply(w, f.Key, m)
	}
	if len(w.checkpoints) > 0 && w.checkpoints[0] == sequence {
		w.checkpoints = w.checkpoints[1:]
		return v.checkpoint(ctx, w, sequence)
	}
	return nil
}

// checkpointsBelow verifies the checkpoints of objects that are not there.
func (v *Verifier) checkpointsBelow(ctx context.Context, w *walk, sequence uint64) error {
	for len(w.checkpoints) > 0 && w.checkpoints[0] < sequence {
		s := w.checkpoints[0]
		w.checkpoints = w.checkpoints[1:]
		if err := v.checkpoint(ctx, w, s); err != nil {
			return err
		}
	}
	return nil
}

// forget gives up what an object that cannot be read may have changed.
func (w *walk) forget() {
	w.known, w.complete = false, false
	for _, p := range w.partitions {
		p.sure = false
	}
}

// follow checks the chain.
func (v *Verifier) follow(w *walk, key string, m *kfs.Manifest) {
	if !w.known || m.Sequence == 0 {
		return
	}
	if err := m.Follows(w.journal, m.Sequence-1, w.crc, w.epoch); err != nil {
		v.find(key, 0, "%w", err)
	}
}

// apply checks the offsets of an object's segments and applies its entries.
func (v *Verifier) apply(w *walk, key string, m *kfs.Manifest) {
	for i := range m.Segments {
		s := &m.Segments[i]
		p := w.partition(s.ID())
		switch {
		case p.ended:
			v.find(key, s.Position, "%s/%d %s: the topic %s has ended in this journal", s.Name, s.Partition, s.Span, s.Topic)
		case p.sure && s.Span.Base < p.next:
			v.find(key, s.Position, "%s/%d %s overlaps what lies before, which ends at %d", s.Name, s.Partition, s.Span, p.next)
		case p.sure && s.Span.Base > p.next && s.Span.Base > p.logStart:
			v.find(key, s.Position, "%s/%d: a gap: offsets [%d, %d) are missing, and no trim explains it", s.Name, s.Partition, p.next, s.Span.Base)
		}
		p.next, p.sure = s.Span.Next, true
	}
	for _, entry := range m.Entries {
		switch e := entry.(type) {
		case kfs.Trim:
			p := w.partition(kfs.PartitionID{Topic: e.Topic, Partition: e.Partition})
			p.logStart = max(p.logStart, e.LogStart)
		case kfs.Settled:
			v.list(w, kfs.PartitionID{Topic: e.Topic, Partition: e.Partition}, e.Segments)
		case kfs.Ended:
			for id, p := range w.partitions {
				if id.Topic == e.Topic {
					p.ended = true
				}
			}
		}
	}
}

// partition begins at offset 0 where the walk has seen all of the journal.
func (w *walk) partition(id kfs.PartitionID) *progress {
	p, ok := w.partitions[id]
	if !ok {
		p = &progress{sure: w.complete}
		w.partitions[id] = p
	}
	return p
}

// checkpoint verifies a checkpoint, against the walk where the walk stands at its object.
func (v *Verifier) checkpoint(ctx context.Context, w *walk, sequence uint64) error {
	key := kfs.CheckpointKey(w.journal, sequence)
	body, _, err := blob.ReadAll(ctx, v.Store, key, blob.All, maxObject)
	if errors.Is(err, blob.ErrNotFound) {
		return nil // its owner has dropped it since it was listed: a newer one is there, which is not for this walk
	}
	if err != nil {
		return err
	}
	v.summary.Checkpoints++
	defer v.done(int64(len(body)))
	c, err := kfs.DecodeCheckpoint(body)
	if err == nil {
		err = sameCheckpoint(key, c)
	}
	if err != nil {
		v.find(key, 0, "%w", err)
		return nil
	}
	if w.newest != nil {
		w.pages = w.newest.Pages
	}
	w.newest, w.newestKey = c, key
	v.compareChain(w, key, c)
	v.comparePartitions(w, key, c)
	w.crc, w.epoch, w.known = c.ObjectCRC, c.Epoch, true
	for i := range c.Objects {
		v.compareObject(w, key, &c.Objects[i])
	}
	return nil
}

func (v *Verifier) compareChain(w *walk, key string, c *kfs.Checkpoint) {
	t, ok := w.trace(c.Sequence)
	if !ok || !t.here {
		return
	}
	if t.crc != c.ObjectCRC {
		v.find(key, 0, "it covers object %d with CRC %08x, but that one has %08x", c.Sequence, c.ObjectCRC, t.crc)
	}
	if w.known && w.epoch != c.Epoch {
		v.find(key, 0, "it says owner epoch %d, object %d has %d", c.Epoch, c.Sequence, w.epoch)
	}
}

// comparePartitions compares a checkpoint's partitions with the walk's, and takes over what the walk could not know.
func (v *Verifier) comparePartitions(w *walk, key string, c *kfs.Checkpoint) {
	listed := make(map[kfs.PartitionID]bool, len(c.Partitions))
	for i := range c.Partitions {
		s := &c.Partitions[i]
		listed[s.ID()] = true
		p, ok := w.partitions[s.ID()]
		switch {
		case ok && p.sure && p.next != s.Next && s.Next != s.LogStart:
			v.find(key, 0, "%s/%d: the next offset is %d, but the journal's objects end at %d", s.Name, s.Partition, s.Next, p.next)
		case !ok && w.complete && s.Next != s.LogStart:
			v.find(key, 0, "%s/%d: the next offset is %d, but no object has records of it", s.Name, s.Partition, s.Next)
		}
		v.list(w, s.ID(), s.Settled)
		p = w.partition(s.ID())
		p.next, p.logStart, p.sure, p.ended = s.Next, max(p.logStart, s.LogStart), true, s.Ended
	}
	for id, p := range w.partitions {
		if !listed[id] && !p.ended && p.next > 0 {
			v.find(key, 0, "partition %s is missing, which ends at %d", id, p.next)
		}
	}
	w.complete = true
}

// compareObject compares what an index says of an object with the object.
func (v *Verifier) compareObject(w *walk, key string, o *kfs.Object) {
	t, ok := w.trace(o.Sequence)
	switch {
	case !ok:
		v.find(key, 0, "it names object %d as live, which is not there", o.Sequence)
	case t.here && t.crc != o.CRC:
		v.find(key, 0, "it names object %d with CRC %08x, which has %08x", o.Sequence, o.CRC, t.crc)
	case t.here && t.digest != digest(o):
		v.find(key, 0, "what it says of object %d is not what that object holds", o.Sequence)
	}
}

func (w *walk) trace(sequence uint64) (trace, bool) {
	if sequence < w.first || sequence-w.first >= uint64(len(w.seen)) {
		return trace{}, false
	}
	return w.seen[sequence-w.first], true
}

// end checks what lies behind the last object.
func (v *Verifier) end(ctx context.Context, w *walk) error {
	for _, sequence := range w.checkpoints {
		if err := v.checkpoint(ctx, w, sequence); err != nil {
			return err
		}
		if len(w.seen) > 0 {
			v.find(kfs.CheckpointKey(w.journal, sequence), 0, "it covers object %d, but the journal ends with %d", sequence, w.first+uint64(len(w.seen))-1)
		}
	}
	if len(w.seen) == 0 && w.newest == nil {
		v.find(kfs.JournalPrefix(w.journal), 0, "there is neither an object nor a readable checkpoint")
	}
	return nil
}

// indexPages verifies the index pages of a journal, and that those which the two newest checkpoints name are there.
func (v *Verifier) indexPages(ctx context.Context, w *walk) error {
	if w.newest != nil {
		w.pages = append(slices.Clone(w.pages), w.newest.Pages...)
	}
	named := make(map[string]kfs.PageRef, len(w.pages))
	for _, ref := range w.pages {
		named[kfs.PageKey(w.journal, ref.First, ref.Last)] = ref
	}
	for f, err := range readAll(ctx, v.Store, objects(ctx, v.Store, kfs.JournalPrefix(w.journal)+"index-", ""), blob.All) {
		if err != nil {
			return err
		}
		v.page(w, f, named)
		delete(named, f.Key)
		v.summary.Pages++
		v.done(f.Size)
	}
	for _, ref := range w.pages {
		key := kfs.PageKey(w.journal, ref.First, ref.Last)
		if _, missing := named[key]; missing {
			v.find(key, 0, "checkpoint %s names this index page, which is not there", w.newestKey)
			delete(named, key)
		}
	}
	return nil
}

func (v *Verifier) page(w *walk, f file, named map[string]kfs.PageRef) {
	p, err := kfs.DecodePage(f.body)
	if err == nil {
		err = samePage(f.Key, p)
	}
	if err != nil {
		v.find(f.Key, 0, "%w", err)
		return
	}
	ref, ok := named[f.Key]
	if !ok {
		return // one that no kept checkpoint names may speak of objects that are gone
	}
	if crc := kfs.MetaChecksum(f.body); ref.CRC != crc || ref.Length != f.Size {
		v.find(f.Key, 0, "it has %d bytes and CRC %08x, a checkpoint names it with %d and %08x", f.Size, crc, ref.Length, ref.CRC)
	}
	for i := range p.Objects {
		if o := &p.Objects[i]; !released(w.newest, o.Sequence) {
			v.compareObject(w, f.Key, o)
		}
	}
}

// released reports whether a checkpoint lets an object go.
func released(c *kfs.Checkpoint, sequence uint64) bool {
	return slices.ContainsFunc(c.Released, func(r kfs.Run) bool { return r.First <= sequence && sequence <= r.Last })
}

// digest is a hash of all that an index says of an object.
func digest(o *kfs.Object) uint64 {
	h := fnv.New64a()
	var b []byte
	for _, n := range []int64{int64(o.Sequence), int64(o.CRC), o.Size, o.Created} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	for i := range o.Segments {
		s := &o.Segments[i]
		b = append(append(b, s.Topic[:]...), s.Name...)
		for _, n := range []int64{
			int64(len(s.Name)), int64(s.Partition), s.Span.Base, s.Span.Next, int64(s.Records), s.Position, s.Length, int64(s.CRC), s.FirstTimestamp, s.MaxTimestamp,
		} {
			b = binary.BigEndian.AppendUint64(b, uint64(n))
		}
	}
	h.Write(b)
	return h.Sum64()
}
