package kfs

// The kinds of a manifest's fields, in the order in which they stand: one object field, the segments, the entries.
//
//	0x0001 object     journal u32 · sequence u64 · created i64 · epoch i32 · writer 16 · previous u32
//	0x0002 segment    topic 16 · partition i32 · base i64 · next i64 · records i32 · position i64 · length i64 · CRC u32 ·
//	                  first timestamp i64 · max timestamp i64 · name string · fields:
//	                  0x0001 producer batch   producer id i64 · epoch u16 · first sequence i32 · last sequence i32 ·
//	                                          base offset i64 · last offset i64 · max timestamp i64
//	0x0010 … 0x003f   entries; see entry_fields.go
const (
	kindObject        = 0x0001
	kindSegment       = 0x0002
	kindProducerBatch = 0x0001 // inside a segment or a producer's state

	segmentFixed = 78 // bytes of a segment with an empty name
)

func (m *Manifest) encode() []byte {
	size := 64
	for i := range m.Segments {
		s := &m.Segments[i]
		size += fieldHeader + segmentFixed + len(s.Name) + len(s.Producers)*(fieldHeader+44)
	}
	e := encoder{make([]byte, 0, size+64*len(m.Entries))}
	mark := e.begin(kindObject)
	e.u32(m.Journal)
	e.u64(m.Sequence)
	e.i64(m.Created)
	e.i32(m.Epoch)
	e.id(m.Writer)
	e.u32(m.Previous)
	e.end(mark)
	for i := range m.Segments {
		e.segment(&m.Segments[i])
	}
	for _, entry := range m.Entries {
		e.entry(entry)
	}
	return e.b
}

func (e *encoder) segment(s *Segment) {
	mark := e.begin(kindSegment)
	e.id(s.Topic)
	e.i32(s.Partition)
	e.i64(s.Span.Base)
	e.i64(s.Span.Next)
	e.i32(s.Records)
	e.i64(s.Position)
	e.i64(s.Length)
	e.u32(s.CRC)
	e.i64(s.FirstTimestamp)
	e.i64(s.MaxTimestamp)
	e.str(s.Name)
	for i := range s.Producers {
		e.producerBatch(&s.Producers[i])
	}
	e.end(mark)
}

func (e *encoder) producerBatch(p *ProducerBatch) {
	mark := e.begin(kindProducerBatch)
	e.i64(p.ProducerID)
	e.u16(uint16(p.ProducerEpoch))
	e.i32(p.FirstSequence)
	e.i32(p.LastSequence)
	e.i64(p.BaseOffset)
	e.i64(p.LastOffset)
	e.i64(p.MaxTimestamp)
	e.end(mark)
}

func decodeManifest(b []byte) (*Manifest, error) {
	d := decoder{b: b}
	kind, body, _ := d.field()
	if kind != kindObject {
		return nil, corrupt("it does not begin with the object field")
	}
	m := &Manifest{
		Journal: body.u32(), Sequence: body.u64(), Created: body.i64(),
		Epoch: body.i32(), Writer: body.id(), Previous: body.u32(),
	}
	if err := body.finish("object field"); err != nil {
		return nil, err
	}
	if n := d.count(kindSegment, segmentFixed); n > 0 {
		m.Segments = make([]Segment, 0, n)
	}
	var sd segmentDecoder
	for {
		kind, body, ok := d.field()
		switch {
		case !ok:
			return m, d.err("manifest")
		case kind == kindSegment:
			if len(m.Entries) > 0 {
				return nil, corrupt("a segment stands behind entries")
			}
			m.Segments = append(m.Segments, Segment{})
			if err := sd.decode(body, &m.Segments[len(m.Segments)-1]); err != nil {
				return nil, err
			}
		case isEntry(kind):
			entry, err := decodeEntry(kind, body)
			if err != nil {
				return nil, err
			}
			m.Entries = append(m.Entries, entry)
		default:
			if err := unknown(kind, "manifest"); err != nil {
				return nil, err
			}
		}
	}
}

// segmentDecoder decodes segments one after the other; they share names and the memory of their producers.
type segmentDecoder struct {
	names     interner
	producers []ProducerBatch
}

func (sd *segmentDecoder) decode(d decoder, s *Segment) error {
	*s = Segment{
		Topic: d.id(), Partition: d.i32(), Span: Span{d.i64(), d.i64()}, Records: d.i32(), Position: d.i64(), Length: d.i64(),
		CRC: d.u32(), FirstTimestamp: d.i64(), MaxTimestamp: d.i64(), Name: sd.names.str(d.str()),
	}
	var err error
	s.Producers, err = sd.producerBatches(&d, "segment")
	return err
}

// producerBatches reads the fields that end a body whose only known kind is a producer batch.
func (sd *segmentDecoder) producerBatches(d *decoder, what string) ([]ProducerBatch, error) {
	first := len(sd.producers)
	for {
		kind, body, ok := d.field()
		switch {
		case !ok:
			if n := len(sd.producers); n > first {
				return sd.producers[first:n:n], d.err(what)
			}
			return nil, d.err(what)
		case kind == kindProducerBatch:
			sd.producers = append(sd.producers, ProducerBatch{
				ProducerID: body.i64(), ProducerEpoch: int16(body.u16()), FirstSequence: body.i32(), LastSequence: body.i32(),
				BaseOffset: body.i64(), LastOffset: body.i64(), MaxTimestamp: body.i64(),
			})
			if err := body.finish("producer batch"); err != nil {
				return nil, err
			}
		default:
			if err := unknown(kind, what); err != nil {
				return nil, err
			}
		}
	}
}
