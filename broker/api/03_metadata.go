package api

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// Metadata: versions 0 to 13, all that kmsg knows.
//
// A topic that is asked for by name and is not there is created, where the broker is configured so and the request allows it (before
// version 4 it cannot say no). It is durable when the answer names it, so that no client has to ask twice. Every partition has one
// replica as far as Kafka is concerned, its leader: the owner of its journal. The object store keeps the others. The controller
// is the owner of journal 0.
func metadataAPI(b *Backend) API {
	m := &describer{b}
	return serve(3, concurrent(m.handle))
}

type describer struct{ *Backend }

// What a client may do where nobody has been refused anything: all that Kafka has for a topic and for a cluster, as bits.
const (
	topicOperations   = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	clusterOperations = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
	// partitionBytes is about what a partition takes in an answer, decoded and encoded.
	partitionBytes = 256
)

func (m *describer) handle(ctx context.Context, r *Request) (kmsg.Response, error) {
	req := r.Body.(*kmsg.MetadataRequest)
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	m.create(ctx, req)
	state := m.Cluster.State()
	for _, n := range m.Cluster.Brokers() {
		broker := kmsg.NewMetadataResponseBroker()
		broker.NodeID, broker.Host, broker.Port = n.ID, n.Host, n.Port
		resp.Brokers = append(resp.Brokers, broker)
	}
	resp.ClusterID = kmsg.StringPtr(state.Cluster().ID.String())
	resp.ControllerID = m.controller()
	if req.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = clusterOperations
	}
	topics, err := m.topics(ctx, r, state, req)
	if err != nil {
		return nil, err
	}
	if req.IncludeTopicAuthorizedOperations {
		for i := range topics {
			if topics[i].ErrorCode == 0 {
				topics[i].AuthorizedOperations = topicOperations
			}
		}
	}
	resp.Topics = topics
	return resp, nil
}

// controller is the broker that owns journal 0, -1 if there is none.
func (b *Backend) controller() int32 {
	if owner, ok := b.Cluster.Owner(0); ok {
		return owner.Broker
	}
	return -1
}

func (m *describer) topics(ctx context.Context, r *Request, state *metadata.State, req *kmsg.MetadataRequest) ([]kmsg.MetadataResponseTopic, error) {
	var answers []kmsg.MetadataResponseTopic
	if req.Topics == nil || req.Version == 0 && len(req.Topics) == 0 {
		total := 0
		for _, t := range state.Topics() {
			total += len(t.Journals)
		}
		if err := r.Reserve(ctx, int64(total)*partitionBytes); err != nil {
			return nil, err
		}
		for _, t := range state.Topics() {
			if t.State == kfs.TopicLive {
				answers = append(answers, m.describe(t))
			}
		}
		return answers, nil
	}
	for _, t := range req.Topics {
		topic, err := m.find(state, &t)
		if err != nil {
			refused := kmsg.NewMetadataResponseTopic()
			refused.ErrorCode, refused.Topic, refused.TopicID = Code(err), t.Topic, t.TopicID
			answers = append(answers, refused)
			continue
		}
		if err := r.Reserve(ctx, int64(len(topic.Journals))*partitionBytes); err != nil {
			return nil, err
		}
		answers = append(answers, m.describe(topic))
	}
	return answers, nil
}

func (m *describer) find(state *metadata.State, t *kmsg.MetadataRequestTopic) (*metadata.Topic, error) {
	switch {
	case t.Topic != nil:
		return byValidName(state, *t.Topic)
	case t.TopicID != [16]byte{}:
		return byID(state, t.TopicID)
	}
	return nil, refuse(kerr.InvalidRequest, "neither a name nor an id")
}

func (m *describer) describe(t *metadata.Topic) kmsg.MetadataResponseTopic {
	answer := kmsg.NewMetadataResponseTopic()
	answer.Topic, answer.TopicID, answer.IsInternal = kmsg.StringPtr(t.Name), t.ID, isInternal(t.Name)
	for i, journal := range t.Journals {
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Partition = int32(i)
		owner, ok := m.Cluster.Owner(journal)
		if ok {
			p.Leader, p.LeaderEpoch = owner.Broker, owner.Epoch
			p.Replicas, p.ISR = []int32{owner.Broker}, []int32{owner.Broker}
		} else {
			p.Leader, p.ErrorCode = -1, kerr.LeaderNotAvailable.Code
		}
		answer.Partitions = append(answer.Partitions, p)
	}
	return answer
}

// create creates what is asked for and not there. What goes wrong shows in the answer: the topic is still not there.
func (m *describer) create(ctx context.Context, req *kmsg.MetadataRequest) {
	if !m.AutoCreate || req.Version >= 4 && !req.AllowAutoTopicCreation {
		return
	}
	state := m.Cluster.State()
	var missing []string
	for _, t := range req.Topics {
		if t.Topic == nil {
			continue
		}
		if _, err := byValidName(state, *t.Topic); errors.Is(err, errUnknownTopic) {
			missing = append(missing, *t.Topic)
		}
	}
	if len(missing) > 0 {
		m.createMissing(ctx, missing)
	}
}

func (m *describer) createMissing(ctx context.Context, missing []string) {
	_, here, err := m.Forwarder.Forward(ctx, m.creation(missing))
	if here {
		err = m.createHere(ctx, missing)
	}
	if err != nil {
		m.Log.Warn("creating topics that a client asked for or needs", "topics", missing, "error", err)
	}
}

// creation is the request to create topics as they are created here.
func (m *describer) creation(names []string) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(req.MaxVersion())
	req.TimeoutMillis = 15_000
	for _, name := range names {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = name, m.partitionsOf(name), -1
		req.Topics = append(req.Topics, t)
	}
	return req
}

func (m *describer) createHere(ctx context.Context, missing []string) error {
	return m.Controller.Change(ctx, func(s *metadata.State) ([]kfs.Entry, error) {
		draft := s.Edit()
		var entries []kfs.Entry
		for _, name := range missing {
			t, err := draft.State().CreateTopic(metadata.NewTopic{ID: m.NewID(), Name: name, Partitions: m.partitionsOf(name), Created: m.Clock()})
			if err != nil || draft.Apply(t) != nil {
				continue // somebody else has created it meanwhile, or its predecessor is still being deleted
			}
			entries = append(entries, t)
		}
		return entries, nil
	})
}
