package differential

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// believe notes that a topic is there with so many partitions; 0 if it is not any more.
func (g *generator) believe(name string, partitions int) {
	t := g.topics[name]
	if t == nil || partitions == 0 {
		t = &topic{}
		g.topics[name] = t
	}
	t.partitions = partitions
	for len(t.ends) < partitions {
		t.ends = append(t.ends, 0)
	}
}

// created is a Learn that takes what a server says it has created.
func created(s *Side, resp kmsg.Response, wanted map[string]int) {
	for _, t := range resp.(*kmsg.CreateTopicsResponse).Topics {
		if name := s.meaning(t.Topic); t.ErrorCode == 0 && wanted[name] > 0 {
			s.expect[name] = wanted[name]
		}
	}
}

func (g *generator) createTopic(name string, partitions int) {
	step := add(g, fmt.Sprintf("create %s with %d partitions", name, partitions), func(s *Side, r *kmsg.CreateTopicsRequest) {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = s.topic(name), int32(partitions), 1
		r.Topics, r.TimeoutMillis = append(r.Topics, t), 10_000
	})
	step.Learn = func(s *Side, resp kmsg.Response) { created(s, resp, map[string]int{name: partitions}) }
	step.Then = settleTopics(name)
	g.believe(name, partitions)
}

// createTopics asks for a topic of any kind: good, bad, there already.
func (g *generator) createTopics() {
	name := of(g, "t3", "t4", "t0", "x.y", "x_y", "=", "=.", "=..", "=bad name", "=a/b", "="+strings.Repeat("n", 250), "t3")
	partitions := of[int32](g, 1, 2, 5, 1, 0, -1, -2)
	factor := of[int16](g, 1, 1, 1, 1, -1, 0, 2, -2)
	config, value := g.someConfig()
	validate, assigned, twice, configured := g.maybe(6), g.maybe(6), g.maybe(12), g.maybe(3)
	if assigned && g.maybe(2) {
		partitions, factor = -1, -1
	}
	firstAssigned := of[int32](g, 0, 0, 0, 1)
	text := fmt.Sprintf("create %.20s: partitions %d, replication factor %d, validate only %t, assigned %t (from %d), twice %t", name, partitions, factor, validate, assigned, firstAssigned, twice)
	if configured {
		text += fmt.Sprintf(", %s=%s", config, describeValue(value))
	}
	step := add(g, text, func(s *Side, r *kmsg.CreateTopicsRequest) {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = s.topic(name), partitions, factor
		if assigned {
			for i := range int32(2) {
				a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
				a.Partition, a.Replicas = firstAssigned+i, []int32{s.server.node}
				t.ReplicaAssignment = append(t.ReplicaAssignment, a)
			}
		}
		if configured {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name, c.Value = config, value
			t.Configs = append(t.Configs, c)
		}
		r.Topics = append(r.Topics, t)
		if twice {
			r.Topics = append(r.Topics, t)
		}
		r.TimeoutMillis, r.ValidateOnly = 10_000, validate
	})
	switch {
	case configured && config == "retention.bytes" && describeValue(value) == "-5":
		step.Tag = "retention.bytes -5"
	case factor > 1:
		step.Tag = "two replicas"
	case name == "x.y" || name == "x_y":
		step.Tag = "alike"
	case partitions == -1 && step.version < 4 && !assigned:
		step.Tag = "no defaults yet"
	}
	has := int(partitions)
	switch {
	case assigned:
		has = 2
	case partitions == -1:
		has = 4
	}
	if step.version < 1 {
		validate = false
	}
	if validate {
		return
	}
	step.Learn = func(s *Side, resp kmsg.Response) { created(s, resp, map[string]int{name: has}) }
	step.Then = settleTopics(name)
	if t := g.topics[name]; t == nil || t.partitions == 0 {
		g.believe(name, max(has, 0))
	}
}

