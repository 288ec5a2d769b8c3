package group

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/firn-io/firn/kfs"
)

// partitions is a set of partitions: sorted by topic id and number, each of them once. A set does not change once it is made.
type partitions []kfs.PartitionID

const partitionBytes = 20

func comparePartitions(a, b kfs.PartitionID) int {
	return cmp.Or(bytes.Compare(a.Topic[:], b.Topic[:]), cmp.Compare(a.Partition, b.Partition))
}

// setOf makes a set of a list, which it takes.
func setOf(list []kfs.PartitionID) partitions {
	slices.SortFunc(list, comparePartitions)
	return slices.Compact(list)
}

// split gives what of a is in b and what is not.
func (a partitions) split(b partitions) (both, rest partitions) {
	for _, p := range a {
		for len(b) > 0 && comparePartitions(b[0], p) < 0 {
			b = b[1:]
		}
		if len(b) > 0 && b[0] == p {
			both = append(both, p)
		} else {
			rest = append(rest, p)
		}
	}
	return both, rest
}

// meets reports whether a and b have a partition in common.
func (a partitions) meets(b partitions) bool {
	both, _ := a.split(b)
	return len(both) > 0
}

// within reports whether b has all of a.
func (a partitions) within(b partitions) bool {
	_, rest := a.split(b)
	return len(rest) == 0
}

func (a partitions) plus(b partitions) partitions {
	return setOf(slices.Concat(a, b))
}
