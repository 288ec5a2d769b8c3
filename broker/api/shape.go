package api

import (
	"errors"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kbin"
)

// A shape is the form of a request body: its fields in order, each with the versions that have it.
//
// kmsg decodes requests, and it is made for clients, which trust their broker: it allocates an array for as many elements as the
// bytes left could hold at one byte each, before it has seen any of them (100 MiB on the wire become 10 GB), and it goes round once
// for each of up to 2^32 tagged fields that a request says it has. So a broker first walks the bytes by the shape: every length is checked
// against what is there, nothing is allocated, and the elements are counted, so that decoding costs what the request really holds.
type shape []field

type field struct {
	kind     kind
	from, to int16
	elements shape // of rows, list (one field), maybe and tag
	number   uint32
}

type kind uint8

const (
	kindFixed  kind = iota // number bytes
	kindString             // nullable or not: the difference is kmsg's to judge
	kindBytes
	kindRows  // an array of structures
	kindList  // an array of plain values
	kindMaybe // a structure that may be null
	kindTag   // a structure in the tagged field with this number
)

var (
	i8     = field{kind: kindFixed, number: 1, to: math.MaxInt16}
	i16    = field{kind: kindFixed, number: 2, to: math.MaxInt16}
	i32    = field{kind: kindFixed, number: 4, to: math.MaxInt16}
	i64    = field{kind: kindFixed, number: 8, to: math.MaxInt16}
	uuid   = field{kind: kindFixed, number: 16, to: math.MaxInt16}
	str    = field{kind: kindString, to: math.MaxInt16}
	octets = field{kind: kindBytes, to: math.MaxInt16}
)

func rows(f ...field) field  { return field{kind: kindRows, elements: f, to: math.MaxInt16} }
func list(f field) field     { return field{kind: kindList, elements: shape{f}, to: math.MaxInt16} }
func maybe(f ...field) field { return field{kind: kindMaybe, elements: f, to: math.MaxInt16} }
func tag(number uint32, f ...field) field {
	return field{kind: kindTag, number: number, elements: f, to: math.MaxInt16}
}

func (f field) since(version int16) field { f.from = version; return f }
func (f field) until(version int16) field { f.to = version; return f }

var errShort = errors.New("the request ends before its fields do")

// elementBytes is more than what kmsg allocates for one element of an array, itself and its strings' headers.
const elementBytes = 160

// Check verifies the form of a request body before kmsg decodes it, and gives the memory in bytes that decoding it takes beside the
// body itself. Bytes behind the last field are ignored, as Kafka ignores them. flexible is what kmsg says of that key and version.
func Check(key, version int16, flexible bool, body []byte) (cost int64, err error) {
	w := walker{Reader: kbin.Reader{Src: body}, version: version, flexible: flexible}
	if err := w.structure(shapeOf(key)); err != nil {
		return 0, err
	}
	return w.elements * elementBytes, nil
}

type walker struct {
	kbin.Reader
	version  int16
	flexible bool
	elements int64
}

func (w *walker) structure(s shape) error {
	for _, f := range s {
		if f.kind == kindTag || w.version < f.from || w.version > f.to {
			continue
		}
		if err := w.value(f); err != nil {
			return err
		}
	}
	if w.flexible {
		return w.tags(s)
	}
	return nil
}

func (w *walker) value(f field) error {
	switch f.kind {
	case kindFixed:
		w.Span(int(f.number))
	case kindString:
		if w.flexible {
			w.CompactNullableBytes()
		} else {
			w.shortString()
		}
	case kindBytes:
		if w.flexible {
			w.CompactNullableBytes()
		} else {
			w.NullableBytes()
		}
	case kindRows, kindList:
		return w.array(f)
	case kindMaybe:
		if w.Int8() >= 0 {
			return w.structure(f.elements)
		}
	}
	return w.ok()
}

// shortString passes a string with a length of two bytes without copying it.
func (w *walker) shortString() {
	if n := w.Int16(); n >= 0 {
		w.Span(int(n))
	}
}

func (w *walker) array(f field) error {
	n := w.ArrayLen
	if w.flexible {
		n = w.CompactArrayLen
	}
	count := n()
	for i := int32(0); i < count; i++ {
		w.elements++
		var err error
		if f.kind == kindRows {
			err = w.structure(f.elements)
		} else {
			err = w.value(f.elements[0])
		}
		if err != nil {
			return err
		}
	}
	return w.ok()
}

func (w *walker) tags(s shape) error {
	count := w.Uvarint()
	if int64(count) > int64(len(w.Src)) {
		return fmt.Errorf("%d tagged fields in %d bytes", count, len(w.Src))
	}
	for ; count > 0; count-- {
		w.elements++
		number, size := w.Uvarint(), w.Uvarint()
		if int64(size) > int64(len(w.Src)) {
			return errShort
		}
		value := w.Span(int(size))
		for _, f := range s {
			if f.kind != kindTag || f.number != number {
				continue
			}
			inner := walker{Reader: kbin.Reader{Src: value}, version: w.version, flexible: true}
			if err := inner.structure(f.elements); err != nil {
				return err
			}
		}
	}
	return w.ok()
}

func (w *walker) ok() error {
	if !w.Ok() {
		return errShort
	}
	return nil
}
