package journal_test

import (
	"bytes"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs"
)

// reader reads a partition from one offset to the next, and now and then another one, or from somewhere else.
type reader struct {
	w      *world
	name   string
	id     kfs.PartitionID
	next   int64
	flying bool
}

func newReader(w *world, _ int) *reader { return &reader{w: w} }

func (r *reader) rest() bool { return !r.flying }

func (r *reader) act() {
	w := r.w
	if r.flying {
		return
	}
	if r.name == "" || w.once(20) {
		r.name, r.id = topicNames[w.rng.IntN(len(topicNames))], kfs.PartitionID{Partition: w.rng.Int32N(2)}
	}
	to := w.partitionLeader(r.name, r.id.Partition)
	if w.once(8) { // by what it knew long ago
		to = w.anyProcess()
	}
	if to == nil {
		return
	}
	t, ok := to.view.State().Topic(r.name)
	if !ok {
		return
	}
	if r.id.Topic != t.ID {
		r.id.Topic, r.next = t.ID, w.truth.of(kfs.PartitionID{Topic: t.ID, Partition: r.id.Partition}).asked
	}
	if w.once(10) {
		m := w.truth.of(r.id)
		r.next = m.start + w.rng.Int64N(m.high-m.start+1)
	}
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.MinBytes, req.SessionEpoch = 1+w.rng.Int32N(1000), 1, -1
	topic := kmsg.NewFetchRequestTopic()
	part := kmsg.NewFetchRequestTopicPartition()
	topic.TopicID, part.Partition, part.FetchOffset, part.PartitionMaxBytes = t.ID, r.id.Partition, r.next, req.MaxBytes
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	r.flying = true
	id, from := r.id, r.next
	w.send(r, to, req, func(resp kmsg.Response, err error) {
		r.flying = false
		if err == nil {
			r.fetched(w.running, id, from, &resp.(*kmsg.FetchResponse).Topics[0].Partitions[0])
		}
	})
}

// fetched takes an answer.
func (r *reader) fetched(c *call, id kfs.PartitionID, from int64, part *kmsg.FetchResponseTopicPartition) {
	w := r.w
	switch part.ErrorCode {
	case 0:
	case kerr.OffsetOutOfRange.Code:
		r.next = w.truth.of(id).asked
		return
	case kerr.KafkaStorageError.Code:
		if !c.faulty && !c.unsure {
			w.wrong("broker %d cannot read %s at %d", c.process.id, id, from)
		}
		return
	default:
		return
	}
	w.truth.told(c, id, part.LogStartOffset, part.HighWatermark)
	at := from
	for _, rec := range w.records(part.RecordBatches) {
		if rec.offset >= from && rec.offset != at {
			w.wrong("broker %d gives offset %d of %s where %d was expected", c.process.id, rec.offset, id, at)
		}
		at = max(at, rec.offset+1)
		w.truth.read(id, rec.offset, rec.value)
		w.Read++
	}
	if at == from && part.HighWatermark > from {
		w.wrong("broker %d gives nothing of %s at %d, which ends at %d", c.process.id, id, from, part.HighWatermark)
	}
	if id == r.id {
		r.next = at
	}
}

// witness looks at what the newest checkpoint of a journal says is needed, and later whether it is still there: as one who reads the store
// may, who is paused for less than grace.
type witness struct {
	w     *world
	key   string // nothing is looked for
	since time.Time
}

func newWitness(w *world) *witness { return &witness{w: w} }

func (t *witness) rest() bool { return true }

func (t *witness) act() {
	w := t.w
	if t.key == "" {
		if t.key = t.choose(w.rng.Uint32N(w.journals)); t.key != "" {
			t.since = w.clock
		}
		return
	}
	if w.clock.Sub(t.since) < journal.MinGrace/2 && w.rng.IntN(30) > 0 {
		return
	}
	if w.clock.Sub(t.since) <= journal.MinGrace {
		if body, ok := w.store.objects[t.key]; !ok || !bytes.Equal(body, w.store.first[t.key]) {
			w.wrong("%s was needed %v ago, and is not there as it was (there is one: %v)", t.key, w.clock.Sub(t.since), ok)
		}
		w.Witnessed++
	}
	t.key = ""
}

// choose chooses something that is needed now: an object or a segment; nothing if there is none.
func (t *witness) choose(number uint32) string {
	w := t.w
	checkpoints := w.store.list(kfs.CheckpointPrefix(number), "")
	if len(checkpoints) == 0 {
		if objects := slices.DeleteFunc(w.store.list(kfs.JournalPrefix(number), ""), func(key string) bool { return !isObject(key) }); len(objects) > 0 {
			return objects[w.rng.IntN(len(objects))]
		}
		return ""
	}
	ck, err := kfs.DecodeCheckpoint(w.store.objects[checkpoints[len(checkpoints)-1]])
	if err != nil {
		w.wrong("%s: %v", checkpoints[len(checkpoints)-1], err)
		return ""
	}
	live := uint64(0)
	if n := len(ck.Released); n > 0 {
		live = ck.Released[n-1].Last + 1
	}
	var keys []string
	for sequence := live; sequence <= ck.Sequence; sequence++ {
		keys = append(keys, kfs.ObjectKey(number, sequence))
	}
	for i := range ck.Partitions {
		for _, s := range ck.Partitions[i].Settled {
			if s.Span.Next > ck.Partitions[i].LogStart && !ck.Partitions[i].Ended {
				keys = append(keys, s.Key)
			}
		}
	}
	if len(keys) == 0 {
		return ""
	}
	if segments := slices.DeleteFunc(slices.Clone(keys), isObject); len(segments) > 0 && w.once(2) {
		keys = segments
	}
	return keys[w.rng.IntN(len(keys))]
}
