package differential

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// members are what the generator believes of a group: who is in it.
type members struct {
	joined  []string // the leader first
	version int16    // of JoinGroup
	static  bool
}

// actor is the connection of a member. Members wait for each other, so each needs its own.
func actor(member string) int { return 1 + int(member[len(member)-1]-'a') }

// memberOf is what a member is called in a sequence: a group, and a letter.
func memberOf(group, letter string) string { return group + letter }

// groupLife moves a group on: somebody joins, comes back, or leaves.
func (g *generator) groupLife() {
	group := of(g, "g0", "g0", "g1")
	m := g.groups[group]
	if m == nil {
		m = &members{version: g.version(11), static: g.maybe(3)}
		g.groups[group] = m
	}
	switch {
	case len(m.joined) == 0:
		g.firstJoins(group, m, memberOf(group, "a"))
	case len(m.joined) == 1 && !g.maybe(3):
		joins := memberOf(group, "b")
		if m.joined[0] == joins {
			joins = memberOf(group, "a")
		}
		g.secondJoins(group, m, joins)
	default:
		g.leaves(group, m)
	}
}

func (g *generator) join(group string, m *members, member, text string, known bool) *Step {
	step := addVersion(g, m.version, fmt.Sprintf("%s joins %s%s, static %t", member, group, text, m.static), func(s *Side, r *kmsg.JoinGroupRequest) {
		r.Group, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis, r.ProtocolType = s.group(group), 45_000, 30_000, "consumer"
		if known {
			r.MemberID = s.members[member]
		}
		if m.static && r.Version >= 5 {
			r.InstanceID = kmsg.StringPtr("instance-" + member)
		}
		for _, name := range []string{"range", "roundrobin"} {
			p := kmsg.NewJoinGroupRequestProtocol()
			p.Name, p.Metadata = name, s.subscription()
			r.Protocols = append(r.Protocols, p)
		}
	})
	step.Actor = actor(member)
	step.Learn = joined(member)
	return step
}

// subscription is a member's metadata, to t0. Kafka reads it, and lets a group hang whose members send something else.
func (s *Side) subscription() []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Topics = []string{s.topic("t0")}
	return m.AppendTo(nil)
}

func joined(member string) func(*Side, kmsg.Response) {
	return func(s *Side, resp kmsg.Response) {
		r := resp.(*kmsg.JoinGroupResponse)
		if r.MemberID != "" {
			s.members[member] = r.MemberID
		}
		if r.ErrorCode == 0 {
			s.generations[member] = r.Generation
		}
	}
}

// needsID says whether a new member is sent away first, with an id to come back with.
func (m *members) needsID() bool { return m.version >= 4 && !(m.static && m.version >= 5) }

func (g *generator) firstJoins(group string, m *members, member string) {
	if m.needsID() {
		g.join(group, m, member, " without an id", false)
	}
	g.join(group, m, member, " alone", m.needsID())
	m.joined = []string{member}
	g.sync(group, m, member, m.joined)
	g.heartbeat(group, member)
}

// secondJoins lets a second member join. The first finds that out by its heartbeats, joins again and stays the leader.
func (g *generator) secondJoins(group string, m *members, member string) {
	leader := m.joined[0]
	if m.needsID() {
		g.join(group, m, member, " without an id", false)
	}
	g.join(group, m, member, ", others are there", m.needsID()).Kind = Send
	g.heartbeat(group, leader).Until = func(resp kmsg.Response) bool { return resp.(*kmsg.HeartbeatResponse).ErrorCode != 0 }
	g.join(group, m, leader, " again", true)
	answer := g.join(group, m, member, ", and is in", m.needsID())
	answer.Kind = Receive
	m.joined = append(m.joined, member)
	if g.maybe(2) {
		g.sync(group, m, member, nil).Kind = Send
		g.sync(group, m, leader, m.joined)
		g.sync(group, m, member, nil).Kind = Receive
	} else {
		g.sync(group, m, leader, m.joined)
		g.sync(group, m, member, nil)
	}
	g.heartbeat(group, member)
	g.heartbeat(group, leader)
}

// sync sends the leader's assignment, or asks for one's own.
func (g *generator) sync(group string, m *members, member string, assign []string) *Step {
	step := add(g, fmt.Sprintf("%s syncs with %s, assigns to %v", member, group, assign), func(s *Side, r *kmsg.SyncGroupRequest) {
		r.Group, r.Generation, r.MemberID = s.group(group), s.generations[member], s.members[member]
		r.ProtocolType, r.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
		for _, to := range assign {
			a := kmsg.NewSyncGroupRequestGroupAssignment()
			a.MemberID, a.MemberAssignment = s.members[to], []byte("assignment of "+to)
			r.GroupAssignment = append(r.GroupAssignment, a)
		}
	})
	step.Actor = actor(member)
	return step
}

func (g *generator) heartbeat(group, member string) *Step {
	step := add(g, fmt.Sprintf("%s's heart beats in %s", member, group), func(s *Side, r *kmsg.HeartbeatRequest) {
		r.Group, r.Generation, r.MemberID = s.group(group), s.generations[member], s.members[member]
	})
	step.Actor = actor(member)
	return step
}

