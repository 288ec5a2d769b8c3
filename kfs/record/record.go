// Package record reads, checks, stamps and builds Kafka record batches (magic 2), the bytes that producers send, that journals
// and segments hold, and that consumers and processors read.
//
// A batch travels opaque: it is compressed once, by its producer, and is never encoded again. A broker checks it (Validator), stamps
// the offset and epoch that its checksum leaves out (Stamp), and whoever wants records walks them without allocating (Reader):
//
//	var r record.Reader
//	for batch, err := range record.Batches(segment) {
//		if err == nil {
//			err = r.Reset(batch, record.DecompressedBytes)
//		}
//		if err != nil {
//			return err
//		}
//		var rec record.Record
//		for {
//			ok, err := r.Next(&rec)
//			if err != nil {
//				return err
//			}
//			if !ok {
//				break
//			}
//			use(rec.Offset, rec.Value)
//		}
//	}
//
// All input is untrusted: every length is checked before it is used, decompressed output is bounded, and nothing here panics on
// input. What a Validator accepts, a Reader reads to its end. The package does no I/O and never changes a batch's records.
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
)

// What is wrong with a batch. Every error of this package that input can cause is one of these by errors.Is.
var (
	ErrCorrupt       = errors.New("corrupt record batch")          // truncated, wrong lengths or checksum, undecodable body
	ErrTruncated     = fmt.Errorf("%w: it ends early", ErrCorrupt) // the bytes end before the batch does
	ErrInvalid       = errors.New("invalid record batch")          // well formed, but not what a producer may send
	ErrMagic         = errors.New("unsupported message format")    // a format before record batches, or one we do not know
	ErrCodec         = errors.New("unsupported compression type")  // a codec number that Kafka has not defined
	ErrTooLarge      = errors.New("record batch too large")        // larger than a limit that the caller gave
	ErrTimestamp     = errors.New("record time out of bounds")     // what a topic takes is bounded
	ErrTransactional = errors.New("transactional record batch")    // transactions are not supported
)

// HeaderSize is the size of a batch header in bytes; the records follow it.
//
//	 0  i64  base offset             not under the checksum: stamped by the broker
//	 8  i32  length                  bytes that follow this field: batch size - 12
//	12  i32  partition leader epoch  not under the checksum: stamped by the broker
//	16  i8   magic                   2
//	17  u32  CRC-32C                 of everything from byte 21 to the end
//	21  i16  attributes              bits 0-2 codec, 3 log append time, 4 transactional, 5 control, 6 delete horizon
//	23  i32  last offset delta       records - 1
//	27  i64  base timestamp          Unix milliseconds; records hold deltas to it
//	35  i64  max timestamp           Unix milliseconds
//	43  i64  producer id             -1 if none
//	51  i16  producer epoch          -1 if none
//	53  i32  base sequence           -1 if none
//	57  i32  records
const HeaderSize = 61

