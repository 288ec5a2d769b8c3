package differential

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (g *generator) someGroup() string {
	if g.maybe(15) {
		return of(g, "g9", "=")
	}
	return of(g, "g0", "g1")
}

// commit commits from outside of the group, as tools do.
func (g *generator) commit() {
	group, topic := g.someGroup(), g.someTopic()
	partition := g.somePartition(topic)
	offset := g.someOffset(topic, partition)
	metadata := of(g, kmsg.StringPtr("noted"), kmsg.StringPtr(""), nil, kmsg.StringPtr(strings.Repeat("m", 4097)))
	generation := of[int32](g, -1, -1, -1, -1, -1, 3)
	member := of(g, "", "", "", "", "stranger")
	tag := ""
	if group == "=" {
		tag = "no group"
	}
	step := add(g, fmt.Sprintf("commit %s/%d at %d to %s, generation %d, member %q", topic, partition, offset, group, generation, member), func(s *Side, r *kmsg.OffsetCommitRequest) {
		r.Group, r.Generation, r.MemberID, r.RetentionTimeMillis = s.group(group), generation, member, -1
		t := kmsg.NewOffsetCommitRequestTopic()
		t.Topic, t.TopicID = s.topic(topic), s.id(topic)
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.Metadata, p.LeaderEpoch = partition, offset, metadata, -1
		t.Partitions = append(t.Partitions, p)
		r.Topics = append(r.Topics, t)
	})
	if step.Tag = tag; step.version == 0 {
		step.Tag = "zookeeper"
	}
}

func (g *generator) fetchOffsets() {
	group, topic := g.someGroup(), g.someTopic()
	partition := g.somePartition(topic)
	all := g.maybe(3)
	g.fetchOffsetsOf(group, topic, partition, all)
}

func (g *generator) fetchOffsetsOf(group, topic string, partition int32, all bool) {
	step := add(g, fmt.Sprintf("offsets of %s: %s/%d (all %t)", group, topic, partition, all), func(s *Side, r *kmsg.OffsetFetchRequest) {
		q := kmsg.NewOffsetFetchRequestGroup()
		q.Group = s.group(group)
		if !all || r.Version < 2 {
			t := kmsg.NewOffsetFetchRequestTopic()
			t.Topic, t.Partitions = s.topic(topic), []int32{partition}
			r.Topics = append(r.Topics, t)
			qt := kmsg.NewOffsetFetchRequestGroupTopic()
			qt.Topic, qt.TopicID, qt.Partitions = s.topic(topic), s.id(topic), []int32{partition}
			q.Topics = append(q.Topics, qt)
		}
		r.Group, r.Groups = q.Group, append(r.Groups, q)
	})
	if step.version == 0 {
		step.Tag = "zookeeper"
	}
}

func (g *generator) deleteOffsets() {
	group, topic := g.someGroup(), g.someTopic()
	partition := g.somePartition(topic)
	add(g, fmt.Sprintf("delete offset of %s: %s/%d", group, topic, partition), func(s *Side, r *kmsg.OffsetDeleteRequest) {
		r.Group = s.group(group)
		t := kmsg.NewOffsetDeleteRequestTopic()
		t.Topic = s.topic(topic)
		p := kmsg.NewOffsetDeleteRequestTopicPartition()
		p.Partition = partition
		t.Partitions = append(t.Partitions, p)
		r.Topics = append(r.Topics, t)
	})
}

func (g *generator) deleteGroups() {
	group := g.someGroup()
	add(g, "delete group "+group, func(s *Side, r *kmsg.DeleteGroupsRequest) { r.Groups = []string{s.group(group), s.group("g8")} })
}

func (g *generator) describeGroups() {
	group, operations := g.someGroup(), g.maybe(3)
	if g.maybe(3) {
		states := of(g, nil, []string{"Empty"}, []string{"Stable", "PreparingRebalance"}, []string{"Nonsense"})
		types := of(g, nil, nil, []string{"classic"}, []string{"consumer"})
		add(g, fmt.Sprintf("groups in states %q of types %q", states, types), func(_ *Side, r *kmsg.ListGroupsRequest) {
			r.StatesFilter, r.TypesFilter = states, types
		})
		return
	}
	add(g, "describe group "+group, func(s *Side, r *kmsg.DescribeGroupsRequest) {
		r.Groups, r.IncludeAuthorizedOperations = []string{s.group(group)}, operations
	})
}

// oddRequests are those that fit nowhere else.
func (g *generator) oddRequests() {
	switch g.rng.IntN(3) {
	case 0:
		kind, key := int8(of(g, 0, 0, 1, 2, 9)), g.someGroup()
		step := add(g, fmt.Sprintf("coordinator of kind %d for %s", kind, key), func(s *Side, r *kmsg.FindCoordinatorRequest) {
			r.CoordinatorType = kind
			r.CoordinatorKey, r.CoordinatorKeys = s.group(key), []string{s.group(key), s.group("g5")}
		})
		switch {
		case kind == 1 && step.version > 0:
			step.Tag = "transactional"
		case kind == 2 && step.version > 0:
			step.Tag = "share group"
		}
	case 1:
		operations := g.maybe(2)
		add(g, "describe the cluster", func(_ *Side, r *kmsg.DescribeClusterRequest) { r.IncludeClusterAuthorizedOperations = operations })
	case 2:
		step := add(g, "a version of ApiVersions that is not there yet", func(_ *Side, r *kmsg.ApiVersionsRequest) {
			r.ClientSoftwareName, r.ClientSoftwareVersion = "differential", "1"
		})
		fill := step.Build
		step.Build = func(s *Side) kmsg.Request {
			r := fill(s)
			r.SetVersion(99)
			return r
		}
	}
}
