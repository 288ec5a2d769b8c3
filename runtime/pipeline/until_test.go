package pipeline

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// minutes writes ten objects, one a minute, with one record of events/0, two of events/1 and one of orders/0 each.
func minutes(t *testing.T, store blob.Store, began time.Time, checkpoints ...int) *tailtest.Journal {
	t.Helper()
	now := began
	w := &tailtest.Journal{Store: store, Now: func() time.Time { return now }}
	w.Append(t, []kfs.Entry{cluster, events, orders})
	for i := range 10 {
		w.Append(t, nil, jsons(events, 0, i, 1), jsons(events, 1, i, 2), jsons(orders, 0, i, 1))
		for _, at := range checkpoints {
			if at == i {
				w.Checkpoint(t)
			}
		}
		now = now.Add(time.Minute)
	}
	return w
}

func TestUntil(t *testing.T) {
	began := time.UnixMilli(1_700_000_000_000)
	for name, c := range map[string]struct {
		from  Start
		until Until
		want  [3]kfs.Span // of events/0, events/1 and orders/0
	}{
		"latest":             {Start{}, Until{Latest: true}, [3]kfs.Span{{Next: 10}, {Next: 20}, {Next: 10}}},
		"time":               {Start{}, Until{At: began.Add(4 * time.Minute)}, [3]kfs.Span{{Next: 4}, {Next: 8}, {Next: 4}}},
		"between":            {Start{}, Until{At: began.Add(4*time.Minute + time.Second)}, [3]kfs.Span{{Next: 5}, {Next: 10}, {Next: 5}}},
		"before all":         {Start{}, Until{At: began.Add(-time.Hour)}, [3]kfs.Span{}},
		"behind all":         {Start{}, Until{At: began.Add(time.Hour)}, [3]kfs.Span{{Next: 10}, {Next: 20}, {Next: 10}}},
		"offsets":            {Start{}, Until{Offsets: Offsets{"events": {0: 3, 1: 7}}}, [3]kfs.Span{{Next: 3}, {Next: 7}, {}}},
		"all offsets":        {Start{}, Until{Offsets: Offsets{"events": {0: 10, 1: 20}, "orders": {0: 10}}}, [3]kfs.Span{{Next: 10}, {Next: 20}, {Next: 10}}},
		"offset 0":           {Start{}, Until{Offsets: Offsets{"events": {1: 0}}}, [3]kfs.Span{}},
		"no offsets":         {Start{}, Until{Offsets: Offsets{}}, [3]kfs.Span{}},
		"span":               {Start{Offsets: Offsets{"events": {1: 3}}}, Until{Offsets: Offsets{"events": {1: 7}}}, [3]kfs.Span{{}, {Base: 3, Next: 7}, {}}},
		"empty span":         {Start{Offsets: Offsets{"events": {1: 3}}}, Until{Offsets: Offsets{"events": {1: 3}}}, [3]kfs.Span{}},
		"from offsets":       {Start{Offsets: Offsets{"events": {0: 9}}}, Until{Latest: true}, [3]kfs.Span{{Base: 9, Next: 10}, {Next: 20}, {Next: 10}}},
		"from behind":        {Start{Offsets: Offsets{"events": {0: 11}}}, Until{Latest: true}, [3]kfs.Span{{}, {Next: 20}, {Next: 10}}},
		"from time, offsets": {Start{At: began.Add(2 * time.Minute)}, Until{Offsets: Offsets{"events": {0: 5}}}, [3]kfs.Span{{Base: 2, Next: 5}, {}, {}}},
	} {
		for _, checkpoint := range []int{-1, 0, 3, 4, 5, 9} {
			t.Run(fmt.Sprintf("%s/%d", name, checkpoint), func(t *testing.T) {
				store, l := blob.NewMemory(nil), newLake(t)
				minutes(t, store, began, checkpoint)
				cfg := testConfig(t, store, l)
				cfg.From, cfg.Until = c.from, c.until
				for range 2 { // the second run finds nothing to do
					job, err := New(cfg)
					if err != nil {
						t.Fatal(err)
					}
					if err := job.Run(t.Context()); err != nil {
						t.Fatal(err)
					}
					wantOffsets(t, l.table("db.events"), 0, c.want[0].Base, c.want[0].Next)
					wantOffsets(t, l.table("db.events"), 1, c.want[1].Base, c.want[1].Next)
					wantOffsets(t, l.table("db.orders"), 0, c.want[2].Base, c.want[2].Next)
					for _, one := range job.Status().Tables {
						if one.Lag != 0 {
							t.Errorf("%s: %d behind", one.Table, one.Lag)
						}
					}
				}
			})
		}
	}
}

