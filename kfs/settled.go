package kfs

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// A settled segment, format version 1, big endian. It is the segment that KafScale writes:
//
//	header  32   magic "KAFS" · version u16 = 1 · flags u16 = 0 · base offset i64 · records i32 · created i64 (Unix ms) · reserved u32 = 0
//	body         record batches of one partition, back to back, offsets without gaps
//	footer  16   CRC-32C of the body u32 · last offset i64 · magic "END!"
//
// and its index, which has no checksum:
//
//	header  16   magic "IDX\0" · version u16 = 1 · count i32 · interval i32 · reserved u16 = 0
//	entries 12   offset i64 · position i32 (from the first byte of the segment), ascending
const (
	SegmentHeaderSize = 32
	SegmentFooterSize = 16

	// IndexInterval is how many records lie at least between two entries of an index that SealSegment makes. It is a constant, so
	// that one range of offsets has one index.
	IndexInterval = 1000

	segmentVersion  = 1
	indexMagic      = "IDX\x00"
	indexVersion    = 1
	indexHeaderSize = 16
	indexEntrySize  = 12

	// What is needed of a batch header to find its end and its offsets; package record reads the rest.
	batchHeaderSize   = 61
	batchLengthEnd    = 12
	batchMagicAt      = 16
	batchLastDeltaAt  = 23
	batchRecordsAt    = 57
	recordBatchFormat = 2
)

// SettledHeader is what a settled segment says of itself.
type SettledHeader struct {
	Span    Span
	Records int32
	Created int64  // Unix milliseconds; no checksum of version 1 covers it
	CRC     uint32 // CRC-32C of the body
}

// Index finds offsets in a settled segment.
type Index struct {
	Interval int32 // records that lie at least between two entries
	Entries  []IndexEntry
}

// IndexEntry says that a record batch with that base offset begins at a byte of the segment.
type IndexEntry struct {
	Offset   int64
	Position int32
}

// SealSegment makes a settled segment and its index of record batches in order of offset; each body holds whole batches. The same
// batches and created (the newest source object's) give the same bytes.
func SealSegment(created int64, bodies [][]byte) (object, index []byte, err error) {
	size := SegmentHeaderSize + SegmentFooterSize
	for _, body := range bodies {
		size += len(body)
	}
	if size > math.MaxInt32 {
		return nil, nil, fmt.Errorf("segment of %d bytes is longer than positions of 32 bits can reach", size)
	}
	object = make([]byte, SegmentHeaderSize, size)
	for _, body := range bodies {
		object = append(object, body...)
	}
	object = object[:size]
	if _, index, err = FinishSegment(created, object); err != nil {
		return nil, nil, err
	}
	return object, index, nil
}

// FinishSegment makes a settled segment of an object that holds the batches already, in order of offset, with SegmentHeaderSize bytes of room
// before them and SegmentFooterSize behind. It gives what the segment says of itself, and its index.
func FinishSegment(created int64, object []byte) (h SettledHeader, index []byte, err error) {
	if len(object) < SegmentHeaderSize+SegmentFooterSize || len(object) > math.MaxInt32 {
		return h, nil, fmt.Errorf("segment of %d bytes has no room for header and footer, or is longer than positions of 32 bits can reach", len(object))
	}
	body := object[SegmentHeaderSize : len(object)-SegmentFooterSize]
	x := Index{Interval: IndexInterval}
	if h, err = scanBatches(body, x.note()); err != nil {
		return h, nil, err
	}
	if created < 0 {
		return h, nil, fmt.Errorf("segment %s: created %d is negative", h.Span, created)
	}
	h.Created, h.CRC = created, Checksum(body)
	header := encoder{object[:0]}
	header.b = append(header.b, objectMagic...)
	header.u16(segmentVersion)
	header.u16(0)
	header.i64(h.Span.Base)
	header.i32(h.Records)
	header.i64(created)
	header.u32(0)
	footer := encoder{object[:len(object)-SegmentFooterSize]}
	footer.u32(h.CRC)
	footer.i64(h.Span.Next - 1)
	footer.b = append(footer.b, endMagic...)
	return h, x.encode(), nil
}

