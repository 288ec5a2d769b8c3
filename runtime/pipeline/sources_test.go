package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

func TestFrom(t *testing.T) {
	began := time.UnixMilli(1_700_000_000_000)
	for name, c := range map[string]struct {
		from Start
		want int64 // the first offset of partition 0
	}{
		"earliest": {Start{}, 0},
		"latest":   {Start{Latest: true}, 10},
		"time":     {Start{At: began.Add(4 * time.Minute)}, 4},
		"between":  {Start{At: began.Add(4*time.Minute + time.Second)}, 5},
		"tail":     {Start{At: began.Add(8 * time.Minute)}, 8},
		"future":   {Start{At: began.Add(11 * time.Minute)}, 11},
	} {
		for _, checkpoint := range []int{-1, 0, 5, 9} {
			t.Run(fmt.Sprintf("%s/%d", name, checkpoint), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store, l := blob.NewMemory(nil), newLake(t)
					now := began
					w := tailtest.Journal{Store: store, Now: func() time.Time { return now }}
					w.Append(t, []kfs.Entry{cluster, events})
					for i := range 10 {
						w.Append(t, nil, jsons(events, 0, i, 1), jsons(events, 1, i, 2))
						if i == checkpoint {
							w.Checkpoint(t)
						}
						now = now.Add(time.Minute)
					}
					cfg := testConfig(t, store, l)
					cfg.From = c.from
					_, stop := start(t, cfg)
					time.Sleep(10 * time.Second)
					for i := range 3 {
						w.Append(t, nil, jsons(events, 0, i, 1))
						now = now.Add(time.Minute)
					}
					time.Sleep(10 * time.Second)
					if err := stop(); err != nil {
						t.Error(err)
					}
					wantOffsets(t, l.table("db.events"), 0, c.want, 13)
				})
			})
		}
	}
}

// TestTrimmedBeforeRead begins at a position that the log does not have any more.
func TestTrimmedBeforeRead(t *testing.T) {
	source := processor.Source{Topic: "events", ID: events.ID}
	for name, write := range map[string]func(w *tailtest.Journal){
		"in the checkpoint": func(w *tailtest.Journal) {
			w.Append(t, []kfs.Entry{kfs.Trim{Topic: events.ID, LogStart: 4}})
			w.Checkpoint(t)
		},
		"in the journal": func(w *tailtest.Journal) {
			w.Append(t, []kfs.Entry{kfs.Trim{Topic: events.ID, LogStart: 7}})
			w.Jump(events, 0, 7)
			w.Append(t, nil, jsons(events, 0, 0, 1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			store, l := blob.NewMemory(nil), newLake(t)
			w := &tailtest.Journal{Store: store}
			w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5), jsons(events, 1, 0, 2))
			l.table("db.events").next[source] = 2
			write(w)
			w.Append(t, nil, jsons(events, 1, 2, 2))
			err := run(t, testConfig(t, store, l))
			var halt *processor.HaltError
			if !errors.As(err, &halt) || !strings.Contains(halt.Reason, "trimmed before this job has read them") || strings.Count(err.Error(), "events/0") != 1 || !staysSaid(err) {
				t.Errorf("error %v", err)
			}
			wantOffsets(t, l.table("db.events"), 1, 0, 4)
			if name != "in the checkpoint" {
				return
			}
			cfg := testConfig(t, store, l) // the way out that the error names
			cfg.Route = template("db.{topic}_again")
			if err := run(t, cfg); err != nil {
				t.Errorf("with another table: %v", err)
			}
			wantOffsets(t, l.table("db.events_again"), 0, 4, 5)
			wantOffsets(t, l.table("db.events_again"), 1, 0, 4)
		})
	}
}

