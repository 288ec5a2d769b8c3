package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/broker/snapshot"
	"github.com/firn-io/firn/kfs"
)

// stored is a cluster as its store has it, without a broker.
type stored struct {
	cluster    *metadata.State
	partitions map[kfs.PartitionID]storedPartition
	offsets    []kfs.GroupOffset
}

// storedPartition is a partition as the store has it.
type storedPartition struct {
	Partition int32  `json:"partition"`
	Journal   uint32 `json:"journal"`
	Start     int64  `json:"start"`
	End       int64  `json:"end"`
	Bytes     int64  `json:"bytes"` // of record batches that are not trimmed; ranges count whole
}

// storedTopic is a topic as --store and --json print it.
type storedTopic struct {
	Name       string            `json:"name"`
	ID         string            `json:"id"`
	Records    int64             `json:"records"`
	Bytes      int64             `json:"bytes"`
	Partitions []storedPartition `json:"partitions"`
	Configs    map[string]string `json:"configs,omitempty"` // those that were set; only when described
}

const storedHelp = "ask this store in place of a broker, a `URL` as of firn broker"

// readStored reads the journals of a store.
func readStored(ctx context.Context, url string) (*stored, error) {
	store, err := openStore(ctx, url)
	if err != nil {
		return nil, err
	}
	states, cluster, err := snapshot.States(ctx, snapshot.Config{Store: store})
	if err != nil {
		return nil, err
	}
	s := &stored{cluster: cluster, partitions: map[kfs.PartitionID]storedPartition{}}
	for _, c := range states {
		s.add(c)
	}
	return s, nil
}

// add takes one journal in.
func (s *stored) add(c *kfs.Checkpoint) {
	s.offsets = append(s.offsets, c.Groups...)
	settled := map[kfs.PartitionID]int64{}
	for i := range c.Partitions {
		p := &c.Partitions[i]
		found := storedPartition{Partition: p.Partition, Journal: c.Journal, Start: p.LogStart, End: p.Next}
		settled[p.ID()] = p.LogStart
		for _, segment := range p.Settled {
			if segment.Span.Next > p.LogStart {
				found.Bytes += segment.Length
			}
			settled[p.ID()] = max(settled[p.ID()], segment.Span.Next)
		}
		s.partitions[p.ID()] = found
	}
	for i := range c.Objects {
		for _, segment := range c.Objects[i].Segments {
			if found, ok := s.partitions[segment.ID()]; ok && segment.Span.Next > settled[segment.ID()] {
				found.Bytes += segment.Length
				s.partitions[segment.ID()] = found
			}
		}
	}
}

func (s *stored) topic(t *metadata.Topic) storedTopic {
	topic := storedTopic{Name: t.Name, ID: t.ID.String(), Partitions: []storedPartition{}}
	for number, journal := range t.Journals {
		p, ok := s.partitions[kfs.PartitionID{Topic: t.ID, Partition: int32(number)}]
		if !ok {
			p = storedPartition{Partition: int32(number), Journal: journal} // it has no records yet
		}
		topic.Records += p.End - p.Start
		topic.Bytes += p.Bytes
		topic.Partitions = append(topic.Partitions, p)
	}
	return topic
}

// listStoredTopics is `firn topics ls --store`.
func listStoredTopics(c *cobra.Command, url string, asJSON bool) error {
	s, err := readStored(c.Context(), url)
	if err != nil {
		return err
	}
	topics := []storedTopic{}
	for _, t := range s.cluster.Topics() {
		if t.State == kfs.TopicLive {
			topics = append(topics, s.topic(t))
		}
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), topics)
	}
	return printTable(c.OutOrStdout(), "TOPIC\tPARTITIONS\tRECORDS\tSIZE\tID", topics, func(w io.Writer, t storedTopic) {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\n", t.Name, len(t.Partitions), t.Records, byteSize(t.Bytes), t.ID)
	})
}

