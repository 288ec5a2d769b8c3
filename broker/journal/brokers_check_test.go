package journal_test

import (
	"strings"
	"time"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs"
)

// settle lets everything come to an end: nothing goes wrong any more, clients finish what they have begun, all is read, and what nobody needs
// is deleted.
func (w *world) settle() {
	w.faults, w.mistake = false, mistake{}
	for _, b := range w.brokers {
		b.cut = false
		if b.process != nil {
			b.process.leaving = false
			b.process.resume()
		}
	}
	if !w.until("clients come to rest", 40_000, func() bool {
		for _, b := range w.brokers {
			if b.process == nil {
				w.startProcess(b)
			}
		}
		resting := true
		for _, c := range w.clients {
			resting = c.rest() && resting
		}
		return resting && w.served()
	}) {
		return
	}
	w.check()
	if len(w.wrongs) == 0 {
		w.sweepAll(w.trimAll())
	}
}

// until goes on until something is so.
func (w *world) until(what string, turns int, ok func() bool) bool {
	for range turns {
		if ok() {
			return true
		}
		w.steps++
		switch n := w.rng.IntN(100); {
		case n < 35:
			w.store.carry()
		case n < 65:
			w.store.deliver()
		case n < 80:
			w.carryCall()
		case n < 88:
			w.clients[w.rng.IntN(len(w.clients))].act()
		default:
			w.pass(time.Duration(w.rng.Int64N(int64(300 * time.Millisecond))))
		}
		if len(w.wrongs) > 0 {
			return false
		}
	}
	w.wrong("it does not come to this: %s", what)
	return false
}

// serving is who serves a journal; nil if nobody does.
func (w *world) serving(number uint32) *tenure {
	for _, b := range w.brokers {
		if p := b.process; p != nil && !p.leaving && p.tenures[number].stage == serving {
			if _, err := p.view.Journal(number, p.now()); err == nil {
				return p.tenures[number]
			}
		}
	}
	return nil
}

// served tells whether all journals have owners.
func (w *world) served() bool {
	for number := range w.journals {
		if w.serving(number) == nil {
			return false
		}
	}
	return true
}

// check compares what is there with what clients were told.
func (w *world) check() {
	state := w.serving(0).p.view.State()
	for name, want := range w.truth.admin.topics {
		t, ok := state.Topic(name)
		switch {
		case !ok || t.ID != want.id || t.State != kfs.TopicLive:
			w.wrong("topic %s (%s) is not there", name, want.id)
			return
		case t.Partitions() != want.partitions:
			w.wrong("topic %s has %d partitions, and not %d", name, t.Partitions(), want.partitions)
			return
		case len(t.Configs) != 1 || t.Configs[0].Value != want.retention:
			w.wrong("topic %s has the configs %v, and not %s", name, t.Configs, want.retention)
		}
		for number := range want.partitions {
			id := kfs.PartitionID{Topic: t.ID, Partition: number}
			w.checkPartition(id, w.serving(t.Journals[number]).s)
		}
		w.checkOffsets(t.ID)
	}
	if len(state.Topics()) != len(topicNames) {
		w.wrong("there are %d topics", len(state.Topics()))
	}
}

// checkPartition reads a partition: all that was acknowledged is there, once and in order.
func (w *world) checkPartition(id kfs.PartitionID, s *journal.Stepped) {
	start, next := s.Offsets(id)
	m := w.truth.of(id)
	if start < m.trimmed || start > m.asked {
		w.wrong("%s begins at %d: trimmed to %d, asked for was %d at most", id, start, m.trimmed, m.asked)
	}
	found, last := map[int64]string{}, map[string]int{}
	for at := start; at < next; {
		b, err := s.Read(neverEnding, id, at, 1<<20)
		if err != nil || len(b) == 0 {
			w.wrong("%s cannot be read at %d of [%d, %d): %v", id, at, start, next, err)
			return
		}
		for _, rec := range w.records(b) {
			if rec.offset < at {
				continue
			}
			if rec.offset != at {
				w.wrong("%s has offset %d where %d was expected", id, rec.offset, at)
			}
			found[at] = rec.value
			w.truth.read(id, at, rec.value)
			at = rec.offset + 1
			who, n, err := numbered(rec.value)
			if err != nil {
				w.wrong("%s, offset %d: %q: %v", id, rec.offset, rec.value, err)
			}
			if before, ok := last[who]; ok && (n < before || n == before && who != "plain") {
				w.wrong("%s, offset %d: %q behind #%d", id, rec.offset, rec.value, before)
			}
			last[who] = n
		}
	}
	for offset, value := range w.truth.acked[id] {
		if offset >= start && found[offset] != value {
			w.wrong("offset %d of %s: %q was acknowledged, %q is there", offset, id, value, found[offset])
		}
	}
}

