package catalogtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
)

// Schema is the schema of the suite's tables.
var Schema = iceberg.NewSchema(0,
	iceberg.NestedField{ID: 1, Name: "kafka_topic", Type: iceberg.PrimitiveTypes.String},
	iceberg.NestedField{ID: 2, Name: "kafka_partition", Type: iceberg.PrimitiveTypes.Int32},
	iceberg.NestedField{ID: 3, Name: "kafka_offset", Type: iceberg.PrimitiveTypes.Int64},
)

// Suite checks that a catalog does what the commit protocol rests on, and that the protocol holds on it. open gives a fresh catalog
// each time. The suite's data files exist in manifests only.
func Suite(t *testing.T, open func(t *testing.T) catalog.Client) {
	t.Run("a table that is not there", func(t *testing.T) {
		c := NewCommitter(t, open(t), "default.missing", catalog.Options{})
		if _, err := c.Load(t.Context()); !errors.Is(err, catalog.ErrNoTable) {
			t.Errorf("load: %v, want %v", err, catalog.ErrNoTable)
		}
		if err := c.Commit(t.Context(), Group("a/0", 0, 10)); !errors.Is(err, catalog.ErrNoTable) {
			t.Errorf("commit: %v, want %v", err, catalog.ErrNoTable)
		}
	})
	t.Run("a pin holds", func(t *testing.T) { testPins(t, open(t)) })
	t.Run("one of many wins", func(t *testing.T) { testRace(t, open(t)) })
	t.Run("groups in order", func(t *testing.T) { testOrder(t, open(t)) })
	t.Run("two committers", func(t *testing.T) { testTwoCommitters(t, open(t)) })
	t.Run("backfills", func(t *testing.T) { testBackfills(t, open(t)) })
	t.Run("schemas", func(t *testing.T) { testSchemas(t, open(t)) })
	t.Run("upkeep", func(t *testing.T) { testUpkeep(t, open(t)) })
	t.Run("a branch beside main", func(t *testing.T) { testAside(t, open(t)) })
	t.Run("pauses", func(t *testing.T) { testPauses(t, open(t)) })
	t.Run("probes", func(t *testing.T) { testProbes(t, open(t)) })
	t.Run("a loss", func(t *testing.T) { testLoss(t, open) })
	t.Run("faults", func(t *testing.T) { testFaults(t, open) })
}

