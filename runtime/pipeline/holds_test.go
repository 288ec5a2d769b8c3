package pipeline

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// filed reads the object of the job.
func filed(t *testing.T, store blob.Store) *kfs.Job {
	t.Helper()
	body, _, err := blob.ReadAll(t.Context(), store, kfs.JobKey("test"), blob.All, kfs.MaxJobBytes)
	if err != nil {
		t.Fatal(err)
	}
	f, err := kfs.DecodeJob(body)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// wantHold checks from where on the job holds a partition of events.
func wantHold(t *testing.T, f *kfs.Job, partition int32, want int64, wantListed bool) {
	t.Helper()
	id := kfs.PartitionID{Topic: events.ID, Partition: partition}
	if from, ok := f.Holds()("events", id); !ok || from != want {
		t.Errorf("partition %d is held from %d: %t, want %d; the object is %+v", partition, from, ok, want, f)
	}
	listed := slices.ContainsFunc(f.Tables, func(jt kfs.JobTable) bool {
		return slices.ContainsFunc(jt.Sources, func(s kfs.JobSource) bool { return s.ID == id.Topic && s.Partition == partition })
	})
	if listed != wantListed {
		t.Errorf("partition %d is listed: %t", partition, listed)
	}
}

// TestRegistersBeforeItReads checks that retention can know of a job before the job reads anything, and that the job looks at the log
// starts again after it has said what it needs.
func TestRegistersBeforeItReads(t *testing.T) {
	truth, l := blob.NewMemory(nil), newLake(t)
	w := tailtest.Journal{Store: truth}
	w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5), jsons(events, 1, 0, 5))
	w.Checkpoint(t)
	trace := blobtest.NewTrace(truth)
	if err := run(t, testConfig(t, trace, l)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(trace.Take()) {
		switch words := strings.Fields(line); {
		case strings.HasPrefix(words[1], "jobs/"), words[0] == "LIST", words[0] == "GET" && strings.Contains(words[1], "journal/"):
			got = append(got, words[0]+" "+words[1])
		}
	}
	const object, list, checkpoint, journal = "jobs/test.json", "LIST journal/0000/checkpoint-", "GET journal/0000/checkpoint-00000000000000000000.kfm", "GET journal/0000/00000000000000000000.kfs"
	before := slices.Index(got, journal)
	if before < 0 || !slices.Equal(got[:3], []string{"GET " + object, "GET " + object, "PUT " + object}) { // a look before each write
		t.Fatalf("requests:\n%s", strings.Join(got, "\n"))
	}
	// The end is read because the job is bounded; then where it begins, the job's object, and where it begins once more.
	next := "GET journal/0000/00000000000000000001.kfs"
	end := []string{list, checkpoint, next, "LIST journal/0000/", next}
	if want := slices.Concat(end, []string{list, checkpoint, "GET " + object, "PUT " + object, list, checkpoint}); !slices.Equal(got[3:before], want) {
		t.Errorf("requests between the first object and the first record:\n%s\nwant:\n%s", strings.Join(got[3:before], "\n"), strings.Join(want, "\n"))
	}
	trace.Take()
	if err := run(t, testConfig(t, trace, l)); err != nil { // all is known: it looks once, and says that it runs and that it has ended
		t.Fatal(err)
	}
	if again := trace.Take(); strings.Count(again, list) != 2 || strings.Count(again, "PUT") != 2 {
		t.Errorf("requests of the second start:\n%s", again)
	}
}

// TestTrimmedWhileItRegisters trims records of a partition between the job's first look and its object: it begins behind them.
func TestTrimmedWhileItRegisters(t *testing.T) {
	truth, l := blob.NewMemory(nil), newLake(t)
	w := tailtest.Journal{Store: truth}
	w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5))
	w.Append(t, nil, jsons(events, 0, 5, 5))
	w.Checkpoint(t)
	var puts atomic.Int32
	store := blobtest.NewFault(truth, func(op blobtest.Op) blobtest.Action {
		if op.Verb == blobtest.Put && op.Key == kfs.JobKey("test") {
			if puts.Add(1) == 2 {
				w.Append(t, []kfs.Entry{kfs.Trim{Topic: events.ID, LogStart: 5}})
				w.Checkpoint(t)
			}
		}
		return blobtest.Pass
	})
	if err := run(t, testConfig(t, store, l)); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, l.table("db.events"), 0, 5, 10)
	wantHold(t, filed(t, truth), 0, 0, true)
}

