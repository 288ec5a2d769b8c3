package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
	"github.com/firn-io/firn/kfs/inspect"
	"github.com/firn-io/firn/kfs/record"
)

// producing is a client that sends numbered values to two partitions, each again and again until it is acknowledged.
type producing struct {
	t     *testing.T
	sent  [2][]string // acknowledged, in order
	bases [2][]int64  // of each value
}

const clientRounds = 6

// work sends what is left, until all is acknowledged or the journal is not ours any more.
func (c *producing) work(j *Journal) error {
	if _, ok := j.State().Topic("events"); !ok {
		o := owner{Journal: j, t: c.t}
		if err := o.tryCreate(1, "events", 2); err != nil {
			return err
		}
	}
	for len(c.sent[0]) < clientRounds || len(c.sent[1]) < clientRounds {
		var batches []Batch
		var of []int
		for p := range c.sent {
			if n := len(c.sent[p]); n < clientRounds {
				batches = append(batches, batch(c.t, 1, "events", int32(p), &record.Producer{ID: int64(p + 1), Sequence: int32(n)}, int64(n), fmt.Sprintf("p%d #%d", p, n)))
				of = append(of, p)
			}
		}
		results, err := j.Append(batches).Wait(c.t.Context())
		if err != nil {
			return err
		}
		for i, r := range results {
			p := of[i]
			switch {
			case r.Err == nil:
				c.sent[p] = append(c.sent[p], fmt.Sprintf("p%d #%d", p, len(c.sent[p])))
				c.bases[p] = append(c.bases[p], r.Base)
			case errors.Is(r.Err, ErrNotOwner):
				return r.Err
			case !errors.Is(r.Err, ErrUnavailable):
				c.t.Errorf("append: %v", r.Err)
				return r.Err
			}
		}
		if err := c.commit(j); err != nil && !errors.Is(err, ErrUnavailable) {
			return err
		}
	}
	return c.commit(j)
}

// commit commits how far the client has come.
func (c *producing) commit(j *Journal) error {
	offsets := kfs.GroupOffsets{Offsets: []kfs.GroupOffset{{Group: "g", Topic: "events", Offset: int64(len(c.sent[0])), LeaderEpoch: -1}}}
	results, err := j.AppendEntries([]kfs.Entry{offsets}).Wait(c.t.Context())
	if err != nil {
		return err
	}
	return results[0].Err
}

func (o *owner) tryCreate(n byte, name string, partitions int32) error {
	plan, err := o.State().CreateTopic(newTopic(n, name, partitions))
	if err != nil {
		return err
	}
	results, err := o.AppendEntries([]kfs.Entry{plan}).Wait(o.t.Context())
	if err != nil {
		return err
	}
	return results[0].Err
}

// audit opens the journal from the store alone and compares it with what was acknowledged: each value once, at its offset, no gap.
func (c *producing) audit(store blob.Store, seed uint64) {
	c.t.Helper()
	o := start(c.t, small(store, seed))
	if err := c.work(o.Journal); err != nil {
		c.t.Errorf("the last owner: %v", err)
	}
	for p := range c.sent {
		got := values(c.t, o.Journal, id(1, int32(p)))
		if !slices.Equal(got, c.sent[p]) {
			c.t.Errorf("partition %d holds %q\nacknowledged was %q", p, got, c.sent[p])
		}
		for i, base := range c.bases[p] {
			if base != int64(i) {
				c.t.Errorf("partition %d: value %d was acknowledged at offset %d", p, i, base)
			}
		}
	}
	if g := o.GroupOffsets("g"); len(g) != 1 || g[0].Offset != clientRounds {
		c.t.Errorf("group offsets %+v", g)
	}
	if err := o.stop(); err != nil {
		c.t.Errorf("the last owner ends with %v", err)
	}
	verifyStore(c.t, store)
}

// verifyStore has the store looked at by a reader that shares no code with the journal.
func verifyStore(t *testing.T, store blob.Store) {
	t.Helper()
	v := inspect.Verifier{Store: store, Report: func(f inspect.Finding) { t.Errorf("verify: %+v", f) }}
	if _, err := v.Namespace(t.Context()); err != nil {
		t.Errorf("verify: %v", err)
	}
}

// small is a config with which little work makes many objects and checkpoints.
func small(store blob.Store, seed uint64) Config {
	cfg := config(store, seed)
	cfg.CheckpointEvery = 3
	cfg.SettleAge = 20 * time.Second
	return cfg
}

