package snapshot

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
	"github.com/firn-io/firn/kfs/inspect"
	"github.com/firn-io/firn/kfs/namespace"
)

// TestRestore takes a cluster back to a restore point: what clients can see is as it was, however much has been written and deleted since.
func TestRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		from, into := blob.Prefix(store, "from/"), blob.Prefix(store, "into/")
		c := history(t, from)
		want := c.look()
		s, err := Create(t.Context(), Config{Store: from, Rand: seeded(9)}, "point")
		if err != nil {
			t.Fatal(err)
		}
		before := c.journals[0].State().Cluster()
		if s.Cluster != before.ID || s.Lineage != before.Lineage || s.Topics != 1 || len(s.Journals) != journals || time.Since(time.UnixMilli(s.Created)) > time.Second {
			t.Errorf("the restore point is %+v", s)
		}
		if got, err := Read(t.Context(), from, "point"); err != nil || got.ID != s.ID {
			t.Errorf("it reads as %+v, %v", got, err)
		}
		// Everything is trimmed, deleted and swept.
		for p := range int32(journals) {
			for i := int32(10); i < 30; i++ {
				c.write(1, "events", p, i, "later")
			}
		}
		c.commit("readers", 1, "events", 0, 29)
		time.Sleep(2 * time.Minute)
		for p := range int32(journals) {
			c.must(c.journals[p].AppendEntries([]kfs.Entry{kfs.Trim{Topic: topicID(1), Partition: p, LogStart: 30}}))
		}
		time.Sleep(72 * time.Hour)
		holds(t, from, s)
		r := NewRestore(RestoreConfig{From: from, Name: "point", Into: into, Rand: seeded(5), Now: time.Now})
		plan, err := r.Plan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if plan.Objects == 0 || plan.Copied != 0 || plan.Bytes == 0 || plan.Resumed || len(keys(t, into, "")) > 0 {
			t.Errorf("the plan is %+v, there are %q", plan, keys(t, into, ""))
		}
		if err := r.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(keys(t, into, "")); n != plan.Objects+journals+1 { // checkpoints, and the marker
			t.Errorf("%d keys, planned were %d objects", n, plan.Objects)
		}
		verify(t, into)
		again := start(t, into, 50)
		if got := again.look(); got != want {
			t.Errorf("restored is\n%s\nwant\n%s", got, want)
		}
		now := again.journals[0].State().Cluster()
		if now.ID == before.ID || now.Lineage == before.Lineage || now.ID != plan.Cluster || now.Lineage != plan.Lineage || now.Journals != journals {
			t.Errorf("the cluster is %+v, it was %+v", now, before)
		}
		for i, j := range again.journals {
			if j.Epoch() != c.journals[i].Epoch()+1 {
				t.Errorf("journal %d has epoch %d", i, j.Epoch())
			}
		}
		// Producers go on, and what they send twice is found out.
		again.write(1, "events", 0, 8, "new8", "new9")
		again.write(1, "events", 0, 10, "on")
		if got := again.values(id(1, 0)); len(got) != 11 || got[10] != "10:on" {
			t.Errorf("partition 0 holds %q", got)
		}
		time.Sleep(72 * time.Hour)
		again.close()
		verify(t, into)
		c.close()
		verify(t, from)
	})
}

