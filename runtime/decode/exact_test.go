package decode

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/firn-io/firn/runtime/schema"
)

// declared is a decoder of declared columns: "a: long, b: struct<c: date>".
func declared(t testing.TB, columns string) *Decoder {
	t.Helper()
	typ, err := schema.ParseType("struct<" + columns + ">")
	if err != nil {
		t.Fatal(err)
	}
	return newDecoder(t, Config{Declared: &schema.Schema{Fields: typ.Fields}}, nil)
}

// Each value goes alone into a column of the type: it is a row as given, or a dead letter of the class given.
func TestValues(t *testing.T) {
	tests := []struct{ typ, value, want string }{
		{"long", "0", "0"},
		{"long", "-0", "0"},
		{"long", "-0.0", "0"},
		{"long", "9223372036854775807", "9223372036854775807"},
		{"long", "-9223372036854775808", "-9223372036854775808"},
		{"long", "9223372036854775808", "out_of_range"},
		{"long", "-9223372036854775809", "out_of_range"},
		{"long", "922337203685477580.7e1", "9223372036854775807"},
		{"long", "9.223372036854775807e18", "9223372036854775807"},
		{"long", "9.223372036854775808e18", "out_of_range"},
		{"long", "100000000000000000000", "out_of_range"},
		{"long", "1000000000000000000", "1000000000000000000"},
		{"long", "5.0", "5"},
		{"long", "5.00000000000000000000000000000", "5"},
		{"long", "5.00000000000000000000000000001", "type_conflict"},
		{"long", "1e3", "1000"},
		{"long", "1500e-2", "15"},
		{"long", "1.5", "type_conflict"},
		{"long", "1e-1", "type_conflict"},
		{"long", "1e400", "out_of_range"},
		{"long", "1e-400", "type_conflict"},
		{"long", "0e999999999999999999999", "0"},
		{"long", "1e999999999999999999999", "out_of_range"},
		{"long", `"1"`, "type_conflict"},
		{"long", "true", "type_conflict"},
		{"long", "null", "(null)"},
		{"long", "01", "invalid_json"},
		{"long", "-", "invalid_json"},
		{"long", "1.", "invalid_json"},
		{"long", ".5", "invalid_json"},
		{"long", "1e", "invalid_json"},
		{"long", "+1", "invalid_json"},
		{"long", "0x1", "invalid_json"},
		{"long", "1 2", "invalid_json"},
		{"long", "NaN", "invalid_json"},
		{"int", "2147483647", "2147483647"},
		{"int", "-2147483648", "-2147483648"},
		{"int", "2147483648", "out_of_range"},
		{"int", "2e9", "2000000000"},
		{"int", "0.5", "type_conflict"},
		{"double", "9007199254740992", "9.007199254740992e+15"},
		{"double", "9007199254740993", "out_of_range"},
		{"double", "9007199254740994", "9.007199254740994e+15"},
		{"double", "-9007199254740993", "out_of_range"},
		{"double", "18446744073709551616", "1.8446744073709552e+19"},
		{"double", "18446744073709551617", "out_of_range"},
		{"double", "100000000000000000000000", "out_of_range"}, // 1e23 lies between two doubles
		{"double", "1e23", "1e+23"},
		{"double", "10000000000000000000000", "1e+22"},
		{"double", big.NewFloat(math.MaxFloat64).Text('f', 0), "1.7976931348623157e+308"},
		{"double", strconv.FormatFloat(math.MaxFloat64, 'f', -1, 64), "out_of_range"}, // its shortest digits, as an integer,
		{"double", "1" + strings.Repeat("0", 309), "out_of_range"},
		{"double", "1" + strings.Repeat("0", 100000), "out_of_range"},
		{"double", "0." + strings.Repeat("0", 100000) + "1", "0"},
		{"double", "0." + strings.Repeat("0", 100000) + "1e100001", "1"},
		{"double", "0." + strings.Repeat("3", 100000), "out_of_range"},
		{"double", "0." + strings.Repeat("3", 1000), "0.3333333333333333"},
		{"double", "1e400", "out_of_range"},
		{"double", "-1e400", "out_of_range"},
		{"double", "1e-400", "0"},
		{"double", "5e-324", "5e-324"},
		{"double", "0.1", "0.1"},
		{"double", "-0", "-0"},
		{"double", "-0.0", "-0"},
		{"double", "9007199254740993.0", "9.007199254740992e+15"},
		{"float", "0.1", "0.1"},
		{"float", "16777216", "1.6777216e+07"},
		{"float", "16777217", "out_of_range"},
		{"float", "1e39", "out_of_range"},
		{"float", "3.4028234663852886e38", "3.4028235e+38"},
		{"decimal(9, 2)", "1234567.89", "1234567.89"},
		{"decimal(9, 2)", "-1234567.89", "-1234567.89"},
		{"decimal(9, 2)", "12345678.9", "out_of_range"},
		{"decimal(9, 2)", "1.234", "out_of_range"},
		{"decimal(9, 2)", "1.230", "1.23"},
		{"decimal(9, 2)", "1e3", "1000"},
		{"decimal(9, 2)", "0e999", "0"},
		{"decimal(9, 2)", `"12.5"`, "12.5"},
		{"decimal(9, 2)", `"12\u002e5"`, "12.5"},
		{"decimal(9, 2)", `"12,5"`, "invalid_value"},
		{"decimal(9, 2)", `""`, "invalid_value"},
		{"decimal(9, 2)", `" 1"`, "invalid_value"},
		{"decimal(9, 2)", "true", "type_conflict"},
		{"decimal(38, 0)", strings.Repeat("9", 38), strings.Repeat("9", 38)},
		{"decimal(38, 0)", "-" + strings.Repeat("9", 38), "-" + strings.Repeat("9", 38)},
		{"decimal(38, 0)", "1" + strings.Repeat("0", 38), "out_of_range"},
		{"decimal(38, 20)", "123456789012345678.12345678901234567890", "123456789012345678.1234567890123456789"},
		{"decimal(38, 20)", "123456789012345678.123456789012345678901", "out_of_range"},
		{"decimal(38, 37)", "0.0000000000000000000000000000000000001e0", "1e-37"},
		{"decimal(38, 10)", "123456789012345678901234567890e-2", "1234567890123456789012345678.9"},
		{"string", `"ok"`, "ok"},
		{"string", `"\u0000"`, "\x00"},
		{"string", `"\ud83d\ude00 \u00e9\n\/\"\\\b\f\r\t"`, "😀 é\n/\"\\\b\f\r\t"},
		{"string", `"` + strings.Repeat("long and longer ", 200) + `"`, strings.Repeat("long and longer ", 200)},
		{"string", `"` + strings.Repeat(`\"`, 3000) + `"`, strings.Repeat(`"`, 3000)},
		{"string", `"\ud83d"`, "invalid_utf8"},
		{"string", `"\ude00\ud83d"`, "invalid_utf8"},
		{"string", `"\ud83dx"`, "invalid_utf8"},
		{"string", `"\ud83d\n"`, "invalid_utf8"},
		{"string", "\"\xc3\"", "invalid_utf8"},
		{"string", "\"0123456\xed\xa0\x80\"", "invalid_utf8"}, // a surrogate in UTF-8
		{"string", "\"0123456\xc0\x80\"", "invalid_utf8"},     // overlong
		{"string", "\"\x1f\"", "invalid_json"},
		{"string", "\"0123456789\n\"", "invalid_json"},
		{"string", `"\q"`, "invalid_json"},
		{"string", `"\u12g4"`, "invalid_json"},
		{"string", `"\u12`, "invalid_json"},
		{"string", `"abc`, "invalid_json"},
		{"string", "1", "type_conflict"},
		{"string", "{}", "type_conflict"},
		{"boolean", "true", "true"},
		{"boolean", "false", "false"},
		{"boolean", "tru", "invalid_json"},
		{"boolean", "0", "type_conflict"},
		{"binary", `"aGVsbG8="`, "aGVsbG8="},
		{"binary", `""`, ""},
		{"binary", `"aGVsbG8"`, "invalid_value"},
		{"binary", `"aGVs\nbG8="`, "invalid_value"},
		{"binary", `"aGVsbG9="`, "invalid_value"}, // bits that no byte has
		{"binary", `[104]`, "type_conflict"},
		{"date", `"2018-02-28"`, "2018-02-28"},
		{"date", `"2016-02-29"`, "2016-02-29"},
		{"date", `"0001-01-01"`, "0001-01-01"},
		{"date", `"1969-12-31"`, "1969-12-31"},
		{"date", `"2018-02-29"`, "invalid_value"},
		{"date", `"2018-2-28"`, "invalid_value"},
		{"date", `"2018-13-01"`, "invalid_value"},
		{"date", `"2018-02-28T00:00:00Z"`, "invalid_value"},
		{"date", "17000", "type_conflict"},
		{"timestamp", `"2018-01-31T01:49:59"`, "2018-01-31T01:49:59"},
		{"timestamp", `"2018-01-31T01:49:59Z"`, "invalid_value"},
		{"timestamp", "1517363399650", "type_conflict"},
		{"timestamptz", `"2018-01-31T01:49:59.650Z"`, "2018-01-31T01:49:59.65Z"},
		{"timestamptz", `"2018-01-31t01:49:59.650123z"`, "2018-01-31T01:49:59.650123Z"},
		{"timestamptz", `"2018-01-31T01:49:59.650123000Z"`, "2018-01-31T01:49:59.650123Z"},
		{"timestamptz", `"2018-01-31T01:49:59.6501234Z"`, "invalid_value"},
		{"timestamptz", `"2018-01-31T01:49:59+05:30"`, "2018-01-30T20:19:59Z"},
		{"timestamptz", `"2018-01-31T01:49:59-00:01"`, "2018-01-31T01:50:59Z"},
		{"timestamptz", `"2018-01-31T01:49:60Z"`, "invalid_value"},
		{"timestamptz", `"2018-01-31T24:00:00Z"`, "invalid_value"},
		{"timestamptz", `"2018-01-31T01:49:59.Z"`, "invalid_value"},
		{"timestamptz", `"2018-01-31T01:49:59"`, "invalid_value"},
		{"timestamptz", `"2018-01-31T01:49:59+0530"`, "invalid_value"},
		{"timestamptz", `"2018-01-31 01:49:59Z"`, "invalid_value"},
		{"timestamptz", `"1969-12-31T23:59:59.999999Z"`, "1969-12-31T23:59:59.999999Z"},
		{"timestamptz", "1517363399650", "2018-01-31T01:49:59.65Z"},
		{"timestamptz", "1517363399650.123", "2018-01-31T01:49:59.650123Z"},
		{"timestamptz", "1517363399650.1234", "out_of_range"},
		{"timestamptz", "-1", "1969-12-31T23:59:59.999Z"},
		{"timestamptz", "9223372036854775807", "out_of_range"},
		{"timestamptz", "true", "type_conflict"},
		{"struct<x: long>", `{}`, `{"x":null}`},
		{"struct<x: long>", `{"y":[1,{"z":"\ud83d\ude00"}],"x":1}`, `{"x":1}`},
		{"struct<x: long>", `{"y":[1,{"z":"\ud83d"}],"x":1}`, "invalid_utf8"},
		{"struct<x: long>", `{"y":[1,],"x":1}`, "invalid_json"},
		{"struct<x: long>", `{"y":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `,"x":1}`, `{"x":1}`},
		{"struct<x: long>", `{"y":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `,"x":1}`, "schema_limit"},
		{"struct<x: long>", `[1]`, "type_conflict"},
		{"list<long>", `[]`, "[]"},
		{"list<long>", `[1,null,3.0]`, "[1,null,3]"},
		{"list<long>", `[1,"2"]`, "type_conflict"},
		{"list<long>", `[1`, "invalid_json"},
		{"list<list<string>>", `[["a"],[],null,["b","c"]]`, `[["a"],[],null,["b","c"]]`},
	}
	for _, test := range tests {
		d := declared(t, "v: "+test.typ)
		appendJSON(t, d, `{"v":`+test.value+`}`)
		_, rows, letters := payloadRows(t, d)
		got := strings.TrimPrefix(strings.Join(rows, ""), "v=") + strings.TrimPrefix(strings.Join(letters, ""), "0 ")
		if got != test.want {
			t.Errorf("%.100s in %s: %.200s, want %.200s", test.value, test.typ, got, test.want)
		}
	}
}

