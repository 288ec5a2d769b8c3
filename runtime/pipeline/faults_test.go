package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// shaky is a store whose reads fail now and then.
type shaky struct {
	blob.Store
	mu   sync.Mutex
	rand *rand.Rand
	odds float64
}

var errShaky = errors.New("connection reset")

func (s *shaky) fails() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.Float64() < s.odds
}

func (s *shaky) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	if s.fails() {
		return nil, blob.Info{}, errShaky
	}
	body, info, err := s.Store.Get(ctx, key, r)
	if err == nil && s.fails() {
		return io.NopCloser(io.MultiReader(io.LimitReader(body, info.Size/2), failing{})), info, nil
	}
	return body, info, err
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errShaky }

func (s *shaky) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Page, error] {
	if s.fails() {
		return func(yield func(blob.Page, error) bool) { yield(blob.Page{}, errShaky) }
	}
	return s.Store.List(ctx, prefix, after)
}

// TestRandomFaults lets everything fail now and then, in every way, on two journals, while records, settling and restarts go on.
func TestRandomFaults(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				randomWalk(t, rand.New(rand.NewPCG(seed, 1)))
			})
		})
	}
}

func randomWalk(t *testing.T, r *rand.Rand) {
	memory, l := blob.NewMemory(nil), newLake(t)
	store := &shaky{Store: memory, rand: rand.New(rand.NewPCG(r.Uint64(), 2)), odds: 0.05}
	var calm atomic.Bool
	for _, name := range []string{"db.events", "db.orders", deadLetterTable} {
		dice := rand.New(rand.NewPCG(r.Uint64(), 3))
		l.table(name).fault = func(string) (before, after error) {
			switch {
			case calm.Load() || dice.Float64() > 0.15:
				return nil, nil
			case dice.IntN(2) == 0:
				return errShaky, nil
			}
			return nil, errShaky
		}
	}
	two := tailtest.Topic("orders", 1, 1)
	zero, one := tailtest.Journal{Store: memory}, tailtest.Journal{Store: memory, Number: 1}
	zero.Append(t, []kfs.Entry{kfs.Cluster{ID: cluster.ID, Lineage: cluster.Lineage, Journals: 2}, events, two})
	cfg := testConfig(t, store, l)
	_, stop := start(t, cfg)
	var next [4]int64
	var bad [4][]int64
	for i := range 100 {
		var records []tailtest.Records
		for p := range int32(4) {
			if r.IntN(3) == 0 {
				continue
			}
			values := []string{fmt.Sprintf(`{"n":%d}`, i)}
			for range r.IntN(4) {
				if r.IntN(5) == 0 {
					bad[p] = append(bad[p], next[p]+int64(len(values)))
					values = append(values, "no json")
				} else {
					values = append(values, fmt.Sprintf(`{"n":%d,"f%d":1.5}`, i, r.IntN(9)))
				}
			}
			next[p] += int64(len(values))
			records = append(records, tailtest.Values(events, p, values...))
		}
		if len(records) > 0 {
			zero.Append(t, nil, records...)
		}
		if i%3 == 0 {
			one.Append(t, nil, jsons(two, 0, i, 2))
		}
		if r.IntN(20) == 0 {
			zero.Checkpoint(t)
		}
		if r.IntN(25) == 0 {
			if err := stop(); err != nil {
				t.Error(err)
			}
			_, stop = start(t, cfg)
		}
		time.Sleep(time.Duration(r.IntN(500)) * time.Millisecond)
	}
	time.Sleep(5 * time.Minute)
	calm.Store(true)
	time.Sleep(time.Minute)
	if err := stop(); err != nil {
		t.Error(err)
	}
	for p := range int32(4) {
		wantOffsets(t, l.table("db.events"), p, 0, next[p], bad[p]...)
		if got := l.table(deadLetterTable).offsets(p); !slices.Equal(got, bad[p]) {
			t.Errorf("partition %d has dead letters %v, want %v", p, got, bad[p])
		}
	}
	wantOffsets(t, l.table("db.orders"), 0, 0, 68)
}

