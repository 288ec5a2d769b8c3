package decode

import (
	"fmt"

	"github.com/firn-io/firn/runtime/schema"
)

// floatPow10 is the powers of ten that a double holds exactly.
var floatPow10 = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}

// double reads the number at i into slot of a Double column.
func (p *parser) double(c *column, slot int, doc []byte, i int) int {
	begin := i
	negative := doc[i] == '-'
	if negative {
		i++
	}
	whole := i
	u, i := digitRun(doc, i)
	n, fraction := i-whole, 0
	if n > 0 && i+1 < len(doc) && doc[i] == '.' && doc[i+1]-'0' <= 9 {
		part, end := digitRun(doc, i+1)
		fraction = end - (i + 1)
		u, i = u*pow10[min(fraction, maxDigits)]+part, end
	}
	// Both the digits and the power of ten are exact doubles here, so that one division rounds once, and right.
	if n == 0 || n+fraction > maxDigits || u > 1<<53 || n > 1 && doc[whole] == '0' || i < len(doc) && (doc[i] == '.' || doc[i]|0x20 == 'e') {
		return p.number(c, slot, doc, begin)
	}
	f := float64(u) / floatPow10[fraction]
	if negative {
		f = -f
	}
	c.seek(slot)
	c.setFloat64(slot, f)
	return i
}

// number reads the number at i into slot of a numeric column, whatever the number is like.
func (p *parser) number(c *column, slot int, doc []byte, i int) int {
	x, end := scanNumber(doc, i)
	if end < 0 {
		return p.invalid(doc, -1-end, "in a number")
	}
	text := doc[i:end]
	if w := p.setNumber(c, slot, x, text); w != fits {
		return p.unfit(c, w, text)
	}
	return end
}

// unfit is the fault of a number that does not fit a column.
func (p *parser) unfit(c *column, w whether, text []byte) int {
	if w == fractured {
		return p.misfit(TypeConflict, fmt.Sprintf("the column is %s, the value a number with a fraction: %s", c.typ.Short(), excerpt(text)))
	}
	return p.misfit(OutOfRange, fmt.Sprintf("%s does not fit %s exactly", excerpt(text), c.typ.Short()))
}

// setNumber sets slot of a numeric column, unless the number does not fit.
func (p *parser) setNumber(c *column, slot int, x number, text []byte) whether {
	var w whether
	switch c.kind {
	case schema.Int, schema.Long:
		var v int64
		if v, w = x.int64(); w == fits && c.kind == schema.Int && v != int64(int32(v)) {
			w = beyond
		}
		if w != fits {
			return w
		}
		c.seek(slot)
		if c.kind == schema.Int {
			c.setInt32(slot, int32(v))
		} else {
			p.setLong(c, slot, v)
		}
	case schema.Float:
		v, w := x.float(text, 32)
		if w != fits {
			return w
		}
		c.seek(slot)
		c.f32[slot] = float32(v)
		c.present(slot)
	case schema.Double:
		v, w := x.float(text, 64)
		if w != fits {
			return w
		}
		c.seek(slot)
		c.setFloat64(slot, v)
	case schema.Decimal:
		v, w := x.decimal(text, c.typ.Precision, c.typ.Scale)
		if w != fits {
			return w
		}
		c.seek(slot)
		c.dec[slot] = v
		c.present(slot)
	case schema.Timestamptz: // milliseconds, of which three digits behind the point are microseconds
		v, w := x.decimal(text, 38, 3)
		if w == fits && v.HighBits() != int64(v.LowBits())>>63 {
			w = beyond
		}
		if w != fits {
			return w
		}
		c.seek(slot)
		c.setInt64(slot, int64(v.LowBits()))
	}
	return fits
}
