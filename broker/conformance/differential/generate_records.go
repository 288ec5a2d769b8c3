package differential

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/kfs/record"
)

// someBatch is a batch that is as it should be, mostly.
func (g *generator) someBatch() batch {
	b := batch{codec: of(g, record.None, record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd), label: g.label()}
	at := g.rng.Int64N(1000)
	for range 1 + g.rng.IntN(6) {
		b.times = append(b.times, at)
		at += g.rng.Int64N(200) - 50
		at = max(at, 0)
	}
	if g.maybe(8) {
		b.size = of(g, 300, 3000, 30_000, 1_100_000)
		b.times = b.times[:1]
	}
	if g.maybe(30) {
		b.times[0] = -1
	}
	if g.maybe(8) {
		b.spoil = of(g, "nothing", "twice", "cut", "more", "checksum", "base offset", "leader epoch", "magic", "control", "transactional",
			"append time", "codec", "body", "deltas", "count", "empty")
	}
	return b
}

func (b *batch) text() string {
	text := fmt.Sprintf("%d %s records %s of %d bytes or so", len(b.times), b.codec, b.label, b.size)
	if b.producer != "" {
		text += fmt.Sprintf(" of %s, epoch +%d, sequence %d", b.producer, b.epoch, b.sequence)
	}
	if b.spoil != "" {
		text += " (" + b.spoil + ")"
	}
	return text
}

// produce produces to one partition, or two.
func (g *generator) produce() {
	type part struct {
		topic     string
		partition int32
		batch     batch
	}
	var parts []part
	text := ""
	var spoilt []string
	for range of(g, 1, 1, 1, 2) {
		name := g.someTopic()
		p := part{name, g.somePartition(name), g.someBatch()}
		if len(parts) > 0 && parts[0].topic == p.topic && parts[0].partition == p.partition {
			continue // nobody does that, and servers take it as they like
		}
		parts = append(parts, p)
		text += fmt.Sprintf("%s/%d: %s; ", p.topic, p.partition, p.batch.text())
		if p.batch.spoil != "" {
			spoilt = append(spoilt, p.batch.spoil)
		}
	}
	acks := of[int16](g, -1, -1, -1, -1, 1, 1, 0, 2)
	if len(spoilt) > 0 && acks == 0 {
		acks = -1 // or nobody would know which of two batches was refused
	}
	old, tag := g.maybe(3), strings.Join(spoilt, " and ")
	version := g.version(0)
	if version < 3 && old {
		tag = "old format"
	} else if version < 3 && tag == "" {
		tag = "new format in old version"
	}
	step := addVersion(g, version, fmt.Sprintf("produce %swith acks=%d", text, acks), func(s *Side, r *kmsg.ProduceRequest) {
		r.Acks, r.TimeoutMillis = acks, 10_000
		for _, p := range parts {
			n := len(r.Topics)
			if n == 0 || r.Topics[n-1].Topic != s.topic(p.topic) {
				rt := kmsg.NewProduceRequestTopic()
				rt.Topic, rt.TopicID = s.topic(p.topic), s.id(p.topic)
				r.Topics = append(r.Topics, rt)
				n++
			}
			rp := kmsg.NewProduceRequestTopicPartition()
			rp.Partition = p.partition
			if tag == "old format" {
				rp.Records = messageSet(int8(min(version, 1)), s.base+p.batch.times[0], p.batch.label)
			} else {
				rp.Records = p.batch.bytes(s)
			}
			r.Topics[n-1].Partitions = append(r.Topics[n-1].Partitions, rp)
		}
	})
	step.Tag = tag
	if acks == 0 {
		step.Actor, step.Kind = 9, Send
		g.afterNoAcks(tag)
	}
	for _, p := range parts {
		g.timeless[p.topic] = g.timeless[p.topic] || p.batch.times[0] < 0
		if p.batch.spoil == "" && acks != 2 {
			g.grow(p.topic, p.partition, len(p.batch.times))
		}
	}
}

// afterNoAcks finds out whether the connection is still there after records that nobody acknowledges. Its answer is behind them.
func (g *generator) afterNoAcks(tag string) {
	step := add(g, "is the connection still there?", func(_ *Side, r *kmsg.FindCoordinatorRequest) {
		r.CoordinatorKey, r.CoordinatorKeys = "g0", []string{"g0"}
	})
	step.Actor, step.Tag = 9, tag
}

func (g *generator) initProducer() {
	name := of(g, "p0", "p1")
	again, transactional := g.maybe(4), g.maybe(8)
	step := add(g, fmt.Sprintf("init producer %s, with what it has: %t, transactional: %t", name, again, transactional), func(s *Side, r *kmsg.InitProducerIDRequest) {
		r.TransactionTimeoutMillis = 10_000
		if transactional {
			r.TransactionalID = kmsg.StringPtr(s.name("transaction"))
		}
		if p := s.producers[name]; p != nil && again {
			r.ProducerID, r.ProducerEpoch = p.id, p.epoch
		}
	})
	if transactional {
		step.Tag = "transactional"
		return
	}
	step.Learn = func(s *Side, resp kmsg.Response) {
		if r := resp.(*kmsg.InitProducerIDResponse); r.ErrorCode == 0 {
			s.producers[name] = &producer{r.ProducerID, r.ProducerEpoch}
		}
	}
	g.producers[name] = map[string]int32{}
}

