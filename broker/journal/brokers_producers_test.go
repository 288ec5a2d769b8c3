package journal_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
)

// producer is an idempotent producer of one partition, with up to five batches in flight. It sends again, in order, what has no answer or one that may be
// tried again, and gives up what has none for too long: then it goes on with another epoch, as Kafka's does.
type producer struct {
	w         *world
	name      string
	topic     string
	partition int32
	byName    bool // of the topic; else by id

	id       int64 // -1: it has none yet
	epoch    int16
	sequence int32
	asking   bool
	number   int // of the next value
	batches  []*sentBatch
	to       *process             // where they were sent
	met      map[kfs.TopicID]bool // topics that batches of this epoch were appended to
	resends  bool                 // what is in flight is answered first, then all goes again
	last     *sentBatch           // acknowledged
	resting  bool
}

// sentBatch is a batch that is not acknowledged yet.
type sentBatch struct {
	sequence int32
	epoch    int16
	id       int64
	values   []string
	begun    time.Time
	flying   bool
	appended bool            // a broker has handed it to a journal
	at       kfs.PartitionID // acknowledged
	base     int64
}

const (
	maxInFlight = 5
	giveUpAfter = 2 * time.Minute
)

func newProducer(w *world, n int) *producer {
	return &producer{w: w, name: fmt.Sprintf("p%d", n), topic: topicNames[w.rng.IntN(len(topicNames))], partition: int32(w.rng.IntN(2)), byName: w.once(2), id: -1, met: map[kfs.TopicID]bool{}}
}

func (p *producer) rest() bool {
	p.resting = true
	return len(p.batches) == 0 && !p.asking
}

func (p *producer) act() {
	w := p.w
	switch {
	case p.id < 0 && !p.asking:
		if !p.resting {
			p.initialize()
		}
		return
	case p.asking:
		return
	}
	if len(p.batches) > 0 && w.clock.Sub(p.batches[0].begun) > giveUpAfter && !p.resting {
		p.giveUp()
		return
	}
	if p.resends {
		if slices.ContainsFunc(p.batches, func(b *sentBatch) bool { return b.flying }) {
			return
		}
		to := p.leader()
		if to == nil {
			return
		}
		p.resends = false
		for _, b := range p.batches {
			p.send(to, b)
		}
		return
	}
	if p.resting || len(p.batches) >= maxInFlight {
		return
	}
	to := p.leader()
	if to == nil || len(p.batches) > 0 && to != p.to { // what is in flight is answered first
		return
	}
	if len(p.batches) == 0 && p.last != nil && w.once(8) {
		p.sendAgain(to)
		return
	}
	b := &sentBatch{sequence: p.sequence, epoch: p.epoch, id: p.id, begun: w.clock}
	for range 1 + w.rng.IntN(3) {
		b.values = append(b.values, fmt.Sprintf("%s #%d", p.name, p.number))
		p.number++
		p.sequence++
	}
	p.batches = append(p.batches, b)
	p.send(to, b)
}

func (p *producer) initialize() {
	to := p.w.leader(func(*process) (uint32, bool) { return 0, true })
	if to == nil {
		return
	}
	p.asking = true
	req := kmsg.NewPtrInitProducerIDRequest()
	p.w.send(p, to, req, func(resp kmsg.Response, err error) {
		p.asking = false
		if err != nil {
			return
		}
		if r := resp.(*kmsg.InitProducerIDResponse); r.ErrorCode == 0 {
			if p.w.truth.ids[r.ProducerID] {
				p.w.wrong("producer id %d is given twice", r.ProducerID)
			}
			p.w.truth.ids[r.ProducerID] = true
			p.id, p.epoch, p.sequence = r.ProducerID, r.ProducerEpoch, 0
		}
	})
}

func (p *producer) leader() *process { return p.w.partitionLeader(p.topic, p.partition) }

// partitionLeader is the broker that somebody says leads a partition.
func (w *world) partitionLeader(name string, partition int32) *process {
	return w.leader(func(of *process) (uint32, bool) {
		t, ok := of.view.State().Topic(name)
		if !ok {
			return 0, false
		}
		return t.Journal(partition)
	})
}

// produceRequest names the topic by id, as the broker knows it, or by name; nil if the broker knows none.
func (w *world) produceRequest(to *process, name string, partition int32, byName bool, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks = -1
	t := kmsg.NewProduceRequestTopic()
	if t.Topic = name; byName {
		req.SetVersion(9)
	} else {
		known, ok := to.view.State().Topic(name)
		if !ok {
			return nil
		}
		t.TopicID = known.ID
	}
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition, part.Records = partition, records
	t.Partitions = append(t.Partitions, part)
	req.Topics = append(req.Topics, t)
	return req
}

func (p *producer) send(to *process, b *sentBatch) {
	w := p.w
	req := w.produceRequest(to, p.topic, p.partition, p.byName, w.batch(&record.Producer{ID: b.id, Epoch: b.epoch, Sequence: b.sequence}, b.values))
	if req == nil {
		p.resends = true
		return
	}
	b.flying, p.to = true, to
	w.send(p, to, req, func(resp kmsg.Response, err error) {
		c := w.running
		b.flying = false
		first := !b.appended
		if !c.topic.IsZero() {
			p.met[c.topic], b.appended = true, true
		}
		if !slices.Contains(p.batches, b) {
			return // it was given up
		}
		if err != nil {
			p.resends = true
			return
		}
		part := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		w.say("broker %d answers %q: %d %v", c.process.id, b.values[0], part.BaseOffset, kerr.ErrorForCode(part.ErrorCode))
		p.answered(c, b, first, &part)
	})
}

