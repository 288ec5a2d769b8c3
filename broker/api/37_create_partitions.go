package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// CreatePartitions: versions 0 to 3, all that kmsg knows.
//
// A topic's number of partitions can only grow. An assignment of replicas must be for as many partitions as are added; which brokers
// it names is of no importance. A topic that comes twice is refused both times.
func createPartitions(b *Backend) API {
	return serve(37, serial(b.atController(func(b *Backend) Handler { return (&partitionCreator{b}).handle })))
}

type partitionCreator struct{ *Backend }

func (p *partitionCreator) handle(ctx context.Context, r *Request) (kmsg.Response, error) {
	req := r.Body.(*kmsg.CreatePartitionsRequest)
	resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
	outcome := make([]error, len(req.Topics))
	times := map[string]int{}
	for _, t := range req.Topics {
		times[t.Topic]++
	}
	plan := func(s *metadata.State) ([]kfs.Entry, error) {
		draft := s.Edit()
		var entries []kfs.Entry
		for i := range req.Topics {
			if name := req.Topics[i].Topic; times[name] > 1 {
				outcome[i] = refuse(kerr.InvalidRequest, fmt.Sprintf("topic %s comes twice", name))
				continue
			}
			var t kfs.Topic
			if t, outcome[i] = planPartitions(draft.State(), &req.Topics[i]); outcome[i] != nil {
				continue
			}
			if outcome[i] = draft.Apply(t); outcome[i] == nil {
				entries = append(entries, t)
			}
		}
		return entries, nil
	}
	var err error
	if req.ValidateOnly {
		_, err = plan(p.Cluster.State())
	} else {
		err = p.Controller.Change(ctx, plan)
	}
	for i := range req.Topics {
		if outcome[i] == nil {
			outcome[i] = err
		}
		answer := kmsg.NewCreatePartitionsResponseTopic()
		answer.Topic, answer.ErrorCode, answer.ErrorMessage = req.Topics[i].Topic, Code(outcome[i]), message(outcome[i])
		resp.Topics = append(resp.Topics, answer)
	}
	return resp, nil
}

func planPartitions(s *metadata.State, req *kmsg.CreatePartitionsRequestTopic) (kfs.Topic, error) {
	topic, err := byName(s, req.Topic)
	if err != nil {
		return kfs.Topic{}, err
	}
	have, want := topic.Partitions(), req.Count
	switch {
	case want <= have:
		return kfs.Topic{}, refuse(kerr.InvalidPartitions, fmt.Sprintf("topic %s has %d partitions, which cannot become %d", topic.Name, have, want))
	case want > metadata.MaxPartitions:
		return kfs.Topic{}, refuse(kerr.InvalidPartitions, fmt.Sprintf("%d partitions are more than %d", want, metadata.MaxPartitions))
	case req.Assignment != nil && len(req.Assignment) != int(want-have):
		return kfs.Topic{}, refuse(kerr.InvalidReplicaAssignment, fmt.Sprintf("%d partitions are added and %d assigned", want-have, len(req.Assignment)))
	}
	over := topic.Settings.Journals
	if len(over) == 0 {
		for j := range s.Cluster().Journals {
			over = append(over, j)
		}
	}
	grown := topic.Topic
	grown.Journals = append([]uint32(nil), topic.Journals...)
	for i := have; i < want; i++ {
		grown.Journals = append(grown.Journals, over[int(i)%len(over)])
	}
	return grown, nil
}
