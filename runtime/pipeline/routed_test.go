package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/route"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// routed makes a job whose records name their tables, as a program does that runs it.
func routed(t *testing.T, cfg Config, l *lake, template string, most int) Config {
	t.Helper()
	return routedBy(t, cfg, l, template, most, func(_ context.Context, table, label string) (processor.Sink, error) {
		sink := l.table(table).open()
		sink.label = label
		return sink, nil
	})
}

// openLabelled opens a table of the values that label says.
type openLabelled func(ctx context.Context, table, label string) (processor.Sink, error)

// routedBy is routed with tables that are opened in a way of their own.
func routedBy(t *testing.T, cfg Config, l *lake, template string, most int, open openLabelled) Config {
	t.Helper()
	r := newRouting(t, template, cfg.Pattern, most, deadLetterTable, l.mem)
	cfg.Route, cfg.Fills, cfg.OpenTransforms = r.name, r.fills, r.steps(nil)
	cfg.OpenSink = func(_ context.Context, name string, _ kfs.TopicID) (processor.Sink, error) {
		return route.NewSink(route.Config{
			Route: r.named(name), Tables: r.tables, Inferred: true, Allocator: l.mem,
			Open: open,
			List: func(context.Context) ([]string, error) { return l.names(), nil },
		}), nil
	}
	return cfg
}

// names lists the tables that there are.
func (l *lake) names() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.tables))
}

// wantKinds checks that of the offsets [0, n) of a partition each is once in one of the tables or a dead letter: of a value {"k":kind} in
// db.events_kind.
func wantKinds(t *testing.T, l *lake, partition int32, kinds []string) {
	t.Helper()
	want := map[string][]int64{}
	for o, kind := range kinds {
		name := deadLetterTable
		if kind != "" {
			name = "db.events_" + kind
		}
		want[name] = append(want[name], int64(o))
	}
	for _, name := range l.names() {
		if !strings.HasPrefix(name, "db.events_") && name != deadLetterTable {
			continue
		}
		got := l.table(name).offsets(partition)
		if name == deadLetterTable {
			slices.Sort(got)
		}
		if !slices.Equal(got, want[name]) {
			t.Errorf("%s: partition %d has offsets %v, want %v", name, partition, got, want[name])
		}
		delete(want, name)
	}
	for name, offsets := range want {
		t.Errorf("%s: partition %d has nothing, want %v", name, partition, offsets)
	}
}

// of makes records of kinds; "" is one without.
func of(partition int32, kinds ...string) tailtest.Records {
	var values []string
	for _, kind := range kinds {
		if kind == "" {
			values = append(values, `{"n":1}`)
		} else {
			values = append(values, fmt.Sprintf(`{"k":%q,"of_%s":1}`, kind, kind))
		}
	}
	return tailtest.Values(events, partition, values...)
}

func TestRouted(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	w := tailtest.Journal{Store: store}
	w.Append(t, []kfs.Entry{cluster, events}, of(0, "a", "b", "a"), of(1, "b"))
	w.Append(t, nil, of(0, "", "c"), of(1, "a", "a"))
	cfg := routed(t, testConfig(t, store, l), l, "db.{topic}_{field:k}", 10)
	if err := run(t, cfg); err != nil {
		t.Fatal(err)
	}
	w.Append(t, nil, of(0, "c", "d"), of(1, "b", "c"))
	if err := run(t, routed(t, testConfig(t, store, l), l, "db.{topic}_{field:k}", 10)); err != nil {
		t.Fatal(err)
	}
	wantKinds(t, l, 0, []string{"a", "b", "a", "", "c", "c", "d"})
	wantKinds(t, l, 1, []string{"b", "a", "a", "b", "c"})
	for _, r := range l.table("db.events_a").rows[processor.Source{Topic: "events", ID: events.ID}] {
		if r.text != "k=a;of_a=1;" {
			t.Errorf("a row of a is %q: columns that only other tables have are not its own", r.text)
		}
	}
	// All tables that count stand where the job stands, and the job's object tells of each.
	f := filed(t, store)
	var names []string
	for _, table := range f.Tables {
		names = append(names, table.Table)
		for _, s := range table.Sources {
			if want := []int64{7, 5}[s.Partition]; s.Committed != want {
				t.Errorf("%s stands at %d of partition %d, want %d", table.Table, s.Committed, s.Partition, want)
			}
		}
	}
	if want := "db.events_a db.events_b db.events_c db.events_d db.events_{field:k}"; strings.Join(names, " ") != want {
		t.Errorf("the job's object has the tables %v", names)
	}
}

