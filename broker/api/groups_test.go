package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/group"
	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// fakeGroups is a Groups in memory, over the cluster of fake. This broker coordinates all groups but "elsewhere".
type fakeGroups struct {
	served      *Groups
	cluster     *fake
	coordinator *group.Coordinator

	mu      sync.Mutex // guards all below
	offsets map[string]kfs.GroupOffset
	failing error // of every append
	gone    error // of the coordinator
}

// newGroups gives groups whose coordinator runs until the test ends. It must be called in a synctest bubble.
func newGroups(t *testing.T) *fakeGroups {
	t.Helper()
	f := &fakeGroups{cluster: newFake(t, topic(10, "t", 3), topic(11, "u", 1)), offsets: map[string]kfs.GroupOffset{}}
	for slot := range metadata.GroupSlots {
		place := kfs.GroupSlot{Slot: uint8(slot)}
		if place.Slot == metadata.Slot("elsewhere") {
			place.Journal = 1
		}
		f.cluster.apply(t, place)
	}
	n := 0
	f.coordinator = group.NewCoordinator(group.Config{}, f, f.cluster.State, time.Now, func() string { n++; return fmt.Sprint(n) })
	f.served = &Groups{Cluster: f.cluster, Coordinators: f, Clock: f.cluster.backend.Clock, OffsetsTopic: f.cluster.backend.CreateOffsetsTopic}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.coordinator.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fakeGroups) Coordinator(number uint32) (*group.Coordinator, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if number != 0 || f.gone != nil {
		return nil, errors.Join(journal.ErrNotOwner, f.gone)
	}
	return f.coordinator, nil
}

func (f *fakeGroups) Append(offsets []kfs.GroupOffset) group.Append {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range offsets {
		key := fmt.Sprintf("%s/%s/%d", o.Group, o.Topic, o.Partition)
		if f.failing != nil {
			continue
		}
		if f.offsets[key] = o; o.Offset < 0 {
			delete(f.offsets, key)
		}
	}
	return landed{f.failing}
}

func (f *fakeGroups) Offsets(name string) (out []kfs.GroupOffset) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.offsets {
		if o.Group == name {
			out = append(out, o)
		}
	}
	return out
}

func (f *fakeGroups) Groups() []string { return nil }

// landed is an append that is done.
type landed struct{ err error }

func (l landed) Err() error { return l.err }
func (l landed) Done() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// begin starts a request as it comes from the wire.
func (f *fakeGroups) begin(t *testing.T, version int16, req kmsg.Request) Finish {
	t.Helper()
	req.SetVersion(version)
	body := req.AppendTo(nil)
	if _, err := Check(req.Key(), version, req.IsFlexible(), body); err != nil {
		t.Fatalf("%T v%d: %v", req, version, err)
	}
	sent := kmsg.RequestForKey(req.Key())
	sent.SetVersion(version)
	if err := sent.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	a, ok := NewRegistry(f.served.APIs()...).Lookup(req.Key())
	if !ok || version > a.Max || a.Min != 0 {
		t.Fatalf("%T v%d is not served", req, version)
	}
	earlier := make(chan struct{})
	close(earlier)
	finish := a.Start(t.Context(), &Request{Body: sent, ClientID: "client", Host: "10.0.0.1", Earlier: earlier})
	clear(body) // the frame is used again: what is kept was copied
	return finish
}

// call sends a request and waits for its answer, decoded from the wire.
func call[R kmsg.Response](t *testing.T, f *fakeGroups, version int16, req kmsg.Request) R {
	t.Helper()
	resp, err := f.begin(t, version, req)(t.Context())
	if err != nil {
		t.Fatalf("%T v%d: %v", req, version, err)
	}
	return overTheWire(t, resp).(R)
}

func joinRequest(name, id string, topics ...string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.ProtocolType = name, id, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 10_000, 60_000
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Topics = topics
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "range", meta.AppendTo(nil)
	req.Protocols = append(req.Protocols, p)
	return req
}

