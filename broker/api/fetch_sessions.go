package api

import (
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Fetch sessions (KIP-227): the broker remembers which partitions a client fetches and what it was last told about them. The client
// then names only the partitions whose fetch has changed, and is answered only those that have news.
//
// A request with epoch 0 asks for a session, one with epoch -1 wants none; both name all their partitions, and close the session whose
// id they give. Other epochs go on with a session, and count its requests: with a lost or repeated one the two sides would no longer
// agree, so an epoch that is not the next ends in an error, after which clients begin anew. A session ends when its last partition is
// forgotten, or when a better one needs its place. It is this broker's alone: its id means nothing to another, or after a restart.

const (
	maxSessions         = 1000
	sessionStale        = 2 * time.Minute
	defaultSessionBytes = 4 << 20

	// What the memory of a session is taken to be: the entries, their share of maps and slices, and the topic's name.
	bytesPerSession          = 256
	bytesPerSessionPartition = 256
)

// sessions are the fetch sessions of a broker. It does no I/O; the time is a parameter, in Unix milliseconds.
type sessions struct {
	limit    int          // sessions
	maxBytes int64        // of all of them together
	draw     func() int32 // a random id

	mu    sync.Mutex // guards all below, and the sessions
	byID  map[int32]*session
	bytes int64
}

func newSessions(limit int, maxBytes int64, draw func() int32) *sessions {
	return &sessions{limit: limit, maxBytes: maxBytes, draw: draw, byID: map[int32]*session{}}
}

// session is one of them.
type session struct {
	id, epoch     int32 // epoch is the one that the next request must have
	byTopicID     bool  // topics are named by id, from version 13
	created, used int64
	settled       bool                // it was in use when it was no longer young: from then on it can be evicted for a larger one
	order         []*followed         // in the order of answers
	parts         map[place]*followed // the same
	bytes         int64
}

// place is a partition as requests name it.
type place struct {
	topic     string // versions below 13
	id        [16]byte
	partition int32
}

// followed is a partition of a session: how it is fetched, and what the client knows.
type followed struct {
	place
	offset                  int64
	epoch, maxBytes         int32
	highWatermark, logStart int64 // as last answered; -1 and -1 before, and after an error
	fed                     bool  // there were records in the last answer
}

// turn is one request and its session.
type turn struct {
	topics   []kmsg.FetchRequestTopic // all that is fetched
	create   bool                     // a session is wanted
	session  *session                 // that the request goes on with, or nil
	expected int32                    // the session's epoch, unless another request came between
}

// begin takes a request. A refusal is an error of the whole answer.
func (s *sessions) begin(now int64, req *kmsg.FetchRequest) (turn, *kerr.Error) {
	if req.Version < 7 {
		return turn{topics: req.Topics}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.byID[req.SessionID]
	if req.SessionEpoch == 0 || req.SessionEpoch == -1 {
		s.remove(old)
		return turn{topics: req.Topics, create: req.SessionEpoch == 0}, nil
	}
	switch {
	case old == nil:
		return turn{}, kerr.FetchSessionIDNotFound
	case old.epoch != req.SessionEpoch:
		return turn{}, kerr.InvalidFetchSessionEpoch
	case old.byTopicID != (req.Version >= 13):
		return turn{}, kerr.FetchSessionTopicIDError
	}
	old.epoch = nextEpoch(old.epoch)
	before := old.bytes
	old.follow(req.Topics)
	old.forget(req.ForgottenTopics)
	s.bytes += old.bytes - before
	if len(old.order) == 0 {
		s.remove(old)
		return turn{}, nil
	}
	old.touch(now)
	if s.bytes > s.maxBytes && !s.makeRoom(now, old, 0) {
		s.remove(old) // the client asks for a new session, and does without one if that has no room either
		return turn{}, kerr.FetchSessionIDNotFound
	}
	return turn{topics: old.topics(), session: old, expected: old.epoch}, nil
}

// finish makes the answer to a turn the session's: it leaves out what the client knows, or says the id of the new session. What was
// answered is taken as known: a client that misses an answer comes with the wrong epoch.
func (s *sessions) finish(now int64, t *turn, req *kmsg.FetchRequest, resp *kmsg.FetchResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case t.create:
		resp.SessionID = s.create(now, req, resp)
	case t.session == nil:
	case t.session.epoch != t.expected:
		resp.SessionID, resp.ErrorCode, resp.Topics = t.session.id, kerr.InvalidFetchSessionEpoch.Code, nil
	default:
		resp.SessionID = t.session.id
		t.session.answer(resp, true)
	}
}

// create gives the new session's id, or 0 if there is no room for it.
func (s *sessions) create(now int64, req *kmsg.FetchRequest, resp *kmsg.FetchResponse) int32 {
	n := &session{epoch: 1, byTopicID: req.Version >= 13, created: now, used: now, parts: map[place]*followed{}, bytes: bytesPerSession}
	n.follow(req.Topics)
	if !s.makeRoom(now, n, n.bytes) {
		return 0
	}
	n.answer(resp, false)
	for n.id <= 0 || s.byID[n.id] != nil {
		n.id = s.draw()
	}
	s.byID[n.id] = n
	s.bytes += n.bytes
	return n.id
}

// makeRoom evicts sessions until more bytes can be added for one of them, which is new or has grown, and reports whether they can.
// As in Kafka, one that nobody has used for two minutes goes first; else the smallest, if that one has had its two minutes and has
// fewer partitions than the one in need, to which a session is worth more. It looks at all of them, which are few.
func (s *sessions) makeRoom(now int64, of *session, more int64) bool {
	if of.bytes > s.maxBytes {
		return false
	}
	for s.bytes+more > s.maxBytes || len(s.byID) >= s.limit && s.byID[of.id] != of {
		victim := s.victim(now, of)
		if victim == nil {
			return false
		}
		s.remove(victim)
	}
	return true
}

func (s *sessions) victim(now int64, of *session) *session {
	var oldest, smallest *session
	for _, c := range s.byID {
		if c == of {
			continue
		}
		if oldest == nil || c.used < oldest.used {
			oldest = c
		}
		if c.settled && (smallest == nil || len(c.order) < len(smallest.order)) {
			smallest = c
		}
	}
	switch {
	case oldest != nil && now-oldest.used > sessionStale.Milliseconds():
		return oldest
	case smallest != nil && len(smallest.order) < len(of.order):
		return smallest
	}
	return nil
}

func (s *sessions) remove(old *session) {
	if old != nil && s.byID[old.id] == old {
		delete(s.byID, old.id)
		s.bytes -= old.bytes
	}
}

// nextEpoch goes around: 0 and what is below are not counts.
func nextEpoch(e int32) int32 { return max(e+1, 1) }

func (c *session) touch(now int64) {
	c.used = now
	c.settled = now-c.created > sessionStale.Milliseconds()
}

// follow adds partitions, or changes how they are fetched.
func (c *session) follow(topics []kmsg.FetchRequestTopic) {
	for i := range topics {
		t := &topics[i]
		at := c.place(t.Topic, t.TopicID)
		for k := range t.Partitions {
			p := &t.Partitions[k]
			at.partition = p.Partition
			f := c.parts[at]
			if f == nil {
				f = &followed{place: at, highWatermark: -1, logStart: -1}
				c.parts[at] = f
				c.order = append(c.order, f)
				c.bytes += f.bytes()
			}
			f.offset, f.epoch, f.maxBytes = p.FetchOffset, p.CurrentLeaderEpoch, p.PartitionMaxBytes
		}
	}
}

func (c *session) forget(topics []kmsg.FetchRequestForgottenTopic) {
	if len(topics) == 0 {
		return
	}
	for i := range topics {
		at := c.place(topics[i].Topic, topics[i].TopicID)
		for _, at.partition = range topics[i].Partitions {
			if f := c.parts[at]; f != nil {
				delete(c.parts, at)
				c.bytes -= f.bytes()
			}
		}
	}
	c.order = slices.DeleteFunc(c.order, func(f *followed) bool { return c.parts[f.place] != f })
}

// place is a topic as the session's version names it, partition 0.
func (c *session) place(name string, id [16]byte) place {
	if c.byTopicID {
		return place{id: id}
	}
	return place{topic: name}
}

func (f *followed) bytes() int64 { return bytesPerSessionPartition + int64(len(f.topic)) }

// topics is a request of all partitions, in the session's order.
func (c *session) topics() (topics []kmsg.FetchRequestTopic) {
	for _, f := range c.order {
		last := len(topics) - 1
		if last < 0 || topics[last].Topic != f.topic || topics[last].TopicID != f.id {
			t := kmsg.NewFetchRequestTopic()
			t.Topic, t.TopicID = f.topic, f.id
			topics = append(topics, t)
			last++
		}
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.CurrentLeaderEpoch, p.PartitionMaxBytes = f.partition, f.offset, f.epoch, f.maxBytes
		topics[last].Partitions = append(topics[last].Partitions, p)
	}
	return topics
}

// answer takes what the client is told, and prunes what it knows. The partitions that it gets records of go to the end of the order, so
// that limits do not starve the others.
func (c *session) answer(resp *kmsg.FetchResponse, prune bool) {
	for i := range resp.Topics {
		t := &resp.Topics[i]
		at := c.place(t.Topic, t.TopicID)
		t.Partitions = slices.DeleteFunc(t.Partitions, func(p kmsg.FetchResponseTopicPartition) bool {
			at.partition = p.Partition
			return !c.parts[at].learn(&p) && prune
		})
	}
	if prune {
		resp.Topics = slices.DeleteFunc(resp.Topics, func(t kmsg.FetchResponseTopic) bool { return len(t.Partitions) == 0 })
	}
	var fed []*followed
	resting := c.order[:0]
	for _, f := range c.order {
		if f.fed {
			fed = append(fed, f)
		} else {
			resting = append(resting, f)
		}
	}
	c.order = append(resting, fed...)
}

// learn takes what the client is told of a partition and reports whether it is news. After an error everything is: its offsets are -1.
func (f *followed) learn(p *kmsg.FetchResponseTopicPartition) bool {
	f.fed = len(p.RecordBatches) > 0
	news := f.fed || p.ErrorCode != 0 || p.HighWatermark != f.highWatermark || p.LogStartOffset != f.logStart
	f.highWatermark, f.logStart = p.HighWatermark, p.LogStartOffset
	return news
}
