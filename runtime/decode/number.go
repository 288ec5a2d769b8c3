package decode

import (
	"bytes"
	"encoding/binary"
	"math/big"
	"math/bits"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// number is what a JSON number says: ±digits × 10^exp.
type number struct {
	negative bool
	digits   uint64 // the significant digits, at most 19, without zeros at the end unless longer
	exp      int    // within ±maxExp, far beyond what any column holds
	longer   bool   // digits has only the first 19 significant digits
	integer  bool   // it is written without fraction and exponent
}

const (
	maxDigits = 19 // that always fit 64 bits
	maxExp    = 1 << 20
)

// scanNumber reads the number at i and gives the position behind it. If that is no number by RFC 8259, the position is -1-k, where k is
// the byte that is wrong.
func scanNumber(doc []byte, i int) (x number, end int) {
	if doc[i] == '-' {
		x.negative = true
		i++
	}
	whole := digitsAt(doc, i)
	if len(whole) == 0 {
		return x, -1 - i
	}
	if whole[0] == '0' && len(whole) > 1 {
		return x, -1 - (i + 1)
	}
	i += len(whole)
	x.integer = true
	var fraction []byte
	if i < len(doc) && doc[i] == '.' {
		x.integer = false
		fraction = digitsAt(doc, i+1)
		i += 1 + len(fraction)
		if len(fraction) == 0 {
			return x, -1 - i
		}
	}
	if i < len(doc) && doc[i]|0x20 == 'e' {
		x.integer = false
		if x.exp, i = scanExponent(doc, i+1); i < 0 {
			return x, i
		}
	}
	x.set(whole, fraction)
	return x, i
}

// set computes digits, and exp from the exponent that it holds.
func (x *number) set(whole, fraction []byte) {
	n := 0
	for _, d := range whole {
		if n == maxDigits {
			x.exp++
			x.longer = x.longer || d != '0'
			continue
		}
		x.digits = x.digits*10 + uint64(d-'0')
		if x.digits > 0 {
			n++
		}
	}
	for _, d := range fraction {
		if n == maxDigits {
			x.longer = x.longer || d != '0'
			continue
		}
		x.exp--
		x.digits = x.digits*10 + uint64(d-'0')
		if x.digits > 0 {
			n++
		}
	}
	for !x.longer && x.digits > 0 && x.digits%10 == 0 {
		x.digits /= 10
		x.exp++
	}
	x.exp = max(-maxExp, min(maxExp, x.exp))
}

func digitsAt(doc []byte, i int) []byte {
	begin := i
	for i < len(doc) && doc[i]-'0' <= 9 {
		i++
	}
	return doc[begin:i]
}

func scanExponent(doc []byte, i int) (exp, end int) {
	negative := false
	if i < len(doc) && (doc[i] == '+' || doc[i] == '-') {
		negative = doc[i] == '-'
		i++
	}
	digits := digitsAt(doc, i)
	if len(digits) == 0 {
		return 0, -1 - i
	}
	for _, d := range digits {
		if exp < 1<<40 {
			exp = exp*10 + int(d-'0')
		}
	}
	if negative {
		exp = -exp
	}
	return exp, i + len(digits)
}

// integer reads the number at i if it is an integer of at most 18 digits, written without fraction and exponent; else end is 0.
func integer(doc []byte, i int) (v int64, end int) {
	negative := doc[i] == '-'
	if negative {
		i++
	}
	u, end := digitRun(doc, i)
	n := end - i
	if n == 0 || n > 18 || n > 1 && doc[i] == '0' {
		return 0, 0
	}
	if end < len(doc) && (doc[end] == '.' || doc[end]|0x20 == 'e') {
		return 0, 0
	}
	if negative {
		return -int64(u), end
	}
	return int64(u), end
}

// digitRun reads the digits at i, eight at a time. The value is right for up to 19 digits.
func digitRun(doc []byte, i int) (u uint64, end int) {
	for i+8 <= len(doc) {
		w := binary.LittleEndian.Uint64(doc[i:]) ^ '0'*eachByte
		// The high bit of each byte that is above 9; the lowest such mark is to be trusted, as in stops.
		m := (w + (0x80-10)*eachByte | w) & highBits
		if m != 0 {
			n := bits.TrailingZeros64(m) / 8
			return u*pow10[n] + eightDigits(w<<(64-8*n)), i + n
		}
		u = u*1e8 + eightDigits(w)
		i += 8
	}
	for i < len(doc) && doc[i]-'0' <= 9 {
		u = u*10 + uint64(doc[i]-'0')
		i++
	}
	return u, i
}

// eightDigits is the value of eight digits, the first in the lowest byte: neighbours are joined to numbers of two, four and eight digits.
func eightDigits(w uint64) uint64 {
	w = w*10 + w>>8
	const two = 0x000000ff000000ff
	return (w&two*(100+1e6<<32) + w>>16&two*(1+1e4<<32)) >> 32
}

// whether is how a number fits a type.
type whether uint8

const (
	fits      whether = iota
	beyond            // it is out of the type's range, or would be rounded
	fractured         // it has a fraction where an integer is wanted
)

// int64 is the number as an integer, if it is one. -0 is 0.
func (x number) int64() (int64, whether) {
	switch {
	case x.digits == 0:
		return 0, fits
	case x.exp < 0:
		return 0, fractured
	case x.longer || x.exp >= maxDigits:
		return 0, beyond
	}
	hi, u := bits.Mul64(x.digits, pow10[x.exp])
	switch {
	case hi > 0:
		return 0, beyond
	case x.negative && u <= 1<<63:
		return -int64(u), fits
	case !x.negative && u < 1<<63:
		return int64(u), fits
	}
	return 0, beyond
}

// float is the nearest number of size bits (32 or 64). Integers must be held exactly. text is the number as it is written.
func (x number) float(text []byte, size int) (float64, whether) {
	mantissa := 53
	if size == 32 {
		mantissa = 24
	}
	if x.integer && !x.exact(text, mantissa) {
		return 0, beyond
	}
	var b [40]byte
	short := text
	if !x.longer { // as written it may be long, or have an exponent that strconv cuts
		short = b[:0]
		if x.negative {
			short = append(short, '-')
		}
		short = strconv.AppendUint(short, x.digits, 10)
		short = append(short, 'e')
		short = strconv.AppendInt(short, int64(x.exp), 10)
	} else if len(text) > longestNumber {
		return 0, beyond
	}
	f, err := strconv.ParseFloat(string(short), size)
	if err != nil {
		return 0, beyond
	}
	return f, fits
}

// longestNumber is how long a number may be written that has more than 19 significant digits.
const longestNumber = 4096

// exact reports whether the integer has at most size significant bits.
func (x number) exact(text []byte, size int) bool {
	if !x.longer {
		if x.digits == 0 {
			return true
		}
		u := x.digits >> bits.TrailingZeros64(x.digits)
		for range min(x.exp, 64) { // 10^exp is 5^exp in significant bits
			hi, lo := bits.Mul64(u, 5)
			if u = lo; hi > 0 {
				return false
			}
		}
		return bits.Len64(u) <= size
	}
	if len(text) > 310 { // 10^309 is beyond the largest double
		return false
	}
	n, ok := new(big.Int).SetString(string(text), 10)
	return ok && n.BitLen()-int(n.TrailingZeroBits()) <= size
}

// decimal is the number as an integer of units of 10^-scale, of at most precision digits. text is the number as it is written.
func (x number) decimal(text []byte, precision, scale int32) (decimal128.Num, whether) {
	if x.digits == 0 {
		return decimal128.Num{}, fits
	}
	v, n, exp := decimal128.FromU64(x.digits), decimalDigits(x.digits), x.exp
	if x.longer {
		digits := bytes.TrimRight(significant(text), "0")
		exp += maxDigits - len(digits)
		if n = len(digits); n > int(precision) {
			return v, beyond
		}
		whole, _ := new(big.Int).SetString(string(digits), 10)
		v = decimal128.FromBigInt(whole)
	}
	shift := exp + int(scale)
	if shift < 0 || n+shift > int(precision) {
		return v, beyond
	}
	if v = v.Mul(decimal128.GetScaleMultiplier(shift)); x.negative {
		v = v.Negate()
	}
	return v, fits
}

// decimalDigits is how many digits u has.
func decimalDigits(u uint64) int {
	n := 1
	for n < len(pow10) && u >= pow10[n] {
		n++
	}
	return n
}

// significant is the digits of a number from the first that is not zero, without point and exponent.
func significant(text []byte) []byte {
	var digits []byte
	for _, c := range text {
		if c|0x20 == 'e' {
			break
		}
		if '1' <= c && c <= '9' || c == '0' && len(digits) > 0 {
			digits = append(digits, c)
		}
	}
	return digits
}

// pow10 is the powers of ten that 64 bits hold.
var pow10 = [...]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}
