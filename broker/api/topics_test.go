package api

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/kfs"
)

// TestEveryAPIInEveryVersion sends the emptiest request that makes sense to every API in every version that ApiVersions would name.
func TestEveryAPIInEveryVersion(t *testing.T) {
	f := newFake(t, topic(1, "events", 2))
	for _, a := range NewRegistry(f.backend.APIs()...).All() {
		for version := a.Min; version <= a.Max; version++ {
			req := kmsg.RequestForKey(a.Key)
			if p, ok := req.(*kmsg.ProduceRequest); ok {
				p.Acks = 1 // else it is not answered
			}
			resp := f.call(t, version, req)
			if resp.Key() != a.Key || resp.GetVersion() != version {
				t.Errorf("%s v%d is answered by %s v%d", kmsg.NameForKey(a.Key), version, kmsg.NameForKey(resp.Key()), resp.GetVersion())
			}
		}
		if top := kmsg.RequestForKey(a.Key).MaxVersion(); a.Min != 0 || a.Max != top {
			t.Errorf("%s is served from %d to %d, kmsg knows 0 to %d", kmsg.NameForKey(a.Key), a.Min, a.Max, top)
		}
	}
}

func metadataFor(names ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, t)
	}
	return req
}

func TestMetadata(t *testing.T) {
	going := topic(3, "going", 1)
	spread := kfs.Topic{ID: kfs.TopicID{2}, Name: "spread", State: kfs.TopicLive, Journals: []uint32{1, 0}}
	f := newFake(t, topic(1, "events", 1), spread, going)
	going.State = kfs.TopicDeleting
	f.apply(t, going)
	names := func(resp *kmsg.MetadataResponse) (names []string) {
		for _, t := range resp.Topics {
			names = append(names, *t.Topic)
		}
		return names
	}
	for version := int16(0); version <= 13; version++ {
		all := kmsg.NewPtrMetadataRequest()
		all.Topics = nil
		resp := f.call(t, version, all).(*kmsg.MetadataResponse)
		if got := names(resp); !slices.Equal(got, []string{"events", "spread"}) {
			t.Errorf("v%d: all topics are %v", version, got)
		}
		if len(resp.Brokers) != 2 || resp.Brokers[0].Host != "seven" || version >= 1 && resp.ControllerID != 7 {
			t.Errorf("v%d: %+v", version, resp)
		}
		none := f.call(t, version, metadataFor()).(*kmsg.MetadataResponse)
		if want := 0; version > 0 && len(none.Topics) != want {
			t.Errorf("v%d: no topics are %v", version, names(none))
		}
		p := resp.Topics[1].Partitions
		if len(p) != 2 || p[0].Leader != 8 || p[1].Leader != 7 || !slices.Equal(p[0].ISR, []int32{8}) {
			t.Errorf("v%d: partitions %+v", version, p)
		}
		if version >= 7 && p[0].LeaderEpoch != fakeEpoch {
			t.Errorf("v%d: epoch %d", version, p[0].LeaderEpoch)
		}
	}
	byID := kmsg.NewPtrMetadataRequest()
	for _, id := range []byte{2, 9, 0} {
		topic := kmsg.NewMetadataRequestTopic()
		topic.TopicID = [16]byte{id}
		byID.Topics = append(byID.Topics, topic)
	}
	resp := f.call(t, 12, byID).(*kmsg.MetadataResponse)
	for i, want := range []int16{0, kerr.UnknownTopicID.Code, kerr.InvalidRequest.Code} {
		if resp.Topics[i].ErrorCode != want {
			t.Errorf("by id: topic %d has error %d, want %d", i, resp.Topics[i].ErrorCode, want)
		}
	}
	if *resp.Topics[0].Topic != "spread" {
		t.Errorf("by id: %v", *resp.Topics[0].Topic)
	}
}