// holds compares what a namespace says that a restore point holds, where nobody else needs any of it, with what it needs.
func holds(t *testing.T, store blob.Store, s *kfs.Snapshot) {
	t.Helper()
	u, err := inspect.Use(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	var want inspect.Amount // without indexes
	for _, j := range s.Journals {
		want.Objects += int64(j.Sequence-j.From) + 1 + 2*int64(j.Segments)
		want.Bytes += j.Bytes + j.Settled
	}
	// Objects go in order, so those that came later wait too.
	if got := u.Snapshots[0]; len(u.Snapshots) != 1 || got.Name != s.Name || got.Err != "" || got.Held.Objects < want.Objects || got.Held.Bytes < want.Bytes {
		t.Errorf("restore points %+v, want %+v at least", u.Snapshots, want)
	}
	for _, j := range u.Journals {
		if j.Held.Objects == 0 || j.Held != j.Released {
			t.Errorf("journal %d: released %+v, held %+v", j.Journal, j.Released, j.Held)
		}
	}
	for _, p := range u.Partitions {
		if p.Held != p.Waiting {
			t.Errorf("%s/%d: waiting %+v, held %+v", p.Topic, p.Partition, p.Waiting, p.Held)
		}
	}
}

// TestCut has things happen between the readings of journals: what is restored is one whole.
func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		read := func(number uint32) *kfs.Checkpoint {
			ck, _, err := journal.ReadState(t.Context(), journal.Config{Store: store, Journal: number})
			if err != nil {
				t.Fatal(err)
			}
			return ck
		}
		c := start(t, store, 1)
		c.create(1, "events")
		c.create(3, "deleted")
		for p := range int32(journals) {
			c.write(1, "events", p, 0, "a", "b")
			c.write(3, "deleted", p, 0, "x")
		}
		c.commit("readers", 1, "events", 0, 1)
		one := read(1)
		c.write(1, "events", 1, 2, "not read", "neither")
		c.commit("readers", 1, "events", 1, 4) // beyond what was read
		c.commit("readers", 1, "events", 2, 2)
		c.commit("readers", 3, "deleted", 1, 1)
		two := read(2)
		c.create(4, "created")
		c.write(4, "created", 1, 0, "not read")
		c.write(1, "events", 0, 2, "read")
		deleting, _ := c.journals[0].State().DeleteTopic(topicID(3))
		c.must(c.journals[0].AppendEntries(deleting))
		for _, j := range c.journals {
			c.must(j.End(topicID(3)))
		}
		deleted := deleting[0].(kfs.Topic)
		deleted.State = kfs.TopicDeleted
		c.must(c.journals[0].AppendEntries([]kfs.Entry{deleted}))
		zero := read(0)
		c.close()
		state, err := stateOf(zero)
		if err != nil {
			t.Fatal(err)
		}
		cut([]*kfs.Checkpoint{zero, one, two}, state)
		ends := map[kfs.PartitionID]int64{}
		for _, c := range []*kfs.Checkpoint{zero, one, two} {
			if err := c.Validate(); err != nil {
				t.Error(err)
			}
			for _, p := range c.Partitions {
				if ends[p.ID()] = p.Next; p.Topic == topicID(3) && (!p.Ended || p.LogStart != p.Next || len(p.Producers) > 0) {
					t.Errorf("journal %d: of the deleted topic there is %+v", c.Journal, p)
				}
			}
		}
		if ends[id(1, 0)] != 3 || ends[id(1, 1)] != 2 || ends[id(1, 2)] != 2 || ends[id(4, 1)] != 0 {
			t.Errorf("the partitions end at %v", ends)
		}
		want := map[kfs.PartitionID]int64{id(1, 0): 1, id(1, 1): 2, id(1, 2): 2, id(3, 1): 1}
		for _, o := range two.Groups {
			of := kfs.PartitionID{Topic: o.TopicID, Partition: o.Partition}
			if o.Offset != want[of] {
				t.Errorf("the group is at %d of %s/%d, want %d", o.Offset, o.Topic, o.Partition, want[of])
			}
			delete(want, of)
		}
		if len(want) > 0 {
			t.Errorf("no offsets of %v", want)
		}
		if _, ok := state.Topic("created"); !ok {
			t.Error("the topic that was created meanwhile is not there")
		}
	})
}

