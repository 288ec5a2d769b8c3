package pipeline

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestOverStaysOver lets a reader come to records of a topic once more that is deleted and committed to its end, as one does whose share has changed
// meanwhile. The topic is not taken into account again: of workers that do and those that do not, each may leave a partition to another.
func TestOverStaysOver(t *testing.T) {
	team := newFakeTeam("a")
	cfg := testConfig(t, blob.NewMemory(nil), newLake(t))
	cfg.Assignment = team
	j, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	topic := events
	want := func(what string, partitions int32) {
		t.Helper()
		if got := team.found[topic.ID]; got != partitions {
			t.Errorf("%s: %d partitions are taken into account, want %d", what, got, partitions)
		}
	}
	all := int32(len(topic.Journals))
	j.found(topic.ID, all)
	topic.State = kfs.TopicDeleting
	if j.meetTopic(topic) {
		t.Error("a topic that is being deleted is live")
	}
	want("records are left", all)
	j.found(topic.ID, 1)
	want("a reader comes to them", 1)
	ended := map[kfs.PartitionID]int64{}
	for p := range all {
		ended[kfs.PartitionID{Topic: topic.ID, Partition: p}] = saidAll
	}
	j.finish(ended)
	want("they are committed", 0)
	j.found(topic.ID, all)
	want("a reader comes to them once more", 0)
}

// sayingTeam is a worker that tells the others.
type sayingTeam struct {
	*fakeTeam
	said map[kfs.PartitionID]int64
}

func (f sayingTeam) Say(done map[kfs.PartitionID]int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.Copy(f.said, done)
}

func (sayingTeam) Heard() (map[kfs.PartitionID]int64, <-chan struct{}) { return nil, nil }

// TestEndInCheckpoint: who begins at a checkpoint in which a topic of the job has ended tells the others, who may have read no such one.
func TestEndInCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := blob.NewMemory(nil), newLake(t)
		gone, foreign, topic := tailtest.Topic("events", 1, 0, 0), tailtest.Topic("other", 3, 0), tailtest.Topic("orders", 2, 0)
		w := tailtest.Journal{Store: store}
		w.Append(t, []kfs.Entry{cluster, gone, foreign, topic}, jsons(gone, 0, 0, 2), jsons(gone, 1, 0, 2), jsons(foreign, 0, 0, 2))
		gone.State, foreign.State = kfs.TopicDeleted, kfs.TopicDeleted
		w.Append(t, []kfs.Entry{kfs.Ended{Topic: gone.ID}, gone, kfs.Ended{Topic: foreign.ID}, foreign})
		w.Checkpoint(t)
		cfg := testConfig(t, store, l)
		team := sayingTeam{newFakeTeam("a"), map[kfs.PartitionID]int64{}}
		cfg.Assignment = team
		_, stop := start(t, cfg)
		time.Sleep(time.Minute)
		if err := stop(); err != nil {
			t.Error(err)
		}
		want := map[kfs.PartitionID]int64{{Topic: gone.ID}: saidAll, {Topic: gone.ID, Partition: 1}: saidAll}
		if !maps.Equal(team.said, want) {
			t.Errorf("it says %v, want %v", team.said, want)
		}
	})
}