// TestTopicsComeAndGo creates, deletes and recreates topics while a job runs.
func TestTopicsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster})
		cfg := testConfig(t, store, l)
		cfg.Topics, cfg.Pattern, cfg.Freshness = nil, "ev.*", time.Hour
		job, stop := start(t, cfg)
		time.Sleep(time.Minute)
		w.Append(t, []kfs.Entry{events, orders}, jsons(events, 0, 0, 3), jsons(orders, 0, 0, 3))
		w.Checkpoint(t)
		w.Append(t, nil, jsons(events, 0, 3, 3))
		time.Sleep(time.Minute)
		deleting, deleted := events, events
		deleting.State, deleted.State = kfs.TopicDeleting, kfs.TopicDeleted
		w.Append(t, []kfs.Entry{deleting, kfs.Ended{Topic: events.ID}, deleted})
		time.Sleep(time.Minute)
		wantOffsets(t, l.table("db.events"), 0, 0, 6) // at once, long before freshness asks for it
		again := tailtest.Topic("events", 2, 0)
		w.Append(t, []kfs.Entry{again}, jsons(again, 0, 0, 2))
		time.Sleep(time.Minute)
		if err := stop(); err != nil {
			t.Error(err)
		}
		if n := len(l.table("db.events").rows[processor.Source{Topic: "events", ID: again.ID}]); n != 2 {
			t.Errorf("%d rows of the topic that was created again", n)
		}
		if tables := job.Status().Tables; len(tables) != 1 {
			t.Errorf("tables %v, the pattern matches one topic", tables)
		}
	})
}

// TestSettledSegments reads what has left the journal, also while the job sleeps longer than the journal waits.
func TestSettledSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events}, tailtest.Values(events, 0, `{"n":0}`, `{"n":1}`))
		w.Append(t, nil, tailtest.Values(events, 0, `{"n":2}`), jsons(events, 1, 0, 1))
		w.Settle(t, events, 0, `{"n":0}`, `{"n":1}`, `{"n":2}`)
		w.Settle(t, events, 1, `{"n":0}`)
		w.Release(t, 2, true)
		w.Append(t, nil, tailtest.Values(events, 0, `{"n":3}`))
		w.Checkpoint(t)
		_, stop := start(t, testConfig(t, store, l))
		time.Sleep(10 * time.Second)
		wantOffsets(t, l.table("db.events"), 0, 0, 4)
		wantOffsets(t, l.table("db.events"), 1, 0, 1)
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestMemoryIsBounded pushes far more than the budget through many partitions, compressed ten to one, while commits take their time.
func TestMemoryIsBounded(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	w := tailtest.Journal{Store: store}
	const partitions, objects, size = 100, 11, 8000
	many := tailtest.Topic("events", 1, make([]uint32, partitions)...)
	w.Append(t, []kfs.Entry{cluster, many})
	value := fmt.Appendf(nil, `{"text":"%s"}`, strings.Repeat("firn ", size))
	for range objects {
		var records []tailtest.Records
		for p := range int32(partitions) {
			records = append(records, tailtest.Records{Topic: many, Partition: p, Values: [][]byte{value, value}, Codec: record.Zstd})
		}
		w.Append(t, nil, records...)
	}
	cfg := testConfig(t, store, l)
	cfg.MemoryBytes = 16 << 20
	cfg.Until.Latest = true
	job, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	most, counted := int64(0), int64(0)
	l.table("db.events").fault = func(string) (error, error) {
		job.memory.mu.Lock()
		defer job.memory.mu.Unlock()
		most, counted = max(most, int64(l.mem.CurrentAlloc())), max(counted, job.memory.used)
		return nil, nil
	}
	if err := job.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for p := range int32(partitions) {
		wantOffsets(t, l.table("db.events"), p, 0, 2*objects)
	}
	if total := int64(partitions * objects * 2 * len(value)); most > cfg.MemoryBytes || total < 5*cfg.MemoryBytes {
		t.Errorf("%d bytes of Arrow were held at a time of %d in all, the budget is %d", most, total, cfg.MemoryBytes)
	}
	if counted > job.memory.limit+2<<20 || counted < job.memory.limit/2 {
		t.Errorf("%d bytes of rows were counted at a time, the limit is %d", counted, job.memory.limit)
	}
	if job.memory.used != 0 || !job.objects.free.TryAcquire(job.objects.limit) {
		t.Errorf("memory is still held after the run: %d bytes of rows", job.memory.used)
	}
}

// spillingSink is a sink that can put rows out of memory.
type spillingSink struct {
	*fakeSink
	times *int
}

func (s spillingSink) Spills() bool { return true }

func (s spillingSink) Spill(context.Context) error {
	if s.held > 0 {
		*s.times++
	}
	s.held = 0
	return nil
}

