package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// ElectLeaders: versions 0 to 2, all that kmsg knows.
//
// A partition has one replica as far as Kafka is concerned, and that one leads: ELECTION_NOT_NEEDED. Where nobody owns the journal at
// the moment there is no one to elect; the next broker takes it by itself. Nothing is ever changed. Where no partitions are
// named, those that need no election are left out of the answer, as Kafka leaves them out.
func electLeaders(b *Backend) API {
	e := &elector{b}
	return serve(43, concurrent(e.handle))
}

type elector struct{ *Backend }

// Kinds of election.
const (
	electPreferred = 0
	electUnclean   = 1
)

func (e *elector) handle(ctx context.Context, r *Request) (kmsg.Response, error) {
	req := r.Body.(*kmsg.ElectLeadersRequest)
	resp := req.ResponseKind().(*kmsg.ElectLeadersResponse)
	unavailable := kerr.PreferredLeaderNotAvailable
	switch {
	case req.Version == 0 || req.ElectionType == electPreferred:
	case req.ElectionType == electUnclean:
		unavailable = kerr.EligibleLeadersNotAvailable
	default:
		resp.ErrorCode = kerr.InvalidRequest.Code
		return resp, nil
	}
	state := e.Cluster.State()
	if req.Topics == nil {
		for _, t := range state.Topics() {
			if t.State != kfs.TopicLive {
				continue
			}
			if err := r.Reserve(ctx, int64(t.Partitions())*partitionBytes); err != nil {
				return nil, err
			}
			if answer := e.elect(t, nil, t.Name, numbers(t.Partitions()), unavailable, true); len(answer.Partitions) > 0 {
				resp.Topics = append(resp.Topics, answer)
			}
		}
		return resp, nil
	}
	for _, t := range req.Topics {
		if err := r.Reserve(ctx, int64(len(t.Partitions))*partitionBytes); err != nil {
			return nil, err
		}
		topic, err := byName(state, t.Topic)
		resp.Topics = append(resp.Topics, e.elect(topic, err, t.Topic, t.Partitions, unavailable, false))
	}
	return resp, nil
}

// elect answers for partitions of a topic, or with the error that there is instead of one.
func (e *elector) elect(topic *metadata.Topic, err error, name string, partitions []int32, unavailable *kerr.Error, onlyNeeded bool) kmsg.ElectLeadersResponseTopic {
	answer := kmsg.NewElectLeadersResponseTopic()
	answer.Topic = name
	for _, number := range partitions {
		outcome := err
		if outcome == nil {
			outcome = e.outcome(topic, number, unavailable)
		}
		if onlyNeeded && Code(outcome) == kerr.ElectionNotNeeded.Code {
			continue
		}
		part := kmsg.NewElectLeadersResponseTopicPartition()
		part.Partition, part.ErrorCode, part.ErrorMessage = number, Code(outcome), message(outcome)
		answer.Partitions = append(answer.Partitions, part)
	}
	return answer
}

func (e *elector) outcome(topic *metadata.Topic, number int32, unavailable *kerr.Error) error {
	journal, ok := topic.Journal(number)
	if !ok {
		return errUnknownTopic
	}
	if owner, ok := e.Cluster.Owner(journal); ok {
		return refuse(kerr.ElectionNotNeeded, fmt.Sprintf("broker %d leads the partition and is its only replica", owner.Broker))
	}
	return refuse(unavailable, fmt.Sprintf("no broker owns journal %d at the moment; one takes it as soon as one can", journal))
}