// produceIdempotently produces what comes next, or what has come already, or what is not to come yet, or as an older or newer producer.
func (g *generator) produceIdempotently() {
	name := of(g, "p0", "p0", "p1")
	if g.producers[name] == nil {
		g.initProducer()
		if g.producers[name] == nil {
			return
		}
	}
	topic := of(g, "t0", "t0", "t1")
	partition := g.somePartition(topic)
	b := g.someBatch()
	b.spoil, b.size = "", 0
	at := fmt.Sprint(topic, partition)
	next := g.producers[name][at]
	b.producer, b.sequence = name, next
	step := int32(0)
	switch g.rng.IntN(12) {
	case 0:
		b.sequence = 0
	case 1:
		b.sequence = max(0, next-int32(len(b.times))) // perhaps what was last, perhaps not
	case 2:
		b.sequence += of[int32](g, 1, 5, 100)
	case 3:
		b.epoch = 1
	case 4:
		b.epoch, b.sequence = 1, 0
	case 5:
		b.producer = "nobody"
	default:
		step = int32(len(b.times))
	}
	g.producers[name][at] = next + step
	g.timeless[topic] = g.timeless[topic] || b.times[0] < 0
	send := func(text string) *Step {
		return add(g, fmt.Sprintf("%sproduce %s to %s/%d", text, b.text(), topic, partition), func(s *Side, r *kmsg.ProduceRequest) {
			r.Acks, r.TimeoutMillis = -1, 10_000
			rt := kmsg.NewProduceRequestTopic()
			rt.Topic, rt.TopicID = s.topic(topic), s.id(topic)
			rp := kmsg.NewProduceRequestTopicPartition()
			rp.Partition, rp.Records = partition, b.bytes(s)
			rt.Partitions = append(rt.Partitions, rp)
			r.Topics = append(r.Topics, rt)
		})
	}
	first := send("")
	if b.sequence < next || b.producer == "nobody" {
		first.Tag = "perhaps again"
	}
	if g.maybe(4) {
		send("again, ").Tag = "perhaps again"
	}
	if step > 0 {
		g.grow(topic, partition, len(b.times))
	}
}

// latestTag is what is special about the latest time of a topic's records.
func (g *generator) latestTag(topic string) string {
	switch {
	case g.trimmed[topic]:
		return "latest time of what is left"
	case g.timeless[topic]:
		return "latest time of what may have none"
	}
	return "latest time"
}

func (g *generator) describeProducers() {
	topic := g.someTopic()
	partition := g.somePartition(topic)
	add(g, fmt.Sprintf("producers of %s/%d", topic, partition), func(s *Side, r *kmsg.DescribeProducersRequest) {
		t := kmsg.NewDescribeProducersRequestTopic()
		t.Topic, t.Partitions = s.topic(topic), []int32{partition}
		r.Topics = append(r.Topics, t)
	})
}

func (g *generator) deleteRecords() {
	topic := g.someTopic()
	partition := g.somePartition(topic)
	offset := g.someOffset(topic, partition)
	g.trimmed[topic] = true
	add(g, fmt.Sprintf("delete records of %s/%d before %d", topic, partition, offset), func(s *Side, r *kmsg.DeleteRecordsRequest) {
		t := kmsg.NewDeleteRecordsRequestTopic()
		t.Topic = s.topic(topic)
		p := kmsg.NewDeleteRecordsRequestTopicPartition()
		p.Partition, p.Offset = partition, offset
		t.Partitions = append(t.Partitions, p)
		r.Topics, r.TimeoutMillis = append(r.Topics, t), 10_000
	})
}

func (g *generator) listOffsets() {
	topic := g.someTopic()
	partition := g.somePartition(topic)
	at := of[int64](g, -1, -2, -3, -4, 0, 1, 500, 900, 1500, 50_000, -1, -2, -1000)
	isolation := int8(g.rng.IntN(2))
	epoch := g.someEpoch()
	version := g.version(2)
	if version < 4 {
		epoch = noEpoch
	}
	offsets := of[int32](g, 1, 5, 0)
	step := addVersion(g, version, fmt.Sprintf("offset of %s/%d at %d, isolation %d, epoch %v", topic, partition, at, isolation, epoch), func(s *Side, r *kmsg.ListOffsetsRequest) {
		r.ReplicaID, r.IsolationLevel, r.TimeoutMillis = -1, isolation, 10_000
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = s.topic(topic)
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp, p.CurrentLeaderEpoch, p.MaxNumOffsets = partition, at, s.epoch(epoch, topic, partition), offsets
		if at >= 0 {
			p.Timestamp += s.base
		}
		t.Partitions = append(t.Partitions, p)
		r.Topics = append(r.Topics, t)
	})
	switch {
	case version == 0 && at >= 0:
		step.Tag = "by segment"
	case at == -3:
		step.Tag = g.latestTag(topic)
	}
}

func (g *generator) leaderEpoch() {
	topic := g.someTopic()
	partition := g.somePartition(topic)
	current, wanted := g.someEpoch(), of(g, noEpoch, ownEpoch, nextEpoch, farEpoch)
	add(g, fmt.Sprintf("where the epoch %v of %s/%d ends, current epoch %v", wanted, topic, partition, current), func(s *Side, r *kmsg.OffsetForLeaderEpochRequest) {
		r.ReplicaID = -1
		t := kmsg.NewOffsetForLeaderEpochRequestTopic()
		t.Topic = s.topic(topic)
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = partition, s.epoch(current, topic, partition), s.epoch(wanted, topic, partition)
		t.Partitions = append(t.Partitions, p)
		r.Topics = append(r.Topics, t)
	})
}
