package retention

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
	"github.com/firn-io/firn/kfs/record"
)

// world is a journal with a topic of two partitions, and a Keeper of it.
type world struct {
	t     *testing.T
	store *blobtest.Trace // what the Keeper asks
	truth blob.Store
	*journal.Journal
	keeper  *Keeper
	metrics *prometheus.Registry
	log     *logged
}

// logged is what was logged.
type logged struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var topic = kfs.TopicID{1}

func part(n int32) kfs.PartitionID { return kfs.PartitionID{Topic: topic, Partition: n} }

// run runs a world in a bubble of its own.
func run(t *testing.T, configs string, test func(*world)) {
	t.Helper()
	runWith(t, configs, nil, test)
}

// runWith changes the Keeper's config.
func runWith(t *testing.T, configs string, change func(*Config), test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		truth := blob.NewMemory(time.Now)
		j, err := journal.Open(t.Context(), journal.Config{Store: truth})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, truth: truth, store: blobtest.NewTrace(truth), Journal: j, metrics: prometheus.NewRegistry(), log: new(logged)}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		go func() { ended <- j.Run(ctx) }()
		created, err := j.State().CreateTopic(metadata.NewTopic{ID: topic, Name: "events", Partitions: 2, Configs: parse(configs), Created: 1})
		if err != nil {
			t.Fatal(err)
		}
		w.must(j.AppendEntries([]kfs.Entry{created}))
		cfg := Config{
			Store: w.store, Metadata: func() (*metadata.State, uint64) { return j.State(), j.Sequence() }, Limit: time.Hour,
			Log: slog.New(slog.NewTextHandler(w.log, nil)), Metrics: w.metrics,
		}
		if change != nil {
			change(&cfg)
		}
		w.keeper = New(cfg)
		go func() { w.keeper.Run(ctx, 0, j); ended <- nil }()
		test(w)
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}

func parse(configs string) []kfs.Config {
	var all []kfs.Config
	for c := range strings.FieldsSeq(configs) {
		key, value, _ := strings.Cut(c, "=")
		all = append(all, kfs.Config{Key: key, Value: value})
	}
	return all
}

func (w *world) must(p *journal.Pending) {
	w.t.Helper()
	results, err := p.Wait(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			w.t.Fatal(r.Err)
		}
	}
}

