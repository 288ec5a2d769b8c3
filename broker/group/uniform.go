package group

import (
	"bytes"
	"container/heap"
	"slices"

	"github.com/firn-io/firn/kfs"
)

// assignUniform gives every member as many partitions as every other, as far as they want the same topics, and takes from a member
// only what another must have for that. Where members want different topics, no move of a single partition makes it more even.
func assignUniform(members []assignee) []partitions {
	u := &uniform{members: members, out: make([]partitions, len(members)), load: make([]int, len(members))}
	order := ordered(members)
	u.topics = wantedTopics(members, order)
	u.keep(order)
	if u.same() {
		u.trim(order)
	}
	u.give(order)
	if !u.same() {
		for u.balance() {
		}
	}
	for i, n := range u.load {
		u.out[i] = make(partitions, 0, n)
	}
	for _, w := range u.topics {
		for p, i := range u.owner[w.id] {
			out := &u.out[i]
			*out = append(*out, kfs.PartitionID{Topic: w.id, Partition: int32(p)})
		}
	}
	return u.out
}

// uniform is an assignment in the making.
type uniform struct {
	members []assignee
	topics  []*wanted
	owner   map[kfs.TopicID][]int // the member that has each partition, nobody if none
	load    []int                 // how many partitions a member has
	total   int
	out     []partitions
}

const nobody = -1

// same reports whether all members want the same topics.
func (u *uniform) same() bool {
	return !slices.ContainsFunc(u.topics, func(w *wanted) bool { return len(w.by) < len(u.members) })
}

// keep leaves to every member what it has, as long as it wants it.
func (u *uniform) keep(order []int) {
	u.owner = make(map[kfs.TopicID][]int, len(u.topics))
	for _, w := range u.topics {
		owner := make([]int, w.partitions)
		for p := range owner {
			owner[p] = nobody
		}
		u.owner[w.id] = owner
		u.total += len(owner)
	}
	for _, i := range order {
		wants := u.members[i].topics
		var at kfs.TopicID // no topic has the zero id
		var owner []int
		for _, p := range u.members[i].has {
			for len(wants) > 0 && bytes.Compare(wants[0].id[:], p.Topic[:]) < 0 {
				wants = wants[1:]
			}
			if len(wants) == 0 || wants[0].id != p.Topic {
				continue
			}
			if at != p.Topic {
				at, owner = p.Topic, u.owner[p.Topic]
			}
			if int(p.Partition) < len(owner) && owner[p.Partition] == nobody {
				owner[p.Partition] = i
				u.load[i]++
			}
		}
	}
}

// trim takes from members that all want the same what is beyond their share: the partitions behind the others.
func (u *uniform) trim(order []int) {
	if len(u.members) == 0 {
		return
	}
	share, more := u.total/len(u.members), u.total%len(u.members)
	surplus := make([]int, len(u.members))
	for _, i := range order {
		limit := share
		if u.load[i] > share && more > 0 {
			limit, more = share+1, more-1
		}
		surplus[i] = max(u.load[i]-limit, 0)
	}
	for _, w := range slices.Backward(u.topics) {
		owner := u.owner[w.id]
		for p, i := range slices.Backward(owner) {
			if i != nobody && surplus[i] > 0 {
				owner[p] = nobody
				surplus[i]--
				u.load[i]--
			}
		}
	}
}

// give hands what nobody has to those who want it and have least. Topics that few want come first.
func (u *uniform) give(order []int) {
	topics := slices.Clone(u.topics)
	slices.SortStableFunc(topics, func(a, b *wanted) int { return len(a.by) - len(b.by) })
	rank := make([]int, len(u.members))
	for r, i := range order {
		rank[i] = r
	}
	for _, w := range topics {
		owner := u.owner[w.id]
		if !slices.Contains(owner, nobody) {
			continue
		}
		least := &byLoad{members: slices.Clone(w.by), load: u.load, rank: rank}
		heap.Init(least)
		for p, i := range owner {
			if i == nobody {
				owner[p] = least.members[0]
				u.load[owner[p]]++
				heap.Fix(least, 0)
			}
		}
	}
}

// balance moves partitions, topic by topic, from members with many to members with few, and reports whether it did. Each move makes
// the sum of the squares of the loads less, so there is an end to it.
func (u *uniform) balance() (moved bool) {
	for _, w := range u.topics {
		owner := u.owner[w.id]
		held := map[int][]int{} // by member
		for p, i := range owner {
			held[i] = append(held[i], p)
		}
		for {
			from, to := nobody, w.by[0]
			for _, i := range w.by {
				if len(held[i]) > 0 && (from == nobody || u.load[i] > u.load[from]) {
					from = i
				}
				if u.load[i] < u.load[to] {
					to = i
				}
			}
			if from == nobody || u.load[from] <= u.load[to]+1 {
				break
			}
			last := len(held[from]) - 1
			p := held[from][last]
			held[from], held[to] = held[from][:last], append(held[to], p)
			owner[p] = to
			u.load[from]--
			u.load[to]++
			moved = true
		}
	}
	return moved
}

// byLoad is a heap of members, the one that has least first.
type byLoad struct {
	members []int
	load    []int
	rank    []int
}

func (h *byLoad) Len() int { return len(h.members) }

func (h *byLoad) Less(a, b int) bool {
	i, j := h.members[a], h.members[b]
	if h.load[i] != h.load[j] {
		return h.load[i] < h.load[j]
	}
	return h.rank[i] < h.rank[j]
}

func (h *byLoad) Swap(a, b int) { h.members[a], h.members[b] = h.members[b], h.members[a] }

// Push is heap.Interface's; members are there from the beginning.
func (h *byLoad) Push(x any) { h.members = append(h.members, x.(int)) }

// Pop is heap.Interface's.
func (h *byLoad) Pop() any {
	last := h.members[len(h.members)-1]
	h.members = h.members[:len(h.members)-1]
	return last
}