// OpenSegment checks a whole settled segment: header, footer, CRC of the body, and that the batches are in order and are what the
// header and the footer say. Batches lie in object[SegmentHeaderSize : len(object)-SegmentFooterSize]. Their own checksums are not
// looked at.
func OpenSegment(object []byte) (SettledHeader, error) {
	h, err := ParseSegmentHeader(object)
	if err != nil {
		return SettledHeader{}, err
	}
	crc, last, err := ParseSegmentFooter(object)
	if err != nil {
		return SettledHeader{}, err
	}
	if len(object) < SegmentHeaderSize+SegmentFooterSize {
		return SettledHeader{}, corrupt("segment of %d bytes is shorter than header and footer", len(object))
	}
	body := object[SegmentHeaderSize : len(object)-SegmentFooterSize]
	if got := Checksum(body); got != crc {
		return SettledHeader{}, corrupt("body of the segment has CRC %08x, its footer says %08x", got, crc)
	}
	found, err := scanBatches(body, func(int64, int, int32) {})
	if err != nil {
		return SettledHeader{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if found.Span.Base != h.Span.Base || found.Span.Next-1 != last || found.Records != h.Records {
		return SettledHeader{}, corrupt("segment holds %d records %s, header and footer say %d records [%d, %d]",
			found.Records, found.Span, h.Records, h.Span.Base, last)
	}
	found.Created, found.CRC = h.Created, crc
	return found, nil
}

// ParseSegmentHeader reads the header that a settled segment begins with. Span.Next and CRC stay zero: the footer has them.
func ParseSegmentHeader(b []byte) (SettledHeader, error) {
	version, err := Version(b)
	if err != nil {
		return SettledHeader{}, err
	}
	if version != segmentVersion {
		return SettledHeader{}, fmt.Errorf("header: %w: format version %d, a settled segment has %d", ErrVersion, version, segmentVersion)
	}
	d := decoder{b: b[6:]}
	flags := d.u16()
	h := SettledHeader{Span: Span{Base: d.i64()}, Records: d.i32(), Created: d.i64()}
	reserved := d.u32()
	switch {
	case d.short:
		return SettledHeader{}, d.err("header of the segment")
	case flags != 0 || reserved != 0:
		return SettledHeader{}, fmt.Errorf("header: %w: flags %04x, reserved bytes %08x", ErrVersion, flags, reserved)
	case h.Span.Base < 0 || h.Records < 0 || h.Created < 0:
		return SettledHeader{}, corrupt("header: base offset %d, %d records, created %d", h.Span.Base, h.Records, h.Created)
	}
	return h, nil
}

// ParseSegmentFooter reads the footer that tail, the last bytes of a settled segment, ends with. A segment without a footer is not
// complete. The next segment of the partition begins at last+1.
func ParseSegmentFooter(tail []byte) (crc uint32, last int64, err error) {
	if len(tail) < SegmentFooterSize {
		return 0, 0, corrupt("%d bytes are shorter than the footer of a segment", len(tail))
	}
	d := decoder{b: tail[len(tail)-SegmentFooterSize:]}
	crc, last = d.u32(), d.i64()
	switch {
	case string(d.b) != endMagic:
		return 0, 0, corrupt("footer does not end with the magic %q", endMagic)
	case last < 0 || last == math.MaxInt64:
		return 0, 0, corrupt("footer: last offset is %d", last)
	}
	return crc, last, nil
}

// scanBatches walks the headers of record batches. visit gets each batch's base offset, its place in body and its records.
func scanBatches(body []byte, visit func(base int64, at int, records int32)) (h SettledHeader, err error) {
	if len(body) == 0 {
		return h, errors.New("segment holds no batch")
	}
	for at := 0; at < len(body); {
		b := body[at:]
		if len(b) < batchHeaderSize {
			return h, fmt.Errorf("batch at byte %d of the body: %d bytes are no header", at, len(b))
		}
		base := int64(binary.BigEndian.Uint64(b))
		size := int64(int32(binary.BigEndian.Uint32(b[8:]))) + batchLengthEnd
		delta := int64(int32(binary.BigEndian.Uint32(b[batchLastDeltaAt:])))
		records := int32(binary.BigEndian.Uint32(b[batchRecordsAt:]))
		switch {
		case b[batchMagicAt] != recordBatchFormat:
			return h, fmt.Errorf("batch at byte %d of the body: message format %d, not %d", at, b[batchMagicAt], recordBatchFormat)
		case size < batchHeaderSize || size > int64(len(b)):
			return h, fmt.Errorf("batch at byte %d of the body: %d bytes, %d are there", at, size, len(b))
		case base < 0 || delta < 0 || base+delta < 0 || base+delta == math.MaxInt64:
			return h, fmt.Errorf("batch at byte %d of the body: base offset %d, last %d after it", at, base, delta)
		case records < 0 || int64(records) > delta+1:
			return h, fmt.Errorf("batch at byte %d of the body: %d records in %d offsets", at, records, delta+1)
		case at > 0 && base != h.Span.Next:
			return h, fmt.Errorf("batch at byte %d of the body: base offset %d, the batch before ends at %d", at, base, h.Span.Next)
		case records > math.MaxInt32-h.Records:
			return h, fmt.Errorf("batch at byte %d of the body: more than %d records", at, math.MaxInt32)
		}
		if at == 0 {
			h.Span.Base = base
		}
		h.Span.Next = base + delta + 1
		h.Records += records
		visit(base, at, records)
		at += int(size)
	}
	return h, nil
}

// note gives the visitor that adds an entry for the first batch and after each interval.
func (x *Index) note() func(base int64, at int, records int32) {
	since := int64(0)
	return func(base int64, at int, records int32) {
		if len(x.Entries) == 0 || since >= int64(x.Interval) {
			x.Entries = append(x.Entries, IndexEntry{Offset: base, Position: int32(SegmentHeaderSize + at)})
			since = 0
		}
		since += int64(records)
	}
}

func (x *Index) encode() []byte {
	e := encoder{make([]byte, 0, indexHeaderSize+indexEntrySize*len(x.Entries))}
	e.b = append(e.b, indexMagic...)
	e.u16(indexVersion)
	e.i32(int32(len(x.Entries)))
	e.i32(x.Interval)
	e.u16(0)
	for _, entry := range x.Entries {
		e.i64(entry.Offset)
		e.i32(entry.Position)
	}
	return e.b
}

// DecodeIndex reads an index. It has no checksum: whoever follows an entry checks that the batch there has the entry's offset.
func DecodeIndex(b []byte) (*Index, error) {
	d := decoder{b: b}
	magic, version, count, interval, reserved := d.take(4), d.u16(), d.i32(), d.i32(), d.u16()
	switch {
	case d.short:
		return nil, d.err("header of the index")
	case string(magic) != indexMagic:
		return nil, corrupt("index does not begin with the magic %q", indexMagic)
	case version != indexVersion:
		return nil, fmt.Errorf("index: %w: format version %d", ErrVersion, version)
	case reserved != 0:
		return nil, fmt.Errorf("index: %w: reserved bytes are %04x", ErrVersion, reserved)
	case count < 1 || interval < 1 || int64(len(d.b)) != int64(count)*indexEntrySize:
		return nil, corrupt("index of %d entries every %d records has %d bytes of entries", count, interval, len(d.b))
	}
	x := &Index{Interval: interval, Entries: make([]IndexEntry, count)}
	for i := range x.Entries {
		entry := IndexEntry{Offset: d.i64(), Position: d.i32()}
		x.Entries[i] = entry
		switch {
		case i == 0 && (entry.Offset < 0 || entry.Position != SegmentHeaderSize):
			return nil, corrupt("index begins with offset %d at byte %d", entry.Offset, entry.Position)
		case i > 0 && (entry.Offset <= x.Entries[i-1].Offset || int64(entry.Position) < int64(x.Entries[i-1].Position)+batchHeaderSize):
			return nil, corrupt("index entry %d, offset %d at byte %d, is not in order", i, entry.Offset, entry.Position)
		}
	}
	return x, nil
}

// Search gives the last entry at or before offset: the batch that holds offset begins there or behind. ok is false if offset lies
// before the segment.
func (x *Index) Search(offset int64) (entry IndexEntry, ok bool) {
	i, found := slices.BinarySearchFunc(x.Entries, offset, func(e IndexEntry, offset int64) int { return cmp.Compare(e.Offset, offset) })
	if !found {
		i--
	}
	if i < 0 {
		return IndexEntry{}, false
	}
	return x.Entries[i], true
}

// Check compares the index with its whole segment, which has passed OpenSegment: every entry is a batch of it, and the first is the
// first batch.
func (x *Index) Check(object []byte) error {
	if len(object) < SegmentHeaderSize+SegmentFooterSize {
		return corrupt("segment of %d bytes is shorter than header and footer", len(object))
	}
	rest := x.Entries
	_, err := scanBatches(object[SegmentHeaderSize:len(object)-SegmentFooterSize], func(base int64, at int, _ int32) {
		if len(rest) > 0 && rest[0] == (IndexEntry{Offset: base, Position: int32(SegmentHeaderSize + at)}) {
			rest = rest[1:]
		}
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if len(rest) > 0 {
		return corrupt("index entry %d: no batch with base offset %d begins at byte %d", len(x.Entries)-len(rest), rest[0].Offset, rest[0].Position)
	}
	return nil
}