// TestLower brings offsets and epochs down where they are beyond what was read, by id and by name, and leaves others.
func TestLower(t *testing.T) {
	draft := new(metadata.State).Edit()
	for _, e := range []kfs.Entry{kfs.Cluster{ID: kfs.ClusterID{1}, Lineage: kfs.TopicID{2}, Journals: 2}, kfs.Topic{ID: topicID(1), Name: "events", State: kfs.TopicLive, Journals: []uint32{0, 1}}} {
		if err := draft.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	ends, epochs := map[kfs.PartitionID]end{id(1, 0): {10, 3}}, map[uint32]int32{0: 3, 1: 5}
	for name, c := range map[string]struct{ of, want kfs.GroupOffset }{
		"below":           {kfs.GroupOffset{TopicID: topicID(1), Offset: 9, LeaderEpoch: 2}, kfs.GroupOffset{TopicID: topicID(1), Offset: 9, LeaderEpoch: 2}},
		"at the end":      {kfs.GroupOffset{TopicID: topicID(1), Offset: 10, LeaderEpoch: -1}, kfs.GroupOffset{TopicID: topicID(1), Offset: 10, LeaderEpoch: -1}},
		"beyond":          {kfs.GroupOffset{TopicID: topicID(1), Offset: 11, LeaderEpoch: 4}, kfs.GroupOffset{TopicID: topicID(1), Offset: 10, LeaderEpoch: 3}},
		"by name":         {kfs.GroupOffset{Topic: "events", Offset: 11}, kfs.GroupOffset{Topic: "events", Offset: 10}},
		"no records":      {kfs.GroupOffset{TopicID: topicID(1), Partition: 1, Offset: 1, LeaderEpoch: 9}, kfs.GroupOffset{TopicID: topicID(1), Partition: 1, LeaderEpoch: 5}},
		"no partition":    {kfs.GroupOffset{TopicID: topicID(1), Partition: 2, Offset: 1}, kfs.GroupOffset{TopicID: topicID(1), Partition: 2, Offset: 1}},
		"no topic":        {kfs.GroupOffset{TopicID: topicID(9), Topic: "events", Offset: 99}, kfs.GroupOffset{TopicID: topicID(9), Topic: "events", Offset: 99}},
		"no topic's name": {kfs.GroupOffset{Topic: "gone", Offset: 99}, kfs.GroupOffset{Topic: "gone", Offset: 99}},
	} {
		got := c.of
		if lower(&got, draft.State(), ends, epochs); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestCreateFaults has each operation of making a restore point fail in each way: it is there and whole, or it holds nothing.
func TestCreateFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		truth := blob.NewMemory(nil)
		c := history(t, truth)
		c.close()
		clean := blobtest.NewFault(truth, func(blobtest.Op) blobtest.Action { return blobtest.Pass })
		if _, err := Create(t.Context(), Config{Store: clean, Rand: seeded(9)}, "clean"); err != nil {
			t.Fatal(err)
		}
		made := 0
		for n := range clean.Ops() + 1 {
			for _, action := range []blobtest.Action{blobtest.FailBefore, blobtest.FailAfter, blobtest.FailLate, blobtest.Short} {
				fault := blobtest.NewFault(truth, blobtest.At(n, action))
				s, err := Create(t.Context(), Config{Store: fault, Rand: seeded(9)}, "point")
				fault.Land()
				if err != nil {
					if _, readErr := Read(t.Context(), truth, "point"); !errors.Is(readErr, ErrNotFound) {
						t.Errorf("operation %d, action %d: %v, and it is there", n, action, err)
					}
					continue
				}
				made++
				into := blob.NewMemory(nil)
				if _, err := restore(t, truth, s.Name, into); err != nil {
					t.Errorf("operation %d, action %d: what was made cannot be restored: %v", n, action, err)
				}
				time.Sleep(2 * journal.Limit)
				if err := Delete(t.Context(), truth, "point"); err != nil {
					t.Errorf("operation %d, action %d: deleting it: %v", n, action, err)
				}
				if left := keys(t, truth, kfs.SnapshotStatesPrefix("point")); len(left) > 0 {
					t.Errorf("operation %d, action %d: left are %q", n, action, left)
				}
			}
		}
		if made < clean.Ops() {
			t.Errorf("%d were made in %d times 4 tries", made, clean.Ops())
		}
	})
}

// TestCreateIsRefused where there is nothing, or the name is taken or none, and leaves nothing.
func TestCreateIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		if _, err := Create(t.Context(), Config{Store: store}, "point"); err == nil || !strings.Contains(err.Error(), "no cluster") {
			t.Errorf("of nothing: %v", err)
		}
		c := start(t, store, 1)
		for _, name := range []string{"", "..", "a/b", "a.json"} {
			if _, err := Create(t.Context(), Config{Store: store}, name); err == nil {
				t.Errorf("of the name %q", name)
			}
		}
		if left := keys(t, store, kfs.SnapshotsPrefix); len(left) > 0 {
			t.Errorf("left are %q", left)
		}
		first, err := Create(t.Context(), Config{Store: store}, "point")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Create(t.Context(), Config{Store: store}, "point"); !errors.Is(err, ErrExists) {
			t.Errorf("twice: %v", err)
		}
		// One that finds the name taken only in the end.
		late := &afterFirst{Store: store, prefix: kfs.JournalsPrefix, do: func() {
			if _, err := Create(t.Context(), Config{Store: store}, "race"); err != nil {
				t.Error(err)
			}
		}}
		if _, err := Create(t.Context(), Config{Store: late}, "race"); !errors.Is(err, ErrExists) {
			t.Errorf("at the same time: %v", err)
		}
		found, err := List(t.Context(), store)
		if err != nil || len(found) != 2 || found[0].Name != "point" || found[0].Snapshot.ID != first.ID || found[1].Name != "race" || found[1].Err != nil {
			t.Errorf("found are %+v, %v", found, err)
		}
		if _, err := restore(t, store, "race", blob.NewMemory(nil)); err != nil {
			t.Error(err)
		}
		c.close()
	})
}