func (g *generator) deleteTopics() {
	name := of(g, "t3", "t4", "t2", "t2", "ghost", "=bad name", "=")
	byID := g.maybe(3)
	step := add(g, fmt.Sprintf("delete %s, by id if there are ids: %t", name, byID), func(s *Side, r *kmsg.DeleteTopicsRequest) {
		r.TimeoutMillis = 10_000
		if r.Version < 6 {
			r.TopicNames = []string{s.topic(name)}
			return
		}
		t := kmsg.NewDeleteTopicsRequestTopic()
		if byID {
			t.TopicID = s.id(name)
		} else {
			t.Topic = kmsg.StringPtr(s.topic(name))
		}
		r.Topics = append(r.Topics, t)
	})
	step.Learn = func(s *Side, resp kmsg.Response) {
		for _, t := range resp.(*kmsg.DeleteTopicsResponse).Topics {
			if t.ErrorCode == 0 {
				s.expect[name] = 0
			}
		}
	}
	step.Then = settleTopics(name)
	g.believe(name, 0)
}

func (g *generator) createPartitions() {
	name := g.someTopic()
	have := 0
	if t := g.topics[name]; t != nil {
		have = t.partitions
	}
	count := int32(have + of(g, 1, 2, 0, -1, -100))
	validate, assigned := g.maybe(5), g.maybe(4)
	rows := of(g, 1, 2)
	step := add(g, fmt.Sprintf("%s to %d partitions, validate only %t, assigned %t (%d)", name, count, validate, assigned, rows), func(s *Side, r *kmsg.CreatePartitionsRequest) {
		t := kmsg.NewCreatePartitionsRequestTopic()
		t.Topic, t.Count = s.topic(name), count
		if assigned {
			for range rows {
				a := kmsg.NewCreatePartitionsRequestTopicAssignment()
				a.Replicas = []int32{s.server.node}
				t.Assignment = append(t.Assignment, a)
			}
		}
		r.Topics, r.TimeoutMillis, r.ValidateOnly = append(r.Topics, t), 10_000, validate
	})
	if validate {
		return
	}
	step.Learn = func(s *Side, resp kmsg.Response) {
		if resp.(*kmsg.CreatePartitionsResponse).Topics[0].ErrorCode == 0 {
			s.expect[name] = int(count)
		}
	}
	step.Then = settleTopics(name)
	if int(count) > have && have > 0 && (!assigned || rows == int(count)-have) {
		g.believe(name, int(count))
	}
}

func (g *generator) metadata() {
	names := []string{g.someTopic()}
	if g.maybe(2) {
		names = append(names, g.someTopic())
	}
	slices.Sort(names)
	names = slices.Compact(names)
	create, all, byID, operations := g.maybe(8), g.maybe(5), g.maybe(3), g.maybe(4)
	step := add(g, fmt.Sprintf("metadata of %q, all %t, by id %t, create %t", names, all, byID, create), func(s *Side, r *kmsg.MetadataRequest) {
		r.AllowAutoTopicCreation = create
		r.IncludeTopicAuthorizedOperations, r.IncludeClusterAuthorizedOperations = operations, operations
		if all {
			return
		}
		for _, name := range names {
			t := kmsg.NewMetadataRequestTopic()
			if byID && r.Version >= 12 {
				t.TopicID = s.id(name)
			} else {
				t.Topic = kmsg.StringPtr(s.topic(name))
			}
			r.Topics = append(r.Topics, t)
		}
	})
	// What is created this way is there sooner or later. The name is valid and nobody has it.
	create = step.version < 4 || create && !(byID && step.version >= 12)
	if creates := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n != "ghost" && n != "t3" && n != "t2" }); create && !all && len(creates) > 0 {
		step.Tag = "creates"
		step.Learn = func(s *Side, _ kmsg.Response) {
			for _, name := range creates {
				if s.expect[name] == 0 {
					s.expect[name] = 4
				}
			}
		}
		step.Then = settleTopics(creates...)
		for _, name := range creates {
			if t := g.topics[name]; t == nil || t.partitions == 0 {
				g.believe(name, 4)
			}
		}
	}
}

func (g *generator) describeTopics() {
	name := g.someTopic()
	add(g, "describe "+name, func(s *Side, r *kmsg.DescribeTopicPartitionsRequest) {
		t := kmsg.NewDescribeTopicPartitionsRequestTopic()
		t.Topic = s.topic(name)
		r.Topics, r.ResponsePartitionLimit = append(r.Topics, t), 100
	})
	g.metadata()
}
