package journal_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/kfs"
)

// member is a member of a classic group, which commits offsets of the partitions that it is assigned, each a little further than the one before.
type member struct {
	w          *world
	name       string
	state      memberState
	id         string
	generation int32
	protocol   string
	leads      bool
	others     []string // members, of the one who leads
	assigned   []string // topic/partition
	positions  map[string]position
	beat       time.Time
	flying     bool
	resting    bool
}

type memberState uint8

const (
	outside memberState = iota
	joined
	inside
)

// position is how far a member is.
type position struct {
	id kfs.PartitionID
	at int64
}

const groupName = "readers"

func newMember(w *world, n int) *member { return &member{w: w, name: fmt.Sprint("m", n)} }

func (m *member) rest() bool {
	m.resting = true
	return !m.flying
}

func (m *member) act() {
	w := m.w
	if m.flying || m.resting {
		return
	}
	to := w.leader(func(p *process) (uint32, bool) { return p.view.State().GroupJournal(groupName), true })
	if to == nil {
		return
	}
	switch m.state {
	case outside:
		m.join(to)
	case joined:
		m.sync(to)
	case inside:
		switch {
		case w.once(100):
			m.leave(to)
		case !w.clock.Before(m.beat):
			m.heartbeat(to)
		case len(m.assigned) > 0:
			assigned := m.assigned[w.rng.IntN(len(m.assigned))]
			if _, known := m.positions[assigned]; !known || w.once(6) {
				m.fetch(to)
			} else {
				m.commit(to, assigned)
			}
		}
	}
}

// send sends a request, of which then takes the answer.
func (m *member) send(to *process, req kmsg.Request, then func(*call, kmsg.Response)) {
	m.flying = true
	m.w.send(m, to, req, func(resp kmsg.Response, err error) {
		m.flying = false
		if err == nil {
			then(m.w.running, resp)
		}
	})
}

// refused takes an error of a coordinator.
func (m *member) refused(code int16) {
	switch code {
	case kerr.UnknownMemberID.Code:
		m.id, m.state = "", outside
	case kerr.IllegalGeneration.Code, kerr.RebalanceInProgress.Code:
		m.state = outside
	}
}

func (m *member) join(to *process) {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.ProtocolType = groupName, m.id, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 30_000, 10_000
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = "range", []byte(m.name)
	req.Protocols = append(req.Protocols, protocol)
	m.send(to, req, func(_ *call, resp kmsg.Response) {
		r := resp.(*kmsg.JoinGroupResponse)
		if r.ErrorCode == kerr.MemberIDRequired.Code {
			m.id = r.MemberID
			return
		}
		if r.ErrorCode != 0 {
			m.refused(r.ErrorCode)
			return
		}
		m.state, m.id, m.generation, m.protocol, m.leads, m.others = joined, r.MemberID, r.Generation, *r.Protocol, r.LeaderID == r.MemberID, nil
		for _, o := range r.Members {
			m.others = append(m.others, o.MemberID)
		}
	})
}

func (m *member) sync(to *process) {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation = groupName, m.id, m.generation
	req.ProtocolType, req.Protocol = kmsg.StringPtr("consumer"), &m.protocol
	if m.leads {
		for i, id := range m.others {
			var parts []string
			for k, name := range topicNames {
				for partition := range 2 {
					if (2*k+partition)%len(m.others) == i {
						parts = append(parts, fmt.Sprintf("%s/%d", name, partition))
					}
				}
			}
			a := kmsg.NewSyncGroupRequestGroupAssignment()
			a.MemberID, a.MemberAssignment = id, []byte(strings.Join(parts, " "))
			req.GroupAssignment = append(req.GroupAssignment, a)
		}
	}
	m.send(to, req, func(_ *call, resp kmsg.Response) {
		r := resp.(*kmsg.SyncGroupResponse)
		if r.ErrorCode != 0 {
			m.refused(r.ErrorCode)
			return
		}
		m.w.Rebalances++
		m.state, m.assigned, m.positions = inside, strings.Fields(string(r.MemberAssignment)), map[string]position{}
		m.beat = m.w.clock.Add(5 * time.Second)
	})
}

func (m *member) heartbeat(to *process) {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = groupName, m.id, m.generation
	m.beat = m.w.clock.Add(5 * time.Second)
	m.send(to, req, func(_ *call, resp kmsg.Response) { m.refused(resp.(*kmsg.HeartbeatResponse).ErrorCode) })
}

