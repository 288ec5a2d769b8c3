package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// thirds rejects the rows of one remainder of the offset by 3, and leaves out those of another.
func thirds(reject, leaveOut int64, mem memory.Allocator) applied {
	return func(b processor.Batch) (processor.Batch, error) {
		defer b.Records.Release()
		offsets := b.Records.Column(2).(*array.Int64)
		keep := make([]bool, offsets.Len())
		for i := range keep {
			o := offsets.Value(i)
			keep[i] = o%3 != reject && o%3 != leaveOut
			if o%3 == reject {
				b.Rejected = append(b.Rejected, processor.Rejection{Offset: o, Class: "no_good"})
			}
		}
		var err error
		b.Records, err = processor.KeepRows(b.Records, keep, mem)
		return b, err
	}
}

// under makes a job of one of two configurations: by a, remainder 0 is a row and 1 a dead letter; by b, 1 is a row and 2 a dead letter.
func under(cfg Config, l *lake, config string) Config {
	forms := map[string]Form{
		"a": {Route: cfg.Route, OpenTransforms: steps(thirds(1, 2, l.mem))},
		"b": {Route: cfg.Route, OpenTransforms: steps(thirds(2, 0, l.mem))},
	}
	cfg.Hash, cfg.Kept, cfg.OpenTransforms = config, []byte("kept "+config), forms[config].OpenTransforms
	cfg.Former = func(_ string, kept []byte) (*Form, error) {
		form, ok := forms[strings.TrimPrefix(string(kept), "kept ")]
		if !ok {
			return nil, fmt.Errorf("%q is no configuration", kept)
		}
		return &form, nil
	}
	open := func(name string) (processor.Sink, error) {
		s := l.table(name).open()
		s.config = config
		return s, nil
	}
	cfg.OpenSink = func(_ context.Context, name string, _ kfs.TopicID) (processor.Sink, error) { return open(name) }
	cfg.OpenDeadLetters = func(context.Context, kfs.TopicID) (processor.Sink, error) { return open(deadLetterTable) }
	return cfg
}

// decided finds the offset from which on b has decided what a partition's records are, a before. ok is false if there is none: records are
// missing or there twice.
func decided(l *lake, partition int32, n int64) (cut int64, ok bool) {
	rows, letters := l.table("db.events").offsets(partition), l.table(deadLetterTable).offsets(partition)
	slices.Sort(letters)
	for cut := range n + 1 {
		var wantRows, wantLetters []int64
		for o := range n {
			switch rest := o % 3; {
			case o < cut && rest == 0, o >= cut && rest == 1:
				wantRows = append(wantRows, o)
			case o < cut && rest == 1, o >= cut && rest == 2:
				wantLetters = append(wantLetters, o)
			}
		}
		if slices.Equal(rows, wantRows) && slices.Equal(letters, wantLetters) {
			return cut, true
		}
	}
	return 0, false
}

// TestChangeOfConfiguration kills a job at every operation on its tables and starts it again with another configuration: of each partition
// the first records are what the one has made of them, the others what the other makes, and none is there twice or not at all.
func TestChangeOfConfiguration(t *testing.T) {
	const n, step = 24, 3
	inside := false
	for kill := int64(1); ; kill++ {
		ended := false
		for _, lost := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				store, l := blob.NewMemory(nil), newLake(t)
				w := tailtest.Journal{Store: store}
				w.Append(t, []kfs.Entry{cluster, events})
				var op atomic.Int64
				var killed atomic.Bool
				errKilled := errors.New("killed")
				fault := func(string) (before, after error) {
					switch at := op.Add(1); {
					case at == kill && lost: // it is carried out
						killed.Store(true)
						return nil, errKilled
					case at >= kill:
						killed.Store(true)
						return errKilled, nil
					}
					return nil, nil
				}
				cfg := testConfig(t, store, l)
				cfg.Freshness, cfg.Grace = time.Second, time.Second
				w.Append(t, nil, jsons(events, 0, 0, step), jsons(events, 1, 0, step))
				if err := run(t, under(cfg, l, "a")); err != nil {
					t.Fatal(err)
				}
				l.table("db.events").fault, l.table(deadLetterTable).fault = fault, fault
				_, stop := start(t, under(cfg, l, "a"))
				for i := range int(n/step) - 1 {
					w.Append(t, nil, jsons(events, 0, i, step), jsons(events, 1, i, step))
					time.Sleep(2 * time.Second)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
				ended = !killed.Load()
				l.table("db.events").fault, l.table(deadLetterTable).fault = nil, nil
				if err := run(t, under(cfg, l, "b")); err != nil {
					t.Fatalf("killed at %d (lost: %t): %v", kill, lost, err)
				}
				for p := range int32(2) {
					cut, ok := decided(l, p, n)
					if !ok {
						t.Fatalf("killed at %d (lost: %t): partition %d has rows %v and dead letters %v", kill, lost, p, l.table("db.events").offsets(p), l.table(deadLetterTable).offsets(p))
					}
					inside = inside || cut > 0 && cut < n
				}
			})
		}
		if ended || t.Failed() {
			break
		}
	}
	if !inside {
		t.Error("no kill came between two configurations: the test shows nothing")
	}
}