// TestUntilInsideASegment ends among the records of one batch, whose times are not in order.
func TestUntilInsideASegment(t *testing.T) {
	for _, position := range []int64{0, 2, 4, 7} {
		store, l := blob.NewMemory(nil), newLake(t)
		now := time.UnixMilli(1_700_000_000_000)
		w := tailtest.Journal{Store: store, Now: func() time.Time { return now }}
		w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 3))
		now = now.Add(time.Minute)
		at := now
		w.Append(t, nil, jsons(events, 0, 3, 3))
		now = now.Add(-time.Hour)
		w.Append(t, nil, jsons(events, 0, 6, 3)) // late ones
		cfg := testConfig(t, store, l)
		cfg.Until = Until{At: at}
		f := l.table("db.events")
		want := int64(3)
		if position > 0 {
			f.next[processor.Source{Topic: "events", ID: events.ID}] = position
			want = max(want, position)
		}
		job, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := job.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantOffsets(t, f, 0, position, want)
	}
}

// TestUntilWhatIsNotThere gives ends that a bounded run cannot come to.
func TestUntilWhatIsNotThere(t *testing.T) {
	for name, c := range map[string]struct {
		until Until
		from  Start
		trim  int64
		want  string
	}{
		"behind the end":          {until: Until{Offsets: Offsets{"events": {0: 11}}}, want: "events/0 ends at offset 10, before 11"},
		"of an empty partition":   {until: Until{Offsets: Offsets{"events": {3: 1}}}, want: "events/3 ends at offset 0, before 1"},
		"no partition":            {until: Until{Offsets: Offsets{"events": {4: 0}}}, want: "topic events has 4 partitions, there is no partition 4"},
		"no topic":                {until: Until{Offsets: Offsets{"nothing": {0: 0}}}, want: "there is no topic nothing"},
		"trimmed":                 {until: Until{Offsets: Offsets{"events": {0: 5}}}, trim: 6, want: "the run is to end at offset 5, and the log begins at 6"},
		"trimmed behind the from": {until: Until{Offsets: Offsets{"events": {0: 8}}}, from: Start{Offsets: Offsets{"events": {0: 4}}}, trim: 6, want: "offsets [4, 6) were trimmed"},
	} {
		t.Run(name, func(t *testing.T) {
			store, l := blob.NewMemory(nil), newLake(t)
			w := minutes(t, store, time.UnixMilli(1_700_000_000_000))
			if c.trim > 0 {
				w.Append(t, []kfs.Entry{kfs.Trim{Topic: events.ID, LogStart: c.trim}})
				w.Checkpoint(t)
			}
			cfg := testConfig(t, store, l)
			cfg.Topics, cfg.Pattern, cfg.From, cfg.Until = nil, ".*", c.from, c.until
			job, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := job.Run(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			wantOffsets(t, l.table("db.events"), 0, 0, 0)
		})
	}
}

// TestUntilTellsWhatIsAbsent: a run ends well where there is nothing of a topic, and warns.
func TestUntilTellsWhatIsAbsent(t *testing.T) {
	for name, c := range map[string]struct {
		topics  []string
		pattern string
		until   Until
		absent  string // what the warning ends with; "" if there is none
	}{
		"a topic":                     {topics: []string{"events", "evnets"}, until: Until{Latest: true}, absent: "topic=evnets"},
		"a pattern":                   {pattern: "web\\..*", until: Until{Latest: true}, absent: `pattern=web\..*`},
		"all are there":               {topics: []string{"events", "orders"}, until: Until{Latest: true}},
		"one that the run leaves out": {topics: []string{"events", "evnets"}, until: Until{Offsets: Offsets{"events": {0: 2}}}},
	} {
		t.Run(name, func(t *testing.T) {
			store, l, log := blob.NewMemory(nil), newLake(t), new(bytes.Buffer)
			minutes(t, store, time.UnixMilli(1_700_000_000_000))
			cfg := testConfig(t, store, l)
			cfg.Topics, cfg.Pattern, cfg.Until, cfg.Logger = c.topics, c.pattern, c.until, slog.New(slog.NewTextHandler(log, nil))
			job, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := job.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(log.String(), "there is no"); c.absent == "" && n > 0 || c.absent != "" && (n != 1 || !strings.Contains(log.String(), c.absent+"\n")) {
				t.Errorf("want a warning of %q in %s", c.absent, log)
			}
		})
	}
}

// TestUntilTakesNothingElse runs a part of a job to an end: what the job holds of the other topics stays held.
func TestUntilTakesNothingElse(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	w := minutes(t, store, time.UnixMilli(1_700_000_000_000), 9)
	cfg := testConfig(t, store, l)
	if err := run(t, cfg); err != nil {
		t.Fatal(err)
	}
	before := filed(t, store)
	w.Append(t, nil, jsons(events, 0, 0, 2), jsons(orders, 0, 0, 2))
	cfg.Until = Until{Offsets: Offsets{"orders": {0: 11}, "events": {1: 0}}}
	job, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := job.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, l.table("db.events"), 0, 0, 10)
	wantOffsets(t, l.table("db.orders"), 0, 0, 11)
	after := filed(t, store)
	for p := range int32(2) {
		held, _ := before.Holds()("events", kfs.PartitionID{Topic: events.ID, Partition: p})
		wantHold(t, after, p, held, true)
	}
	if len(after.Tables) != 2 || len(after.Tables[0].Sources) != 2 {
		t.Errorf("the job's object is %+v", after)
	}
}