// TestHoldTrails holds what was committed for a day at least, and two at most, also across starts.
func TestHoldTrails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5))
		begun := time.Now()
		for _, step := range []struct {
			after time.Duration
			hold  int64
		}{
			{time.Minute, 0}, {23 * time.Hour, 0},
			{24*time.Hour + time.Minute, 5}, // where it stood when it began
			{30 * time.Hour, 5},
			{48*time.Hour + 2*time.Minute, 15}, // where it stood when the first day was over
			{70 * time.Hour, 15},
			{72*time.Hour + 3*time.Minute, 25},
		} {
			time.Sleep(time.Until(begun.Add(step.after)))
			if next := l.table("db.events").next[processor.Source{Topic: "events", ID: events.ID}]; next > 0 {
				w.Append(t, nil, jsons(events, 0, int(next), 5))
			}
			if err := run(t, testConfig(t, store, l)); err != nil {
				t.Fatal(err)
			}
			if err := run(t, testConfig(t, store, l)); err != nil { // its first look at the table shows what the run before has committed
				t.Fatal(err)
			}
			wantHold(t, filed(t, store), 0, step.hold, true)
		}
	})
}

// TestHoldOfWhatDoesNotCommit checks what a job holds whose table takes nothing: because it cannot be opened, or read; because it cannot be
// written; because it has halted. A job before it has left another object behind, or none.
func TestHoldOfWhatDoesNotCommit(t *testing.T) {
	refused := errors.New("refused")
	before := kfs.Job{Version: kfs.JobVersion, Name: "test", Topics: []string{"events"}, Tables: []kfs.JobTable{
		{Table: "db.events", UUID: "u", Marked: 1, Sources: []kfs.JobSource{{Topic: "events", ID: events.ID, Next: 4, Committed: 4, Hold: 2, Mark: 3}}},
		{Table: "db.gone", Sources: []kfs.JobSource{{Topic: "gone", ID: kfs.TopicID{7}, Hold: 1}}},
	}}
	for name, c := range map[string]struct {
		open, committed, commit error
		identity                string
		before                  bool
		hold                    int64
		listed                  bool
	}{
		"not opened":                      {open: refused, hold: 0, listed: false},
		"not opened, but known before":    {open: refused, before: true, hold: 2, listed: true},
		"not read":                        {committed: refused, hold: 0, listed: false},
		"not read, but known before":      {committed: refused, before: true, hold: 2, listed: true},
		"not written":                     {commit: refused, hold: 0, listed: true},
		"another table than known before": {identity: "v", before: true, hold: 2, listed: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, l := blob.NewMemory(nil), newLake(t)
				if c.before {
					body, err := kfs.EncodeJob(&before)
					if err == nil {
						_, err = store.Put(t.Context(), kfs.JobKey("test"), body, false)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				cfg := testConfig(t, store, l)
				cfg.OpenSink = func(_ context.Context, table string, _ kfs.TopicID) (processor.Sink, error) {
					return named{l.table(table).open(), &c.identity}, c.open
				}
				l.table("db.events").fault = func(op string) (error, error) {
					switch op {
					case "committed":
						return c.committed, nil
					case "commit":
						return c.commit, nil
					}
					return nil, nil
				}
				w := tailtest.Journal{Store: store}
				w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5), jsons(events, 1, 0, 5))
				_, stop := start(t, cfg)
				time.Sleep(time.Hour)
				f := filed(t, store)
				wantHold(t, f, 0, c.hold, c.listed)
				wantHold(t, f, 1, 0, c.listed && !c.before)
				if slices.ContainsFunc(f.Tables, func(t kfs.JobTable) bool { return t.Table == "db.gone" }) {
					t.Error("a table is kept that the job does not fill any more")
				}
				_ = stop()
			})
		})
	}
}

// TestHoldOfLatest holds what came after a job that begins at the end, and of topics that did not exist then all.
func TestHoldOfLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5))
		w.Checkpoint(t)
		cfg := testConfig(t, store, l)
		cfg.From.Latest = true
		_, stop := start(t, cfg)
		time.Sleep(time.Minute)
		wantHold(t, filed(t, store), 0, 5, true)
		wantHold(t, filed(t, store), 1, 0, false)
		_ = stop()

		// What comes before the job has ever committed belongs to it, also if no process runs just then.
		w.Append(t, nil, jsons(events, 0, 5, 8))
		_, stop = start(t, cfg)
		time.Sleep(time.Minute)
		wantHold(t, filed(t, store), 0, 5, true)
		_ = stop()
		wantOffsets(t, l.table("db.events"), 0, 5, 13)
	})
}

