package journal_test

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/kfs"
)

var topicNames = []string{"a", "b", "c"}

// admin creates, changes and deletes topics, and nobody else does. It does one thing at a time, and again until it knows what became of it.
type admin struct {
	w       *world
	topics  map[string]*adminTopic
	change  *change
	trims   bool // a DeleteRecords is under way
	tag     int
	next    time.Time
	resting bool
}

// adminTopic is what the admin was told of a topic.
type adminTopic struct {
	exists     bool
	id, before kfs.TopicID // and of the last one that had the name
	partitions int32
	retention  string
}

// change is what is under way.
type change struct {
	name   string
	topic  *adminTopic
	req    func() kmsg.Request
	done   func(c *call, resp kmsg.Response, maybe bool) (code int16) // 0: it is done. maybe: an earlier try may have been
	maybe  bool
	flying bool
}

func newAdmin(w *world) *admin {
	a := &admin{w: w, topics: map[string]*adminTopic{}}
	for _, name := range topicNames {
		a.topics[name] = &adminTopic{}
	}
	w.truth.admin = a
	return a
}

func (a *admin) rest() bool {
	a.resting = true
	for _, t := range a.topics {
		if !t.exists || t.partitions < 2 {
			return false
		}
	}
	return a.change == nil
}

func (a *admin) act() {
	w := a.w
	if a.change == nil {
		if !a.resting && w.clock.Before(a.next) {
			return
		}
		a.begin()
		a.next = w.clock.Add(time.Duration(w.rng.Int64N(int64(4 * time.Second))))
	}
	c := a.change
	if c == nil || c.flying {
		return
	}
	to := w.leader(func(*process) (uint32, bool) { return 0, true })
	if to == nil {
		return
	}
	c.flying = true
	w.send(a, to, c.req(), func(resp kmsg.Response, err error) {
		c.flying = false
		if err != nil {
			c.maybe = true
			return
		}
		code := c.done(w.running, resp, c.maybe)
		w.say("broker %d answers the admin's change of %s: %v", w.running.process.id, c.name, kerr.ErrorForCode(code))
		switch code {
		case 0:
			a.change = nil
		case kerr.NotController.Code, kerr.TopicAlreadyExists.Code: // the old one of that name is not gone yet
		case kerr.RequestTimedOut.Code:
			c.maybe = true
		default:
			w.wrong("broker %d: the admin's change of %s: %v", w.running.process.id, c.name, kerr.ErrorForCode(code))
		}
	})
}

// begin begins a change.
func (a *admin) begin() {
	w := a.w
	name := topicNames[w.rng.IntN(len(topicNames))]
	t := a.topics[name]
	switch n := w.rng.IntN(10); {
	case !t.exists:
		a.create(name, t)
	case t.partitions < 2 || t.partitions < 4 && n == 0 && !a.resting:
		a.grow(name, t)
	case a.resting:
	case n < 2:
		a.delete(name, t)
	case n < 4:
		a.alter(name, t)
	default:
		a.trim(name, t)
	}
}

func (a *admin) create(name string, t *adminTopic) {
	partitions := 1 + a.w.rng.Int32N(3)
	a.tag++
	retention := fmt.Sprint(1_000_000_000_000 + a.tag)
	a.change = &change{name: name, topic: t, req: func() kmsg.Request {
		req := kmsg.NewPtrCreateTopicsRequest()
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = "retention.ms", &retention
		topic.Configs = append(topic.Configs, config)
		req.Topics = append(req.Topics, topic)
		return req
	}, done: func(c *call, resp kmsg.Response, maybe bool) int16 {
		answer := resp.(*kmsg.CreateTopicsResponse).Topics[0]
		id := kfs.TopicID(answer.TopicID)
		if answer.ErrorCode == kerr.TopicAlreadyExists.Code {
			there, ok := c.process.view.State().Topic(name)
			switch {
			case !ok || there.State != kfs.TopicLive || there.ID == t.before:
				return answer.ErrorCode // of the one before
			case !maybe:
				a.w.wrong("broker %d: topic %s is there, and was not created", c.process.id, name)
			}
			id = there.ID
		} else if answer.ErrorCode != 0 {
			return answer.ErrorCode
		}
		a.w.Created++
		if !t.before.IsZero() {
			a.w.truth.freed[t.before] = a.w.steps
		}
		*t = adminTopic{exists: true, id: id, before: id, partitions: partitions, retention: retention}
		return 0
	}}
}

