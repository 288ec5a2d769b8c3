package iceberg_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	iceberglib "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/processors/iceberg/deadletter"
	"github.com/firn-io/firn/processors/iceberg/verify"
	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// What follows are whole jobs, from a journal to a table, in the situations in which others have lost or doubled records. Each test is named after
// the situation.

// whole is a job and its world.
type whole struct {
	t       *testing.T
	store   blob.Store
	journal *tailtest.Journal
	events  kfs.Topic
	lake    *catalogtest.Fake
	decode  decode.Config
	inject  func(catalogtest.Op) catalogtest.Fault // what the catalog does to the job

	assignment pipeline.Assignment // nil: all partitions
	table      string              // "" is events
}

func newWhole(t *testing.T) *whole {
	w := &whole{t: t, store: blob.NewMemory(nil), events: tailtest.Topic("events", 1, 0, 0), lake: catalogtest.NewFake()}
	w.journal = &tailtest.Journal{Store: w.store}
	w.journal.Append(t, []kfs.Entry{kfs.Cluster{ID: kfs.TopicID{9}, Lineage: kfs.TopicID{8}, Journals: 1}, w.events})
	return w
}

// produce appends records {"n": from}, {"n": from+1}, … to a partition, as one batch.
func (w *whole) produce(partition int32, codec record.Codec, from, n int) {
	r := tailtest.Records{Topic: w.events, Partition: partition, Codec: codec}
	for i := range n {
		r.Values = append(r.Values, fmt.Appendf(nil, `{"n": %d}`, from+i))
	}
	w.journal.Append(w.t, nil, r)
}

// run runs the job until what is there is committed.
func (w *whole) run() error {
	w.t.Helper()
	return w.runIn(w.t.Context())
}

