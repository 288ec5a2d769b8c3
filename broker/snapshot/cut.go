package snapshot

import (
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// cut makes one whole of the states of journals that were read one after the other, and takes out of them what a restore has no use for: they
// become what the journals of a restored cluster begin with, but for the cluster's identity.
func cut(states []*kfs.Checkpoint, cluster *metadata.State) {
	ends := map[kfs.PartitionID]end{}
	for _, c := range states {
		for i := range c.Partitions {
			p := &c.Partitions[i]
			if _, known := cluster.TopicByID(p.Topic); !known {
				p.Ended = true // its name was freed after this journal was read, or it had ended before
			}
			if p.Ended {
				p.LogStart, p.Settled, p.Producers = p.Next, nil, nil
			}
			ends[p.ID()] = end{p.Next, c.Epoch}
		}
	}
	epochs := map[uint32]int32{}
	for _, c := range states {
		epochs[c.Journal] = c.Epoch
	}
	for _, c := range states {
		for i := range c.Groups {
			lower(&c.Groups[i], cluster, ends, epochs)
		}
		release(c)
	}
}

// end is where a partition ends.
type end struct {
	next  int64
	epoch int32 // of its journal's owner
}

// lower brings a committed offset, and its leader epoch, down to what was read of the partition. Offsets of topics that are not there stay as
// they are.
func lower(o *kfs.GroupOffset, cluster *metadata.State, ends map[kfs.PartitionID]end, epochs map[uint32]int32) {
	topic, ok := cluster.TopicByID(o.TopicID)
	if o.TopicID.IsZero() {
		topic, ok = cluster.Topic(o.Topic)
	}
	if !ok {
		return
	}
	number, ok := topic.Journal(o.Partition)
	if !ok {
		return
	}
	e, ok := ends[kfs.PartitionID{Topic: topic.ID, Partition: o.Partition}]
	if !ok {
		e = end{0, epochs[number]} // no records of it were read
	}
	o.Offset, o.LeaderEpoch = min(o.Offset, e.next), min(o.LeaderEpoch, e.epoch)
}

// release drops the objects before the first that holds something live, and names them as released.
func release(c *kfs.Checkpoint) {
	live := map[kfs.PartitionID]int64{} // from where on records are in the journal
	for i := range c.Partitions {
		p := &c.Partitions[i]
		live[p.ID()] = p.LogStart
		if n := len(p.Settled); n > 0 {
			live[p.ID()] = max(p.LogStart, p.Settled[n-1].Span.Next)
		}
	}
	needed := func(o *kfs.Object) bool {
		for i := range o.Segments {
			if s := &o.Segments[i]; s.Span.Next > live[s.ID()] {
				return true
			}
		}
		return false
	}
	for len(c.Objects) > 0 && !needed(&c.Objects[0]) {
		c.Objects = c.Objects[1:]
	}
	c.Released = nil
	switch {
	case len(c.Objects) == 0:
		c.Objects, c.Released = nil, []kfs.Run{{Last: c.Sequence}}
	case c.Objects[0].Sequence > 0:
		c.Released = []kfs.Run{{Last: c.Objects[0].Sequence - 1}}
	}
}
