package tail

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
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
	slowestPoll = 5 * time.Second // the longest wait between two polls
)

// Segments follows a bucket that KafScale writes: it has no journals, only segments of format version 1 at
// {topic}/{partition}/segment-{base}.kfs. It has the methods of Tailer, and what it gives is held against the same promises, as far as the format
// makes them: a checksum for each segment, and bases that follow each other.
//
// The next segment of a partition begins behind the last one, so its key is known: a poll is one GET of 16 bytes for each partition, at most
// five seconds after the last one. The bucket is listed at the start and every five minutes, then with two requests at most for each partition
// and one for each folder that is no wanted topic, however many keys they have. KafScale gives topics no ids: see SegmentTopic.
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
	found []int64   // bases of the segments that were listed, in order, until Seek
	next  int64     // base of the next segment that is asked for; negative if the partition is not read on
	short time.Time // when the next segment was first seen without its end
}

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

// NewSegments makes a tailer of a KafScale bucket. Config.Journal is not used. Of a partition that is
// not wanted nothing is asked for after Seek; of one that comes later the first segment is given, so that it is known.
func NewSegments(cfg Config) *Segments {
	return &Segments{cfg: cfg.withDefaults(), byID: map[kfs.PartitionID]*line{}}
}

// Checkpoint is what Open found, in the form of a journal's.
func (s *Segments) Checkpoint() *kfs.Checkpoint { return s.checkpoint }

// Sequence is always that of ReadSegmentsEnd: what is left is in the backlog.
func (s *Segments) Sequence() uint64 { return 0 }

// Backlog is the number of segments that are known and not given yet.
func (s *Segments) Backlog() int { return len(s.queue) }

// Close ends reads ahead and waits for them.
func (s *Segments) Close() { s.land() }

func (s *Segments) land() {
	land(s.flights)
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
	o, err := s.open(f, q)
	if err != nil {
		s.land()
		return nil, err
	}
	s.flights, s.queue = s.flights[1:], s.queue[1:]
	if o.Pieces[0].Err != nil {
		s.stop(q.line)
	} else {
		q.line.next = max(q.line.next, o.Pieces[0].Span.Next)
	}
	if !s.wants(q.line) {
		s.stop(q.line)
	}
	return o, nil
}

func (s *Segments) wants(l *line) bool { return s.cfg.Wants == nil || s.cfg.Wants(l.id) }

// look polls until a segment is queued.
func (s *Segments) look(ctx context.Context) error {
	if s.cfg.Now().Sub(s.listed) >= relist || len(s.lines) == 0 {
		if err := s.list(ctx); err != nil {
			return err
		}
		for _, l := range s.lines {
			if len(l.found) > 0 { // new
				l.next, l.found = l.found[0], nil
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
	if s.cfg.AtEnd != nil {
		if err := s.cfg.AtEnd(ctx, func(kfs.PartitionID) int64 { return -1 }); err != nil {
			return err
		}
	}
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

// open makes an object of a segment.
func (s *Segments) open(f *flight, q queued) (*Object, error) {
	l := q.line
	piece := Piece{Topic: l.topic, ID: l.id, Span: kfs.Span{Base: q.base, Next: max(q.upTo, q.base+1)}}
	o, err := settledObject(f, s.cfg.Now(), piece, func(object []byte) (kfs.SettledHeader, error) {
		h, err := kfs.OpenSegment(object)
		switch {
		case err != nil:
		case h.Span.Base != q.base:
			err = corrupt("it begins with offset %d", h.Span.Base)
		case q.upTo >= 0 && q.upTo < h.Span.Next:
			err = corrupt("it holds %s, and another segment begins at %d", h.Span, q.upTo)
		case q.base < l.next && q.upTo < 0 && h.Span.Next != l.next:
			err = corrupt("it holds %s, and ended at %d before", h.Span, l.next)
		}
		return h, err
	})
	if err != nil || o.Pieces[0].Err != nil {
		return o, err
	}
	p := &o.Pieces[0]
	p.Latest, p.Ref = p.Created.UnixMilli(), kfs.Ref{Key: f.key, Len: o.Size}
	return o, nil
}

// stop ends the reading of a partition.
func (s *Segments) stop(l *line) {
	l.next = -1
	before := len(s.queue)
	s.queue = slices.DeleteFunc(s.queue, func(q queued) bool { return q.line == l })
	if len(s.queue) != before {
		s.land() // they are those of the queue's first segments
	}
}
