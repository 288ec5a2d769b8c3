package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/firn-io/firn/runtime/schema"
)

// reference is inference and decoding as they are specified, written for plainness over encoding/json: it says which documents are rows
// and what the columns are. It shares no code with the decoder.
type reference struct {
	root *shape
}

// shape is the type of a field, by the payload's names.
type shape struct {
	kind    schema.Kind
	members map[string]*shape // of a struct; of a list under "element"
	inexact bool              // a long that has held what no double can
}

var errUnfit = errors.New("the record does not fit")

// add says whether a document is a row, and the value of it that columns hold; class is the dead letter's if the document itself is wrong.
func (r *reference) add(doc []byte) (v map[string]any, class Class) {
	if !json.Valid(doc) {
		return nil, InvalidJSON
	}
	if !utf8.Valid(doc) || loneSurrogate(doc) {
		return nil, InvalidUTF8
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		return nil, InvalidJSON
	}
	v, ok := value.(map[string]any)
	if !ok {
		return nil, NotObject
	}
	t := shapeOf(r.root, v)
	if t == nil {
		return nil, TypeConflict
	}
	merged, err := merge(r.root, t)
	if err == nil {
		err = check(merged, v)
	}
	if err != nil {
		return nil, TypeConflict
	}
	r.root = merged
	return prune(merged, v).(map[string]any), ""
}

// prune is the value without what has no column yet, and never will for this row.
func prune(s *shape, v any) any {
	if s == nil || !s.known() && s.kind != schema.Struct {
		return nil
	}
	if k := shapeOf(nil, v); k != nil && !k.known() && k.kind != s.kind {
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		kept := map[string]any{}
		for name, m := range v {
			kept[name] = prune(s.members[name], m)
		}
		return kept
	case []any:
		kept := []any{}
		for _, m := range v {
			kept = append(kept, prune(s.members["element"], m))
		}
		return kept
	}
	return v
}

// loneSurrogate reports whether valid JSON has an escaped surrogate without its partner.
func loneSurrogate(doc []byte) bool {
	for i := 0; i < len(doc); i++ {
		if doc[i] != '\\' {
			continue
		}
		i++
		if doc[i] != 'u' {
			continue
		}
		n, _ := strconv.ParseUint(string(doc[i+1:i+5]), 16, 16)
		i += 4
		switch {
		case 0xdc00 <= n && n < 0xe000:
			return true
		case 0xd800 <= n && n < 0xdc00:
			if !bytes.HasPrefix(doc[i+1:], []byte(`\u`)) {
				return true
			}
			low, _ := strconv.ParseUint(string(doc[i+3:i+7]), 16, 16)
			if low < 0xdc00 || low >= 0xe000 {
				return true
			}
			i += 6
		}
	}
	return false
}

// shapeOf is what a value tells about its type, beside the column that it would go to; nil if it contradicts itself.
func shapeOf(have *shape, v any) *shape {
	switch v := v.(type) {
	case bool:
		return &shape{kind: schema.Boolean}
	case string:
		return &shape{kind: schema.String}
	case json.Number:
		if isInteger(v) || have != nil && have.kind == schema.Long && asInt64(v) != nil {
			return &shape{kind: schema.Long}
		}
		return &shape{kind: schema.Double}
	case map[string]any:
		s := &shape{kind: schema.Struct, members: map[string]*shape{}}
		for name, m := range v {
			if s.members[name] = shapeOf(have.member(schema.Struct, name), m); s.members[name] == nil {
				return nil
			}
		}
		return s
	case []any:
		element := &shape{}
		for _, m := range v {
			t := shapeOf(have.member(schema.List, "element"), m)
			if t == nil {
				return nil
			}
			var err error
			if element, err = merge(element, t); err != nil {
				return nil
			}
		}
		return &shape{kind: schema.List, members: map[string]*shape{"element": element}}
	}
	return &shape{}
}

func (s *shape) member(k schema.Kind, name string) *shape {
	if s == nil || s.kind != k {
		return nil
	}
	return s.members[name]
}

// known reports whether the shape makes a column.
func (s *shape) known() bool {
	if s.kind != schema.Struct && s.kind != schema.List {
		return s.kind != schema.Unknown
	}
	for _, m := range s.members {
		if m.known() {
			return true
		}
	}
	return false
}

