package api

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// beat is a heartbeat of the consumer protocol that says all of a member.
func beatRequest(name, id string, epoch int32, topics ...string) *kmsg.ConsumerGroupHeartbeatRequest {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.MemberEpoch = name, id, epoch
	req.RebalanceTimeoutMillis, req.SubscribedTopicNames = 60_000, topics
	req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	return req
}

func (f *fakeGroups) beat(t *testing.T, version int16, req *kmsg.ConsumerGroupHeartbeatRequest) *kmsg.ConsumerGroupHeartbeatResponse {
	t.Helper()
	return call[*kmsg.ConsumerGroupHeartbeatResponse](t, f, version, req)
}

func TestConsumerGroupHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGroups(t)
		a := f.beat(t, 1, beatRequest("g", "a", 0, "t"))
		if a.ErrorCode != 0 || *a.MemberID != "a" || a.MemberEpoch != 1 || a.HeartbeatIntervalMillis != 5000 || a.Assignment == nil {
			t.Fatalf("joining: %+v", a)
		}
		if got := fmt.Sprint(a.Assignment.Topics[0].Partitions); len(a.Assignment.Topics) != 1 || got != "[0 1 2]" {
			t.Errorf("the first member is assigned %s of %d topics", got, len(a.Assignment.Topics))
		}
		b := f.beat(t, 0, beatRequest("g", "", 0, "t", "u")) // version 0 leaves the name to the broker
		if b.ErrorCode != 0 || *b.MemberID == "" || b.MemberEpoch != 2 || len(b.Assignment.Topics) != 1 {
			t.Fatalf("joining in version 0: %+v", b)
		}
		short := kmsg.NewPtrConsumerGroupHeartbeatRequest() // as clients send it while nothing changes
		short.Group, short.MemberID, short.MemberEpoch = "g", "a", 1
		if a = f.beat(t, 1, short); a.ErrorCode != 0 || a.MemberEpoch != 1 || a.Assignment == nil || len(a.Assignment.Topics[0].Partitions) != 2 {
			t.Fatalf("a member that must let go: %+v", a)
		}
		if a = f.beat(t, 1, short); a.ErrorCode != 0 || a.Assignment != nil {
			t.Fatalf("a member that was told: %+v", a)
		}
	})
}

func TestConsumerGroupHeartbeatRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGroups(t)
		for name, c := range map[string]struct {
			change  func(*kmsg.ConsumerGroupHeartbeatRequest)
			version int16
			want    *kerr.Error
		}{
			"no group id":        {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "" }, 1, kerr.InvalidGroupID},
			"elsewhere":          {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "elsewhere" }, 1, kerr.NotCoordinator},
			"no member id":       {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID = "" }, 1, kerr.InvalidRequest},
			"empty instance id":  {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = new(string) }, 1, kerr.InvalidRequest},
			"empty rack id":      {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RackID = new(string) }, 1, kerr.InvalidRequest},
			"no owned":           {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Topics = nil }, 1, kerr.InvalidRequest},
			"no time-out":        {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = -1 }, 1, kerr.InvalidRequest},
			"no topics":          {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = nil }, 0, kerr.InvalidRequest},
			"unknown assignor":   {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = kmsg.StringPtr("x") }, 0, kerr.UnsupportedAssignor},
			"unknown member":     {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = 3 }, 1, kerr.UnknownMemberID},
			"regular expression": {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicRegex = kmsg.StringPtr("(") }, 1, kerr.InvalidRegularExpression},
		} {
			req := beatRequest("g", "m", 0, "t")
			c.change(req)
			if resp := f.beat(t, c.version, req); resp.ErrorCode != c.want.Code || deref(resp.ErrorMessage) == "" || resp.Assignment != nil {
				t.Errorf("%s: %+v, want %s", name, resp, c.want.Message)
			}
		}
	})
}