func (w *whole) runIn(ctx context.Context) error {
	w.t.Helper()
	client := catalogtest.NewFaulty(w.lake, w.inject)
	factory := iceberg.New(iceberg.Config{Catalog: catalog.New(client), Options: catalog.Options{Job: "job", Writer: "test", Store: w.store}})
	open := func(ctx context.Context, name string, lineage kfs.TopicID) (processor.Sink, error) {
		return factory.Open(ctx, processors.Table{Name: name, Lineage: lineage.String(), DeadLetters: name == "default.job_dead_letter", Properties: map[string]string{
			"write.parquet.compression-codec": "snappy", // zstd's encoders are shared beyond a test's bubble
		}})
	}
	j, err := pipeline.New(pipeline.Config{
		Name: "job", Store: w.store, Topics: []string{"events"}, Decode: w.decode, Until: pipeline.Until{Latest: true}, MemoryBytes: 64 << 20,
		Logger:     slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		Assignment: w.assignment,
		Route:      func(topic string) string { return "default." + cmp.Or(w.table, topic) },
		OpenSink:   open,
		OpenDeadLetters: func(ctx context.Context, lineage kfs.TopicID) (processor.Sink, error) {
			return open(ctx, "default.job_dead_letter", lineage)
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	patient, cancel := context.WithTimeout(ctx, runPatience)
	defer cancel()
	err = j.Run(patient)
	client.Settle()
	if ctx.Err() == nil && patient.Err() != nil {
		return fmt.Errorf("a run of what is there has not ended after %v: %w", runPatience, cmp.Or(err, patient.Err()))
	}
	return err
}

// runPatience is far longer than a run takes, even without a catalog for a while. In a bubble it is over at once when a run begins anew and anew.
const runPatience = time.Hour

// rows is each row of a table by partition/offset: its n, or all of its own columns as JSON.
func (w *whole) rows() map[string]string {
	w.t.Helper()
	t, err := w.lake.LoadTable(w.t.Context(), table.Identifier{"default", cmp.Or(w.table, "events")})
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[string]string{}
	for batch, err := range iceberg.Rows(w.t.Context(), t, iceberglib.AlwaysTrue{}, "*") {
		if err != nil {
			w.t.Fatal(err)
		}
		text, err := batch.MarshalJSON()
		if err != nil {
			w.t.Fatal(err)
		}
		var rows []map[string]json.RawMessage
		if err := json.Unmarshal(text, &rows); err != nil {
			w.t.Fatal(err)
		}
		for _, row := range rows {
			key := fmt.Sprintf("%s/%s", row["kafka_partition"], row["kafka_offset"])
			if _, twice := all[key]; twice {
				w.t.Errorf("offset %s is there twice", key)
			}
			maps.DeleteFunc(row, func(k string, _ json.RawMessage) bool { return strings.HasPrefix(k, "kafka_") })
			one, err := json.Marshal(row)
			if err != nil {
				w.t.Fatal(err)
			}
			all[key] = string(one)
		}
	}
	return all
}

// want holds the rows against counts by partition, and n against the offset.
func (w *whole) want(counts ...int) {
	w.t.Helper()
	got := w.rows()
	for partition, n := range counts {
		var missing []kfs.Span
		for offset := range int64(n) {
			key := fmt.Sprintf("%d/%d", partition, offset)
			row, ok := got[key]
			delete(got, key)
			switch last := len(missing) - 1; {
			case ok && row != fmt.Sprintf(`{"n":%d}`, offset):
				w.t.Errorf("offset %s is %s, want n to be %d", key, row, offset)
			case ok:
			case last >= 0 && missing[last].Next == offset:
				missing[last].Next++
			default:
				missing = append(missing, kfs.Span{Base: offset, Next: offset + 1})
			}
		}
		if len(missing) > 0 {
			w.t.Errorf("partition %d: of offsets [0, %d) the table has no rows of %v", partition, n, missing)
		}
	}
	if len(got) > 0 {
		w.t.Errorf("the table has rows that it must not have: %v", got)
	}
}

// declare gives the job a schema, as JSON.
func (w *whole) declare(schemaOf string) {
	w.t.Helper()
	var fields any
	w.must(json.Unmarshal([]byte(schemaOf), &fields))
	parsed, err := schema.ParseFields(fields)
	w.must(err)
	w.decode = decode.Config{Declared: &parsed}
}

func (w *whole) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// foreign lets another engine change the table.
func (w *whole) foreign(change func(tx *table.Transaction) error) {
	w.t.Helper()
	t, err := w.lake.LoadTable(w.t.Context(), table.Identifier{"default", "events"})
	w.must(err)
	tx := t.NewTransaction()
	w.must(change(tx))
	commit, err := tx.TableCommit()
	w.must(err)
	_, _, err = w.lake.CommitTable(w.t.Context(), commit.Identifier, commit.Requirements, commit.Updates)
	w.must(err)
}

// bubble runs a test where time passes at once.
func bubble(t *testing.T, test func(t *testing.T, w *whole)) {
	synctest.Test(t, func(t *testing.T) { test(t, newWhole(t)) })
}

// A sink that fails once and then works had made another processor go on behind the segment that had failed.
func TestRegressionSinkFailsThenWorks(t *testing.T) {
	for _, op := range []string{"create file", "close file", "commit", "load"} {
		for _, fault := range catalogtest.Faults {
			t.Run(op+" "+string(fault), func(t *testing.T) {
				bubble(t, func(t *testing.T, w *whole) {
					for i := range 5 {
						w.produce(0, 0, 10*i, 10)
					}
					failed := false
					w.inject = func(o catalogtest.Op) catalogtest.Fault {
						if o.Name == op && !failed {
							failed = true
							return fault
						}
						return catalogtest.None
					}
					w.must(w.run())
					if !failed {
						t.Errorf("there was no %s", op)
					}
					w.want(50)
				})
			})
		}
	}
}

// Six seconds without a catalog had cost another processor 4 % of its records. Here it goes away when the job is about to load a table, to write
// a file of it, or to commit, for the first time or when the table has rows already.
func TestRegressionCatalogAwayForSixSeconds(t *testing.T) {
	for _, op := range []string{"load", "create file", "close file", "commit"} {
		for _, rows := range []int{0, 500} {
			t.Run(fmt.Sprintf("%s with %d rows", op, rows), func(t *testing.T) {
				bubble(t, func(t *testing.T, w *whole) {
					produce := func(from, to int) {
						for at := from; at < to; at += 50 {
							w.produce(0, 0, at, 50)
							w.produce(1, 0, at, 50)
						}
					}
					if rows > 0 {
						produce(0, rows)
						w.must(w.run())
					}
					produce(rows, rows+500)
					var back time.Time
					w.inject = func(o catalogtest.Op) catalogtest.Fault {
						if back.IsZero() && o.Name == op {
							back = time.Now().Add(6 * time.Second)
						}
						if time.Now().Before(back) {
							return catalogtest.FailBefore
						}
						return catalogtest.None
					}
					w.must(w.run())
					if back.IsZero() {
						t.Error("the catalog was never away")
					}
					w.want(rows+500, rows+500)
				})
			})
		}
	}
}

// A compressed batch between plain ones, each codec in turn.
func TestRegressionCompressedBetweenPlain(t *testing.T) {
	bubble(t, func(t *testing.T, w *whole) {
		at := 0
		for _, codec := range []record.Codec{0, record.Gzip, 0, record.Snappy, 0, record.LZ4, record.Zstd, 0} {
			w.produce(0, codec, at, 7)
			at += 7
		}
		w.must(w.run())
		w.want(at)
	})
}

// A damaged object among good ones stops its journal there, a damaged batch its partition; what came before is committed, and nothing is skipped.
func TestRegressionDamageAmongGood(t *testing.T) {
	bubble(t, func(t *testing.T, w *whole) {
		w.produce(0, 0, 0, 10)
		w.produce(1, 0, 0, 10)
		m, object := w.journal.Seal(t, nil, tailtest.Values(w.events, 0, `{"n": 10}`), tailtest.Values(w.events, 1, `{"n": 10}`))
		digit := m.Segments[0].Position + int64(bytes.LastIndexByte(object[m.Segments[0].Position:][:m.Segments[0].Length], '0'))
		object[digit] = '1' // which only checksums tell
		w.journal.Put(t, m, object)
		w.produce(0, 0, 11, 10)
		w.produce(1, 0, 11, 10)
		err := w.run()
		if err == nil || !strings.Contains(err.Error(), kfs.ObjectKey(0, m.Sequence)) {
			t.Errorf("the run says %v, want an error that names %s", err, kfs.ObjectKey(0, m.Sequence))
		}
		w.want(10, 21)
	})
}

// A commit that has landed and is answered with an error had been sent again by another processor, with all of its rows.
func TestRegressionCommitAnswered500AfterItLanded(t *testing.T) {
	for _, fault := range []catalogtest.Fault{catalogtest.FailAfter, catalogtest.LoseReply, catalogtest.Late} {
		t.Run(string(fault), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *whole) {
				for i := range 10 {
					w.produce(0, 0, 10*i, 10)
				}
				commits := 0
				w.inject = func(o catalogtest.Op) catalogtest.Fault {
					if o.Name == "commit" {
						if commits++; commits%2 == 0 {
							return fault
						}
					}
					return catalogtest.None
				}
				w.must(w.run())
				w.want(100)
			})
		})
	}
}

