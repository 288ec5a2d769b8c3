package pipeline

import (
	"errors"
	"slices"
	"strings"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// The topics of some seeds are deleted and made again under their names, with other ids, step by step as brokers do it: while the job runs, and
// while it does not. What is left of a topic that is deleted may be read or not, as long as no table lacks what lies before its position. A table
// that was filled from it must not take a record of the new one: it halts, until a person drops it.

// simTopic is a topic in one of its lives.
type simTopic struct {
	kfs.Topic
	life  byte
	ended int // journals that say that it has ended, from the first on
}

// newSimTopic makes a topic in a life of it.
func newSimTopic(name string, life byte, journals ...uint32) *simTopic {
	return &simTopic{Topic: tailtest.Topic(name, life, journals...), life: life}
}

// recreate takes the next step with a topic: it is marked, ends in each journal, is deleted, and made again.
func (l *simLog) recreate(topic *simTopic) {
	switch {
	case topic.State == kfs.TopicLive:
		topic.State = kfs.TopicDeleting
		l.journals[0].Append(l.s.t, []kfs.Entry{topic.Topic})
	case topic.ended < len(l.journals):
		l.journals[topic.ended].Append(l.s.t, []kfs.Entry{kfs.Ended{Topic: topic.ID}})
		topic.ended++
	case topic.State == kfs.TopicDeleting:
		topic.State = kfs.TopicDeleted
		l.journals[0].Append(l.s.t, []kfs.Entry{topic.Topic})
	default:
		*topic = *newSimTopic(topic.Name, topic.life+1, topic.Journals...)
		l.journals[0].Append(l.s.t, []kfs.Entry{topic.Topic})
		l.s.Recreated++
	}
	l.s.say("topic %s, life %d: %s, ended in %d journals", topic.Name, topic.life, topic.State, topic.ended)
}

// recreates begins to delete a topic, or goes on with what was begun.
func (l *simLog) recreates() {
	for _, topic := range l.topics {
		if topic.State != kfs.TopicLive {
			if l.s.rare.IntN(8) == 0 {
				l.recreate(topic)
			}
			return
		}
	}
	if l.s.rare.IntN(80) == 0 {
		if l.s.rare.IntN(3) == 0 { // nobody sees how it goes
			l.s.again()
			l.s.Unseen++
		}
		l.recreate(l.topics[l.s.rare.IntN(len(l.topics))])
	}
}

// live makes those topics again that are being deleted, and has every journal say what has ended.
func (l *simLog) live() {
	for _, topic := range l.topics {
		for topic.State != kfs.TopicLive {
			l.recreate(topic)
		}
	}
	for _, j := range l.journals {
		j.Append(l.s.t, nil)
		j.Checkpoint(l.s.t)
	}
}

// recreated reports whether a table has halted as it must where its topic was made again.
func (s *simulation) recreated(topic string, err error) bool {
	i := slices.IndexFunc(s.log.topics, func(t *simTopic) bool { return t.Name == topic })
	var halt *processor.HaltError
	return i >= 0 && s.log.topics[i].life > 1 && errors.As(err, &halt) && strings.Contains(halt.Reason, "created again")
}

// dropFormer is the person who drops the tables that were filled from a topic which was deleted since.
func (s *simulation) dropFormer(topic string) {
	i := slices.IndexFunc(s.log.topics, func(t *simTopic) bool { return t.Name == topic })
	for _, t := range s.tablesOf(topic) {
		next, _ := s.position(t.now())
		for key := range next {
			if source, err := iceberg.ParseSource(key); err == nil && source.ID != s.log.topics[i].ID {
				s.lake.drop(t, "its topic was created again")
				break
			}
		}
	}
}

// checkLives checks that a table is filled from one life of a topic only.
func (s *simulation) checkLives(t *simTable, next map[string]int64) {
	lives := map[string]kfs.TopicID{}
	for key := range next {
		source, err := iceberg.ParseSource(key)
		if err != nil {
			continue
		}
		if id, ok := lives[source.Topic]; ok && id != source.ID {
			s.wrong("table %s is filled from topic %s and from one that was made again under its name", t.name, source.Topic)
			return
		}
		lives[source.Topic] = source.ID
	}
}
