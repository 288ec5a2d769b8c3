package transform

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/firn-io/firn/runtime/schema"
)

// A scalar is a value on its way from one type to another: bool, int64, float64, decimal, string, []byte, day or instant.
type (
	decimal struct {
		num   decimal128.Num
		scale int32
	}
	day     int32 // since 1970-01-01
	instant struct {
		micros int64 // since 1970-01-01T00:00
		utc    bool  // a moment, not a reading of some clock
	}
)

// scalarOf is the value in slot i, which is not null; ok is false for types that are converted to nothing.
func scalarOf(a arrow.Array, i int) (v any, ok bool) {
	switch a := a.(type) {
	case *array.Boolean:
		return a.Value(i), true
	case *array.Int32:
		return int64(a.Value(i)), true
	case *array.Int64:
		return a.Value(i), true
	case *array.Float32:
		return float64(a.Value(i)), true
	case *array.Float64:
		return a.Value(i), true
	case *array.Decimal128:
		return decimal{a.Value(i), a.DataType().(*arrow.Decimal128Type).Scale}, true
	case *array.String:
		return a.Value(i), true
	case *array.Binary:
		return a.Value(i), true
	case *array.Date32:
		return day(a.Value(i)), true
	case *array.Timestamp:
		t := a.DataType().(*arrow.TimestampType)
		return instant{timeOf(a, i).UnixMicro(), t.TimeZone != ""}, true
	}
	return nil, false
}

// scalarOfValue is the value of an expression.
func scalarOfValue(v ref.Val) (scalar any, ok bool) {
	switch v := v.(type) {
	case types.Bool:
		return bool(v), true
	case types.Int:
		return int64(v), true
	case types.Double:
		return float64(v), true
	case types.String:
		return string(v), true
	case types.Bytes:
		return []byte(v), true
	case types.Timestamp:
		return instant{v.UnixMicro(), true}, true
	}
	return nil, false
}

// kindOf is the type that a column of such values has.
func kindOf(scalar any) schema.Type {
	switch scalar.(type) {
	case bool:
		return schema.Type{Kind: schema.Boolean}
	case int64:
		return schema.Type{Kind: schema.Long}
	case float64:
		return schema.Type{Kind: schema.Double}
	case string:
		return schema.Type{Kind: schema.String}
	case []byte:
		return schema.Type{Kind: schema.Binary}
	default:
		return schema.Type{Kind: schema.Timestamptz}
	}
}

// convertible reports whether values of a type can become values of another.
func convertible(from arrow.DataType, to schema.Type) bool {
	f, err := schema.FromArrow([]arrow.Field{{Name: "f", Type: from}})
	if err != nil || to.Kind == schema.Struct || to.Kind == schema.List {
		return false
	}
	number := func(k schema.Kind) bool { return k >= schema.Int && k <= schema.Decimal }
	moment := func(k schema.Kind) bool {
		return k == schema.Date || k == schema.Timestamp || k == schema.Timestamptz
	}
	switch a, b := f.Fields[0].Type.Kind, to.Kind; {
	case a == schema.Struct || a == schema.List:
		return false
	case a == b || a == schema.String || b == schema.String:
		return true
	default:
		return number(a) && number(b) || moment(a) && moment(b)
	}
}

// put appends a scalar to a column of a type, which must hold it exactly: only fractions go to the nearest float or double. nothing is
// appended with an error, which says what the value is no …
func put(b array.Builder, v any, to schema.Type) error {
	switch to.Kind {
	case schema.Boolean:
		if x, ok := boolean(v); ok {
			b.(*array.BooleanBuilder).Append(x)
			return nil
		}
	case schema.Int:
		if x, ok := integer(v); ok && x == int64(int32(x)) {
			b.(*array.Int32Builder).Append(int32(x))
			return nil
		}
	case schema.Long:
		if x, ok := integer(v); ok {
			b.(*array.Int64Builder).Append(x)
			return nil
		}
	case schema.Float:
		if x, ok := float(v, 32); ok {
			b.(*array.Float32Builder).Append(float32(x))
			return nil
		}
	case schema.Double:
		if x, ok := float(v, 64); ok {
			b.(*array.Float64Builder).Append(x)
			return nil
		}
	case schema.Decimal:
		if x, ok := unscaled(textOf(v), to.Scale); ok && x.FitsInPrecision(to.Precision) {
			b.(*array.Decimal128Builder).Append(x)
			return nil
		}
	case schema.String:
		if x := textOf(v); utf8.ValidString(x) {
			b.(*array.StringBuilder).Append(x)
			return nil
		}
	case schema.Binary:
		b.(*array.BinaryBuilder).Append([]byte(textOf(v)))
		return nil
	case schema.Date:
		if x, ok := dayOf(v); ok {
			b.(*array.Date32Builder).Append(arrow.Date32(x))
			return nil
		}
	case schema.Timestamp, schema.Timestamptz:
		if x, ok := instantOf(v, to.Kind == schema.Timestamptz); ok {
			b.(*array.TimestampBuilder).Append(arrow.Timestamp(x))
			return nil
		}
	}
	return fmt.Errorf("%s is no %s", excerpt(v), to)
}