// Another engine expires all snapshots but the last: the job's, or one of its own, so that no receipt is left.
func TestRegressionExpiryToOneSnapshot(t *testing.T) {
	for name, last := range map[string]func(tx *table.Transaction) error{
		"of the job": nil,
		"of another": func(tx *table.Transaction) error {
			_, err := tx.RewriteManifests(t.Context())
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *whole) {
				for i := range 4 {
					w.produce(0, 0, 10*i, 10)
					w.must(w.run())
					if last != nil {
						w.foreign(last)
					}
					time.Sleep(time.Second) // what is as young as the expiry stays
					w.foreign(func(tx *table.Transaction) error {
						return tx.ExpireSnapshots(table.WithRetainLast(1), table.WithOlderThan(0))
					})
				}
				left, err := w.lake.LoadTable(t.Context(), table.Identifier{"default", "events"})
				w.must(err)
				if n := len(left.Metadata().Snapshots()); n != 1 {
					t.Errorf("%d snapshots are left", n)
				}
				if of := left.CurrentSnapshot().Summary.Properties["firn.job"]; (of == "job") != (last == nil) {
					t.Errorf("the snapshot that is left is of job %q", of)
				}
				w.must(w.run())
				w.want(40)
			})
		})
	}
}

// Another engine rolls the table back: the job halts and says so, and adds nothing on top.
func TestRegressionRollback(t *testing.T) {
	bubble(t, func(t *testing.T, w *whole) {
		w.produce(0, 0, 0, 10)
		w.must(w.run())
		loaded, err := w.lake.LoadTable(t.Context(), table.Identifier{"default", "events"})
		w.must(err)
		before := loaded.CurrentSnapshot().SnapshotID
		w.produce(0, 0, 10, 10)
		w.must(w.run())
		_, _, err = w.lake.CommitTable(t.Context(), table.Identifier{"default", "events"}, nil,
			[]table.Update{table.NewSetSnapshotRefUpdate(table.MainBranch, before, table.BranchRef, 0, 0, 0)})
		w.must(err)
		w.want(10)
		w.produce(0, 0, 20, 10)
		if err := w.run(); err == nil || !strings.Contains(err.Error(), "stands at offset 10 of events/0 and has stood at 20 before") {
			t.Errorf("after a rollback the run says %v", err)
		}
		w.want(10)
	})
}