func (m *member) leave(to *process) {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = groupName
	l := kmsg.NewLeaveGroupRequestMember()
	l.MemberID = m.id
	req.Members = append(req.Members, l)
	m.send(to, req, func(*call, kmsg.Response) {})
	m.id, m.state = "", outside
}

// partitionOf is what an assignment means to a broker.
func partitionOf(to *process, assigned string) (id kfs.PartitionID, ok bool) {
	name, number, _ := strings.Cut(assigned, "/")
	t, ok := to.view.State().Topic(name)
	if !ok {
		return id, false
	}
	id = kfs.PartitionID{Topic: t.ID, Partition: int32(number[0] - '0')}
	_, ok = t.Journal(id.Partition)
	return id, ok
}

// fetch asks what is committed of all that is assigned, and goes on from there.
func (m *member) fetch(to *process) {
	req := kmsg.NewPtrOffsetFetchRequest()
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = groupName
	var asked []string
	for _, assigned := range m.assigned {
		if id, ok := partitionOf(to, assigned); ok {
			t := kmsg.NewOffsetFetchRequestGroupTopic()
			t.TopicID, t.Partitions = id.Topic, []int32{id.Partition}
			g.Topics, asked = append(g.Topics, t), append(asked, assigned)
		}
	}
	if len(asked) == 0 {
		return
	}
	req.Groups = append(req.Groups, g)
	m.send(to, req, func(c *call, resp kmsg.Response) {
		r := resp.(*kmsg.OffsetFetchResponse).Groups[0]
		for i := range r.Topics {
			t := &r.Topics[i]
			if r.ErrorCode != 0 || t.Partitions[0].ErrorCode != 0 {
				continue
			}
			id, at := kfs.PartitionID{Topic: t.TopicID, Partition: t.Partitions[0].Partition}, t.Partitions[0].Offset
			m.w.Fetched++
			m.w.truth.fetched(c, id, at)
			m.positions[asked[i]] = position{id, max(at, 0)}
		}
	})
}

// commit commits an offset a little behind the one before.
func (m *member) commit(to *process, assigned string) {
	w := m.w
	at, ok := m.positions[assigned]
	if !ok {
		return
	}
	at.at += 1 + w.rng.Int64N(3)
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.Generation = groupName, m.id, m.generation
	t := kmsg.NewOffsetCommitRequestTopic()
	part := kmsg.NewOffsetCommitRequestTopicPartition()
	t.TopicID, part.Partition, part.Offset = at.id.Topic, at.id.Partition, at.at
	t.Partitions = append(t.Partitions, part)
	req.Topics = append(req.Topics, t)
	c := w.truth.commits(at.id, at.at)
	m.send(to, req, func(_ *call, resp kmsg.Response) {
		switch code := resp.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode; code {
		case 0:
			w.Commits++
			c.ended, c.acked = w.steps, true
			m.positions[assigned] = at
		case kerr.UnknownMemberID.Code, kerr.IllegalGeneration.Code, kerr.RebalanceInProgress.Code, kerr.UnknownTopicID.Code:
			w.truth.committedOffsets[at.id] = slices.DeleteFunc(w.truth.committedOffsets[at.id], func(o *commit) bool { return o == c })
			m.refused(code)
		}
	})
}

// commit is a commit of an offset, with the steps between which it has taken place, if it has.
type commit struct {
	offset       int64
	begun, ended int
	acked        bool
}

func (t *truth) commits(id kfs.PartitionID, offset int64) *commit {
	c := &commit{offset: offset, begun: t.w.steps, ended: math.MaxInt}
	t.committedOffsets[id] = append(t.committedOffsets[id], c)
	return c
}

// fetched: a client was told what is committed. It is what some commit said that no later one has replaced.
func (t *truth) fetched(c *call, id kfs.PartitionID, offset int64) {
	if c.unsure {
		return
	}
	replaced := func(ended int) bool {
		return slices.ContainsFunc(t.committedOffsets[id], func(o *commit) bool { return o.acked && o.begun > ended && o.ended < c.sent })
	}
	if offset < 0 {
		if replaced(-1) {
			t.w.wrong("broker %d knows no committed offset of %s", c.process.id, id)
		}
		return
	}
	for _, o := range t.committedOffsets[id] {
		if o.offset == offset && !replaced(o.ended) {
			return
		}
	}
	t.w.wrong("broker %d says that offset %d of %s is committed, which was not, or another since", c.process.id, offset, id)
}