// Every double survives its shortest text, and every integer its digits.
func TestRandomNumbers(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	d := declared(t, "f: double, i: long, g: double")
	var docs []string
	var floats, fixed []float64
	var ints []int64
	for range 5000 {
		f := math.Float64frombits(rnd.Uint64())
		for math.IsNaN(f) || math.IsInf(f, 0) {
			f = math.Float64frombits(rnd.Uint64())
		}
		i := int64(rnd.Uint64()) >> rnd.IntN(64)
		g := strconv.FormatFloat(rnd.NormFloat64()*math.Pow10(rnd.IntN(12)), 'f', 1+rnd.IntN(18), 64)
		text := strconv.FormatFloat(f, "eg"[rnd.IntN(2)], -1, 64)
		if !strings.ContainsAny(text, "e.") {
			text += ".0"
		}
		want, err := strconv.ParseFloat(g, 64)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, fmt.Sprintf(`{"f":%s,"i":%d,"g":%s}`, text, i, g))
		floats, ints, fixed = append(floats, f), append(ints, i), append(fixed, want)
	}
	appendJSON(t, d, docs...)
	rows, letters := d.Flush()
	if len(letters) > 0 {
		t.Fatalf("%d dead letters, the first: %s: %s", len(letters), letters[0].Value, letters[0].Message)
	}
	defer rows.Release()
	f := rows.Column(coordinateColumns).(*array.Float64)
	i := rows.Column(coordinateColumns + 1).(*array.Int64)
	g := rows.Column(coordinateColumns + 2).(*array.Float64)
	for row, doc := range docs {
		if math.Float64bits(f.Value(row)) != math.Float64bits(floats[row]) || i.Value(row) != ints[row] || g.Value(row) != fixed[row] {
			t.Fatalf("%s is %v, %d, %v", doc, f.Value(row), i.Value(row), g.Value(row))
		}
	}
}

