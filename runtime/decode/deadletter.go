package decode

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
)

// Class is why a record is a dead letter.
type Class string

// The classes of dead letters.
const (
	NullValue    Class = "null_value"    // no value where JSON is wanted: a tombstone
	InvalidJSON  Class = "invalid_json"  // not JSON by RFC 8259
	InvalidUTF8  Class = "invalid_utf8"  // text that is not UTF-8, or half of a surrogate pair
	NotObject    Class = "not_object"    // JSON, but no object
	TypeConflict Class = "type_conflict" // a value of another kind than its column
	OutOfRange   Class = "out_of_range"  // a number that its column cannot hold exactly, or a time out of its bounds
	InvalidValue Class = "invalid_value" // a string that is no date, time, decimal or base64 where its column wants one
	MissingField Class = "missing_field" // a required field is not there or null
	SchemaLimit  Class = "schema_limit"  // the record would make too many columns, too deep, or too long a name
	TooLarge     Class = "too_large"     // the record's lists would take far more memory than the record has bytes, see Config.MaxBytes
)

// DeadLetter is a record that is no row, with all that it had. It owns its bytes.
type DeadLetter struct {
	Source    processor.Source
	Offset    int64
	Timestamp int64 // Unix milliseconds
	Key       []byte
	Value     []byte // nil is null
	Headers   []Header
	Class     Class
	Message   string // where and why, for a person
}

// Header is one header of a record.
type Header struct {
	Key   string // as it was; not necessarily UTF-8
	Value []byte // nil is null
}

// fault is why a record is no row.
type fault struct {
	class  Class
	what   string
	misfit bool // a wider schema may help
}

func (d *Decoder) reject(src *processor.Source, r *record.Record, f *fault) {
	l := newLetter(*src, r, f.class, f.what)
	d.letters = append(d.letters, l)
	d.heavy += l.Bytes()
}

func newLetter(src processor.Source, r *record.Record, class Class, message string) DeadLetter {
	l := DeadLetter{Source: src, Offset: r.Offset, Timestamp: r.Timestamp, Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value),
		Class: class, Message: message}
	for k, v := range r.Headers.All() {
		l.Headers = append(l.Headers, Header{Key: string(k), Value: bytes.Clone(v)})
	}
	return l
}

// Bytes is the memory that the letter takes, about.
func (l *DeadLetter) Bytes() int64 {
	size := letterBytes + len(l.Key) + len(l.Value) + len(l.Message)
	for _, h := range l.Headers {
		size += headerBytes + len(h.Key) + len(h.Value)
	}
	return int64(size)
}

// Letters makes dead letters of records that a transform has rejected: those of them that are in batches, the record batches of a source.
// batchBytes is Config.BatchBytes.
func Letters(src processor.Source, batches []byte, batchBytes int, rejected map[int64]processor.Rejection) ([]DeadLetter, error) {
	if batchBytes == 0 {
		batchBytes = record.DecompressedBytes
	}
	var letters []DeadLetter
	var reader record.Reader
	var r record.Record
	for batch, err := range record.Batches(batches) {
		if err != nil {
			return nil, err
		}
		if err := reader.Reset(batch, batchBytes); err != nil {
			return nil, err
		}
		for {
			ok, err := reader.Next(&r)
			if err != nil {
				return nil, err
			}
			if !ok {
				break
			}
			if why, ok := rejected[r.Offset]; ok {
				letters = append(letters, newLetter(src, &r, Class(why.Class), why.Message))
			}
		}
	}
	return letters, nil
}

// What a dead letter and a header take beside their bytes, about.
const (
	letterBytes = 256
	headerBytes = 64
)

// deadLetterConfig is the coordinates of dead letters: keys as they are.
func deadLetterConfig(prefix string) Config {
	return Config{Prefix: prefix, Key: BinaryKey}.withDefaults()
}

// DeadLetterSchema is the columns of a dead-letter table: the coordinates with a binary key, the value as it was, error_class,
// error_message, the job, topic_id and resolved_at, null. prefix is the coordinates', "" means "kafka_".
func DeadLetterSchema(prefix string) *arrow.Schema {
	fields := deadLetterConfig(prefix).coordinateFields()
	return arrow.NewSchema(append(fields, deadLetterPayload().Arrow()...), nil)
}

// DeadLetterBatch makes rows of dead letters, in their order. A timestamp that microseconds cannot hold becomes the nearest that they can,
// and bytes of header keys that are no UTF-8 become U+FFFD. The batch is the caller's to release.
func DeadLetterBatch(prefix, job string, letters []DeadLetter, mem memory.Allocator) arrow.RecordBatch {
	cfg := deadLetterConfig(prefix)
	coords := newCoordinates(cfg, mem)
	root := newColumn(schema.Field{Type: schema.StructOf(deadLetterPayload().Fields...)}, mem)
	for i, l := range letters {
		coords.addLetter(i, &l)
		for j, v := range [][]byte{l.Value, []byte(l.Class), []byte(l.Message), []byte(job), []byte(l.Source.ID.String())} {
			if v != nil {
				root.fields[j].seek(i)
				root.fields[j].setBytes(i, v)
			}
		}
	}
	return take(DeadLetterSchema(prefix), len(letters), coords.columns, root)
}

// excerpt is the part of untrusted text that a message repeats.
func excerpt[T string | []byte](s T) string {
	const most = 64
	if len(s) > most {
		return fmt.Sprintf("%q…", strings.ToValidUTF8(string(s[:most]), "\uFFFD"))
	}
	return fmt.Sprintf("%q", strings.ToValidUTF8(string(s), "\uFFFD"))
}
