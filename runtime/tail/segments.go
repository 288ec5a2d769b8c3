package tail

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

const (
	relist      = 5 * time.Minute // how often new topics and partitions are looked for, and holes
	incomplete  = 5 * time.Minute // how long a segment may lack its footer
	segmentGets = 8               // small reads at a time
	queueAhead  = 3               // segments that are read beside the next one
	slowestPoll = 5 * time.Second
)

// Segments follows a bucket that KafScale writes: it has no journals, only segments of format version 1 at
// {topic}/{partition}/segment-{base}.kfs. It has the methods of Tailer, and what it gives is held against the same promises, as far as the format
// makes them: a checksum for each segment, and bases that follow each other.
//
// The next segment of a partition begins behind the last one, so its key is known: a poll is one GET of 16 bytes for each partition. Listing, with
// one request for each partition, happens at the start and every five minutes. KafScale gives topics no ids: see SegmentTopic.
type Segments struct {
	cfg        Config
	lines      []*line // by topic and partition
	byID       map[kfs.PartitionID]*line
	checkpoint *kfs.Checkpoint
	ends       map[kfs.PartitionID]int64

	queue   []queued
	flights []*flight // of the queue's first segments, in order
	listed  time.Time
	poll    time.Duration
}

// line is the segments of one partition.
type line struct {
	topic string
	id    kfs.PartitionID
	found []found // in order of base, when they were listed
	next  int64   // base of the next segment that is asked for
	short time.Time
}

// found is a segment as it was listed.
type found struct{ base, size int64 }

// queued is a segment that is to be read.
type queued struct {
	line *line
	base int64
	upTo int64 // where the next known segment begins; -1 if none is known
}

// SegmentTopic is the id under which a topic of a KafScale bucket is known: it is made of the name, so a topic that was deleted and created again
// looks the same.
func SegmentTopic(name string) kfs.TopicID {
	sum := sha256.Sum256([]byte("KafScale topic " + name))
	id := kfs.TopicID(sum[:16])
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // a UUID of version 8
	return id
}

// NewSegments makes a tailer of a KafScale bucket. Config.Journal and Config.Wants are not used.
func NewSegments(cfg Config) *Segments {
	return &Segments{cfg: New(cfg).cfg, byID: map[kfs.PartitionID]*line{}}
}

// ReadSegmentsEnd finds where a KafScale bucket ends, as ReadEnd does for a journal. A segment counts for since by the time at which it was
// written.
func ReadSegmentsEnd(ctx context.Context, cfg Config, since time.Time) (End, error) {
	s := NewSegments(cfg)
	if err := s.Open(ctx); err != nil {
		return End{}, err
	}
	end := End{Partitions: map[kfs.PartitionID]PartitionEnd{}, Entries: s.checkpoint.Metadata}
	first := map[kfs.PartitionID]int64{}
	if !since.IsZero() {
		var all []kfs.PartitionID
		for id := range s.byID {
			all = append(all, id)
		}
		var err error
		if first, err = s.OffsetsAt(ctx, since, all); err != nil {
			return End{}, err
		}
	}
	for _, l := range s.lines {
		p := PartitionEnd{Topic: l.topic, Span: kfs.Span{Base: l.found[0].base, Next: l.next}}
		if base, ok := first[l.id]; ok {
			p.Since = kfs.Span{Base: base, Next: l.after(base)}
		}
		end.Partitions[l.id] = p
	}
	return end, nil
}

// after is where the segment of a base ends, as far as is known from what was listed.
func (l *line) after(base int64) int64 {
	i, _ := slices.BinarySearchFunc(l.found, base+1, func(f found, base int64) int { return cmp.Compare(f.base, base) })
	if i < len(l.found) {
		return l.found[i].base
	}
	return l.next
}

// segmentName is a key of a KafScale bucket.
func segmentName(topic string, partition int32, base int64) string {
	return fmt.Sprintf("%s/%d/segment-%020d.kfs", topic, partition, base)
}

func (l *line) key(base int64) string { return segmentName(l.topic, l.id.Partition, base) }

// parseSegmentName reads such a key.
func parseSegmentName(key string) (topic string, partition int32, base int64, ok bool) {
	parts := strings.Split(key, "/")
	if len(parts) != 3 || kfs.ValidateTopicName(parts[0]) != nil {
		return "", 0, 0, false
	}
	p, err1 := strconv.ParseInt(parts[1], 10, 32)
	digits, isSegment := strings.CutPrefix(strings.TrimSuffix(parts[2], ".kfs"), "segment-")
	base, err2 := strconv.ParseInt(digits, 10, 64)
	if err1 != nil || err2 != nil || !isSegment || p < 0 || base < 0 || key != segmentName(parts[0], int32(p), base) {
		return "", 0, 0, false
	}
	return parts[0], int32(p), base, true
}

