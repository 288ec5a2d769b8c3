package journal

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
)

// follower is a Follower under way.
type follower struct {
	*Follower
	t     *testing.T
	state atomic.Pointer[metadata.State] // the last news
	ended chan error
	stop  context.CancelFunc
}

func follow(t *testing.T, store blob.Store) *follower {
	t.Helper()
	f := &follower{t: t, ended: make(chan error, 1)}
	var err error
	if f.Follower, err = NewFollower(config(store, 99), func(s *metadata.State, _ uint64) { f.state.Store(s) }); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, f.stop = context.WithCancel(t.Context())
	go func() { f.ended <- f.Run(ctx) }()
	return f
}

func (f *follower) end() {
	f.t.Helper()
	f.stop()
	if err := <-f.ended; err != nil {
		f.t.Errorf("the follower ends with %v", err)
	}
}

// knows tells whether the follower knows a topic, with a refresh before.
func (f *follower) knows(topic string) bool {
	f.t.Helper()
	if err := f.Refresh(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	_, ok := f.state.Load().Topic(topic)
	return ok
}

func TestFollowerKnowsWhatTheOwnerWrote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		f := follow(t, store)
		synctest.Wait()
		if f.state.Load() == nil || !f.state.Load().Cluster().ID.IsZero() {
			t.Fatalf("before the journal has begun: %+v", f.state.Load())
		}
		cfg := config(store, 1)
		cfg.CheckpointEvery = 10
		o := start(t, cfg)
		o.create(1, "events", 2)
		if !f.knows("events") || f.state.Load().Cluster() != o.State().Cluster() {
			t.Error("a topic is not known")
		}
		// Another owner, more objects than are read at a time, checkpoints that are newer than what the follower knows.
		if err := o.stop(); err != nil {
			t.Fatal(err)
		}
		cfg.Rand = seeded(2)
		o = start(t, cfg)
		for range 3 * chainReads {
			o.must(o.Append([]Batch{batch(t, 1, "events", 0, nil, 1, "x")}))
		}
		o.create(2, "more", 1)
		if !f.knows("more") {
			t.Error("a topic behind many objects is not known")
		}
		late := follow(t, store)
		if !late.knows("more") || late.state.Load().Cluster() != o.State().Cluster() {
			t.Error("a follower that comes late does not know")
		}
		late.end()
		// What nobody told is found all the same.
		o.create(3, "untold", 1)
		time.Sleep(followEvery + time.Second)
		if _, ok := f.state.Load().Topic("untold"); !ok {
			t.Error("without being told, a topic is not known after a while")
		}
		f.end()
		if err := f.Refresh(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a refresh of a stopped follower: %v", err)
		}
		if err := o.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestIdleFollowerCostsLittle counts an hour's requests.
func TestIdleFollowerCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trace := blobtest.NewTrace(blob.NewMemory(nil))
		o := start(t, config(trace, 1))
		if err := o.stop(); err != nil {
			t.Fatal(err)
		}
		f := follow(t, trace)
		synctest.Wait()
		trace.Take()
		time.Sleep(time.Hour)
		requests := trace.Take()
		gets, lists := strings.Count(requests, "GET "), strings.Count(requests, "LIST ")
		if gets > 60 || lists > 8 || gets+lists != strings.Count(requests, "\n") {
			t.Errorf("%d GETs and %d LISTs in an hour", gets, lists)
		}
		t.Logf("%d GETs and %d LISTs in an hour", gets, lists)
		f.end()
	})
}

func TestFollowerStopsAtDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		o := start(t, config(store, 1))
		o.create(1, "events", 1)
		f := follow(t, store)
		if !f.knows("events") {
			t.Fatal("a topic is not known")
		}
		key := kfs.ObjectKey(0, o.core.state.next())
		if err := o.stop(); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Put(t.Context(), key, []byte("no object of ours"), true); err != nil {
			t.Fatal(err)
		}
		f.Look()
		if err := <-f.ended; !errors.Is(err, kfs.ErrCorrupt) || !strings.Contains(err.Error(), key) {
			t.Errorf("ends with %v", err)
		}
	})
}

// TestFollowerGoesOnBehindReleasedObjects: a follower that was away for longer than LIMIT does not believe in what it finds by the next key.
func TestFollowerGoesOnBehindReleasedObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trace := blobtest.NewTrace(blob.NewMemory(nil))
		cfg := config(trace, 1)
		cfg.CheckpointEvery = 5
		o := start(t, cfg)
		o.create(1, "events", 1)
		f := follow(t, trace)
		if !f.knows("events") {
			t.Fatal("a topic is not known")
		}
		first := f.journal.core.state.next()
		for range 12 {
			o.must(o.Append([]Batch{batch(t, 1, "events", 0, nil, 1, "x")}))
		}
		o.create(2, "more", 1)
		synctest.Wait()
		for sequence := first; sequence < first+6; sequence++ { // as if released and deleted long ago
			if err := trace.Delete(t.Context(), kfs.ObjectKey(0, sequence)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(limit)
		if !f.knows("more") {
			t.Error("a topic behind deleted objects is not known")
		}
		f.end()
		if err := o.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