func TestMetadataCreatesTopics(t *testing.T) {
	for name, test := range map[string]struct {
		version    int16
		allow, off bool
		topic      string
		want       *kerr.Error // nil for created
	}{
		"allowed":                {12, true, false, "new", nil},
		"not allowed":            {12, false, false, "new", kerr.UnknownTopicOrPartition},
		"cannot say no":          {3, false, false, "new", nil},
		"not by configuration":   {12, true, true, "new", kerr.UnknownTopicOrPartition},
		"evil name":              {12, true, false, "../../evil", kerr.InvalidTopicException},
		"still being deleted":    {12, true, false, "going", kerr.UnknownTopicOrPartition},
		"there already, of four": {12, true, false, "there", nil},
	} {
		t.Run(name, func(t *testing.T) {
			going := topic(3, "going", 1)
			f := newFake(t, going, topic(4, "there", 4))
			going.State = kfs.TopicDeleting
			f.apply(t, going)
			f.backend.AutoCreate = !test.off
			req := metadataFor(test.topic)
			req.AllowAutoTopicCreation = test.allow
			resp := f.call(t, test.version, req).(*kmsg.MetadataResponse)
			if len(resp.Topics) != 1 {
				t.Fatalf("%+v", resp)
			}
			got := resp.Topics[0]
			if test.want != nil {
				if got.ErrorCode != test.want.Code {
					t.Errorf("got %v, want %v", kerr.ErrorForCode(got.ErrorCode), test.want)
				}
				return
			}
			if got.ErrorCode != 0 || len(got.Partitions) != 4 {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestCreateTopics(t *testing.T) {
	assigned := func(partitions ...int32) (a []kmsg.CreateTopicsRequestTopicReplicaAssignment) {
		for _, p := range partitions {
			a = append(a, kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: p, Replicas: []int32{1, 2, 3}})
		}
		return a
	}
	config := func(key string, value *string) []kmsg.CreateTopicsRequestTopicConfig {
		return []kmsg.CreateTopicsRequestTopicConfig{{Name: key, Value: value}}
	}
	type wanted = kmsg.CreateTopicsRequestTopic
	for name, test := range map[string]struct {
		topic      wanted
		want       *kerr.Error
		partitions int32
	}{
		"plain":             {wanted{Topic: "new", NumPartitions: 3, ReplicationFactor: 1}, nil, 3},
		"defaults":          {wanted{Topic: "new", NumPartitions: -1, ReplicationFactor: -1}, nil, 4},
		"replication 3":     {wanted{Topic: "new", NumPartitions: 1, ReplicationFactor: 3}, nil, 1},
		"assigned":          {wanted{Topic: "new", NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: assigned(1, 0)}, nil, 2},
		"config":            {wanted{Topic: "new", NumPartitions: 1, ReplicationFactor: 1, Configs: config("retention.ms", kmsg.StringPtr("5"))}, nil, 1},
		"exists":            {wanted{Topic: "events", NumPartitions: 1, ReplicationFactor: 1}, kerr.TopicAlreadyExists, 0},
		"exists, all wrong": {wanted{Topic: "events", NumPartitions: -2, ReplicationFactor: -2, Configs: config("no.such", nil)}, kerr.TopicAlreadyExists, 0},
		"config, all wrong": {wanted{Topic: "new", NumPartitions: -2, ReplicationFactor: -2, Configs: config("no.such", kmsg.StringPtr("5"))}, kerr.InvalidConfig, 0},
		"evil name":         {wanted{Topic: "../../evil", NumPartitions: 1, ReplicationFactor: 1}, kerr.InvalidTopicException, 0},
		"no name":           {wanted{NumPartitions: 1, ReplicationFactor: 1}, kerr.InvalidTopicException, 0},
		"no partitions":     {wanted{Topic: "new", ReplicationFactor: 1}, kerr.InvalidPartitions, 0},
		"many partitions":   {wanted{Topic: "new", NumPartitions: 1 << 30, ReplicationFactor: 1}, kerr.InvalidPartitions, 0},
		"no replicas":       {wanted{Topic: "new", NumPartitions: 1}, kerr.InvalidReplicationFactor, 0},
		"negative replicas": {wanted{Topic: "new", NumPartitions: 1, ReplicationFactor: -2}, kerr.InvalidReplicationFactor, 0},
		"both":              {wanted{Topic: "new", NumPartitions: 2, ReplicationFactor: -1, ReplicaAssignment: assigned(0, 1)}, kerr.InvalidRequest, 0},
		"a gap":             {wanted{Topic: "new", NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: assigned(0, 2)}, kerr.InvalidReplicaAssignment, 0},
		"assigned twice":    {wanted{Topic: "new", NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: assigned(0, 0)}, kerr.InvalidReplicaAssignment, 0},
		"unknown config":    {wanted{Topic: "new", NumPartitions: 1, ReplicationFactor: 1, Configs: config("no.such", kmsg.StringPtr("5"))}, kerr.InvalidConfig, 0},
		"config of null":    {wanted{Topic: "new", NumPartitions: 1, ReplicationFactor: 1, Configs: config("retention.ms", nil)}, kerr.InvalidConfig, 0},
	} {
		t.Run(name, func(t *testing.T) {
			for version := int16(0); version <= 7; version++ {
				for _, validateOnly := range []bool{false, true} {
					f := newFake(t, topic(1, "events", 2))
					f.conflict = 2
					req := kmsg.NewPtrCreateTopicsRequest()
					req.Topics = append(req.Topics, test.topic)
					req.ValidateOnly = validateOnly && version >= 1
					got := f.call(t, version, req).(*kmsg.CreateTopicsResponse).Topics[0]
					created, there := f.State().Topic(test.topic.Topic)
					if test.want != nil {
						if got.ErrorCode != test.want.Code || there && test.topic.Topic != "events" {
							t.Errorf("v%d: %v, there: %t, want %v", version, kerr.ErrorForCode(got.ErrorCode), there, test.want)
						}
						continue
					}
					if got.ErrorCode != 0 || there == req.ValidateOnly {
						t.Errorf("v%d: %v, there: %t", version, kerr.ErrorForCode(got.ErrorCode), there)
					}
					if version >= 5 && (got.NumPartitions != test.partitions || got.ReplicationFactor != 1 || len(got.Configs) == 0) {
						t.Errorf("v%d: %+v", version, got)
					}
					if there && (created.Partitions() != test.partitions || version >= 7 && created.ID != got.TopicID) {
						t.Errorf("v%d: %+v, answered %+v", version, created, got)
					}
				}
			}
		})
	}
}

func TestCreateTopicsTogether(t *testing.T) {
	f := newFake(t)
	req := kmsg.NewPtrCreateTopicsRequest()
	for _, name := range []string{"a", "b", "twice", "..", "twice", "c"} {
		req.Topics = append(req.Topics, kmsg.CreateTopicsRequestTopic{Topic: name, NumPartitions: 1, ReplicationFactor: 1})
	}
	resp := f.call(t, 5, req).(*kmsg.CreateTopicsResponse)
	want := []int16{0, 0, kerr.InvalidRequest.Code, kerr.InvalidTopicException.Code, 0}
	for i, code := range want {
		if resp.Topics[i].ErrorCode != code {
			t.Errorf("%s: %d, want %d", resp.Topics[i].Topic, resp.Topics[i].ErrorCode, code)
		}
	}
	if n := len(f.State().Topics()); n != 3 {
		t.Errorf("%d topics", n)
	}
}

func TestDeleteTopics(t *testing.T) {
	for version := int16(0); version <= 6; version++ {
		f := newFake(t, topic(1, "events", 2), topic(2, "orders", 1))
		req := kmsg.NewPtrDeleteTopicsRequest()
		want := []int16{0, kerr.UnknownTopicOrPartition.Code, kerr.UnknownTopicOrPartition.Code}
		req.TopicNames = []string{"events", "nobody", "../../evil"}
		if version >= 6 {
			req.Topics = []kmsg.DeleteTopicsRequestTopic{{TopicID: [16]byte{1}}, {Topic: kmsg.StringPtr("nobody")},
				{Topic: kmsg.StringPtr("../../evil")}, {TopicID: [16]byte{9}}, {}}
			want = append(want, kerr.UnknownTopicID.Code, kerr.InvalidRequest.Code)
		}
		resp := f.call(t, version, req).(*kmsg.DeleteTopicsResponse)
		for i, code := range want {
			if resp.Topics[i].ErrorCode != code {
				t.Errorf("v%d: topic %d: %d, want %d", version, i, resp.Topics[i].ErrorCode, code)
			}
		}
		if got := resp.Topics[0]; *got.Topic != "events" {
			t.Errorf("v%d: %+v", version, got)
		}
		if left := f.State().Topics(); len(left) != 1 || left[0].Name != "orders" {
			t.Errorf("v%d: left are %v", version, left)
		}
	}
}

// TestTopicsThatComeTwice in one request are refused, and the others are not.
func TestTopicsThatComeTwice(t *testing.T) {
	f := newFake(t, topic(1, "events", 2), topic(2, "orders", 1), topic(3, "other", 1))
	twice := kerr.InvalidRequest.Code
	more := kmsg.NewPtrCreatePartitionsRequest()
	for _, name := range []string{"events", "orders", "events"} {
		more.Topics = append(more.Topics, kmsg.CreatePartitionsRequestTopic{Topic: name, Count: 5})
	}
	grown := f.call(t, 3, more).(*kmsg.CreatePartitionsResponse).Topics
	for i, want := range []int16{twice, 0, twice} {
		if grown[i].ErrorCode != want {
			t.Errorf("more partitions for %s: %d, want %d", grown[i].Topic, grown[i].ErrorCode, want)
		}
	}
	if events, _ := f.State().Topic("events"); events.Partitions() != 2 {
		t.Errorf("events has %d partitions", events.Partitions())
	}
	gone := kmsg.NewPtrDeleteTopicsRequest()
	gone.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: kmsg.StringPtr("events")}, {TopicID: [16]byte{2}}, {Topic: kmsg.StringPtr("events")}, {TopicID: [16]byte{2}}, {TopicID: [16]byte{3}}}
	deleted := f.call(t, 6, gone).(*kmsg.DeleteTopicsResponse).Topics
	for i, want := range []int16{twice, twice, twice, twice, 0} {
		if deleted[i].ErrorCode != want {
			t.Errorf("deletion %d: %d, want %d", i, deleted[i].ErrorCode, want)
		}
	}
	if left := f.State().Topics(); len(left) != 2 {
		t.Errorf("left are %v", left)
	}
}

func TestCreatePartitions(t *testing.T) {
	for name, test := range map[string]struct {
		topic kmsg.CreatePartitionsRequestTopic
		want  *kerr.Error
	}{
		"more":          {kmsg.CreatePartitionsRequestTopic{Topic: "events", Count: 5}, nil},
		"assigned":      {kmsg.CreatePartitionsRequestTopic{Topic: "events", Count: 3, Assignment: make([]kmsg.CreatePartitionsRequestTopicAssignment, 1)}, nil},
		"assigned less": {kmsg.CreatePartitionsRequestTopic{Topic: "events", Count: 5, Assignment: make([]kmsg.CreatePartitionsRequestTopicAssignment, 1)}, kerr.InvalidReplicaAssignment},
		"the same":      {kmsg.CreatePartitionsRequestTopic{Topic: "events", Count: 2}, kerr.InvalidPartitions},
		"fewer":         {kmsg.CreatePartitionsRequestTopic{Topic: "events", Count: 1}, kerr.InvalidPartitions},
		"far too many":  {kmsg.CreatePartitionsRequestTopic{Topic: "events", Count: 1 << 30}, kerr.InvalidPartitions},
		"unknown":       {kmsg.CreatePartitionsRequestTopic{Topic: "nobody", Count: 1}, kerr.UnknownTopicOrPartition},
	} {
		for version := int16(0); version <= 3; version++ {
			f := newFake(t, topic(1, "events", 2))
			req := kmsg.NewPtrCreatePartitionsRequest()
			req.Topics = append(req.Topics, test.topic)
			got := f.call(t, version, req).(*kmsg.CreatePartitionsResponse).Topics[0]
			events, _ := f.State().Topic("events")
			switch {
			case test.want != nil && (got.ErrorCode != test.want.Code || events.Partitions() != 2):
				t.Errorf("%s v%d: %v, %d partitions, want %v", name, version, kerr.ErrorForCode(got.ErrorCode), events.Partitions(), test.want)
			case test.want == nil && (got.ErrorCode != 0 || events.Partitions() != test.topic.Count):
				t.Errorf("%s v%d: %v, %d partitions", name, version, kerr.ErrorForCode(got.ErrorCode), events.Partitions())
			}
		}
	}
}

func TestListOffsets(t *testing.T) {
	f := newFake(t, topic(1, "events", 2))
	f.fill(t, 0, batch(t, 0, "a", "b", "c")) // at 1,600,000,000,000 and one and two milliseconds later
	for name, test := range map[string]struct {
		partition int32
		time      int64
		offset    int64
		at        int64
	}{
		"earliest":           {0, -2, 0, -1},
		"latest":             {0, -1, 3, -1},
		"max timestamp":      {0, -3, 2, 1_600_000_000_002},
		"earliest local":     {0, -4, 0, -1},
		"latest tiered":      {0, -5, -1, -1},
		"no such time":       {0, -6, -1, -1},
		"by time":            {0, 1_600_000_000_001, 1, 1_600_000_000_001},
		"before all":         {0, 0, 0, 1_600_000_000_000},
		"after all":          {0, 1_600_000_000_003, -1, -1},
		"latest of none":     {1, -1, 0, -1},
		"max time of none":   {1, -3, -1, -1},
		"by time, with none": {1, 5, -1, -1},
	} {
		t.Run(name, func(t *testing.T) {
			for version := int16(0); version <= 11; version++ {
				req := kmsg.NewPtrListOffsetsRequest()
				p := kmsg.NewListOffsetsRequestTopicPartition()
				p.Partition, p.Timestamp = test.partition, test.time
				req.Topics = append(req.Topics, kmsg.ListOffsetsRequestTopic{Topic: "events", Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}})
				got := f.call(t, version, req).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
				if since, special := map[int64]int16{-3: 7, -4: 8, -5: 9, -6: 100}[test.time]; special && version < since {
					if got.ErrorCode != kerr.UnsupportedVersion.Code || version > 0 && got.Offset != -1 {
						t.Errorf("v%d: %+v", version, got)
					}
					continue
				}
				if version == 0 {
					if want := []int64{test.offset}; test.offset >= 0 && !slices.Equal(got.OldStyleOffsets, want) || test.offset < 0 && len(got.OldStyleOffsets) > 0 {
						t.Errorf("v0: %v", got.OldStyleOffsets)
					}
					continue
				}
				epoch := int32(-1) // where nothing is found, and before version 4
				if test.offset >= 0 && version >= 4 {
					epoch = fakeEpoch
				}
				if got.ErrorCode != 0 || got.Offset != test.offset || got.Timestamp != test.at || got.LeaderEpoch != epoch {
					t.Errorf("v%d: %+v", version, got)
				}
			}
		})
	}
	req := kmsg.NewPtrListOffsetsRequest()
	for _, partition := range []int32{0, 0, 9} {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = partition, -1
		if len(req.Topics) == 0 {
			req.Topics = append(req.Topics, kmsg.ListOffsetsRequestTopic{Topic: "events"})
		}
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, p)
	}
	for i, want := range []int16{0, kerr.InvalidRequest.Code, kerr.UnknownTopicOrPartition.Code} {
		if got := f.call(t, 7, req).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[i]; got.ErrorCode != want {
			t.Errorf("partition %d: error %d, want %d", i, got.ErrorCode, want)
		}
	}
}