// describeStoredTopic is `firn topics describe --store`.
func describeStoredTopic(c *cobra.Command, url, name string, asJSON bool) error {
	s, err := readStored(c.Context(), url)
	if err != nil {
		return err
	}
	t, ok := s.cluster.Topic(name)
	if !ok {
		return fmt.Errorf("topic %q does not exist; \"firn topics ls --store\" lists those that do", name)
	}
	topic := s.topic(t)
	topic.Configs = map[string]string{}
	for _, config := range t.Configs {
		topic.Configs[config.Key] = config.Value
	}
	out := c.OutOrStdout()
	if asJSON {
		return printJSON(out, topic)
	}
	fmt.Fprintf(out, "topic %s, id %s, %d records, %s\n", topic.Name, topic.ID, topic.Records, byteSize(topic.Bytes))
	for _, key := range slices.Sorted(maps.Keys(topic.Configs)) {
		fmt.Fprintf(out, "config %s=%s\n", key, topic.Configs[key])
	}
	return printTable(out, "PARTITION\tJOURNAL\tSTART\tEND\tSIZE", topic.Partitions, func(w io.Writer, p storedPartition) {
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%s\n", p.Partition, p.Journal, p.Start, p.End, byteSize(p.Bytes))
	})
}

// storedGroup is a group as --store and --json print it.
type storedGroup struct {
	Name    string         `json:"name"`
	Lag     int64          `json:"lag"`
	Offsets []groupOffsets `json:"offsets"`
}

// groups are the groups that have committed offsets, by name.
func (s *stored) groups() []storedGroup {
	slices.SortFunc(s.offsets, func(a, b kfs.GroupOffset) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	groups := []storedGroup{}
	for _, o := range s.offsets {
		if n := len(groups); n == 0 || groups[n-1].Name != o.Group {
			groups = append(groups, storedGroup{Name: o.Group})
		}
		g := &groups[len(groups)-1]
		row := groupOffsets{Topic: o.Topic, Partition: o.Partition, Committed: o.Offset, End: -1, Lag: -1}
		if t, ok := s.cluster.Topic(o.Topic); ok && (o.TopicID.IsZero() || o.TopicID == t.ID) {
			row.End = s.partitions[kfs.PartitionID{Topic: t.ID, Partition: o.Partition}].End
			row.Lag = row.End - o.Offset
			g.Lag += row.Lag
		}
		g.Offsets = append(g.Offsets, row)
	}
	return groups
}

// listStoredGroups is `firn groups ls --store`.
func listStoredGroups(c *cobra.Command, url string, asJSON bool) error {
	s, err := readStored(c.Context(), url)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), s.groups())
	}
	return printTable(c.OutOrStdout(), "GROUP\tPARTITIONS\tLAG", s.groups(), func(w io.Writer, g storedGroup) {
		fmt.Fprintf(w, "%s\t%d\t%d\n", g.Name, len(g.Offsets), g.Lag)
	})
}

// describeStoredGroup is `firn groups describe --store`.
func describeStoredGroup(c *cobra.Command, url, name string, asJSON bool) error {
	s, err := readStored(c.Context(), url)
	if err != nil {
		return err
	}
	groups := s.groups()
	i := slices.IndexFunc(groups, func(g storedGroup) bool { return g.Name == name })
	if i < 0 {
		return fmt.Errorf("group %q has committed no offsets; \"firn groups ls --store\" lists those that have", name)
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), groups[i])
	}
	fmt.Fprintf(c.OutOrStdout(), "group %s, lag %d\n", name, groups[i].Lag)
	return printTable(c.OutOrStdout(), "TOPIC\tPARTITION\tCOMMITTED\tEND\tLAG", groups[i].Offsets, func(w io.Writer, o groupOffsets) {
		end, lag := fmt.Sprint(o.End), fmt.Sprint(o.Lag)
		if o.End < 0 { // the topic is gone
			end, lag = "-", "-"
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\n", o.Topic, o.Partition, o.Committed, end, lag)
	})
}
