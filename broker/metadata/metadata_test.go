package metadata

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/firn-io/firn/kfs"
)

func id(n byte) kfs.TopicID { return kfs.TopicID{15: n} }

// bootstrap is a cluster of some journals.
func bootstrap(t *testing.T, journals uint32) *State {
	t.Helper()
	return apply(t, new(State), Bootstrap(id(100), id(101), journals)...)
}

func apply(t *testing.T, s *State, entries ...kfs.Entry) *State {
	t.Helper()
	d := s.Edit()
	for _, e := range entries {
		if err := d.Apply(e); err != nil {
			t.Fatalf("apply %#v: %v", e, err)
		}
	}
	return d.State()
}

func create(t *testing.T, s *State, n byte, name string, partitions int32, configs ...kfs.Config) *State {
	t.Helper()
	topic, err := s.CreateTopic(NewTopic{ID: id(n), Name: name, Partitions: partitions, Configs: configs, Created: 7})
	if err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	return apply(t, s, topic)
}

func TestSnapshotsDoNotChange(t *testing.T) {
	before := create(t, bootstrap(t, 1), 1, "b", 2)
	d := before.Edit()
	if err := d.Apply(kfs.Topic{ID: id(2), Name: "a", State: kfs.TopicLive, Journals: []uint32{0}}); err != nil {
		t.Fatal(err)
	}
	middle := d.State()
	deletion, err := middle.DeleteTopic(id(1))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range deletion {
		if err := d.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	after := d.State()
	for _, c := range []struct {
		name  string
		state *State
		want  []string
	}{{"before", before, []string{"b"}}, {"middle", middle, []string{"a", "b"}}, {"after", after, []string{"a"}}} {
		var names []string
		for _, topic := range c.state.Topics() {
			names = append(names, topic.Name)
			if got, ok := c.state.Topic(topic.Name); !ok || got != topic {
				t.Errorf("%s: Topic(%s) is another", c.name, topic.Name)
			}
			if got, ok := c.state.TopicByID(topic.ID); !ok || got != topic {
				t.Errorf("%s: TopicByID(%s) is another", c.name, topic.ID)
			}
		}
		if !slices.Equal(names, c.want) {
			t.Errorf("%s: topics %v, want %v", c.name, names, c.want)
		}
	}
}

func TestEntriesRebuildTheState(t *testing.T) {
	s := create(t, bootstrap(t, 3), 1, "plain", 5)
	s = create(t, s, 2, "configured", 2, kfs.Config{Key: "retention.ms", Value: "-1"}, kfs.Config{Key: "max.message.bytes", Value: "99"})
	s = create(t, s, 3, "going", 1)
	s = apply(t, s, s.ProducerIDs(1000))
	deletion, err := s.DeleteTopic(id(3))
	if err != nil {
		t.Fatal(err)
	}
	s = apply(t, s, deletion[0])
	if again := apply(t, new(State), s.Entries()...); !reflect.DeepEqual(again, s) {
		t.Errorf("rebuilt state differs:\n%+v\n%+v", again, s)
	}
}

func TestRefusedEntries(t *testing.T) {
	s := create(t, bootstrap(t, 2), 1, "one", 2)
	live := func(n byte, name string, journals ...uint32) kfs.Topic {
		return kfs.Topic{ID: id(n), Name: name, State: kfs.TopicLive, Journals: journals}
	}
	one, _ := s.Topic("one")
	dropped := one.Topic
	dropped.State = kfs.TopicDeleted
	for _, c := range []struct {
		entry kfs.Entry
		want  error
	}{
		{live(2, "one", 0), ErrTopicExists},
		{live(2, "../../evil", 0), ErrInvalidTopicName},
		{live(0, "zero", 0), ErrConflict},
		{live(2, "none"), ErrInvalidPartitions},
		{live(2, "far", 0, 2), ErrConflict},
		{live(1, "renamed", 0, 1), ErrConflict},
		{live(1, "one", 0), ErrInvalidPartitions},
		{live(1, "one", 1, 1), ErrConflict},
		{dropped, ErrConflict},
		{kfs.Topic{ID: id(9), Name: "nine", State: kfs.TopicDeleting}, ErrUnknownTopic},
		{kfs.Topic{ID: id(9), Name: "nine", State: 77}, ErrConflict},
		{kfs.Topic{ID: id(2), Name: "two", State: kfs.TopicLive, Journals: []uint32{0}, Configs: []kfs.Config{{Key: "retention.msec", Value: "1"}}}, ErrInvalidConfig},
		{kfs.ProducerIDs{First: 1, Count: 10}, ErrConflict},
		{kfs.ProducerIDs{First: 0, Count: 0}, ErrConflict},
		{kfs.GroupSlot{Slot: 64}, ErrConflict},
		{kfs.GroupSlot{Slot: 1, Journal: 2}, ErrConflict},
		{kfs.Cluster{ID: id(100), Lineage: id(101), Journals: 1}, ErrConflict},
		{kfs.Cluster{ID: id(100), Lineage: id(102), Journals: 2}, ErrConflict},
	} {
		d := s.Edit()
		if err := d.Apply(c.entry); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.entry, err, c.want)
		}
		if d.State() != s {
			t.Errorf("%+v: refused and applied", c.entry)
		}
	}
	if err := new(State).Edit().Apply(live(1, "early", 0)); !errors.Is(err, ErrNoCluster) {
		t.Errorf("topic before the cluster: %v", err)
	}
}