// TestTwoProtocols: a group with members keeps its protocol, and says to those of the other one what they can act on.
func TestTwoProtocols(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGroups(t)
		if resp := f.beat(t, 1, beatRequest("new", "a", 0, "t")); resp.ErrorCode != 0 {
			t.Fatalf("%+v", resp)
		}
		if resp := call[*kmsg.JoinGroupResponse](t, f, 9, joinRequest("new", "", "t")); resp.ErrorCode != kerr.InconsistentGroupProtocol.Code {
			t.Errorf("a classic member in a consumer group: %+v", resp)
		}
		joined := call[*kmsg.JoinGroupResponse](t, f, 3, joinRequest("old", "", "t"))
		if joined.ErrorCode != 0 {
			t.Fatalf("%+v", joined)
		}
		if resp := f.beat(t, 1, beatRequest("old", "a", 0, "t")); resp.ErrorCode != kerr.GroupIDNotFound.Code {
			t.Errorf("a consumer member in a classic group: %+v", resp)
		}

		describe := kmsg.NewPtrDescribeGroupsRequest()
		describe.Groups = []string{"new"}
		for version, want := range map[int16]int16{5: 0, 6: kerr.GroupIDNotFound.Code} {
			g := call[*kmsg.DescribeGroupsResponse](t, f, version, describe).Groups[0]
			if g.ErrorCode != want || g.State != "Dead" || version >= 6 && !strings.Contains(deref(g.ErrorMessage), "classic") {
				t.Errorf("DescribeGroups v%d of a consumer group: %+v", version, g)
			}
		}
		req := kmsg.NewPtrConsumerGroupDescribeRequest()
		req.Groups = []string{"new", "old", "none", ""}
		groups := call[*kmsg.ConsumerGroupDescribeResponse](t, f, 1, req).Groups
		if g := groups[0]; g.ErrorCode != 0 || g.State != "Stable" || g.AssignorName != "uniform" || g.Epoch != 1 || g.AssignmentEpoch != 1 || len(g.Members) != 1 {
			t.Errorf("a consumer group: %+v", g)
		} else if m := g.Members[0]; m.MemberID != "a" || m.ClientHost != "/10.0.0.1" || m.MemberType != 1 || m.SubscribedTopics[0] != "t" ||
			m.Assignment.TopicPartitions[0].Topic != "t" || len(m.TargetAssignment.TopicPartitions[0].Partitions) != 3 {
			t.Errorf("its member: %+v", m)
		}
		for i, want := range []*kerr.Error{nil, kerr.GroupIDNotFound, kerr.GroupIDNotFound, kerr.InvalidGroupID} {
			if want != nil && (groups[i].ErrorCode != want.Code || groups[i].State != "" || groups[i].ErrorMessage == nil) {
				t.Errorf("%q: %+v", req.Groups[i], groups[i])
			}
		}

		list := kmsg.NewPtrListGroupsRequest()
		for _, c := range []struct{ types, states, want string }{
			{"", "", "new consumer Stable consumer, old classic CompletingRebalance consumer"}, {"Consumer", "", "new consumer Stable consumer"},
			{"classic", "", "old classic CompletingRebalance consumer"}, {"", "stable", "new consumer Stable consumer"}, {"share", "", ""},
		} {
			list.TypesFilter, list.StatesFilter = strings.Fields(c.types), strings.Fields(c.states)
			var got []string
			for _, g := range call[*kmsg.ListGroupsResponse](t, f, 5, list).Groups {
				got = append(got, strings.Join([]string{g.Group, g.GroupType, g.GroupState, g.ProtocolType}, " "))
			}
			if strings.Join(got, ", ") != c.want {
				t.Errorf("groups of types %q in states %q: %v", c.types, c.states, got)
			}
		}
	})
}

// TestMemberEpochs: offsets of a consumer group are committed and fetched by members that know their epoch.
func TestMemberEpochs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGroups(t)
		if resp := f.beat(t, 1, beatRequest("g", "a", 0, "t")); resp.MemberEpoch != 1 {
			t.Fatalf("%+v", resp)
		}
		for _, c := range []struct {
			version int16
			member  string
			epoch   int32
			want    *kerr.Error
		}{
			{9, "a", 1, nil}, {9, "a", 0, kerr.StaleMemberEpoch}, {9, "a", 2, kerr.StaleMemberEpoch}, {9, "b", 1, kerr.UnknownMemberID},
			{8, "a", 1, kerr.UnsupportedVersion}, {9, "", -1, kerr.UnknownMemberID},
		} {
			commit := kmsg.NewPtrOffsetCommitRequest()
			commit.Group, commit.MemberID, commit.Generation = "g", c.member, c.epoch
			part := kmsg.NewOffsetCommitRequestTopicPartition()
			part.Offset = 5
			topic := kmsg.NewOffsetCommitRequestTopic()
			topic.Topic, topic.Partitions = "t", []kmsg.OffsetCommitRequestTopicPartition{part}
			commit.Topics = []kmsg.OffsetCommitRequestTopic{topic}
			if got := call[*kmsg.OffsetCommitResponse](t, f, c.version, commit).Topics[0].Partitions[0].ErrorCode; got != code(c.want) {
				t.Errorf("commit v%d of %q in epoch %d: %v", c.version, c.member, c.epoch, kerr.ErrorForCode(got))
			}
		}
		for _, c := range []struct {
			member *string
			epoch  int32
			want   *kerr.Error
		}{{nil, -1, nil}, {kmsg.StringPtr("a"), 1, nil}, {kmsg.StringPtr("a"), 0, kerr.StaleMemberEpoch}, {kmsg.StringPtr("b"), 1, kerr.UnknownMemberID}} {
			fetch := kmsg.NewPtrOffsetFetchRequest()
			group := kmsg.NewOffsetFetchRequestGroup()
			group.Group, group.MemberID, group.MemberEpoch = "g", c.member, c.epoch
			fetch.Groups = []kmsg.OffsetFetchRequestGroup{group}
			got := call[*kmsg.OffsetFetchResponse](t, f, 9, fetch).Groups[0]
			if got.ErrorCode != code(c.want) || (c.want == nil) != (len(got.Topics) == 1 && got.Topics[0].Partitions[0].Offset == 5) {
				t.Errorf("fetch of %q in epoch %d: %+v", deref(c.member), c.epoch, got)
			}
		}
	})
}