// Open lists the segments of the wanted topics and finds where each partition ends.
func (s *Segments) Open(ctx context.Context) error {
	s.land()
	s.lines, s.byID, s.queue = nil, map[kfs.PartitionID]*line{}, nil
	if err := s.list(ctx); err != nil {
		return err
	}
	if err := s.findEnds(ctx, s.lines); err != nil {
		return err
	}
	c := &kfs.Checkpoint{}
	topics := map[string]*kfs.Topic{}
	for _, l := range s.lines {
		t := topics[l.topic]
		if t == nil {
			t = &kfs.Topic{ID: l.id.Topic, Name: l.topic, State: kfs.TopicLive}
			topics[l.topic] = t
		}
		for len(t.Journals) <= int(l.id.Partition) {
			t.Journals = append(t.Journals, 0)
		}
		c.Partitions = append(c.Partitions, kfs.PartitionState{Topic: l.id.Topic, Name: l.topic, Partition: l.id.Partition, LogStart: l.found[0].base, Next: l.next})
	}
	for _, l := range s.lines {
		if t := topics[l.topic]; t != nil {
			c.Metadata = append(c.Metadata, *t)
			delete(topics, l.topic)
		}
	}
	s.checkpoint = c
	return nil
}

// list looks for segments of wanted topics. Of partitions that are known it looks only behind what it knows: a segment there, while the one
// that belongs before it is missing, becomes the next one. What is not wanted it passes over with one request for each folder.
func (s *Segments) list(ctx context.Context) error {
	began := s.cfg.Now()
	known := map[kfs.PartitionID]bool{}
	for id := range s.byID {
		known[id] = true
	}
	for after, more := "", true; more; {
		more = false
	pages:
		for page, err := range s.cfg.Store.List(ctx, "", after) {
			if err != nil {
				return err
			}
			for _, o := range page.Objects {
				var jump string
				if jump, err = s.see(ctx, o, known); err != nil {
					return err
				}
				if jump > o.Key {
					after, more = jump, true
					break pages
				}
			}
		}
	}
	slices.SortFunc(s.lines, func(a, b *line) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.id.Partition, b.id.Partition))
	})
	s.listed = began
	return nil
}

// see takes note of a key, and says behind which one to go on, if not behind this.
func (s *Segments) see(ctx context.Context, o blob.Info, known map[kfs.PartitionID]bool) (jump string, err error) {
	folder, _, ok := strings.Cut(o.Key, "/")
	if !ok {
		return "", nil
	}
	if kfs.ValidateTopicName(folder) != nil || !s.cfg.Match(folder) {
		return folder + "0", nil // the character behind the slash: behind all keys of the folder
	}
	topic, partition, base, ok := parseSegmentName(o.Key)
	if !ok {
		return "", nil
	}
	id := kfs.PartitionID{Topic: SegmentTopic(topic), Partition: partition}
	l := s.byID[id]
	switch {
	case l == nil:
		l = &line{topic: topic, id: id}
		s.byID[id] = l
		s.lines = append(s.lines, l)
		fallthrough
	case !known[id]:
		l.found = append(l.found, found{base, o.Size})
		return "", nil
	case l.next < 0: // not read on
	case base < l.next:
		return strings.TrimSuffix(l.key(l.next), ".kfs"), nil // before that key and behind all lower ones
	case base > l.next:
		if err := s.skip(ctx, l, base); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%s/%d0", topic, partition), nil
}

// skip goes on at a segment that lies behind a hole, unless what belongs there is there by now. Whoever gets the segment sees that offsets are
// missing before it.
func (s *Segments) skip(ctx context.Context, l *line, base int64) error {
	_, _, err := blob.ReadAll(ctx, s.cfg.Store, l.key(l.next), blob.Last(kfs.SegmentFooterSize), kfs.SegmentFooterSize)
	if errors.Is(err, blob.ErrNotFound) {
		l.next = base
		return nil
	}
	return err
}

// findEnds sets where the partitions end.
func (s *Segments) findEnds(ctx context.Context, lines []*line) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(segmentGets)
	for _, l := range lines {
		group.Go(func() error {
			last := l.found[len(l.found)-1].base
			next, err := s.footer(ctx, l, last)
			switch {
			case errors.Is(err, kfs.ErrCorrupt), errors.Is(err, blob.ErrNotFound): // not complete, or taken away meanwhile: polling sees
				l.next = last
			case err != nil:
				return err
			default:
				l.next = next
			}
			return nil
		})
	}
	return group.Wait()
}

