package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
)

// Fetch: versions 0 to 18, all that kmsg knows.
//
// Batches go out as they were produced. Versions 0 to 3 expect message formats from before record batches, to which nothing is converted
// down: their partitions get UNSUPPORTED_VERSION, as from a Kafka broker whose down-conversion is off. A topic whose compression.type
// is zstd gives versions below 10 UNSUPPORTED_COMPRESSION_TYPE; of other topics they get zstd batches as they are, for what a client
// can decompress does not hang on the version that it asks with. Version 13 names topics by id.
//
// A fetch waits until min bytes are there, max wait is over, or a partition has something else to say. It sleeps on the journals
// meanwhile and looks at nothing. At least one batch is answered, however large, so that every consumer gets on (KIP-74); further
// batches only as far as max bytes and the partition's max bytes allow, and no more than the client's share of the memory for answers.
//
// Incremental fetch sessions (KIP-227) are in fetch_sessions.go. A request that goes on with one, or closes one, is worked on when all
// earlier ones of its connection have been answered, as requests of one session build on each other.
//
// There are no transactions: the last stable offset is the high watermark, which is the end of the log, for all of it is durable.
func fetch(b *Backend) API {
	f := &fetcher{b, newSessions(maxSessions, b.SessionBytes, b.NewSessionID)}
	return serve(1, concurrent(f.handle))
}

type fetcher struct {
	*Backend
	sessions *sessions
}

// fetching is one fetch under way.
type fetching struct {
	*kmsg.FetchRequest
	topics   []kmsg.FetchRequestTopic // the request's, or its session's
	parts    []fetched
	minBytes int64
	maxBytes int64 // of all partitions together
}

// fetched is one partition of a fetch.
type fetched struct {
	partition
	req         *kmsg.FetchRequestTopicPartition
	answer      *kmsg.FetchResponseTopicPartition
	err         error
	start, next int64
}