// life runs an owner on a store until the client is done or the owner has lost the journal. It reports what ended it.
func (c *producing) life(store blob.Store, seed uint64) error {
	return c.longLife(store, seed, time.Minute) // what is there is settled
}

// longLife goes on for a while when the client is done.
func (c *producing) longLife(store blob.Store, seed uint64, idle time.Duration) error {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Hour+idle)
	defer cancel()
	j, err := Open(ctx, small(store, seed))
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	if err = c.work(j); err == nil {
		time.Sleep(idle)
	}
	cancel()
	return errors.Join(err, <-ended)
}

// TestFaultsEverywhere walks every operation of a run and has it fail in every way.
func TestFaultsEverywhere(t *testing.T) {
	total := 0
	synctest.Test(t, func(t *testing.T) {
		store := blobtest.NewFault(blob.NewMemory(nil), blobtest.At(-1, blobtest.Pass))
		c := producing{t: t}
		if err := c.life(store, 1); err != nil {
			t.Fatal(err)
		}
		total = store.Ops()
	})
	if total < 20 {
		t.Fatalf("a run of %d operations is too short to be worth walking", total)
	}
	for name, action := range map[string]blobtest.Action{
		"fail before": blobtest.FailBefore, "fail after": blobtest.FailAfter, "lose before": blobtest.LoseBefore, "lose after": blobtest.LoseAfter,
		"fail late": blobtest.FailLate, "short": blobtest.Short, "corrupt": blobtest.Corrupt,
	} {
		t.Run(name, func(t *testing.T) {
			for n := range total {
				synctest.Test(t, func(t *testing.T) {
					truth := blob.NewMemory(nil)
					store := blobtest.NewFault(truth, blobtest.At(n, action))
					c := producing{t: t}
					err := c.life(store, 1)
					if corrupt := action == blobtest.Corrupt && errors.Is(err, kfs.ErrCorrupt); err != nil && !corrupt {
						t.Errorf("operation %d: the owner ends with %v", n, err)
					}
					store.Land()
					c.audit(truth, 2)
					store.Land()
					c.audit(truth, 3)
					if t.Failed() {
						t.Fatalf("operation %d of %d, %s", n, total, name)
					}
				})
			}
		})
	}
}

// TestFaultsWhileDeleting walks every operation of the half day after which what was settled is deleted from the journal.
func TestFaultsWhileDeleting(t *testing.T) {
	const idle = 12 * time.Hour
	first, total := 0, 0
	for _, idle := range []time.Duration{time.Minute, idle} {
		synctest.Test(t, func(t *testing.T) {
			truth := blob.NewMemory(nil)
			store := blobtest.NewFault(truth, blobtest.At(-1, blobtest.Pass))
			c := producing{t: t}
			if err := c.longLife(store, 1, idle); err != nil {
				t.Fatal(err)
			}
			first, total = total, store.Ops()
			if idle > time.Hour && slices.Contains(objectKeys(t, truth), kfs.ObjectKey(0, 5)) {
				t.Error("nothing was deleted")
			}
		})
	}
	for name, action := range map[string]blobtest.Action{
		"fail before": blobtest.FailBefore, "fail after": blobtest.FailAfter, "lose after": blobtest.LoseAfter, "fail late": blobtest.FailLate,
		"short": blobtest.Short, "corrupt": blobtest.Corrupt,
	} {
		t.Run(name, func(t *testing.T) {
			for n := first; n < total; n++ {
				synctest.Test(t, func(t *testing.T) {
					truth := blob.NewMemory(nil)
					store := blobtest.NewFault(truth, blobtest.At(n, action))
					c := producing{t: t}
					if err := c.longLife(store, 1, idle); err != nil && !errors.Is(err, kfs.ErrCorrupt) {
						t.Errorf("the owner ends with %v", err)
					}
					c.audit(truth, 2)
					store.Land()
					c.audit(truth, 3)
					if t.Failed() {
						t.Fatalf("operation %d of %d, %s", n, total, name)
					}
				})
			}
		})
	}
}

