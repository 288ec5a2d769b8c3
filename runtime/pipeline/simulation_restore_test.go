package pipeline

import (
	"maps"
	"slices"
	"strings"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/processor"
)

// The log of some seeds is brought back to an earlier state while the job is down, and goes on from there with other records. Either it is
// restored in another place, where it has another lineage: no table that was filled from the one before may take a record of it. Or its own
// bucket is put back, which nothing says: then at least no source may go on of which a table has more than the log. In both cases a person
// drops those tables.

// simPoint is a state of the log that it can be brought back to.
type simPoint struct {
	log     *simLog
	objects map[string][]byte
}

// takeBack takes a restore point, or brings the log back to it.
func (s *simulation) takeBack() {
	switch {
	case s.restored || s.rare.IntN(100) > 0:
	case s.point == nil:
		s.say("a restore point is made")
		s.point = &simPoint{s.log.clone(), s.objects("")}
	default:
		s.restore(s.rare.IntN(2) == 0)
	}
}

// objects are those of the bucket below a prefix.
func (s *simulation) objects(prefix string) map[string][]byte {
	all := map[string][]byte{}
	for page, err := range s.store.List(s.t.Context(), prefix, "") {
		if err != nil {
			s.t.Fatal(err)
		}
		for _, o := range page.Objects {
			body, _, err := blob.ReadAll(s.t.Context(), s.store, o.Key, blob.All, 1<<30)
			if err != nil {
				s.t.Fatal(err)
			}
			all[o.Key] = body
		}
	}
	return all
}

// restore brings the log back. anew says that it is restored in another place.
func (s *simulation) restore(anew bool) {
	s.again()
	s.wait()
	for len(s.lake.late) > 0 { // what is on its way has arrived, or never will
		s.lake.land()
	}
	lost, objects := s.log, s.point.objects
	s.log, s.restored = s.point.log, true
	s.log.records, s.log.objects = lost.records, lost.objects
	switch n := s.rare.IntN(4); { // what the job has said of itself is as it was, as it is, or gone, but what tables still rest on
	case n == 0:
	case n == 1 || !anew:
		maps.Copy(objects, s.objects("jobs/"))
	default:
		maps.DeleteFunc(objects, func(key string, _ []byte) bool { return strings.HasPrefix(key, "jobs/") })
	}
	s.store = blob.NewMemory(nil)
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		if _, _, ok := kfs.ParseCheckpointKey(key); anew && ok {
			continue // a restore gives each journal one that it begins with
		}
		if _, err := s.store.Put(s.t.Context(), key, objects[key], false); err != nil {
			s.t.Fatal(err)
		}
	}
	if anew {
		s.log.lineage = kfs.TopicID{18}
	}
	for _, j := range s.log.journals {
		j.Store = s.store
		if anew {
			j.Identify(kfs.ClusterID{19}, s.log.lineage)
			j.Checkpoint(s.t)
		}
	}
	if anew {
		s.Restored++
	} else {
		s.PutBack++
	}
	s.say("the log is brought back; in another place: %v", anew)
	for _, name := range slices.Sorted(maps.Keys(s.lake.tables)) {
		s.outlive(s.lake.tables[name], lost, anew)
	}
}

// outlive notes what a table was filled from that the log does not hold any more.
func (s *simulation) outlive(t *simTable, lost *simLog, anew bool) {
	next, _ := s.position(t.now())
	for key, at := range next {
		source, err := iceberg.ParseSource(key)
		if err != nil {
			s.wrong("table %s: %v", t.name, err)
			return
		}
		if anew || at > int64(len(s.log.truth[id(source)])) {
			t.before[id(source)] = lost.truth[id(source)]
		}
	}
	if len(t.before) > 0 {
		s.Ahead++
		s.say("table %s is ahead of the log, or of another one: %d sources", t.name, len(t.before))
	}
}

// truthOf is what a table's source held when the table was filled from it.
func (s *simulation) truthOf(t *simTable, source processor.Source) []simRecord {
	if before, ok := t.before[id(source)]; ok {
		return before
	}
	return s.log.truth[id(source)]
}

// everHeld is what the log holds of a source, or did where a table has more of it.
func (s *simulation) everHeld(source processor.Source) []simRecord {
	most := s.log.truth[id(source)]
	for _, t := range s.lake.tables {
		if before := t.before[id(source)]; len(before) > len(most) {
			most = before
		}
	}
	return most
}

// ahead reports whether a table has more of a partition than the log, or has it from another one.
func (s *simulation) ahead(id kfs.PartitionID) bool {
	for _, t := range s.lake.tables {
		if _, ok := t.before[id]; ok {
			return true
		}
	}
	return false
}

// dropAhead is the person who drops the tables that are ahead of the log, or were filled from another one. Tables of one topic go together, and
// all go with the dead letters.
func (s *simulation) dropAhead() {
	letters := s.lake.tables[simLetters]
	all := letters != nil && (len(letters.before) > 0 || s.beyond(letters))
	for _, topic := range s.log.topics {
		tables := s.tablesOf(topic.Name)
		if !all && !slices.ContainsFunc(tables, func(t *simTable) bool { return len(t.before) > 0 }) {
			continue
		}
		for _, t := range tables {
			s.lake.drop(t, "the log is not what it was")
		}
		for p := range topic.Journals {
			of := kfs.PartitionID{Topic: topic.ID, Partition: int32(p)}
			s.log.begins[of] = s.log.starts[of]
		}
	}
	if all {
		s.lake.drop(letters, "the log is not what it was")
	}
}

// beyond reports whether a table stands behind the end of the log. One that was rolled back when the log was brought back, and was rolled forward
// since, does so and is not noted.
func (s *simulation) beyond(t *simTable) bool {
	next, _ := s.position(t.now())
	for key, at := range next {
		if source, err := iceberg.ParseSource(key); err != nil || at > int64(len(s.log.truth[id(source)])) {
			return true
		}
	}
	return false
}

// clone is a log that goes on by itself, from the same state.
func (l *simLog) clone() *simLog {
	c := &simLog{s: l.s, lineage: l.lineage, starts: maps.Clone(l.starts), begins: maps.Clone(l.begins), settled: maps.Clone(l.settled),
		graves: slices.Clone(l.graves), released: slices.Clone(l.released), finished: map[kfs.PartitionID]bool{}, truth: map[kfs.PartitionID][]simRecord{}}
	for _, topic := range l.topics {
		copied := *topic
		c.topics = append(c.topics, &copied)
	}
	for id, all := range l.truth {
		c.truth[id] = slices.Clone(all)
	}
	for _, j := range l.journals {
		c.journals = append(c.journals, j.Clone())
	}
	return c
}

// notSame reports whether an error is that of a table, or a journal, of another lineage.
func notSame(err error) bool { return strings.Contains(err.Error(), "lineage") }

// checkLineage checks a table to which the job has committed: it was not filled from another lineage.
func (s *simulation) checkLineage(t *simTable) {
	if s.foreign { // the branch is back at a commit of the job
		return
	}
	if len(t.before) > 0 && t.lineage != s.log.lineage {
		s.wrong("table %s is filled from lineage %s, and takes from %s", t.name, t.lineage, s.log.lineage)
	}
	t.lineage = s.log.lineage
}
