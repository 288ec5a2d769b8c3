package api

import (
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestOffsetsTopic: it comes with the first search for a group's coordinator, is internal wherever topics are described, and takes no
// records.
func TestOffsetsTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGroups(t)
		search := func(kind int8, key string) {
			t.Helper()
			find := kmsg.NewPtrFindCoordinatorRequest()
			find.CoordinatorType, find.CoordinatorKey = kind, key
			if _, err := f.begin(t, 3, find)(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		search(1, "transactional")
		if _, err := byName(f.cluster.State(), offsetsTopic); err == nil {
			t.Error("a search for a transaction's coordinator creates the topic of offsets")
		}
		search(0, "g")
		search(0, "h")
		for name, want := range map[string]bool{offsetsTopic: true, "t": false} {
			m := kmsg.NewPtrMetadataRequest()
			m.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr(name)}}
			if a := f.cluster.call(t, 12, m).(*kmsg.MetadataResponse).Topics[0]; a.ErrorCode != 0 || a.IsInternal != want || len(a.Partitions) == 0 {
				t.Errorf("metadata of %s: %+v", name, a)
			}
			d := kmsg.NewPtrDescribeTopicPartitionsRequest()
			d.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: name}}
			if a := f.cluster.call(t, 0, d).(*kmsg.DescribeTopicPartitionsResponse).Topics[0]; a.ErrorCode != 0 || a.IsInternal != want {
				t.Errorf("description of %s: %+v", name, a)
			}
		}
		req := kmsg.NewPtrProduceRequest()
		req.Acks = -1
		part := kmsg.NewProduceRequestTopicPartition()
		part.Records = batch(t, 0, "a")
		req.Topics = []kmsg.ProduceRequestTopic{{Topic: offsetsTopic, Partitions: []kmsg.ProduceRequestTopicPartition{part}}}
		p := f.cluster.call(t, 9, req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		if p.ErrorCode != kerr.InvalidTopicException.Code || len(f.cluster.appended) > 0 {
			t.Errorf("records for an internal topic: %v, %v appended", kerr.ErrorForCode(p.ErrorCode), f.cluster.appended)
		}
	})
}