// TestDeadLettersCommitFirst looks into both tables at each commit of rows.
func TestDeadLettersCommitFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		table, letters := l.table("db.events"), l.table(deadLetterTable)
		seen := 0
		table.fault = func(op string) (error, error) {
			if op == "commit" {
				seen++
				if got := len(letters.offsets(0)); got < seen {
					t.Errorf("commit %d of rows with %d dead letters", seen, got)
				}
			}
			return nil, nil
		}
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events})
		_, stop := start(t, testConfig(t, store, l))
		for range 5 {
			w.Append(t, nil, tailtest.Values(events, 0, `{"n":1}`, `-`))
			time.Sleep(10 * time.Second)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if seen != 5 {
			t.Errorf("%d commits", seen)
		}
		wantOffsets(t, table, 0, 0, 10, 1, 3, 5, 7, 9)
	})
}

// TestReplayObeysDeadLetters starts where the dead-letter table is ahead of the rows: what it holds was decided, and what it does not hold
// and is no row any more gets its letter late, once, whatever fails.
func TestReplayObeysDeadLetters(t *testing.T) {
	source := processor.Source{Topic: "events", ID: events.ID}
	for name, c := range map[string]struct {
		values  []string
		dead    []row
		letters []int64 // in the end
	}{
		"decodes now":                      {[]string{`{"n":0}`, `{"n":1}`, `{"n":2}`, `{"n":3}`}, []row{{1, ""}, {2, ""}}, []int64{1, 2}},
		"does not any more":                {[]string{`{"n":0}`, `-`, `{"n":2}`, `{"n":3}`}, []row{{0, ""}, {2, ""}}, []int64{0, 2, 1}},
		"and neither does what comes then": {[]string{`-`, `{"n":1}`, `-`, `-`}, []row{{1, ""}}, []int64{1, 0, 2, 3}},
	} {
		for _, fault := range []string{"", "before", "after"} {
			t.Run(name+" "+fault, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store, l := blob.NewMemory(nil), newLake(t)
					letters := l.table(deadLetterTable)
					letters.next[source], letters.rows[source] = 3, c.dead
					failures := 0
					letters.fault = func(op string) (before, after error) {
						if failures++; op != "amend" || failures > 20 {
							return nil, nil
						}
						return map[string]error{"before": errShaky}[fault], map[string]error{"after": errShaky}[fault]
					}
					w := tailtest.Journal{Store: store}
					w.Append(t, []kfs.Entry{cluster, events}, tailtest.Values(events, 0, c.values...))
					if err := run(t, testConfig(t, store, l)); err != nil {
						t.Fatal(err)
					}
					wantOffsets(t, l.table("db.events"), 0, 0, 4, c.letters...)
					if got := letters.offsets(0); !slices.Equal(got, c.letters) {
						t.Errorf("dead letters %v, want %v", got, c.letters)
					}
				})
			})
		}
	}
}

// TestReplayWithoutRecall has a dead-letter table that is ahead and cannot tell what it holds: what it must hold is not given twice.
func TestReplayWithoutRecall(t *testing.T) {
	source := processor.Source{Topic: "events", ID: events.ID}
	store, l := blob.NewMemory(nil), newLake(t)
	letters := l.table(deadLetterTable)
	letters.next[source], letters.rows[source] = 2, []row{{1, ""}}
	w := tailtest.Journal{Store: store}
	w.Append(t, []kfs.Entry{cluster, events}, tailtest.Values(events, 0, `{"n":0}`, `-`, `{"n":2}`, `-`))
	cfg := testConfig(t, store, l)
	cfg.OpenDeadLetters = func(context.Context, kfs.TopicID) (processor.Sink, error) {
		return struct{ processor.Sink }{letters.open()}, nil
	}
	if err := run(t, cfg); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, l.table("db.events"), 0, 0, 4, 1, 3)
	if got := letters.offsets(0); !slices.Equal(got, []int64{1, 3}) {
		t.Errorf("dead letters %v", got)
	}
}