// TestCreateTooLate takes a restore point back that has come later than what it needs is sure to be there.
func TestCreateTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		c := start(t, store, 1)
		slow := &afterFirst{Store: skewed{store, kfs.SnapshotKey("point"), journal.Limit + time.Second}}
		if _, err := Create(t.Context(), Config{Store: slow}, "point"); !errors.Is(err, errTooLate) {
			t.Errorf("%v", err)
		}
		if _, err := Read(t.Context(), store, "point"); !errors.Is(err, ErrNotFound) {
			t.Errorf("it is there: %v", err)
		}
		c.close()
	})
}

// TestDelete deletes restore points that are whole, damaged, and never were more than states.
func TestDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := blob.NewMemory(nil)
		c := start(t, store, 1)
		for name, damage := range map[string]func(s *kfs.Snapshot){
			"whole":   func(*kfs.Snapshot) {},
			"damaged": func(s *kfs.Snapshot) { put(t, store, kfs.SnapshotKey(s.Name), "{") },
			"states":  func(s *kfs.Snapshot) { put(t, store, kfs.SnapshotKey(s.Name), "") },
		} {
			s, err := Create(t.Context(), Config{Store: store}, name)
			if err != nil {
				t.Fatal(err)
			}
			damage(s)
			time.Sleep(2 * journal.Limit)
			if err := Delete(t.Context(), store, name); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if left := keys(t, store, kfs.SnapshotsPrefix); len(left) > 0 {
				t.Errorf("%s: left are %q", name, left)
			}
			if err := Delete(t.Context(), store, name); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s again: %v", name, err)
			}
		}
		put(t, store, kfs.SnapshotsPrefix+"stranger", "x")
		put(t, store, kfs.SnapshotKey("newer"), `{"version":9}`)
		found, err := List(t.Context(), store)
		if err != nil || len(found) != 2 || !errors.Is(found[0].Err, kfs.ErrVersion) || !errors.Is(found[1].Err, kfs.ErrCorrupt) {
			t.Errorf("found are %+v, %v", found, err)
		}
		c.close()
	})
}

// TestRestoreFaults has a restore fail at each operation, in each way, and be run again: what comes of it is the same, and until it is whole
// nobody may use it.
func TestRestoreFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := blob.NewMemory(nil)
		c := history(t, from)
		want := c.look()
		if _, err := Create(t.Context(), Config{Store: from, Rand: seeded(9)}, "point"); err != nil {
			t.Fatal(err)
		}
		c.close()
		truth := blob.NewMemory(nil)
		clean := blobtest.NewFault(truth, func(blobtest.Op) blobtest.Action { return blobtest.Pass })
		if _, err := restore(t, from, "point", clean); err != nil {
			t.Fatal(err)
		}
		whole := dump(t, truth)
		again := start(t, truth, 50)
		if got := again.look(); got != want {
			t.Fatalf("restored is\n%s\nwant\n%s", got, want)
		}
		again.close()
		for n := range clean.Ops() {
			for _, action := range []blobtest.Action{blobtest.FailBefore, blobtest.FailAfter, blobtest.FailLate, blobtest.Short} {
				// Once, and then it goes on; and from then on, as if it had been killed there.
				once := blob.NewMemory(nil)
				fault := blobtest.NewFault(once, blobtest.At(n, action))
				_, err := restore(t, from, "point", fault)
				fault.Land()
				finish(t, from, once, whole, err)

				killed := blob.NewMemory(nil)
				fault = blobtest.NewFault(killed, func(op blobtest.Op) blobtest.Action {
					switch {
					case op.N == n:
						return action
					case op.N > n:
						return blobtest.FailBefore
					}
					return blobtest.Pass
				})
				_, err = restore(t, from, "point", fault)
				finish(t, from, killed, whole, err)
			}
		}
	})
}

// finish runs a restore to its end that may have ended with an error, and compares what there is then.
func finish(t *testing.T, from, into blob.Store, whole map[string]string, err error) {
	t.Helper()
	if err != nil {
		there := dump(t, into)
		usable := namespace.Usable(t.Context(), into)
		switch {
		case usable == nil && len(there) > 0 && !maps.Equal(there, whole):
			t.Errorf("after %v the place may be used, and holds %q", err, slices.Sorted(maps.Keys(there)))
		case usable != nil && !errors.Is(usable, namespace.ErrRestoring):
			t.Error(usable)
		}
		if !maps.Equal(there, whole) {
			if _, err := restore(t, from, "point", into); err != nil {
				t.Errorf("run again: %v", err)
				return
			}
		}
	}
	if got := dump(t, into); !maps.Equal(got, whole) {
		t.Errorf("after %v there are %q, want %q", err, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(whole)))
	}
}