func TestInitProducerID(t *testing.T) {
	f := newFake(t)
	seen := map[int64]bool{}
	for version := int16(0); version <= 5; version++ {
		req := kmsg.NewPtrInitProducerIDRequest()
		got := f.call(t, version, req).(*kmsg.InitProducerIDResponse)
		if got.ErrorCode != 0 || got.ProducerEpoch != 0 || seen[got.ProducerID] {
			t.Errorf("v%d: %+v", version, got)
		}
		seen[got.ProducerID] = true
		for _, old := range []struct {
			id    int64
			epoch int16
			code  int16
		}{{7, 3, 0}, {7, -1, kerr.InvalidRequest.Code}, {-1, 3, kerr.InvalidRequest.Code}} {
			if version < 3 {
				old.code = 0 // neither is part of the request
			}
			req.ProducerID, req.ProducerEpoch = old.id, old.epoch
			got := f.call(t, version, req).(*kmsg.InitProducerIDResponse)
			if got.ErrorCode != old.code || (got.ProducerID >= 0) != (old.code == 0) || seen[got.ProducerID] {
				t.Errorf("v%d of %+v: %+v", version, old, got)
			}
			if old.code == 0 {
				seen[got.ProducerID] = true
			}
		}
		req.TransactionalID = kmsg.StringPtr("tx")
		got = f.call(t, version, req).(*kmsg.InitProducerIDResponse)
		if got.ErrorCode != kerr.TransactionalIDAuthorizationFailed.Code || got.ProducerID != -1 {
			t.Errorf("v%d, transactional: %+v", version, got)
		}
		if kerr.IsRetriable(kerr.ErrorForCode(got.ErrorCode)) {
			t.Error("clients would try again for ever")
		}
	}
}

