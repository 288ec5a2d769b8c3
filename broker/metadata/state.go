package metadata

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	"github.com/firn-io/firn/kfs"
)

// GroupSlots is the number of slots over which consumer groups are hashed.
const GroupSlots = 64

// MaxPartitions bounds the partitions of one topic.
const MaxPartitions = 10_000

// Why an entry or a plan is refused.
var (
	ErrTopicExists       = errors.New("topic exists already")
	ErrUnknownTopic      = errors.New("no such topic")
	ErrTopicDeleting     = errors.New("topic is being deleted")
	ErrInvalidTopicName  = errors.New("invalid topic name")
	ErrInvalidPartitions = errors.New("invalid number of partitions")
	ErrInvalidConfig     = errors.New("invalid topic config")
	ErrConflict          = errors.New("the cluster's state has moved on; plan again")
	ErrNoCluster         = errors.New("journal 0 does not begin with a cluster entry")
)

// Topic is a topic with its settings resolved. It is immutable.
type Topic struct {
	kfs.Topic
	Settings Settings
}

// Partitions is the number of partitions.
func (t *Topic) Partitions() int32 { return int32(len(t.Journals)) }

// Journal is the journal that holds a partition.
func (t *Topic) Journal(partition int32) (journal uint32, ok bool) {
	if partition < 0 || partition >= t.Partitions() {
		return 0, false
	}
	return t.Journals[partition], true
}

// State is an immutable snapshot. The zero value is the state before the first entry.
type State struct {
	cluster        kfs.Cluster
	byID           map[kfs.TopicID]*Topic // live and deleting topics
	byName         map[string]*Topic      // the same
	sorted         []*Topic               // the same, by name
	slots          [GroupSlots]uint32
	nextProducerID int64
}

// Cluster is what the cluster is; the zero value before journal 0 has begun.
func (s *State) Cluster() kfs.Cluster { return s.cluster }

// Topic finds a topic that is live or being deleted.
func (s *State) Topic(name string) (*Topic, bool) {
	t, ok := s.byName[name]
	return t, ok
}

// TopicByID finds a topic that is live or being deleted.
func (s *State) TopicByID(id kfs.TopicID) (*Topic, bool) {
	t, ok := s.byID[id]
	return t, ok
}

// Topics are the topics that are live or being deleted, sorted by name. The slice must not be modified.
func (s *State) Topics() []*Topic { return s.sorted }

// NextProducerID is the first producer id that no block covers.
func (s *State) NextProducerID() int64 { return s.nextProducerID }

// Slot is the slot of a consumer group.
func Slot(group string) uint8 {
	h := fnv.New32a()
	h.Write([]byte(group))
	return uint8(h.Sum32() % GroupSlots)
}

// GroupJournal is the journal on which a group is placed: it holds its committed offsets, and its owner coordinates the group.
func (s *State) GroupJournal(group string) uint32 { return s.slots[Slot(group)] }

// Entries rebuilds the state: applied in order to an empty State they give an equal one.
func (s *State) Entries() []kfs.Entry {
	if s.cluster.ID.IsZero() {
		return nil
	}
	entries := []kfs.Entry{s.cluster}
	for slot, journal := range s.slots {
		if journal != 0 {
			entries = append(entries, kfs.GroupSlot{Slot: uint8(slot), Journal: journal})
		}
	}
	if s.nextProducerID > 0 {
		entries = append(entries, kfs.ProducerIDs{First: 0, Count: s.nextProducerID})
	}
	for _, t := range s.sorted {
		live := t.Topic
		live.State = kfs.TopicLive
		entries = append(entries, live)
		if t.State == kfs.TopicDeleting {
			entries = append(entries, t.Topic)
		}
	}
	return entries
}

// Draft applies entries to a private copy of a State. It copies only when the first entry is applied. Not safe for concurrent use.
type Draft struct {
	from *State // never modified
	next *State // nil until something was applied
}

// Edit begins a draft.
func (s *State) Edit() *Draft { return &Draft{from: s} }

// State is the state with everything that was applied so far. The draft goes on from it with a copy.
func (d *Draft) State() *State {
	if d.next != nil {
		slices.SortFunc(d.next.sorted, func(a, b *Topic) int { return cmp.Compare(a.Name, b.Name) })
		d.from, d.next = d.next, nil
	}
	return d.from
}

// view is the present state, for looking only; sorted may be out of order.
func (d *Draft) view() *State {
	if d.next != nil {
		return d.next
	}
	return d.from
}

// edit is the private copy.
func (d *Draft) edit() *State {
	if d.next == nil {
		c := *d.from
		c.byID, c.byName, c.sorted = maps.Clone(c.byID), maps.Clone(c.byName), slices.Clone(c.sorted)
		if c.byID == nil {
			c.byID, c.byName = map[kfs.TopicID]*Topic{}, map[string]*Topic{}
		}
		d.next = &c
	}
	return d.next
}

// Apply applies one entry, wholly or not at all. Entries that are no business of the metadata (trims, group offsets, …) change nothing.
func (d *Draft) Apply(e kfs.Entry) error {
	switch e := e.(type) {
	case kfs.Cluster:
		return d.applyCluster(e)
	case kfs.Topic:
		return d.applyTopic(e)
	case kfs.GroupSlot:
		return d.applySlot(e)
	case kfs.ProducerIDs:
		return d.applyProducerIDs(e)
	}
	return nil
}

