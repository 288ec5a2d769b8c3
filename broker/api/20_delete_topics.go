package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// DeleteTopics: versions 0 to 6, all that kmsg knows.
//
// Version 6 names topics by name or id. A deletion is durable when it is answered; the name is free again at once where all of
// the topic lies on journal 0, else when every journal that holds a part has said that it takes no more records of it: the answer waits for
// that for 5 s. A topic that comes twice, under its name or its id, is not deleted.
func deleteTopics(b *Backend) API {
	return serve(20, serial(b.atController(func(b *Backend) Handler { return (&deleter{b}).handle })))
}

type deleter struct{ *Backend }

func (d *deleter) handle(ctx context.Context, r *Request) (kmsg.Response, error) {
	req := r.Body.(*kmsg.DeleteTopicsRequest)
	resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
	wanted := req.Topics
	for i := range req.TopicNames {
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.Topic = &req.TopicNames[i]
		wanted = append(wanted, t)
	}
	for i := range wanted {
		answer := kmsg.NewDeleteTopicsResponseTopic()
		answer.Topic, answer.TopicID = wanted[i].Topic, wanted[i].TopicID
		resp.Topics = append(resp.Topics, answer)
	}
	type named struct {
		name string
		id   kfs.TopicID
	}
	times := map[named]int{}
	for _, t := range wanted {
		times[named{deref(t.Topic), t.TopicID}]++
	}
	outcome := make([]error, len(wanted))
	err := d.Controller.Change(ctx, func(s *metadata.State) ([]kfs.Entry, error) {
		draft := s.Edit()
		var entries []kfs.Entry
		for i := range wanted {
			if times[named{deref(wanted[i].Topic), wanted[i].TopicID}] > 1 {
				outcome[i] = refuse(kerr.InvalidRequest, "the topic comes twice")
				continue
			}
			var plan []kfs.Entry
			plan, outcome[i] = planDeletion(draft.State(), &wanted[i], &resp.Topics[i])
			for _, e := range plan {
				if outcome[i] == nil {
					outcome[i] = draft.Apply(e)
				}
			}
			if outcome[i] == nil {
				entries = append(entries, plan...)
			}
		}
		return entries, nil
	})
	for i := range resp.Topics {
		if outcome[i] == nil {
			outcome[i] = err
		}
		resp.Topics[i].ErrorCode, resp.Topics[i].ErrorMessage = Code(outcome[i]), message(outcome[i])
	}
	return resp, nil
}

func planDeletion(s *metadata.State, wanted *kmsg.DeleteTopicsRequestTopic, answer *kmsg.DeleteTopicsResponseTopic) ([]kfs.Entry, error) {
	var topic *metadata.Topic
	var err error
	switch hasID := wanted.TopicID != [16]byte{}; {
	case hasID && wanted.Topic != nil:
		return nil, refuse(kerr.InvalidRequest, "both a name and an id")
	case hasID:
		topic, err = byID(s, wanted.TopicID)
	case wanted.Topic != nil:
		topic, err = byName(s, *wanted.Topic)
	default:
		return nil, refuse(kerr.InvalidRequest, "neither a name nor an id")
	}
	if err != nil {
		return nil, err
	}
	answer.Topic, answer.TopicID = &topic.Name, topic.ID
	return s.DeleteTopic(topic.ID)
}
