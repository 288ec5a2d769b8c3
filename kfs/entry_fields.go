package kfs

// The kinds of entries. Below 0x0020 any journal carries them, from 0x0020 on journal 0 alone.
//
//	0x0010 trim            topic 16 · partition i32 · log start i64 · journal 0 sequence u64
//	0x0011 settled         topic 16 · partition i32 · fields: 0x0001 settled segment
//	0x0012 ended           topic 16
//	0x0013 group offsets   fields: 0x0001 group offset
//	0x0020 cluster         id 16 · lineage 16 · journals u32
//	0x0021 topic           id 16 · state u8 · created i64 · name string · fields: 0x0001 journals (u32 each), 0x0002 config
//	0x0022 group slot      slot u8 · journal u32
//	0x0023 producer ids    first i64 · count i64
//	0x0024 credentials     reserved
//	0x0025 ACLs            reserved
//
//	settled segment        base i64 · next i64 · length i64 · CRC u32 · max timestamp i64 · key string
//	group offset           topic 16 · partition i32 · offset i64 · leader epoch i32 · committed i64 · group, topic, metadata strings
//	config                 key string · value string
const (
	kindTrim         = 0x0010
	kindSettled      = 0x0011
	kindEnded        = 0x0012
	kindGroupOffsets = 0x0013
	kindCluster      = 0x0020
	kindTopic        = 0x0021
	kindGroupSlot    = 0x0022
	kindProducerIDs  = 0x0023

	kindItem   = 0x0001 // inside settled and group offsets: one of them
	kindPlaces = 0x0001 // inside a topic: the journals of its partitions
	kindConfig = 0x0002 // inside a topic
)

// isEntry reports whether a field is an entry, known or not.
func isEntry(kind uint16) bool { return 0x0010 <= kind && kind < 0x0040 }

func (e *encoder) entry(entry Entry) {
	switch v := entry.(type) {
	case Trim:
		mark := e.begin(kindTrim)
		e.id(v.Topic)
		e.i32(v.Partition)
		e.i64(v.LogStart)
		e.u64(v.Metadata)
		e.end(mark)
	case Settled:
		mark := e.begin(kindSettled)
		e.id(v.Topic)
		e.i32(v.Partition)
		for i := range v.Segments {
			e.settledSegment(kindItem, &v.Segments[i])
		}
		e.end(mark)
	case Ended:
		mark := e.begin(kindEnded)
		e.id(v.Topic)
		e.end(mark)
	case GroupOffsets:
		mark := e.begin(kindGroupOffsets)
		for i := range v.Offsets {
			e.groupOffset(kindItem, &v.Offsets[i])
		}
		e.end(mark)
	case Cluster:
		mark := e.begin(kindCluster)
		e.id(v.ID)
		e.id(v.Lineage)
		e.u32(v.Journals)
		e.end(mark)
	case Topic:
		e.topic(&v)
	case GroupSlot:
		mark := e.begin(kindGroupSlot)
		e.u8(v.Slot)
		e.u32(v.Journal)
		e.end(mark)
	case ProducerIDs:
		mark := e.begin(kindProducerIDs)
		e.i64(v.First)
		e.i64(v.Count)
		e.end(mark)
	}
}

func (e *encoder) settledSegment(kind uint16, s *SettledSegment) {
	mark := e.begin(kind)
	e.i64(s.Span.Base)
	e.i64(s.Span.Next)
	e.i64(s.Length)
	e.u32(s.CRC)
	e.i64(s.MaxTimestamp)
	e.str(s.Key)
	e.end(mark)
}

func (e *encoder) groupOffset(kind uint16, o *GroupOffset) {
	mark := e.begin(kind)
	e.id(o.TopicID)
	e.i32(o.Partition)
	e.i64(o.Offset)
	e.i32(o.LeaderEpoch)
	e.i64(o.Committed)
	e.str(o.Group)
	e.str(o.Topic)
	e.str(o.Metadata)
	e.end(mark)
}

func (e *encoder) topic(t *Topic) {
	mark := e.begin(kindTopic)
	e.id(t.ID)
	e.u8(uint8(t.State))
	e.i64(t.Created)
	e.str(t.Name)
	places := e.begin(kindPlaces)
	for _, journal := range t.Journals {
		e.u32(journal)
	}
	e.end(places)
	for _, c := range t.Configs {
		config := e.begin(kindConfig)
		e.str(c.Key)
		e.str(c.Value)
		e.end(config)
	}
	e.end(mark)
}

