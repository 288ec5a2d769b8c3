package pipeline

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// simRecord is what is true of a record.
type simRecord struct {
	value  string
	kind   string         // that names its table, where records do
	fields map[string]any // nil: it is no JSON, and never a row
	plain  bool           // it is always a row
	later  bool           // it depends on the job file
}

// simLog is the log that the job reads: two journals, and what is true of them.
type simLog struct {
	s        *simulation
	lineage  kfs.TopicID
	topics   []*simTopic
	journals []*tailtest.Journal
	truth    map[kfs.PartitionID][]simRecord
	starts   map[kfs.PartitionID]int64
	begins   map[kfs.PartitionID]int64 // the first offset that the tables must have
	settled  map[kfs.PartitionID]int
	objects  int
	records  int
	graves   []simGrave
	released []uint64
	finished map[kfs.PartitionID]bool // that have their last record
}

// simGrave is a released object that may be deleted at a time.
type simGrave struct {
	key string
	at  time.Time
}

func newSimLog(s *simulation) *simLog {
	l := &simLog{s: s, lineage: kfs.TopicID{8}, topics: []*simTopic{newSimTopic("events", 1, 0, 1), newSimTopic("orders", 1, 0)}, truth: map[kfs.PartitionID][]simRecord{},
		starts: map[kfs.PartitionID]int64{}, begins: map[kfs.PartitionID]int64{}, settled: map[kfs.PartitionID]int{}, released: make([]uint64, 2), finished: map[kfs.PartitionID]bool{}}
	for k := range uint32(2) {
		l.journals = append(l.journals, &tailtest.Journal{Store: s.store, Number: k})
	}
	l.journals[0].Append(s.t, []kfs.Entry{kfs.Cluster{ID: kfs.TopicID{9}, Lineage: l.lineage, Journals: 2}, l.topics[0].Topic, l.topics[1].Topic})
	l.journals[1].Append(s.t, nil)
	return l
}

// partitions of a journal, of topics that are there.
func (l *simLog) partitions(journal int) []tailtest.Records {
	return l.partitionsOf(journal, func(t *simTopic) bool { return t.State == kfs.TopicLive })
}

// partitionsOf are those of some topics.
func (l *simLog) partitionsOf(journal int, wanted func(*simTopic) bool) (all []tailtest.Records) {
	for _, topic := range l.topics {
		for p, of := range topic.Journals {
			if of == uint32(journal) && wanted(topic) {
				all = append(all, tailtest.Records{Topic: topic.Topic, Partition: int32(p)})
			}
		}
	}
	return all
}

func (l *simLog) id(r tailtest.Records) kfs.PartitionID {
	return kfs.PartitionID{Topic: r.Topic.ID, Partition: r.Partition}
}

// produce appends an object with records to a journal.
func (l *simLog) produce() {
	if l.objects >= simObjects {
		return
	}
	l.objects++
	journal := l.s.rng.IntN(len(l.journals))
	var all []tailtest.Records
	for _, r := range l.partitions(journal) {
		if l.s.rng.IntN(3) == 0 || l.s.ahead(l.id(r)) {
			continue
		}
		for range 1 + l.s.rng.IntN(4) {
			rec := l.record()
			r.Values = append(r.Values, []byte(rec.value))
			l.truth[l.id(r)] = append(l.truth[l.id(r)], rec)
		}
		all = append(all, r)
	}
	m := l.journals[journal].Append(l.s.t, nil, all...)
	l.s.say("journal %d has object %d: %s", journal, m.Sequence, spans(m))
}

// finish gives each partition a last record, unless a table is ahead of it: nobody could tell any more then.
func (l *simLog) finish() {
	for k, j := range l.journals {
		var all []tailtest.Records
		for _, r := range l.partitions(k) {
			if l.finished[l.id(r)] || l.s.ahead(l.id(r)) {
				continue
			}
			rec := l.record()
			r.Values = [][]byte{[]byte(rec.value)}
			l.truth[l.id(r)] = append(l.truth[l.id(r)], rec)
			l.finished[l.id(r)] = true
			all = append(all, r)
		}
		if len(all) > 0 {
			j.Append(l.s.t, nil, all...)
		}
	}
}

func spans(m *kfs.Manifest) string {
	var b strings.Builder
	for _, seg := range m.Segments {
		fmt.Fprintf(&b, " %s/%d %s", seg.Name, seg.Partition, seg.Span)
	}
	return b.String()
}