func TestPlansThatMeet(t *testing.T) {
	s := bootstrap(t, 1)
	first, err := s.CreateTopic(NewTopic{ID: id(1), Name: "t", Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.CreateTopic(NewTopic{ID: id(2), Name: "t", Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	d := apply(t, s, first).Edit()
	if err := d.Apply(second); !errors.Is(err, ErrTopicExists) {
		t.Errorf("second creation: %v", err)
	}
	block := s.ProducerIDs(10)
	d = apply(t, s, block).Edit()
	if err := d.Apply(block); !errors.Is(err, ErrConflict) {
		t.Errorf("second block: %v", err)
	}
}

func TestDeleteTopic(t *testing.T) {
	s := create(t, create(t, bootstrap(t, 2), 1, "here", 2, kfs.Config{Key: "firn.journals", Value: "0"}), 2, "spread", 2)
	for n, want := range map[byte]int{1: 3, 2: 1} {
		plan, err := s.DeleteTopic(id(n))
		if err != nil || len(plan) != want {
			t.Errorf("topic %d: %d entries, want %d (%v)", n, len(plan), want, err)
		}
		next := apply(t, s, plan...)
		if _, there := next.TopicByID(id(n)); there != (want == 1) {
			t.Errorf("topic %d: there %v", n, there)
		}
	}
	if _, err := s.DeleteTopic(id(9)); !errors.Is(err, ErrUnknownTopic) {
		t.Errorf("unknown topic: %v", err)
	}
}

func TestPlacementSpreads(t *testing.T) {
	s := bootstrap(t, 3)
	held := map[uint32]int{}
	for i := range 6 {
		s = create(t, s, byte(i+1), fmt.Sprintf("t%d", i), 2)
	}
	for _, topic := range s.Topics() {
		for p := range topic.Partitions() {
			j, _ := topic.Journal(p)
			held[j]++
		}
	}
	if len(held) != 3 || held[0] != 4 || held[1] != 4 {
		t.Errorf("partitions by journal: %v, want 4 on each of 3", held)
	}
	groups := map[uint32]bool{}
	for i := range 100 {
		groups[s.GroupJournal(fmt.Sprintf("g%d", i))] = true
	}
	if len(groups) != 3 {
		t.Errorf("100 groups lie on %d journals, want 3", len(groups))
	}
	alone := create(t, s, 50, "alone", 4, kfs.Config{Key: "firn.journals", Value: "2"})
	topic, _ := alone.Topic("alone")
	if !slices.Equal(topic.Journals, []uint32{2, 2, 2, 2}) {
		t.Errorf("alone lies on %v", topic.Journals)
	}
}

func TestConfigs(t *testing.T) {
	defs := ConfigDefs()
	for i, def := range defs {
		if err := def.check(def.Default); err != nil {
			t.Errorf("default of %s: %v", def.Name, err)
		}
		if i > 0 && defs[i-1].Name >= def.Name {
			t.Errorf("%s stands behind %s", def.Name, defs[i-1].Name)
		}
	}
	s := create(t, bootstrap(t, 1), 1, "t", 1, kfs.Config{Key: "message.timestamp.type", Value: "LogAppendTime"}, kfs.Config{Key: "max.message.bytes", Value: "2000"})
	altered, err := s.AlterConfigs(id(1), []kfs.Config{{Key: "retention.ms", Value: "5"}}, []string{"max.message.bytes"})
	if err != nil {
		t.Fatal(err)
	}
	s = apply(t, s, altered)
	topic, _ := s.Topic("t")
	if !topic.Settings.LogAppendTime || topic.Settings.MaxMessageBytes != 1048588 {
		t.Errorf("settings %+v", topic.Settings)
	}
	for _, v := range topic.ConfigValues() {
		if wantDefault := v.Name != "retention.ms" && v.Name != "message.timestamp.type"; v.IsDefault != wantDefault {
			t.Errorf("%s=%s: default %v", v.Name, v.Value, v.IsDefault)
		}
	}
	for _, c := range []struct{ name, value, told string }{{"cleanup.policy", "delete, compact", "delete,compact"}, {"cleanup.policy", "", ""}, {"preallocate", "TRUE", "true"}} {
		changed, err := s.AlterConfigs(id(1), []kfs.Config{{Key: c.name, Value: c.value}}, nil)
		if err != nil {
			t.Fatalf("%s=%q: %v", c.name, c.value, err)
		}
		for _, v := range (&Topic{Topic: changed}).ConfigValues() {
			if v.Name == c.name && v.Value != c.told {
				t.Errorf("%s=%q is told as %q, want %q", c.name, c.value, v.Value, c.told)
			}
		}
	}
	for _, c := range []kfs.Config{{Key: "retention.ms", Value: "-2"}, {Key: "cleanup.policy", Value: "delete,shred"}, {Key: "min.cleanable.dirty.ratio", Value: "NaN"},
		{Key: "preallocate", Value: "yes"}, {Key: "message.format.version", Value: "3"}, {Key: "message.format.version", Value: "3.0-IV"},
		{Key: "firn.journals", Value: "x"}, {Key: "max.message.bytes", Value: ""}, {Key: "no.such", Value: ""}} {
		if _, err := s.AlterConfigs(id(1), []kfs.Config{c}, nil); !errors.Is(err, ErrInvalidConfig) {
			t.Errorf("%s=%s: %v", c.Key, c.Value, err)
		}
	}
}

func TestDeletionAcrossJournals(t *testing.T) {
	live := create(t, bootstrap(t, 3), 7, "a", 2, kfs.Config{Key: "firn.journals", Value: "0,2"})
	if len(live.Ending(0)) != 0 || len(live.Ended(func(kfs.TopicID, uint32) bool { return true })) != 0 || live.FreeTopic(id(7)) != nil {
		t.Error("a live topic ends")
	}
	plan, err := live.DeleteTopic(id(7))
	if err != nil {
		t.Fatal(err)
	}
	deleting := apply(t, live, plan...)
	for journal, want := range []int{1, 0, 1} {
		if got := deleting.Ending(uint32(journal)); len(got) != want {
			t.Errorf("%d topics end in journal %d, want %d", len(got), journal, want)
		}
	}
	for _, ended := range [][]uint32{{}, {0}, {2}, {0, 2}} {
		got := deleting.Ended(func(topic kfs.TopicID, journal uint32) bool { return topic == id(7) && slices.Contains(ended, journal) })
		if want := len(ended) == 2; (len(got) == 1) != want {
			t.Errorf("ended in %v: %d topics have ended", ended, len(got))
		}
	}
	freed := apply(t, deleting, deleting.FreeTopic(id(7))...)
	if _, there := freed.Topic("a"); there || freed.FreeTopic(id(7)) != nil {
		t.Error("the name is not free")
	}
}
