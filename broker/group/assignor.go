package group

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/firn-io/firn/kfs"
)

// An assignor decides which member of a group is to have which partition. It gives what each member is to have, in the order of the
// members: every partition of every topic that a member wants, to one of those that want it. The same members get the same.
type assignor struct {
	name   string
	assign func([]assignee) []partitions
}

// assignee is a member as an assignor sees it.
type assignee struct {
	key    string  // sorts members; no two have the same
	topics []topic // that it wants, sorted; members that want the same often share the slice
	has    partitions
}

// The assignors, by the names that clients ask for. The first is the one of groups that ask for none.
const (
	uniformName = "uniform"
	rangeName   = "range"
)

func assignors() []assignor {
	return []assignor{{uniformName, assignUniform}, {rangeName, assignRange}}
}

func assignorOf(name string) (assignor, bool) {
	all := assignors()
	i := slices.IndexFunc(all, func(a assignor) bool { return a.name == name })
	if i < 0 {
		return assignor{}, false
	}
	return all[i], true
}

// wanted is a topic with those who want it, in order.
type wanted struct {
	topic
	by []int
}

// wantedTopics gives all topics that members want, sorted. Of a topic that grows, members may know different sizes for a moment: the
// largest counts.
func wantedTopics(members []assignee, order []int) []*wanted {
	byID := map[kfs.TopicID]*wanted{}
	var all []*wanted
	for _, i := range order {
		for _, t := range members[i].topics {
			w := byID[t.id]
			if w == nil {
				w = &wanted{topic: t}
				byID[t.id] = w
				all = append(all, w)
			}
			w.by = append(w.by, i)
		}
	}
	slices.SortFunc(all, func(a, b *wanted) int { return bytes.Compare(a.id[:], b.id[:]) })
	return all
}

// ordered gives the indexes of members in the order of their keys.
func ordered(members []assignee) []int {
	order := make([]int, len(members))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(members[a].key, members[b].key) })
	return order
}

// assignRange gives each member of a topic, in order, a range of its partitions, so that topics with the same number of partitions
// and the same members are shared out alike: who has partition 3 of one has partition 3 of the others.
func assignRange(members []assignee) []partitions {
	out := make([]partitions, len(members))
	for _, w := range wantedTopics(members, ordered(members)) {
		each, more, next := w.partitions/int32(len(w.by)), w.partitions%int32(len(w.by)), int32(0)
		for rank, i := range w.by {
			n := each
			if int32(rank) < more {
				n++
			}
			for range n {
				out[i] = append(out[i], kfs.PartitionID{Topic: w.id, Partition: next})
				next++
			}
		}
	}
	return out
}