// TestSpillBeforeCommit has a job with little memory and a sink that can put rows aside: it commits only where it is to.
func TestSpillBeforeCommit(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	w := tailtest.Journal{Store: store}
	const partitions, objects = 40, 20
	many := tailtest.Topic("events", 1, make([]uint32, partitions)...)
	w.Append(t, []kfs.Entry{cluster, many})
	value := fmt.Appendf(nil, `{"text":"%s"}`, strings.Repeat("firn ", 10_000))
	for range objects {
		var records []tailtest.Records
		for p := range int32(partitions) {
			records = append(records, tailtest.Records{Topic: many, Partition: p, Values: [][]byte{value}, Codec: record.Zstd})
		}
		w.Append(t, nil, records...)
	}
	cfg := testConfig(t, store, l)
	cfg.MemoryBytes, cfg.FileSize, cfg.Freshness, cfg.Until.Latest = 16<<20, 1<<30, time.Hour, true
	times := 0
	cfg.OpenSink = func(_ context.Context, table string, _ kfs.TopicID) (processor.Sink, error) {
		return spillingSink{l.table(table).open(), &times}, nil
	}
	if err := run(t, cfg); err != nil {
		t.Fatal(err)
	}
	for p := range int32(partitions) {
		wantOffsets(t, l.table("db.events"), p, 0, objects)
	}
	if n := len(l.table("db.events").commits); n != 1 || times == 0 {
		t.Errorf("%d commits, rows were put aside %d times", n, times)
	}
}

// watchedSink tells when rows are staged.
type watchedSink struct {
	*fakeSink
	staging func()
}

func (s watchedSink) Stage(ctx context.Context, b processor.Batch) error {
	s.staging()
	return s.fakeSink.Stage(ctx, b)
}

// TestRowsAreStagedBeforeLettersAreDecided: as long as a table may still refuse the rows of a span, its dead letters must not be committed,
// for a replay could not decide otherwise then.
func TestRowsAreStagedBeforeLettersAreDecided(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	w := tailtest.Journal{Store: store}
	w.Append(t, []kfs.Entry{cluster, events}, tailtest.Values(events, 0, `{"n":1}`, `{"n":"a"}`), tailtest.Values(events, 1, `{"n":"b"}`, `{"n":2}`))
	cfg := testConfig(t, store, l)
	staged := 0
	cfg.OpenSink = func(_ context.Context, table string, _ kfs.TopicID) (processor.Sink, error) {
		return watchedSink{l.table(table).open(), func() {
			staged++
			letters := l.table(deadLetterTable)
			letters.mu.Lock()
			defer letters.mu.Unlock()
			if len(letters.commits) > 0 {
				t.Error("dead letters were committed before the table had taken the rows")
			}
		}}, nil
	}
	if err := run(t, cfg); err != nil {
		t.Fatal(err)
	}
	letters := l.table(deadLetterTable)
	if got := len(letters.offsets(0)) + len(letters.offsets(1)); got != 2 || staged != 2 {
		t.Errorf("%d dead letters, %d batches staged", got, staged)
	}
}

// unfitSink refuses a column of rows as a big table refuses to become wider.
type unfitSink struct {
	*fakeSink
	refusals *int
}

type unfitError struct{}

func (unfitError) Error() string       { return "column n cannot hold a fraction" }
func (unfitError) UnfitColumn() string { return "n" }

func (s unfitSink) Stage(ctx context.Context, b processor.Batch) error {
	if b.Records != nil {
		for _, r := range rowsOf(b.Records) {
			if strings.Contains(r.text, ".5") {
				*s.refusals++
				s.reset()
				return fmt.Errorf("stage: %w", unfitError{})
			}
		}
	}
	return s.fakeSink.Stage(ctx, b)
}

// TestRefusedColumnIsPinned has a table that cannot hold fractions: those records become dead letters, and nothing else does.
func TestRefusedColumnIsPinned(t *testing.T) {
	store, l := blob.NewMemory(nil), newLake(t)
	w := tailtest.Journal{Store: store}
	w.Append(t, []kfs.Entry{cluster, events}, tailtest.Values(events, 0, `{"n":1}`, `{"n":1.5}`, `{"n":2,"new":"x"}`), tailtest.Values(events, 1, `{"n":3}`))
	cfg := testConfig(t, store, l)
	refusals := 0
	cfg.OpenSink = func(_ context.Context, table string, _ kfs.TopicID) (processor.Sink, error) {
		return unfitSink{l.table(table).open(), &refusals}, nil
	}
	if err := run(t, cfg); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, l.table("db.events"), 0, 0, 3, 1)
	wantOffsets(t, l.table("db.events"), 1, 0, 1)
	if got := l.table(deadLetterTable).offsets(0); !slices.Equal(got, []int64{1}) || refusals != 2 {
		t.Errorf("dead letters %v after %d refusals", got, refusals)
	}
	if rows := l.table("db.events").rows[processor.Source{Topic: "events", ID: events.ID}]; rows[1].text != "n=2;new=x;" {
		t.Errorf("a row of the same span is %q", rows[1].text)
	}
}