func (g *generator) leaves(group string, m *members) {
	member := m.joined[len(m.joined)-1]
	g.leave(group, member)
	m.joined = m.joined[:len(m.joined)-1]
	if len(m.joined) == 0 {
		m.version = g.version(11)
		return
	}
	leader := m.joined[0]
	g.heartbeat(group, leader).Until = func(resp kmsg.Response) bool { return resp.(*kmsg.HeartbeatResponse).ErrorCode != 0 }
	g.join(group, m, leader, " again, alone", true)
	g.sync(group, m, leader, m.joined)
}

func (g *generator) leave(group, member string) {
	add(g, fmt.Sprintf("%s leaves %s", member, group), func(s *Side, r *kmsg.LeaveGroupRequest) {
		r.Group, r.MemberID = s.group(group), s.members[member]
		l := kmsg.NewLeaveGroupRequestMember()
		l.MemberID = s.members[member]
		r.Members = append(r.Members, l)
	}).Actor = actor(member)
}

// groupProbe asks what does not move a group: as the wrong member, of the wrong generation, or as the right one.
func (g *generator) groupProbe() {
	group := of(g, "g0", "g0", "g1", "g9", "=")
	member := memberOf(group, of(g, "a", "a", "b"))
	if group == "=" {
		member = "nobody-a"
	}
	off := of[int32](g, 0, 0, 1, -1, 50)
	who := func(s *Side) (string, int32) { return s.members[member], s.generations[member] + off }
	if g.maybe(4) {
		who = func(s *Side) (string, int32) { return "stranger", s.generations[member] + off }
	}
	instance := of(g, "", "", "", "instance-"+member, "instance-x")
	text := fmt.Sprintf("as a member of %s like %s, instance %q, generation off by %d: ", group, member, instance, off)
	switch g.rng.IntN(5) {
	case 0:
		add(g, text+"heartbeat", func(s *Side, r *kmsg.HeartbeatRequest) {
			r.Group = s.group(group)
			r.MemberID, r.Generation = who(s)
			if instance != "" && r.Version >= 3 {
				r.InstanceID = &instance
			}
		})
	case 1:
		protocol := of(g, "range", "range", "roundrobin", "other")
		add(g, text+"sync with protocol "+protocol, func(s *Side, r *kmsg.SyncGroupRequest) {
			r.Group = s.group(group)
			r.MemberID, r.Generation = who(s)
			r.ProtocolType, r.Protocol = kmsg.StringPtr("consumer"), &protocol
			if instance != "" && r.Version >= 3 {
				r.InstanceID = &instance
			}
		})
	case 2:
		step := add(g, text+"commit t0/0", func(s *Side, r *kmsg.OffsetCommitRequest) {
			r.Group, r.RetentionTimeMillis = s.group(group), -1
			r.MemberID, r.Generation = who(s)
			if instance != "" && r.Version >= 7 {
				r.InstanceID = &instance
			}
			t := kmsg.NewOffsetCommitRequestTopic()
			t.Topic, t.TopicID = s.topic("t0"), s.id("t0")
			p := kmsg.NewOffsetCommitRequestTopicPartition()
			p.Offset, p.Metadata = 1, kmsg.StringPtr("by a member")
			t.Partitions = append(t.Partitions, p)
			r.Topics = append(r.Topics, t)
		})
		switch {
		case step.version == 0:
			step.Tag = "zookeeper"
		case group == "=":
			step.Tag = "no group"
		}
	case 3:
		session := of[int32](g, 45_000, 1, 100_000_000, 45_000)
		kind := of(g, "consumer", "connect", "")
		protocols := of(g, []string{"range"}, []string{"other"}, nil)
		if session == 45_000 && kind == "consumer" && len(protocols) > 0 && protocols[0] == "range" {
			kind = "connect" // one who may join would hold up the others
		}
		m := g.groups[group]
		if m == nil || len(m.joined) == 0 {
			session = 1 // the same
		}
		add(g, fmt.Sprintf("a stranger joins %s as %q with %v, session %d", group, kind, protocols, session), func(s *Side, r *kmsg.JoinGroupRequest) {
			r.Group, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis, r.ProtocolType = s.group(group), session, 30_000, kind
			for _, name := range protocols {
				p := kmsg.NewJoinGroupRequestProtocol()
				p.Name, p.Metadata = name, s.subscription()
				r.Protocols = append(r.Protocols, p)
			}
		})
	case 4:
		add(g, text+"leave, if a stranger", func(s *Side, r *kmsg.LeaveGroupRequest) {
			r.Group, r.MemberID = s.group(group), "stranger"
			l := kmsg.NewLeaveGroupRequestMember()
			l.MemberID = "stranger"
			if instance == "instance-x" {
				l.MemberID, l.InstanceID = "", &instance
			}
			r.Members = append(r.Members, l)
		})
	}
}
