package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

var (
	events  = tailtest.Topic("events", 1, 0, 0, 0, 0)
	orders  = tailtest.Topic("orders", 1, 0)
	cluster = kfs.Cluster{ID: kfs.TopicID{9}, Lineage: kfs.TopicID{8}, Journals: 1}
)

// record makes the JSON values n … of a topic.
func jsons(topic kfs.Topic, partition int32, from, n int) tailtest.Records {
	var values []string
	for i := range n {
		values = append(values, fmt.Sprintf(`{"n":%d}`, from+i))
	}
	return tailtest.Values(topic, partition, values...)
}

// testConfig is a job of topics events and orders on tables of their names.
func testConfig(t *testing.T, store blob.Store, l *lake) Config {
	t.Helper()
	return Config{Name: "test", Store: store, Topics: []string{"events", "orders"}, Route: template("db.{topic}"), OpenSink: l.openSink,
		OpenDeadLetters: l.openLetters, Allocator: l.mem, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

// start runs a job until stop is called, which gives Run's error.
func start(t *testing.T, cfg Config) (j *Job, stop func() error) {
	t.Helper()
	j, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() { _ = stop() })
	return j, stop
}

// run runs a bounded job.
func run(t *testing.T, cfg Config) error {
	t.Helper()
	cfg.Until.Latest = true
	j, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return j.Run(t.Context())
}

// wantOffsets checks that a partition has each offset in [from, next) once, in order.
func wantOffsets(t *testing.T, f *fakeTable, partition int32, from, next int64, without ...int64) {
	t.Helper()
	var want []int64
	for o := from; o < next; o++ {
		if !slices.Contains(without, o) {
			want = append(want, o)
		}
	}
	if got := f.offsets(partition); !slices.Equal(got, want) {
		t.Errorf("%s: partition %d has offsets %v, want %v", f.name, partition, got, want)
	}
}

func TestUntilLatest(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	j := tailtest.Journal{Store: store}
	j.Append(t, []kfs.Entry{cluster, events, orders})
	for i := range 20 {
		j.Append(t, nil, jsons(events, 0, i, 3), jsons(events, 1, i, 1), jsons(orders, 0, i, 2))
	}
	if err := run(t, testConfig(t, store, l)); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, l.table("db.events"), 0, 0, 60)
	wantOffsets(t, l.table("db.events"), 1, 0, 20)
	wantOffsets(t, l.table("db.orders"), 0, 0, 40)
	if rows := l.table("db.events").rows[processor.Source{Topic: "events", ID: events.ID}]; rows[4].text != "n=2;" {
		t.Errorf("row 4 is %q", rows[4].text)
	}

	j.Append(t, nil, jsons(events, 0, 0, 3))
	j.Checkpoint(t)
	j.Append(t, nil, jsons(events, 1, 0, 3))
	if err := run(t, testConfig(t, store, l)); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, l.table("db.events"), 0, 0, 63)
	wantOffsets(t, l.table("db.events"), 1, 0, 23)
	if n := len(l.table("db.orders").commits); n != 1 {
		t.Errorf("a table without news has %d commits, want the 1 it had", n)
	}
}

func TestUntilLatestOfNothing(t *testing.T) {
	if err := run(t, testConfig(t, blob.NewMemory(nil), newLake(t))); err != nil {
		t.Fatal(err)
	}
}

// TestFreshness produces for a while and measures how old each record is when its commit lands.
func TestFreshness(t *testing.T) {
	for _, took := range []time.Duration{10 * time.Millisecond, 700 * time.Millisecond} {
		t.Run(took.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, l := blob.NewMemory(nil), newLake(t)
				table := l.table("db.events")
				table.fault = func(op string) (error, error) {
					if op == "commit" {
						table.mu.Unlock()
						time.Sleep(took)
						table.mu.Lock()
					}
					return nil, nil
				}
				job, stop := start(t, testConfig(t, store, l))
				w := tailtest.Journal{Store: store}
				w.Append(t, []kfs.Entry{cluster, events})
				worst, n := time.Duration(0), int64(0)
				for i := range 200 {
					w.Append(t, nil, jsons(events, 0, i, 1))
					time.Sleep(200 * time.Millisecond)
					for _, s := range job.Status().Tables {
						if s.Commits > n && i > 30 {
							worst = max(worst, s.Freshness)
						}
						n = s.Commits
					}
				}
				if worst > 2*time.Second {
					t.Errorf("a record was visible %s after it was sealed, want 2 s at most", worst)
				}
				if n > 60 {
					t.Errorf("%d commits in 40 s: more than freshness needs", n)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
				wantOffsets(t, table, 0, 0, 200)
			})
		})
	}
}