// Schema gives the column that the table cannot widen.
func (s unfitSink) Schema(context.Context) (*arrow.Schema, error) {
	return arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil), nil
}

// TestJobFile checks what the job's object says, and that it never says more than a load of the table has shown.
func TestJobFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, events}, jsons(events, 0, 0, 5), jsons(events, 1, 0, 2))
		table := l.table("db.events")
		var lied atomic.Bool
		table.fault = func(op string) (error, error) {
			if body, _, err := blob.ReadAll(t.Context(), store, kfs.JobKey("test"), blob.All, 1<<20); err == nil && op == "committed" {
				if bytes.Contains(body, []byte(`"next":5`)) && len(table.commits) == 1 || bytes.Contains(body, []byte(`"next":8`)) {
					lied.Store(true)
				}
			}
			return nil, nil
		}
		_, stop := start(t, testConfig(t, store, l))
		time.Sleep(30 * time.Second)
		body, _, err := blob.ReadAll(t.Context(), store, kfs.JobKey("test"), blob.All, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		f, err := kfs.DecodeJob(body)
		if err != nil {
			t.Fatal(err)
		}
		if lied.Load() || f.Name != "test" || len(f.Tables) != 1 || !slices.Equal(f.Tables[0].Sources, []kfs.JobSource{
			{Topic: "events", ID: events.ID, Partition: 0, Next: 5, Committed: 5}, {Topic: "events", ID: events.ID, Partition: 1, Next: 2, Committed: 2}}) {
			t.Errorf("the job's object is %s; said before it was seen: %v", body, lied.Load())
		}
		w.Append(t, nil, jsons(events, 0, 5, 3))
		time.Sleep(30 * time.Second)
		if lied.Load() {
			t.Error("a position was written before a load had shown it")
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestPace(t *testing.T) {
	now := time.Unix(1000, 0)
	p := pace{freshness: 2 * time.Second}
	p.add(now, now.Add(200*time.Millisecond), now.Add(300*time.Millisecond))
	if want := now.Add(1500 * time.Millisecond); !p.due.Equal(want) {
		t.Errorf("due %s after sealing, want 1.5 s before a commit's cost is known", p.due.Sub(now))
	}
	p.add(now.Add(time.Second), now.Add(1200*time.Millisecond), now.Add(1200*time.Millisecond))
	if want := now.Add(1500 * time.Millisecond); !p.due.Equal(want) {
		t.Errorf("a younger record moved the commit to %s", p.due.Sub(now))
	}
	p.begin()
	p.took(time.Second)
	p.add(now, now, now)
	if due := p.due.Sub(now); due != 400*time.Millisecond {
		t.Errorf("due %s after sealing where a commit took 1 s, want the bound", due)
	}
	p.begin()
	for range 50 {
		p.took(100 * time.Millisecond)
	}
	p.add(now, now, now)
	if due := p.due.Sub(now); due < 1700*time.Millisecond || due > 1900*time.Millisecond {
		t.Errorf("due %s after sealing where commits take 0.1 s, want about 1.8 s", due)
	}
	p.begin()
	p.add(now.Add(-time.Hour), now.Add(-time.Minute), now)
	if due := p.due.Sub(now); due != 2*time.Second {
		t.Errorf("history is due %s after it was taken, want 2 s", due)
	}
	p.begin()
	p.add(now.Add(time.Hour), now, now)
	if due := p.due.Sub(now); due != 2*time.Second {
		t.Errorf("what a clock ahead has sealed is due after %s, want 2 s", due)
	}
}

func TestConfigValidate(t *testing.T) {
	err := (&Config{Name: "a/b", Pattern: "(", MemoryBytes: 1, From: Start{Latest: true, At: time.Unix(1, 0)}, Freshness: -1}).Validate()
	for _, want := range []string{"job name", "needs Store", "OpenDeadLetters", "pattern", "at the latest record, at a time or at offsets", "memory of 1 bytes", "negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}
