package group

import (
	"encoding/binary"

	"github.com/firn-io/firn/kfs"
)

// Description is a group of the classic protocol as DescribeGroups shows it.
type Description struct {
	State        State
	ProtocolType string
	Protocol     string // only of a stable group
	Members      []DescribedMember
}

// DescribedMember is a member as DescribeGroups shows it: what it was told and what it has only in a stable group.
type DescribedMember struct {
	MemberID, InstanceID string
	ClientID, Host       string
	Metadata, Assignment []byte
}

// ConsumerDescription is a group of the consumer protocol as ConsumerGroupDescribe shows it.
type ConsumerDescription struct {
	State    State
	Epoch    int32
	Target   int32 // the epoch of what the members are to have
	Assignor string
	Members  []DescribedConsumer
}

// DescribedConsumer is a member of such a group.
type DescribedConsumer struct {
	MemberID, InstanceID, Rack string
	ClientID, Host             string
	Epoch                      int32
	Topics                     []string
	Regex                      string
	Has                        []kfs.PartitionID
	Target                     []kfs.PartitionID
}

// Describe gives the group as it is now. Slices belong to the group and do not change.
func (c *consumer) Describe() ConsumerDescription {
	d := ConsumerDescription{State: c.State(), Epoch: c.epoch, Target: c.target, Assignor: c.assignor}
	for _, m := range c.members {
		d.Members = append(d.Members, DescribedConsumer{
			MemberID: m.id, InstanceID: m.instance, Rack: m.rack, ClientID: m.client, Host: m.host, Epoch: m.epoch,
			Topics: m.sub.names, Regex: m.sub.regex, Has: m.has, Target: m.target,
		})
	}
	return d
}

// Describe gives the group as it is now. Byte slices belong to the group and do not change.
func (g *classic) Describe() Description {
	d := Description{State: g.state, ProtocolType: g.protocolType}
	stable := g.state == Stable
	if stable {
		d.Protocol = g.protocol
	}
	for _, m := range g.members {
		dm := DescribedMember{MemberID: m.id, InstanceID: m.instance, ClientID: m.client, Host: m.host}
		if stable {
			dm.Metadata, dm.Assignment = m.metadata(g.protocol), m.assignment
		}
		d.Members = append(d.Members, dm)
	}
	return d
}

// Subscribed reports whether a member may read the topic: whether it says so, or says something that cannot be understood.
func (g *classic) Subscribed(topic string) bool {
	for _, m := range g.members {
		for _, p := range m.protocols {
			if g.protocolType != "consumer" || subscribes(p.Metadata, topic) {
				return true
			}
		}
	}
	return false
}

// subscribes reads the topics in the metadata of a consumer: i16 version, then i32 count, then i16 length and name of each.
func subscribes(metadata []byte, topic string) bool {
	if len(metadata) < 6 {
		return true
	}
	count := binary.BigEndian.Uint32(metadata[2:])
	for rest := metadata[6:]; count > 0; count-- {
		if len(rest) < 2 {
			return true
		}
		n := int(binary.BigEndian.Uint16(rest))
		if rest = rest[2:]; n > len(rest) {
			return true
		}
		if string(rest[:n]) == topic {
			return true
		}
		rest = rest[n:]
	}
	return false
}