// merge is a new shape that holds the values of both.
func merge(have, got *shape) (*shape, error) {
	if have == nil {
		have = &shape{}
	}
	if !got.known() {
		return have, nil
	}
	if !have.known() {
		have = &shape{}
	}
	merged := &shape{kind: have.kind, inexact: have.inexact}
	switch {
	case have.kind == schema.Unknown || have.kind == got.kind:
		merged.kind = got.kind
	case have.kind == schema.Double && got.kind == schema.Long:
	case have.kind == schema.Long && got.kind == schema.Double && !have.inexact:
		merged.kind = schema.Double
	default:
		return nil, errUnfit
	}
	if got.members == nil {
		return merged, nil
	}
	merged.members = map[string]*shape{}
	for name, m := range have.members {
		merged.members[name] = m
	}
	for name, m := range got.members {
		t, err := merge(merged.members[name], m)
		if err != nil {
			return nil, err
		}
		if t.known() {
			merged.members[name] = t
		}
	}
	return merged, nil
}

// check says whether the shape's columns hold the value exactly, and marks the longs that can never be doubles.
func check(s *shape, v any) error {
	if s == nil || v == nil || !s.known() {
		return nil
	}
	if typeless(v) {
		return nil
	}
	if k := shapeOf(nil, v).kind; k != s.kind && !(s.kind == schema.Double && k == schema.Long) && !(s.kind == schema.Long && k == schema.Double) {
		return errUnfit
	}
	switch v := v.(type) {
	case json.Number:
		n, _ := new(big.Rat).SetString(short(v))
		f, err := strconv.ParseFloat(string(v), 64)
		switch {
		case s.kind == schema.Long && asInt64(v) == nil:
			return errUnfit
		case s.kind == schema.Long:
			s.inexact = s.inexact || new(big.Rat).SetFloat64(f).Cmp(n) != 0
		case err != nil:
			return errUnfit
		case isInteger(v) && new(big.Rat).SetFloat64(f).Cmp(n) != 0:
			return errUnfit
		}
	case map[string]any:
		for name, m := range v {
			if err := check(s.members[name], m); err != nil {
				return err
			}
		}
	case []any:
		for _, m := range v {
			if err := check(s.members["element"], m); err != nil {
				return err
			}
		}
	}
	return nil
}

// typeless reports whether there is nothing but nulls in a value.
func typeless(v any) bool {
	s := shapeOf(nil, v)
	return s != nil && !s.known()
}

func isInteger(n json.Number) bool { return !strings.ContainsAny(string(n), ".eE") }

// short keeps big.Rat from computing 10^1000000: what is that large or small is not told apart from 10^±5000.
func short(n json.Number) string {
	mantissa, exp, ok := strings.Cut(strings.ToLower(string(n)), "e")
	if e, err := strconv.Atoi(exp); ok && (err != nil || e > 5000 || e < -5000) {
		sign := strings.TrimRight(exp, "0123456789")
		return mantissa + "e" + sign + "5000"
	}
	return string(n)
}

func asInt64(n json.Number) *int64 {
	r, ok := new(big.Rat).SetString(short(n))
	if !ok || !r.IsInt() || !r.Num().IsInt64() {
		return nil
	}
	v := r.Num().Int64()
	return &v
}

// checkDocuments decodes documents, a flush after the number of documents that flush gives, and compares rows, dead letters and columns
// with the reference.
func checkDocuments(t *testing.T, docs [][]byte, flush func() int) {
	t.Helper()
	d := newDecoder(t, Config{}, nil)
	ref := reference{root: &shape{kind: schema.Struct}}
	var want []map[string]any
	left := flush()
	for at, doc := range docs {
		doc = append([]byte{}, doc...) // empty, not null
		before := d.Schema()
		if err := d.Append(quakes, batchOf(t, int64(at), doc), all); err != nil {
			t.Fatal(err)
		}
		letters := d.letters
		d.letters, d.heavy = nil, 0
		if len(letters) == 1 && letters[0].Class == SchemaLimit {
			continue // the reference knows no limits
		}
		value, class := ref.add(doc)
		switch {
		case class == "" && len(letters) > 0:
			t.Fatalf("document %d, %s: dead letter %s: %s; want a row of %s", at, doc, letters[0].Class, letters[0].Message, before)
		case class != "" && len(letters) == 0:
			t.Fatalf("document %d, %s: is a row, want a dead letter; schema %s", at, doc, before)
		case class != "":
			checkClass(t, doc, letters[0], class)
			if !d.Schema().Equal(before) {
				t.Fatalf("document %d, %s: a dead letter has changed the schema", at, doc)
			}
			continue
		}
		want = append(want, value)
		if left--; left <= 0 {
			checkRows(t, d, want)
			want, left = nil, flush()
		}
		if got, want := describe(d.root.typ), ref.root.describe(); got != want {
			t.Fatalf("document %d, %s:\nschema is %s\nwant      %s", at, doc, got, want)
		}
	}
	checkRows(t, d, want)
}

