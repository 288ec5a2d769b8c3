package differential

import (
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// readBack ends a sequence: it reads everything that can be seen of what it did.
func (g *generator) readBack() {
	names := slices.Sorted(maps.Keys(g.topics))
	addVersion(g, 12, "read back: topics", func(s *Side, r *kmsg.MetadataRequest) {
		r.Topics = nil // all
		r.AllowAutoTopicCreation = false
	})
	for _, name := range names {
		if partitions := g.topics[name].partitions; partitions > 0 {
			g.readOffsets(name, partitions)
			g.readRecords(name, partitions)
			g.readConfigs(name)
		}
	}
	for _, group := range []string{"g0", "g1", "g9"} {
		addVersion(g, 7, "read back: offsets of "+group, func(s *Side, r *kmsg.OffsetFetchRequest) { r.Group = s.group(group) })
		addVersion(g, 5, "read back: group "+group, func(s *Side, r *kmsg.DescribeGroupsRequest) { r.Groups = []string{s.group(group)} })
	}
}

func (g *generator) readOffsets(name string, partitions int) {
	for _, at := range []int64{-2, -1, -3} {
		addVersion(g, 7, fmt.Sprintf("read back: offsets of %s at %d", name, at), func(s *Side, r *kmsg.ListOffsetsRequest) {
			r.ReplicaID = -1
			t := kmsg.NewListOffsetsRequestTopic()
			t.Topic = s.topic(name)
			for p := range partitions {
				q := kmsg.NewListOffsetsRequestTopicPartition()
				q.Partition, q.Timestamp = int32(p), at
				t.Partitions = append(t.Partitions, q)
			}
			r.Topics = append(r.Topics, t)
		}).Tag = map[int64]string{-3: g.latestTag(name)}[at]
	}
}

// readRecords reads all records of a topic, a partition at a time, from where its log starts. A sequence writes less than one fetch takes.
func (g *generator) readRecords(name string, partitions int) {
	for p := range partitions {
		start := partitionName(name, int32(p))
		addVersion(g, 5, "read back: where "+start+" starts", func(s *Side, r *kmsg.ListOffsetsRequest) {
			r.ReplicaID = -1
			t := kmsg.NewListOffsetsRequestTopic()
			t.Topic = s.topic(name)
			q := kmsg.NewListOffsetsRequestTopicPartition()
			q.Partition, q.Timestamp = int32(p), -2
			t.Partitions = append(t.Partitions, q)
			r.Topics = append(r.Topics, t)
		}).Learn = func(s *Side, resp kmsg.Response) {
			s.starts[start] = resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].Offset
		}
		addVersion(g, 12, "read back: records of "+start, func(s *Side, r *kmsg.FetchRequest) {
			r.MaxBytes, r.MaxWaitMillis, r.SessionEpoch = readBackBytes, 0, -1
			t := kmsg.NewFetchRequestTopic()
			t.Topic = s.topic(name)
			q := kmsg.NewFetchRequestTopicPartition()
			q.Partition, q.FetchOffset, q.PartitionMaxBytes, q.CurrentLeaderEpoch = int32(p), s.starts[start], readBackBytes, -1
			t.Partitions = append(t.Partitions, q)
			r.Topics = append(r.Topics, t)
		})
	}
}

// readBackBytes is more than a sequence writes to a partition.
const readBackBytes = 40 << 20

func (g *generator) readConfigs(name string) {
	addVersion(g, 4, "read back: configs of "+name, func(s *Side, r *kmsg.DescribeConfigsRequest) {
		rr := kmsg.NewDescribeConfigsRequestResource()
		rr.ResourceType, rr.ResourceName = kmsg.ConfigResourceTypeTopic, s.topic(name)
		rr.ConfigNames = []string{"retention.ms", "retention.bytes", "max.message.bytes", "cleanup.policy", "compression.type", "message.timestamp.type",
			"min.insync.replicas", "segment.bytes", "segment.ms", "flush.messages", "min.cleanable.dirty.ratio", "unclean.leader.election.enable", "preallocate"}
		r.Resources = append(r.Resources, rr)
	})
}
