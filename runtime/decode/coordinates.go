package decode

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
)

// rawColumn is the payload column of raw values.
const rawColumn = "value"

// The coordinate columns, in their order.
const (
	topicColumn = iota
	partitionColumn
	offsetColumn
	timestampColumn
	keyColumn
	headersColumn
	coordinateColumns
)

// rawPayload is the payload columns of raw values.
func rawPayload() schema.Schema {
	return schema.Schema{Fields: []schema.Field{{Name: rawColumn, Type: schema.Type{Kind: schema.Binary}}}}
}

// deadLetterPayload is what a dead-letter table has beside the coordinates.
func deadLetterPayload() schema.Schema {
	text := schema.Type{Kind: schema.String}
	return schema.Schema{Fields: []schema.Field{
		{Name: rawColumn, Type: schema.Type{Kind: schema.Binary}},
		{Name: "error_class", Type: text, Required: true},
		{Name: "error_message", Type: text, Required: true},
		{Name: "job", Type: text, Required: true},
		{Name: "topic_id", Type: text},                                     // of the topic that had the name; null in letters from before there was the column
		{Name: "resolved_at", Type: schema.Type{Kind: schema.Timestamptz}}, // null until the record has become a row after all
	}}
}

// coordinateSchema is where a record came from, as columns.
func (c Config) coordinateSchema() schema.Schema {
	key := schema.Type{Kind: schema.Binary}
	if c.Key == StringKey {
		key.Kind = schema.String
	}
	header := schema.StructOf(
		schema.Field{Name: "key", Type: schema.Type{Kind: schema.String}, Required: true},
		schema.Field{Name: "value", Type: schema.Type{Kind: schema.Binary}})
	return schema.Schema{Fields: []schema.Field{
		topicColumn:     {Name: c.Prefix + "topic", Type: schema.Type{Kind: schema.String}, Required: true},
		partitionColumn: {Name: c.Prefix + "partition", Type: schema.Type{Kind: schema.Int}, Required: true},
		offsetColumn:    {Name: c.Prefix + "offset", Type: schema.Type{Kind: schema.Long}, Required: true},
		timestampColumn: {Name: c.Prefix + "timestamp", Type: schema.Type{Kind: schema.Timestamptz}, Required: true},
		keyColumn:       {Name: c.Prefix + "key", Type: key},
		headersColumn:   {Name: c.Prefix + "headers", Type: schema.ListOf(header)},
	}}
}

// withoutCoordinates is the columns of a table that are not coordinates. Those that are must have the types that this job writes.
func (c Config) withoutCoordinates(table []arrow.Field) ([]arrow.Field, error) {
	var payload []arrow.Field
	coords := c.coordinateSchema().Fields
	for _, f := range table {
		i := slices.IndexFunc(coords, func(c schema.Field) bool { return strings.EqualFold(c.Name, f.Name) })
		if i < 0 {
			payload = append(payload, f)
			continue
		}
		have, err := schema.FromArrow([]arrow.Field{f})
		if err != nil {
			return nil, err
		}
		if h, w := have.Fields[0].Type.String(), coords[i].Type.String(); h != w {
			return nil, fmt.Errorf("column %s of the table is %s, this job writes %s: set decode.key as the table has it, or another prefix", f.Name, h, w)
		}
	}
	return payload, nil
}

// reserved is the names that payload columns cannot have.
func (c Config) reserved() schema.Reserved {
	names := slices.Clone(c.Reserved)
	for _, f := range c.withDefaults().coordinateSchema().Fields {
		names = append(names, f.Name)
	}
	return schema.NewReserved(names...)
}

// coordinates are the columns that say where a record came from.
type coordinates struct {
	columns *column // a struct; its slots are the rows
	keys    KeyFormat
}

func newCoordinates(cfg Config, mem memory.Allocator) coordinates {
	return coordinates{newColumn(schema.Field{Type: schema.StructOf(cfg.coordinateSchema().Fields...)}, mem), cfg.Key}
}

// fields is the coordinate columns as Arrow has them.
func (c Config) coordinateFields() []arrow.Field { return c.coordinateSchema().Arrow() }

// add sets the coordinates of a row, or none of them if they do not fit.
func (c coordinates) add(row int, src *processor.Source, r *record.Record) *fault {
	const most = math.MaxInt64 / 1000
	if r.Timestamp > most || r.Timestamp < -most {
		return &fault{class: OutOfRange, what: "the record's timestamp is beyond what microseconds in 64 bits hold"}
	}
	if c.keys == StringKey && !utf8.Valid(r.Key) {
		return &fault{class: InvalidUTF8, what: "the record's key is not UTF-8: " + excerpt(r.Key)}
	}
	for key := range r.Headers.All() {
		if !utf8.Valid(key) {
			return &fault{class: InvalidUTF8, what: "the key of a header is not UTF-8: " + excerpt(key)}
		}
	}
	c.set(row, src, r.Offset, r.Timestamp, r.Key)
	headers := c.columns.fields[headersColumn]
	headers.seek(row)
	end := int(headers.i32[row])
	for key, value := range r.Headers.All() {
		headers.fields[0].addHeader(end, key, value)
		end++
	}
	headers.setList(row, end)
	return nil
}

// addLetter sets the coordinates of a dead letter, which always fit somehow.
func (c coordinates) addLetter(row int, l *DeadLetter) {
	const most = math.MaxInt64 / 1000
	c.set(row, &l.Source, l.Offset, max(-most, min(most, l.Timestamp)), l.Key)
	headers := c.columns.fields[headersColumn]
	headers.seek(row)
	end := int(headers.i32[row])
	for _, h := range l.Headers {
		headers.fields[0].addHeader(end, []byte(strings.ToValidUTF8(h.Key, "\uFFFD")), h.Value)
		end++
	}
	headers.setList(row, end)
}

func (c coordinates) set(row int, src *processor.Source, offset, timestamp int64, key []byte) {
	f := c.columns.fields
	f[topicColumn].seek(row)
	f[topicColumn].setString(row, src.Topic)
	f[partitionColumn].seek(row)
	f[partitionColumn].setInt32(row, src.Partition)
	f[offsetColumn].seek(row)
	f[offsetColumn].setInt64(row, offset)
	f[timestampColumn].seek(row)
	f[timestampColumn].setInt64(row, timestamp*1000)
	if key != nil {
		f[keyColumn].seek(row)
		f[keyColumn].setBytes(row, key)
	}
}

// addHeader sets a key and a value in slot of a column of structs.
func (c *column) addHeader(slot int, key, value []byte) {
	c.seek(slot)
	c.fields[0].seek(slot)
	c.fields[0].setBytes(slot, key)
	if value != nil {
		c.fields[1].seek(slot)
		c.fields[1].setBytes(slot, value)
	}
	c.present(slot)
}
