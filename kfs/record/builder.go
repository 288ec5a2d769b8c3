package record

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// HeaderField is a header to build a record with. A nil value is null.
type HeaderField struct {
	Key   string
	Value []byte
}

// Builder builds one batch. The zero value builds an uncompressed one without a producer, at offset 0. It is for tools and tests:
// nothing on the way of a record encodes a batch.
type Builder struct {
	Codec         Codec
	BaseOffset    int64
	LeaderEpoch   int32
	Producer      *Producer // nil for none
	LogAppendTime bool      // the time of all records is the largest of them

	body    []byte
	records int32
	base    int64
	max     int64
}

// Producer is what an idempotent producer puts into a batch.
type Producer struct {
	ID       int64
	Epoch    int16
	Sequence int32 // of the first record
}

// Add appends a record with the time at which it was created, in Unix milliseconds. Nil key and value are null.
func (b *Builder) Add(timestamp int64, key, value []byte, headers ...HeaderField) {
	if b.records == 0 {
		b.base, b.max = timestamp, timestamp
	}
	b.max = max(b.max, timestamp)
	rec := []byte{0}
	rec = binary.AppendVarint(rec, timestamp-b.base)
	rec = binary.AppendVarint(rec, int64(b.records))
	rec = appendNullable(rec, key)
	rec = appendNullable(rec, value)
	rec = binary.AppendVarint(rec, int64(len(headers)))
	for _, h := range headers {
		rec = binary.AppendVarint(rec, int64(len(h.Key)))
		rec = append(rec, h.Key...)
		rec = appendNullable(rec, h.Value)
	}
	b.body = binary.AppendVarint(b.body, int64(len(rec)))
	b.body = append(b.body, rec...)
	b.records++
}

func appendNullable(b, v []byte) []byte {
	if v == nil {
		return binary.AppendVarint(b, -1)
	}
	b = binary.AppendVarint(b, int64(len(v)))
	return append(b, v...)
}

// Len is the number of records added.
func (b *Builder) Len() int { return int(b.records) }

// AppendTo appends the batch to dst. The builder stays as it is. Errors are ErrCodec, ErrInvalid for a batch without records, and
// ErrTooLarge for one of 2 GiB.
func (b *Builder) AppendTo(dst []byte) ([]byte, error) {
	if b.records == 0 {
		return dst, fmt.Errorf("%w: no records", ErrInvalid)
	}
	producer := Producer{ID: -1, Epoch: -1, Sequence: -1}
	if b.Producer != nil {
		producer = *b.Producer
	}
	attributes := uint16(b.Codec)
	if b.LogAppendTime {
		attributes |= attrLogAppend
	}
	at := len(dst)
	dst = slices.Grow(dst, HeaderSize)[:at+HeaderSize]
	dst, err := Compress(dst, b.Codec, b.body)
	if err != nil {
		return dst[:at], err
	}
	out := dst[at:]
	if len(out)-lengthEnd > math.MaxInt32 {
		return dst[:at], fmt.Errorf("%w: %d bytes", ErrTooLarge, len(out))
	}
	binary.BigEndian.PutUint64(out, uint64(b.BaseOffset))
	binary.BigEndian.PutUint32(out[8:], uint32(len(out)-lengthEnd))
	binary.BigEndian.PutUint32(out[lengthEnd:], uint32(b.LeaderEpoch))
	out[magicAt] = magic
	binary.BigEndian.PutUint16(out[attributesAt:], attributes)
	binary.BigEndian.PutUint32(out[23:], uint32(b.records-1))
	binary.BigEndian.PutUint64(out[27:], uint64(b.base))
	binary.BigEndian.PutUint64(out[maxTimestampAt:], uint64(b.max))
	binary.BigEndian.PutUint64(out[43:], uint64(producer.ID))
	binary.BigEndian.PutUint16(out[51:], uint16(producer.Epoch))
	binary.BigEndian.PutUint32(out[53:], uint32(producer.Sequence))
	binary.BigEndian.PutUint32(out[57:], uint32(b.records))
	binary.BigEndian.PutUint32(out[crcAt:], crc32.Checksum(out[attributesAt:], castagnoli))
	return dst, nil
}

// Compress appends src, compressed, to dst. Snappy is written in Java's framing. The error is ErrCodec.
func Compress(dst []byte, codec Codec, src []byte) ([]byte, error) {
	switch codec {
	case None:
		return append(dst, src...), nil
	case Gzip:
		buf := bytes.NewBuffer(dst)
		w := gzip.NewWriter(buf)
		if _, err := w.Write(src); err != nil {
			return dst, err
		}
		err := w.Close()
		return buf.Bytes(), err
	case Snappy:
		return appendSnappy(dst, src), nil
	case LZ4:
		buf := bytes.NewBuffer(dst)
		w := lz4.NewWriter(buf)
		if _, err := w.Write(src); err != nil {
			return dst, err
		}
		err := w.Close()
		return buf.Bytes(), err
	case Zstd:
		w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true))
		if err != nil {
			return dst, fmt.Errorf("zstd encoder: %w", err)
		}
		dst = w.EncodeAll(src, dst)
		return dst, w.Close()
	}
	return dst, fmt.Errorf("%w: %s", ErrCodec, codec)
}
