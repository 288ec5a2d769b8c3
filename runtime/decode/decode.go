// Package decode turns Kafka record batches into Arrow record batches: the coordinates of each record as columns, and its value either
// as it is (raw) or as columns by a schema (JSON, inferred or declared).
//
// A Decoder is a program compiled from the schema that fills column buffers in one pass over the bytes; in the steady state it allocates
// nothing for a record, and Flush hands the buffers over to Arrow without copying. A record that does not fit takes a slow path: its
// types are merged into the schema by the rules of package schema, and the columns are widened in place.
//
// It promises: given the same schema and the same records in the same order, the same rows and the same dead letters. No value is ever
// rounded, cut or invented: a record that cannot be held exactly (fractions go to the nearest double) is a dead letter with its class and
// a message that says where and why, and leaves the schema as it was. Input is hostile: every length is checked, memory is bounded by
// Config, nothing panics. It never does I/O and never decides what becomes of a dead letter.
//
//	d, err := decode.New(decode.Config{}, table, memory.DefaultAllocator)
//	for batch, err := range record.Batches(segment) {
//		…
//		switch err := d.Append(src, batch, span); {
//		case errors.Is(err, decode.ErrFull): // Flush, then the same again
//		case err != nil: // the batch is corrupt, halt the source
//		}
//	}
//	rows, letters := d.Flush()
//
// # JSON
//
// A value is one JSON object by RFC 8259, in valid UTF-8; surrogates come in pairs. Of a name that is there twice the last value counts.
// Nulls, {} and [] make no column; where the schema is inferred, {} and [] in a column of another type are null. How names become columns is said at schema.Schema.Merge. Columns take:
//
//	boolean      true, false
//	int, long    numbers without a fractional part, also 5.0 and 1e3, within the type's range
//	float        numbers; the nearest float, but integers only if exact
//	double       numbers; the nearest double, but integers only if exact
//	decimal      numbers, also in strings, if they need no more digits than the type has
//	string       strings
//	binary       strings in base64 (RFC 4648, padded)
//	date         strings: 2006-01-02
//	timestamp    strings without offset: 2006-01-02T15:04:05.999999
//	timestamptz  strings by RFC 3339, to the microsecond, without leap seconds; numbers are milliseconds since 1970 UTC
//	struct       objects; list: arrays
//
// Inference makes long of integers, double of numbers with fraction or exponent, boolean, string, struct and list.
package decode

import (
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
)

// ErrFull says that a batch was not taken because its rows would go beyond a bound: Flush, and Append the same again. If the decoder
// held no rows the batch alone is too large, and a smaller span of it is to be appended. One record is never too much for an empty decoder.
var ErrFull = errors.New("the decoder is full")

// Format is how the value of a record becomes columns.
type Format uint8

// The formats of values.
const (
	JSON Format = iota // one column per field of the object
	Raw                // one column, value
)

// KeyFormat is how the key of a record becomes a column.
type KeyFormat uint8

// The formats of keys.
const (
	BinaryKey KeyFormat = iota // bytes as they are
	StringKey                  // UTF-8; a key that is not is a dead letter
)

// Config says what to decode. The zero value infers a schema from JSON.
type Config struct {
	Prefix   string         // of the coordinate columns' names; "" means "kafka_"
	Key      KeyFormat      // default BinaryKey
	Value    Format         // default JSON
	Declared *schema.Schema // the columns of JSON values; other fields are ignored. nil means inferred
	Reserved []string       // names beside the coordinates' that columns cannot have, whatever their case
	// Pinned names columns of the table that inference must leave as they are, because the table cannot change them: their parts joined by
	// dots, a list's element is called element. What such a column cannot hold makes a dead letter.
	Pinned []string
	// BatchBytes bounds the records of one batch after decompression; 0 means record.DecompressedBytes.
	BatchBytes int // at most 512 MiB
	// MaxBytes bounds what the decoder holds before it is ErrFull; 0 means 256 MiB, at most 1 GiB. It should lie well above the Bytes at
	// which the caller flushes, for a batch that meets the bound is decoded twice. A record whose lists alone would take more, and more
	// than nine times its own size, is a dead letter.
	MaxBytes int64
}

const (
	defaultMaxBytes = 256 << 20

	// Together less than what Arrow's 32-bit offsets hold: a column never grows by more than the bytes of the records that it took
	// (and the topic's name) before the next look at the memory.
	largestMaxBytes   = 1 << 30
	largestBatchBytes = 512 << 20
)

