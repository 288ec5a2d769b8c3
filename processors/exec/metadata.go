package exec

import (
	"encoding/binary"
	"errors"
)

// Bounds of a message's metadata, beside its size. What is within them is more than tables have.
const (
	maxParts  = 1 << 16 // fields of a schema, those in structs and lists included, and pairs of custom metadata
	maxNested = 64      // fields inside each other
)

// The places of what a message's metadata holds, by Arrow's Message.fbs and Schema.fbs: the number of the field in its table.
const (
	messageType, messageHeader, messageBody, messageCustom = 1, 2, 3, 4
	schemaFields, schemaCustom                             = 1, 2
	fieldName, fieldChildren, fieldCustom                  = 0, 5, 6
	customKey, customValue                                 = 0, 1
	batchCompression                                       = 3

	typeSchema, typeBatch = 1, 3 // messageTypes
)

// errCompressed: a decompressor makes room for what a stream claims, and nobody gains by compression between two processes.
var errCompressed = errors.New("it is compressed; a program writes its answers as they are, which is what Arrow's writers do unless they are told otherwise")

// checkMetadata gives the length of a message's body, once the metadata holds what it claims: the library makes room for as many fields as a
// vector says it has, and for a text each time that something refers to it, and who is out of memory cannot be helped. A body that is
// compressed is refused.
func checkMetadata(metadata []byte) (body int64, err error) {
	f := &flat{bytes: metadata}
	message := f.uint32(0)
	if at := f.field(message, messageBody); at > 0 {
		body = f.int64(at)
	}
	f.custom(message, messageCustom)
	compressed := false
	if is, at := f.field(message, messageType), f.field(message, messageHeader); is > 0 && at > 0 {
		switch header := f.follow(at); f.uint8(is) {
		case typeSchema:
			f.columns(header, schemaFields, 1)
			f.custom(header, schemaCustom)
		case typeBatch:
			compressed = f.field(header, batchCompression) > 0
		}
	}
	switch {
	case f.wrong || body < 0:
		return 0, errNoStream
	case compressed:
		return 0, errCompressed
	}
	return body, nil
}

// flat reads a flatbuffer: tables, whose fields are found by a table of offsets, and vectors. Whatever lies outside of it is 0, and wrong.
type flat struct {
	bytes []byte
	wrong bool
	parts int   // so far
	text  int64 // bytes, so far
}

// at gives n bytes.
func (f *flat) at(at, n int64) []byte {
	if at < 0 || at+n > int64(len(f.bytes)) {
		f.wrong = true
		return make([]byte, n)
	}
	return f.bytes[at : at+n]
}

func (f *flat) uint8(at int64) uint8  { return f.at(at, 1)[0] }
func (f *flat) uint16(at int64) int64 { return int64(binary.LittleEndian.Uint16(f.at(at, 2))) }
func (f *flat) uint32(at int64) int64 { return int64(binary.LittleEndian.Uint32(f.at(at, 4))) }
func (f *flat) int64(at int64) int64  { return int64(binary.LittleEndian.Uint64(f.at(at, 8))) }

// follow is where the offset at a place leads.
func (f *flat) follow(at int64) int64 { return at + f.uint32(at) }

// claim notes what does not hold.
func (f *flat) claim(holds bool) { f.wrong = f.wrong || !holds }

// field is where a field of a table is, 0 if the table does not have it. As the library has it, a table of offsets that ends within one has it.
func (f *flat) field(table, number int64) int64 {
	offsets := table - int64(int32(f.uint32(table)))
	slot := 4 + 2*number
	if f.uint16(offsets) <= slot {
		return 0
	}
	offset := f.uint16(offsets + slot)
	if offset == 0 {
		return 0
	}
	return table + offset
}

// tables gives the tables of a vector that is a field of a table.
func (f *flat) tables(table, number int64, each func(table int64)) {
	at := f.field(table, number)
	if at == 0 {
		return
	}
	vector := f.follow(at)
	n := f.uint32(vector)
	f.claim(vector+4+4*n <= int64(len(f.bytes)))
	for i := int64(0); i < n && !f.wrong; i++ {
		f.parts++
		f.claim(f.parts <= maxParts)
		each(f.follow(vector + 4 + 4*i))
	}
}

// columns looks at the fields of a schema, or of a field, each with what is in it.
func (f *flat) columns(table, number int64, depth int) {
	f.tables(table, number, func(column int64) {
		f.claim(depth <= maxNested)
		f.word(column, fieldName)
		f.custom(column, fieldCustom)
		if !f.wrong {
			f.columns(column, fieldChildren, depth+1)
		}
	})
}

// custom looks at pairs of keys and values.
func (f *flat) custom(table, number int64) {
	f.tables(table, number, func(pair int64) {
		f.word(pair, customKey)
		f.word(pair, customValue)
	})
}

// word looks at a text, and counts it.
func (f *flat) word(table, number int64) {
	if at := f.field(table, number); at > 0 {
		text := f.follow(at)
		n := f.uint32(text)
		f.text += n
		f.claim(text+4+n <= int64(len(f.bytes)) && f.text <= maxMetadata)
	}
}