func decodeEntry(kind uint16, d decoder) (Entry, error) {
	switch kind {
	case kindTrim:
		v := Trim{Topic: d.id(), Partition: d.i32(), LogStart: d.i64(), Metadata: d.u64()}
		return v, d.finish("trim")
	case kindSettled:
		return decodeSettled(&d)
	case kindEnded:
		v := Ended{Topic: d.id()}
		return v, d.finish("ended")
	case kindGroupOffsets:
		return decodeGroupOffsets(&d)
	case kindCluster:
		v := Cluster{ID: d.id(), Lineage: d.id(), Journals: d.u32()}
		return v, d.finish("cluster")
	case kindTopic:
		return decodeTopic(&d)
	case kindGroupSlot:
		v := GroupSlot{Slot: d.u8(), Journal: d.u32()}
		return v, d.finish("group slot")
	case kindProducerIDs:
		v := ProducerIDs{First: d.i64(), Count: d.i64()}
		return v, d.finish("producer ids")
	}
	return nil, unknown(kind, "manifest")
}

func decodeSettled(d *decoder) (v Settled, err error) {
	v = Settled{Topic: d.id(), Partition: d.i32()}
	for {
		kind, body, ok := d.field()
		switch {
		case !ok:
			return v, d.err("settled")
		case kind == kindItem:
			s, err := decodeSettledSegment(body)
			if err != nil {
				return v, err
			}
			v.Segments = append(v.Segments, s)
		default:
			if err := unknown(kind, "settled"); err != nil {
				return v, err
			}
		}
	}
}

func decodeSettledSegment(d decoder) (SettledSegment, error) {
	s := SettledSegment{
		Span: Span{d.i64(), d.i64()}, Length: d.i64(), CRC: d.u32(), MaxTimestamp: d.i64(), Key: string(d.str()),
	}
	return s, d.finish("settled segment")
}

func decodeGroupOffsets(d *decoder) (v GroupOffsets, err error) {
	var od offsetDecoder
	for {
		kind, body, ok := d.field()
		switch {
		case !ok:
			return v, d.err("group offsets")
		case kind == kindItem:
			o, err := od.decode(body)
			if err != nil {
				return v, err
			}
			v.Offsets = append(v.Offsets, o)
		default:
			if err := unknown(kind, "group offsets"); err != nil {
				return v, err
			}
		}
	}
}

// offsetDecoder decodes group offsets one after the other; they share names.
type offsetDecoder struct{ groups, topics, metadata interner }

func (od *offsetDecoder) decode(d decoder) (GroupOffset, error) {
	o := GroupOffset{
		TopicID: d.id(), Partition: d.i32(), Offset: d.i64(), LeaderEpoch: d.i32(), Committed: d.i64(),
		Group: od.groups.str(d.str()), Topic: od.topics.str(d.str()), Metadata: od.metadata.str(d.str()),
	}
	return o, d.finish("group offset")
}

func decodeTopic(d *decoder) (v Topic, err error) {
	v = Topic{ID: d.id(), State: TopicState(d.u8()), Created: d.i64(), Name: string(d.str())}
	placed := false
	for {
		kind, body, ok := d.field()
		switch {
		case !ok:
			if !placed {
				return v, corrupt("topic %q names no journals", v.Name)
			}
			return v, d.err("topic")
		case kind == kindPlaces:
			if placed || len(body.b)%4 != 0 {
				return v, corrupt("topic %q names its journals in %d bytes, or twice", v.Name, len(body.b))
			}
			placed = true
			if n := len(body.b) / 4; n > 0 {
				v.Journals = make([]uint32, n)
			}
			for i := range v.Journals {
				v.Journals[i] = body.u32()
			}
		case kind == kindConfig:
			v.Configs = append(v.Configs, Config{Key: string(body.str()), Value: string(body.str())})
			if err := body.finish("topic config"); err != nil {
				return v, err
			}
		default:
			if err := unknown(kind, "topic"); err != nil {
				return v, err
			}
		}
	}
}