func TestOffsetForLeaderEpoch(t *testing.T) {
	f := newFake(t, topic(1, "events", 1))
	f.fill(t, 0, batch(t, 0, "a", "b"))
	for version := int16(0); version <= 4; version++ {
		for epoch, want := range map[int32]int64{0: 2, fakeEpoch: 2, fakeEpoch + 1: -1, -1: -1} {
			req := kmsg.NewPtrOffsetForLeaderEpochRequest()
			p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
			p.LeaderEpoch = epoch
			req.Topics = append(req.Topics, kmsg.OffsetForLeaderEpochRequestTopic{Topic: "events", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{p}})
			got := f.call(t, version, req).(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0]
			if got.ErrorCode != 0 || got.EndOffset != want {
				t.Errorf("v%d: epoch %d: %+v", version, epoch, got)
			}
		}
	}
}

func TestDescribeConfigs(t *testing.T) {
	f := newFake(t, topic(1, "events", 1, kfs.Config{Key: "retention.ms", Value: "5"}))
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms, req.IncludeDocumentation = true, true
	req.Resources = []kmsg.DescribeConfigsRequestResource{
		{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "events"},
		{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "events", ConfigNames: []string{"retention.ms"}},
		{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "7"},
		{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "8"},
		{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "nobody"},
		{ResourceType: 99, ResourceName: "x"},
	}
	for version := int16(0); version <= 4; version++ {
		got := f.call(t, version, req).(*kmsg.DescribeConfigsResponse).Resources
		for i, want := range []int16{0, 0, 0, kerr.InvalidRequest.Code, kerr.UnknownTopicOrPartition.Code, kerr.InvalidRequest.Code} {
			if got[i].ErrorCode != want {
				t.Errorf("v%d: resource %d: %d, want %d", version, i, got[i].ErrorCode, want)
			}
		}
		if len(got[0].Configs) < 10 || len(got[1].Configs) != 1 || len(got[2].Configs) == 0 {
			t.Fatalf("v%d: %d, %d and %d configs", version, len(got[0].Configs), len(got[1].Configs), len(got[2].Configs))
		}
		retention := got[1].Configs[0]
		if *retention.Value != "5" || version >= 1 && retention.Source != kmsg.ConfigSourceDynamicTopicConfig || version == 0 && retention.IsDefault {
			t.Errorf("v%d: %+v", version, retention)
		}
		if version >= 3 && (retention.Documentation == nil || retention.ConfigType != kmsg.ConfigTypeLong) {
			t.Errorf("v%d: %+v", version, retention)
		}
	}
}

