package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"sync"
)

// Limits are what a broker accepts of one batch, in bytes. A zero means the default.
type Limits struct {
	BatchBytes        int // as sent, header included; default 1 MiB and 12 bytes, as Kafka's message.max.bytes
	DecompressedBytes int // its records decompressed; default DecompressedBytes
}

// Rules are what a topic asks of its records beyond what every reader needs.
type Rules struct {
	Keys bool // every record has a key: a topic that is compacted could not tell the others apart
	// Earliest and Latest bound the times of records that have one, in Unix milliseconds; 0: no bound.
	Earliest, Latest int64
}

// breaks says which rule a record breaks, if it breaks one.
func (r *Rules) breaks(rec *Record) rule {
	switch t := rec.Timestamp; {
	case t != noTimestamp && (r.Earliest != 0 && t < r.Earliest || r.Latest != 0 && t > r.Latest):
		return timely
	case r.Keys && rec.Key == nil:
		return keyed
	}
	return kept
}

// rule is one of Rules.
type rule uint8

const (
	kept rule = iota // all of them
	timely
	keyed
)

// noTimestamp is that of a record which has none.
const noTimestamp = -1

// RecordsError says which records of a batch a topic does not take. It is an ErrInvalid or an ErrTimestamp.
type RecordsError struct {
	Err     error
	Reason  string
	Records []int32 // their places in the batch: the first of them, namedRecords at most
}

// namedRecords bounds RecordsError.Records. A producer learns of the others when it sends them again.
const namedRecords = 1000

// Error names the records that are wrong, and why.
func (e *RecordsError) Error() string {
	return fmt.Sprintf("%v: record %d of the batch and maybe others: %s", e.Err, e.Records[0], e.Reason)
}

// Unwrap is why they are wrong.
func (e *RecordsError) Unwrap() error { return e.Err }

// refusal is the error for records that break a rule.
func (r *Rules) refusal(broken rule, records []int32) error {
	if broken == keyed {
		return &RecordsError{ErrInvalid, "it has no key, which a compacted topic needs", records}
	}
	return &RecordsError{ErrTimestamp, fmt.Sprintf("its time is not between %d and %d (0: no bound)", r.Earliest, r.Latest), records}
}

// BatchBytes is the default of Limits.BatchBytes.
const BatchBytes = 1<<20 + lengthEnd

// Validator checks batches that producers send. It is safe for concurrent use. It decompresses as many batches at a time as there are
// cores, and so takes at most that many times the bytes that a batch may have decompressed.
//
// It checks everything that a reader would stumble over, for a batch that a broker has taken halts the partition of everyone who
// reads it: the checksum, the header's numbers, and each record, for which a compressed batch is decompressed and thrown away. Kafka's
// own brokers do the same. Decompressing is most of the cost (see the benchmarks); it is bounded by Limits, and no output is kept, so
// the batch itself stays as the producer compressed it.
type Validator struct {
	limits       Limits
	plain        sync.Pool // of Readers for batches that are not compressed, which need no buffers
	decompressed *Readers
}

// NewValidator makes a Validator.
func NewValidator(limits Limits) *Validator {
	if limits.BatchBytes == 0 {
		limits.BatchBytes = BatchBytes
	}
	if limits.DecompressedBytes == 0 {
		limits.DecompressedBytes = DecompressedBytes
	}
	return &Validator{limits: limits, plain: sync.Pool{New: func() any { return new(Reader) }}, decompressed: NewReaders()}
}

