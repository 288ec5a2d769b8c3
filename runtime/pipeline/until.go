package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/runtime/tail"
)

// Until is where a bounded run ends; at most one field is set. The zero value is a job without an end. The ends of all partitions are found
// when the run begins, so it waits for nothing, and nothing behind them is committed.
type Until struct {
	Latest bool      // behind the last record that is there when the run begins
	At     time.Time // there, or before the first record of that time or later; not in the future
	// Offsets are the offsets that are left out first, which must not lie behind the log's end. Partitions that it does not name are not read.
	Offsets Offsets
}

// Offsets are offsets by topic and partition.
type Offsets map[string]map[int32]int64

// Bounded reports whether there is an end.
func (u Until) Bounded() bool { return u.Latest || !u.At.IsZero() || u.Offsets != nil }

// Name tells ends apart, for machines: equal ones have the same; "" if there is no end.
func (u Until) Name() string {
	if !u.Bounded() {
		return ""
	}
	text := fmt.Appendf(nil, "%t %d", u.Latest, u.At.UnixMilli())
	for _, topic := range slices.Sorted(maps.Keys(u.Offsets)) {
		for _, partition := range slices.Sorted(maps.Keys(u.Offsets[topic])) {
			text = fmt.Appendf(text, " %s/%d=%d", topic, partition, u.Offsets[topic][partition])
		}
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// of is the offset of a partition.
func (o Offsets) of(topic string, partition int32) (offset int64, ok bool) {
	offset, ok = o[topic][partition]
	return offset, ok
}

// ValidateSettings reports what is wrong with what people set and the rest does not bear on: the topics, the memory, where the job begins and ends.
func (c *Config) ValidateSettings() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, topic := range c.Topics {
		if err := kfs.ValidateTopicName(topic); err != nil {
			errs = append(errs, err)
		}
	}
	if c.MemoryBytes != 0 && c.MemoryBytes < leastMemory {
		wrong("memory of %d bytes for the job: give it at least %d", c.MemoryBytes, leastMemory)
	}
	if c.From.Latest && !c.From.At.IsZero() || c.From.Offsets != nil && (c.From.Latest || !c.From.At.IsZero()) {
		wrong("a job starts at the latest record, at a time or at offsets: at one of them")
	}
	if c.Until.Latest && !c.Until.At.IsZero() || c.Until.Offsets != nil && (c.Until.Latest || !c.Until.At.IsZero()) {
		wrong("a job ends at the latest record, at a time or at offsets: at one of them")
	}
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	if c.Until.At.After(now()) {
		wrong("the end %s lies in the future: a bounded run takes what is there and waits for nothing; start it after that time", c.Until.At.Format(time.RFC3339))
	}
	match, err := kfs.MatchTopics(c.Topics, c.Pattern)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, offsets := range []Offsets{c.From.Offsets, c.Until.Offsets} {
		for _, topic := range slices.Sorted(maps.Keys(offsets)) {
			if !match(topic) {
				wrong("offsets of topic %s: the job does not read it", topic)
			}
			for _, partition := range slices.Sorted(maps.Keys(offsets[topic])) {
				at := offsets[topic][partition]
				if at < 0 || partition < 0 {
					wrong("%s:%d=%d: partitions and offsets begin at 0", topic, partition, at)
				}
				if from, ok := c.From.Offsets.of(topic, partition); ok && from > at {
					wrong("%s/%d: the end %d lies before the start %d", topic, partition, at, from)
				}
			}
		}
	}
	return errors.Join(errs...)
}

// bounds is where the reading of one journal ends in a bounded run. A nil value is a journal without an end.
type bounds struct {
	until    Until
	sequence uint64 // of the first object that was not there
	whole    bool   // the journal's end was found; else it is damaged, and the reading ends there or before
	next     map[kfs.PartitionID]int64
	since    map[kfs.PartitionID]kfs.Span // of Until.At: the segment in which a partition's end lies, until that was read
	timed    map[kfs.PartitionID]bool     // partitions that have, or had, a segment of since
}

// newBounds resolves the ends of a journal's partitions.
func newBounds(until Until, end *tail.End, wanted func(topic string) bool) *bounds {
	b := &bounds{until: until, sequence: end.Sequence, whole: end.Sequence != math.MaxUint64, next: map[kfs.PartitionID]int64{}, since: map[kfs.PartitionID]kfs.Span{}, timed: map[kfs.PartitionID]bool{}}
	for id, p := range end.Partitions {
		if !wanted(p.Topic) {
			continue
		}
		at, named := until.Offsets.of(p.Topic, id.Partition)
		switch {
		case until.Offsets == nil:
			at = p.Span.Next
		case !named:
			continue
		}
		b.next[id] = at
		if !p.Since.Empty() {
			b.since[id], b.timed[id] = p.Since, true
		}
	}
	return b
}

// end is where a partition ends, and whether the run takes anything of it.
func (b *bounds) end(topic string, id kfs.PartitionID) (next int64, ok bool) {
	switch {
	case b == nil:
		return math.MaxInt64, true
	case b.until.Offsets != nil:
		return b.until.Offsets.of(topic, id.Partition)
	case !b.whole:
		return math.MaxInt64, true
	}
	next, ok = b.next[id]
	return next, ok
}

// goal is what is to be said of a partition when nothing more is taken of it: also to those who have found another end, later or before, if it
// is one.
func (b *bounds) goal(id kfs.PartitionID) int64 {
	if b.until.Offsets != nil || b.timed[id] {
		return saidAll
	}
	return b.next[id]
}

// ahead is how far a run is known to take a partition of a checkpoint.
func (b *bounds) ahead(p *kfs.PartitionState) int64 {
	if b != nil {
		if _, inside := b.since[p.ID()]; inside {
			return 0 // the end lies somewhere in that segment
		}
	}
	end, _ := b.end(p.Name, p.ID())
	if end == math.MaxInt64 {
		return p.Next
	}
	return end
}

// ends is where nothing needs to be read any more of partitions.
func (b *bounds) ends() map[kfs.PartitionID]int64 {
	ends := maps.Clone(b.next)
	for id, segment := range b.since {
		ends[id] = segment.Next
	}
	return ends
}

// cut gives what the run takes of a piece, and whether nothing behind it is taken.
func (b *bounds) cut(p *tail.Piece) (span kfs.Span, last bool, err error) {
	span = p.Span
	if b == nil {
		return span, false, nil
	}
	if segment, ok := b.since[p.ID]; ok && p.Span.Next > segment.Base && p.Err == nil {
		at, found, err := record.OffsetAt(p.Records, 0, b.until.At.UnixMilli())
		if err != nil {
			return span, false, err
		}
		if found {
			b.next[p.ID] = at
			delete(b.since, p.ID)
		}
	}
	end, ok := b.end(p.Topic, p.ID)
	if !ok || end <= span.Base {
		return kfs.Span{Base: span.Base, Next: span.Base}, true, nil
	}
	return kfs.Span{Base: span.Base, Next: min(span.Next, end)}, end <= span.Next, nil
}

// passed reports whether nothing of a partition is taken from an offset on.
func (b *bounds) passed(topic string, id kfs.PartitionID, at int64) bool {
	if b == nil {
		return false
	}
	end, ok := b.end(topic, id)
	segment, inside := b.since[id]
	return !ok || at >= end || inside && at >= segment.Next
}

// trimmed says that nothing is left of what the run is to take.
func (b *bounds) trimmed(p *kfs.PartitionState) error {
	end, _ := b.end(p.Name, p.ID())
	return halted(fmt.Sprintf("the run is to end at offset %d, and the log begins at %d", end, p.LogStart),
		"what was before was trimmed: let the run end behind that, or leave the partition out")
}

// remaining is the partitions of which something may be taken; nil if that is not known.
func (b *bounds) remaining() map[kfs.PartitionID]bool {
	if b == nil || !b.whole {
		return nil
	}
	all := map[kfs.PartitionID]bool{}
	for id, next := range b.next {
		if next > 0 {
			all[id] = true
		}
	}
	return all
}

// resolve finds the journal's end once, if the job needs it. Of journal 0 it learns all that there is, so that no journal needs to be read
// behind the ends of its partitions.
func (r *reader) resolve(ctx context.Context) error {
	cfg := &r.job.cfg
	if r.end != nil || !cfg.Until.Bounded() && !cfg.From.Latest {
		return nil
	}
	end, err := r.job.endOf(ctx, r.journal)
	if final(err) && cfg.Until.At.IsZero() && !cfg.From.Latest {
		end, err = tail.End{Sequence: math.MaxUint64}, nil // the reading comes to the same damage, after what is before it
	}
	if err != nil {
		return err
	}
	if cfg.Until.Bounded() {
		r.bounds = newBounds(cfg.Until, &end, r.job.wanted)
		if err := r.checkOffsets(&end); err != nil {
			return err
		}
	}
	for _, e := range end.Entries {
		if err := r.job.learn(e); err != nil {
			return err
		}
	}
	r.end = &end
	return nil
}

// checkOffsets holds the ends that were given as offsets against what there is.
func (r *reader) checkOffsets(end *tail.End) error {
	offsets, j := r.job.cfg.Until.Offsets, r.job
	if offsets == nil || !r.bounds.whole {
		return nil
	}
	j.mu.Lock()
	if r.journal == 0 {
		j.live = liveTopics(end.Entries)
	}
	live := j.live
	j.mu.Unlock()
	var wrong []error
	for _, topic := range slices.Sorted(maps.Keys(offsets)) {
		t, ok := live[topic]
		if !ok && r.journal == 0 {
			wrong = append(wrong, fmt.Errorf("there is no topic %s", topic))
		}
		for _, partition := range slices.Sorted(maps.Keys(offsets[topic])) {
			switch {
			case !ok:
			case int(partition) >= len(t.Journals):
				if r.journal == 0 {
					wrong = append(wrong, fmt.Errorf("topic %s has %d partitions, there is no partition %d", topic, len(t.Journals), partition))
				}
			case t.Journals[partition] == r.journal:
				if at, next := offsets[topic][partition], end.Partitions[kfs.PartitionID{Topic: t.ID, Partition: partition}].Span.Next; at > next {
					wrong = append(wrong, fmt.Errorf("%s/%d ends at offset %d, before %d", topic, partition, next, at))
				}
			}
		}
	}
	if len(wrong) > 0 {
		return halted(fmt.Sprintf("the run cannot end where it should: %v", errors.Join(wrong...)),
			"a bounded run waits for nothing: give offsets that are there, or start it later")
	}
	return nil
}

// liveTopics is the topics that there are, after these entries.
func liveTopics(entries []kfs.Entry) map[string]kfs.Topic {
	live := map[string]kfs.Topic{}
	for _, e := range entries {
		if t, ok := e.(kfs.Topic); ok {
			if t.State == kfs.TopicLive {
				live[t.Name] = t
			} else if live[t.Name].ID == t.ID {
				delete(live, t.Name)
			}
		}
	}
	return live
}

// tellAbsent warns of what a run was to read and there is nothing of: it ends well, and nothing else would tell of a name that is wrong.
func (j *Job) tellAbsent() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.cfg.Pattern != "" && len(j.tables) == 0 {
		j.cfg.Logger.Warn("there is no topic that matches the pattern, and nothing was read", "pattern", j.cfg.Pattern)
	}
	for _, topic := range j.cfg.Topics {
		if _, met := j.tables[topic]; !met && j.wanted(topic) {
			j.cfg.Logger.Warn("there is no such topic, and nothing of it was read", "topic", topic)
		}
	}
}
