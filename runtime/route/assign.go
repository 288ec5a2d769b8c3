package route

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// headersColumn is the coordinate column of headers.
const headersColumn = 5

// assignment is the tables of a batch's rows.
type assignment struct {
	of      []int     // an index into dests, per row
	dests   []dest    // all that there are in the batch, in order of their first row
	refused []refusal // why a dest is none; class "" if it is one
}

// dest is where rows go.
type dest struct {
	name  string
	label string // the values that name it, for people
}

// assign finds the tables of rows.
func (r *Route) assign(rows arrow.RecordBatch) (*assignment, error) {
	var readers []reader
	content := r.content()
	for _, p := range content {
		read, err := readerOf(p, rows)
		if err != nil {
			return nil, err
		}
		readers = append(readers, read)
	}
	a := &assignment{of: make([]int, rows.NumRows())}
	known := map[string]int{}
	var key []byte
	for row := range a.of {
		key = key[:0]
		for _, read := range readers {
			var is state
			key, is = read(key, row)
			key = append(key, byte('0'+is), 0xff) // which is in no UTF-8
		}
		i, ok := known[string(key)]
		if !ok {
			i = len(a.dests)
			known[string(key)] = i
			d, why := r.dest(content, valuesOf(readers, row))
			a.dests, a.refused = append(a.dests, d), append(a.refused, why)
		}
		a.of[row] = i
	}
	return a, nil
}

// dest makes the table's name of a row's values.
func (r *Route) dest(content []part, values []value) (dest, refusal) {
	var labels []string
	i := 0
	var refused *refusal
	name := r.name(func(p part) string {
		v := values[i]
		i++
		switch {
		case v.state == unnamed && refused == nil:
			refused = refuse(Unnamed, "%s: %s names no table", p.placeholder(), v.text)
		case v.state == missing && !p.given && refused == nil:
			refused = refuse(Missing, "%s: there is no value", p.placeholder())
		case v.state == missing:
			v.text = p.other
		}
		labels = append(labels, fmt.Sprintf("%s=%q", p.text, v.text))
		return identifier(v.text)
	})
	if refused == nil && len(name) > maxName {
		refused = refuse(Unnamed, "a table name of %d characters; %d at most", len(name), maxName)
	}
	if refused != nil {
		return dest{}, *refused
	}
	return dest{name, strings.Join(labels, " ")}, refusal{}
}

// value is a part's value in a row.
type value struct {
	text  string
	state state
}

func valuesOf(readers []reader, row int) []value {
	values := make([]value, len(readers))
	for i, read := range readers {
		text, is := read(nil, row)
		values[i] = value{string(text), is}
	}
	return values
}

type state uint8

const (
	present state = iota
	missing
	unnamed // text says what it is instead
)

// reader appends a part's value in a row to what is there.
type reader func(to []byte, row int) ([]byte, state)

func absent(to []byte, _ int) ([]byte, state) { return to, missing }

func appendText[T string | []byte](to []byte, text T) ([]byte, state) {
	if len(text) == 0 {
		return to, missing
	}
	all := append(to, text...)
	if !utf8.Valid(all[len(to):]) {
		return append(to, "text that is not UTF-8"...), unnamed
	}
	return all, present
}

func appendInt[T int8 | int16 | int32 | int64](to []byte, n T) ([]byte, state) {
	return strconv.AppendInt(to, int64(n), 10), present
}

func readerOf(p part, rows arrow.RecordBatch) (reader, error) {
	if p.kind == ofHeader {
		return headerReader(p.text, rows)
	}
	at, ok := p.path.Find(rows.Schema().Fields())
	if !ok {
		return absent, nil
	}
	return nestedReader(rows.Column(at[0]), at[1:]), nil
}

// nestedReader reads a column, or what is at a place in its structs.
func nestedReader(column arrow.Array, at []int) reader {
	if len(at) == 0 {
		return columnReader(column)
	}
	inner := nestedReader(column.(*array.Struct).Field(at[0]), at[1:])
	return func(to []byte, row int) ([]byte, state) {
		if column.IsNull(row) {
			return to, missing
		}
		return inner(to, row)
	}
}

// columnReader reads a column. Types whose values name no table are refused row by row, for null is a missing value in all of them.
func columnReader(column arrow.Array) reader {
	var read reader
	switch c := column.(type) {
	case *array.Null:
		return absent
	case array.StringLike:
		read = func(to []byte, row int) ([]byte, state) { return appendText(to, c.Value(row)) }
	case *array.Boolean:
		read = func(to []byte, row int) ([]byte, state) { return strconv.AppendBool(to, c.Value(row)), present }
	case *array.Int8:
		read = func(to []byte, row int) ([]byte, state) { return appendInt(to, c.Value(row)) }
	case *array.Int16:
		read = func(to []byte, row int) ([]byte, state) { return appendInt(to, c.Value(row)) }
	case *array.Int32:
		read = func(to []byte, row int) ([]byte, state) { return appendInt(to, c.Value(row)) }
	case *array.Int64:
		read = func(to []byte, row int) ([]byte, state) { return appendInt(to, c.Value(row)) }
	case *array.Date32:
		read = func(to []byte, row int) ([]byte, state) {
			return c.Value(row).ToTime().AppendFormat(to, time.DateOnly), present
		}
	default:
		what := "a " + column.DataType().String()
		read = func(to []byte, _ int) ([]byte, state) { return append(to, what...), unnamed }
	}
	return func(to []byte, row int) ([]byte, state) {
		if column.IsNull(row) {
			return to, missing
		}
		return read(to, row)
	}
}

// names reports whether values of a type can name a table.
func names(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.NULL, arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW, arrow.BOOL, arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.DATE32:
		return true
	}
	return false
}

// headerReader reads the last header of a name, as Kafka's clients do.
func headerReader(name string, rows arrow.RecordBatch) (reader, error) {
	lists, ok := rows.Column(headersColumn).(*array.List)
	if !ok {
		return nil, fmt.Errorf("headers are %s, not a list", rows.Column(headersColumn).DataType())
	}
	pairs, ok := lists.ListValues().(*array.Struct)
	if !ok || pairs.NumField() != 2 {
		return nil, fmt.Errorf("headers are %s, not keys with values", lists.DataType())
	}
	keys, okKeys := pairs.Field(0).(array.StringLike)
	values, okValues := pairs.Field(1).(interface {
		IsNull(i int) bool
		Value(i int) []byte
	})
	if !okKeys || !okValues {
		return nil, fmt.Errorf("headers are %s, not text with bytes", lists.DataType())
	}
	return func(to []byte, row int) ([]byte, state) {
		if lists.IsNull(row) {
			return to, missing
		}
		first, end := lists.ValueOffsets(row)
		for i := int(end) - 1; i >= int(first); i-- {
			if keys.Value(i) != name {
				continue
			}
			if values.IsNull(i) {
				return to, missing
			}
			return appendText(to, values.Value(i))
		}
		return to, missing
	}, nil
}
