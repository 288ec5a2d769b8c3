package pipeline

import (
	"maps"
	"slices"
	"time"

	icetable "github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/processor"
)

// settle lets everything come to an end: nothing fails any more, and where a person must decide, one does.
func (s *simulation) settle() {
	for len(s.lake.late) > 0 {
		s.lake.land()
	}
	s.calm = true
	for _, p := range s.processes {
		p.paused = false
	}
	s.say("calm")
	s.rollOut()
	if s.recreates {
		s.log.live()
	}
	s.log.finish() // an idle job does not look at its tables
	for n := range 6000 {
		if len(s.wrongs) > 0 {
			return
		}
		if s.complete() {
			if s.kept() {
				return
			}
			if n%500 == 0 { // whoever has nothing to do does not look at its tables
				s.again()
			}
		}
		if s.decide(); len(s.alive()) == 0 {
			s.start()
		}
		ready := s.ready()
		if n%8 == 0 || len(ready) == 0 {
			s.pass(200 * time.Millisecond)
			continue
		}
		s.resume(ready[s.rng.IntN(len(ready))])
	}
	s.wrong("it does not come to an end")
}

// kept reports whether no dead letter of a topic that is there is lost. What a topic had that was deleted nobody misses.
func (s *simulation) kept() bool {
	lost := map[string]bool{}
	for _, row := range s.lostLetters() {
		lost[row.source()] = true
	}
	return !slices.ContainsFunc(s.log.sources(), func(source processor.Source) bool { return lost[iceberg.SourceKey(source)] })
}

// complete reports whether every table stands where its log ends, or never will, because it has no position of a partition all of whose
// records are dead letters: they make no table, nor does a process move one for them that was made after they were read. Of several tables
// those without news stay behind: what counts is that all is there.
func (s *simulation) complete() bool {
	for _, source := range s.log.sources() {
		if s.routed {
			if s.ahead(id(source)) || !s.allThere(source) {
				return false
			}
			continue
		}
		key, end := iceberg.SourceKey(source), int64(len(s.log.truth[id(source)]))
		next, stands := int64(0), false
		if t := s.lake.tables["db."+source.Topic]; t != nil {
			all, _ := s.position(t.now())
			next, stands = all[key]
		}
		letters := s.lake.tables[simLetters]
		if s.ahead(id(source)) || next < end && (stands || letters == nil || int64(len(s.headRows(letters)[key])) < end-s.log.begins[id(source)]) {
			return false
		}
	}
	return true
}

// allThere reports whether all records of a source are rows of its topic's tables, or dead letters.
func (s *simulation) allThere(source processor.Source) bool {
	key, all := iceberg.SourceKey(source), []simRows{s.letters()}
	for _, t := range s.tablesOf(source.Topic) {
		all = append(all, s.headRows(t))
	}
	for offset := s.log.begins[id(source)]; offset < int64(len(s.log.truth[id(source)])); offset++ {
		if !slices.ContainsFunc(all, func(rows simRows) bool { return rows.has(key, offset) }) && !s.givenUp[simPlace{key, offset}] {
			return false
		}
	}
	return true
}