// TestCrashEverywhere crashes the owner at every operation: before it reaches the store, after, and so that it lands only when another
// owner is at work.
func TestCrashEverywhere(t *testing.T) {
	total := 0
	synctest.Test(t, func(t *testing.T) {
		store := blobtest.NewFault(blob.NewMemory(nil), blobtest.At(-1, blobtest.Pass))
		c := producing{t: t}
		if err := c.life(store, 1); err != nil {
			t.Fatal(err)
		}
		total = store.Ops()
	})
	for name, action := range map[string]blobtest.Action{"before": blobtest.FailBefore, "after": blobtest.FailAfter, "late": blobtest.FailLate} {
		t.Run(name, func(t *testing.T) {
			for n := range total {
				synctest.Test(t, func(t *testing.T) {
					truth := blob.NewMemory(nil)
					ctx, crash := context.WithCancel(t.Context())
					store := blobtest.NewFault(truth, func(op blobtest.Op) blobtest.Action {
						switch {
						case op.N < n:
							return blobtest.Pass
						case op.N == n:
							crash()
							return action
						}
						return blobtest.FailBefore
					})
					c := producing{t: t}
					if j, err := Open(ctx, small(store, 1)); err == nil {
						ended := make(chan error, 1)
						go func() { ended <- j.Run(ctx) }()
						_ = c.work(j)
						crash()
						<-ended
					}
					next := producing{t: t, sent: c.sent, bases: c.bases}
					o := start(t, small(truth, 2))
					store.Land() // the dead owner's last request arrives when the next has taken over
					if err := next.work(o.Journal); err != nil {
						t.Errorf("the next owner: %v", err)
					}
					_ = o.stop()
					next.audit(truth, 3)
					if t.Failed() {
						t.Fatalf("operation %d of %d, %s", n, total, name)
					}
				})
			}
		})
	}
}

// TestOutage takes the store away for longer than appends wait: they fail, and are written once when it is back.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		truth := blob.NewMemory(nil)
		var until time.Time
		store := blobtest.NewFault(truth, func(blobtest.Op) blobtest.Action {
			if time.Now().Before(until) {
				return blobtest.FailBefore
			}
			return blobtest.Pass
		})
		o := start(t, config(store, 1))
		o.create(1, "events", 2)
		until = time.Now().Add(time.Minute)
		send := func(sequence int32) Result {
			results, err := o.Append([]Batch{batch(t, 1, "events", 0, &record.Producer{ID: 9, Sequence: sequence}, 0, fmt.Sprint(sequence))}).Wait(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return results[0]
		}
		began := time.Now()
		first := o.Append([]Batch{batch(t, 1, "events", 0, &record.Producer{ID: 9, Sequence: 0}, 0, "0")})
		time.Sleep(19 * time.Second)
		second := o.Append([]Batch{batch(t, 1, "events", 0, &record.Producer{ID: 9, Sequence: 1}, 0, "1")})
		for _, p := range []*Pending{first, second} {
			if results, _ := p.Wait(t.Context()); !errors.Is(results[0].Err, ErrUnavailable) {
				t.Errorf("during the outage: %+v", results)
			}
			if took := time.Since(began); took != 20*time.Second {
				t.Errorf("failed after %v; what follows a batch that was given up is given up with it", took)
			}
		}
		if r := send(1); !errors.Is(r.Err, ErrUnavailable) {
			t.Errorf("later: %+v", r)
		}
		time.Sleep(time.Minute)
		if r := send(0); r.Err != nil || r.Base != 0 {
			t.Errorf("the first, again: %+v", r)
		}
		if r := send(1); r.Err != nil || r.Base != 1 {
			t.Errorf("the second, again: %+v", r)
		}
		if got := values(t, o.Journal, id(1, 0)); !slices.Equal(got, []string{"0", "1"}) {
			t.Errorf("records %q", got)
		}
		_ = o.stop()
	})
}

// TestTooMuchWaits bounds what waits, in bytes.
func TestTooMuchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(blob.NewMemory(nil), 1)
		cfg.PendingBytes = 10_000
		o := start(t, cfg)
		o.create(1, "events", 1)
		var pending []*Pending
		for range 10 {
			pending = append(pending, o.Append([]Batch{batch(t, 1, "events", 0, nil, 0, string(make([]byte, 2000)))}))
		}
		refused := 0
		for i, p := range pending {
			results, _ := p.Wait(t.Context())
			if errors.Is(results[0].Err, ErrUnavailable) {
				refused++
			} else if results[0].Err != nil || refused > 0 {
				t.Errorf("append %d: %+v after %d refused", i, results[0], refused)
			}
		}
		if refused != 6 {
			t.Errorf("%d of 10 appends of 2 kB were refused, want 6", refused)
		}
		o.must(o.Append([]Batch{batch(t, 1, "events", 0, nil, 0, "again")}))
		_ = o.stop()
	})
}