// NewCommitter makes a committer for a table that does not sleep between tries; opts.Job is "job" if empty.
func NewCommitter(t *testing.T, client catalog.Client, name string, opts catalog.Options) *catalog.Committer {
	t.Helper()
	if opts.Job == "" {
		opts.Job = "job"
	}
	if opts.Sleep == nil {
		opts.Sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	}
	c, err := catalog.New(client).Committer(name, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// create makes the suite's table.
func create(t *testing.T, c *catalog.Committer) {
	t.Helper()
	if _, err := c.Create(t.Context(), Schema, nil, nil); err != nil {
		t.Fatal(err)
	}
}

// Group is the offsets [base, next) of a source as one data file that exists only by name.
func Group(source string, base, next int64) catalog.Group {
	g := catalog.Group{Ranges: map[string]catalog.Advance{
		source: {Span: kfs.Span{Base: base, Next: next}, High: next - 1, Rows: next - base},
	}}
	if next == base {
		g.Ranges[source] = catalog.Advance{Span: kfs.Span{Base: base, Next: next}, High: -1}
		return g
	}
	name := fmt.Sprintf("mem://fake/data/%s-%d-%d.parquet", strings.ReplaceAll(source, "/", "-"), base, next)
	b, err := iceberg.NewDataFileBuilder(*iceberg.UnpartitionedSpec, iceberg.EntryContentData, name, iceberg.ParquetFile, nil, nil, nil, next-base, 1000)
	if err != nil {
		panic(err) // the arguments are constants
	}
	g.Files = []iceberg.DataFile{b.Build()}
	return g
}

// testBackfills commits a job and backfills of it to one table: each has a position of its own, and no offset is accounted for twice.
func testBackfills(t *testing.T, client catalog.Client) {
	job := NewCommitter(t, client, "default.backfilled", catalog.Options{})
	first := NewCommitter(t, client, "default.backfilled", catalog.Options{Job: catalog.Backfill("job", "1")})
	second := NewCommitter(t, client, "default.backfilled", catalog.Options{Job: catalog.Backfill("job", "2")})
	create(t, job)
	for _, c := range []struct {
		by         *catalog.Committer
		base, next int64
		halts      bool
	}{
		{job, 20, 30, false}, {first, 0, 5, false}, {job, 30, 40, false}, {second, 10, 15, false}, {first, 5, 10, false},
		{first, 10, 12, true}, {second, 15, 21, true}, {second, 15, 20, false}, {job, 40, 50, false},
	} {
		err := c.by.Commit(t.Context(), Group("a/0", c.base, c.next))
		var halt *catalog.HaltError
		if c.halts != errors.As(err, &halt) || !c.halts && err != nil {
			t.Fatalf("[%d, %d): %v, want a halt: %t", c.base, c.next, err, c.halts)
		}
	}
	for by, want := range map[*catalog.Committer]int64{job: 50, first: 10, second: 20} {
		next, _, err := by.Position(t.Context())
		if err != nil || next["a/0"] != want {
			t.Errorf("position %v, %v, want %d", next, err, want)
		}
	}
	files, err := Files(t.Context(), job)
	if err != nil || len(files) != 7 {
		t.Errorf("files %v, %v, want 7", files, err)
	}
}

// Files are the paths of the table's live data files, each as often as it is there.
func Files(ctx context.Context, c *catalog.Committer) (map[string]int, error) {
	t, err := c.Load(ctx)
	if err != nil {
		return nil, err
	}
	files := map[string]int{}
	head := t.CurrentSnapshot()
	if head == nil {
		return files, nil
	}
	fs, err := t.FS(ctx)
	if err != nil {
		return nil, err
	}
	manifests, err := head.Manifests(fs)
	if err != nil {
		return nil, err
	}
	for _, m := range manifests {
		for e, err := range m.Entries(fs, true) {
			if err != nil {
				return nil, err
			}
			files[e.DataFile().FilePath()]++
		}
	}
	return files, nil
}

// wantFiles checks that the table has exactly the files of the groups, each once.
func wantFiles(t *testing.T, c *catalog.Committer, groups ...catalog.Group) {
	t.Helper()
	got, err := Files(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for _, g := range groups {
		for _, f := range g.Files {
			want[f.FilePath()] = 1
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("the table has %v, want %v", got, want)
	}
}

// testPins checks the catalog itself: a request whose requirement does not hold changes nothing.
func testPins(t *testing.T, client catalog.Client) {
	c := NewCommitter(t, client, "default.pins", catalog.Options{})
	create(t, c)
	stale, err := c.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(t.Context(), Group("a/0", 0, 1)); err != nil {
		t.Fatal(err)
	}
	before, err := c.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	head := before.CurrentSnapshot().SnapshotID
	other := head + 1
	for name, req := range map[string]table.Requirement{
		"no snapshot yet":  table.AssertRefSnapshotID(table.MainBranch, nil),
		"another snapshot": table.AssertRefSnapshotID(table.MainBranch, &other),
		"another schema":   table.AssertCurrentSchemaID(stale.Schema().ID + 1),
		"another field id": table.AssertLastAssignedFieldID(99),
	} {
		ident, err := catalog.ParseIdentifier(c.Name())
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = client.CommitTable(t.Context(), ident, []table.Requirement{req}, []table.Update{table.NewSetPropertiesUpdate(iceberg.Properties{"x": name})})
		if err == nil {
			t.Errorf("a request that requires %s was accepted", name)
		}
	}
	after, err := c.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if x, ok := after.Properties()["x"]; ok {
		t.Errorf("a refused request has set a property to %q", x)
	}
}

// testRace lets committers race for the same ranges: each range lands once.
func testRace(t *testing.T, client catalog.Client) {
	const writers, groups = 8, 3
	first := NewCommitter(t, client, "default.race", catalog.Options{})
	create(t, first)
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		c := NewCommitter(t, client, "default.race", catalog.Options{Writer: fmt.Sprint(w)})
		wg.Go(func() {
			for i := range int64(groups) {
				g := Group("a/0", i*10, i*10+10)
				renamed(&g, w)
				if err := c.Commit(t.Context(), g); err != nil && !errors.Is(err, catalog.ErrMoved) {
					errs[w] = err
					return
				}
			}
		})
	}
	wg.Wait()
	for w, err := range errs {
		if err != nil {
			t.Errorf("writer %d: %v", w, err)
		}
	}
	files, err := Files(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != groups {
		t.Errorf("%d files are in the table, want one for each of %d ranges: %v", len(files), groups, slices.Sorted(maps.Keys(files)))
	}
	wantPosition(t, first, map[string]int64{"a/0": groups * 10})
}

// renamed gives a group a file of its own.
func renamed(g *catalog.Group, writer int) {
	f := g.Files[0]
	b, err := iceberg.NewDataFileBuilder(*iceberg.UnpartitionedSpec, iceberg.EntryContentData, fmt.Sprintf("%s.%d", f.FilePath(), writer), iceberg.ParquetFile, nil, nil, nil, f.Count(), f.FileSizeBytes())
	if err != nil {
		panic(err) // the arguments are those of a file that was built
	}
	g.Files = []iceberg.DataFile{b.Build()}
}

// wantPosition checks the table's own record.
func wantPosition(t *testing.T, c *catalog.Committer, want map[string]int64) {
	t.Helper()
	got, _, err := c.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("the table stands at %v, want %v", got, want)
	}
}

// testOrder commits ranges in order, out of order, twice, and without rows.
func testOrder(t *testing.T, client catalog.Client) {
	c := NewCommitter(t, client, "default.ordered", catalog.Options{})
	create(t, c)
	wantPosition(t, c, map[string]int64{})
	a, b := Group("a/0", 5, 10), Group("a/0", 10, 20)
	must(t, c.Commit(t.Context(), a))
	moved(t, c.Commit(t.Context(), a))
	moved(t, c.Commit(t.Context(), Group("a/0", 11, 20)))
	moved(t, c.Commit(t.Context(), Group("a/0", 9, 20)))
	must(t, c.Commit(t.Context(), b))
	must(t, c.Commit(t.Context(), Group("a/0", 20, 20))) // nothing to do
	empty := catalog.Group{Ranges: map[string]catalog.Advance{"a/0": {Span: kfs.Span{Base: 20, Next: 25}, High: -1}}}
	must(t, c.Commit(t.Context(), empty))
	moved(t, c.Commit(t.Context(), empty))
	wantPosition(t, c, map[string]int64{"a/0": 25})

	// Another source is admitted whole or not at all.
	both := Group("a/1", 0, 3)
	both.Ranges["a/0"] = catalog.Advance{Span: kfs.Span{Base: 24, Next: 26}, High: -1}
	moved(t, c.Commit(t.Context(), both))
	wantPosition(t, c, map[string]int64{"a/0": 25})
	both.Ranges["a/0"] = catalog.Advance{Span: kfs.Span{Base: 25, Next: 26}, High: -1}
	must(t, c.Commit(t.Context(), both))
	wantPosition(t, c, map[string]int64{"a/0": 26, "a/1": 3})
	wantFiles(t, c, a, b, both)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func moved(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, catalog.ErrMoved) {
		t.Fatalf("commit: %v, want %v", err, catalog.ErrMoved)
	}
}

// testTwoCommitters lets a second committer commit between the first one's load and its request.
func testTwoCommitters(t *testing.T, client catalog.Client) {
	second := NewCommitter(t, client, "default.two", catalog.Options{Writer: "second"})
	create(t, second)
	var between func()
	first := NewCommitter(t, NewFaulty(client, func(op Op) Fault {
		if run := between; op.Name == "commit" && run != nil {
			between = nil
			run()
		}
		return None
	}), "default.two", catalog.Options{Writer: "first"})

	theirs := Group("a/0", 0, 4)
	between = func() { must(t, second.Commit(t.Context(), theirs)) }
	moved(t, first.Commit(t.Context(), Group("a/0", 0, 5)))

	// What does not touch the position is no reason to give up.
	other := Group("b/0", 0, 7)
	between = func() { must(t, second.Commit(t.Context(), other)) }
	ours := Group("a/0", 4, 9)
	must(t, first.Commit(t.Context(), ours))
	wantFiles(t, first, theirs, other, ours)
	wantPosition(t, first, map[string]int64{"a/0": 9, "b/0": 7})
}

// testSchemas widens a schema, twice by two hands at once.
func testSchemas(t *testing.T, client catalog.Client) {
	c := NewCommitter(t, client, "default.schemas", catalog.Options{})
	create(t, c)
	wide := iceberg.NewSchema(0,
		iceberg.NestedField{ID: 1, Name: "kafka_partition", Type: iceberg.PrimitiveTypes.Int64},
		iceberg.NestedField{ID: 2, Name: "payload", Type: &iceberg.StructType{FieldList: []iceberg.NestedField{{ID: 3, Name: "mag", Type: iceberg.PrimitiveTypes.Float32}}}},
	)
	other := NewCommitter(t, client, "default.schemas", catalog.Options{})
	var once sync.Once
	racing := NewCommitter(t, NewFaulty(client, func(op Op) Fault {
		if op.Name == "commit" {
			once.Do(func() {
				_, err := other.Evolve(t.Context(), wide)
				must(t, err)
			})
		}
		return None
	}), "default.schemas", catalog.Options{})
	table, err := racing.Evolve(t.Context(), wide)
	must(t, err)
	var names []string
	for _, f := range table.Schema().Fields() {
		names = append(names, fmt.Sprintf("%d %s %s", f.ID, f.Name, f.Type))
	}
	want := []string{"1 kafka_topic string", "2 kafka_partition long", "3 kafka_offset long", "4 payload struct<5: mag: optional float>"}
	if !slices.Equal(names, want) {
		t.Errorf("schema\n%s\nwant\n%s", strings.Join(names, "\n"), strings.Join(want, "\n"))
	}
	text := iceberg.NewSchema(0, iceberg.NestedField{ID: 1, Name: "kafka_offset", Type: iceberg.PrimitiveTypes.String})
	var unfit *catalog.TypeError
	if _, err := c.Evolve(t.Context(), text); !errors.As(err, &unfit) || unfit.Path != "kafka_offset" {
		t.Errorf("a string for a long: %v", err)
	}
}

// testUpkeep commits much, with a foreign snapshot in between, and looks at what is left after upkeep.
func testUpkeep(t *testing.T, client catalog.Client) {
	now := time.Now()
	c := NewCommitter(t, client, "default.upkeep", catalog.Options{
		Now: func() time.Time { return now }, Upkeep: catalog.Upkeep{Manifests: 10, Snapshots: 5, Age: time.Minute},
	})
	create(t, c)
	var all []catalog.Group
	commit := func(n int) {
		for range n {
			base := int64(len(all))
			all = append(all, Group("a/0", base, base+1))
			must(t, c.Commit(t.Context(), all[base]))
		}
	}
	snapshots := func() []table.Snapshot {
		loaded, err := c.Load(t.Context())
		must(t, err)
		return loaded.Metadata().Snapshots()
	}
	commit(12)
	must(t, c.Upkeep(t.Context()))
	if n := len(snapshots()); n != 1+12+1 {
		t.Errorf("%d snapshots after merging, want the start, 12 groups and the merge: all are young", n)
	}
	loaded, err := c.Load(t.Context())
	must(t, err)
	fs, err := loaded.FS(t.Context())
	must(t, err)
	manifests, err := loaded.CurrentSnapshot().Manifests(fs)
	must(t, err)
	if len(manifests) != 1 {
		t.Errorf("%d manifests after merging, want 1", len(manifests))
	}
	now = now.Add(2 * time.Minute)
	must(t, c.Upkeep(t.Context()))
	if n := len(snapshots()); n != 5 {
		t.Errorf("%d snapshots are left, want 5", n)
	}
	commit(2)
	wantFiles(t, c, all...)
	wantPosition(t, c, map[string]int64{"a/0": 14})
	again := NewCommitter(t, client, "default.upkeep", catalog.Options{Upkeep: catalog.Upkeep{Snapshots: 1, Age: 1}, Now: func() time.Time { return now }})
	must(t, again.Upkeep(t.Context()))
	wantPosition(t, again, map[string]int64{"a/0": 14})
	moved(t, again.Commit(t.Context(), all[13]))
}

// testFaults lets every operation of a run of commits fail in every way; afterwards each range is there once.
func testFaults(t *testing.T, open func(t *testing.T) catalog.Client) {
	const groups = 2
	run := func(t *testing.T, client catalog.Client, inject func(Op) Fault) *Faulty {
		faulty := NewFaulty(client, inject)
		inner := NewCommitter(t, client, "default.faults", catalog.Options{})
		create(t, inner)
		c := NewCommitter(t, faulty, "default.faults", catalog.Options{})
		for tries := 0; ; tries++ {
			if tries > 2*groups {
				t.Fatal("the run does not end")
			}
			at, _, err := c.Position(t.Context())
			if err != nil {
				continue
			}
			if at["a/0"] == groups*10 {
				break
			}
			// One fault is never the end of a commit.
			must(t, c.Commit(t.Context(), Group("a/0", at["a/0"], at["a/0"]+10)))
		}
		faulty.Settle()
		var want []catalog.Group
		for i := range int64(groups) {
			want = append(want, Group("a/0", i*10, i*10+10))
		}
		wantFiles(t, inner, want...)
		wantPosition(t, inner, map[string]int64{"a/0": groups * 10})
		return faulty
	}
	everyFault(t, open, run)
}

// everyFault repeats a run with each fault at each of the operations that it has without one.
func everyFault(t *testing.T, open func(*testing.T) catalog.Client, run func(*testing.T, catalog.Client, func(Op) Fault) *Faulty) {
	for n, op := range run(t, open(t), nil).Trace() {
		name, _, _ := strings.Cut(op, " assert")
		for _, fault := range Faults {
			t.Run(fmt.Sprintf("%02d %s %s", n, name, fault), func(t *testing.T) {
				run(t, open(t), func(op Op) Fault {
					if op.N == n {
						return fault
					}
					return None
				})
			})
		}
	}
}