// TestRoutedLimits: what can have no table is a dead letter, and says why.
func TestRoutedLimits(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	w := tailtest.Journal{Store: store}
	w.Append(t, []kfs.Entry{cluster, events}, of(0, "a-b", "a_b", "A-B", "c", "d", "e", "a-b"),
		tailtest.Values(events, 1, `{"k":""}`, `{"k":null}`, `{"k":"`+strings.Repeat("x", 300)+`"}`, `{"k":"c"}`))
	if err := run(t, routed(t, testConfig(t, store, l), l, "db.{topic}_{field:k}", 3)); err != nil {
		t.Fatal(err)
	}
	wantKinds(t, l, 0, []string{"a_b", "", "", "c", "d", "", "a_b"})
	wantKinds(t, l, 1, []string{"", "", "", "c"})
	var why []string
	for _, rows := range l.table(deadLetterTable).rows {
		for _, r := range rows {
			for _, class := range []string{route.Missing, route.Unnamed, route.Collision, route.Limit} {
				if strings.Contains(r.text, class) {
					why = append(why, class)
				}
			}
		}
	}
	slices.Sort(why)
	if want := []string{route.Collision, route.Collision, route.Limit, route.Missing, route.Missing, route.Unnamed}; !slices.Equal(why, want) {
		t.Errorf("dead letters are %v, want %v", why, want)
	}
}

func TestRoutedDefault(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	w := tailtest.Journal{Store: store}
	w.Append(t, []kfs.Entry{cluster, events}, of(0, "a", "", "b"))
	if err := run(t, routed(t, testConfig(t, store, l), l, "db.{topic}_{field:k|other}", 3)); err != nil {
		t.Fatal(err)
	}
	wantKinds(t, l, 0, []string{"a", "other", "b"})
}

// TestRoutedFaults kills a job at every operation on its tables and goes on with another: every offset is in the table that its record
// names, or a dead letter, once.
func TestRoutedFaults(t *testing.T) {
	steps := [][2][]string{{{"a", "b"}, {"c"}}, {{"", "c"}, {"c", "a"}}, {{"b"}, {"d", ""}}, {{"a", "e"}, nil}, {nil, {"b", "a", "e"}}}
	var kinds [2][]string
	for _, step := range steps {
		for p := range kinds {
			kinds[p] = append(kinds[p], step[p]...)
		}
	}
	killed := 0
	for kill := int64(1); ; kill++ {
		ended := false
		for _, lost := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				store, l := blob.NewMemory(nil), newLake(t)
				w := tailtest.Journal{Store: store}
				w.Append(t, []kfs.Entry{cluster, events})
				var op atomic.Int64
				var dead atomic.Bool
				errKilled := errors.New("killed")
				l.fault = func(string) (before, after error) {
					switch at := op.Add(1); {
					case at == kill && lost:
						dead.Store(true)
						return nil, errKilled
					case at >= kill:
						dead.Store(true)
						return errKilled, nil
					}
					return nil, nil
				}
				cfg := testConfig(t, store, l)
				cfg.Freshness, cfg.Grace = time.Second, time.Second
				_, stop := start(t, routed(t, cfg, l, "db.{topic}_{field:k}", 10))
				for _, step := range steps {
					var records []tailtest.Records
					for p, kinds := range step {
						if kinds != nil {
							records = append(records, of(int32(p), kinds...))
						}
					}
					w.Append(t, nil, records...)
					time.Sleep(2 * time.Second)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
				ended = !dead.Load()
				l.fault = nil
				if err := run(t, routed(t, cfg, l, "db.{topic}_{field:k}", 10)); err != nil {
					t.Fatalf("killed at %d (lost: %t): %v", kill, lost, err)
				}
				for p := range kinds {
					wantKinds(t, l, int32(p), kinds[p])
				}
				if t.Failed() {
					t.Fatalf("killed at %d (lost: %t)", kill, lost)
				}
				killed++
			})
		}
		if ended || t.Failed() {
			break
		}
	}
	if killed < 50 {
		t.Errorf("%d kills only", killed)
	}
}