func boolean(v any) (x, ok bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case string:
		return v == "true", v == "true" || v == "false"
	}
	return false, false
}

func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case float64:
		return int64(v), v == math.Trunc(v) && v >= math.MinInt64 && v < math.MaxInt64
	case decimal:
		x, ok := unscaled(textOf(v), 0)
		return int64(x.LowBits()), ok && x == decimal128.FromI64(int64(x.LowBits()))
	case string:
		x, err := strconv.ParseInt(v, 10, 64)
		return x, err == nil
	}
	return 0, false
}

func float(v any, bits int) (float64, bool) {
	switch v := v.(type) {
	case int64:
		x := float64(v)
		if bits == 32 {
			x = float64(float32(x))
		}
		return x, x < math.MaxInt64 && int64(x) == v
	case float64:
		if bits == 32 {
			x := float64(float32(v))
			return x, math.IsInf(x, 0) == math.IsInf(v, 0)
		}
		return v, true
	case decimal:
		return float(textOf(v), bits)
	case string:
		if strings.Trim(v, "0123456789+-.eE") != "" {
			return 0, false
		}
		x, err := strconv.ParseFloat(v, bits)
		return x, err == nil
	}
	return 0, false
}

// unscaled is the integer that text is at a scale, if it is exactly one.
func unscaled(text string, scale int32) (decimal128.Num, bool) {
	if len(text) == 0 || len(text) > 64 || strings.Trim(text, "0123456789+-.eE") != "" {
		return decimal128.Num{}, false
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		if e, err := strconv.Atoi(text[i+1:]); err != nil || e < -99 || e > 99 {
			return decimal128.Num{}, false
		}
	}
	x, ok := new(big.Rat).SetString(text)
	if !ok {
		return decimal128.Num{}, false
	}
	x.Mul(x, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)))
	if !x.IsInt() || x.Num().BitLen() > 127 {
		return decimal128.Num{}, false
	}
	return decimal128.FromBigInt(x.Num()), true
}

// textOf is how a value is written.
func textOf(v any) string {
	switch v := v.(type) {
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		if a := math.Abs(v); a != 0 && (a < 1e-6 || a >= 1e21) {
			return strconv.FormatFloat(v, 'e', -1, 64)
		}
		return strconv.FormatFloat(v, 'f', -1, 64)
	case decimal:
		return v.num.ToString(v.scale)
	case string:
		return v
	case []byte:
		return string(v)
	case day:
		return time.Unix(int64(v)*86400, 0).UTC().Format(time.DateOnly)
	case instant:
		if v.utc {
			return time.UnixMicro(v.micros).UTC().Format(time.RFC3339Nano)
		}
		return time.UnixMicro(v.micros).UTC().Format(localTime)
	}
	return fmt.Sprint(v)
}

const localTime = "2006-01-02T15:04:05.999999999"

func dayOf(v any) (int32, bool) {
	switch v := v.(type) {
	case day:
		return int32(v), true
	case instant:
		days := v.micros / 86400e6
		if v.micros%86400e6 < 0 {
			days--
		}
		return int32(days), days == int64(int32(days))
	case string:
		t, err := time.Parse(time.DateOnly, v)
		return int32(t.Unix() / 86400), err == nil // exact: t is a midnight
	}
	return 0, false
}

// instantOf is microseconds since 1970.
func instantOf(v any, utc bool) (int64, bool) {
	switch v := v.(type) {
	case day:
		micros := int64(v) * 86400e6
		return micros, micros/86400e6 == int64(v)
	case instant:
		return v.micros, true
	case string:
		layout := localTime
		if utc {
			layout = time.RFC3339Nano
		}
		t, err := time.Parse(layout, v)
		return t.UnixMicro(), err == nil && t.Nanosecond()%1000 == 0
	}
	return 0, false
}

// excerpt is what a message repeats of a value.
func excerpt(v any) string {
	const most = 64
	text := textOf(v)
	if len(text) > most {
		return fmt.Sprintf("%q…", strings.ToValidUTF8(text[:most], "\uFFFD"))
	}
	return fmt.Sprintf("%q", strings.ToValidUTF8(text, "\uFFFD"))
}