func (c Config) withDefaults() Config {
	if c.Prefix == "" {
		c.Prefix = "kafka_"
	}
	if c.BatchBytes == 0 {
		c.BatchBytes = record.DecompressedBytes
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultMaxBytes
	}
	return c
}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.Key > StringKey {
		errs = append(errs, fmt.Errorf("key format %d is unknown", c.Key))
	}
	if c.Value > Raw {
		errs = append(errs, fmt.Errorf("value format %d is unknown", c.Value))
	}
	if c.Declared != nil && c.Value != JSON {
		errs = append(errs, errors.New("a declared schema goes with JSON values"))
	}
	if c.Declared != nil {
		errs = append(errs, c.Declared.Validate(c.reserved()))
	}
	if c.BatchBytes < 0 || c.BatchBytes > largestBatchBytes {
		errs = append(errs, fmt.Errorf("batch bytes %d: want 1 to %d", c.BatchBytes, largestBatchBytes))
	}
	if c.MaxBytes < 0 || c.MaxBytes > largestMaxBytes {
		errs = append(errs, fmt.Errorf("max bytes %d: want 1 to %d", c.MaxBytes, largestMaxBytes))
	}
	return errors.Join(errs...)
}

// Decoder decodes record batches. It is not for concurrent use.
type Decoder struct {
	cfg      Config
	mem      memory.Allocator
	reserved schema.Reserved
	payload  schema.Schema // the payload columns
	others   []string      // paths of the table's columns that rows leave null, for records have nothing of their types
	leaves   int           // of payload
	arrow    *arrow.Schema // coordinates and payload

	reader record.Reader
	record record.Record // the one in hand

	rows    int
	coords  coordinates
	root    *column // a struct of the payload columns; its slots are the rows
	letters []DeadLetter
	heavy   int64 // bytes that letters hold
	size    int64 // what Bytes gives; -1 if it is to be measured

	json parser
}

// New makes a decoder whose rows begin with the columns of a table, its coordinates included; nil means that there is no table yet.
// It fails if the configuration is wrong or the table has columns that cannot be filled. Buffers come from mem, and go back to it when
// a batch that Flush gave is released.
func New(cfg Config, table *arrow.Schema, mem memory.Allocator) (*Decoder, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	d := &Decoder{cfg: cfg, mem: mem, reserved: cfg.reserved()}
	if err := d.Reset(table); err != nil {
		return nil, err
	}
	return d, nil
}

// Reset drops what the decoder holds and begins again with the columns of a table, as New does. A declared or raw schema stays as it is.
func (d *Decoder) Reset(table *arrow.Schema) error {
	payload, err := d.payloadOf(table)
	if err != nil {
		return err
	}
	d.Release()
	d.compile(payload)
	return nil
}

// Release drops what the decoder holds. Only Reset may follow.
func (d *Decoder) Release() {
	if d.root != nil {
		d.coords.columns.release()
		d.root.release()
	}
	d.rows, d.letters, d.heavy, d.size = 0, nil, 0, -1
}

// payloadOf is the payload columns of a table, and notes the others that it has.
func (d *Decoder) payloadOf(table *arrow.Schema) (schema.Schema, error) {
	var own []arrow.Field
	if table != nil {
		var err error
		if own, err = d.cfg.withoutCoordinates(table.Fields()); err != nil {
			return schema.Schema{}, err
		}
	}
	switch {
	case d.cfg.Value == Raw:
		return rawPayload(), nil
	case d.cfg.Declared != nil:
		return *d.cfg.Declared, nil
	}
	payload, others, err := schema.FromTable(own)
	if d.others = others; err != nil {
		return payload, fmt.Errorf("%w; declare the schema in the job, without it", err)
	}
	return payload, nil
}

// compile makes the decoder's program for the payload columns, with empty buffers.
func (d *Decoder) compile(payload schema.Schema) {
	d.size = -1
	d.coords = newCoordinates(d.cfg, d.mem)
	d.root = newColumn(schema.Field{Type: schema.StructOf(payload.Fields...)}, d.mem)
	d.json.inferred, d.json.bound = d.cfg.Value == JSON && d.cfg.Declared == nil, d.cfg.MaxBytes
	d.setPayload(payload)
}

func (d *Decoder) setPayload(payload schema.Schema) {
	d.payload, d.leaves = payload, schema.StructOf(payload.Fields...).Leaves()
	d.arrow = arrow.NewSchema(append(d.cfg.coordinateFields(), payload.Arrow()...), nil)
}

// Schema is the columns of the rows that the decoder holds, coordinates first. It only ever grows until Reset, also by records of a
// batch that Append gave back.
func (d *Decoder) Schema() *arrow.Schema { return d.arrow }

// Rows is the number of rows that the decoder holds.
func (d *Decoder) Rows() int { return d.rows }

// Bytes is the memory that the decoder holds, and that Flush would hand over, dead letters included. The buffers for reading batches
// are not counted; they stay within BatchBytes and twice that.
func (d *Decoder) Bytes() int64 {
	if d.size < 0 {
		d.size = d.measure()
	}
	return d.size
}