// Another engine rolls the dead-letter table alone back while no process runs: the next one does not go on without the letters. Rolled forward,
// it does; and if a person gives them up.
func TestRegressionLettersRolledBack(t *testing.T) {
	for name, decide := range map[string]table.Update{
		"forward":  nil,
		"given up": table.NewRemovePropertiesUpdate([]string{"firn.progress.job"}),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *whole) {
				ident := table.Identifier{"default", "job_dead_letter"}
				head := func() int64 {
					loaded, err := w.lake.LoadTable(t.Context(), ident)
					w.must(err)
					return loaded.CurrentSnapshot().SnapshotID
				}
				change := func(u table.Update) {
					_, _, err := w.lake.CommitTable(t.Context(), ident, nil, []table.Update{u})
					w.must(err)
				}
				move := func(to int64) table.Update {
					return table.NewSetSnapshotRefUpdate(table.MainBranch, to, table.BranchRef, 0, 0, 0)
				}
				w.journal.Append(t, nil, tailtest.Values(w.events, 0, `{"n": 0}`, `-`))
				w.must(w.run())
				before := head()
				w.journal.Append(t, nil, tailtest.Values(w.events, 0, `-`, `{"n": 3}`))
				w.must(w.run())
				after := head()
				change(move(before))
				w.journal.Append(t, nil, tailtest.Values(w.events, 0, `-`))
				if err := w.run(); err == nil || !strings.Contains(err.Error(), "the letters of events/0 from offset 2 to 3 are gone") {
					t.Errorf("after a rollback of the dead letters the run says %v", err)
				}
				want := map[string]int{"0/1": 1, "0/4": 1}
				if decide == nil {
					decide = move(after)
					want["0/2"] = 1
				}
				change(decide)
				w.must(w.run())
				if got := w.letters(); !maps.Equal(got, want) {
					t.Errorf("dead letters %v, want %v", got, want)
				}
			})
		})
	}
}

// Two copies of a job have different job files. Another engine rolls the dead-letter table back when the one has committed its dead letters and not
// yet its rows; the other commits its own letters of the same span, in their place, and dies. Nothing but the rows tells that letters are
// gone. The job halts until a person goes without them, or rolls the rows back too.
func TestRegressionLettersReplaced(t *testing.T) {
	for name, back := range map[string]bool{"given up": false, "rows rolled back": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *whole) {
				rows, letters := table.Identifier{"default", "events"}, table.Identifier{"default", "job_dead_letter"}
				head := func(ident table.Identifier) int64 {
					loaded, err := w.lake.LoadTable(t.Context(), ident)
					w.must(err)
					return loaded.CurrentSnapshot().SnapshotID
				}
				change := func(ident table.Identifier, u table.Update) {
					_, _, err := w.lake.CommitTable(t.Context(), ident, nil, []table.Update{u})
					w.must(err)
				}
				move := func(to int64) table.Update {
					return table.NewSetSnapshotRefUpdate(table.MainBranch, to, table.BranchRef, 0, 0, 0)
				}
				// at calls then from the last of some commits on, which is the one of the rows.
				at := func(commits int, then func() catalogtest.Fault) func(catalogtest.Op) catalogtest.Fault {
					return func(op catalogtest.Op) catalogtest.Fault {
						if op.Name == "commit" {
							commits--
						}
						if commits > 0 {
							return catalogtest.None
						}
						return then()
					}
				}
				one, other := `[{"name": "n", "type": "long"}]`, `[{"name": "m", "type": "long"}]`
				w.declare(one)
				w.journal.Append(t, nil, tailtest.Values(w.events, 0, `{"n": 0}`, `-`))
				w.must(w.run())
				rowsBefore, lettersBefore := head(rows), head(letters)
				w.journal.Append(t, nil, tailtest.Values(w.events, 0, `{"n": 2}`, `{"n": "x"}`, `-`))
				w.inject = at(2, sync.OnceValue(func() catalogtest.Fault {
					change(letters, move(lettersBefore))
					ctx, kill := context.WithCancel(t.Context())
					defer kill()
					w.declare(other)
					w.inject = at(3, func() catalogtest.Fault { kill(); return catalogtest.FailBefore }) // the first is that of its column
					if err := w.runIn(ctx); ctx.Err() == nil {
						t.Errorf("the other copy has come to its end: %v", err)
					}
					return catalogtest.None
				}))
				w.must(w.run())
				w.inject = nil
				w.declare(one)
				if got, want := w.letters(), (map[string]int{"0/1": 1, "0/4": 1}); !maps.Equal(got, want) {
					t.Fatalf("dead letters %v, want %v: this is not the situation that is meant", got, want)
				}
				if err := w.run(); err == nil || !strings.Contains(err.Error(), "the letters of events/0 from offset 2 to 5 are gone") {
					t.Errorf("beside letters that are gone the run says %v", err)
				}
				want := map[string]int{"0/1": 1, "0/4": 1, "0/5": 1}
				if back {
					change(rows, move(rowsBefore))
					w.must(w.store.Delete(t.Context(), kfs.JobKey("job")))
					want["0/3"] = 1
				} else {
					change(letters, table.NewRemovePropertiesUpdate([]string{"firn.progress.job"}))
				}
				w.journal.Append(t, nil, tailtest.Values(w.events, 0, `-`))
				for range 2 { // what was decided once stays decided
					w.must(w.run())
					if got := w.letters(); !maps.Equal(got, want) {
						t.Errorf("dead letters %v, want %v", got, want)
					}
					if got := slices.Sorted(maps.Keys(w.rows())); !slices.Equal(got, []string{"0/0", "0/2"}) {
						t.Errorf("rows %v", got)
					}
				}
			})
		})
	}
}