// TestRoutedRandomFaults lets operations on tables fail now and then while a job works.
func TestRoutedRandomFaults(t *testing.T) {
	randomly(t, 20, func(t *testing.T, _ int, r *rand.Rand) {
		store, l := blob.NewMemory(nil), newLake(t)
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events})
		var mu sync.Mutex
		passing := errors.New("passing")
		l.fault = func(string) (before, after error) {
			mu.Lock()
			defer mu.Unlock()
			switch r.IntN(20) {
			case 0:
				return passing, nil
			case 1:
				return nil, passing
			}
			return nil, nil
		}
		cfg := testConfig(t, store, l)
		_, stop := start(t, routed(t, cfg, l, "db.{topic}_{field:k}", 10))
		var kinds [2][]string
		for range 30 {
			var records []tailtest.Records
			for p := range kinds {
				mu.Lock()
				some := make([]string, r.IntN(4))
				for i := range some {
					some[i] = []string{"a", "a", "a", "b", "b", "c", "d", ""}[r.IntN(8)]
				}
				mu.Unlock()
				kinds[p] = append(kinds[p], some...)
				if len(some) > 0 {
					records = append(records, of(int32(p), some...))
				}
			}
			w.Append(t, nil, records...)
			time.Sleep(time.Second)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		l.fault = nil
		if err := run(t, routed(t, cfg, l, "db.{topic}_{field:k}", 10)); err != nil {
			t.Fatal(err)
		}
		for p := range kinds {
			wantKinds(t, l, int32(p), kinds[p])
		}
	})
}

// TestRoutedSeldomTables: a table that gets no rows is told of it once a minute, not with every commit, and at the end.
func TestRoutedSeldomTables(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events}, of(0, "seldom"))
		cfg := testConfig(t, store, l)
		_, stop := start(t, routed(t, cfg, l, "db.{topic}_{field:k}", 10))
		time.Sleep(10 * time.Second)
		for range 150 {
			w.Append(t, nil, of(0, "often"))
			time.Sleep(2 * time.Second)
		}
		seldom := l.table("db.events_seldom")
		source := processor.Source{Topic: "events", ID: events.ID}
		seldom.mu.Lock()
		n, next := len(seldom.commits), seldom.next[source]
		seldom.mu.Unlock()
		if n < 4 || n > 8 || next < 100 {
			t.Errorf("%d commits to a table with one row in five minutes; it stands at %d", n, next)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if next := seldom.next[source]; next != 151 {
			t.Errorf("at the end it stands at %d", next)
		}
	})
}

// TestRoutedTableIsGone halts where a table is not there any more.
func TestRoutedTableIsGone(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	w := tailtest.Journal{Store: store}
	w.Append(t, []kfs.Entry{cluster, events}, of(0, "a", "b"))
	cfg := testConfig(t, store, l)
	if err := run(t, routed(t, cfg, l, "db.{topic}_{field:k}", 10)); err != nil {
		t.Fatal(err)
	}
	delete(l.tables, "db.events_b")
	w.Append(t, nil, of(0, "a"))
	err := run(t, routed(t, cfg, l, "db.{topic}_{field:k}", 10))
	if err == nil || !strings.Contains(err.Error(), "table db.events_b stands at offset 0") {
		t.Errorf("error %v", err)
	}
}

// TestRoutedOutage: one table takes no commits for longer than a worker is patient; the others have theirs. It gets what it lacks, and they
// get nothing twice.
func TestRoutedOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events}, of(0, "a", "b", "c"))
		_, stop := start(t, routed(t, testConfig(t, store, l), l, "db.{topic}_{field:k}", 10))
		time.Sleep(10 * time.Second)
		began := time.Now()
		b := l.table("db.events_b")
		b.mu.Lock()
		b.fault = func(op string) (before, after error) {
			if op == "commit" && time.Since(began) < 40*time.Second {
				return errors.New("the catalog is away"), nil
			}
			return nil, nil
		}
		b.mu.Unlock()
		w.Append(t, nil, of(0, "a", "b", "c"))
		time.Sleep(5 * time.Second)
		wantOffsets(t, l.table("db.events_a"), 0, 0, 4, 1, 2)
		w.Append(t, nil, of(0, "b", "a"))
		time.Sleep(2 * time.Minute)
		wantKinds(t, l, 0, []string{"a", "b", "c", "a", "b", "c", "b", "a"})
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
