package kfs

import (
	"fmt"
)

// A journal object, format version 2, big endian:
//
//	header    32   magic "KAFS" · version u16 = 2 · flags u16 = 0 · journal u32 · sequence u64 · created i64 (Unix ms) · reserved u32 = 0
//	segments       the record batches of one partition after another, without gaps
//	manifest       fields; see manifest_fields.go
//	footer    24   manifest position u64 · manifest length u32 · CRC-32C of the manifest u32 · reserved u32 = 0 · magic "END!"
const (
	HeaderSize = 32 // bytes before the first segment
	FooterSize = 24 // bytes behind the manifest

	// TailSize is what a reader that wants only the manifest asks for first: nearly every manifest fits into it.
	TailSize = 64 << 10

	objectVersion = 2
	maxManifest   = 64 << 20 // bytes
)

const (
	objectMagic = "KAFS"
	endMagic    = "END!"
)

// Version is the format version of an object of which the first bytes are given: 1 for a segment, 2 for a journal object.
func Version(head []byte) (int, error) {
	d := decoder{b: head}
	magic, version := d.take(4), d.u16()
	if d.short || string(magic) != objectMagic {
		return 0, corrupt("header does not begin with the magic %q", objectMagic)
	}
	return int(version), nil
}

// Seal makes a journal object of a manifest and the record batches of its segments, one body per segment. It fills in Position,
// Length and CRC of each segment and refuses what no reader would take. The object is new memory; crc is its Object CRC, which the
// successor names as Previous.
func Seal(m *Manifest, bodies [][]byte) (object []byte, crc uint32, err error) {
	if len(bodies) != len(m.Segments) {
		return nil, 0, fmt.Errorf("object has %d segments and %d bodies", len(m.Segments), len(bodies))
	}
	end := int64(HeaderSize)
	for i, body := range bodies {
		s := &m.Segments[i]
		s.Position, s.Length, s.CRC = end, int64(len(body)), Checksum(body)
		end += s.Length
	}
	if err := m.Validate(); err != nil {
		return nil, 0, fmt.Errorf("object %d of journal %d: %w", m.Sequence, m.Journal, err)
	}
	manifest := m.encode()
	if len(manifest) > maxManifest {
		return nil, 0, fmt.Errorf("object %d of journal %d: manifest of %d bytes is longer than %d", m.Sequence, m.Journal, len(manifest), maxManifest)
	}
	e := encoder{make([]byte, 0, int(end)+len(manifest)+FooterSize)}
	e.b = append(e.b, objectMagic...)
	e.u16(objectVersion)
	e.u16(0)
	e.u32(m.Journal)
	e.u64(m.Sequence)
	e.i64(m.Created)
	e.u32(0)
	for _, body := range bodies {
		e.b = append(e.b, body...)
	}
	e.b = append(e.b, manifest...)
	e.u64(uint64(end))
	e.u32(uint32(len(manifest)))
	e.u32(Checksum(manifest))
	e.u32(0)
	e.b = append(e.b, endMagic...)
	return e.b, Checksum(e.b[end:]), nil
}

// Open checks a whole journal object, every byte of it, and gives its manifest and Object CRC. The manifest keeps nothing of object.
func Open(object []byte) (m *Manifest, crc uint32, err error) {
	m, crc, need, err := OpenTail(object, int64(len(object)))
	if err == nil && need > 0 {
		err = corrupt("object of %d bytes has no room for its manifest", len(object))
	}
	if err != nil {
		return nil, 0, err
	}
	if err := m.CheckHeader(object); err != nil {
		return nil, 0, err
	}
	for i := range m.Segments {
		s := &m.Segments[i]
		if err := s.Check(s.Bytes(object)); err != nil {
			return nil, 0, err
		}
	}
	return m, crc, nil
}

// OpenTail reads the manifest from tail, the last bytes of an object of size bytes. With need > 0 the tail is too short and nothing is
// known yet: read the last need bytes and call again. The Object CRC covers the manifest and the footer, and the manifest holds the
// CRC of each segment, so a reader of tails can follow the chain; whoever reads a segment then uses Segment.Check.
func OpenTail(tail []byte, size int64) (m *Manifest, crc uint32, need int64, err error) {
	switch {
	case size < HeaderSize+FooterSize:
		return nil, 0, 0, corrupt("object of %d bytes is shorter than header and footer", size)
	case int64(len(tail)) > size:
		return nil, 0, 0, fmt.Errorf("tail of %d bytes is longer than its object of %d", len(tail), size)
	case len(tail) < FooterSize:
		return nil, 0, min(size, TailSize), nil
	}
	position, length, sum, err := parseFooter(tail[len(tail)-FooterSize:], size)
	if err != nil {
		return nil, 0, 0, err
	}
	if need := size - position; need > int64(len(tail)) {
		return nil, 0, need, nil
	}
	tail = tail[int64(len(tail))-(size-position):]
	manifest := tail[:length]
	if got := Checksum(manifest); got != sum {
		return nil, 0, 0, corrupt("manifest at byte %d has CRC %08x, its footer says %08x", position, got, sum)
	}
	m, err = decodeManifest(manifest)
	if err == nil {
		if err = m.Validate(); err != nil {
			err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		} else if end := m.end(); end != position {
			err = corrupt("segments end at byte %d", end)
		}
	}
	if err != nil {
		return nil, 0, 0, fmt.Errorf("manifest at byte %d: %w", position, err)
	}
	return m, Checksum(tail), 0, nil
}

