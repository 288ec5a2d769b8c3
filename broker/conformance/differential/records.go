package differential

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/firn-io/firn/kfs/record"
)

// plannedTimes is how far a sequence's own times go beyond its base, in milliseconds; what the server's clock says lies beyond.
const plannedTimes = 1_000_000

// records flattens what a fetch has brought: the batches as they were written, and every record. A batch that was cut off at the
// end is not there, for a client may not use it.
func (f *flattener) records(path string, b []byte) {
	for len(b) > 12 {
		size := 12 + int(binary.BigEndian.Uint32(b[8:]))
		if size > len(b) || len(b) < 17 {
			break
		}
		if magic := b[16]; magic < 2 {
			offset := int64(binary.BigEndian.Uint64(b))
			f.add(fmt.Sprintf("%s[%d]", path, offset), fmt.Sprintf("message of format %d", magic))
		} else {
			f.batch(path, b[:size])
		}
		b = b[size:]
	}
}

func (f *flattener) batch(path string, b []byte) {
	var r record.Reader
	if err := r.Reset(b, record.DecompressedBytes); err != nil {
		f.add(path+"[?]", err.Error())
		return
	}
	h := r.Header()
	producer := "none"
	if h.HasProducer() {
		producer = fmt.Sprintf("%s epoch %d sequence %d", f.side.nameOfProducer(h.ProducerID), h.ProducerEpoch, h.BaseSequence)
	}
	f.add(fmt.Sprintf("%s[%d]", path, h.BaseOffset), fmt.Sprintf("batch of %d, %s, max time %s, producer %s", h.Records, h.Codec(), f.side.moment(h.MaxTimestamp), producer))
	var rec record.Record
	for {
		ok, err := r.Next(&rec)
		if err != nil {
			f.add(path+"[?]", err.Error())
			return
		}
		if !ok {
			return
		}
		var headers []string
		for k, v := range rec.Headers.All() {
			headers = append(headers, fmt.Sprintf("%s=%s", k, v))
		}
		f.add(fmt.Sprintf("%s[%d].record", path, rec.Offset), fmt.Sprintf("%s %s=%s {%s}", f.side.moment(rec.Timestamp), brief(rec.Key), brief(rec.Value), strings.Join(headers, " ")))
	}
}

// brief is a value, or what it would fill a page with.
func brief(b []byte) string {
	switch {
	case b == nil:
		return "null"
	case len(b) > 40:
		return fmt.Sprintf("%q… %d bytes, sum %x", b[:8], len(b), crc32.ChecksumIEEE(b))
	}
	return fmt.Sprintf("%q", b)
}

func (s *Side) nameOfProducer(id int64) string {
	for name, p := range s.producers {
		if p.id == id {
			return name
		}
	}
	return "unknown"
}

// batch is a record batch to produce, and what is to be wrong with it.
type batch struct {
	codec    record.Codec
	times    []int64 // of each record, beyond the sequence's base; below 0: as it is
	size     int     // of each value, bytes
	label    string  // makes the values unlike others
	producer string  // "" for none
	epoch    int16   // added to the producer's
	sequence int32
	spoil    string // what is wrong with it
}

// bytes are the batch as a server gets it.
func (b *batch) bytes(s *Side) []byte {
	builder := record.Builder{Codec: b.codec}
	if b.producer != "" {
		p := s.producers[b.producer]
		if p == nil {
			p = &producer{id: 1 << 40} // one that the server never gave
		}
		builder.Producer = &record.Producer{ID: p.id, Epoch: p.epoch + b.epoch, Sequence: b.sequence}
	}
	for i, t := range b.times {
		if t >= 0 {
			t += s.base
		}
		var key []byte
		if i%3 != 2 {
			key = fmt.Appendf(nil, "k%d", i)
		}
		value := fmt.Appendf(nil, "%s-%d", b.label, i)
		for n := uint32(7); len(value) < b.size; n = n*1664525 + 1013904223 {
			value = append(value, byte(n>>16)) // does not compress
		}
		if i%5 == 4 {
			value = nil
		}
		if i%2 == 0 {
			builder.Add(t, key, value)
		} else {
			builder.Add(t, key, value, record.HeaderField{Key: "h", Value: []byte("v")}, record.HeaderField{Key: "n"})
		}
	}
	out, err := builder.AppendTo(nil)
	if err != nil {
		panic(fmt.Sprintf("differential: building a batch: %v", err))
	}
	return spoil(out, b.spoil)
}

// spoil does something to a batch that a server has to notice, or to pass over.
func spoil(b []byte, how string) []byte {
	const attributes, lastDelta, count = 21, 23, 57
	switch how {
	case "":
		return b
	case "nothing":
		return []byte{}
	case "twice":
		return append(b, b...)
	case "cut":
		return b[:len(b)-1]
	case "more":
		return append(b, 0, 0, 0)
	case "checksum":
		b[len(b)-1] ^= 0xff
		return b
	case "base offset":
		b[7] = 99
		return b
	case "leader epoch":
		b[15] = 77
		return b
	case "magic":
		b[16] = 3
		return b
	case "control":
		b[attributes+1] |= 0x20
	case "transactional":
		b[attributes+1] |= 0x10
	case "append time":
		b[attributes+1] |= 0x08
	case "codec":
		b[attributes+1] = b[attributes+1]&^7 | 5
	case "body":
		b[attributes+1] = b[attributes+1]&^7 | 1 // gzip, which it is not
	case "deltas":
		binary.BigEndian.PutUint32(b[lastDelta:], binary.BigEndian.Uint32(b[lastDelta:])+3)
	case "count":
		binary.BigEndian.PutUint32(b[count:], binary.BigEndian.Uint32(b[count:])+1)
	case "empty":
		b = b[:record.HeaderSize]
		binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
		binary.BigEndian.PutUint32(b[lastDelta:], 0)
		binary.BigEndian.PutUint32(b[count:], 0)
	}
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[attributes:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// messageSet is what producers older than Kafka 0.11 send: one message of format 0 or 1.
func messageSet(magic int8, at int64, value string) []byte {
	message := []byte{byte(magic), 0}
	if magic == 1 {
		message = binary.BigEndian.AppendUint64(message, uint64(at))
	}
	message = binary.BigEndian.AppendUint32(message, 0xffffffff) // no key
	message = binary.BigEndian.AppendUint32(message, uint32(len(value)))
	message = append(message, value...)
	out := binary.BigEndian.AppendUint64(nil, 0)
	out = binary.BigEndian.AppendUint32(out, uint32(len(message)+4))
	out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(message))
	return append(out, message...)
}
