package differential

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetched is one partition as a fetch asks for it.
type fetched struct {
	topic     string
	partition int32
	offset    int64
	maxBytes  int32
	epoch     epoch
}

func (f fetched) String() string {
	return fmt.Sprintf("%s/%d from %d, %d bytes, epoch %v", f.topic, f.partition, f.offset, f.maxBytes, f.epoch)
}

func (g *generator) someFetched(n int) (parts []fetched) {
	for range n {
		f := fetched{topic: g.someTopic(), maxBytes: of[int32](g, 1<<20, 1<<20, 1<<20, 1000, 200, 1, 0), epoch: g.someEpoch()}
		f.partition = g.somePartition(f.topic)
		f.offset = g.someOffset(f.topic, f.partition)
		parts = append(parts, f)
	}
	return once(parts)
}

// ask puts partitions into a request, a row for each run of the same topic.
func (s *Side) ask(r *kmsg.FetchRequest, parts []fetched) {
	for _, f := range parts {
		n := len(r.Topics)
		if n == 0 || r.Topics[n-1].Topic != s.topic(f.topic) {
			t := kmsg.NewFetchRequestTopic()
			t.Topic, t.TopicID = s.topic(f.topic), s.id(f.topic)
			r.Topics = append(r.Topics, t)
			n++
		}
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = f.partition, f.offset, f.maxBytes, s.epoch(f.epoch, f.topic, f.partition)
		r.Topics[n-1].Partitions = append(r.Topics[n-1].Partitions, p)
	}
}

// grouped are parts with those of one topic together: answers of other orders would be cut at other places.
func grouped(parts []fetched) (sorted []fetched) {
	done := map[string]bool{}
	for _, p := range parts {
		if done[p.topic] {
			continue
		}
		done[p.topic] = true
		for _, q := range parts {
			if q.topic == p.topic {
				sorted = append(sorted, q)
			}
		}
	}
	return sorted
}

// once are parts without those whose partition has come before.
func once(parts []fetched) (kept []fetched) {
	for _, p := range parts {
		if !slices.ContainsFunc(kept, func(k fetched) bool { return k.topic == p.topic && k.partition == p.partition }) {
			kept = append(kept, p)
		}
	}
	return kept
}

func (g *generator) fetch() {
	parts := grouped(g.someFetched(of(g, 1, 1, 2, 4)))
	maxBytes := of[int32](g, 1<<20, 1<<20, 1<<24, 1000, 300, 1, 0)
	minBytes := of[int32](g, 0, 1, 1, 1, 100, 100_000)
	wait := of[int32](g, 0, 20, 50)
	isolation := int8(g.rng.IntN(2))
	version := g.version(1)
	if version < 4 && g.maybe(2) {
		version += 4 // the old formats are soon told
	}
	step := addVersion(g, version, fmt.Sprintf("fetch %v, of all %d bytes, at least %d, for %d ms, isolation %d", parts, maxBytes, minBytes, wait, isolation), func(s *Side, r *kmsg.FetchRequest) {
		r.MaxBytes, r.MinBytes, r.MaxWaitMillis, r.IsolationLevel, r.SessionEpoch = maxBytes, minBytes, wait, isolation, -1
		s.ask(r, parts)
	})
	if version < 4 {
		step.Tag = "old format"
	}
}

// fetchSession is the session that the sequence is in.
type fetchSession struct {
	version int16
	epoch   int32
	parts   []fetched
}

// fetchInSession begins a fetch session, goes on with it, or does what breaks it.
func (g *generator) fetchInSession() {
	const name = "session"
	var parts, forgotten []fetched
	id, epoch := true, int32(0)
	switch {
	case g.session == nil:
		g.session = &fetchSession{version: max(7, g.version(1)), parts: grouped(g.someFetched(3))}
		parts, id = g.session.parts, false
	default:
		g.session.epoch++
		epoch = g.session.epoch
		for i, p := range g.session.parts { // a client goes on where it is
			if g.maybe(2) {
				p.offset = g.end(p.topic, p.partition)
				g.session.parts[i] = p
				parts = append(parts, p)
			}
		}
		if g.maybe(3) {
			parts = grouped(once(append(g.someFetched(1), parts...)))
		}
		if n := len(g.session.parts); n > 0 && g.maybe(4) {
			gone := g.session.parts[n-1]
			forgotten = []fetched{gone}
			parts = slices.DeleteFunc(parts, func(p fetched) bool { return p.topic == gone.topic && p.partition == gone.partition })
		}
		switch g.rng.IntN(12) {
		case 0:
			epoch += 5
			g.session.epoch--
		case 1:
			epoch, g.session = -1, nil
		case 2:
			id = false
			g.session.epoch--
		case 3:
			epoch, parts, forgotten = 0, g.session.parts, nil
			g.session.epoch = 0
		}
	}
	version := int16(12)
	if g.session != nil {
		version = g.session.version
	}
	if g.maybe(15) {
		version = max(7, g.version(1))
	}
	step := addVersion(g, version, fmt.Sprintf("fetch in session (known %t), epoch %d: %v, without %v", id, epoch, parts, forgotten), func(s *Side, r *kmsg.FetchRequest) {
		r.MaxBytes, r.MinBytes, r.MaxWaitMillis, r.SessionEpoch = 1<<20, 0, 0, epoch
		if id {
			r.SessionID = s.sessions[name]
		}
		s.ask(r, parts)
		for _, p := range forgotten {
			f := kmsg.NewFetchRequestForgottenTopic()
			f.Topic, f.TopicID, f.Partitions = s.topic(p.topic), s.id(p.topic), []int32{p.partition}
			r.ForgottenTopics = append(r.ForgottenTopics, f)
		}
	})
	if epoch == 0 {
		step.Learn = func(s *Side, resp kmsg.Response) { s.sessions[name] = resp.(*kmsg.FetchResponse).SessionID }
	}
}