// answered takes an answer. first says that no broker has handed the batch to a journal before.
func (p *producer) answered(c *call, b *sentBatch, first bool, part *kmsg.ProduceResponseTopicPartition) {
	w := p.w
	switch part.ErrorCode {
	case 0:
		w.Acks++
		b.at, b.base = kfs.PartitionID{Topic: c.topic, Partition: p.partition}, part.BaseOffset
		w.truth.ack(c, b.at, b.base, b.values)
		// One before may have no such answer, and yet be there; or it has met a broker that did not know the topic yet, in which this one begins
		// then, as in Kafka.
		p.batches = slices.DeleteFunc(p.batches, func(o *sentBatch) bool { return o == b })
		p.last = b
	case kerr.OutOfOrderSequenceNumber.Code:
		p.resends = true
		// Kafka's own producers cannot know either what became of those before, where the topic was made anew or two brokers believe to be leaders.
		if b == p.batches[0] {
			if !p.mayBeOutOfOrder(c, b, first) {
				w.wrong("broker %d: %q is out of order", c.process.id, b.values[0])
			}
			p.giveUp()
		}
	case kerr.NotLeaderForPartition.Code, kerr.RequestTimedOut.Code, kerr.UnknownTopicOrPartition.Code, kerr.UnknownTopicID.Code:
		w.Refused++
		p.resends = true
	default:
		w.wrong("broker %d: %q: %v", c.process.id, b.values[0], kerr.ErrorForCode(part.ErrorCode))
	}
}

// mayBeOutOfOrder tells whether the oldest batch without an answer may be told so: the topic was made anew and began with a later one, or leases overlap.
func (p *producer) mayBeOutOfOrder(c *call, b *sentBatch, first bool) bool {
	if first && slices.ContainsFunc(p.batches[1:], func(o *sentBatch) bool { return o.appended }) {
		return true // a broker that did not know the topic yet has turned it away, and the next one began there
	}
	return c.unsure || c.w.unsure.After(b.begun) || len(p.met) > 1 || p.last != nil && p.last.sequence > b.sequence
}

// giveUp gives up what has no answer, and begins a new epoch.
func (p *producer) giveUp() {
	p.w.GivenUp += len(p.batches)
	p.batches, p.resends, p.last, p.met = nil, false, nil, map[kfs.TopicID]bool{}
	if p.epoch++; p.epoch > 3 {
		p.id = -1
		return
	}
	p.sequence = 0
}

// sendAgain sends the last batch that was acknowledged: the answer is the same.
func (p *producer) sendAgain(to *process) {
	w, b := p.w, p.last
	req := w.produceRequest(to, p.topic, p.partition, p.byName, w.batch(&record.Producer{ID: b.id, Epoch: b.epoch, Sequence: b.sequence}, b.values))
	if req == nil {
		return
	}
	p.asking = true
	w.send(p, to, req, func(resp kmsg.Response, err error) {
		c := w.running
		p.asking = false
		if err != nil {
			return
		}
		part := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		switch {
		case part.ErrorCode != 0:
			return
		case c.topic != b.at.Topic: // the topic was made anew, and has it now
			w.truth.ack(c, kfs.PartitionID{Topic: c.topic, Partition: p.partition}, part.BaseOffset, b.values)
			p.last = nil
		case part.BaseOffset != b.base:
			w.wrong("broker %d: %q, sent again, is at %d, but was acknowledged at %d", c.process.id, b.values[0], part.BaseOffset, b.base)
		default:
			w.Again++
		}
	})
}

// plain is a producer without an id, with one batch at a time, to any partition. What it sends again may come twice, and it gives up after a while.
type plain struct {
	w         *world
	topic     string
	partition int32
	number    int
	values    []string
	begun     time.Time
	flying    bool
	resting   bool
}

func newPlain(w *world) *plain { return &plain{w: w} }

func (p *plain) rest() bool {
	p.resting = true
	return p.values == nil
}

func (p *plain) act() {
	w := p.w
	if p.flying || p.resting && p.values == nil {
		return
	}
	if p.values == nil {
		p.topic, p.partition, p.begun = topicNames[w.rng.IntN(len(topicNames))], w.rng.Int32N(4), w.clock
		p.values = []string{fmt.Sprintf("plain #%d", p.number)}
		p.number++
	}
	if w.clock.Sub(p.begun) > 20*time.Second { // there may be no such partition
		p.values = nil
		return
	}
	to := w.partitionLeader(p.topic, p.partition)
	if to == nil {
		return
	}
	req := w.produceRequest(to, p.topic, p.partition, true, w.batch(nil, p.values))
	p.flying = true
	w.send(p, to, req, func(resp kmsg.Response, err error) {
		p.flying = false
		if err != nil {
			return
		}
		part := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		if part.ErrorCode == 0 {
			w.Acks++
			w.truth.ack(w.running, kfs.PartitionID{Topic: w.running.topic, Partition: p.partition}, part.BaseOffset, p.values)
			p.values = nil
		}
	})
}
