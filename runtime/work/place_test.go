package work

import (
	"fmt"
	"maps"
	"testing"

	"github.com/firn-io/firn/kfs"
)

func topicOf(n int) kfs.TopicID { return kfs.TopicID{0: byte(n >> 8), 1: byte(n), 15: 1} }

// settle gives every worker its share, as if all had claimed it.
func settle(workers map[string]set, all topics) map[string]set {
	after := map[string]set{}
	for w := range workers {
		after[w] = place(workers, all, w)
	}
	return after
}

func names(n int) map[string]set {
	workers := map[string]set{}
	for i := range n {
		workers[fmt.Sprintf("w%d", i)] = set{}
	}
	return workers
}

// TestPlace holds placements against what place promises: each partition has one owner, topics and the whole are even, what was placed
// stays, and a worker that comes or goes moves little more than it must.
func TestPlace(t *testing.T) {
	for name, all := range map[string]topics{
		"one partition":       {topicOf(1): 1},
		"one topic":           {topicOf(1): 7},
		"several topics":      {topicOf(1): 4, topicOf(2): 4, topicOf(3): 1, topicOf(4): 9},
		"many small topics":   manyTopics(1000, 1),
		"ten thousand in ten": manyTopics(10, 1000),
	} {
		total := 0
		for _, n := range all {
			total += int(n)
		}
		for n := 1; n <= 5; n++ {
			t.Run(fmt.Sprintf("%s on %d workers", name, n), func(t *testing.T) {
				placed := settle(names(n), all)
				checkPlaced(t, placed, all)
				for w, share := range settle(placed, all) {
					if !maps.Equal(share, placed[w]) {
						t.Fatalf("%s has %d partitions, and again %d", w, len(placed[w]), len(share))
					}
				}
				came := maps.Clone(placed)
				came["x"] = set{}
				came = settle(came, all)
				checkPlaced(t, came, all)
				if got, most := movedTo(placed, came), 2*total/(n+1)+len(all); got > most {
					t.Errorf("a worker that comes moves %d of %d partitions, want at most %d", got, total, most)
				}
				if n > 1 {
					left := maps.Clone(placed)
					delete(left, "w0")
					gone := settle(left, all)
					checkPlaced(t, gone, all)
					if got, most := movedTo(placed, gone), 2*total/n+len(all); got > most {
						t.Errorf("a worker that goes moves %d of %d partitions, want at most %d", got, total, most)
					}
				}
			})
		}
	}
}

func manyTopics(n int, partitions int32) topics {
	all := topics{}
	for i := range n {
		all[topicOf(i)] = partitions
	}
	return all
}

func checkPlaced(t *testing.T, placed map[string]set, all topics) {
	t.Helper()
	owners := map[kfs.PartitionID]string{}
	perTopic := map[kfs.TopicID]map[string]int{}
	for w, share := range placed {
		for id := range share {
			if other, ok := owners[id]; ok {
				t.Fatalf("%s belongs to %s and %s", id, other, w)
			}
			owners[id] = w
			if perTopic[id.Topic] == nil {
				perTopic[id.Topic] = map[string]int{}
			}
			perTopic[id.Topic][w]++
		}
	}
	total, least, most := 0, 1<<30, 0
	for topic, n := range all {
		total += int(n)
		for w := range placed {
			if got := perTopic[topic][w]; got < int(n)/len(placed) || got > int(n)/len(placed)+1 {
				t.Fatalf("%s has %d of %d partitions of topic %s, and %d workers share them", w, got, n, topic, len(placed))
			}
		}
	}
	for _, share := range placed {
		least, most = min(least, len(share)), max(most, len(share))
	}
	if len(owners) != total || most-least > 1 {
		t.Fatalf("%d of %d partitions are placed, %d to %d on a worker", len(owners), total, least, most)
	}
}

// movedTo counts the partitions that have another owner.
func movedTo(before, after map[string]set) (n int) {
	for w, share := range after {
		for id := range share {
			if !before[w][id] {
				n++
			}
		}
	}
	return n
}

func TestCommitterOf(t *testing.T) {
	if got := committerOf(nil, "t"); got != "" {
		t.Errorf("nobody commits as %q", got)
	}
	workers := []string{"a", "b", "c", "d"}
	tables := map[string]int{}
	moved := 0
	for i := range 1000 {
		table := fmt.Sprintf("default.t%d", i)
		by := committerOf(workers, table)
		tables[by]++
		if by != committerOf([]string{"d", "c", "b", "a"}, table) {
			t.Fatalf("the committer of %s depends on an order", table)
		}
		if after := committerOf(workers[:3], table); by != "d" && after != by {
			moved++
		}
	}
	for _, w := range workers {
		if tables[w] < 200 || tables[w] > 300 {
			t.Errorf("%s commits to %d of 1000 tables", w, tables[w])
		}
	}
	if moved > 0 {
		t.Errorf("%d tables have another committer though theirs is still there", moved)
	}
}