// A topic that was deleted and created again begins at offset 0 with other records.
func TestRegressionTopicRecreated(t *testing.T) {
	bubble(t, func(t *testing.T, w *whole) {
		w.produce(0, 0, 0, 10)
		w.must(w.run())
		gone := w.events
		gone.State = kfs.TopicDeleting
		w.events = tailtest.Topic("events", 2, 0, 0)
		w.journal.Append(t, []kfs.Entry{gone, kfs.Ended{Topic: gone.ID}, w.events})
		w.produce(0, 0, 0, 30)
		if err := w.run(); err == nil || !strings.Contains(err.Error(), "created again") {
			t.Errorf("after the topic was created again the run says %v", err)
		}
		w.want(10)
	})
}

// What that halt says a person may do helps: the table is dropped, the job forgets it, and only the records of the new topic come, though those of
// the old one lie in the same objects still.
func TestRegressionTopicRecreatedAndFilledAnew(t *testing.T) {
	bubble(t, func(t *testing.T, w *whole) {
		gone := w.events
		w.events = tailtest.Topic("events", 2, 0, 0)
		w.journal.Append(t, []kfs.Entry{w.events}, tailtest.Values(gone, 0, `{"n": 100}`, `{"n": 101}`), tailtest.Values(w.events, 0, `{"n": 0}`))
		if err := w.run(); err == nil || !strings.Contains(err.Error(), "created again") {
			t.Errorf("after the topic was created again the run says %v", err)
		}
		gone.State = kfs.TopicDeleted
		w.journal.Append(t, []kfs.Entry{gone, kfs.Ended{Topic: gone.ID}})
		w.journal.Checkpoint(t)
		w.produce(0, 0, 1, 9)
		if err := w.lake.DropTable(t.Context(), table.Identifier{"default", "events"}); err != nil {
			t.Fatal(err)
		}
		w.must(w.store.Delete(t.Context(), kfs.JobKey("job")))
		w.must(w.run())
		w.want(10)
	})
}