// TestFormerConfigurationIsGone halts where it is not known how a span was decided, unless a person lets the present configuration decide.
func TestFormerConfigurationIsGone(t *testing.T) {
	source := processor.Source{Topic: "events", ID: events.ID}
	for name, c := range map[string]struct {
		kept string // "" is nothing
		want string
		anew bool
	}{
		"gone":           {"", "jobs/test/config-a.json, the job file that decided them, cannot be used", false},
		"no more":        {"kept z", `"kept z" is no configuration`, false},
		"gone, accepted": {"", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			store, l := blob.NewMemory(nil), newLake(t)
			w := tailtest.Journal{Store: store}
			w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 9))
			if c.kept != "" {
				if _, err := store.Put(t.Context(), kfs.JobConfigKey("test", "a"), []byte(c.kept), true); err != nil {
					t.Fatal(err)
				}
			}
			table, letters := l.table("db.events"), l.table(deadLetterTable)
			table.next[source], table.configs[source] = 1, "a"
			table.rows[source] = []row{{0, ""}}
			letters.next[source], letters.configs[source] = 4, "a"
			letters.rows[source] = []row{{1, ""}}
			cfg := under(testConfig(t, store, l), l, "b")
			cfg.DecideAnew = c.anew
			err := run(t, cfg)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "--decide-anew") {
					t.Errorf("error %v", err)
				}
				return
			}
			// By the present configuration every third record is a dead letter; offset 1 stays one, and 2, which was to be a row, becomes one.
			if err != nil {
				t.Fatal(err)
			}
			wantOffsets(t, table, 0, 0, 9, 1, 2, 3, 5, 6, 8) // 3 and 6 are left out
			if got := letters.offsets(0); !slices.Equal(got, []int64{1, 2, 5, 8}) {
				t.Errorf("dead letters %v", got)
			}
		})
	}
}

// ahead is the sink of several tables, one of which is ahead of the others.
type ahead struct {
	*fakeSink
	next   int64
	config string
}

func (a ahead) Decided(source processor.Source) (next int64, config string, ok bool) {
	if next, config, ok = a.fakeSink.Decided(source); next < a.next {
		return a.next, a.config, true
	}
	return next, config, ok
}

// TestDecidedUnderTwo: rows of a span in one table were decided under a, and dead letters under another configuration, or nobody knows which.
func TestDecidedUnderTwo(t *testing.T) {
	source := processor.Source{Topic: "events", ID: events.ID}
	for name, c := range map[string]struct {
		config string // of the dead letters
		next   int64  // of the dead letters; that of the table ahead is 4
		halts  bool
	}{
		"the same":                            {"a", 4, false},
		"expired":                             {"", 4, false},
		"expired, and further":                {"", 5, false},
		"letters from before the first row":   {"b", 2, false},
		"letters behind what the table holds": {"c", 5, true},
	} {
		t.Run(name, func(t *testing.T) {
			store, l := blob.NewMemory(nil), newLake(t)
			w := tailtest.Journal{Store: store}
			w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 9))
			if _, err := store.Put(t.Context(), kfs.JobConfigKey("test", "a"), []byte("kept a"), true); err != nil {
				t.Fatal(err)
			}
			table, letters := l.table("db.events"), l.table(deadLetterTable)
			table.next[source], table.configs[source] = 1, "a"
			table.rows[source] = []row{{0, ""}}
			letters.next[source], letters.configs[source] = c.next, c.config
			letters.rows[source] = []row{{1, ""}}
			cfg := under(testConfig(t, store, l), l, "b")
			open := cfg.OpenSink
			cfg.OpenSink = func(ctx context.Context, name string, id kfs.TopicID) (processor.Sink, error) {
				s, err := open(ctx, name, id)
				return ahead{s.(*fakeSink), 4, "a"}, err
			}
			err := run(t, cfg)
			if c.halts {
				if err == nil || !strings.Contains(err.Error(), "from 1 on were decided under two configurations, a and c") {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantOffsets(t, table, 0, 0, 9, 1, 2, 5, 6, 8) // 3 is a row of a, 4 and 7 are of b
			if got := letters.offsets(0); !slices.Equal(got, []int64{1, 5, 8}) {
				t.Errorf("dead letters %v", got)
			}
		})
	}
}

// TestLettersAheadOfRebuiltRows: the rows that a table has are of the present configuration, and dead letters ahead of them of another one, which a
// process has committed that knew nothing of a rebuild. They are obeyed, and the present configuration decides the other records of their span.
func TestLettersAheadOfRebuiltRows(t *testing.T) {
	source := processor.Source{Topic: "events", ID: events.ID}
	for _, kept := range []bool{false, true} { // it is not asked for
		store, l := blob.NewMemory(nil), newLake(t)
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 9))
		if kept {
			if _, err := store.Put(t.Context(), kfs.JobConfigKey("test", "a"), []byte("kept a"), true); err != nil {
				t.Fatal(err)
			}
		}
		table, letters := l.table("db.events"), l.table(deadLetterTable)
		table.next[source], table.configs[source] = 1, "b"
		table.rows[source] = []row{{0, ""}}
		letters.next[source], letters.configs[source] = 4, "a"
		letters.rows[source] = []row{{1, ""}}
		if err := run(t, under(testConfig(t, store, l), l, "b")); err != nil {
			t.Fatal(err)
		}
		wantOffsets(t, table, 0, 0, 9, 1, 2, 3, 5, 6, 8) // 1 would be a row
		if got := slices.Sorted(slices.Values(letters.offsets(0))); !slices.Equal(got, []int64{1, 2, 5, 8}) {
			t.Errorf("dead letters %v", got)
		}
	}
}

// TestKeepsItsConfiguration puts the configuration into the store before anything is read, once.
func TestKeepsItsConfiguration(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	w := tailtest.Journal{Store: store}
	w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 9))
	cfg := under(testConfig(t, store, l), l, "a")
	for range 2 {
		if err := run(t, cfg); err != nil {
			t.Fatal(err)
		}
		cfg.Kept = []byte("another text of the same meaning")
	}
	body, _, err := blob.ReadAll(t.Context(), store, "jobs/test/config-a.json", blob.All, 100)
	if err != nil || string(body) != "kept a" {
		t.Errorf("%q, %v", body, err)
	}
}