// TestRestoreIsRefused where the place is in use, or the restore point is not whole.
func TestRestoreIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := blob.NewMemory(nil)
		c := history(t, from)
		s, err := Create(t.Context(), Config{Store: from, Rand: seeded(9)}, "point")
		if err != nil {
			t.Fatal(err)
		}
		c.close()
		marker := func(change func(*kfs.Restoring)) string {
			m := &kfs.Restoring{Version: 1, Snapshot: "point", ID: s.ID, Source: s.Cluster, Cluster: kfs.ClusterID{1}, Lineage: kfs.TopicID{2}, Began: 1}
			change(m)
			body, err := kfs.EncodeRestoring(m)
			if err != nil {
				t.Fatal(err)
			}
			return string(body)
		}
		own := marker(func(*kfs.Restoring) {})
		for name, place := range map[string]map[string]string{
			"a cluster":             {kfs.ObjectKey(0, 0): "x"},
			"anything":              {"readme.txt": ""},
			"of another":            {kfs.RestoringKey: marker(func(m *kfs.Restoring) { m.ID = kfs.TopicID{8} })},
			"of another cluster":    {kfs.RestoringKey: marker(func(m *kfs.Restoring) { m.Source = kfs.TopicID{8} })},
			"its own, and a broker": {kfs.RestoringKey: own, kfs.ObjectKey(2, 99): "x"},
			"its own, ended":        {kfs.RestoringKey: marker(func(m *kfs.Restoring) { m.Ended = true })},
		} {
			into := blob.NewMemory(nil)
			for key, body := range place {
				put(t, into, key, body+" "[:0])
			}
			before := dump(t, into)
			if _, err := restore(t, from, "point", into); !errors.Is(err, ErrNotEmpty) {
				t.Errorf("%s: %v", name, err)
			}
			if got := dump(t, into); !maps.Equal(got, before) {
				t.Errorf("%s: the place was changed: %q", name, got)
			}
		}
		// A broker that begins while it is restored.
		into := blob.NewMemory(nil)
		racing := &afterFirst{Store: into, prefix: "", do: func() { put(t, into, kfs.ObjectKey(1, 0), "a broker's") }}
		if _, err := restore(t, from, "point", racing); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("a broker that begins: %v", err)
		}
		if err := namespace.Usable(t.Context(), into); !errors.Is(err, namespace.ErrRestoring) {
			t.Errorf("it may be used: %v", err)
		}
		if _, err := restore(t, from, "none", blob.NewMemory(nil)); !errors.Is(err, ErrNotFound) {
			t.Errorf("of none: %v", err)
		}
		if _, err := restore(t, into, "point", blob.NewMemory(nil)); !errors.Is(err, namespace.ErrRestoring) {
			t.Errorf("from an unfinished one: %v", err)
		}
		state := kfs.SnapshotStateKey("point", s.ID, 1)
		body := dump(t, from)[state]
		for _, damaged := range []string{"KAFM", body[:len(body)-1] + "?", ""} {
			put(t, from, state, damaged)
			if _, err := restore(t, from, "point", blob.NewMemory(nil)); !errors.Is(err, kfs.ErrCorrupt) {
				t.Errorf("of a damaged state: %v", err)
			}
		}
		put(t, from, state, body)
		key := itemsOf(mustState(t, from, s, 1))[0].key
		if err := from.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if _, err := restore(t, from, "point", blob.NewMemory(nil)); !errors.Is(err, blob.ErrNotFound) || !strings.Contains(err.Error(), key) {
			t.Errorf("without %s: %v", key, err)
		}
	})
}

func mustState(t *testing.T, store blob.Store, s *kfs.Snapshot, journal uint32) *kfs.Checkpoint {
	t.Helper()
	body, _, err := blob.ReadAll(t.Context(), store, kfs.SnapshotStateKey(s.Name, s.ID, journal), blob.All, maxState)
	if err != nil {
		t.Fatal(err)
	}
	state, err := s.Find(journal).Open(body)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// put puts an object, or deletes it.
func put(t testing.TB, store blob.Store, key, body string) {
	t.Helper()
	var err error
	if body == "" && key != "readme.txt" {
		err = store.Delete(t.Context(), key)
	} else {
		_, err = store.Put(t.Context(), key, []byte(body), false)
	}
	if err != nil {
		t.Fatal(err)
	}
}