// checkRows flushes and compares the rows with what the reference says.
func checkRows(t *testing.T, d *Decoder, want []map[string]any) {
	t.Helper()
	rows, _ := d.Flush()
	if len(want) == 0 {
		if rows != nil {
			t.Fatalf("%d rows, want none", rows.NumRows())
		}
		return
	}
	defer rows.Release()
	if int(rows.NumRows()) != len(want) {
		t.Fatalf("%d rows, want %d", rows.NumRows(), len(want))
	}
	fields, err := schema.FromArrow(rows.Schema().Fields()[coordinateColumns:])
	if err != nil {
		t.Fatal(err)
	}
	for slot, value := range want {
		for i, f := range fields.Fields {
			compare(t, f.Type, rows.Column(coordinateColumns+i), slot, value[f.Source()])
		}
		checkAbsent(t, fields.Fields, value)
	}
}

func checkClass(t *testing.T, doc []byte, l DeadLetter, want Class) {
	t.Helper()
	ok := l.Class == want
	switch want {
	case TypeConflict:
		ok = l.Class == TypeConflict || l.Class == OutOfRange
	case InvalidJSON: // a document may be wrong in both ways
		ok = l.Class == InvalidJSON || l.Class == InvalidUTF8 && (!utf8.Valid(doc) || bytes.Contains(doc, []byte(`\u`)))
	}
	if !ok || l.Message == "" || len(l.Message) > 1000 || !utf8.ValidString(l.Message) {
		t.Fatalf("%s: dead letter %s: %q, want %s", doc, l.Class, l.Message, want)
	}
}

// compare compares a slot with a value of the reference.
func compare(t *testing.T, typ schema.Type, a arrow.Array, slot int, want any) {
	t.Helper()
	if (want == nil) != a.IsNull(slot) {
		t.Fatalf("%s: null is %v, want %v", typ, a.IsNull(slot), want)
	}
	if want == nil {
		return
	}
	ok := false
	switch a := a.(type) {
	case *array.Boolean:
		ok = a.Value(slot) == want.(bool)
	case *array.String:
		ok = a.Value(slot) == want.(string)
	case *array.Int64:
		v := asInt64(want.(json.Number))
		ok = v != nil && *v == a.Value(slot)
	case *array.Float64:
		f, err := strconv.ParseFloat(string(want.(json.Number)), 64)
		ok = err == nil && f == a.Value(slot)
	case *array.Struct:
		for i, f := range typ.Fields {
			compare(t, f.Type, a.Field(i), slot, want.(map[string]any)[f.Source()])
		}
		checkAbsent(t, typ.Fields, want.(map[string]any))
		ok = true
	case *array.List:
		from, to := a.ValueOffsets(slot)
		list := want.([]any)
		if ok = int(to-from) == len(list); ok {
			for i, v := range list {
				compare(t, typ.Fields[0].Type, a.ListValues(), int(from)+i, v)
			}
		}
	}
	if !ok {
		t.Fatalf("%s: value is %s, want %v", typ, a.ValueStr(slot), want)
	}
}

// checkAbsent looks for values that have no column although they tell a type.
func checkAbsent(t *testing.T, fields []schema.Field, want map[string]any) {
	t.Helper()
	have := map[string]bool{}
	for _, f := range fields {
		have[f.Source()] = true
	}
	for name, v := range want {
		if s := shapeOf(nil, v); !have[name] && (s == nil || s.known()) {
			t.Fatalf("%q, which is %v, has no column", name, v)
		}
	}
}

// describe is a type without the order of its members.
func describe(t schema.Type) string {
	if len(t.Fields) == 0 {
		return t.Kind.String()
	}
	members := map[string]string{}
	for _, f := range t.Fields {
		members[f.Source()] = describe(f.Type)
	}
	return fmt.Sprintf("%s%q", t.Kind, members)
}

func (s *shape) describe() string {
	if len(s.members) == 0 {
		return s.kind.String()
	}
	members := map[string]string{}
	for name, m := range s.members {
		members[name] = m.describe()
	}
	return fmt.Sprintf("%s%q", s.kind, members)
}