// TestLettersDecidedElsewhere lets a copy of the job, under another job file, commit dead letters of a span while this one's commit of its own
// fails: it does not take them for its own, which would leave its dead letter out of both tables, but obeys them and adds its own.
func TestLettersDecidedElsewhere(t *testing.T) {
	source := processor.Source{Topic: "events", ID: events.ID}
	store, l := blob.NewMemory(nil), newLake(t)
	w := tailtest.Journal{Store: store}
	w.Append(t, []kfs.Entry{cluster, events}, tailtest.Values(events, 0, `{"n":0}`, `-`, `{"n":2}`, `{"n":3}`))
	letters := l.table(deadLetterTable)
	failed := false
	letters.fault = func(op string) (error, error) { // the table is locked
		if op != "commit" || failed {
			return nil, nil
		}
		failed = true
		letters.next[source], letters.rows[source] = 4, []row{{3, ""}}
		return errors.New("503"), nil
	}
	if err := run(t, testConfig(t, store, l)); err != nil {
		t.Errorf("error %v", err)
	}
	wantOffsets(t, l.table("db.events"), 0, 0, 4, 1, 3)
	if got := letters.offsets(0); !slices.Equal(got, []int64{3, 1}) {
		t.Errorf("dead letters %v", got)
	}
}

// TestLettersAreReadForAll lets many workers ask at the same time how far the dead-letter table is, which takes a second: one reads it for all
// that wait, and nobody gets what was read before it asked.
func TestLettersAreReadForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLake(t)
		letters, source := l.table(deadLetterTable), processor.Source{Topic: "events", ID: events.ID}
		var reads int64
		letters.fault = func(string) (before, after error) { // the table is locked
			time.Sleep(time.Second)
			reads++
			letters.next[source] = reads
			return nil, nil
		}
		cfg := testConfig(t, blob.NewMemory(nil), l)
		box := newLetterBox(&cfg, func(ctx context.Context) (processor.Sink, error) { return l.openLetters(ctx, kfs.TopicID{}) })
		began := time.Now()
		var workers sync.WaitGroup
		for n := range 50 {
			workers.Go(func() {
				time.Sleep(time.Duration(n) * 10 * time.Millisecond)
				asked := time.Since(began)
				next, err := box.positions(t.Context())
				if err != nil {
					t.Error(err)
				} else if read := time.Duration(next[source]-1) * time.Second; read < asked {
					t.Errorf("asked at %s, and got what was read from %s on", asked, read)
				}
			})
		}
		workers.Wait()
		if reads != 2 {
			t.Errorf("the table was read %d times, want 2: of those that ask during the first read one reads for all", reads)
		}
	})
}

// TestMovedBeginsAnew lets another writer commit in between.
func TestMovedBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		table := l.table("db.events")
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5))
		_, stop := start(t, testConfig(t, store, l))
		time.Sleep(5 * time.Second)
		source := processor.Source{Topic: "events", ID: events.ID}
		w.Append(t, nil, jsons(events, 0, 5, 4))
		table.mu.Lock()
		table.next[source] = 7
		table.rows[source] = append(table.rows[source], row{5, ""}, row{6, ""})
		table.mu.Unlock()
		time.Sleep(time.Minute)
		w.Append(t, nil, jsons(events, 0, 9, 1))
		time.Sleep(time.Minute)
		if err := stop(); err != nil {
			t.Error(err)
		}
		wantOffsets(t, table, 0, 0, 10)
	})
}

// TestSlowTableDoesNotHoldOthers keeps one table from opening, then its commits from landing, while the other goes on.
func TestSlowTableDoesNotHoldOthers(t *testing.T) {
	for _, op := range []string{"committed", "commit", "stage"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, l := blob.NewMemory(nil), newLake(t)
				var up atomic.Bool
				l.table("db.orders").fault = func(of string) (before, after error) {
					if !up.Load() && of == op {
						return errShaky, nil
					}
					return nil, nil
				}
				w := tailtest.Journal{Store: store}
				w.Append(t, []kfs.Entry{cluster, events, orders})
				_, stop := start(t, testConfig(t, store, l))
				const objects = 600
				for i := range objects {
					w.Append(t, nil, jsons(events, 0, i, 1), jsons(orders, 0, i, 1))
					time.Sleep(100 * time.Millisecond)
				}
				time.Sleep(3 * time.Second)
				wantOffsets(t, l.table("db.events"), 0, 0, objects)
				if n := len(l.table("db.orders").offsets(0)); n != 0 {
					t.Errorf("%d rows in a table that is down", n)
				}
				up.Store(true)
				time.Sleep(time.Minute)
				wantOffsets(t, l.table("db.orders"), 0, 0, objects)
				wantOffsets(t, l.table("db.events"), 0, 0, objects)
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestGraceEnds shuts a job down whose catalog hangs.
func TestGraceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		cfg := testConfig(t, store, l)
		cfg.Freshness = time.Hour
		cfg.OpenSink = func(ctx context.Context, table string, _ kfs.TopicID) (processor.Sink, error) {
			return hanging{l.table(table).open()}, nil
		}
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5))
		_, stop := start(t, cfg)
		time.Sleep(time.Second)
		began := time.Now()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("shutting down took %s, want the grace of 10 s", took)
		}
	})
}