// Validate checks that b is exactly one batch that a producer may send to a topic with these rules. A max timestamp in the header that is not that of the
// records is corrected in b, with the checksum, as Kafka does: searches by time rest on it. The header is that of b afterwards.
//
// Errors are ErrCorrupt (Kafka's CORRUPT_MESSAGE, which clients retry: damaged on the way), ErrMagic (UNSUPPORTED_FOR_MESSAGE_FORMAT),
// ErrCodec (UNSUPPORTED_COMPRESSION_TYPE), ErrTooLarge (MESSAGE_TOO_LARGE), ErrInvalid (INVALID_RECORD: made wrong, and under a right
// checksum), ErrTimestamp (INVALID_TIMESTAMP), both as *RecordsError where single records break the rules, and ErrTransactional.
func (v *Validator) Validate(b []byte, rules Rules) (Header, error) {
	if len(b) > v.limits.BatchBytes {
		return Header{}, fmt.Errorf("%w: %d bytes, %d are allowed", ErrTooLarge, len(b), v.limits.BatchBytes)
	}
	h, err := ParseHeader(b)
	if err != nil {
		return h, err
	}
	if h.Size() != len(b) {
		return h, fmt.Errorf("%w: %d bytes follow the batch", ErrInvalid, len(b)-h.Size())
	}
	if err := h.verify(b); err != nil {
		return h, err
	}
	if err := h.validate(); err != nil {
		return h, err
	}
	latest, err := v.validateRecords(b, h.Codec(), rules)
	if errors.Is(err, ErrCorrupt) {
		return h, fmt.Errorf("%w: %v", ErrInvalid, err) // no ErrCorrupt any more: sending it again would not help
	}
	if err == nil && latest != h.MaxTimestamp {
		h.MaxTimestamp = latest
		binary.BigEndian.PutUint64(b[maxTimestampAt:], uint64(latest))
		h.CRC = crc32.Checksum(b[attributesAt:], castagnoli)
		binary.BigEndian.PutUint32(b[crcAt:], h.CRC)
	}
	return h, err
}

// validate checks the header's numbers against what a producer may send.
func (h *Header) validate() error {
	switch {
	case h.IsControl():
		return fmt.Errorf("%w: a control batch", ErrInvalid)
	case h.IsTransactional():
		return ErrTransactional
	case h.IsLogAppendTime():
		return fmt.Errorf("%w: log append time is the broker's to set", ErrInvalid)
	case h.Codec() > Zstd:
		return fmt.Errorf("%w: %s", ErrCodec, h.Codec())
	case h.Records == 0:
		return fmt.Errorf("%w: no records", ErrInvalid)
	case h.LastOffsetDelta != h.Records-1:
		return fmt.Errorf("%w: %d records and last offset delta %d", ErrInvalid, h.Records, h.LastOffsetDelta)
	case h.ProducerID < -1 || h.ProducerID >= 0 && (h.ProducerEpoch < 0 || h.BaseSequence < 0):
		return fmt.Errorf("%w: producer id %d with epoch %d and sequence %d", ErrInvalid, h.ProducerID, h.ProducerEpoch, h.BaseSequence)
	}
	return nil
}

// validateRecords walks all records and gives the latest of their timestamps.
func (v *Validator) validateRecords(b []byte, codec Codec, rules Rules) (latest int64, err error) {
	var r *Reader
	if codec == None {
		r = v.plain.Get().(*Reader)
		defer v.plain.Put(r)
		defer r.release()
	} else {
		r = v.decompressed.Get()
		defer v.decompressed.Put(r)
	}
	if err := r.Reset(b, v.limits.DecompressedBytes); err != nil {
		return 0, err
	}
	latest = math.MinInt64
	var rec Record
	broken := kept // the rule that the first bad record breaks; the others that break it are named too
	var named []int32
	for i := int32(0); ; i++ {
		ok, err := r.Next(&rec)
		switch {
		case err != nil:
			return latest, err
		case !ok && broken != kept:
			return latest, rules.refusal(broken, named)
		case !ok:
			return latest, nil
		}
		latest = max(latest, rec.Timestamp)
		if b := rules.breaks(&rec); b != kept && (broken == kept || b == broken && len(named) < namedRecords) {
			broken, named = b, append(named, i)
		}
	}
}

// release drops what the reader holds of the caller's bytes.
func (r *Reader) release() {
	r.in = input{}
}