// TestHoldOfDeadLettersOnly holds the records of a job of which every record is a dead letter: its table gets no position, so the next start
// reads them again.
func TestHoldOfDeadLettersOnly(t *testing.T) {
	source := processor.Source{Topic: "events", ID: events.ID}
	s := newTableStatus(kfs.JobTable{})
	s.began(source, 3)
	s.committed(&group{from: processor.Positions{source: 3}, to: processor.Positions{source: 9}}, "", false, 0)
	s.loaded(processor.Positions{}, "")
	for day := range int64(3) {
		if got := s.file((day + 1) * holdTrail.Milliseconds()); len(got) != 1 || got[0].Hold != 3 {
			t.Errorf("sources of the job's object: %+v", got)
		}
	}
}

// TestHoldMovesByLoadsOnly: the answer to a commit moves nothing that is held, however long ago it was; what a load has shown does, a day later.
func TestHoldMovesByLoadsOnly(t *testing.T) {
	source := processor.Source{Topic: "events", ID: events.ID}
	s := newTableStatus(kfs.JobTable{})
	s.began(source, 3)
	s.loaded(processor.Positions{source: 3}, "u")
	s.committed(&group{from: processor.Positions{source: 3}, to: processor.Positions{source: 9}}, "u", false, 0)
	for day := range int64(6) {
		want := kfs.JobSource{Topic: "events", ID: events.ID, Next: 3, Committed: 9, Hold: 3, Mark: 3}
		if day == 3 {
			s.loaded(processor.Positions{source: 9}, "u")
		}
		if day >= 3 {
			want.Next, want.Mark = 9, 9
		}
		if day > 3 {
			want.Hold = 9
		}
		if got := s.file((day + 1) * holdTrail.Milliseconds()); !slices.Equal(got, []kfs.JobSource{want}) {
			t.Errorf("day %d: the job's object says %+v, want %+v", day, got, want)
		}
	}
}

// TestRegistersUntilWritten checks that a source counts as registered when the job's object has it, not before: another reader's source, or
// a write that has failed, is no reason to take log starts for settled that retention may still move.
func TestRegistersUntilWritten(t *testing.T) {
	fails := true
	store := blobtest.NewFault(blob.NewMemory(nil), func(op blobtest.Op) blobtest.Action {
		if op.Verb == "PUT" && fails {
			return blobtest.FailBefore
		}
		return blobtest.Pass
	})
	j, err := New(testConfig(t, store, newLake(t)))
	if err != nil {
		t.Fatal(err)
	}
	tab := newTable(j, "db.events", "events")
	j.tables["events"] = tab
	one, two := processor.Source{Topic: "events", ID: events.ID}, processor.Source{Topic: "events", ID: events.ID, Partition: 1}
	tab.note(func(s *tableStatus) { s.began(one, 0); s.began(two, 0) })
	register := func(source processor.Source, want bool) {
		t.Helper()
		if got, err := j.register(t.Context(), map[*table][]processor.Source{tab: {source}}); got != want || err != nil {
			t.Errorf("partition %d: written: %t, want %t, %v", source.Partition, got, want, err)
		}
	}
	register(one, false)
	fails = false
	register(one, true)
	register(one, false)
	register(two, true) // its reader has not looked since the object was there
}

// TestHoldsOfSeveralTables commits to one of several tables after another: that the second one was reached says nothing of the first. What was
// committed there last counts as shown only when the table was read again.
func TestHoldsOfSeveralTables(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events}, of(0, "a", "b"))
		cfg := testConfig(t, store, l)
		cfg.Freshness = time.Second
		_, stop := start(t, routed(t, cfg, l, "db.{topic}_{field:k}", 10))
		time.Sleep(time.Minute)
		shown := func(want int64) {
			t.Helper()
			time.Sleep(2 * statusPause)
			for _, table := range filed(t, store).Tables {
				if got := table.Sources[0].Next; table.Table != "db.events_b" && got != want {
					t.Errorf("%s was seen at %d, want %d", table.Table, got, want)
				}
			}
		}
		shown(2)
		w.Append(t, nil, of(0, "a"))
		time.Sleep(confirming / 2)
		w.Append(t, nil, of(0, "b"))
		time.Sleep(confirming / 2)
		w.Append(t, nil, of(0, "b"))
		shown(2)
		time.Sleep(3 * seldom) // which a table waits for which there was nothing
		shown(5)
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
