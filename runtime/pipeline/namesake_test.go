package pipeline

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// namesakeBench is a log of two topics, and what is logged.
type namesakeBench struct {
	t     *testing.T
	store *blob.Memory
	lake  *lake
	log   bytes.Buffer
}

func newNamesakeBench(t *testing.T) *namesakeBench {
	b := &namesakeBench{t: t, store: blob.NewMemory(nil), lake: newLake(t)}
	w := tailtest.Journal{Store: b.store}
	w.Append(t, []kfs.Entry{cluster, events, orders}, jsons(events, 0, 0, 5), jsons(orders, 0, 0, 5))
	return b
}

// of is a job that reads a topic. What two of them log is told apart by nobody.
func (b *namesakeBench) of(topic string) Config {
	cfg := testConfig(b.t, b.store, b.lake)
	cfg.Topics, cfg.ID, cfg.Logger = []string{topic}, topic, slog.New(slog.NewTextHandler(&b.log, nil))
	return cfg
}

// held are the tables that the job's object holds records for.
func (b *namesakeBench) held() string {
	b.t.Helper()
	var names []string
	for _, table := range filed(b.t, b.store).Tables {
		if len(table.Sources) > 0 {
			names = append(names, table.Table)
		}
	}
	return strings.Join(names, " ")
}

// pass lets time pass, second by second, in all of which the object must hold certain tables.
func (b *namesakeBench) pass(d time.Duration, want string) {
	b.t.Helper()
	for range int(d / time.Second) {
		time.Sleep(time.Second)
		synctest.Wait()
		if got := b.held(); got != want {
			b.t.Fatalf("the job's object holds %q, want %q", got, want)
		}
	}
}

func (b *namesakeBench) stop(stop func() error) {
	b.t.Helper()
	if err := stop(); err != nil {
		b.t.Error(err)
	}
}

// TestNamesakes runs two jobs of one name. Whoever writes the job's object goes on holding what the other one needs, and both say what is wrong,
// as long as both run.
func TestNamesakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newNamesakeBench(t)
		one, stopOne := start(t, b.of("events"))
		time.Sleep(10 * time.Second)
		b.pass(20*time.Second, "db.events")
		two, stopTwo := start(t, b.of("orders"))
		for range 10 {
			time.Sleep(time.Second)
			if got := b.held(); !strings.HasPrefix(got, "db.events") {
				t.Fatalf("while another job starts, the object holds %q", got)
			}
		}
		b.pass(5*time.Minute, "db.events db.orders")
		for _, j := range []*Job{one, two} {
			halts := j.Status().Halted
			if len(halts) != 1 || !final(halts[0]) || !strings.Contains(halts[0].Error(), "runs another job of the name test") {
				t.Errorf("%s says %v", j.cfg.ID, halts)
			}
		}
		if f := filed(t, b.store); len(f.Halts) != 1 || !slices.Equal(f.Topics, []string{"events", "orders"}) {
			t.Errorf("the object says %+v", f)
		}
		if got := strings.Count(b.log.String(), "two jobs have one name"); got != 2 {
			t.Errorf("it was logged %d times", got)
		}
		b.stop(stopOne)
		b.pass(3*time.Minute, "db.events db.orders")
		if halts := two.Status().Halted; len(halts) > 0 {
			t.Errorf("alone again it says %v", halts)
		}
		b.stop(stopTwo)
		wantOffsets(t, b.lake.table("db.events"), 0, 0, 5)
		wantOffsets(t, b.lake.table("db.orders"), 0, 0, 5)
	})
}

// TestSplitBrain runs a job twice, without a lease: that is harmless, said once by each, and no halt.
func TestSplitBrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newNamesakeBench(t)
		one, stopOne := start(t, b.of("events"))
		cfg := b.of("events")
		cfg.ID = "twin"
		two, stopTwo := start(t, cfg)
		time.Sleep(10 * time.Second)
		b.pass(5*time.Minute, "db.events")
		for _, j := range []*Job{one, two} {
			if halts := j.Status().Halted; len(halts) > 0 {
				t.Errorf("%s has halted: %v", j.cfg.ID, halts)
			}
		}
		if got := strings.Count(b.log.String(), "another process runs this job"); got != 2 {
			t.Errorf("it was logged %d times", got)
		}
		b.stop(stopOne)
		b.stop(stopTwo)
		wantOffsets(t, b.lake.table("db.events"), 0, 0, 5)
	})
}

// TestAnotherJobFile starts a job with another file. What the former one held goes at once if its process has ended, and after a while if it
// was killed, for it might be at work still.
func TestAnotherJobFile(t *testing.T) {
	for name, killed := range map[string]bool{"ended": false, "killed": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newNamesakeBench(t)
				_, stop := start(t, b.of("events"))
				time.Sleep(10 * time.Second)
				b.pass(10*time.Second, "db.events")
				left := filed(t, b.store)
				b.stop(stop)
				if killed {
					body, err := kfs.EncodeJob(left)
					if err == nil {
						_, err = b.store.Put(t.Context(), kfs.JobKey("test"), body, false)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				two, stopTwo := start(t, b.of("orders"))
				if killed {
					time.Sleep(10 * time.Second)
					b.pass(namesakePatience-20*time.Second, "db.events db.orders")
				}
				time.Sleep(time.Minute)
				b.pass(time.Minute, "db.orders")
				if halts := two.Status().Halted; len(halts) > 0 {
					t.Errorf("it says %v", halts)
				}
				b.stop(stopTwo)
			})
		})
	}
}

// TestTwoCatalogs has two jobs of one name fill tables of one name in two catalogs: what either needs is held.
func TestTwoCatalogs(t *testing.T) {
	source := func(partition int32, hold int64) kfs.JobSource {
		return kfs.JobSource{Topic: "events", ID: events.ID, Partition: partition, Next: 100, Committed: 100, Hold: hold, Mark: hold}
	}
	j, err := New(testConfig(t, blob.NewMemory(nil), newLake(t)))
	if err != nil {
		t.Fatal(err)
	}
	s := newTableStatus(kfs.JobTable{Table: "db.events", UUID: "own", Sources: []kfs.JobSource{source(0, 50), source(1, 60)}})
	s.loads = false
	j.tables["events"] = &table{name: "db.events", status: s}
	there := &kfs.Job{Topics: j.cfg.Topics, Workers: []kfs.JobWorker{{ID: "other", Name: "host/7"}},
		Tables: []kfs.JobTable{{Table: "db.events", UUID: "other", Sources: []kfs.JobSource{source(0, 70), source(1, 7), source(2, 8)}}}}
	j.meetOthers(there, time.Now())
	if !final(j.apart) || !strings.Contains(j.apart.Error(), "host/7") {
		t.Errorf("it says %v", j.apart)
	}
	var holds []int64
	for _, s := range j.whole().Tables[0].Sources {
		holds = append(holds, s.Hold)
	}
	if len(holds) != 3 || holds[0] != 50 || holds[1] != 7 || holds[2] != 8 {
		t.Errorf("it holds from %v", holds)
	}
}
