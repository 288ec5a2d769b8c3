package kfs

import "fmt"

// Checkpoints and index pages (.kfm) are fields between a header and a footer of their own, big endian:
//
//	header   16   magic "KAFM" · version u16 = 1 · content u16 (1 checkpoint, 2 index page) · journal u32 · reserved u32 = 0
//	fields
//	footer   16   length of the whole u64 · CRC-32C of all before the footer u32 · magic "END!"
//
// The fields of a checkpoint, in this order:
//
//	0x0001 state          sequence u64 · object CRC u32 · created i64 · epoch i32 · writer 16
//	0x0020 … 0x003f       metadata entries, see entry_fields.go
//	0x0040 partition      topic 16 · partition i32 · log start i64 · next i64 · max timestamp i64 · ended u8 · name string · fields:
//	                      0x0001 settled segment
//	                      0x0002 producer   producer id i64 · epoch u16 · fields: 0x0001 producer batch
//	0x0041 group offset   see entry_fields.go
//	0x0042 index page     first u64 · last u64 · length i64 · CRC u32
//	0x0043 object         sequence u64 · CRC u32 · size i64 · created i64 · fields: 0x0002 segment, see manifest_fields.go
//	0x0044 released       first u64 · last u64 · since i64
//
// The fields of an index page:
//
//	0x0001 page           first u64 · last u64
//	0x0043 object         as above
const (
	metaHeaderSize = 16
	metaFooterSize = 16
	metaMagic      = "KAFM"
	metaVersion    = 1

	contentCheckpoint = 1
	contentPage       = 2

	kindState       = 0x0001
	kindPage        = 0x0001 // of an index page
	kindPartition   = 0x0040
	kindGroupOffset = 0x0041
	kindPageRef     = 0x0042
	kindLiveObject  = 0x0043
	kindReleased    = 0x0044
	kindProducer    = 0x0002 // inside a partition

	partitionFixed   = 47 // bytes of a partition with an empty name
	liveObjectFixed  = 28
	groupOffsetFixed = 46
)

// beginMeta writes the header of a .kfm object.
func beginMeta(content uint16, journal uint32) encoder {
	var e encoder
	e.b = append(e.b, metaMagic...)
	e.u16(metaVersion)
	e.u16(content)
	e.u32(journal)
	e.u32(0)
	return e
}

// endMeta writes the footer.
func (e *encoder) endMeta() []byte {
	crc := Checksum(e.b)
	e.u64(uint64(len(e.b) + metaFooterSize))
	e.u32(crc)
	e.b = append(e.b, endMagic...)
	return e.b
}

// openMeta checks header and footer of a .kfm object and gives its fields.
func openMeta(object []byte, content uint16) (d decoder, journal uint32, err error) {
	if len(object) < metaHeaderSize+metaFooterSize {
		return d, 0, corrupt("%d bytes are shorter than header and footer", len(object))
	}
	end := len(object) - metaFooterSize
	h, f := decoder{b: object[:metaHeaderSize]}, decoder{b: object[end:]}
	magic, version, got, journal, reserved := h.take(4), h.u16(), h.u16(), h.u32(), h.u32()
	length, sum := f.u64(), f.u32()
	switch {
	case string(magic) != metaMagic:
		return d, 0, corrupt("header does not begin with the magic %q", metaMagic)
	case version != metaVersion:
		return d, 0, fmt.Errorf("header: %w: format version %d", ErrVersion, version)
	case string(f.b) != endMagic || length != uint64(len(object)):
		return d, 0, corrupt("footer says %d bytes and %q, there are %d", length, f.b, len(object))
	case Checksum(object[:end]) != sum:
		return d, 0, corrupt("CRC is %08x, the footer says %08x", Checksum(object[:end]), sum)
	case reserved != 0:
		return d, 0, fmt.Errorf("header: %w: reserved bytes are %08x", ErrVersion, reserved)
	case got != content:
		return d, 0, corrupt("content is %d, not %d", got, content)
	}
	return decoder{b: object[metaHeaderSize:end]}, journal, nil
}

// MetaChecksum is the CRC-32C in the footer of a checkpoint or index page: what PageRef.CRC holds. It is 0 for bytes that are no such object.
func MetaChecksum(object []byte) uint32 {
	if len(object) < metaHeaderSize+metaFooterSize {
		return 0
	}
	d := decoder{b: object[len(object)-8:]}
	return d.u32()
}