// TestHistoryIsCommittedAtItsEnd has a job read old records: they are visible as soon as there are no more of them, in one commit.
func TestHistoryIsCommittedAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events})
		for i := range 100 {
			w.Append(t, nil, jsons(events, 0, i, 1))
		}
		time.Sleep(time.Hour)
		job, stop := start(t, testConfig(t, store, l))
		time.Sleep(10 * time.Millisecond)
		wantOffsets(t, l.table("db.events"), 0, 0, 100)
		if n := job.Status().Tables[0].Commits; n != 1 {
			t.Errorf("%d commits", n)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestIdleCostsNothing counts commits and loads of a table in an idle hour.
func TestIdleCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		ops := map[string]int{}
		table := l.table("db.events")
		table.fault = func(op string) (error, error) { ops[op]++; return nil, nil }
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5))
		_, stop := start(t, testConfig(t, store, l))
		time.Sleep(time.Hour)
		if err := stop(); err != nil {
			t.Error(err)
		}
		if ops["commit"] != 1 || ops["stage"] != 1 || ops["seal"] != 1 || ops["committed"] != 2 {
			t.Errorf("operations in an hour: %v", ops)
		}
		wantOffsets(t, table, 0, 0, 5)
	})
}

func TestCancelCommitsWhatIsStaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5))
		cfg := testConfig(t, store, l)
		cfg.Freshness = time.Hour
		job, stop := start(t, cfg)
		synctest.Wait()
		time.Sleep(time.Second)
		if s := job.Status(); job.Ready() != nil || len(s.Tables) == 0 || s.Tables[0].Lag != 5 {
			t.Errorf("status before the first commit: %+v", s)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		wantOffsets(t, l.table("db.events"), 0, 0, 5)
	})
}

// TestLagBeforeAnythingIsRead asks how far a job is behind while the store gives nothing but the checkpoint.
func TestLagBeforeAnythingIsRead(t *testing.T) {
	for name, c := range map[string]struct {
		from Start
		want int64
	}{"earliest": {Start{}, 12}, "latest": {Start{Latest: true}, 0}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				truth, l := blob.NewMemory(nil), newLake(t)
				w := tailtest.Journal{Store: truth}
				w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5), jsons(events, 1, 0, 7))
				w.Checkpoint(t)
				store := blobtest.NewFault(truth, func(op blobtest.Op) blobtest.Action {
					if op.Verb == blobtest.Get && op.Key == kfs.ObjectKey(0, 0) {
						return blobtest.FailBefore
					}
					return blobtest.Pass
				})
				cfg := testConfig(t, store, l)
				cfg.From = c.from
				job, stop := start(t, cfg)
				time.Sleep(time.Minute)
				if s := job.Status(); len(s.Tables) != 1 || s.Tables[0].Lag != c.want || s.Tables[0].Commits != 0 {
					t.Errorf("status %+v, want a lag of %d", s, c.want)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestFaults fails each operation of each sink in each way, one at a time, and then any of them at random: in the end every offset is
// in the table once, in order, and every dead letter too.
func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("503")
		for _, op := range []string{"committed", "stage", "seal", "commit"} {
			for _, table := range []string{"db.events", deadLetterTable} {
				for n := 1; n <= 3; n++ {
					for _, lost := range []bool{false, true} {
						store, l := blob.NewMemory(nil), newLake(t)
						count := 0
						l.table(table).fault = func(of string) (before, after error) {
							if of != op {
								return nil, nil
							}
							if count++; count != n {
								return nil, nil
							}
							if lost {
								return nil, broken
							}
							return broken, nil
						}
						walk(t, fmt.Sprintf("%s %d of %s, lost %v", op, n, table, lost), store, l)
					}
				}
			}
		}
	})
}

// walk produces good and bad records while a job runs and checks what its tables hold.
func walk(t *testing.T, name string, store *blob.Memory, l *lake) {
	t.Helper()
	w := tailtest.Journal{Store: store}
	w.Append(t, []kfs.Entry{cluster, events})
	_, stop := start(t, testConfig(t, store, l))
	for i := range 30 {
		w.Append(t, nil, tailtest.Values(events, 0, `{"n":1}`, `not json`, `{"n":2}`), jsons(events, 1, i, 2))
		time.Sleep(200 * time.Millisecond)
		if i == 15 {
			w.Checkpoint(t)
		}
	}
	time.Sleep(time.Minute)
	if err := stop(); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	var bad []int64
	for i := range int64(30) {
		bad = append(bad, 3*i+1)
	}
	wantOffsets(t, l.table("db.events"), 0, 0, 90, bad...)
	wantOffsets(t, l.table("db.events"), 1, 0, 60)
	if got := l.table(deadLetterTable).offsets(0); !slices.Equal(got, bad) {
		t.Errorf("dead letters %v, want %v", got, bad)
	}
	if t.Failed() {
		t.Fatal(name)
	}
}

