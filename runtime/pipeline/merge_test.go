package pipeline

import (
	"reflect"
	"testing"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

func jobSource(partition int32, next, hold int64) kfs.JobSource {
	return kfs.JobSource{Topic: "events", ID: kfs.TopicID{1}, Partition: partition, Next: next, Committed: next, Hold: hold, Mark: hold}
}

// TestMerge shows what becomes of a job's object that several processes write: nothing that another one says of its partitions is lost.
func TestMerge(t *testing.T) {
	reads := func(id kfs.PartitionID) bool { return id.Partition < 2 }
	fills := func(table string, _ []kfs.JobSource) bool { return table != "db.dropped" }
	workers := []kfs.JobWorker{{ID: "me", Name: "host/1"}, {ID: "other", Name: "host/2"}}
	own := &kfs.Job{Version: 1, Name: "job", Topics: []string{"events"}, Tables: []kfs.JobTable{
		{Table: "db.events", Marked: 5, Sources: []kfs.JobSource{jobSource(0, 100, 10), jobSource(2, 7, 7), jobSource(3, 8, 8)}},
	}, Halts: []kfs.JobHalt{{Table: "db.events", Topic: "events", Partition: 1, What: "mine"}}}
	there := &kfs.Job{Version: 1, Name: "job", Lineage: kfs.TopicID{9}, Tables: []kfs.JobTable{
		{Table: "db.dropped", Sources: []kfs.JobSource{}},
		{Table: "db.events", UUID: "u", Marked: 9, Sources: []kfs.JobSource{jobSource(0, 50, 5), jobSource(2, 70, 3), jobSource(4, 1, 1)}},
		{Table: "db.new", Sources: []kfs.JobSource{jobSource(0, 1, 1)}},
	}, Halts: []kfs.JobHalt{{What: "what I said before", Worker: "me"}, {What: "theirs", Worker: "other"}, {What: "of one that is gone", Worker: "gone"}}}
	want := &kfs.Job{Version: 1, Name: "job", Lineage: kfs.TopicID{9}, Topics: []string{"events"}, Workers: workers, Tables: []kfs.JobTable{
		{Table: "db.events", UUID: "u", Marked: 9, Sources: []kfs.JobSource{jobSource(0, 100, 10), jobSource(2, 70, 3), jobSource(3, 8, 8), jobSource(4, 1, 1)}},
		{Table: "db.new", Sources: []kfs.JobSource{jobSource(0, 1, 1)}},
	}, Halts: []kfs.JobHalt{{Table: "db.events", Topic: "events", Partition: 1, What: "mine", Worker: "me"}, {What: "theirs", Worker: "other"}}}
	got := merge(own, there, "me", workers, reads, fills)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("merged\n%+v\nwant\n%+v", got, want)
	}
	if again := merge(own, got, "me", workers, reads, fills); !reflect.DeepEqual(again, want) {
		t.Errorf("merged again\n%+v", again)
	}
	if body, err := kfs.EncodeJob(got); err != nil {
		t.Error(err)
	} else if back, err := kfs.DecodeJob(body); err != nil || !reflect.DeepEqual(back, want) {
		t.Errorf("read back: %+v, %v", back, err)
	}
}

// TestAdopt shows that who takes a partition over lets go of nothing that was held.
func TestAdopt(t *testing.T) {
	s := newTableStatus(kfs.JobTable{})
	s.loaded(processor.Positions{sourceOf(jobSource(0, 0, 0)): 100, sourceOf(jobSource(1, 0, 0)): 100}, "u")
	mine := func(id kfs.PartitionID) bool { return id.Partition == 0 }
	both := func(kfs.PartitionID) bool { return true }
	there := []kfs.JobSource{jobSource(0, 90, 20), jobSource(1, 90, 30)}
	for _, step := range []struct {
		reads func(kfs.PartitionID) bool
		there []kfs.JobSource
		want  []int64
	}{
		{mine, there, []int64{20, 100}},
		{mine, []kfs.JobSource{jobSource(0, 90, 1)}, []int64{20, 100}}, // it speaks for the partition itself now
		{both, there, []int64{20, 30}},
		{mine, there, []int64{20, 30}},
		{both, []kfs.JobSource{jobSource(1, 90, 25)}, []int64{20, 25}}, // it was another's in between
	} {
		s.adopt(step.there, step.reads)
		for p, want := range step.want {
			if got := s.trails[sourceOf(jobSource(int32(p), 0, 0))].hold; got != want {
				t.Errorf("partition %d is held from %d, want %d", p, got, want)
			}
		}
	}
}