// member joins a group and gets everything assigned, in given versions.
func member(t *testing.T, f *fakeGroups, name string, join, sync int16) *kmsg.JoinGroupResponse {
	t.Helper()
	joined := call[*kmsg.JoinGroupResponse](t, f, join, joinRequest(name, "", "t"))
	if join >= 4 {
		if joined.ErrorCode != kerr.MemberIDRequired.Code || joined.MemberID == "" {
			t.Fatalf("join v%d: %+v", join, joined)
		}
		joined = call[*kmsg.JoinGroupResponse](t, f, join, joinRequest(name, joined.MemberID, "t"))
	}
	if joined.ErrorCode != 0 || joined.Generation != 1 || joined.LeaderID != joined.MemberID || len(joined.Members) != 1 || *joined.Protocol != "range" {
		t.Fatalf("join v%d: %+v", join, joined)
	}
	if want := joinRequest(name, "", "t").Protocols[0].Metadata; string(joined.Members[0].ProtocolMetadata) != string(want) {
		t.Fatalf("join v%d: metadata %q, want %q", join, joined.Members[0].ProtocolMetadata, want)
	}
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation = name, joined.MemberID, 1
	req.ProtocolType, req.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
	req.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: joined.MemberID, MemberAssignment: []byte("everything")}}
	synced := call[*kmsg.SyncGroupResponse](t, f, sync, req)
	if synced.ErrorCode != 0 || string(synced.MemberAssignment) != "everything" || sync >= 5 && *synced.Protocol != "range" {
		t.Fatalf("sync v%d: %+v", sync, synced)
	}
	return joined
}

func commitRequest(name string, topics ...string) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = name
	for i, name := range topics {
		t := kmsg.NewOffsetCommitRequestTopic()
		t.Topic, t.TopicID = name, map[string][16]byte{"t": {10}, "u": {11}, "gone": {99}}[name]
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = int32(i), 40+int64(i), 3, kmsg.StringPtr("m")
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
	}
	return req
}

// heard sends a heartbeat and gives its error.
func heard(t *testing.T, f *fakeGroups, version int16, name, id string, generation int32) error {
	t.Helper()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = name, id, generation
	return kerr.ErrorForCode(call[*kmsg.HeartbeatResponse](t, f, version, req).ErrorCode)
}

func TestGroupsInEveryVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGroups(t)
		for v := range int16(11) {
			name := fmt.Sprintf("group-%d", v)
			joined := member(t, f, name, min(v, 9), min(v, 5))
			if err := heard(t, f, min(v, 4), name, joined.MemberID, 1); err != nil {
				t.Errorf("heartbeat v%d: %v", v, err)
			}
			req := commitRequest(name, "t")
			req.MemberID, req.Generation = joined.MemberID, 1
			committed := call[*kmsg.OffsetCommitResponse](t, f, v, req)
			// Version 0 cannot say who it is, so it is not from a member.
			want := int16(0)
			if v == 0 {
				want = kerr.UnknownMemberID.Code
			}
			if p := committed.Topics[0].Partitions[0]; p.ErrorCode != want {
				t.Errorf("commit v%d: %+v", v, p)
			}
			left(t, f, min(v, 5), name, joined.MemberID)
			if err := heard(t, f, min(v, 4), name, joined.MemberID, 1); err != kerr.UnknownMemberID {
				t.Errorf("heartbeat v%d after leaving: %v", v, err)
			}
		}
	})
}

// left takes a member out.
func left(t *testing.T, f *fakeGroups, version int16, name, id string) {
	t.Helper()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = name, id
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID = id
	req.Members = append(req.Members, m)
	resp := call[*kmsg.LeaveGroupResponse](t, f, version, req)
	if resp.ErrorCode != 0 || version >= 3 && (len(resp.Members) != 1 || resp.Members[0].ErrorCode != 0 || resp.Members[0].MemberID != id) {
		t.Fatalf("leave v%d: %+v", version, resp)
	}
	again := call[*kmsg.LeaveGroupResponse](t, f, version, req)
	if version < 3 && again.ErrorCode != kerr.UnknownMemberID.Code || version >= 3 && again.Members[0].ErrorCode != kerr.UnknownMemberID.Code {
		t.Fatalf("leave v%d again: %+v", version, again)
	}
}

func TestOffsetsInEveryVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGroups(t)
		for v := range int16(11) {
			name := fmt.Sprintf("group-%d", v)
			if got := fetchedOffsets(t, f, v, name, true); got != "t/0=-1 t/1=-1" {
				t.Errorf("fetch v%d of nothing: %s", v, got)
			}
			resp := call[*kmsg.OffsetCommitResponse](t, f, v, commitRequest(name, "t", "u", "gone"))
			var codes []int16
			for _, topic := range resp.Topics {
				codes = append(codes, topic.Partitions[0].ErrorCode)
			}
			want := fmt.Sprint([]int16{0, kerr.UnknownTopicOrPartition.Code, kerr.UnknownTopicOrPartition.Code})
			if v >= 10 {
				want = fmt.Sprint([]int16{0, kerr.UnknownTopicOrPartition.Code, kerr.UnknownTopicID.Code})
			}
			if fmt.Sprint(codes) != want {
				t.Errorf("commit v%d: %v, want %s", v, codes, want)
			}
			epoch := int32(-1)
			if v >= 6 {
				epoch = 3
			}
			if o := f.offsets[name+"/t/0"]; o.Offset != 40 || o.LeaderEpoch != epoch || o.Metadata != "m" || o.TopicID != (kfs.TopicID{10}) {
				t.Errorf("commit v%d: %+v", v, o)
			}
			if got := fetchedOffsets(t, f, v, name, true); got != "t/0=40m t/1=-1" {
				t.Errorf("fetch v%d: %s", v, got)
			}
			if v < 2 {
				continue
			}
			// All: not those of a topic that is there no more, or is another by now.
			f.offsets["x"] = kfs.GroupOffset{Group: name, Topic: "u", TopicID: kfs.TopicID{77}, Offset: 5}
			f.offsets["y"] = kfs.GroupOffset{Group: name, Topic: "gone", TopicID: kfs.TopicID{99}, Offset: 5}
			f.offsets["z"] = kfs.GroupOffset{Group: name, Topic: "t", TopicID: kfs.TopicID{10}, Partition: 2, Offset: 9}
			if got := fetchedOffsets(t, f, v, name, false); got != "t/0=40m t/2=9" {
				t.Errorf("fetch v%d of all: %s", v, got)
			}
		}
	})
}

// fetchedOffsets gives a group's offsets of partitions 0 and 1 of topic t, or all that it has.
func fetchedOffsets(t *testing.T, f *fakeGroups, version int16, name string, some bool) string {
	t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = name
	q := kmsg.NewOffsetFetchRequestGroup()
	q.Group = name
	if some {
		req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0, 1}}}
		q.Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", TopicID: [16]byte{10}, Partitions: []int32{0, 1}}}
	}
	req.Groups = append(req.Groups, q)
	resp := call[*kmsg.OffsetFetchResponse](t, f, version, req)
	var out []string
	add := func(topic string, p kmsg.OffsetFetchResponseGroupTopicPartition) {
		if p.ErrorCode != 0 {
			t.Errorf("fetch v%d: %s/%d: %v", version, topic, p.Partition, kerr.ErrorForCode(p.ErrorCode))
		}
		out = append(out, fmt.Sprintf("%s/%d=%d%s", topic, p.Partition, p.Offset, deref(p.Metadata)))
	}
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			add(topic.Topic, kmsg.OffsetFetchResponseGroupTopicPartition(p))
		}
	}
	for _, g := range resp.Groups {
		for _, topic := range g.Topics {
			if topic.TopicID == [16]byte{10} {
				topic.Topic = "t"
			}
			for _, p := range topic.Partitions {
				add(topic.Topic, p)
			}
		}
	}
	return strings.Join(out, " ")
}

func TestOffsetErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGroups(t)
		long := commitRequest("g", "t")
		long.Topics[0].Partitions[0].Metadata = kmsg.StringPtr(strings.Repeat("m", 4097))
		for name, c := range map[string]struct {
			req     *kmsg.OffsetCommitRequest
			failing error
			want    *kerr.Error
		}{
			"metadata":    {long, nil, kerr.OffsetMetadataTooLarge},
			"unavailable": {commitRequest("g", "t"), journal.ErrUnavailable, kerr.CoordinatorNotAvailable},
			"not owner":   {commitRequest("g", "t"), journal.ErrNotOwner, kerr.NotCoordinator},
			"long name":   {commitRequest(strings.Repeat("g", 1001), "t"), nil, kerr.InvalidGroupID},
		} {
			f.failing = c.failing
			if p := call[*kmsg.OffsetCommitResponse](t, f, 9, c.req).Topics[0].Partitions[0]; p.ErrorCode != c.want.Code {
				t.Errorf("%s: %v, want %v", name, kerr.ErrorForCode(p.ErrorCode), c.want)
			}
		}
		f.failing = nil
		if err := heard(t, f, 4, "elsewhere", "m", 1); err != kerr.NotCoordinator {
			t.Errorf("heartbeat to a group that is elsewhere: %v", err)
		}
		f.gone = errors.New("lease lost")
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Group, req.Topics = "g", []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0}}}
		if resp := call[*kmsg.OffsetFetchResponse](t, f, 0, req); resp.Topics[0].Partitions[0].ErrorCode != kerr.NotCoordinator.Code {
			t.Errorf("fetch v0 from another: %+v", resp)
		}
		if resp := call[*kmsg.OffsetFetchResponse](t, f, 7, req); resp.ErrorCode != kerr.NotCoordinator.Code {
			t.Errorf("fetch v7 from another: %+v", resp)
		}
		req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g"}}
		if resp := call[*kmsg.OffsetFetchResponse](t, f, 8, req); resp.Groups[0].ErrorCode != kerr.NotCoordinator.Code {
			t.Errorf("fetch v8 from another: %+v", resp)
		}
		for v := range int16(10) {
			if resp := call[*kmsg.JoinGroupResponse](t, f, v, joinRequest("g", "")); resp.ErrorCode != kerr.NotCoordinator.Code {
				t.Errorf("join v%d at another: %+v", v, resp)
			}
		}
	})
}

func TestFindCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGroups(t)
		for v := range int16(7) {
			for _, c := range []struct {
				key  string
				kind int8
				node int32
				want *kerr.Error
			}{{"g", 0, 7, nil}, {"elsewhere", 0, 8, nil}, {"", 0, 7, nil}, {strings.Repeat("g", 1001), 0, -1, kerr.InvalidGroupID},
				{"tx", 1, -1, kerr.TransactionalIDAuthorizationFailed}, {"share", 2, -1, kerr.InvalidRequest}} {
				req := kmsg.NewPtrFindCoordinatorRequest()
				req.CoordinatorKey, req.CoordinatorType, req.CoordinatorKeys = c.key, c.kind, []string{c.key}
				resp := call[*kmsg.FindCoordinatorResponse](t, f, v, req)
				got := kmsg.FindCoordinatorResponseCoordinator{Key: c.key, NodeID: resp.NodeID, Host: resp.Host, Port: resp.Port, ErrorCode: resp.ErrorCode}
				if v >= 4 {
					got = resp.Coordinators[0]
				}
				if v == 0 && c.kind != 0 {
					continue // it cannot ask
				}
				if got.ErrorCode != code(c.want) || got.Key != c.key || got.NodeID != c.node ||
					got.Host != map[int32]string{7: "seven", 8: "eight"}[c.node] {
					t.Errorf("v%d %q: %+v", v, c.key, got)
				}
			}
		}
	})
}

func TestDescribeAndList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGroups(t)
		joined := member(t, f, "g", 9, 5)
		call[*kmsg.OffsetCommitResponse](t, f, 9, commitRequest("simple", "t"))
		for v := range int16(7) {
			req := kmsg.NewPtrDescribeGroupsRequest()
			req.Groups, req.IncludeAuthorizedOperations = []string{"g", "none"}, true
			resp := call[*kmsg.DescribeGroupsResponse](t, f, v, req)
			d, none := resp.Groups[0], resp.Groups[1]
			if d.State != "Stable" || d.Protocol != "range" || len(d.Members) != 1 || d.Members[0].MemberID != joined.MemberID ||
				d.Members[0].ClientID != "client" || d.Members[0].ClientHost != "/10.0.0.1" || string(d.Members[0].MemberAssignment) != "everything" {
				t.Errorf("v%d: %+v", v, d)
			}
			if none.State != "Dead" || none.ErrorCode != map[bool]int16{true: kerr.GroupIDNotFound.Code}[v >= 6] {
				t.Errorf("v%d: %+v", v, none)
			}
		}
		for v := range int16(6) {
			for _, c := range []struct{ states, types, want string }{
				{"", "", "g simple"}, {"stable", "Classic", "g"}, {"Empty", "", "simple"}, {"", "consumer", ""},
			} {
				req := kmsg.NewPtrListGroupsRequest()
				if req.StatesFilter = strings.Fields(c.states); v < 4 {
					c.want = "g simple"
				}
				if req.TypesFilter = strings.Fields(c.types); v == 4 && c.types == "consumer" {
					c.want = "g simple"
				}
				var got []string
				for _, l := range call[*kmsg.ListGroupsResponse](t, f, v, req).Groups {
					got = append(got, l.Group)
				}
				if strings.Join(got, " ") != c.want {
					t.Errorf("v%d states %q types %q: %v", v, c.states, c.types, got)
				}
			}
		}
	})
}

func TestDeleteGroupsAndOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGroups(t)
		for v := range int16(4) {
			joined := member(t, f, "g", 3, 3)
			commit := commitRequest("g", "u", "t", "t")
			commit.MemberID, commit.Generation = joined.MemberID, 1
			call[*kmsg.OffsetCommitResponse](t, f, 9, commit)

			req := kmsg.NewPtrOffsetDeleteRequest()
			req.Group = "g"
			for _, name := range []string{"t", "u", "gone"} {
				req.Topics = append(req.Topics, kmsg.OffsetDeleteRequestTopic{Topic: name, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}, {Partition: 1}}})
			}
			resp := call[*kmsg.OffsetDeleteResponse](t, f, 0, req)
			var codes []int16
			for _, topic := range resp.Topics {
				for _, p := range topic.Partitions {
					codes = append(codes, p.ErrorCode)
				}
			}
			unknown, subscribed := kerr.UnknownTopicOrPartition.Code, kerr.GroupSubscribedToTopic.Code
			if want := []int16{subscribed, subscribed, 0, unknown, unknown, unknown}; fmt.Sprint(codes) != fmt.Sprint(want) || len(f.Offsets("g")) != 2 {
				t.Errorf("offsets: %v, left are %v", codes, f.Offsets("g"))
			}

			drop := kmsg.NewPtrDeleteGroupsRequest()
			drop.Groups = []string{"g", "none"}
			for _, want := range []*kerr.Error{kerr.NonEmptyGroup, nil, kerr.GroupIDNotFound} {
				resp := call[*kmsg.DeleteGroupsResponse](t, f, v, drop)
				if resp.Groups[0].ErrorCode != code(want) || resp.Groups[1].ErrorCode != kerr.GroupIDNotFound.Code {
					t.Errorf("v%d: %+v, want %v", v, resp, want)
				}
				if want == kerr.NonEmptyGroup {
					left(t, f, 5, "g", joined.MemberID)
				}
			}
			if len(f.Offsets("g")) != 0 {
				t.Errorf("left are %v", f.Offsets("g"))
			}
			if resp := call[*kmsg.OffsetDeleteResponse](t, f, 0, req); resp.ErrorCode != kerr.GroupIDNotFound.Code {
				t.Errorf("offsets of nothing: %+v", resp)
			}
		}
	})
}

func TestJoinEndsWithItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGroups(t)
		member(t, f, "g", 3, 3)
		ctx, cancel := context.WithCancel(t.Context())
		finish := f.begin(t, 3, joinRequest("g", "", "t")) // waits for the other, who does not come
		done := make(chan error)
		go func() {
			_, err := finish(ctx)
			done <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	})
}

func TestSyncNeedsAProtocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGroups(t)
		req := kmsg.NewPtrSyncGroupRequest()
		req.Group, req.MemberID, req.Generation = "g", "m", 1
		for v, want := range []*kerr.Error{4: kerr.UnknownMemberID, 5: kerr.InconsistentGroupProtocol} {
			if want == nil {
				continue
			}
			if resp := call[*kmsg.SyncGroupResponse](t, f, int16(v), req); resp.ErrorCode != want.Code {
				t.Errorf("v%d: %v, want %v", v, kerr.ErrorForCode(resp.ErrorCode), want)
			}
		}
	})
}