const (
	lengthEnd       = 12 // the length field counts from here
	magicAt         = 16
	crcAt           = 17
	attributesAt    = 21 // the checksum covers from here
	maxTimestampAt  = 35
	magic           = 2
	minLength       = HeaderSize - lengthEnd
	attrCodec       = 0x07
	attrLogAppend   = 0x08
	attrTransaction = 0x10
	attrControl     = 0x20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header is the header of one record batch.
type Header struct {
	BaseOffset      int64
	Length          int32 // bytes after the length field
	LeaderEpoch     int32
	CRC             uint32
	Attributes      int16
	LastOffsetDelta int32
	BaseTimestamp   int64 // Unix milliseconds
	MaxTimestamp    int64 // Unix milliseconds
	ProducerID      int64 // -1 if none
	ProducerEpoch   int16 // -1 if none
	BaseSequence    int32 // -1 if none
	Records         int32
}

// ParseHeader reads the header of the batch that b begins with. It checks that b holds the whole batch, that its format is magic 2,
// and that the numbers of the header agree with each other; it does not look at the checksum or at records. Errors are ErrCorrupt
// and ErrMagic. More bytes may follow the batch: Header.Size says where it ends.
func ParseHeader(b []byte) (Header, error) {
	var h Header
	if len(b) <= magicAt {
		return h, fmt.Errorf("%w: %d bytes are shorter than any batch", ErrTruncated, len(b))
	}
	if m := int8(b[magicAt]); m != magic {
		return h, fmt.Errorf("%w: magic %d, want %d", ErrMagic, m, magic)
	}
	if len(b) < HeaderSize {
		return h, fmt.Errorf("%w: %d bytes are shorter than a batch header", ErrTruncated, len(b))
	}
	h = Header{
		BaseOffset:      int64(binary.BigEndian.Uint64(b)),
		Length:          int32(binary.BigEndian.Uint32(b[8:])),
		LeaderEpoch:     int32(binary.BigEndian.Uint32(b[12:])),
		CRC:             binary.BigEndian.Uint32(b[crcAt:]),
		Attributes:      int16(binary.BigEndian.Uint16(b[attributesAt:])),
		LastOffsetDelta: int32(binary.BigEndian.Uint32(b[23:])),
		BaseTimestamp:   int64(binary.BigEndian.Uint64(b[27:])),
		MaxTimestamp:    int64(binary.BigEndian.Uint64(b[maxTimestampAt:])),
		ProducerID:      int64(binary.BigEndian.Uint64(b[43:])),
		ProducerEpoch:   int16(binary.BigEndian.Uint16(b[51:])),
		BaseSequence:    int32(binary.BigEndian.Uint32(b[53:])),
		Records:         int32(binary.BigEndian.Uint32(b[57:])),
	}
	switch {
	case h.Length < minLength:
		return h, fmt.Errorf("%w: length %d is below %d", ErrCorrupt, h.Length, minLength)
	case int64(h.Length) > int64(len(b)-lengthEnd):
		return h, fmt.Errorf("%w: length %d, but only %d bytes follow", ErrTruncated, h.Length, len(b)-lengthEnd)
	case h.BaseOffset < 0:
		return h, fmt.Errorf("%w: base offset %d", ErrCorrupt, h.BaseOffset)
	case h.Records < 0:
		return h, fmt.Errorf("%w: %d records", ErrCorrupt, h.Records)
	case h.LastOffsetDelta < 0 || h.BaseOffset+int64(h.LastOffsetDelta) < 0:
		return h, fmt.Errorf("%w: base offset %d and last offset delta %d", ErrCorrupt, h.BaseOffset, h.LastOffsetDelta)
	}
	return h, nil
}

// Size is the size of the whole batch in bytes.
func (h *Header) Size() int { return lengthEnd + int(h.Length) }

// LastOffset is the offset of the last record.
func (h *Header) LastOffset() int64 { return h.BaseOffset + int64(h.LastOffsetDelta) }

// LastSequence is the sequence number of the last record, which wraps from the largest int32 to 0. Only for a batch that has a
// producer id.
func (h *Header) LastSequence() int32 { return (h.BaseSequence + h.LastOffsetDelta) & 0x7fffffff }

// Codec is the compression of the records. It may be a number that Kafka has not defined.
func (h *Header) Codec() Codec { return Codec(h.Attributes & attrCodec) }

// IsLogAppendTime reports whether the time of all records is MaxTimestamp, set by the broker.
func (h *Header) IsLogAppendTime() bool { return h.Attributes&attrLogAppend != 0 }

// IsTransactional reports whether the batch belongs to a transaction.
func (h *Header) IsTransactional() bool { return h.Attributes&attrTransaction != 0 }

// IsControl reports whether the batch holds a transaction marker instead of records.
func (h *Header) IsControl() bool { return h.Attributes&attrControl != 0 }

// HasProducer reports whether the batch came from an idempotent producer.
func (h *Header) HasProducer() bool { return h.ProducerID >= 0 }

// Verify compares the checksum in the header with the bytes of the batch that b begins with. Errors are those of ParseHeader.
func Verify(b []byte) error {
	h, err := ParseHeader(b)
	if err != nil {
		return err
	}
	return h.verify(b)
}

func (h *Header) verify(b []byte) error {
	if crc := crc32.Checksum(b[attributesAt:h.Size()], castagnoli); crc != h.CRC {
		return fmt.Errorf("%w: CRC-32C is %08x, the header says %08x", ErrCorrupt, crc, h.CRC)
	}
	return nil
}

// Stamp sets base offset and partition leader epoch of the batch that b begins with. The checksum covers neither and stays as it
// is. The batch must have passed ParseHeader.
func Stamp(b []byte, baseOffset int64, leaderEpoch int32) {
	_ = b[HeaderSize-1]
	binary.BigEndian.PutUint64(b, uint64(baseOffset))
	binary.BigEndian.PutUint32(b[lengthEnd:], uint32(leaderEpoch))
}

// StampAppendTime gives all records of the batch the time at which the broker took them, in Unix milliseconds, and computes the
// checksum anew: what topics with message.timestamp.type=LogAppendTime want. b is exactly one batch that has passed ParseHeader.
func StampAppendTime(b []byte, timestamp int64) {
	_ = b[HeaderSize-1]
	b[attributesAt+1] |= attrLogAppend
	binary.BigEndian.PutUint64(b[maxTimestampAt:], uint64(timestamp))
	binary.BigEndian.PutUint32(b[crcAt:], crc32.Checksum(b[attributesAt:], castagnoli))
}

// Batches splits b, which holds batches back to back, into its batches. They are slices of b. The first error ends the sequence: an
// error of ParseHeader, with the position in b. An empty b is an empty sequence.
func Batches(b []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for at := 0; at < len(b); {
			h, err := ParseHeader(b[at:])
			if err != nil {
				yield(nil, fmt.Errorf("batch at byte %d: %w", at, err))
				return
			}
			end := at + h.Size()
			if !yield(b[at:end:end], nil) {
				return
			}
			at = end
		}
	}
}
