package api

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs"
)

// spread is a topic of three partitions: this broker leads 0, the other one 1, nobody 2.
func spread(t *testing.T, more ...kfs.Topic) *fake {
	t.Helper()
	f := newFake(t)
	f.apply(t, kfs.Cluster{ID: kfs.ClusterID{1}, Lineage: kfs.TopicID{2}, Journals: 3})
	f.apply(t, kfs.Topic{ID: kfs.TopicID{1}, Name: "events", State: kfs.TopicLive, Journals: []uint32{0, 1, 2}})
	for _, topic := range more {
		f.apply(t, topic)
	}
	return f
}

func TestDescribeProducers(t *testing.T) {
	f := spread(t)
	f.producers = []journal.ActiveProducer{{ID: 3, Epoch: 2, LastSequence: 41, Seen: 1_700_000_000_000}, {ID: 9, LastSequence: -1, Seen: 5}}
	ask := func(name string, partitions ...int32) []kmsg.DescribeProducersResponseTopicPartition {
		req := kmsg.NewPtrDescribeProducersRequest()
		req.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: name, Partitions: partitions}}
		topics := f.call(t, 0, req).(*kmsg.DescribeProducersResponse).Topics
		if len(topics) != 1 || topics[0].Topic != name {
			t.Fatalf("%+v", topics)
		}
		return topics[0].Partitions
	}
	for name, test := range map[string]struct {
		topic string
		want  []*kerr.Error // of partitions 0, 1, …
	}{
		"partitions":    {"events", []*kerr.Error{nil, kerr.NotLeaderForPartition, kerr.NotLeaderForPartition, kerr.UnknownTopicOrPartition}},
		"unknown topic": {"nobody", []*kerr.Error{kerr.UnknownTopicOrPartition}},
		"evil topic":    {"../../evil", []*kerr.Error{kerr.InvalidTopicException}},
	} {
		for i, p := range ask(test.topic, numbers(int32(len(test.want)))...) {
			if want := test.want[i]; p.Partition != int32(i) || p.ErrorCode != code(want) || (p.ErrorMessage == nil) != (want == nil) {
				t.Errorf("%s: %+v, want %v", name, p, want)
			}
			if p.ErrorCode != 0 && len(p.ActiveProducers) > 0 {
				t.Errorf("%s: producers beside an error: %+v", name, p)
			}
		}
	}
	got := fmt.Sprintf("%+v", ask("events", 0)[0].ActiveProducers)
	want := "[{ProducerID:3 ProducerEpoch:2 LastSequence:41 LastTimestamp:1700000000000 CoordinatorEpoch:-1 CurrentTxnStartOffset:-1 UnknownTags:{keyvals:map[]}} " +
		"{ProducerID:9 ProducerEpoch:0 LastSequence:-1 LastTimestamp:5 CoordinatorEpoch:-1 CurrentTxnStartOffset:-1 UnknownTags:{keyvals:map[]}}]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	f.passed = journal.ErrNotOwner
	if p := ask("events", 0)[0]; p.ErrorCode != kerr.NotLeaderForPartition.Code || len(p.ActiveProducers) > 0 {
		t.Errorf("after the lease has passed: %+v", p)
	}
}

func TestDescribeLogDirs(t *testing.T) {
	f := spread(t, topic(2, "more", 2), kfs.Topic{ID: kfs.TopicID{3}, Name: "far", State: kfs.TopicLive, Journals: []uint32{1}})
	first, second := batch(t, 0, "a", "b"), batch(t, 0, "c")
	f.fill(t, 0, first, second)
	f.log(kfs.PartitionID{Topic: kfs.TopicID{1}}).start = 2
	all := fmt.Sprintf("events/0=%d more/0=0 more/1=0", len(second))
	for name, test := range map[string]struct {
		topics []kmsg.DescribeLogDirsRequestTopic
		want   string
	}{
		"all":   {nil, all},
		"none":  {[]kmsg.DescribeLogDirsRequestTopic{}, ""},
		"some":  {[]kmsg.DescribeLogDirsRequestTopic{{Topic: "more", Partitions: []int32{1, 7, 1}}, {Topic: "nobody", Partitions: []int32{0}}, {Topic: "far", Partitions: []int32{0}}}, "more/1=0"},
		"every": {[]kmsg.DescribeLogDirsRequestTopic{{Topic: "more", Partitions: []int32{1, 0}}, {Topic: "events", Partitions: []int32{0, 1, 2}}}, fmt.Sprintf("more/0=0 more/1=0 events/0=%d", len(second))},
	} {
		for version := int16(0); version <= 5; version++ {
			req := kmsg.NewPtrDescribeLogDirsRequest()
			req.Topics = test.topics
			resp := f.call(t, version, req).(*kmsg.DescribeLogDirsResponse)
			if resp.ErrorCode != 0 || len(resp.Dirs) != 1 {
				t.Fatalf("%s v%d: %+v", name, version, resp)
			}
			dir := resp.Dirs[0]
			if dir.Dir != "store" || dir.ErrorCode != 0 || dir.TotalBytes != -1 || dir.UsableBytes != -1 || dir.IsCordoned {
				t.Errorf("%s v%d: %+v", name, version, dir)
			}
			var got []string
			for _, topic := range dir.Topics {
				for _, p := range topic.Partitions {
					got = append(got, fmt.Sprintf("%s/%d=%d", topic.Topic, p.Partition, p.Size))
					if p.OffsetLag != 0 || p.IsFuture {
						t.Errorf("%s v%d: %+v", name, version, p)
					}
				}
			}
			if text := fmt.Sprint(got); text != "["+test.want+"]" {
				t.Errorf("%s v%d: %s, want %s", name, version, text, test.want)
			}
		}
	}
}