// The dead letters of a topic that was deleted stay, those of the one that was created again are told apart from them, and neither is taken for
// the other: not in a replay, nor by verify, which knows of both tables that each of their records is a row or a dead letter.
func TestRegressionLettersOfTopicRecreated(t *testing.T) {
	bubble(t, func(t *testing.T, w *whole) {
		w.journal.Append(t, nil, tailtest.Values(w.events, 0, `{"n": 0}`, `-`, `{"n": 2}`, `-`))
		w.must(w.run())
		gone := w.events
		gone.State = kfs.TopicDeleting
		w.events = tailtest.Topic("events", 2, 0, 0)
		w.journal.Append(t, []kfs.Entry{gone, kfs.Ended{Topic: gone.ID}, w.events}, tailtest.Values(w.events, 0, `-`, `{"n": 1}`, `{"n": 2}`, `{"n": 3}`, `-`))
		if err := w.run(); err == nil || !strings.Contains(err.Error(), "created again") {
			t.Errorf("after the topic was created again the run says %v", err)
		}
		w.table = "events_2"
		w.must(w.run())
		if got, want := w.rows(), map[string]string{"0/1": `{"n":1}`, "0/2": `{"n":2}`, "0/3": `{"n":3}`}; !maps.Equal(got, want) {
			t.Errorf("rows %v, want %v", got, want)
		}
		letters, err := w.lake.LoadTable(t.Context(), table.Identifier{"default", "job_dead_letter"})
		w.must(err)
		got := map[string][]int64{}
		for l, err := range deadletter.Read(t.Context(), letters, deadletter.Selection{}) {
			w.must(err)
			got[l.TopicID.String()] = append(got[l.TopicID.String()], l.Offset)
		}
		for _, offsets := range got {
			slices.Sort(offsets)
		}
		if want := map[string][]int64{gone.ID.String(): {1, 3}, w.events.ID.String(): {0, 4}}; !maps.EqualFunc(got, want, slices.Equal) {
			t.Errorf("dead letters %v, want %v", got, want)
		}
		for name, dead := range map[string]string{"default.events": "default.job_dead_letter", "default.events_2": "default.job_dead_letter", "default.job_dead_letter": ""} {
			report, err := verify.Table(t.Context(), verify.Config{Catalog: catalog.New(w.lake), Store: w.store, Job: "job", Table: name,
				DeadLetters: dead, Letters: dead == "", Whole: dead != "", Deep: true})
			w.must(err)
			if len(report.Findings) > 0 || len(report.Notes) > 0 {
				t.Errorf("verify of %s: %+v, %q", name, report.Findings, report.Notes)
			}
		}
	})
}

// Times and integers that a detour over float64 would have changed.
func TestRegressionExactValues(t *testing.T) {
	bubble(t, func(t *testing.T, w *whole) {
		w.declare(`[{"name": "at", "type": "timestamptz"}, {"name": "id", "type": "long"}]`)
		values := map[string]string{
			`{"id": 9007199254740993, "at": "2024-02-29T23:59:59.999999Z"}`:          `{"at":"2024-02-29T23:59:59.999999Z","id":9007199254740993}`,
			`{"id": -9223372036854775808, "at": "1969-12-31T16:00:00.000001-08:00"}`: `{"at":"1970-01-01T00:00:00.000001Z","id":-9223372036854775808}`,
			`{"id": 9223372036854775807, "at": "9999-12-31T23:59:59.123457+14:00"}`:  `{"at":"9999-12-31T09:59:59.123457Z","id":9223372036854775807}`,
		}
		want := map[string]string{}
		for i, in := range slices.Sorted(maps.Keys(values)) {
			w.journal.Append(t, nil, tailtest.Values(w.events, 0, in))
			want[fmt.Sprintf("0/%d", i)] = values[in]
		}
		w.must(w.run())
		if got := w.rows(); !maps.Equal(got, want) {
			t.Errorf("rows %v, want %v", got, want)
		}
	})
}

// A record without a column that is required is a dead letter, not a row with a value that nobody has sent.
func TestRegressionRequiredColumnIsNotInvented(t *testing.T) {
	bubble(t, func(t *testing.T, w *whole) {
		w.declare(`[{"name": "id", "type": "long", "required": true}]`)
		w.journal.Append(t, nil, tailtest.Values(w.events, 0, `{"id": 1}`, `{}`, `{"id": null}`, `{"id": 4}`))
		w.must(w.run())
		if got, want := w.rows(), map[string]string{"0/0": `{"id":1}`, "0/3": `{"id":4}`}; !maps.Equal(got, want) {
			t.Errorf("rows %v, want %v", got, want)
		}
		letters, err := w.lake.LoadTable(t.Context(), table.Identifier{"default", "job_dead_letter"})
		w.must(err)
		n := 0
		for batch, err := range iceberg.Rows(t.Context(), letters, iceberglib.AlwaysTrue{}, "kafka_offset") {
			w.must(err)
			n += int(batch.NumRows())
		}
		if n != 2 {
			t.Errorf("%d dead letters, want 2", n)
		}
	})
}
