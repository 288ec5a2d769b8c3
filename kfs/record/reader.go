package record

import (
	"encoding/binary"
	"fmt"
	"iter"
)

// Record is one record of a batch. Its slices point into the batch, or into the reader's buffer if the batch was compressed.
type Record struct {
	Offset    int64
	Timestamp int64  // Unix milliseconds: when it was created, or when the broker took it
	Key       []byte // nil is null, which is not the same as empty
	Value     []byte // nil is null
	Headers   Headers
}

// Headers are the headers of a record, still encoded but known to be well formed.
type Headers struct {
	raw []byte
	n   int
}

// Len is the number of headers.
func (h Headers) Len() int { return h.n }

// All gives the key and the value of each header in order; a nil value is null. The slices point to where the record's do.
func (h Headers) All() iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		in := input{b: h.raw}
		for range h.n {
			key := in.bytes()
			if !yield(key, in.nullable()) {
				return
			}
		}
	}
}

// Reader iterates over the records of batches, one batch after the other. The zero value is ready. It keeps its buffers from batch
// to batch and allocates nothing for a record. It is not for concurrent use.
type Reader struct {
	dec    Decompressor
	header Header
	in     input
	next   int32
}

// Reset begins with the batch that b begins with. If the batch is compressed it is decompressed here, to at most limit bytes, and
// the records of the batch before are overwritten; else records will point into b, which must stay as it is while they are used.
// It does not verify the batch's checksum. Errors are those of ParseHeader and of Decompressor.Decompress, and ErrCorrupt where the
// number of records cannot be true.
func (r *Reader) Reset(b []byte, limit int) error {
	r.in, r.next, r.header = input{}, 0, Header{}
	h, err := ParseHeader(b)
	if err != nil {
		return err
	}
	if h.Records != h.LastOffsetDelta+1 {
		return fmt.Errorf("%w: %d records and last offset delta %d", ErrCorrupt, h.Records, h.LastOffsetDelta)
	}
	body, err := r.dec.Decompress(h.Codec(), b[HeaderSize:h.Size()], limit)
	if err != nil {
		return fmt.Errorf("batch at offset %d: %w", h.BaseOffset, err)
	}
	if int64(h.Records)*minRecordSize > int64(len(body)) {
		return fmt.Errorf("%w: batch at offset %d: %d records in %d bytes", ErrCorrupt, h.BaseOffset, h.Records, len(body))
	}
	r.header, r.in = h, input{b: body}
	return nil
}

// Header is the header of the batch that the reader was last reset to.
func (r *Reader) Header() *Header { return &r.header }

// Next gives the next record of the batch, or false after the last. The record is valid until the next Reset. An error is
// ErrCorrupt: the record is not well formed, its offset is not the one after the record before, or bytes follow the last record.
// After an error the batch is over.
func (r *Reader) Next(rec *Record) (bool, error) {
	if r.next >= r.header.Records {
		if rest := len(r.in.b); rest > 0 {
			r.in.b = nil
			return false, fmt.Errorf("%w: batch at offset %d: %d bytes after the last record", ErrCorrupt, r.header.BaseOffset, rest)
		}
		return false, nil
	}
	if !r.record(rec) {
		n := r.next
		r.next, r.in.b = r.header.Records, nil
		return false, fmt.Errorf("%w: batch at offset %d: record %d is malformed", ErrCorrupt, r.header.BaseOffset, n)
	}
	r.next++
	return true, nil
}

// minRecordSize is the smallest record: seven fields of one byte.
const minRecordSize = 7

// record reads one record:
//
//	varint  length of what follows
//	i8      attributes, unused
//	varint  timestamp - base timestamp
//	varint  offset - base offset
//	varint  length of the key, -1 for null; the key
//	varint  length of the value, -1 for null; the value
//	varint  headers: varint length of the key, the key, varint length of the value, -1 for null, the value
func (r *Reader) record(rec *Record) bool {
	body := input{b: r.in.bytes()}
	if len(body.b) < minRecordSize-1 {
		return false // also if there was no such length
	}
	body.b = body.b[1:]
	timestamp := body.varlong()
	if delta := body.varint(); delta != r.next {
		return false
	}
	rec.Offset = r.header.BaseOffset + int64(r.next)
	rec.Timestamp = r.header.BaseTimestamp + timestamp
	if timestamp >= 0 != (rec.Timestamp >= r.header.BaseTimestamp) {
		return false // overflow
	}
	if r.header.IsLogAppendTime() {
		rec.Timestamp = r.header.MaxTimestamp
	}
	rec.Key = body.nullable()
	rec.Value = body.nullable()
	n := body.varint()
	rec.Headers = Headers{raw: body.b, n: int(n)}
	if n < 0 || int64(n)*2 > int64(len(body.b)) {
		return false
	}
	for range n {
		body.bytes()
		body.nullable()
	}
	return !body.bad && len(body.b) == 0
}

// input takes fields from the front of b. After the first field that is not there or not well formed it is bad, and gives zeros.
type input struct {
	b   []byte
	bad bool
}

func (in *input) fail() {
	in.b, in.bad = nil, true
}

// varlong takes a zigzag varint of at most 64 bits.
func (in *input) varlong() int64 {
	if len(in.b) > 0 && in.b[0] < 0x80 { // most are of one byte
		u := in.b[0]
		in.b = in.b[1:]
		return int64(u>>1) ^ -int64(u&1)
	}
	u, n := binary.Uvarint(in.b)
	if n <= 0 {
		in.fail()
		return 0
	}
	in.b = in.b[n:]
	return int64(u>>1) ^ -int64(u&1)
}

// varint takes a zigzag varint of at most 32 bits.
func (in *input) varint() int32 {
	v := in.varlong()
	if v != int64(int32(v)) {
		in.fail()
		return 0
	}
	return int32(v)
}

// bytes takes a length and that many bytes.
func (in *input) bytes() []byte {
	n := in.varint()
	if n < 0 {
		in.fail()
		return nil
	}
	return in.take(n)
}

// nullable takes a length and that many bytes, nil if the length is -1.
func (in *input) nullable() []byte {
	n := in.varint()
	if n == -1 {
		return nil
	}
	if n < 0 {
		in.fail()
		return nil
	}
	return in.take(n)
}

func (in *input) take(n int32) []byte {
	if in.bad || int(n) > len(in.b) {
		in.fail()
		return nil
	}
	v := in.b[:n:n]
	in.b = in.b[n:]
	return v
}
