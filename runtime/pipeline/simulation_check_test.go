package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	icetable "github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/processor"
)

// position is where a table stands, by source, read without the product's help. first is where each began.
func (s *simulation) position(meta icetable.Metadata) (next, first map[string]int64) {
	return s.positionAt(meta, meta.CurrentSnapshot())
}

// positionAt is where a table would stand if its branch ended at that snapshot.
func (s *simulation) positionAt(meta icetable.Metadata, head *icetable.Snapshot) (next, first map[string]int64) {
	var property struct {
		Commit  string              `json:"commit"`
		Sources map[string][4]int64 `json:"sources"`
	}
	if value, ok := meta.Properties()["firn.progress."+simJob]; ok {
		if err := json.Unmarshal([]byte(value), &property); err != nil {
			s.wrong("the property is %s: %v", value, err)
		}
	}
	next, first = map[string]int64{}, map[string]int64{}
	if head == nil {
		return next, first
	}
	ancestors, complete := icetable.AncestorsOfChecked(head.SnapshotID, meta.SnapshotByID)
	complete = complete && ancestors[len(ancestors)-1].SequenceNumber == 1 // expiry may make a snapshot a root
	found := false
	for _, a := range ancestors {
		if a.Summary == nil || a.Summary.Properties["firn.receipt"] == "" {
			continue
		}
		if !found && a.Summary.Properties["firn.commit"] == property.Commit {
			complete = false
			break
		}
		found = true
		var ranges map[string][4]int64
		if err := json.Unmarshal([]byte(a.Summary.Properties["firn.ranges"]), &ranges); err != nil {
			s.wrong("a receipt: %v", err)
		}
		for source, r := range ranges {
			if _, ok := next[source]; !ok {
				next[source] = r[1]
			}
			first[source] = r[0]
		}
	}
	for source, p := range property.Sources {
		if _, ok := next[source]; !ok && (!complete || !found) {
			next[source], first[source] = p[1], p[0]
		} else if ok {
			first[source] = min(first[source], p[0])
		} else { // rolled back to before it began
			next[source], first[source] = p[0], p[0]
		}
	}
	return next, first
}

// show notes what a load has shown of a table.
func (l *simLake) show(t *simTable, version int) {
	next, _ := l.s.position(t.versions[version])
	t.mu.Lock()
	defer t.mu.Unlock()
	for source, at := range next {
		t.most[source] = max(t.most[source], at)
	}
}

// remember notes where a worker knows its table to stand.
func (p *simProcess) remember(w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begins(w)
	for name, k := range w.table.known {
		if p.shown[name] == nil {
			p.shown[name] = map[string]int64{}
		}
		for source, at := range k.positions {
			p.shown[name][iceberg.SourceKey(source)] = at
		}
	}
	t := p.simulation.lake.tables[w.table.name]
	if t == nil { // a group without rows is committed to no table by doing nothing, though one may be made afterwards
		return
	}
	if p.shown[t.name] == nil {
		p.shown[t.name] = map[string]int64{}
	}
	for _, source := range w.sources {
		key := iceberg.SourceKey(source.Source)
		p.shown[t.name][key] = max(p.shown[t.name][key], min(source.committed, t.stood[key]))
	}
}

// checkSent checks that a process does not go on where a table stands that it has seen further: that is for a person to decide.
func (p *simProcess) checkSent(name string, updates []icetable.Update) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range updates {
		snapshot, ok := added(u)
		if !ok || snapshot.Summary.Properties["firn.ranges"] == "" {
			continue
		}
		var ranges map[string][4]int64
		if err := json.Unmarshal([]byte(snapshot.Summary.Properties["firn.ranges"]), &ranges); err != nil {
			p.simulation.wrong("what %d sends to %s: %v", p.n, name, err)
		}
		p.checkDecided(name, snapshot, ranges)
		if name == simLetters && snapshot.Summary.Properties["firn.kind"] == "repair" {
			p.noteLate(snapshot)
		}
		for _, source := range slices.Sorted(maps.Keys(ranges)) {
			if base, seen := ranges[source][0], p.shown[name][source]; base < seen {
				p.simulation.wrong("%d goes on at %d of %s in table %s and has seen it at %d", p.n, base, source, name, seen)
			}
		}
	}
}

// noteLate notes dead letters that a process brings in behind the position of the dead-letter table. In a life that began before the table had
// their rows it may: it does not know that another process has committed those meanwhile. The caller holds p.mu.
func (p *simProcess) noteLate(snapshot *icetable.Snapshot) {
	s := p.simulation
	for _, path := range s.lake.addedFiles(snapshot) {
		for _, row := range s.lake.rowsOf(path) {
			w, at := p.lives[row.topic].worker, int64(0)
			if w == nil {
				continue
			}
			for source, next := range w.positions {
				if iceberg.SourceKey(source) == row.source() {
					at = next
				}
			}
			if row.offset >= at {
				s.late.add(row)
			}
		}
	}
}