// decide is the person who looks at what has halted: after a rollback the job is to fill the table again. Where it cannot, because nothing
// says any more where the table stands, the table is rolled forward.
func (s *simulation) decide() {
	var halted []*simTable
	former, ahead := map[string]bool{}, false
	letters := s.lake.tables[simLetters]
	for _, p := range s.alive() {
		status := p.job.Status()
		for _, err := range status.Halted {
			if ahead = s.restored && notSame(err); !ahead {
				s.wrong("%d halts: %v", p.n, err)
			}
		}
		for _, t := range status.Tables {
			back := s.rolledBack(t.Topic)
			switch {
			case t.Halted == nil:
			case s.restored && notSame(t.Halted):
				ahead = true
			case s.recreated(t.Topic, t.Halted):
				former[t.Topic] = true
			case len(back) > 0:
				halted = append(halted, back...)
			case letters != nil && letters.rolledBack: // it may halt for the letters' sake
				halted = append(halted, nil)
			default:
				s.wrong("%d: table %s halts: %v", p.n, t.Table, t.Halted)
			}
			for _, source := range t.Sources {
				switch {
				case source.Halted == nil:
				case s.ahead(id(source.Source)):
					ahead = true
				default:
					s.wrong("%d: table %s, %s/%d halts: %v", p.n, t.Table, source.Topic, source.Partition, source.Halted)
				}
			}
		}
	}
	if len(s.wrongs) > 0 {
		return
	}
	for _, topic := range slices.Sorted(maps.Keys(former)) {
		s.dropFormer(topic)
	}
	if ahead {
		s.dropAhead()
	}
	if len(former) > 0 || ahead {
		s.forget()
		s.log.finish()
		return
	}
	if len(halted) == 0 {
		return
	}
	s.Persons++
	for _, t := range halted {
		switch {
		case letters != nil && letters.rolledBack && (t == nil || !t.rolledBack || s.rng.IntN(2) == 0):
			s.decideLetters(letters)
		case t == nil || !t.rolledBack: // it has halted with the one before
		case !t.refill:
			s.say("a person decides: %s is filled again", t.name)
			t.refill = true
		default:
			s.say("a person decides: %s is rolled forward", t.name)
			t.rolledBack = false
			if err := s.lake.rollForward(t); err != nil {
				s.wrong("roll forward: %v", err)
			}
		}
	}
	s.forget()
}

// forget ends all processes and has the job forget what it has seen of its tables.
func (s *simulation) forget() {
	s.again()
	if err := s.store.Delete(s.t.Context(), kfs.JobKey(simJob)); err != nil {
		s.wrong("%v", err)
	}
	for _, t := range s.lake.tables {
		clear(t.most)
	}
	s.start()
}

// rolledBack are the tables of a topic that another engine has rolled back.
func (s *simulation) rolledBack(topic string) []*simTable {
	return slices.DeleteFunc(s.tablesOf(topic), func(t *simTable) bool { return !t.rolledBack })
}

// again ends all processes. One that starts looks at its tables.
func (s *simulation) again() {
	for _, p := range s.alive() {
		s.kill(p)
	}
}

// decideLetters rolls the dead letters forward. If the job has committed others in their place since, it goes without those that are gone then, be
// it that all of them have come again: rows that were committed beside them do not tell.
func (s *simulation) decideLetters(t *simTable) {
	s.say("a person decides: %s is rolled forward", t.name)
	before := t.now().CurrentSnapshot().SnapshotID
	err := s.lake.rollForward(t)
	now := t.now().CurrentSnapshot().SnapshotID
	ancestors, _ := icetable.AncestorsOfChecked(now, t.now().SnapshotByID)
	whole := !slices.ContainsFunc(t.taken, func(id int64) bool {
		return !slices.ContainsFunc(ancestors, func(a icetable.Snapshot) bool { return a.SnapshotID == id })
	})
	if gone := s.lostLetters(); err != nil || len(gone) > 0 || !whole || now == before {
		s.say("a person decides: the job goes without %d dead letters", len(gone))
		for _, row := range gone {
			s.givenUp[simPlace{row.source(), row.offset}] = true
		}
		err = s.lake.apply("another engine", t.name, nil, []icetable.Update{icetable.NewRemovePropertiesUpdate([]string{"firn.progress." + simJob})})
	}
	if err != nil {
		s.wrong("dead letters: %v", err)
	}
	t.rolledBack, t.lost, t.taken = false, nil, nil
}

// check compares the tables with the log.
func (s *simulation) check() {
	for _, name := range slices.Sorted(maps.Keys(s.lake.tables)) {
		t := s.lake.tables[name]
		s.checkTable(t)
		for _, rows := range s.headRows(t) {
			if name == simLetters {
				s.Letters += len(rows)
			} else {
				s.Rows += len(rows)
			}
		}
	}
	s.checkAll()
}