// Times by the standard library come back as they were.
func TestRandomTimes(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	first := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	last := time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC).UnixMicro()
	for range 5000 {
		want := first + rnd.Int64N(last-first)
		zone := time.FixedZone("", (rnd.IntN(24*60)-12*60)*60)
		text := time.UnixMicro(want).In(zone).Format("2006-01-02T15:04:05.999999Z07:00")
		if text[0] == '-' || len(text) > 4 && text[4] != '-' {
			continue // the zone has moved it out of the years 0 to 9999
		}
		got, ok := moment([]byte(text), true)
		if !ok || got != want {
			t.Fatalf("%s is %d, %v; want %d", text, got, ok, want)
		}
	}
}

func TestRandomDecimals(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 5000 {
		precision := int32(1 + rnd.IntN(38))
		scale := rnd.Int32N(precision + 1)
		digits := make([]byte, precision)
		for i := range digits {
			digits[i] = '0' + byte(rnd.IntN(10))
		}
		text := strings.TrimLeft(string(digits[:precision-scale]), "0")
		if text == "" {
			text = "0"
		}
		if scale > 0 {
			text += "." + string(digits[precision-scale:])
		}
		want, _ := new(big.Int).SetString(string(digits), 10)
		if rnd.IntN(2) == 0 {
			text, want = "-"+text, want.Neg(want)
		}
		x, end := scanNumber([]byte(text), 0)
		got, w := x.decimal([]byte(text), precision, scale)
		if end != len(text) || w != fits || got.BigInt().Cmp(want) != 0 {
			t.Fatalf("%s in decimal(%d, %d) is %s, %d; want %s", text, precision, scale, got.BigInt(), w, want)
		}
	}
}