// checkKept checks that a table whose snapshots the job has removed says that it stands where it stood.
func (l *simLake) checkKept(t *simTable, before icetable.Metadata) {
	was, _ := l.s.position(before)
	if is, _ := l.s.position(t.now()); !maps.Equal(is, was) {
		l.s.wrong("table %s stood at %v, and when snapshots were removed at %v", t.name, was, is)
	}
}

// landed checks a table whose branch has moved.
func (s *simulation) landed(t *simTable) {
	head := t.now().CurrentSnapshot()
	if head.Summary.Properties["firn.receipt"] != "" {
		s.Commits++
		s.checkLineage(t)
	}
	for _, path := range s.lake.filesOf(head) {
		if f, err := s.lake.files.Open(path); err != nil {
			s.wrong("table %s refers to a file that is gone: %v", t.name, err)
		} else {
			_ = f.Close()
		}
	}
	if !t.rolledBack || head.Summary.Properties["firn.receipt"] != "" && !s.foreign {
		s.checkTable(t)
	}
}

// checkTable checks that every offset before a table's position that belongs to it is there once, as a row or as a dead letter, and no other.
func (s *simulation) checkTable(t *simTable) {
	next, first := s.position(t.now())
	rows := s.headRows(t)
	if t.name == simLetters {
		s.checkLetters(t, rows, next)
		return
	}
	s.checkLives(t, next)
	letters := s.letters()
	for _, key := range slices.Sorted(maps.Keys(next)) {
		at := next[key]
		source, err := iceberg.ParseSource(key)
		if err != nil {
			s.wrong("table %s: %v", t.name, err)
			continue
		}
		name, truth := sourceName(key), s.truthOf(t, source)
		if at > int64(len(truth)) {
			s.wrong("table %s stands at %d of %s, which ends at %d", t.name, at, name, len(truth))
			continue
		}
		for offset := first[key]; offset < at; offset++ {
			row, isRow := rows[key][offset]
			isLetter := letters.has(key, offset)
			belongs := s.tableOf(source.Topic, &truth[offset])
			switch {
			case isRow && belongs != t.name:
				s.wrong("table %s has %s offset %d, which belongs to %q", t.name, name, offset, belongs)
			case isRow && isLetter && !truth[offset].later && !s.late.has(key, offset): // else one process has decided so, and another one so, and the row counts
				s.wrong("%s offset %d is a row and a dead letter", name, offset)
			case !isRow && !isLetter && (belongs == t.name || belongs == "") && !s.givenUp[simPlace{key, offset}]:
				s.wrong("table %s stands at %d and lacks %s offset %d", t.name, at, name, offset)
			case isRow:
				s.checkRow(t, name, row, &truth[offset])
			}
		}
		for _, offset := range slices.Sorted(maps.Keys(rows[key])) {
			if offset < first[key] || offset >= at {
				s.wrong("table %s stands at [%d, %d) of %s and has offset %d", t.name, first[key], at, name, offset)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		if _, ok := next[key]; !ok {
			s.wrong("table %s has rows of %s and no position", t.name, key)
		}
	}
}

// checkAll checks that every offset is in one table once, or a dead letter.
func (s *simulation) checkAll() {
	letters := s.letters()
	for _, source := range s.log.sources() {
		key := iceberg.SourceKey(source)
		for offset := s.log.begins[id(source)]; offset < int64(len(s.log.truth[id(source)])); offset++ {
			var in []string
			for _, t := range s.tablesOf(source.Topic) {
				if s.headRows(t).has(key, offset) {
					in = append(in, t.name)
				}
			}
			switch {
			case len(in) > 1:
				s.wrong("%s offset %d is in the tables %v", sourceName(key), offset, in)
			case len(in) == 0 && !letters.has(key, offset) && !s.givenUp[simPlace{key, offset}]:
				s.wrong("%s offset %d is nowhere", sourceName(key), offset)
			}
		}
	}
}

// letters are the dead letters that there are, and those that a rollback has taken: what a person has still to decide about.
func (s *simulation) letters() simRows {
	t := s.lake.tables[simLetters]
	if t == nil {
		return nil
	}
	lost := s.lostLetters()
	if len(lost) == 0 {
		return s.headRows(t)
	}
	all := simRows{}
	for key, rows := range s.headRows(t) {
		all[key] = maps.Clone(rows)
	}
	for _, row := range lost {
		all.add(row)
	}
	return all
}

// lostLetters are those that a rollback has taken and that did not come again.
func (s *simulation) lostLetters() (all []simRow) {
	t := s.lake.tables[simLetters]
	if t == nil || len(t.lost) == 0 {
		return nil
	}
	there := s.headRows(t)
	for _, path := range t.lost {
		for _, row := range s.lake.rowsOf(path) {
			isRow := slices.ContainsFunc(s.tablesOf(row.topic), func(t *simTable) bool { return s.headRows(t).has(row.source(), row.offset) })
			if !there.has(row.source(), row.offset) && !isRow && !s.givenUp[simPlace{row.source(), row.offset}] {
				all = append(all, row)
			}
		}
	}
	return all
}

// sourceName is topic/partition of a source's key.
func sourceName(key string) string {
	source, err := iceberg.ParseSource(key)
	if err != nil {
		return key
	}
	return fmt.Sprintf("%s/%d", source.Topic, source.Partition)
}

// checkRow holds a row against its record, by the field ids of the table.
func (s *simulation) checkRow(t *simTable, source string, row simRow, truth *simRecord) {
	if truth.fields == nil {
		s.wrong("%s offset %d is no JSON, and a row", source, row.offset)
		return
	}
	got := map[string]string{}
	for id, value := range row.values {
		f, ok := t.now().CurrentSchema().FindFieldByID(id)
		if !ok {
			s.wrong("table %s, %s offset %d: field %d is %s, and no column", t.name, source, row.offset, id, value)
			continue
		}
		got[f.Name] = value
	}
	for _, name := range slices.Sorted(maps.Keys(truth.fields)) {
		want := truth.fields[name]
		if !sameValue(got[name], want) {
			s.wrong("table %s, %s offset %d: %s is %q, want %v", t.name, source, row.offset, name, got[name], want)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		s.wrong("table %s, %s offset %d has %v, which the record has not", t.name, source, row.offset, got)
	}
}

func sameValue(got string, want any) bool {
	if text := fmt.Sprint(want); got == text {
		return true
	}
	if _, text := want.(string); text {
		return false
	}
	a, err := strconv.ParseFloat(got, 64)
	b, err2 := strconv.ParseFloat(fmt.Sprint(want), 64)
	return err == nil && err2 == nil && a == b
}

// checkLetters checks that what is always a row is no dead letter.
func (s *simulation) checkLetters(t *simTable, rows simRows, next map[string]int64) {
	for _, key := range slices.Sorted(maps.Keys(next)) {
		source, err := iceberg.ParseSource(key)
		if err != nil {
			s.wrong("dead letters: %v", err)
			continue
		}
		truth := s.truthOf(t, source)
		for _, offset := range slices.Sorted(maps.Keys(rows[key])) {
			if truth[offset].plain {
				s.wrong("%s offset %d is a dead letter: %s", sourceName(key), offset, truth[offset].value)
			}
		}
	}
}

// checkRemoved checks that no snapshot names a file that is removed.
func (s *simulation) checkRemoved(path string) {
	for _, name := range slices.Sorted(maps.Keys(s.lake.tables)) {
		for _, snapshot := range s.lake.tables[name].now().Snapshots() {
			if slices.Contains(s.lake.filesOf(&snapshot), path) {
				s.wrong("a file is removed that a snapshot of table %s names", name)
			}
		}
	}
}

// checkFiled checks the job's object: what it says to have been shown, a load has shown.
func (s *simulation) checkFiled(key string, body []byte) {
	if key != kfs.JobKey(simJob) {
		return
	}
	f, err := kfs.DecodeJob(body)
	if err != nil {
		s.wrong("the job's object: %v", err)
		return
	}
	for _, jt := range f.Tables {
		for _, source := range jt.Sources {
			most := s.lake.shown(jt.Table, sourceOf(source))
			if source.Next > most || source.Hold > max(source.Next, s.log.starts[id(sourceOf(source))]) {
				s.wrong("the job holds %s/%d from %d on and says that table %s was seen at %d; it was at %d", source.Topic, source.Partition, source.Hold, jt.Table, source.Next, most)
			}
		}
	}
}

// shown is the greatest position of a source that loads of a table have shown. Of all tables of a topic together it is that of the first record
// of which no load of its table has shown that it is there.
func (l *simLake) shown(table string, source processor.Source) int64 {
	key := iceberg.SourceKey(source)
	most := func(name string) int64 {
		t := l.tables[name]
		if t == nil {
			return 0
		}
		_, first := l.s.position(t.now()) // nothing lies before that
		t.mu.Lock()
		defer t.mu.Unlock()
		return max(t.most[key], first[key])
	}
	if !strings.Contains(table, "{") {
		return most(table)
	}
	letters, truth := l.s.letters(), l.s.everHeld(source)
	for offset := l.s.log.begins[id(source)]; offset < int64(len(truth)); offset++ {
		if name := l.s.tableOf(source.Topic, &truth[offset]); name != "" && most(name) <= offset && !letters.has(key, offset) {
			return offset
		}
	}
	return int64(len(truth))
}