func (d *Draft) applyCluster(e kfs.Cluster) error {
	have := d.view().cluster
	switch {
	case e.ID.IsZero() || e.Lineage.IsZero() || e.Journals == 0:
		return fmt.Errorf("cluster entry without id, lineage or journals: %w", ErrConflict)
	case !have.ID.IsZero() && (have.ID != e.ID || have.Lineage != e.Lineage):
		return fmt.Errorf("cluster is %s, the entry says %s: %w", have.ID, e.ID, ErrConflict)
	case e.Journals < have.Journals:
		return fmt.Errorf("%d journals cannot become %d: %w", have.Journals, e.Journals, ErrConflict)
	}
	d.edit().cluster = e
	return nil
}

func (d *Draft) applySlot(e kfs.GroupSlot) error {
	if err := d.checkJournal(e.Journal); err != nil {
		return err
	}
	if e.Slot >= GroupSlots {
		return fmt.Errorf("group slot %d is not below %d: %w", e.Slot, GroupSlots, ErrConflict)
	}
	d.edit().slots[e.Slot] = e.Journal
	return nil
}

func (d *Draft) applyProducerIDs(e kfs.ProducerIDs) error {
	s := d.view()
	if s.cluster.ID.IsZero() {
		return ErrNoCluster
	}
	if e.Count <= 0 || e.First != s.nextProducerID || e.First+e.Count < e.First {
		return fmt.Errorf("producer ids %d+%d, the next is %d: %w", e.First, e.Count, s.nextProducerID, ErrConflict)
	}
	d.edit().nextProducerID = e.First + e.Count
	return nil
}

func (d *Draft) checkJournal(journal uint32) error {
	s := d.view()
	if s.cluster.ID.IsZero() {
		return ErrNoCluster
	}
	if journal >= s.cluster.Journals {
		return fmt.Errorf("journal %d of %d: %w", journal, s.cluster.Journals, ErrConflict)
	}
	return nil
}

func (d *Draft) applyTopic(e kfs.Topic) error {
	if err := kfs.ValidateTopicName(e.Name); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidTopicName, err)
	}
	if e.ID.IsZero() {
		return fmt.Errorf("topic %s: the zero id is no topic's: %w", e.Name, ErrConflict)
	}
	known := d.view().byID[e.ID]
	switch e.State {
	case kfs.TopicLive:
		return d.applyLive(e, known)
	case kfs.TopicDeleting, kfs.TopicDeleted:
		return d.applyDeletion(e, known)
	}
	return fmt.Errorf("topic %s: unknown state %d: %w", e.Name, e.State, ErrConflict)
}

func (d *Draft) applyLive(e kfs.Topic, known *Topic) error {
	if n := len(e.Journals); n == 0 || n > MaxPartitions {
		return fmt.Errorf("topic %s: %d partitions, want 1 to %d: %w", e.Name, n, MaxPartitions, ErrInvalidPartitions)
	}
	for _, j := range e.Journals {
		if err := d.checkJournal(j); err != nil {
			return fmt.Errorf("topic %s: %w", e.Name, err)
		}
	}
	settings, err := ParseSettings(e.Configs)
	if err != nil {
		return fmt.Errorf("topic %s: %w", e.Name, err)
	}
	if known == nil {
		if _, taken := d.view().byName[e.Name]; taken {
			return fmt.Errorf("topic %s: %w", e.Name, ErrTopicExists)
		}
	} else if err := checkAltered(e, known); err != nil {
		return fmt.Errorf("topic %s: %w", e.Name, err)
	}
	d.put(&Topic{Topic: e, Settings: settings}, known)
	return nil
}

// checkAltered refuses what an altered topic cannot change: its name, or partitions that it has.
func checkAltered(e kfs.Topic, known *Topic) error {
	switch {
	case known.State == kfs.TopicDeleting:
		return ErrTopicDeleting
	case e.Name != known.Name:
		return fmt.Errorf("cannot be renamed from %s: %w", known.Name, ErrConflict)
	case len(e.Journals) < len(known.Journals):
		return fmt.Errorf("%d partitions cannot become %d: %w", len(known.Journals), len(e.Journals), ErrInvalidPartitions)
	case !slices.Equal(e.Journals[:len(known.Journals)], known.Journals):
		return fmt.Errorf("partitions cannot change their journal: %w", ErrConflict)
	}
	return nil
}

func (d *Draft) applyDeletion(e kfs.Topic, known *Topic) error {
	switch {
	case known == nil || known.Name != e.Name:
		return fmt.Errorf("topic %s (%s): %w", e.Name, e.ID, ErrUnknownTopic)
	case e.State == kfs.TopicDeleting && known.State == kfs.TopicDeleting:
		return fmt.Errorf("topic %s: %w", e.Name, ErrTopicDeleting)
	case e.State == kfs.TopicDeleted && known.State != kfs.TopicDeleting:
		return fmt.Errorf("topic %s is deleted before it was marked so: %w", e.Name, ErrConflict)
	}
	if e.State == kfs.TopicDeleting {
		t := *known
		t.State = kfs.TopicDeleting
		d.put(&t, known)
		return nil
	}
	s := d.edit()
	delete(s.byID, e.ID)
	delete(s.byName, e.Name)
	s.sorted = slices.DeleteFunc(s.sorted, func(t *Topic) bool { return t.ID == e.ID })
	return nil
}

// put replaces known (nil: adds) by t. Order is restored by State.
func (d *Draft) put(t, known *Topic) {
	s := d.edit()
	s.byID[t.ID], s.byName[t.Name] = t, t
	if known == nil {
		s.sorted = append(s.sorted, t)
		return
	}
	s.sorted[slices.Index(s.sorted, known)] = t
}
