package api

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs/record"
)

// Produce: versions 0 to 13, all that kmsg knows.
//
// Records must be one batch of magic 2 per partition, in every version: message sets of the formats before (what producers that
// speak versions 0 to 2 usually send) are refused with UNSUPPORTED_FOR_MESSAGE_FORMAT and not converted, for a batch is stored as its
// producer made it. Version 13 names topics by id. Zstandard needs version 7. Transactional batches are refused. Records that their
// topic does not take are named one by one from version 8 on (KIP-467), and their batch is refused whole.
//
// acks=1 and acks=all mean the same, durable in the object store, and there is no other kind of success. With acks=0 nothing is
// answered, and an error closes the connection: the only way to make such a client look at its metadata again, and Kafka's.
//
// Batches are checked and enqueued in Start, so that those of one connection are appended as they arrived; Finish waits for the flush.
func produce(b *Backend) API {
	p := &producer{Backend: b, validator: record.NewValidator(record.Limits{BatchBytes: 1 << 30})} // topics have the limit
	return serve(0, p.start)
}

type producer struct {
	*Backend
	validator *record.Validator
}

// produced is one partition's part of a request: the answer under way, and where its batch went.
type produced struct {
	answer *kmsg.ProduceResponseTopicPartition
	append int // index into production.appends; -1 if it was refused
	place  int // index into that append's batches
}

// production is a request under way.
type production struct {
	response *kmsg.ProduceResponse
	acks     int16
	parts    []produced
	batches  []journalBatches
	leaders  map[int32]bool // brokers that the answer points to
	appends  []Append
}

// journalBatches are the batches for one journal.
type journalBatches struct {
	journal Journal
	batches []journal.Batch
}

func (p *producer) start(_ context.Context, r *Request) Finish {
	req := r.Body.(*kmsg.ProduceRequest)
	w := &production{response: req.ResponseKind().(*kmsg.ProduceResponse), acks: req.Acks, leaders: map[int32]bool{}}
	state := p.Cluster.State()
	w.response.Topics = make([]kmsg.ProduceResponseTopic, len(req.Topics))
	for i := range req.Topics {
		p.startTopic(w, state, req, &req.Topics[i], &w.response.Topics[i])
	}
	for _, j := range w.batches {
		w.appends = append(w.appends, j.journal.Append(j.batches))
	}
	return func(context.Context) (kmsg.Response, error) { return p.finish(w) }
}

func (p *producer) startTopic(w *production, state *metadata.State, req *kmsg.ProduceRequest, t *kmsg.ProduceRequestTopic, answer *kmsg.ProduceResponseTopic) {
	answer.Default()
	answer.Topic, answer.TopicID = t.Topic, t.TopicID
	topic, err := byName(state, t.Topic)
	if req.Version >= 13 {
		topic, err = byID(state, t.TopicID)
	}
	answer.Partitions = make([]kmsg.ProduceResponseTopicPartition, len(t.Partitions))
	for i := range t.Partitions {
		part := &answer.Partitions[i]
		part.Default()
		part.Partition, part.BaseOffset = t.Partitions[i].Partition, -1
		refused := err
		if refused == nil {
			refused = p.startPartition(w, topic, req, &t.Partitions[i], part)
		}
		if refused != nil {
			part.ErrorCode, part.ErrorMessage = Code(refused), message(refused)
			part.ErrorRecords = refusedRecords(refused)
			w.parts = append(w.parts, produced{answer: part, append: -1})
		}
	}
}

func (p *producer) startPartition(w *production, topic *metadata.Topic, req *kmsg.ProduceRequest, t *kmsg.ProduceRequestTopicPartition, answer *kmsg.ProduceResponseTopicPartition) error {
	part, err := p.partition(topic, t.Partition)
	if err != nil {
		if errors.Is(err, journal.ErrNotOwner) {
			answer.CurrentLeader.LeaderID, answer.CurrentLeader.LeaderEpoch = part.owner.Broker, part.owner.Epoch
			w.leaders[part.owner.Broker] = true
		}
		return err
	}
	if err := p.check(topic, req, t.Records); err != nil {
		return err
	}
	i := w.forJournal(part.journal)
	w.parts = append(w.parts, produced{answer: answer, append: i, place: len(w.batches[i].batches)})
	w.batches[i].batches = append(w.batches[i].batches, journal.Batch{
		Topic: topic.ID, Name: topic.Name, Partition: t.Partition, Records: t.Records, AppendTime: topic.Settings.LogAppendTime,
	})
	return nil
}