// measure goes through all columns, which takes as long as a record of them: once for each batch is enough, for there may be one record in it.
func (d *Decoder) measure() int64 {
	d.json.listed = 0
	return d.coords.columns.bytes(d.rows) + d.root.bytes(d.rows) + d.heavy
}

// Append takes the records of one whole batch whose offsets lie in span. After an error nothing of the batch was taken. ErrFull asks
// for a Flush; any other error says that the batch is corrupt, too large (record.ErrTooLarge), or of a transaction.
// It does not keep batch.
func (d *Decoder) Append(src processor.Source, batch []byte, span kfs.Span) error {
	rows, letters, heavy := d.rows, len(d.letters), d.heavy
	d.size = -1
	err := d.append(src, batch, span)
	if err == nil && rows > 0 && d.Bytes() > d.cfg.MaxBytes {
		err = ErrFull
	}
	if err == nil {
		return nil
	}
	d.truncate(rows, letters, heavy)
	if errors.Is(err, ErrFull) {
		return err
	}
	return fmt.Errorf("topic %s, partition %d: %w", src.Topic, src.Partition, err)
}

// Between two looks at the memory there may come so many records, and lists with elements that take one part in so many of MaxBytes.
const (
	rowsPerCheck  = 256
	listsPerCheck = 4
)

func (d *Decoder) append(src processor.Source, batch []byte, span kfs.Span) error {
	if err := record.Verify(batch); err != nil {
		return err
	}
	if err := d.reader.Reset(batch, d.cfg.BatchBytes); err != nil {
		return err
	}
	if h := d.reader.Header(); h.IsTransactional() || h.IsControl() {
		return fmt.Errorf("batch at offset %d: %w", h.BaseOffset, record.ErrTransactional)
	}
	for n := 1; ; n++ {
		ok, err := d.reader.Next(&d.record)
		if err != nil || !ok {
			return err
		}
		if span.Contains(d.record.Offset) {
			d.add(&src, &d.record)
		}
		look := n%rowsPerCheck == 0 || d.json.listed > 8*d.cfg.MaxBytes/listsPerCheck
		if look && d.measure() > d.cfg.MaxBytes && d.rows+len(d.letters) > 1 {
			return ErrFull
		}
	}
}

// add decodes one record: a row, or a dead letter.
func (d *Decoder) add(src *processor.Source, r *record.Record) {
	if f := d.value(r.Value); f != nil {
		d.reject(src, r, f)
		return
	}
	if f := d.coords.add(d.rows, src, r); f != nil {
		d.root.truncate(d.rows)
		d.reject(src, r, f)
		return
	}
	d.rows++
}

// value decodes the value of a record into the row after the last. After a fault the columns are as before.
func (d *Decoder) value(v []byte) *fault {
	if d.cfg.Value == Raw {
		if v != nil {
			c := d.root.fields[0]
			c.seek(d.rows)
			c.setBytes(d.rows, v)
		}
		return nil
	}
	if v == nil {
		return &fault{class: NullValue, what: "the record has no value; tombstones are rows of raw tables only"}
	}
	if d.json.decode(d.root, d.rows, v) {
		return nil
	}
	d.root.truncate(d.rows)
	if !d.json.fault.misfit {
		return &d.json.fault
	}
	return d.widen(v)
}

// truncate takes back rows and dead letters.
func (d *Decoder) truncate(rows, letters int, heavy int64) {
	d.coords.columns.truncate(rows)
	d.root.truncate(rows)
	clear(d.letters[letters:])
	d.rows, d.letters, d.heavy, d.size = rows, d.letters[:letters], heavy, -1
}

// Flush gives the rows, in the order in which they came, and the dead letters since the last Flush. The batch is the caller's to
// release, nil if there is no row; its schema is what Schema is now.
func (d *Decoder) Flush() (arrow.RecordBatch, []DeadLetter) {
	letters := d.letters
	d.letters, d.heavy, d.size = nil, 0, -1
	if d.rows == 0 {
		return nil, letters
	}
	batch := take(d.arrow, d.rows, d.coords.columns, d.root)
	d.rows = 0
	return batch, letters
}

// Columns is the columns of the rows of every table, as far as they are known before there are records; complete says whether no others come.
func (c Config) Columns() (columns *arrow.Schema, complete bool) {
	c = c.withDefaults()
	fields := c.coordinateFields()
	switch {
	case c.Value == Raw:
		return arrow.NewSchema(append(fields, rawPayload().Arrow()...), nil), true
	case c.Declared != nil:
		return arrow.NewSchema(append(fields, c.Declared.Arrow()...), nil), true
	}
	return arrow.NewSchema(fields, nil), false
}
