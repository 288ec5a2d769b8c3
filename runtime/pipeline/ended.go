package pipeline

import "github.com/firn-io/firn/kfs"

// A topic that is deleted has records left before the end that each of its journals says, and journal 0, which says that it is deleted, may be
// read long before them. So where processes share a job its partitions stay somebody's until it is known of each that it is committed to its
// end: by this process, or by another that has said so (Joint).

// topicEnd is the end of a partition in its journal, which a worker took as its n-th item.
type topicEnd struct {
	id kfs.PartitionID
	n  int64
}

// settle notes that nothing of the first n items is pending, as feed.settle does; and what has come to its end with them.
func (w *worker) settle(n int64) (news bool) {
	news = w.feed.settle(n)
	ended := map[kfs.PartitionID]int64{}
	for len(w.ends) > 0 && w.ends[0].n <= n {
		ended[w.ends[0].id] = saidAll
		w.ends = w.ends[1:]
	}
	w.table.job.end(ended)
	return news
}

// end tells of partitions that have come to the ends of their topics, all that is to be committed of them, and takes note of it. The others are told also
// where a checkpoint says so: a process that has read no newer one would wait for ever for somebody to come to those ends.
func (j *Job) end(ended map[kfs.PartitionID]int64) {
	if len(ended) == 0 {
		return
	}
	if joint, ok := j.cfg.Assignment.(Joint); ok {
		joint.Say(ended)
	}
	j.finish(ended)
}

// finish notes which partitions of topics that are deleted are committed to their ends, and gives up the topics that are.
func (j *Job) finish(ended map[kfs.PartitionID]int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for id, at := range ended {
		if at == saidAll {
			j.ended[id] = true
		}
	}
	for id, topic := range j.topics {
		if topic.State == kfs.TopicLive || j.over[id] || j.cfg.Until.Bounded() { // of a run with an end each process knows the same partitions
			continue
		}
		left := false
		for p := range topic.Journals {
			left = left || !j.ended[kfs.PartitionID{Topic: id, Partition: int32(p)}]
		}
		if !left {
			j.over[id] = true
			j.cfg.Assignment.Found(id, 0)
		}
	}
}

// found tells of partitions of a topic. One that is over stays so: others know it no more, and where processes take different topics into account,
// each may leave a partition to another.
func (j *Job) found(id kfs.TopicID, partitions int32) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.over[id] {
		j.cfg.Assignment.Found(id, partitions)
	}
}

// meetTopic notes what journal 0 says of a topic, and reports whether it is there: what is read once more is not news.
func (j *Job) meetTopic(topic kfs.Topic) (live bool) {
	j.mu.Lock()
	known, ok := j.topics[topic.ID]
	if !ok || known.State < topic.State {
		j.topics[topic.ID] = topic
	}
	live = j.topics[topic.ID].State == kfs.TopicLive
	j.mu.Unlock()
	if !live {
		j.finish(nil)
	}
	return live
}

// topicOf is a topic as journal 0 has it.
func (j *Job) topicOf(id kfs.TopicID) (topic kfs.Topic, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	topic, ok = j.topics[id]
	return topic, ok
}