// record makes a record: most are plain, some have fields whose types do not agree with others', a few are no JSON.
func (l *simLog) record() simRecord {
	l.records++
	l.s.Records++
	rng := l.s.rng
	r := simRecord{fields: map[string]any{"n": l.records}, plain: true}
	if l.s.routed {
		r.kind = l.kind()
	}
	switch n := rng.IntN(20); {
	case n == 0 || n < 6 && l.s.dead:
		return simRecord{value: fmt.Sprintf("no JSON %d", l.records)}
	case n < 5: // columns that come up in any order
		for range 1 + rng.IntN(2) {
			r.fields[fmt.Sprintf("f%d", rng.IntN(6))] = l.records
		}
	case n < 8: // the first to come decides
		r.plain = false
		name := fmt.Sprintf("g%d%s", rng.IntN(3), r.kind) // of two kinds at once, in two processes, it would be no column of one table
		r.fields[name] = l.records
		if rng.IntN(2) == 0 {
			r.fields[name] = fmt.Sprint("text ", l.records)
		}
	case n >= 9 && n < 12 && l.s.file != "":
		r.plain, r.later = false, true
		r.fields["later"] = l.records
	case n == 8 && rng.IntN(4) == 0: // a long that becomes double
		r.plain = false
		r.fields["f0"] = float64(l.records) + 0.5
	}
	if r.kind != "" {
		r.fields["k"] = r.kind
	}
	r.plain = r.plain && (r.kind != "" || !l.s.routed)
	b, err := json.Marshal(r.fields)
	if err != nil {
		l.s.t.Fatal(err)
	}
	r.value = string(b)
	return r
}

// upkeep is what brokers do to the log: checkpoints, settled segments, and what nobody needs any more goes.
func (l *simLog) upkeep() {
	k := l.s.rng.IntN(len(l.journals))
	j := l.journals[k]
	switch l.s.rng.IntN(4) {
	case 0:
		l.settle(k)
	case 1:
		l.trim(k)
	case 2:
		l.bury()
		return
	}
	j.Append(l.s.t, nil) // two checkpoints never end at one object
	j.Checkpoint(l.s.t)
	l.s.say("journal %d has a checkpoint", k)
}

// settle puts what a journal has into segments and releases its objects.
func (l *simLog) settle(journal int) {
	j := l.journals[journal]
	for _, r := range l.partitionsOf(journal, func(t *simTopic) bool { return t.ended <= journal }) {
		id := l.id(r)
		from, to := l.settled[id], len(l.truth[id])
		if from == to {
			continue
		}
		var values []string
		for _, rec := range l.truth[id][from:to] {
			values = append(values, rec.value)
		}
		j.Settle(l.s.t, r.Topic, r.Partition, values...)
		l.settled[id] = to
	}
	next := j.Append(l.s.t, nil).Sequence
	for at := l.released[journal]; at < next; at++ {
		l.graves = append(l.graves, simGrave{kfs.ObjectKey(uint32(journal), at), time.Now().Add(2 * time.Hour)})
	}
	if next > l.released[journal] {
		j.Release(l.s.t, next, false)
		l.released[journal] = next
	}
}

// bury deletes what was released long ago.
func (l *simLog) bury() {
	l.graves = slices.DeleteFunc(l.graves, func(g simGrave) bool {
		if time.Now().Before(g.at) {
			return false
		}
		if err := l.s.store.Delete(l.s.t.Context(), g.key); err != nil {
			l.s.t.Fatal(err)
		}
		return true
	})
}

// trim takes what the job does not hold, but not while a table waits to be filled again.
func (l *simLog) trim(journal int) {
	for _, t := range l.s.lake.tables {
		if t.rolledBack {
			return
		}
	}
	body, _, err := blob.ReadAll(l.s.t.Context(), l.s.store, kfs.JobKey(simJob), blob.All, kfs.MaxJobBytes)
	if err != nil {
		return
	}
	f, err := kfs.DecodeJob(body)
	if err != nil {
		l.s.wrong("the job's object: %v", err)
		return
	}
	holds := f.Holds()
	var entries []kfs.Entry
	for _, r := range l.partitions(journal) {
		id := l.id(r)
		hold, ok := holds(r.Topic.Name, id)
		hold = min(hold, int64(len(l.truth[id]))) // which was put back to before it
		if !ok || hold <= l.starts[id] {
			continue
		}
		l.starts[id] = hold
		l.s.Trims++
		l.s.say("%s/%d is trimmed to %d", r.Topic.Name, r.Partition, hold)
		entries = append(entries, kfs.Trim{Topic: id.Topic, Partition: id.Partition, LogStart: hold})
	}
	if len(entries) > 0 {
		l.journals[journal].Append(l.s.t, entries)
	}
}

// sort puts what waits for a worker in the order of the journals: one moment may wake both readers, and either may be first to offer.
func (l *simLog) sort(items chan item) {
	if len(items) == cap(items) { // others wait to offer more
		return
	}
	var all []item
	for len(items) > 0 {
		all = append(all, <-items)
	}
	slices.SortStableFunc(all, func(a, b item) int { return cmp.Compare(l.journalOf(a.source), l.journalOf(b.source)) })
	for _, it := range all {
		items <- it
	}
}

// journalOf is the journal that holds a partition. It is the same in every life of a topic.
func (l *simLog) journalOf(source processor.Source) uint32 {
	i := slices.IndexFunc(l.topics, func(t *simTopic) bool { return t.Name == source.Topic })
	return l.topics[i].Journals[source.Partition]
}

// sources are the partitions that the job reads.
func (l *simLog) sources() (all []processor.Source) {
	for k := range l.journals {
		for _, r := range l.partitions(k) {
			all = append(all, processor.Source{Topic: r.Topic.Name, ID: r.Topic.ID, Partition: r.Partition})
		}
	}
	return all
}
