package group

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// clusterOf is a cluster with topics, each written NAME:PARTITIONS. A topic's id is its name, so a topic that is created again has the
// id that it had; NAME=ID:PARTITIONS gives it another.
func clusterOf(t testing.TB, topics ...string) *metadata.State {
	t.Helper()
	d := new(metadata.State).Edit()
	apply := func(e kfs.Entry) {
		if err := d.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range metadata.Bootstrap(kfs.TopicID{1}, kfs.TopicID{2}, 1) {
		apply(e)
	}
	for _, text := range topics {
		name, count, _ := strings.Cut(text, ":")
		name, id, other := strings.Cut(name, "=")
		if !other {
			id = name
		}
		n, err := strconv.Atoi(count)
		if err != nil {
			t.Fatalf("topic %q: %v", text, err)
		}
		apply(kfs.Topic{ID: topicID(id), Name: name, State: kfs.TopicLive, Journals: make([]uint32, n)})
	}
	return d.State()
}

func topicID(name string) (id kfs.TopicID) {
	copy(id[:], name)
	return id
}

// parsePartitions reads TOPIC:N,N;TOPIC:N and so on. "none" is the empty set, "" is not saying.
func parsePartitions(t *testing.T, text string) []kfs.PartitionID {
	if text == "" {
		return nil
	}
	list := []kfs.PartitionID{}
	if text == "none" {
		return list
	}
	for part := range strings.SplitSeq(text, ";") {
		name, numbers, _ := strings.Cut(part, ":")
		for number := range strings.SplitSeq(numbers, ",") {
			n, err := strconv.Atoi(number)
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			list = append(list, kfs.PartitionID{Topic: topicID(name), Partition: int32(n)})
		}
	}
	return list
}

func describePartitions(list []kfs.PartitionID) string {
	if len(list) == 0 {
		return "none"
	}
	var b strings.Builder
	var last kfs.TopicID
	for i, p := range list {
		switch {
		case p.Topic == last:
			b.WriteByte(',')
		case i > 0:
			b.WriteByte(';')
			fallthrough
		default:
			fmt.Fprintf(&b, "%s:", bytes.TrimRight(p.Topic[:], "\x00"))
		}
		fmt.Fprint(&b, p.Partition)
		last = p.Topic
	}
	return b.String()
}

func (r *runner) number(text string) int32 {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		r.t.Fatal(err)
	}
	return int32(n)
}

// beat is a heartbeat. One that joins says what it must, unless told otherwise.
func (r *runner) beat(words []string, args map[string]string) ConsumerHeartbeat {
	ev := ConsumerHeartbeat{
		Token: r.token(words[1]), MemberID: args["id"], Epoch: r.number(args["epoch"]), InstanceID: args["instance"], ClientID: args["client"],
		Host: "host", Assignor: args["assignor"], Rebalance: r.duration(args["rebalance"], 0), Owned: parsePartitions(r.t, args["owned"]), Cluster: r.topics,
	}
	if ev.MemberID == "" {
		r.ids[ev.ClientID]++
		ev.NewID = fmt.Sprintf("%s-%d", ev.ClientID, r.ids[ev.ClientID])
	}
	if rack, said := args["rack"]; said {
		ev.Rack = &rack
	}
	if regex, said := args["regex"]; said {
		ev.Regex = &regex
	}
	if names, said := args["topics"]; said {
		ev.Topics = strings.FieldsFunc(names, func(c rune) bool { return c == ',' })
	}
	if ev.Epoch == epochJoin && !slices.Contains(words, "bare") {
		if ev.Owned == nil {
			ev.Owned = []kfs.PartitionID{}
		}
		if ev.Rebalance == 0 {
			ev.Rebalance = r.duration("1m", 0)
		}
	}
	return ev
}

func describeBeaten(b *strings.Builder, a Beaten) {
	if b.WriteString(errorName(a.Err)); a.Err != nil {
		if a.Message != "" {
			fmt.Fprintf(b, " %q", a.Message)
		}
		return
	}
	fmt.Fprintf(b, " id=%s epoch=%d", a.MemberID, a.Epoch)
	if a.Assigned {
		fmt.Fprintf(b, " assigned=%s", describePartitions(a.Assignment))
	}
}

func (r *runner) consumerState(c *consumer) {
	fmt.Fprintf(r.out, "%s epoch=%d target=%d assignor=%s\n", c.State(), c.epoch, c.target, c.assignor)
	for _, m := range c.members {
		fmt.Fprintf(r.out, "  %s", m.id)
		if m.instance != "" {
			fmt.Fprintf(r.out, " instance=%s", m.instance)
		}
		fmt.Fprintf(r.out, " epoch=%d %s has=%s", m.epoch, m.phase, describePartitions(m.has))
		if len(m.letGo) > 0 {
			fmt.Fprintf(r.out, " let-go=%s", describePartitions(m.letGo))
		}
		fmt.Fprintf(r.out, " target=%s until=%s\n", describePartitions(m.target), m.due().Sub(start))
	}
}

// describe shows what ConsumerGroupDescribe shows.
func (r *runner) describe() {
	c, ok := r.g.protocol.(*consumer)
	if !ok {
		fmt.Fprintln(r.out, "not a consumer group")
		return
	}
	d := c.Describe()
	fmt.Fprintf(r.out, "%s epoch=%d target=%d assignor=%s\n", d.State, d.Epoch, d.Target, d.Assignor)
	for _, m := range d.Members {
		fmt.Fprintf(r.out, "  %s instance=%q rack=%q client=%s@%s epoch=%d topics=%v regex=%q has=%s target=%s\n", m.MemberID, m.InstanceID, m.Rack,
			m.ClientID, m.Host, m.Epoch, m.Topics, m.Regex, describePartitions(m.Has), describePartitions(m.Target))
	}
}