func TestCorruptBatchHaltsItsPartitionOnly(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	j := tailtest.Journal{Store: store}
	j.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5), jsons(events, 1, 0, 5))
	m, object := j.Seal(t, nil, jsons(events, 0, 5, 5), jsons(events, 1, 5, 5))
	object[m.Segments[0].Position+80] ^= 1
	j.Put(t, m, object)
	j.Append(t, nil, jsons(events, 0, 10, 5), jsons(events, 1, 10, 5))
	err := run(t, testConfig(t, store, l))
	if !errors.Is(err, kfs.ErrCorrupt) || !strings.Contains(err.Error(), "events/0") || !strings.Contains(err.Error(), kfs.ObjectKey(0, 1)) || !strings.Contains(err.Error(), "firn kfs verify") {
		t.Errorf("error %v, want one that names the partition and the object", err)
	}
	wantOffsets(t, l.table("db.events"), 0, 0, 5)
	wantOffsets(t, l.table("db.events"), 1, 0, 15)
}

func TestPolicies(t *testing.T) {
	for policy, want := range map[Policy]string{Skip: "", Halt: "events/0 offset 3 is no row"} {
		store, l := blob.NewMemory(nil), newLake(t)
		j := tailtest.Journal{Store: store}
		j.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 3), jsons(events, 1, 0, 3))
		j.Append(t, nil, tailtest.Values(events, 0, `[1]`, `{"n":4}`))
		cfg := testConfig(t, store, l)
		cfg.Errors = policy
		err := run(t, cfg)
		if want == "" {
			if err != nil {
				t.Error(err)
			}
			wantOffsets(t, l.table("db.events"), 0, 0, 5, 3)
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		} else if got := l.table("db.events").offsets(0); len(got) > 3 {
			t.Errorf("offsets %v were committed, the record at 3 halts", got)
		}
		wantOffsets(t, l.table("db.events"), 1, 0, 3)
	}
}

func TestCollisionHalts(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	a, b := tailtest.Topic("a.b", 1, 0), tailtest.Topic("a-b", 1, 0)
	j := tailtest.Journal{Store: store}
	j.Append(t, []kfs.Entry{cluster, a}, jsons(a, 0, 0, 3))
	j.Append(t, []kfs.Entry{b}, jsons(b, 0, 0, 3))
	cfg := testConfig(t, store, l)
	cfg.Topics, cfg.Pattern = nil, ".*"
	err := run(t, cfg)
	var halt *processor.HaltError
	if !errors.As(err, &halt) || !strings.Contains(err.Error(), "a.b") || !strings.Contains(err.Error(), "a-b") {
		t.Errorf("error %v, want one that names both topics", err)
	}
	wantOffsets(t, l.table("db.a_b"), 0, 0, 3)
}

// TestCollisionHaltsTheSameTopicAgain starts a job anew, and it meets the topics in another order: the table stays with the one that fills it.
func TestCollisionHaltsTheSameTopicAgain(t *testing.T) {
	for _, other := range []string{"a-b", "A.B"} {
		store, l := blob.NewMemory(nil), newLake(t)
		a, b := tailtest.Topic("a.b", 1, 0), tailtest.Topic(other, 1, 0)
		first := tailtest.Journal{Store: store}
		first.Append(t, []kfs.Entry{cluster, a}, jsons(a, 0, 0, 3))
		cfg := testConfig(t, store, l)
		cfg.Topics, cfg.Pattern = nil, ".*"
		if err := run(t, cfg); err != nil {
			t.Fatal(err)
		}

		again := blob.NewMemory(nil)
		body, _, err := blob.ReadAll(t.Context(), store, kfs.JobKey("test"), blob.All, kfs.MaxJobBytes)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := again.Put(t.Context(), kfs.JobKey("test"), body, false); err != nil {
			t.Fatal(err)
		}
		second := tailtest.Journal{Store: again}
		second.Append(t, []kfs.Entry{cluster, b, a}, jsons(b, 0, 0, 3), jsons(a, 0, 0, 5))
		cfg.Store = again
		if err := run(t, cfg); err == nil || !strings.Contains(err.Error(), "topics a.b and "+other+" would both go") || !staysSaid(err) {
			t.Errorf("%s: error %v, want one that says that a.b is there", other, err)
		}
		wantOffsets(t, l.table("db.a_b"), 0, 0, 5)
		if _, there := l.tables["db.A_B"]; there {
			t.Errorf("%s has got a table", other)
		}
	}
}

func TestPatternLeavesInternalTopicsOut(t *testing.T) {
	cfg := Config{Pattern: ".*"}
	match, err := kfs.MatchTopics(cfg.Topics, cfg.Pattern)
	if err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]bool{"events": true, "__internal": false, "_one": true} {
		if match(topic) != want {
			t.Errorf("%s matches: %v", topic, !want)
		}
	}
	cfg.Pattern = "ev|events"
	if match, _ = kfs.MatchTopics(cfg.Topics, cfg.Pattern); !match("events") || match("events2") || match("xev") {
		t.Error("a pattern must match whole names")
	}
}
