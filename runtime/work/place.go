package work

import (
	"cmp"
	"maps"
	"slices"

	"github.com/firn-io/firn/kfs"
)

// set is partitions.
type set map[kfs.PartitionID]bool

// topics are the topics that a job reads and how many partitions each has.
type topics map[kfs.TopicID]int32

// place spreads the partitions of topics over workers, given as what each claims now, and gives the share of one of them. Every topic
// is spread evenly by itself, for its partitions are likely to be alike, and so is the whole: both differ by one at most. A worker keeps
// what it claims as far as that allows.
//
// Every worker computes it for itself: it depends on nothing but its arguments. Where all claim what it gave them, it gives the same again.
func place(claims map[string]set, all topics, self string) set {
	workers := slices.Sorted(maps.Keys(claims))
	share := set{}
	load := make([]int, len(workers))
	for _, topic := range slices.SortedFunc(maps.Keys(all), compareTopics) {
		owners := placeTopic(workers, load, claims, topic, all[topic])
		for partition, owner := range owners {
			load[owner]++
			if workers[owner] == self {
				share[kfs.PartitionID{Topic: topic, Partition: int32(partition)}] = true
			}
		}
	}
	return share
}

// placeTopic gives the owner of each partition of a topic, as an index of workers. load is what they have of other topics.
func placeTopic(workers []string, load []int, claims map[string]set, topic kfs.TopicID, partitions int32) []int {
	owners := make([]int, partitions)
	claimed := make([]int, len(workers))
	for p := range owners {
		owners[p] = slices.IndexFunc(workers, func(w string) bool { return claims[w][kfs.PartitionID{Topic: topic, Partition: int32(p)}] })
		if owners[p] >= 0 {
			claimed[owners[p]]++
		}
	}
	room := rooms(load, claimed, int(partitions))
	for p, owner := range owners {
		switch {
		case owner < 0:
		case room[owner] > 0:
			room[owner]--
		default:
			owners[p] = -1
		}
	}
	next := 0
	for p := range owners {
		if owners[p] >= 0 {
			continue
		}
		for room[next] == 0 {
			next = (next + 1) % len(workers)
		}
		owners[p] = next
		room[next]--
		next = (next + 1) % len(workers)
	}
	return owners
}

// rooms is how many partitions of a topic each worker gets: as many as any other, and of those that are left one more for those with the
// least load, and among these for those that claim most.
func rooms(load, claimed []int, partitions int) []int {
	order := make([]int, len(load))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Or(cmp.Compare(load[a], load[b]), cmp.Compare(claimed[b], claimed[a])) })
	room := make([]int, len(load))
	for i, w := range order {
		room[w] = partitions / len(load)
		if i < partitions%len(load) {
			room[w]++
		}
	}
	return room
}

func compareTopics(a, b kfs.TopicID) int { return slices.Compare(a[:], b[:]) }

// rank is how much a worker is wanted for a name: a random number of the two (FNV-1a, and the finalizer of SplitMix64 on top, without
// which names that differ in their last letter would be ranked alike).
func rank(worker, name string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for _, s := range []string{worker, "\x00", name} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 0x100000001b3
		}
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// committerOf is the worker that commits to a table for all of them: the one that ranks highest, so that few tables get another one when
// workers come and go. "" without workers.
func committerOf(workers []string, table string) string {
	if len(workers) == 0 {
		return ""
	}
	return slices.MaxFunc(workers, func(a, b string) int { return cmp.Or(cmp.Compare(rank(a, table), rank(b, table)), cmp.Compare(b, a)) })
}
