package metadata

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/firn-io/firn/kfs"
)

// Bootstrap is how journal 0 of a new cluster begins: the cluster, and consumer groups spread over its journals.
func Bootstrap(id kfs.ClusterID, lineage kfs.TopicID, journals uint32) []kfs.Entry {
	entries := []kfs.Entry{kfs.Cluster{ID: id, Lineage: lineage, Journals: journals}}
	for slot := range uint32(GroupSlots) {
		if j := slot % journals; j != 0 {
			entries = append(entries, kfs.GroupSlot{Slot: uint8(slot), Journal: j})
		}
	}
	return entries
}

// NewTopic is what a caller decides of a new topic.
type NewTopic struct {
	ID         kfs.TopicID // random
	Name       string
	Partitions int32
	Configs    []kfs.Config // what differs from the defaults, in any order
	Created    int64        // Unix milliseconds
}

// CreateTopic plans a topic. Its partitions are spread over the cluster's journals, or over those that its config "firn.journals" names.
// Errors: ErrInvalidTopicName, ErrTopicExists, ErrInvalidPartitions, ErrInvalidConfig, ErrNoCluster.
func (s *State) CreateTopic(n NewTopic) (kfs.Topic, error) {
	if n.Partitions < 1 || n.Partitions > MaxPartitions {
		return kfs.Topic{}, fmt.Errorf("topic %s: %d partitions, want 1 to %d: %w", n.Name, n.Partitions, MaxPartitions, ErrInvalidPartitions)
	}
	configs, err := sortConfigs(n.Configs)
	if err != nil {
		return kfs.Topic{}, fmt.Errorf("topic %s: %w", n.Name, err)
	}
	settings, err := ParseSettings(configs)
	if err != nil {
		return kfs.Topic{}, fmt.Errorf("topic %s: %w", n.Name, err)
	}
	t := kfs.Topic{
		ID: n.ID, Name: n.Name, State: kfs.TopicLive, Configs: configs, Created: n.Created,
		Journals: s.place(int(n.Partitions), settings.Journals),
	}
	return t, s.Edit().Apply(t)
}

// place spreads partitions over journals, in turn, beginning where the partitions that exist leave off.
func (s *State) place(partitions int, over []uint32) []uint32 {
	if len(over) == 0 {
		for j := range max(s.cluster.Journals, 1) {
			over = append(over, j)
		}
	}
	first := 0
	for _, t := range s.sorted {
		first += len(t.Journals)
	}
	placed := make([]uint32, partitions)
	for i := range placed {
		placed[i] = over[(first+i)%len(over)]
	}
	return placed
}

// DeleteTopic plans the deletion of a topic. The entries belong together, in this order, in journal 0. Where every partition lies in
// journal 0 they also end the topic there and free its name; else each journal that holds the topic ends it first.
// Errors: ErrUnknownTopic, ErrTopicDeleting.
func (s *State) DeleteTopic(id kfs.TopicID) ([]kfs.Entry, error) {
	t, ok := s.byID[id]
	if !ok {
		return nil, fmt.Errorf("topic %s: %w", id, ErrUnknownTopic)
	}
	deleting := t.Topic
	deleting.State = kfs.TopicDeleting
	if err := s.Edit().Apply(deleting); err != nil {
		return nil, err
	}
	entries := []kfs.Entry{deleting}
	if slices.ContainsFunc(t.Journals, func(j uint32) bool { return j != 0 }) {
		return entries, nil
	}
	deleted := t.Topic
	deleted.State = kfs.TopicDeleted
	return append(entries, kfs.Ended{Topic: id}, deleted), nil
}

// Ending are the topics that are being deleted and have partitions on a journal: its owner ends them there.
func (s *State) Ending(journal uint32) []*Topic {
	var ending []*Topic
	for _, t := range s.sorted {
		if t.State == kfs.TopicDeleting && slices.Contains(t.Journals, journal) {
			ending = append(ending, t)
		}
	}
	return ending
}

// Ended are the topics that are being deleted and that every journal which holds a part of them has ended.
func (s *State) Ended(in func(topic kfs.TopicID, journal uint32) bool) []*Topic {
	var ended []*Topic
	for _, t := range s.sorted {
		if t.State == kfs.TopicDeleting && !slices.ContainsFunc(t.Journals, func(j uint32) bool { return !in(t.ID, j) }) {
			ended = append(ended, t)
		}
	}
	return ended
}

// FreeTopic plans the end of a topic's deletion, which frees its name: nothing if that is done. Every journal must have ended the topic.
func (s *State) FreeTopic(id kfs.TopicID) []kfs.Entry {
	t, ok := s.byID[id]
	if !ok || t.State != kfs.TopicDeleting {
		return nil
	}
	deleted := t.Topic
	deleted.State = kfs.TopicDeleted
	return []kfs.Entry{deleted}
}

// AlterConfigs plans a change of a topic's settings: set overrides or adds, remove goes back to the default. Unknown names are refused.
// Errors: ErrUnknownTopic, ErrTopicDeleting, ErrInvalidConfig.
func (s *State) AlterConfigs(id kfs.TopicID, set []kfs.Config, remove []string) (kfs.Topic, error) {
	t, ok := s.byID[id]
	if !ok {
		return kfs.Topic{}, fmt.Errorf("topic %s: %w", id, ErrUnknownTopic)
	}
	changed := t.Topic
	changed.Configs = slices.DeleteFunc(slices.Clone(t.Configs), func(c kfs.Config) bool {
		return slices.Contains(remove, c.Key) || slices.ContainsFunc(set, func(n kfs.Config) bool { return n.Key == c.Key })
	})
	var err error
	if changed.Configs, err = sortConfigs(append(changed.Configs, set...)); err != nil {
		return kfs.Topic{}, fmt.Errorf("topic %s: %w", t.Name, err)
	}
	return changed, s.Edit().Apply(changed)
}

// ProducerIDs plans a block of count producer ids that nobody else has.
func (s *State) ProducerIDs(count int64) kfs.ProducerIDs {
	return kfs.ProducerIDs{First: s.nextProducerID, Count: count}
}

// sortConfigs is a sorted copy; a key that comes twice is refused.
func sortConfigs(configs []kfs.Config) ([]kfs.Config, error) {
	sorted := slices.Clone(configs)
	slices.SortFunc(sorted, func(a, b kfs.Config) int { return cmp.Compare(a.Key, b.Key) })
	for i := 1; i < len(sorted); i++ {
		if sorted[i].Key == sorted[i-1].Key {
			return nil, fmt.Errorf("config %s is given twice: %w", sorted[i].Key, ErrInvalidConfig)
		}
	}
	return sorted, nil
}