func (f *fetcher) handle(ctx context.Context, r *Request) (kmsg.Response, error) {
	req := r.Body.(*kmsg.FetchRequest)
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	if req.SessionID != 0 {
		select {
		case <-r.Earlier:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	turn, refused := f.sessions.begin(f.Clock(), req)
	if refused != nil {
		resp.ErrorCode = refused.Code
		return resp, nil
	}
	w := &fetching{FetchRequest: req, topics: turn.topics, maxBytes: min(f.FetchBytes, int64(max(req.MaxBytes, 0)))}
	w.minBytes = min(int64(req.MinBytes), max(w.maxBytes, 1))
	f.resolve(w, resp)
	w.wait(ctx)
	f.recheck(w)
	if err := w.read(ctx, r); err != nil {
		return nil, err
	}
	f.report(w, resp)
	f.sessions.finish(f.Clock(), &turn, req, resp)
	return resp, nil
}

// resolve finds the partitions and lays out the answer in their order.
func (f *fetcher) resolve(w *fetching, resp *kmsg.FetchResponse) {
	state := f.Cluster.State()
	resp.Topics = make([]kmsg.FetchResponseTopic, len(w.topics))
	for i := range w.topics {
		t, answer := &w.topics[i], &resp.Topics[i]
		answer.Default()
		answer.Topic, answer.TopicID = t.Topic, t.TopicID
		topic, err := byName(state, t.Topic)
		if w.Version >= 13 {
			topic, err = byID(state, t.TopicID)
		}
		answer.Partitions = make([]kmsg.FetchResponseTopicPartition, len(t.Partitions))
		for k := range t.Partitions {
			p := fetched{req: &t.Partitions[k], answer: &answer.Partitions[k], err: err, start: -1, next: -1}
			p.answer.Default()
			p.answer.Partition = p.req.Partition
			if p.err == nil {
				p.partition, p.err = f.partition(topic, p.req.Partition)
			}
			if p.err == nil {
				p.err = p.checkEpoch(p.req.CurrentLeaderEpoch)
			}
			if p.err == nil && w.Version < 4 {
				p.err = refuse(kerr.UnsupportedVersion, "records are not converted to the formats before record batches")
			}
			if p.err == nil && w.Version < 10 && topic.Settings.Zstd {
				p.err = fmt.Errorf("%w: zstd needs version 10 of Fetch", record.ErrCodec)
			}
			w.parts = append(w.parts, p)
		}
	}
}

// wait returns when the answer is worth building.
func (w *fetching) wait(ctx context.Context) {
	if w.look() || w.MaxWaitMillis <= 0 {
		return
	}
	wake := make(chan struct{}, 1)
	for j, ids := range w.byJournal() {
		defer j.Watch(ids, wake)()
	}
	timer := time.NewTimer(time.Duration(w.MaxWaitMillis) * time.Millisecond)
	defer timer.Stop()
	for !w.look() { // also right away, for what came before the watches
		select {
		case <-wake:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// recheck finds out about topics that were deleted while the fetch waited: their offsets are gone, and that is not the client's fault.
func (f *fetcher) recheck(w *fetching) {
	state := f.Cluster.State()
	for i := range w.parts {
		p := &w.parts[i]
		if p.topic == nil {
			continue
		}
		if _, err := byID(state, p.topic.ID); err != nil && w.Version >= 13 {
			p.err = err
		} else if err != nil {
			p.err = errUnknownTopic
		}
	}
}

func (w *fetching) byJournal() map[Journal][]kfs.PartitionID {
	journals := map[Journal][]kfs.PartitionID{}
	for i := range w.parts {
		if p := &w.parts[i]; p.err == nil {
			journals[p.journal] = append(journals[p.journal], p.id)
		}
	}
	return journals
}

// look looks at what is there and reports whether that is enough for an answer.
func (w *fetching) look() bool {
	var available int64
	failed := false
	for i := range w.parts {
		p := &w.parts[i]
		p.look()
		if failed = failed || p.err != nil; p.err == nil {
			available += min(p.available(), int64(max(p.req.PartitionMaxBytes, 1)))
		}
	}
	return failed || len(w.parts) == 0 || available >= w.minBytes
}

func (p *fetched) look() {
	if p.err != nil {
		return
	}
	p.start, p.next = p.journal.Offsets(p.id)
	if p.err = p.journal.Serving(); p.err == nil && (p.req.FetchOffset < p.start || p.req.FetchOffset > p.next) {
		p.err = journal.ErrOffsetOutOfRange
	}
}

func (p *fetched) available() int64 {
	if p.req.FetchOffset >= p.next {
		return 0
	}
	return max(p.journal.Available(p.id, p.req.FetchOffset), 1)
}

// limit is the most that the client takes of the partition. A first batch may be larger.
func (p *fetched) limit() int64 { return int64(max(p.req.PartitionMaxBytes, 0)) }

// leastFetch is how many bytes of records a fetch does not go below, where they are there, however scarce memory is. It is Kafka's
// default of the largest batch.
const leastFetch = 1 << 20

// read reads the batches of the answer, after taking memory for them: once as they are read, once as they are encoded.
func (w *fetching) read(ctx context.Context, r *Request) error {
	var wanted int64
	for i := range w.parts {
		if p := &w.parts[i]; p.err == nil {
			wanted += min(p.available(), p.limit())
		}
	}
	wanted = min(wanted, w.maxBytes)
	share, err := r.ReserveShare(ctx, 2*min(wanted, leastFetch), 2*wanted)
	if err != nil {
		return err
	}
	// left is what there is memory for, allowed what the client takes: only a first batch that is larger than its partition's limit
	// makes them differ.
	left, allowed, first := share/2, w.maxBytes, true
	for i := range w.parts {
		p := &w.parts[i]
		p.answer.RecordBatches = []byte{}
		if p.err != nil || p.available() == 0 || min(left, allowed) <= 0 && !first {
			continue
		}
		limit := max(min(left, allowed, p.limit()), 0)
		b, err := p.journal.Read(ctx, p.id, p.req.FetchOffset, limit)
		if err != nil {
			p.err = err
			continue
		}
		if int64(len(b)) > limit && !first {
			continue // one batch larger than allowed is for the first only; the client asks again
		}
		if len(b) == 0 {
			continue
		}
		if over := int64(len(b)) - limit; over > 0 {
			if err := r.Reserve(ctx, 2*over); err != nil {
				return err
			}
		}
		p.answer.RecordBatches = b
		left -= min(int64(len(b)), limit)
		allowed -= int64(len(b))
		first = false
	}
	return nil
}

// report fills in what the answer says beside records.
func (f *fetcher) report(w *fetching, resp *kmsg.FetchResponse) {
	leaders := map[int32]bool{}
	for i := range w.parts {
		p := &w.parts[i]
		if p.err == nil {
			p.err = p.journal.Serving()
		}
		if w.IsolationLevel == 1 {
			p.answer.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
		}
		p.answer.ErrorCode = readCode(p.err)
		if p.err != nil {
			p.answer.RecordBatches = []byte{}
			p.answer.HighWatermark, p.answer.LastStableOffset, p.answer.LogStartOffset = -1, -1, -1
		} else {
			p.answer.HighWatermark, p.answer.LastStableOffset, p.answer.LogStartOffset = p.next, p.next, p.start
		}
		if errors.Is(p.err, journal.ErrNotOwner) || errors.Is(p.err, errFencedEpoch) {
			p.answer.CurrentLeader.LeaderID, p.answer.CurrentLeader.LeaderEpoch = p.owner.Broker, p.owner.Epoch
			leaders[p.owner.Broker] = true
		}
		if p.answer.ErrorCode == kerr.KafkaStorageError.Code {
			f.Log.Error("fetch", "partition", p.id, "offset", p.req.FetchOffset, "error", p.err)
		}
	}
	for _, n := range f.endpoints(leaders) {
		broker := kmsg.NewFetchResponseBroker()
		broker.NodeID, broker.Host, broker.Port = n.ID, n.Host, n.Port
		resp.Brokers = append(resp.Brokers, broker)
	}
}