func TestElectLeaders(t *testing.T) {
	named := func(name string, partitions ...int32) []kmsg.ElectLeadersRequestTopic {
		return []kmsg.ElectLeadersRequestTopic{{Topic: name, Partitions: partitions}}
	}
	lead := kerr.ElectionNotNeeded
	for name, test := range map[string]struct {
		election int8
		topics   []kmsg.ElectLeadersRequestTopic
		from     int16 // version
		code     *kerr.Error
		want     []*kerr.Error
	}{
		"preferred":     {0, named("events", 0, 1, 2, 3), 0, nil, []*kerr.Error{lead, lead, kerr.PreferredLeaderNotAvailable, kerr.UnknownTopicOrPartition}},
		"unclean":       {1, named("events", 0, 1, 2, -1), 1, nil, []*kerr.Error{lead, lead, kerr.EligibleLeadersNotAvailable, kerr.UnknownTopicOrPartition}},
		"all":           {0, nil, 0, nil, []*kerr.Error{kerr.PreferredLeaderNotAvailable}},
		"none":          {0, []kmsg.ElectLeadersRequestTopic{}, 0, nil, nil},
		"unknown topic": {0, named("nobody", 0), 0, nil, []*kerr.Error{kerr.UnknownTopicOrPartition}},
		"evil topic":    {0, named("../../evil", 0), 0, nil, []*kerr.Error{kerr.UnknownTopicOrPartition}},
		"unknown kind":  {2, named("events", 0), 1, kerr.InvalidRequest, nil},
	} {
		for version := test.from; version <= 2; version++ {
			req := kmsg.NewPtrElectLeadersRequest()
			req.ElectionType, req.Topics = test.election, test.topics
			resp := spread(t).call(t, version, req).(*kmsg.ElectLeadersResponse)
			var got []int16
			for _, topic := range resp.Topics {
				for _, p := range topic.Partitions {
					got = append(got, p.ErrorCode)
					if p.ErrorMessage == nil {
						t.Errorf("%s v%d: no message: %+v", name, version, p)
					}
				}
			}
			var want []int16
			for _, err := range test.want {
				want = append(want, err.Code)
			}
			if resp.ErrorCode != code(test.code) || !slices.Equal(got, want) {
				t.Errorf("%s v%d: %d and %v, want %v and %v", name, version, resp.ErrorCode, got, test.code, test.want)
			}
		}
	}
}

// TestWhatIsNotThere: nothing is being reassigned, and there is no authorizer.
func TestWhatIsNotThere(t *testing.T) {
	f := spread(t)
	reassigned := f.call(t, 0, &kmsg.ListPartitionReassignmentsRequest{Topics: []kmsg.ListPartitionReassignmentsRequestTopic{{Topic: "events", Partitions: []int32{0}}}})
	if r := reassigned.(*kmsg.ListPartitionReassignmentsResponse); r.ErrorCode != 0 || len(r.Topics) != 0 {
		t.Errorf("%+v", r)
	}
	disabled := kerr.SecurityDisabled.Code
	for version := int16(0); version <= 3; version++ {
		described := f.call(t, version, kmsg.NewPtrDescribeACLsRequest()).(*kmsg.DescribeACLsResponse)
		if described.ErrorCode != disabled || described.ErrorMessage == nil || len(described.Resources) != 0 {
			t.Errorf("v%d: %+v", version, described)
		}
		created := f.call(t, version, &kmsg.CreateACLsRequest{Creations: make([]kmsg.CreateACLsRequestCreation, 2)}).(*kmsg.CreateACLsResponse)
		if len(created.Results) != 2 || created.Results[0].ErrorCode != disabled || created.Results[1].ErrorMessage == nil {
			t.Errorf("v%d: %+v", version, created)
		}
		deleted := f.call(t, version, &kmsg.DeleteACLsRequest{Filters: make([]kmsg.DeleteACLsRequestFilter, 2)}).(*kmsg.DeleteACLsResponse)
		if len(deleted.Results) != 2 || deleted.Results[0].ErrorCode != disabled || len(deleted.Results[1].MatchingACLs) != 0 {
			t.Errorf("v%d: %+v", version, deleted)
		}
	}
}