// TestUntilReadsNoFurther counts what is read of a long log for a short run.
func TestUntilReadsNoFurther(t *testing.T) {
	memory, l := blob.NewMemory(nil), newLake(t)
	w := tailtest.Journal{Store: memory}
	w.Append(t, []kfs.Entry{cluster, events})
	for range 100 {
		w.Append(t, nil, tailtest.Values(events, 0, `{"n":0}`))
	}
	w.Page(t)
	w.Checkpoint(t)
	trace := blobtest.NewTrace(memory)
	cfg := testConfig(t, trace, l)
	cfg.From, cfg.Until = Start{Offsets: Offsets{"events": {0: 40}}}, Until{Offsets: Offsets{"events": {0: 43}}}
	job, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := job.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, l.table("db.events"), 0, 40, 43)
	// Of the log 3 objects and what is read ahead; and checkpoints, the index, the end, the job's object.
	if n := trace.Count("GET"); n > 3+8+8 {
		t.Errorf("%d GETs:\n%s", n, trace.Take())
	}
}

// TestUntilOverSeveralJournals ends partitions of two journals, of which the first has no records.
func TestUntilOverSeveralJournals(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	spread := tailtest.Topic("events", 1, 1, 2)
	w0, w1, w2 := tailtest.Journal{Store: store}, tailtest.Journal{Store: store, Number: 1}, tailtest.Journal{Store: store, Number: 2}
	w0.Append(t, []kfs.Entry{kfs.Cluster{ID: cluster.ID, Lineage: cluster.Lineage, Journals: 1}})
	w0.Append(t, []kfs.Entry{kfs.Cluster{ID: cluster.ID, Lineage: cluster.Lineage, Journals: 3}, spread})
	for range 5 {
		w1.Append(t, nil, jsons(spread, 0, 0, 2))
		w2.Append(t, nil, jsons(spread, 1, 0, 2))
	}
	w2.Checkpoint(t)
	cfg := testConfig(t, store, l)
	for _, c := range []struct {
		until Until
		want  [2]int64
		err   string
	}{
		{Until{Offsets: Offsets{"events": {0: 3, 1: 11}}}, [2]int64{3, 0}, "events/1 ends at offset 10, before 11"},
		{Until{Offsets: Offsets{"events": {0: 5, 1: 5}}}, [2]int64{5, 5}, ""},
		{Until{Latest: true}, [2]int64{10, 10}, ""},
	} {
		cfg.Until = c.until
		job, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := job.Run(t.Context()); (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("error %v, want %q", err, c.err)
		}
		wantOffsets(t, l.table("db.events"), 0, 0, c.want[0])
		wantOffsets(t, l.table("db.events"), 1, 0, c.want[1])
	}
}

func TestValidateSettings(t *testing.T) {
	now := time.Unix(1000, 0)
	for want, c := range map[string]Config{
		"ends at the latest record, at a time or at offsets": {Until: Until{Latest: true, At: now}},
		"lies in the future":                   {Until: Until{At: now.Add(time.Second)}},
		"offsets of topic orders: the job":     {Until: Until{Offsets: Offsets{"orders": {0: 1}}}},
		"begin at 0":                           {From: Start{Offsets: Offsets{"events": {0: -1}}}},
		"the end 1 lies before the start 2":    {From: Start{Offsets: Offsets{"events": {0: 2}}}, Until: Until{Offsets: Offsets{"events": {0: 1}}}},
		"starts at the latest record, at a ti": {From: Start{Latest: true, Offsets: Offsets{}}},
		"memory of 4096 bytes for the job":     {MemoryBytes: 4096},
		`topic name "a b": character ' ' is`:   {Topics: []string{"a b"}},
	} {
		c.Topics, c.Now = append(c.Topics, "events"), func() time.Time { return now }
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	fine := Config{Topics: []string{"events"}, Until: Until{Offsets: Offsets{"events": {0: math.MaxInt64}}}, From: Start{Offsets: Offsets{"events": {0: 1}}}}
	if err := fine.ValidateSettings(); err != nil {
		t.Error(err)
	}
}
