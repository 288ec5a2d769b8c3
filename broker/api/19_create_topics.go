package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// CreateTopics: versions 0 to 7, all that kmsg knows.
//
// Any replication factor is accepted and reported as 1: the object store replicates. An assignment of replicas to brokers says only
// how many partitions there are. -1 partitions means the broker's default. All topics of a request are created in one flush; one that
// is refused does not keep the others from being created.
func createTopics(b *Backend) API {
	return serve(19, serial(b.atController(func(b *Backend) Handler { return (&creator{b}).handle })))
}

type creator struct{ *Backend }

func (c *creator) handle(ctx context.Context, r *Request) (kmsg.Response, error) {
	req := r.Body.(*kmsg.CreateTopicsRequest)
	resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
	times := map[string]int{}
	for _, t := range req.Topics {
		times[t.Topic]++
	}
	wanted := make([]metadata.NewTopic, len(req.Topics))
	refused := make([]objection, len(req.Topics))
	for i := range req.Topics {
		wanted[i], refused[i].rest = c.parse(&req.Topics[i])
		if err := kfs.ValidateTopicName(wanted[i].Name); err != nil {
			refused[i].name = errInvalidTopic{err}
		}
		if times[req.Topics[i].Topic] > 1 {
			refused[i].name = refuse(kerr.InvalidRequest, fmt.Sprintf("topic %s comes twice", req.Topics[i].Topic))
		}
	}
	var created []error // of the last plan
	plan := func(s *metadata.State) ([]kfs.Entry, error) {
		var entries []kfs.Entry
		entries, created = planTopics(s, wanted, refused)
		return entries, nil
	}
	var err error
	if req.ValidateOnly {
		_, err = plan(c.Cluster.State())
	} else {
		err = c.Controller.Change(ctx, plan)
	}
	if created == nil { // there was no plan
		created = make([]error, len(wanted))
	}
	told := map[string]bool{}
	for i := range req.Topics {
		if told[wanted[i].Name] {
			continue // a topic that comes twice is refused once
		}
		told[wanted[i].Name] = true
		if created[i] == nil {
			created[i] = err
		}
		resp.Topics = append(resp.Topics, c.report(&wanted[i], created[i]))
	}
	return resp, nil
}

// objection is why a topic cannot be created, whatever there is. What is wrong with the name comes before that the topic is there already,
// all else after it.
type objection struct{ name, rest error }

// planTopics plans all that are not refused already, each against the state with those before it.
func planTopics(s *metadata.State, wanted []metadata.NewTopic, refused []objection) ([]kfs.Entry, []error) {
	draft := s.Edit()
	outcome := make([]error, len(wanted))
	var entries []kfs.Entry
	for i := range wanted {
		if outcome[i] = refused[i].name; outcome[i] != nil {
			continue
		}
		if _, done := s.TopicByID(wanted[i].ID); done {
			continue // by an earlier plan, another part of which was overtaken
		}
		if t, exists := draft.State().Topic(wanted[i].Name); exists && t.State == kfs.TopicLive {
			outcome[i] = fmt.Errorf("topic %s: %w", wanted[i].Name, metadata.ErrTopicExists)
			continue
		}
		if outcome[i] = refused[i].rest; outcome[i] != nil {
			continue
		}
		var t kfs.Topic
		if t, outcome[i] = draft.State().CreateTopic(wanted[i]); outcome[i] != nil {
			continue
		}
		if outcome[i] = draft.Apply(t); outcome[i] == nil {
			entries = append(entries, t)
		}
	}
	return entries, outcome
}

// parse reads what a client wants. The name is filled in also beside an error.
func (c *creator) parse(t *kmsg.CreateTopicsRequestTopic) (metadata.NewTopic, error) {
	n := metadata.NewTopic{ID: c.NewID(), Name: t.Topic, Partitions: t.NumPartitions, Created: c.Clock()}
	for _, config := range t.Configs {
		if config.Value == nil {
			return n, refuse(kerr.InvalidConfig, fmt.Sprintf("config %s has no value", config.Name))
		}
		n.Configs = append(n.Configs, kfs.Config{Key: config.Name, Value: *config.Value})
	}
	if _, err := metadata.ParseSettings(n.Configs); err != nil {
		return n, err
	}
	switch {
	case len(t.ReplicaAssignment) > 0 && (t.NumPartitions != -1 || t.ReplicationFactor != -1):
		return n, refuse(kerr.InvalidRequest, "with an assignment of replicas, partitions and replication factor must be -1")
	case len(t.ReplicaAssignment) > 0:
		n.Partitions = int32(len(t.ReplicaAssignment))
		return n, checkAssignment(t.ReplicaAssignment)
	case t.ReplicationFactor == 0 || t.ReplicationFactor < -1:
		return n, refuse(kerr.InvalidReplicationFactor, fmt.Sprintf("replication factor %d", t.ReplicationFactor))
	case t.NumPartitions == -1:
		n.Partitions = c.Partitions
	}
	return n, nil
}

// checkAssignment wants the partitions 0 to n-1, once each, with at least one replica.
func checkAssignment(assignment []kmsg.CreateTopicsRequestTopicReplicaAssignment) error {
	seen := make([]bool, len(assignment))
	for _, a := range assignment {
		if a.Partition < 0 || int(a.Partition) >= len(seen) || seen[a.Partition] || len(a.Replicas) == 0 {
			return refuse(kerr.InvalidReplicaAssignment, fmt.Sprintf("partitions must be 0 to %d, once each, with a replica", len(seen)-1))
		}
		seen[a.Partition] = true
	}
	return nil
}

func (c *creator) report(n *metadata.NewTopic, err error) kmsg.CreateTopicsResponseTopic {
	answer := kmsg.NewCreateTopicsResponseTopic()
	answer.Topic, answer.ErrorCode, answer.ErrorMessage = n.Name, Code(err), message(err)
	if err != nil {
		return answer
	}
	answer.TopicID, answer.NumPartitions, answer.ReplicationFactor = n.ID, n.Partitions, 1
	t := metadata.Topic{Topic: kfs.Topic{Configs: n.Configs}}
	for _, v := range t.ConfigValues() {
		config := kmsg.NewCreateTopicsResponseTopicConfig()
		config.Name, config.Value = v.Name, kmsg.StringPtr(v.Value)
		config.Source = int8(configSource(v))
		answer.Configs = append(answer.Configs, config)
	}
	return answer
}

func configSource(v metadata.ConfigValue) kmsg.ConfigSource {
	if v.IsDefault {
		return kmsg.ConfigSourceDefaultConfig
	}
	return kmsg.ConfigSourceDynamicTopicConfig
}