// produce appends n records with the time of now to a partition, as one object.
func (w *world) produce(partition int32, n int) {
	w.t.Helper()
	var b record.Builder
	for range n {
		b.Add(time.Now().UnixMilli(), nil, make([]byte, 100))
	}
	records, err := b.AppendTo(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.must(w.Append([]journal.Batch{{Topic: topic, Name: "events", Partition: partition, Records: records}}))
}

func (w *world) register(j kfs.Job) {
	w.t.Helper()
	j.Version = kfs.JobVersion
	body, err := kfs.EncodeJob(&j)
	if err == nil {
		_, err = w.truth.Put(w.t.Context(), kfs.JobKey(j.Name), body, false)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) wantStart(partition int32, want int64) {
	w.t.Helper()
	if start, _ := w.Offsets(part(partition)); start != want {
		w.t.Errorf("partition %d starts at %d, want %d", partition, start, want)
	}
}

func (w *world) objects() uint64 { return w.Sequence() }

// lines are the requests of the Keeper since the last call.
func (w *world) lines() []string {
	return slices.Collect(strings.FieldsFuncSeq(w.store.Take(), func(r rune) bool { return r == '\n' }))
}

// metric is the value of one of the Keeper's metrics.
func (w *world) metric(name string) (sum float64) {
	w.t.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "firn_retention_"+name {
			for _, m := range f.GetMetric() {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
			return sum
		}
	}
	w.t.Fatalf("there is no metric %s", name)
	return 0
}

// TestAge lets records grow old, to the last one, and shows that an idle log is neither written nor asks the store for anything.
func TestAge(t *testing.T) {
	run(t, "retention.ms=600000", func(w *world) {
		w.produce(0, 5)
		time.Sleep(5 * time.Minute)
		w.produce(0, 5)
		w.produce(1, 5)
		time.Sleep(4 * time.Minute)
		before := w.objects()
		if lines := w.lines(); len(lines) > 0 || w.objects() != before {
			t.Errorf("before anything is due: %v", lines)
		}
		time.Sleep(time.Minute + every)
		w.wantStart(0, 5)
		w.wantStart(1, 0)
		if w.objects() != before+1 {
			t.Errorf("one trim took %d objects", w.objects()-before)
		}
		time.Sleep(5 * time.Minute)
		w.wantStart(0, 10)
		w.wantStart(1, 5)
		if w.objects() != before+2 {
			t.Errorf("the trims of two partitions at a time took %d objects", w.objects()-before-1)
		}
		time.Sleep(24 * time.Hour) // the journal deletes what was trimmed, with a checkpoint an hour until its grace is over
		w.lines()
		idle := w.objects()
		time.Sleep(24 * time.Hour)
		if lines := w.lines(); len(lines) > 0 || w.objects() != idle {
			t.Errorf("an idle day: %v, %d objects", lines, w.objects()-idle)
		}
		if _, err := w.Read(t.Context(), part(0), 4, 1000); err == nil {
			t.Error("a trimmed record is read")
		}
	})
}

// TestSizeAndSettings keeps partitions within a size, obeys a changed setting, and never trims what is only compacted.
func TestSizeAndSettings(t *testing.T) {
	run(t, "retention.bytes=1000 retention.ms=-1", func(w *world) {
		for range 10 {
			w.produce(0, 5) // some 600 bytes
		}
		time.Sleep(every)
		if kept := w.Available(part(0), 40); kept < 1000 {
			t.Fatalf("%d bytes from 40 on", kept)
		}
		w.wantStart(0, 40)
		set := func(key, value string) {
			changed, err := w.State().AlterConfigs(topic, []kfs.Config{{Key: key, Value: value}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			w.must(w.AppendEntries([]kfs.Entry{changed}))
			time.Sleep(every)
		}
		set("cleanup.policy", "compact")
		set("retention.bytes", "0")
		w.wantStart(0, 40)
		set("cleanup.policy", "compact,delete")
		w.wantStart(0, 50)
	})
}

// TestHolds has a job keep what it needs, until it needs it no more, or for too long.
func TestHolds(t *testing.T) {
	source := func(partition int32, hold int64) kfs.JobSource {
		return kfs.JobSource{Topic: "events", ID: topic, Partition: partition, Next: hold, Committed: hold, Hold: hold, Mark: hold}
	}
	run(t, "retention.ms=60000", func(w *world) {
		w.register(kfs.Job{Name: "slow", Topics: []string{"events"}, Tables: []kfs.JobTable{{Table: "t", Sources: []kfs.JobSource{source(0, 5)}}}})
		w.register(kfs.Job{Name: "other", Pattern: "x.*", Tables: []kfs.JobTable{}})
		for range 4 {
			w.produce(0, 5)
			w.produce(1, 5)
		}
		time.Sleep(time.Minute + every)
		w.wantStart(0, 5) // the job says so
		w.wantStart(1, 0) // the job has not listed it
		if held := w.metric("held_bytes"); held < 7*500 {
			t.Errorf("%v bytes are held", held)
		}
		w.register(kfs.Job{Name: "slow", Topics: []string{"events"}, Tables: []kfs.JobTable{{Table: "t", Sources: []kfs.JobSource{source(0, 15), source(1, 20)}}}})
		time.Sleep(holdsAge)
		w.wantStart(0, 15)
		w.wantStart(1, 20)
		if strings.Contains(w.log.String(), "ERROR") {
			t.Errorf("log: %s", w.log)
		}
		time.Sleep(time.Hour)
		w.wantStart(0, 20)
		if lost := w.metric("overrun_records_total"); lost != 5 || !strings.Contains(w.log.String(), "job=slow offsets=\"[15, 20)\"") {
			t.Errorf("%v records overrun, log: %s", lost, w.log)
		}
		if w.metric("held_bytes") != 0 {
			t.Error("something is still held")
		}
	})
}

// TestDeleteRecordsIsNotHeld trims by hand what a job holds.
func TestDeleteRecordsIsNotHeld(t *testing.T) {
	run(t, "retention.ms=60000", func(w *world) {
		w.register(kfs.Job{Name: "slow", Topics: []string{"events"}, Tables: []kfs.JobTable{}})
		w.produce(0, 5)
		w.must(w.AppendEntries([]kfs.Entry{kfs.Trim{Topic: topic, LogStart: 5}}))
		w.wantStart(0, 5)
	})
}

// TestUnreadableJob keeps everything for a job that nobody understands, up to the limit.
func TestUnreadableJob(t *testing.T) {
	for name, body := range map[string]string{"damaged": "{", "newer": `{"version":2}`, "another's": `{"version":1,"job":"x","topics":["x"],"tables":[]}`} {
		t.Run(name, func(t *testing.T) {
			run(t, "retention.ms=60000", func(w *world) {
				if _, err := w.truth.Put(t.Context(), kfs.JobKey("broken"), []byte(body), false); err != nil {
					t.Fatal(err)
				}
				w.produce(0, 5)
				time.Sleep(30 * time.Minute)
				w.wantStart(0, 0)
				if w.metric("unreadable_jobs") != 1 || !strings.Contains(w.log.String(), "jobs/broken.json") {
					t.Errorf("it is not said: %s", w.log)
				}
				time.Sleep(time.Hour)
				w.wantStart(0, 5)
				if w.metric("overrun_records_total") != 5 {
					t.Error("the overrun is not counted")
				}
			})
		})
	}
}

// TestStoreFails trims nothing while the jobs cannot be listed, and holds everything for a job that cannot be read.
func TestStoreFails(t *testing.T) {
	for _, broken := range []string{blobtest.List, blobtest.Get} {
		t.Run(broken, func(t *testing.T) {
			var failing atomic.Bool
			failing.Store(true)
			fail := func(cfg *Config) {
				cfg.Store = blobtest.NewFault(cfg.Store, func(op blobtest.Op) blobtest.Action {
					if failing.Load() && op.Verb == broken {
						return blobtest.FailBefore
					}
					return blobtest.Pass
				})
			}
			runWith(t, "retention.ms=60000", fail, func(w *world) {
				w.register(kfs.Job{Name: "done", Topics: []string{"events"}, Tables: []kfs.JobTable{{Table: "t", Sources: []kfs.JobSource{{Topic: "events", ID: topic, Hold: 5}}}}})
				w.produce(0, 5)
				time.Sleep(10 * time.Minute)
				w.wantStart(0, 0)
				failing.Store(false)
				time.Sleep(holdsAge)
				w.wantStart(0, 5)
			})
		})
	}
}

// TestRequests is the bill of an hour in which something is due all the time: the jobs are listed every ten minutes, and read where they
// have changed.
func TestRequests(t *testing.T) {
	run(t, "retention.ms=60000", func(w *world) {
		for i := range 3 {
			w.register(kfs.Job{Name: fmt.Sprint("job", i), Topics: []string{"events"}, Tables: []kfs.JobTable{}})
		}
		for minute := range 61 {
			w.produce(0, 1)
			if minute == 35 {
				w.register(kfs.Job{Name: "job1", Topics: []string{"events", "x"}, Tables: []kfs.JobTable{}})
			}
			time.Sleep(time.Minute)
		}
		got := w.lines()
		slices.Sort(got)
		want := []string{
			"GET jobs/job0.json -> ok", "GET jobs/job1.json -> ok", "GET jobs/job1.json -> ok", "GET jobs/job2.json -> ok",
			"LIST jobs/ -> 3 objects", "LIST jobs/ -> 3 objects", "LIST jobs/ -> 3 objects", "LIST jobs/ -> 3 objects", "LIST jobs/ -> 3 objects", "LIST jobs/ -> 3 objects",
		}
		if !slices.Equal(got, want) {
			t.Errorf("requests:\n%s", strings.Join(got, "\n"))
		}
	})
}

// TestWrongClock has a broker whose clock is a year ahead: it trims by the store's.
func TestWrongClock(t *testing.T) {
	ahead := func(cfg *Config) { cfg.Now = func() time.Time { return time.Now().AddDate(1, 0, 0) } }
	runWith(t, "retention.ms=3600000", ahead, func(w *world) {
		w.produce(0, 5)
		time.Sleep(50 * time.Minute)
		w.wantStart(0, 0)
		time.Sleep(11 * time.Minute)
		w.wantStart(0, 5)
	})
}
