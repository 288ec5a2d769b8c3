package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// groupInfo is a group as --json prints it.
type groupInfo struct {
	Name     string         `json:"name"`
	Type     string         `json:"type"` // consumer, whose broker assigns, or classic, whose members do
	State    string         `json:"state"`
	Protocol string         `json:"protocol"` // the assignor, or the protocol that members agreed on; "" if none
	Members  []groupMember  `json:"members"`
	Lag      int64          `json:"lag"`
	Offsets  []groupOffsets `json:"offsets"`
}

type groupMember struct {
	ID         string             `json:"id"`
	Instance   string             `json:"instance,omitempty"`
	Client     string             `json:"client"`
	Host       string             `json:"host"`
	Partitions map[string][]int32 `json:"partitions"` // that it reads now, by topic
}

type groupOffsets struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"` // -1 if nothing is
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`              // -1 if not known
	Client    string `json:"client,omitempty"` // who reads the partition now
}

// describeGroup finds a group of either type.
func describeGroup(ctx context.Context, admin *kadm.Client, name string) (*groupInfo, error) {
	info, err := describeClassic(ctx, admin, name)
	if errors.Is(err, kerr.GroupIDNotFound) {
		info, err = describeConsumer(ctx, admin, name)
	}
	if err != nil {
		return nil, groupError(name, err)
	}
	if err := info.findOffsets(ctx, admin); err != nil {
		return nil, groupError(name, err)
	}
	return info, nil
}

func describeClassic(ctx context.Context, admin *kadm.Client, name string) (*groupInfo, error) {
	groups, err := admin.DescribeGroups(ctx, name)
	g := groups[name]
	if err = errors.Join(err, g.Err); err != nil {
		return nil, err
	}
	if g.State == "Dead" || g.State == "" { // older brokers say so in place of an error
		return nil, kerr.GroupIDNotFound
	}
	info := &groupInfo{Name: name, Type: "classic", State: g.State, Protocol: g.Protocol, Members: []groupMember{}}
	for _, m := range g.Members {
		reads := map[string][]int32{}
		if a, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range a.Topics {
				reads[t.Topic] = t.Partitions
			}
		}
		info.add(m.MemberID, m.InstanceID, m.ClientID, m.ClientHost, reads)
	}
	return info, nil
}

func describeConsumer(ctx context.Context, admin *kadm.Client, name string) (*groupInfo, error) {
	groups, err := admin.DescribeConsumerGroups(ctx, name)
	g := groups[name]
	if err = errors.Join(err, g.Err); err != nil {
		if errors.Is(err, kerr.UnsupportedVersion) {
			err = kerr.GroupIDNotFound // a broker that does not know the type has none of it
		}
		return nil, err
	}
	info := &groupInfo{Name: name, Type: "consumer", State: g.State, Protocol: g.AssignorName, Members: []groupMember{}}
	for _, m := range g.Members {
		reads := map[string][]int32{}
		for topic, partitions := range m.Assignment {
			for p := range partitions {
				reads[topic] = append(reads[topic], p)
			}
		}
		info.add(m.MemberID, m.InstanceID, m.ClientID, m.ClientHost, reads)
	}
	return info, nil
}

func (g *groupInfo) add(id string, instance *string, client, host string, reads map[string][]int32) {
	m := groupMember{ID: id, Client: client, Host: strings.TrimPrefix(host, "/"), Partitions: reads}
	if instance != nil {
		m.Instance = *instance
	}
	for _, partitions := range reads {
		slices.Sort(partitions)
	}
	g.Members = append(g.Members, m)
}

// findOffsets adds what is committed, or read by a member, and how far that is behind.
func (g *groupInfo) findOffsets(ctx context.Context, admin *kadm.Client) error {
	committed, err := admin.FetchOffsets(ctx, g.Name)
	if err != nil {
		return err
	}
	type place struct {
		topic     string
		partition int32
	}
	clients := map[place]string{}
	committed.Each(func(o kadm.OffsetResponse) { clients[place{o.Topic, o.Partition}] = "" })
	for _, m := range g.Members {
		for topic, partitions := range m.Partitions {
			for _, p := range partitions {
				clients[place{topic, p}] = m.Client
			}
		}
	}
	topics := map[string]bool{}
	for at := range clients {
		topics[at.topic] = true
	}
	g.Offsets = []groupOffsets{}
	if len(topics) == 0 {
		return nil
	}
	var names []string
	for topic := range topics {
		names = append(names, topic)
	}
	starts, err := admin.ListStartOffsets(ctx, names...)
	if err != nil {
		return err
	}
	ends, err := admin.ListEndOffsets(ctx, names...)
	if err != nil {
		return err
	}
	for at, client := range clients {
		o := groupOffsets{Topic: at.topic, Partition: at.partition, Committed: -1, End: -1, Lag: -1, Client: client}
		from := int64(-1)
		if start, ok := starts.Lookup(at.topic, at.partition); ok && start.Err == nil {
			from = start.Offset // where one begins that has committed nothing
		}
		if c, ok := committed.Lookup(at.topic, at.partition); ok && c.Err == nil && c.At >= 0 {
			o.Committed, from = c.At, c.At
		}
		if end, ok := ends.Lookup(at.topic, at.partition); ok && end.Err == nil {
			if o.End = end.Offset; from >= 0 {
				o.Lag = max(o.End-from, 0)
			}
		}
		g.Lag += max(o.Lag, 0)
		g.Offsets = append(g.Offsets, o)
	}
	slices.SortFunc(g.Offsets, func(a, b groupOffsets) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return nil
}

// print prints the group for people.
func (g *groupInfo) print(out io.Writer) error {
	protocol := ""
	if g.Protocol != "" {
		protocol = " (" + g.Protocol + ")"
	}
	fmt.Fprintf(out, "group %s, %s%s, %s, %d members, %d records behind\n", g.Name, g.Type, protocol, g.State, len(g.Members), g.Lag)
	err := printTable(out, "TOPIC\tPARTITION\tCOMMITTED\tEND\tLAG\tCLIENT", g.Offsets, func(w io.Writer, o groupOffsets) {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s\n", o.Topic, o.Partition, o.Committed, o.End, o.Lag, o.Client)
	})
	if err != nil || len(g.Members) == 0 {
		return err
	}
	fmt.Fprintln(out)
	return printTable(out, "CLIENT\tHOST\tINSTANCE\tMEMBER\tPARTITIONS", g.Members, func(w io.Writer, m groupMember) {
		n := 0
		for _, partitions := range m.Partitions {
			n += len(partitions)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\n", m.Client, m.Host, cmp.Or(m.Instance, "-"), m.ID, n)
	})
}