func (a *admin) delete(name string, t *adminTopic) {
	a.w.truth.doomed[t.id] = true
	a.change = &change{name: name, topic: t, req: func() kmsg.Request {
		req := kmsg.NewPtrDeleteTopicsRequest()
		topic := kmsg.NewDeleteTopicsRequestTopic()
		topic.Topic = &name
		req.Topics = append(req.Topics, topic)
		return req
	}, done: func(c *call, resp kmsg.Response, maybe bool) int16 {
		code := resp.(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode
		if code == kerr.UnknownTopicOrPartition.Code && maybe {
			code = 0
		}
		if code == 0 {
			a.w.Deleted++
			t.exists = false
		}
		return code
	}}
}

func (a *admin) grow(name string, t *adminTopic) {
	want := t.partitions + 1
	a.change = &change{name: name, topic: t, req: func() kmsg.Request {
		req := kmsg.NewPtrCreatePartitionsRequest()
		topic := kmsg.NewCreatePartitionsRequestTopic()
		topic.Topic, topic.Count = name, want
		req.Topics = append(req.Topics, topic)
		return req
	}, done: func(c *call, resp kmsg.Response, maybe bool) int16 {
		code := resp.(*kmsg.CreatePartitionsResponse).Topics[0].ErrorCode
		if code == kerr.InvalidPartitions.Code && maybe {
			code = 0
		}
		if code == 0 {
			a.w.Grown++
			t.partitions = want
		}
		return code
	}}
}

func (a *admin) alter(name string, t *adminTopic) {
	a.tag++
	retention := fmt.Sprint(1_000_000_000_000 + a.tag)
	a.change = &change{name: name, topic: t, req: func() kmsg.Request {
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		resource := kmsg.NewIncrementalAlterConfigsRequestResource()
		resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, name
		config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		config.Name, config.Value = "retention.ms", &retention
		resource.Configs = append(resource.Configs, config)
		req.Resources = append(req.Resources, resource)
		return req
	}, done: func(c *call, resp kmsg.Response, _ bool) int16 {
		code := resp.(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode
		if code == 0 {
			a.w.Altered++
			t.retention = retention
		}
		return code
	}}
}

// trim deletes records, which may happen or not.
func (a *admin) trim(name string, t *adminTopic) {
	w := a.w
	id := kfs.PartitionID{Topic: t.id, Partition: w.rng.Int32N(t.partitions)}
	to := w.partitionLeader(name, id.Partition)
	m := w.truth.of(id)
	if to == nil || a.trims || m.high == 0 {
		return
	}
	at := m.start + w.rng.Int64N(m.high-m.start+1)
	m.asked = max(m.asked, at)
	a.trims = true
	req := kmsg.NewPtrDeleteRecordsRequest()
	topic := kmsg.NewDeleteRecordsRequestTopic()
	part := kmsg.NewDeleteRecordsRequestTopicPartition()
	part.Partition, part.Offset = id.Partition, at
	topic.Topic, topic.Partitions = name, append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	w.send(a, to, req, func(resp kmsg.Response, err error) {
		a.trims = false
		if err != nil || t.id != id.Topic || !t.exists {
			return
		}
		answer := resp.(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]
		if answer.ErrorCode != 0 {
			return
		}
		w.Trims++
		if answer.LowWatermark < at {
			w.wrong("broker %d deletes records of %s up to %d, and says that it begins at %d", w.running.process.id, id, at, answer.LowWatermark)
		}
		m.trimmed = max(m.trimmed, at)
	})
}