// footer gives where a segment ends.
func (s *Segments) footer(ctx context.Context, l *line, base int64) (next int64, err error) {
	tail, _, err := blob.ReadAll(ctx, s.cfg.Store, l.key(base), blob.Last(kfs.SegmentFooterSize), kfs.SegmentFooterSize)
	if err != nil {
		return 0, err
	}
	_, last, err := kfs.ParseSegmentFooter(tail)
	if err == nil && last < base {
		err = corrupt("the segment ends at offset %d", last)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", l.key(base), err)
	}
	return last + 1, nil
}

// Checkpoint is what Open found, in the form of a journal's.
func (s *Segments) Checkpoint() *kfs.Checkpoint { return s.checkpoint }

// Until says, before Seek, where the reading of partitions ends.
func (s *Segments) Until(ends map[kfs.PartitionID]int64) { s.ends = ends }

// Seek says where reading begins, after Open. Partitions take turns.
func (s *Segments) Seek(_ context.Context, offsets map[kfs.PartitionID]int64) error {
	s.land()
	s.queue, s.poll = nil, 0
	var rest [][]queued
	for _, l := range s.lines {
		at, wanted := offsets[l.id]
		end, bounded := s.ends[l.id]
		if !bounded {
			end = l.next
		}
		if !wanted || at >= l.next {
			continue
		}
		var own []queued
		for i, f := range l.found {
			if upTo := l.after(f.base); at < upTo && f.base < min(end, l.next) {
				if i == len(l.found)-1 {
					upTo = -1
				}
				own = append(own, queued{l, f.base, upTo})
			}
		}
		rest = append(rest, own)
	}
	for i, more := 0, true; more; i++ {
		more = false
		for _, own := range rest {
			if i < len(own) {
				s.queue, more = append(s.queue, own[i]), true
			}
		}
	}
	for _, l := range s.lines {
		l.found = nil // what is queued is known there
	}
	return nil
}