// EncodeCheckpoint makes the bytes of a checkpoint object. It refuses what DecodeCheckpoint would refuse.
func EncodeCheckpoint(c *Checkpoint) ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("checkpoint %d of journal %d: %w", c.Sequence, c.Journal, err)
	}
	e := beginMeta(contentCheckpoint, c.Journal)
	mark := e.begin(kindState)
	e.u64(c.Sequence)
	e.u32(c.ObjectCRC)
	e.i64(c.Created)
	e.i32(c.Epoch)
	e.id(c.Writer)
	e.end(mark)
	for _, entry := range c.Metadata {
		e.entry(entry)
	}
	for i := range c.Partitions {
		e.partition(&c.Partitions[i])
	}
	for i := range c.Groups {
		e.groupOffset(kindGroupOffset, &c.Groups[i])
	}
	for _, p := range c.Pages {
		mark := e.begin(kindPageRef)
		e.u64(p.First)
		e.u64(p.Last)
		e.i64(p.Length)
		e.u32(p.CRC)
		e.end(mark)
	}
	for i := range c.Objects {
		e.object(&c.Objects[i])
	}
	for _, r := range c.Released {
		mark := e.begin(kindReleased)
		e.u64(r.First)
		e.u64(r.Last)
		e.i64(r.Since)
		e.end(mark)
	}
	return e.endMeta(), nil
}

// EncodePage makes the bytes of an index page object. It refuses what DecodePage would refuse.
func EncodePage(p *Page) ([]byte, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	e := beginMeta(contentPage, p.Journal)
	mark := e.begin(kindPage)
	e.u64(p.First)
	e.u64(p.Last)
	e.end(mark)
	for i := range p.Objects {
		e.object(&p.Objects[i])
	}
	return e.endMeta(), nil
}

func (e *encoder) partition(p *PartitionState) {
	mark := e.begin(kindPartition)
	e.id(p.Topic)
	e.i32(p.Partition)
	e.i64(p.LogStart)
	e.i64(p.Next)
	e.i64(p.MaxTimestamp)
	if p.Ended {
		e.u8(1)
	} else {
		e.u8(0)
	}
	e.str(p.Name)
	for i := range p.Settled {
		e.settledSegment(kindItem, &p.Settled[i])
	}
	for i := range p.Producers {
		s := &p.Producers[i]
		producer := e.begin(kindProducer)
		e.i64(s.ProducerID)
		e.u16(uint16(s.ProducerEpoch))
		for j := range s.Batches {
			e.producerBatch(&s.Batches[j])
		}
		e.end(producer)
	}
	e.end(mark)
}

func (e *encoder) object(o *Object) {
	mark := e.begin(kindLiveObject)
	e.u64(o.Sequence)
	e.u32(o.CRC)
	e.i64(o.Size)
	e.i64(o.Created)
	for i := range o.Segments {
		e.segment(&o.Segments[i])
	}
	e.end(mark)
}

// DecodeCheckpoint reads a whole checkpoint object. The checkpoint keeps nothing of object.
func DecodeCheckpoint(object []byte) (*Checkpoint, error) {
	d, journal, err := openMeta(object, contentCheckpoint)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	c := &Checkpoint{Journal: journal}
	if err := c.decode(&d); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("checkpoint %d of journal %d: %w: %w", c.Sequence, c.Journal, ErrCorrupt, err)
	}
	return c, nil
}

func (c *Checkpoint) decode(d *decoder) error {
	kind, body, _ := d.field()
	if kind != kindState {
		return corrupt("it does not begin with the state field")
	}
	c.Sequence, c.ObjectCRC, c.Created, c.Epoch, c.Writer = body.u64(), body.u32(), body.i64(), body.i32(), body.id()
	if err := body.finish("state field"); err != nil {
		return err
	}
	c.Partitions = sized[PartitionState](d.count(kindPartition, partitionFixed))
	c.Groups = sized[GroupOffset](d.count(kindGroupOffset, groupOffsetFixed))
	c.Objects = sized[Object](d.count(kindLiveObject, liveObjectFixed))
	cd := checkpointDecoder{into: c}
	last := kind
	for {
		kind, body, ok := d.field()
		if !ok {
			return d.err("checkpoint")
		}
		if kind&optionalField == 0 {
			if kind < last && !(isEntry(kind) && isEntry(last)) {
				return corrupt("field of kind 0x%04x stands behind 0x%04x", kind, last)
			}
			last = kind
		}
		if err := cd.field(kind, body); err != nil {
			return err
		}
	}
}

func sized[T any](n int) []T {
	if n == 0 {
		return nil
	}
	return make([]T, 0, n)
}