func TestDescribeCluster(t *testing.T) {
	f := newFake(t)
	for version := int16(0); version <= 2; version++ {
		req := kmsg.NewPtrDescribeClusterRequest()
		got := f.call(t, version, req).(*kmsg.DescribeClusterResponse)
		if got.ErrorCode != 0 || got.ControllerID != 7 || len(got.Brokers) != 2 || got.ClusterID != f.State().Cluster().ID.String() {
			t.Errorf("v%d: %+v", version, got)
		}
	}
	req := kmsg.NewPtrDescribeClusterRequest()
	req.EndpointType = 2
	if got := f.call(t, 1, req).(*kmsg.DescribeClusterResponse); got.ErrorCode != kerr.MismatchedEndpointType.Code {
		t.Errorf("controllers: %+v", got)
	}
}

func TestDescribeTopicPartitionsPages(t *testing.T) {
	f := newFake(t, topic(1, "a", 3), topic(2, "b", 5), topic(3, "c", 1))
	var got []int32
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = 2
	pages := 0
	for ; pages < 10; pages++ {
		resp := f.call(t, 0, req).(*kmsg.DescribeTopicPartitionsResponse)
		for _, topic := range resp.Topics {
			for _, p := range topic.Partitions {
				if p.EligibleLeaderReplicas == nil || p.LastKnownELR == nil {
					t.Fatal("null where Java's admin client wants a list")
				}
				got = append(got, int32((*topic.Topic)[0]-'a')*10+p.Partition)
			}
		}
		if resp.NextCursor == nil {
			break
		}
		req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: resp.NextCursor.Topic, Partition: resp.NextCursor.Partition}
	}
	if want := []int32{0, 1, 2, 10, 11, 12, 13, 14, 20}; !slices.Equal(got, want) || pages != 4 {
		t.Errorf("%v in %d pages, want %v", got, pages+1, want)
	}
	req = kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "nobody"}, {Topic: "b"}}
	req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "b", Partition: 99}
	resp := f.call(t, 0, req).(*kmsg.DescribeTopicPartitionsResponse)
	if len(resp.Topics) != 2 || resp.Topics[1].ErrorCode != kerr.UnknownTopicOrPartition.Code || len(resp.Topics[0].Partitions) != 0 {
		t.Errorf("from beyond the end: %+v", resp)
	}
}
