package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// named is a sink whose table has an identity.
type named struct {
	*fakeSink
	identity *string
}

func (s named) Identity() string { return *s.identity }

// staysSaid reports whether an error says that what has halted waits for the next start.
func staysSaid(err error) bool { return strings.Contains(err.Error(), "Then start the job again") }

// TestTableIsNotWhatItWas changes a table behind a job's back, between two runs.
func TestTableIsNotWhatItWas(t *testing.T) {
	source := processor.Source{Topic: "events", ID: events.ID}
	for name, c := range map[string]struct {
		change func(table *fakeTable, identity *string)
		want   string
	}{
		"the same":    {func(*fakeTable, *string) {}, ""},
		"rolled back": {func(table *fakeTable, _ *string) { table.next[source] = 3 }, "stands at offset 3 of events/0 and has stood at 5 before"},
		"another":     {func(_ *fakeTable, identity *string) { *identity = "second" }, "has UUID second now"},
		"gone": {func(table *fakeTable, identity *string) {
			clear(table.next)
			clear(table.rows)
			*identity = ""
		}, "is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			store, l := blob.NewMemory(nil), newLake(t)
			identity := "first"
			cfg := testConfig(t, store, l)
			cfg.OpenSink = func(_ context.Context, table string, _ kfs.TopicID) (processor.Sink, error) {
				return named{l.table(table).open(), &identity}, nil
			}
			w := tailtest.Journal{Store: store}
			w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5))
			if err := run(t, cfg); err != nil {
				t.Fatal(err)
			}
			c.change(l.table("db.events"), &identity)
			w.Append(t, nil, jsons(events, 0, 5, 5))
			err := run(t, cfg)
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				wantOffsets(t, l.table("db.events"), 0, 0, 10)
				return
			}
			var halt *processor.HaltError
			if !errors.As(err, &halt) || !strings.Contains(halt.Reason, c.want) || !strings.Contains(halt.Decide, kfs.JobKey("test")) || !staysSaid(err) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			// What the message says helps.
			if err := store.Delete(t.Context(), kfs.JobKey("test")); err != nil {
				t.Fatal(err)
			}
			if err := run(t, cfg); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRolledBackAfterTheLastCommit rolls a table back by its newest commit, of which no later load has told, after the job has ended
// without a look back.
func TestRolledBackAfterTheLastCommit(t *testing.T) {
	s := newTableStatus(kfs.JobTable{})
	one, two := processor.Source{Topic: "events", ID: events.ID}, processor.Source{Topic: "events", ID: events.ID, Partition: 1}
	s.loaded(processor.Positions{one: 5}, "")
	s.committed(&group{from: processor.Positions{one: 5, two: 0}, to: processor.Positions{one: 9, two: 4}}, "first", false, 0)
	store, l := blob.NewMemory(nil), newLake(t)
	j, err := New(testConfig(t, store, l))
	if err != nil {
		t.Fatal(err)
	}
	j.tables["events"] = &table{name: "db.events", status: s}
	j.writeStatus(t.Context())
	tables, _, err := j.readFile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	k := tables["db.events"]
	for name, c := range map[string]struct {
		identity  string
		committed processor.Positions
		halts     bool
	}{
		"as it was":   {"first", processor.Positions{one: 9, two: 4}, false},
		"ahead":       {"first", processor.Positions{one: 10, two: 5}, false},
		"rolled back": {"first", processor.Positions{one: 5}, true},
		"one source":  {"first", processor.Positions{one: 9}, true},
		"another":     {"second", processor.Positions{one: 9, two: 4}, true},
	} {
		var halt *processor.HaltError
		if err := k.compare("db.events", "file", c.identity, c.committed); errors.As(err, &halt) != c.halts {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What must not be deleted yet is told by what a load has shown alone.
	file := j.file().Tables[0].Sources
	if len(file) != 2 || file[0].Next != 5 || file[1].Next != 0 {
		t.Errorf("sources of the job's object: %+v", file)
	}
}

// unmade is a sink whose table is made by its first rows. Until then a commit does nothing.
type unmade struct {
	*fakeSink
	made *bool
}

func (s unmade) Identity() string {
	if *s.made {
		return "made"
	}
	return ""
}

func (s unmade) Stage(ctx context.Context, b processor.Batch) error {
	*s.made = *s.made || b.Records != nil
	return s.fakeSink.Stage(ctx, b)
}

func (s unmade) Commit(ctx context.Context, from, to processor.Positions, staged []processor.Staged) error {
	if !*s.made {
		return nil
	}
	return s.fakeSink.Commit(ctx, from, to, staged)
}

// TestNothingIsCommittedToNoTable runs a job of whose first records none is a row, so that no table is made of them, and ends without a look
// back. The next process goes on, whether another partition has made the table meanwhile or not.
func TestNothingIsCommittedToNoTable(t *testing.T) {
	for _, other := range []bool{false, true} {
		t.Run(fmt.Sprintf("another partition has rows: %t", other), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, l := blob.NewMemory(nil), newLake(t)
				w := tailtest.Journal{Store: store}
				w.Append(t, []kfs.Entry{cluster, events}, tailtest.Values(events, 0, "no json", "nor this"))
				made := false
				cfg := testConfig(t, store, l)
				cfg.OpenSink = func(_ context.Context, table string, _ kfs.TopicID) (processor.Sink, error) {
					return unmade{l.table(table).open(), &made}, nil
				}
				j, stop := start(t, cfg)
				time.Sleep(3 * time.Second)
				if other {
					w.Append(t, nil, jsons(events, 1, 0, 5))
					time.Sleep(3 * time.Second)
				}
				wantOffsets(t, l.table(deadLetterTable), 0, 0, 2)
				j.writeStatus(t.Context())
				asKilled := filed(t, store)
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				body, err := kfs.EncodeJob(asKilled)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := store.Put(t.Context(), kfs.JobKey("test"), body, false); err != nil {
					t.Fatal(err)
				}
				w.Append(t, nil, jsons(events, 0, 2, 3))
				if err := run(t, cfg); err != nil {
					t.Fatal(err)
				}
				wantOffsets(t, l.table("db.events"), 0, 2, 5)
				wantOffsets(t, l.table(deadLetterTable), 0, 0, 2)
			})
		})
	}
}