type checkpointDecoder struct {
	into     *Checkpoint
	segments segmentDecoder
	offsets  offsetDecoder
}

func (cd *checkpointDecoder) field(kind uint16, d decoder) error {
	c := cd.into
	switch {
	case isEntry(kind):
		entry, err := decodeEntry(kind, d)
		c.Metadata = append(c.Metadata, entry)
		return err
	case kind == kindPartition:
		c.Partitions = append(c.Partitions, PartitionState{})
		return cd.partition(&d, &c.Partitions[len(c.Partitions)-1])
	case kind == kindGroupOffset:
		o, err := cd.offsets.decode(d)
		c.Groups = append(c.Groups, o)
		return err
	case kind == kindPageRef:
		c.Pages = append(c.Pages, PageRef{First: d.u64(), Last: d.u64(), Length: d.i64(), CRC: d.u32()})
		return d.finish("index page reference")
	case kind == kindLiveObject:
		c.Objects = append(c.Objects, Object{})
		return cd.segments.object(&d, &c.Objects[len(c.Objects)-1])
	case kind == kindReleased:
		c.Released = append(c.Released, Run{First: d.u64(), Last: d.u64(), Since: d.i64()})
		return d.finish("released run")
	}
	return unknown(kind, "checkpoint")
}

func (cd *checkpointDecoder) partition(d *decoder, p *PartitionState) error {
	*p = PartitionState{Topic: d.id(), Partition: d.i32(), LogStart: d.i64(), Next: d.i64(), MaxTimestamp: d.i64()}
	ended := d.u8()
	p.Ended, p.Name = ended == 1, cd.segments.names.str(d.str())
	if ended > 1 {
		return corrupt("partition: ended is %d", ended)
	}
	for {
		kind, body, ok := d.field()
		switch {
		case !ok:
			return d.err("partition")
		case kind == kindItem:
			if len(p.Producers) > 0 {
				return corrupt("partition: a settled segment stands behind producers")
			}
			s, err := decodeSettledSegment(body)
			if err != nil {
				return err
			}
			p.Settled = append(p.Settled, s)
		case kind == kindProducer:
			s := ProducerState{ProducerID: body.i64(), ProducerEpoch: int16(body.u16())}
			var err error
			if s.Batches, err = cd.segments.producerBatches(&body, "producer"); err != nil {
				return err
			}
			p.Producers = append(p.Producers, s)
		default:
			if err := unknown(kind, "partition"); err != nil {
				return err
			}
		}
	}
}

// object decodes a live object.
func (sd *segmentDecoder) object(d *decoder, o *Object) error {
	*o = Object{Sequence: d.u64(), CRC: d.u32(), Size: d.i64(), Created: d.i64()}
	o.Segments = sized[Segment](d.count(kindSegment, segmentFixed))
	for {
		kind, body, ok := d.field()
		switch {
		case !ok:
			return d.err("object")
		case kind == kindSegment:
			o.Segments = append(o.Segments, Segment{})
			if err := sd.decode(body, &o.Segments[len(o.Segments)-1]); err != nil {
				return err
			}
		default:
			if err := unknown(kind, "object"); err != nil {
				return err
			}
		}
	}
}

// DecodePage reads a whole index page object. The page keeps nothing of object.
func DecodePage(object []byte) (*Page, error) {
	d, journal, err := openMeta(object, contentPage)
	if err != nil {
		return nil, fmt.Errorf("index page: %w", err)
	}
	p := &Page{Journal: journal}
	if err := p.decode(&d); err != nil {
		return nil, fmt.Errorf("index page: %w", err)
	}
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("index page: %w: %w", ErrCorrupt, err)
	}
	return p, nil
}

func (p *Page) decode(d *decoder) error {
	kind, body, _ := d.field()
	if kind != kindPage {
		return corrupt("it does not begin with the page field")
	}
	p.First, p.Last = body.u64(), body.u64()
	if err := body.finish("page field"); err != nil {
		return err
	}
	p.Objects = sized[Object](d.count(kindLiveObject, liveObjectFixed))
	var sd segmentDecoder
	for {
		kind, body, ok := d.field()
		switch {
		case !ok:
			return d.err("index page")
		case kind == kindLiveObject:
			p.Objects = append(p.Objects, Object{})
			if err := sd.object(&body, &p.Objects[len(p.Objects)-1]); err != nil {
				return err
			}
		default:
			if err := unknown(kind, "index page"); err != nil {
				return err
			}
		}
	}
}