func parseFooter(footer []byte, size int64) (position, length int64, sum uint32, err error) {
	d := decoder{b: footer}
	at, n := d.u64(), int64(d.u32())
	sum = d.u32()
	reserved := d.u32()
	switch {
	case string(d.b) != endMagic:
		return 0, 0, 0, corrupt("footer does not end with the magic %q", endMagic)
	case reserved != 0:
		return 0, 0, 0, fmt.Errorf("footer: %w: reserved bytes are %08x", ErrVersion, reserved)
	case n > maxManifest:
		return 0, 0, 0, corrupt("footer: manifest of %d bytes is longer than %d", n, maxManifest)
	case at < HeaderSize || at > uint64(size) || int64(at)+n+FooterSize != size:
		return 0, 0, 0, corrupt("footer: manifest [%d, +%d) does not end at the footer of an object of %d bytes", at, n, size)
	}
	return int64(at), n, sum, nil
}

// CheckHeader checks the header that the object begins with, and that it says what the manifest repeats.
func (m *Manifest) CheckHeader(object []byte) error {
	if len(object) < HeaderSize {
		return corrupt("%d bytes are shorter than a header", len(object))
	}
	version, err := Version(object)
	if err != nil {
		return err
	}
	if version != objectVersion {
		return fmt.Errorf("header: %w: format version %d, a journal object has %d", ErrVersion, version, objectVersion)
	}
	d := decoder{b: object[6:HeaderSize]}
	flags, journal, sequence, created, reserved := d.u16(), d.u32(), d.u64(), d.i64(), d.u32()
	switch {
	case flags != 0 || reserved != 0:
		return fmt.Errorf("header: %w: flags %04x, reserved bytes %08x", ErrVersion, flags, reserved)
	case journal != m.Journal || sequence != m.Sequence || created != m.Created:
		return corrupt("header says object %d of journal %d, created %d; the manifest says %d of %d, created %d",
			sequence, journal, created, m.Sequence, m.Journal, m.Created)
	}
	return nil
}

// Bytes is the segment's part of a whole object. It shares memory with object and is nil if the segment does not lie in it.
func (s *Segment) Bytes(object []byte) []byte {
	if s.Position < 0 || s.Length < 0 || s.Position > int64(len(object)) || s.Length > int64(len(object))-s.Position {
		return nil
	}
	return object[s.Position : s.Position+s.Length : s.Position+s.Length]
}

// Ref is where the segment lies, given its object's key.
func (s *Segment) Ref(key string) Ref { return Ref{Key: key, Off: s.Position, Len: s.Length} }

// Check compares the segment's bytes, read by whatever way, with its length and CRC.
func (s *Segment) Check(body []byte) error {
	if int64(len(body)) != s.Length {
		return corrupt("segment %s/%d %s at byte %d has %d bytes of %d", s.Name, s.Partition, s.Span, s.Position, len(body), s.Length)
	}
	if got := Checksum(body); got != s.CRC {
		return corrupt("segment %s/%d %s at byte %d has CRC %08x, the manifest says %08x", s.Name, s.Partition, s.Span, s.Position, got, s.CRC)
	}
	return nil
}

// Follows checks that the object continues a journal whose last object has that sequence, Object CRC and owner epoch.
func (m *Manifest) Follows(journal uint32, sequence uint64, crc uint32, epoch int32) error {
	switch {
	case m.Journal != journal || m.Sequence != sequence+1:
		return corrupt("object %d of journal %d stands where object %d of journal %d belongs", m.Sequence, m.Journal, sequence+1, journal)
	case m.Previous != crc:
		return corrupt("object %d of journal %d follows an object with CRC %08x, but object %d has %08x", m.Sequence, journal, m.Previous, sequence, crc)
	case m.Epoch < epoch:
		return corrupt("object %d of journal %d has epoch %d, below %d of object %d", m.Sequence, journal, m.Epoch, epoch, sequence)
	}
	return nil
}