// checkOffsets compares the committed offsets of a topic with what members were told.
func (w *world) checkOffsets(topic kfs.TopicID) {
	t := w.serving(w.serving(0).p.view.State().GroupJournal(groupName))
	have := map[kfs.PartitionID]int64{}
	for _, o := range t.s.GroupOffsets(groupName) {
		have[kfs.PartitionID{Topic: o.TopicID, Partition: o.Partition}] = o.Offset
	}
	for partition := range int32(2) {
		id := kfs.PartitionID{Topic: topic, Partition: partition}
		at, ok := have[id]
		if !ok {
			at = -1
		}
		w.truth.fetched(&call{w: w, process: t.p, sent: w.steps}, id, at)
	}
}

// trimAll deletes half of the records, and gives witnesses of what was needed just before.
func (w *world) trimAll() []*witness {
	var witnesses []*witness
	for range 6 * w.journals {
		t := newWitness(w)
		t.act()
		witnesses = append(witnesses, t)
	}
	for number := range w.journals {
		s := w.serving(number).s
		for _, id := range s.Partitions() {
			if start, next := s.Offsets(id); next > start {
				s.AppendEntries([]kfs.Entry{kfs.Trim{Topic: id.Topic, Partition: id.Partition, LogStart: start + (next-start+1)/2}})
			}
		}
	}
	return witnesses
}

// sweepAll lets time pass until nothing waits to be deleted any more, and looks at what is there then.
func (w *world) sweepAll(witnesses []*witness) {
	for n := range 400 { // ten times grace
		if n > 45 && w.swept() && w.unlisted() == "" { // more than grace
			break
		}
		w.pass(3 * time.Minute)
		for range 3 {
			w.pass(100 * time.Millisecond)
			for w.store.busy() {
				w.store.carry()
				w.store.deliver()
			}
		}
		for _, t := range witnesses {
			t.act()
		}
		if len(w.wrongs) > 0 {
			return
		}
	}
	if !w.until("all journals have owners", 10_000, w.served) {
		return
	}
	for number := range w.journals {
		s := w.serving(number).s
		for _, id := range s.Forgotten(w.serving(0).p.view.State()) {
			w.wrong("journal %d has %s of a topic that is gone, and has not ended it", number, id)
		}
		if s.Unsettled() {
			w.wrong("journal %d has given up settling something", number)
		}
		if s.Waiting() {
			w.wrong("journal %d: after a day something waits to be deleted: %s", number, s.Deleting())
		}
		for _, key := range w.store.list(kfs.JournalPrefix(number), "") {
			_, sequence, ok := kfs.ParseObjectKey(key)
			if !ok || sequence >= s.Live() || w.store.strays[key] { // a stray goes with the next owner, who looks for the first object there is
				continue
			}
			m, _, err := kfs.Open(w.store.objects[key])
			if err != nil || len(m.Segments) > 0 { // those without records go with the next that have some
				w.wrong("%s is there after a day, and nobody needs it: %s (%v)", key, s.Deleting(), err)
				break
			}
		}
	}
	if key := w.unlisted(); key != "" {
		w.wrong("%s is there after a day, and nobody lists it", key)
	}
}

// swept tells whether nothing waits to be deleted.
func (w *world) swept() bool {
	for number := range w.journals {
		if t := w.serving(number); t == nil || t.s.Waiting() {
			return false
		}
	}
	return true
}

// unlisted is a segment, or the index of one, that no journal lists; "" if there is none.
func (w *world) unlisted() string {
	for _, key := range w.store.list(kfs.SegmentsPrefix, "") {
		segment := strings.Replace(key, ".index", ".kfs", 1)
		listed := false
		for number := range w.journals {
			t := w.serving(number)
			listed = listed || t != nil && t.s.Lists(segment)
		}
		if !listed && !w.store.strays[key] { // one that has come back goes when there is something to look for
			return key
		}
	}
	return ""
}

// busy tells whether anything is on its way.
func (s *store) busy() bool { return len(s.network)+len(s.answers) > 0 }
