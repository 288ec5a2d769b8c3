package tail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

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
	if err := s.findEnds(ctx); err != nil {
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
		c.Partitions = append(c.Partitions, kfs.PartitionState{Topic: l.id.Topic, Name: l.topic, Partition: l.id.Partition, LogStart: l.found[0], Next: l.next})
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
// that belongs before it is missing, becomes the next one. What is known or not wanted it passes over: what of that lies on further pages is not
// asked for.
func (s *Segments) list(ctx context.Context) error {
	began := s.cfg.Now()
	known := map[kfs.PartitionID]bool{}
	for id := range s.byID {
		known[id] = true
	}
	for after, more := "", true; more; {
		more = false
		for page, err := range s.cfg.Store.List(ctx, "", after) {
			if err != nil {
				return err
			}
			for _, o := range page.Objects {
				if o.Key <= after {
					continue
				}
				jump, err := s.see(ctx, o.Key, known)
				if err != nil {
					return err
				}
				after = max(after, jump)
			}
			if n := len(page.Objects); n > 0 && page.Objects[n-1].Key < after {
				more = true
				break
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
func (s *Segments) see(ctx context.Context, key string, known map[kfs.PartitionID]bool) (jump string, err error) {
	folder, _, ok := strings.Cut(key, "/")
	if !ok {
		return "", nil
	}
	if kfs.ValidateTopicName(folder) != nil || !s.cfg.Match(folder) {
		return folder + "0", nil // the character behind the slash: behind all keys of the folder
	}
	topic, partition, base, ok := parseSegmentName(key)
	if !ok {
		return "", nil
	}
	if partition >= kfs.MaxPartitions {
		return "", fmt.Errorf("%s: %w", key, corrupt("a topic has %d partitions at most", kfs.MaxPartitions))
	}
	id := kfs.PartitionID{Topic: SegmentTopic(topic), Partition: partition}
	l := s.byID[id]
	if l == nil {
		l = &line{topic: topic, id: id}
		s.byID[id] = l
		s.lines = append(s.lines, l)
	}
	if !known[id] {
		l.found = append(l.found, base)
		return "", nil
	}
	if 0 <= l.next && base < l.next {
		return strings.TrimSuffix(l.key(l.next), ".kfs"), nil // before that key and behind all lower ones
	}
	if 0 <= l.next && l.next < base {
		if err := s.skip(ctx, l, base); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%s/%d0", topic, partition), nil // behind all keys of the partition
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
func (s *Segments) findEnds(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(segmentGets)
	for _, l := range s.lines {
		group.Go(func() error {
			last := l.found[len(l.found)-1]
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
		for i, base := range l.found {
			if upTo := l.after(base); at < upTo && base < min(end, l.next) {
				if i == len(l.found)-1 {
					upTo = -1
				}
				own = append(own, queued{l, base, upTo})
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
		if !s.wants(l) {
			l.next = -1
		}
	}
	return nil
}

// after is where the segment of a base ends, as far as is known from what was listed.
func (l *line) after(base int64) int64 {
	i, _ := slices.BinarySearch(l.found, base+1)
	if i < len(l.found) {
		return l.found[i]
	}
	return l.next
}
