package differential

import (
	"context"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kafka answers a change of topics when its controller has it. Its brokers follow within milliseconds, and what asks them in between
// may be answered by what was. A sequence compares servers, not how fast their parts follow, so that it waits.

// settleTopics waits until the server shows the topics that it has said to have, and not those that it has deleted. It learns their ids.
func settleTopics(names ...string) func(*Side) func() (bool, error) {
	return func(s *Side) func() (bool, error) {
		return func() (bool, error) {
			for _, name := range names {
				if _, ok := s.expect[name]; !ok {
					continue
				}
				if ok, err := s.settled(name); !ok {
					return false, err
				}
			}
			return true, nil
		}
	}
}

// settled asks for one topic at a time: kfake answers for one that is not there without its name.
func (s *Side) settled(name string) (bool, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.SetVersion(12)
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr(s.topic(name))}}
	resp, err := s.aside(req)
	if err != nil {
		return false, err
	}
	t := resp.(*kmsg.MetadataResponse).Topics[0]
	want := s.expect[name]
	if want == 0 {
		return t.ErrorCode != 0, nil
	}
	if t.ErrorCode != 0 || len(t.Partitions) != want {
		return false, nil
	}
	s.topicIDs[name] = t.TopicID
	list := kmsg.NewPtrListOffsetsRequest()
	list.SetVersion(2)
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = s.topic(name)
	for _, p := range t.Partitions {
		if p.ErrorCode != 0 {
			return false, nil
		}
		s.epochs[partitionName(name, p.Partition)] = p.LeaderEpoch
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp = p.Partition, -1
		topic.Partitions = append(topic.Partitions, part)
	}
	list.Topics = append(list.Topics, topic)
	resp, err = s.aside(list)
	if err != nil {
		return false, err
	}
	for _, p := range resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions {
		if p.ErrorCode != 0 {
			return false, nil
		}
	}
	return true, nil
}

// settleConfigs waits until a change of configs that was made after all others shows.
func settleConfigs(name string) func(*Side) func() (bool, error) {
	return func(s *Side) func() (bool, error) {
		marked := false
		return func() (bool, error) {
			if s.expect[name] == 0 {
				return true, nil
			}
			if !marked {
				marked = true
				if err := s.mark(name); err != nil {
					return false, err
				}
			}
			req := kmsg.NewPtrDescribeConfigsRequest()
			req.SetVersion(1)
			r := kmsg.NewDescribeConfigsRequestResource()
			r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceTypeTopic, s.topic(name), []string{marker}
			req.Resources = append(req.Resources, r)
			resp, err := s.aside(req)
			if err != nil {
				return false, err
			}
			for _, c := range resp.(*kmsg.DescribeConfigsResponse).Resources[0].Configs {
				if c.Name == marker && c.Value != nil && *c.Value == strconv.Itoa(s.markers) {
					return true, nil
				}
			}
			return false, nil
		}
	}
}

// marker is a config that no sequence cares about.
const marker = "segment.jitter.ms"

func (s *Side) mark(name string) error {
	s.markers++
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, s.topic(name)
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Value = marker, kmsg.StringPtr(strconv.Itoa(s.markers))
	r.Configs = append(r.Configs, c)
	req.Resources = append(req.Resources, r)
	resp, err := s.aside(req)
	if err != nil {
		return err
	}
	if code := resp.(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode; code != 0 {
		return fmt.Errorf("setting %s of %s: error code %d", marker, name, code)
	}
	return nil
}

// aside asks on a connection that no actor uses.
func (s *Side) aside(req kmsg.Request) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s.conn(-1).call(ctx, req)
}
