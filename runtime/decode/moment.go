package decode

import (
	"encoding/base64"
	"fmt"
	"time"

	"github.com/firn-io/firn/runtime/schema"
)

// special reads the string at i into slot of a column whose values JSON has no type for.
func (p *parser) special(c *column, slot int, doc []byte, i int) int {
	text, end := p.text(doc, i)
	if end < 0 {
		return end
	}
	c.seek(slot)
	ok := true
	switch c.kind {
	case schema.Decimal:
		return p.decimalText(c, slot, text, end)
	case schema.Binary:
		at := int(c.i32[slot])
		if size := at + base64.StdEncoding.DecodedLen(len(text)); size > len(c.text) {
			c.growText(size)
		}
		n, err := base64.StdEncoding.Strict().Decode(c.text[at:], text)
		if ok = err == nil && !hasNewline(text); ok {
			c.setEnd(slot, at+n)
		}
	case schema.Date:
		var day int64
		if day, ok = date(text); ok {
			c.setInt32(slot, int32(day))
		}
	case schema.Timestamp, schema.Timestamptz:
		var micros int64
		if micros, ok = moment(text, c.kind == schema.Timestamptz); ok {
			c.setInt64(slot, micros)
		}
	}
	if !ok {
		return p.misfit(InvalidValue, fmt.Sprintf("%s is no %s", excerpt(text), wanted(c.kind)))
	}
	return end
}

func wanted(k schema.Kind) string {
	switch k {
	case schema.Binary:
		return "base64 (RFC 4648, padded)"
	case schema.Date:
		return "date such as 2006-01-02"
	case schema.Timestamp:
		return "time without offset such as 2006-01-02T15:04:05.999999, to the microsecond"
	default:
		return "time by RFC 3339 such as 2006-01-02T15:04:05.999999Z, to the microsecond"
	}
}

func (p *parser) decimalText(c *column, slot int, text []byte, end int) int {
	if len(text) == 0 || !isNumber(text[0]) {
		return p.misfit(InvalidValue, excerpt(text)+" is no decimal number")
	}
	x, n := scanNumber(text, 0)
	if n != len(text) {
		return p.misfit(InvalidValue, excerpt(text)+" is no decimal number")
	}
	if w := p.setNumber(c, slot, x, text); w != fits {
		return p.unfit(c, w, text)
	}
	return end
}

// hasNewline reports what base64 decoding would pass over in silence.
func hasNewline(text []byte) bool {
	for _, c := range text {
		if c == '\n' || c == '\r' {
			return true
		}
	}
	return false
}

// date reads 2006-01-02 as days since 1970.
func date(s []byte) (days int64, ok bool) {
	if len(s) != len("2006-01-02") || s[4] != '-' || s[7] != '-' {
		return 0, false
	}
	year, ok1 := digits(s[0:4])
	month, ok2 := digits(s[5:7])
	day, ok3 := digits(s[8:10])
	if !ok1 || !ok2 || !ok3 || month < 1 || month > 12 || day < 1 {
		return 0, false
	}
	t := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	if t.Day() != day {
		return 0, false
	}
	return t.Unix() / secondsPerDay, t.Unix()%secondsPerDay == 0
}

const secondsPerDay = 24 * 60 * 60

// moment reads 2006-01-02T15:04:05.999999 as microseconds since 1970, with Z or an offset behind it if zoned, else without.
// Digits behind the sixth must be zero. There is no second 60: it has no place on the axis.
func moment(s []byte, zoned bool) (micros int64, ok bool) {
	const clock = len("2006-01-02T15:04:05")
	if len(s) < clock || s[10]|0x20 != 't' || s[13] != ':' || s[16] != ':' {
		return 0, false
	}
	days, ok := date(s[:10])
	hour, ok1 := digits(s[11:13])
	minute, ok2 := digits(s[14:16])
	second, ok3 := digits(s[17:19])
	if !ok || !ok1 || !ok2 || !ok3 || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	s = s[clock:]
	fraction := 0
	if len(s) > 0 && s[0] == '.' {
		n := len(digitsAt(s, 1))
		for i := 1; i <= max(n, 6); i++ {
			d := byte('0')
			if i <= n {
				d = s[i]
			}
			if i <= 6 {
				fraction = fraction*10 + int(d-'0')
			} else if d != '0' {
				return 0, false
			}
		}
		if n == 0 {
			return 0, false
		}
		s = s[1+n:]
	}
	offset := 0
	if zoned {
		if offset, ok = zone(s); !ok {
			return 0, false
		}
	} else if len(s) > 0 {
		return 0, false
	}
	seconds := days*secondsPerDay + int64(hour*3600+minute*60+second-offset)
	return seconds*1_000_000 + int64(fraction), true
}

// zone reads Z or ±15:04 as seconds east of UTC.
func zone(s []byte) (seconds int, ok bool) {
	if len(s) == 1 && s[0]|0x20 == 'z' {
		return 0, true
	}
	if len(s) != len("+15:04") || s[0] != '+' && s[0] != '-' || s[3] != ':' {
		return 0, false
	}
	hours, ok1 := digits(s[1:3])
	minutes, ok2 := digits(s[4:6])
	if !ok1 || !ok2 || hours > 23 || minutes > 59 {
		return 0, false
	}
	if seconds = hours*3600 + minutes*60; s[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

// digits reads a few digits.
func digits(s []byte) (v int, ok bool) {
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + int(c-'0')
	}
	return v, true
}