// hanging is a sink whose commits end with their context.
type hanging struct{ *fakeSink }

func (hanging) Commit(ctx context.Context, _, _ processor.Positions, _ []processor.Staged) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestDamagedJournalHaltsItself reads two journals of which one breaks.
func TestDamagedJournalHaltsItself(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	other := tailtest.Topic("orders", 1, 1)
	zero, one := tailtest.Journal{Store: store}, tailtest.Journal{Store: store, Number: 1}
	zero.Append(t, []kfs.Entry{kfs.Cluster{ID: cluster.ID, Lineage: cluster.Lineage, Journals: 2}, events, other}, jsons(events, 0, 0, 3))
	one.Append(t, nil, jsons(other, 0, 0, 3))
	m, object := one.Seal(t, nil, jsons(other, 0, 3, 3))
	one.Skip(t, m, object)
	object[len(object)-30] ^= 1
	if _, err := store.Put(t.Context(), kfs.ObjectKey(1, 1), object, true); err != nil {
		t.Fatal(err)
	}
	zero.Append(t, nil, jsons(events, 0, 3, 3))
	one.Append(t, nil, jsons(other, 0, 6, 3))
	err := run(t, testConfig(t, store, l))
	if !errors.Is(err, kfs.ErrCorrupt) || !strings.Contains(err.Error(), kfs.ObjectKey(1, 1)) || !strings.Contains(err.Error(), "firn kfs verify") {
		t.Errorf("error %v, want one that names the object", err)
	}
	wantOffsets(t, l.table("db.events"), 0, 0, 6)
	wantOffsets(t, l.table("db.orders"), 0, 0, 3)
}

// TestHaltIsCountedOnce lets a table begin anew beside a partition that has halted, at first while its object is damaged and then when it is
// restored: metric and status say what is so now.
func TestHaltIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5), jsons(events, 1, 0, 5))
		m, object := w.Seal(t, nil, jsons(events, 0, 5, 5), jsons(events, 1, 5, 5))
		sound := slices.Clone(object)
		object[m.Segments[0].Position+80] ^= 1
		w.Put(t, m, object)
		table := l.table("db.events")
		var failing atomic.Bool
		table.fault = func(op string) (before, after error) {
			if op == "commit" && failing.Load() {
				return errors.New("503"), nil
			}
			return nil, nil
		}
		cfg := testConfig(t, store, l)
		registry := prometheus.NewRegistry()
		cfg.Registerer = registry
		j, stop := start(t, cfg)
		beginAnew := func(n int) {
			failing.Store(true)
			w.Append(t, nil, jsons(events, 1, n, 1))
			time.Sleep(time.Minute)
			failing.Store(false)
			time.Sleep(time.Minute)
		}
		wantHalted := func(when string, want int) {
			halted := 0
			for _, s := range j.Status().Tables[0].Sources {
				if s.Halted != nil {
					halted++
				}
			}
			if got := gauge(t, registry, "firn_pipeline_halted", "partition"); halted != want || got != float64(want) {
				t.Errorf("%s: %d partitions have halted by status, %v by metric, want %d", when, halted, got, want)
			}
		}
		time.Sleep(time.Minute)
		wantHalted("at first", 1)
		beginAnew(10)
		wantHalted("begun anew", 1)
		if _, err := store.Put(t.Context(), kfs.ObjectKey(0, 1), sound, false); err != nil {
			t.Fatal(err)
		}
		beginAnew(11)
		wantHalted("restored", 0)
		if err := stop(); err != nil {
			t.Error(err)
		}
		wantOffsets(t, table, 0, 0, 10)
		wantOffsets(t, table, 1, 0, 12)
	})
}

// gauge is the sum of a metric's values that have a label of that value.
func gauge(t *testing.T, registry *prometheus.Registry, name, label string) (sum float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetValue() == label {
					sum += m.GetGauge().GetValue()
				}
			}
		}
	}
	return sum
}