// TestSinksLearnTheLineage opens the sinks of rows and of dead letters, both of which are told what source they are filled from.
func TestSinksLearnTheLineage(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	cfg := testConfig(t, store, l)
	told := map[string]kfs.TopicID{}
	cfg.OpenSink = func(_ context.Context, table string, lineage kfs.TopicID) (processor.Sink, error) {
		told["rows"] = lineage
		return l.table(table).open(), nil
	}
	cfg.OpenDeadLetters = func(_ context.Context, lineage kfs.TopicID) (processor.Sink, error) {
		told["dead letters"] = lineage
		return l.table(deadLetterTable).open(), nil
	}
	w := tailtest.Journal{Store: store}
	w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5))
	if err := run(t, cfg); err != nil {
		t.Fatal(err)
	}
	for _, sink := range []string{"rows", "dead letters"} {
		if told[sink] != cluster.Lineage {
			t.Errorf("the sink of %s was told lineage %s, want %s", sink, told[sink], cluster.Lineage)
		}
	}
}

// TestAnotherLineageHalts runs a job on a source that was replaced by another one.
func TestAnotherLineageHalts(t *testing.T) {
	first, l := blob.NewMemory(nil), newLake(t)
	w := tailtest.Journal{Store: first}
	w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5))
	if err := run(t, testConfig(t, first, l)); err != nil {
		t.Fatal(err)
	}
	body, _, err := blob.ReadAll(t.Context(), first, kfs.JobKey("test"), blob.All, kfs.MaxJobBytes)
	if err != nil {
		t.Fatal(err)
	}
	second := blob.NewMemory(nil)
	if _, err := second.Put(t.Context(), kfs.JobKey("test"), body, true); err != nil {
		t.Fatal(err)
	}
	w = tailtest.Journal{Store: second}
	w.Append(t, []kfs.Entry{kfs.Cluster{ID: cluster.ID, Lineage: kfs.TopicID{7}, Journals: 1}, events}, jsons(events, 0, 0, 9))
	err = run(t, testConfig(t, second, l))
	var halt *processor.HaltError
	if !errors.As(err, &halt) || !strings.Contains(halt.Reason, "lineage") {
		t.Errorf("error %v", err)
	}
	wantOffsets(t, l.table("db.events"), 0, 0, 5)
}

// TestRestoredSource reads a restored namespace: an old object names the cluster that it was before, and the checkpoint the one that it is.
func TestRestoredSource(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	w := tailtest.Journal{Store: store}
	w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5))
	w.Checkpoint(t)
	key := kfs.CheckpointKey(0, 0)
	body, _, err := blob.ReadAll(t.Context(), store, key, blob.All, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	c, err := kfs.DecodeCheckpoint(body)
	if err != nil {
		t.Fatal(err)
	}
	restored := kfs.Restoring{Cluster: kfs.ClusterID{8}, Lineage: kfs.TopicID{7}}
	restored.Identify(c)
	if body, err = kfs.EncodeCheckpoint(c); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(t.Context(), key, body, false); err != nil {
		t.Fatal(err)
	}
	if err := run(t, testConfig(t, store, l)); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, l.table("db.events"), 0, 0, 5)
	if body, _, err = blob.ReadAll(t.Context(), store, kfs.JobKey("test"), blob.All, kfs.MaxJobBytes); err != nil {
		t.Fatal(err)
	}
	if j, err := kfs.DecodeJob(body); err != nil || j.Lineage != restored.Lineage {
		t.Errorf("the job has noted %+v, %v", j, err)
	}
}

// TestDamagedJobFile shows that nobody's position rests on it.
func TestDamagedJobFile(t *testing.T) {
	for _, body := range []string{"", "{", `{"version":2}`, `{"version":1,"tables":[{"table":"db.events","sources":[{"id":"?"}]}]}`} {
		store, l := blob.NewMemory(nil), newLake(t)
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5))
		if _, err := store.Put(t.Context(), kfs.JobKey("test"), []byte(body), false); err != nil {
			t.Fatal(err)
		}
		if err := run(t, testConfig(t, store, l)); err != nil {
			t.Error(err)
		}
		wantOffsets(t, l.table("db.events"), 0, 0, 5)
	}
}
