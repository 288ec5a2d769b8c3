package journal

import (
	"fmt"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
)

// settle lets everything come to an end: all requests arrive, a last owner, who makes no mistake, takes over. It gives his core; nil if he does not come to an end.
func (s *simulation) settle() *core {
	for len(s.network) > 0 {
		q := s.network[0]
		s.network = s.network[1:]
		s.apply(q.op)
	}
	for _, o := range s.owners {
		o.dead = true
	}
	s.answers, s.mistake = nil, mistake{}
	s.startOwner()
	last := s.owners[len(s.owners)-1]
	for range 100_000 {
		switch {
		case last.opened && len(s.network) == 0 && len(s.answers) == 0 || last.hasEnded:
			return last.core
		case len(s.network) > 0:
			q := s.network[0]
			s.network = s.network[1:]
			s.answers = append(s.answers, simAnswer{last, q.op, answered{opNumber(q.op), s.apply(q.op)}})
		case len(s.answers) > 0:
			a := s.answers[0]
			s.answers = s.answers[1:]
			s.answer(a)
		default:
			s.pass(time.Second)
		}
	}
	s.wrong("the last owner does not come to an end")
	return nil
}

// check compares what the last owner finds with what clients were told.
func (s *simulation) check(c *core) {
	if c.phase != owning {
		s.wrong("the last owner ended with %v", c.err)
		return
	}
	for number := range int32(simPartitions) {
		p, ok := c.index.partitions[id(1, number)]
		if !ok {
			p = &partition{}
		}
		found := s.read(p, number)
		truth := &s.truth[number]
		for offset, value := range truth.acked {
			if offset >= p.start && found[offset] != value {
				s.wrong("partition %d, offset %d: %q was acknowledged, %q is there", number, offset, value, found[offset])
			}
		}
		for offset := p.start; offset < p.next; offset++ {
			if found[offset] == "" {
				s.wrong("partition %d has nothing at offset %d, it has [%d, %d)", number, offset, p.start, p.next)
			}
		}
		if p.start < truth.trimmed || p.start > truth.asked {
			s.wrong("partition %d begins at %d: trimmed to %d, asked for was %d at most", number, p.start, truth.trimmed, truth.asked)
		}
	}
	for _, client := range s.clients {
		if g, ok := client.(*simGroup); ok {
			at := c.state.groups[groupKey{group: simGroupName, topic: "events"}].Offset
			if at < g.committed || at > g.asked {
				s.wrong("the group has offset %d: it committed %d, and tried %d", at, g.committed, g.asked)
			}
		}
	}
}

// checkFollower checks that what a follower has read last is what was there first.
func (s *simulation) checkFollower(o *simOwner) {
	c := o.core
	if !c.state.begun {
		return
	}
	key := kfs.ObjectKey(0, c.state.sequence)
	if _, crc, err := kfs.Open(s.first[key]); err != nil || crc != c.state.crc {
		s.wrong("owner %d follows to %s, but has read a stray (%v)", o.n, key, err)
	}
}

// read reads a partition, and checks that no offset comes twice, and that the batches of each producer follow each other.
func (s *simulation) read(p *partition, number int32) map[int64]string {
	found := map[int64]string{}
	next := map[string]int{} // of each producer
	for _, body := range s.bodies(p) {
		for _, rec := range s.records(body) {
			value := string(rec.Value)
			if found[rec.Offset] != "" {
				s.wrong("partition %d has offset %d twice", number, rec.Offset)
			}
			found[rec.Offset] = value
			var sequence int
			var producer string
			if _, err := fmt.Sscanf(value, "%s #%d", &producer, &sequence); err != nil {
				s.wrong("partition %d, offset %d: %q: %v", number, rec.Offset, value, err)
			}
			if want, ok := next[producer]; ok && sequence != want {
				s.wrong("partition %d, offset %d: %q where #%d was expected", number, rec.Offset, value, want)
			}
			next[producer] = sequence + 1
		}
	}
	return found
}

// records decodes batches.
func (s *simulation) records(b []byte) []record.Record {
	var all []record.Record
	for part, err := range record.Batches(b) {
		if err == nil {
			err = record.Verify(part)
		}
		var r record.Reader
		if err == nil {
			err = r.Reset(part, 1<<20)
		}
		for ok := err == nil; ok && err == nil; {
			var rec record.Record
			if ok, err = r.Next(&rec); ok {
				rec.Value = append([]byte(nil), rec.Value...)
				all = append(all, rec)
			}
		}
		if err != nil {
			s.wrong("batches: %v", err)
			break
		}
	}
	return all
}

// bodies are the records of a partition: of its segments, and from its settled point on of journal objects.
func (s *simulation) bodies(p *partition) [][]byte {
	var all [][]byte
	for _, e := range p.settled {
		object := s.objects[e.Key].body
		h, err := kfs.OpenSegment(object)
		switch {
		case e.Span.Next <= p.start:
			continue // it may be gone
		case err != nil:
			s.wrong("%s: %v", e.Key, err)
			continue
		case h.Span != e.Span || int64(len(object)) != e.Length || kfs.Checksum(object[:len(object)-kfs.SegmentFooterSize]) != e.CRC:
			s.wrong("%s holds %s in %d bytes, the journal says %s in %d", e.Key, h.Span, len(object), e.Span, e.Length)
		}
		x, err := kfs.DecodeIndex(s.objects[kfs.IndexKey(p.id.Topic, p.name, p.id.Partition, e.Span.Base)].body)
		if err == nil {
			err = x.Check(object)
		}
		if err != nil {
			s.wrong("index of %s: %v", e.Key, err)
		}
		s.settled++
		all = append(all, object[kfs.SegmentHeaderSize:len(object)-kfs.SegmentFooterSize])
	}
	for _, r := range p.refs {
		if r.span.Base < p.settledPoint() {
			s.wrong("object %d still counts for %s, settled up to %d", r.sequence, r.span, p.settledPoint())
		}
		body := s.objects[kfs.ObjectKey(0, r.sequence)].body
		if len(body) == 0 {
			s.wrong("object %d with %s is gone", r.sequence, r.span)
			continue
		}
		all = append(all, body[r.position:r.position+r.length])
	}
	return all
}