// OffsetsAt finds, for partitions that Open found, the base of the first segment that was written at that time or later: records are not
// younger than their segment, unless their clocks were ahead. A partition without one is not in the answer.
func (s *Segments) OffsetsAt(ctx context.Context, at time.Time, partitions []kfs.PartitionID) (map[kfs.PartitionID]int64, error) {
	bases := make([]int64, len(partitions))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(segmentGets)
	for i, id := range partitions {
		bases[i] = -1
		l := s.byID[id]
		if l == nil {
			continue
		}
		group.Go(func() error {
			var failed error
			n, _ := slices.BinarySearchFunc(l.found, at, func(f found, at time.Time) int {
				head, _, err := blob.ReadAll(ctx, s.cfg.Store, l.key(f.base), blob.Bytes(0, kfs.SegmentHeaderSize), kfs.SegmentHeaderSize)
				var h kfs.SettledHeader
				if err == nil {
					h, err = kfs.ParseSegmentHeader(head)
				}
				if err != nil {
					failed = errors.Join(failed, fmt.Errorf("%s: %w", l.key(f.base), err))
				}
				if h.Created < at.UnixMilli() {
					return -1
				}
				return 1
			})
			if n < len(l.found) {
				bases[i] = l.found[n].base
			}
			return failed
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("find the offsets at %s: %w", at.Format(time.RFC3339), err)
	}
	all := map[kfs.PartitionID]int64{}
	for i, id := range partitions {
		if bases[i] >= 0 {
			all[id] = bases[i]
		}
	}
	return all, nil
}

// Sequence is always that of ReadSegmentsEnd: what is left is in the backlog.
func (s *Segments) Sequence() uint64 { return 0 }

// Backlog is the number of segments that are known and not given yet.
func (s *Segments) Backlog() int { return len(s.queue) }

// Close ends reads ahead and waits for them.
func (s *Segments) Close() { s.land() }

func (s *Segments) land() {
	for _, f := range s.flights {
		f.cancel()
		<-f.done
		if f.err == nil {
			f.release()
		}
	}
	s.flights = nil
}

// Next gives the next segment and blocks until there is one. Any error is a passing one: the next call goes on at the same place. What is wrong
// with a segment is its piece's error, and its partition is not read on.
func (s *Segments) Next(ctx context.Context) (*Object, error) {
	for len(s.queue) == 0 {
		if err := s.look(ctx); err != nil {
			return nil, err
		}
	}
	for n := len(s.flights); n <= queueAhead && n < len(s.queue); n++ {
		q := s.queue[n]
		s.flights = append(s.flights, launch(ctx, q.line.key(q.base), s.flights, func(ctx context.Context, f *flight, before <-chan struct{}) error {
			return f.run(ctx, s.cfg.Store, s.cfg.Budget, before)
		}))
	}
	f := s.flights[0]
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	q := s.queue[0]
	if f.err != nil && !errors.Is(f.err, blob.ErrNotFound) && !errors.Is(f.err, kfs.ErrCorrupt) {
		s.land()
		return nil, f.err
	}
	s.flights, s.queue = s.flights[1:], s.queue[1:]
	return s.open(f, q), nil
}

// look polls until a segment is queued.
func (s *Segments) look(ctx context.Context) error {
	before := len(s.lines)
	if s.cfg.Now().Sub(s.listed) >= relist || before == 0 {
		if err := s.list(ctx); err != nil {
			return err
		}
		for _, l := range s.lines {
			if len(l.found) > 0 { // new
				l.next, l.found = l.found[0].base, nil
			}
		}
	}
	ready := make([]bool, len(s.lines))
	group, getting := errgroup.WithContext(ctx)
	group.SetLimit(segmentGets)
	for i, l := range s.lines {
		if l.next < 0 {
			continue
		}
		group.Go(func() (err error) {
			ready[i], err = s.ready(getting, l)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, l := range s.lines {
		if ready[i] {
			s.queue = append(s.queue, queued{l, l.next, -1})
		}
	}
	if len(s.queue) > 0 {
		s.poll = 0
		return nil
	}
	s.poll = min(max(2*s.poll, 250*time.Millisecond), slowestPoll)
	return pauseFor(ctx, s.poll, s.cfg.Jitter)
}

// ready reports whether the next segment of a partition is there: complete, or incomplete for so long that it is damage.
func (s *Segments) ready(ctx context.Context, l *line) (bool, error) {
	_, err := s.footer(ctx, l, l.next)
	switch {
	case errors.Is(err, blob.ErrNotFound):
		l.short = time.Time{}
		return false, nil
	case errors.Is(err, kfs.ErrCorrupt):
		now := s.cfg.Now()
		if l.short.IsZero() {
			l.short = now
			s.cfg.Logger.Warn("a segment is not complete yet", "err", err)
		}
		return now.Sub(l.short) >= incomplete, nil
	}
	l.short = time.Time{}
	return err == nil, err
}

// open makes an object of a segment. A damaged one ends its partition.
func (s *Segments) open(f *flight, q queued) *Object {
	l := q.line
	o := &Object{Key: f.key, Pieces: []Piece{{Topic: l.topic, ID: l.id, Span: kfs.Span{Base: q.base, Next: max(q.upTo, q.base+1)}}}}
	p := &o.Pieces[0]
	var h kfs.SettledHeader
	err := f.err
	switch {
	case errors.Is(err, blob.ErrNotFound):
		err = corrupt("the segment was listed, and is missing")
	case err == nil:
		o.Size, o.Read, o.release = int64(len(f.body)), s.cfg.Now(), f.release
		h, err = kfs.OpenSegment(f.body)
	}
	switch {
	case err != nil:
	case h.Span.Base != q.base:
		err = corrupt("it begins with offset %d", h.Span.Base)
	case q.upTo >= 0 && q.upTo < h.Span.Next:
		err = corrupt("it holds %s, and another segment begins at %d", h.Span, q.upTo)
	case q.base < l.next && q.upTo < 0 && h.Span.Next != l.next:
		err = corrupt("it holds %s, and ended at %d before", h.Span, l.next)
	}
	if err != nil {
		if !strings.HasPrefix(err.Error(), f.key) {
			err = fmt.Errorf("%s: %w", f.key, err)
		}
		p.Err = err
		s.stop(l)
		return o
	}
	p.Span, p.Created, p.Latest = h.Span, time.UnixMilli(h.Created), h.Created
	p.Ref = kfs.Ref{Key: f.key, Len: o.Size}
	p.Records = f.body[kfs.SegmentHeaderSize : len(f.body)-kfs.SegmentFooterSize]
	l.next = max(l.next, h.Span.Next)
	return o
}

// stop ends the reading of a partition.
func (s *Segments) stop(l *line) {
	l.next = -1
	kept := s.queue[:0:0]
	for _, q := range s.queue {
		if q.line != l {
			kept = append(kept, q)
		}
	}
	if len(kept) != len(s.queue) {
		s.land() // they are those of the queue's first segments
		s.queue = kept
	}
}