// check validates a partition's records for a topic, in Kafka's order: what is wrong with the request comes before what is wrong with
// the records.
func (p *producer) check(topic *metadata.Topic, req *kmsg.ProduceRequest, records []byte) error {
	first, err := record.ParseHeader(records)
	if errors.Is(err, record.ErrTruncated) {
		return fmt.Errorf("%w: %w", record.ErrInvalid, err) // it came like this over TCP: sending it again would not help
	}
	if err == nil && first.Codec() == record.Zstd && req.Version < 7 {
		return fmt.Errorf("%w: zstd needs version 7 of Produce", record.ErrCodec)
	}
	if req.Acks < -1 || req.Acks > 1 {
		return refuse(kerr.InvalidRequiredAcks, fmt.Sprintf("acks=%d is none of -1, 0 and 1", req.Acks))
	}
	if err := notInternal(topic.Name); err != nil {
		return err
	}
	if err == nil && first.BaseOffset != 0 {
		return fmt.Errorf("%w: base offset %d, a producer's is 0", record.ErrInvalid, first.BaseOffset)
	}
	if len(records) > int(topic.Settings.MaxMessageBytes) {
		return fmt.Errorf("%w: %d bytes, topic %s takes %d", record.ErrTooLarge, len(records), topic.Name, topic.Settings.MaxMessageBytes)
	}
	_, err = p.validator.Validate(records, rules(&topic.Settings, p.Clock()))
	return err
}

// rules are what a topic asks of records at a time. Where the broker's time replaces theirs it does not matter, as in Kafka.
func rules(s *metadata.Settings, now int64) record.Rules {
	r := record.Rules{Keys: s.Keys}
	if !s.LogAppendTime && s.OldestMillis < now {
		r.Earliest = now - s.OldestMillis
	}
	if !s.LogAppendTime && s.NewestMillis < math.MaxInt64-now {
		r.Latest = now + s.NewestMillis
	}
	return r
}

// refusedRecords are the records that an error names.
func refusedRecords(err error) []kmsg.ProduceResponseTopicPartitionErrorRecord {
	named, ok := errors.AsType[*record.RecordsError](err)
	if !ok {
		return nil
	}
	refused := make([]kmsg.ProduceResponseTopicPartitionErrorRecord, len(named.Records))
	for i, at := range named.Records {
		refused[i].RelativeOffset, refused[i].ErrorMessage = at, &named.Reason
	}
	return refused
}

// forJournal is the index of the batches for a journal. A request has few journals.
func (w *production) forJournal(j Journal) int {
	for i := range w.batches {
		if w.batches[i].journal == j {
			return i
		}
	}
	w.batches = append(w.batches, journalBatches{journal: j})
	return len(w.batches) - 1
}

// finish waits for the appends also when the client is gone: until then its frame is in use.
func (p *producer) finish(w *production) (kmsg.Response, error) {
	results := make([][]journal.Result, len(w.appends))
	for i, a := range w.appends {
		results[i] = a.Wait()
	}
	var failed error
	for _, part := range w.parts {
		if part.append >= 0 {
			part.report(results[part.append][part.place])
		}
		if part.answer.ErrorCode != 0 && failed == nil {
			failed = fmt.Errorf("with acks=0, partition %d: %w", part.answer.Partition, kerr.ErrorForCode(part.answer.ErrorCode))
		}
	}
	if w.acks == 0 {
		return nil, failed
	}
	if p.Throttle != nil {
		w.response.ThrottleMillis = int32(p.Throttle().Milliseconds())
	}
	for _, n := range p.endpoints(w.leaders) {
		broker := kmsg.NewProduceResponseBroker()
		broker.NodeID, broker.Host, broker.Port = n.ID, n.Host, n.Port
		w.response.Brokers = append(w.response.Brokers, broker)
	}
	return w.response, nil
}

func (p *produced) report(a journal.Result) {
	if a.Err != nil {
		p.answer.ErrorCode, p.answer.ErrorMessage = Code(a.Err), message(a.Err)
		return
	}
	p.answer.BaseOffset, p.answer.LogAppendTime, p.answer.LogStartOffset = a.Base, a.AppendTime, a.LogStart
}
