package group

import "encoding/binary"

// Description is a group as DescribeGroups and ListGroups show it.
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

// Describe gives the group as it is now. Byte slices belong to the group and do not change.
func (g *Group) Describe() Description {
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
func (g *Group) Subscribed(topic string) bool {
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
