package decode

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// Eight bytes at a time: each constant holds a byte eight times.
const (
	eachByte = 0x0101010101010101
	highBits = 0x8080808080808080
	quotes   = '"' * eachByte
	slashes  = '\\' * eachByte
	spaces   = ' ' * eachByte
)

// stops marks, by the high bit of each byte of w, the bytes at which plain text of a JSON string ends: a quote, a backslash or a control
// character. Only the lowest mark is to be trusted: subtraction borrows from the bytes above a marked one.
func stops(w uint64) uint64 {
	q, s := w^quotes, w^slashes
	return ((q-eachByte)&^q | (s-eachByte)&^s | (w-spaces)&^w) & highBits
}

// string reads the string at i into slot of a String column, copying while it looks.
func (p *parser) string(c *column, slot int, doc []byte, i int) int {
	begin := int(c.i32[slot])
	end := begin
	i++
	var seen uint64
	for i+8 <= len(doc) {
		if end+8 > len(c.text) {
			c.growText(end + 8)
		}
		w := binary.LittleEndian.Uint64(doc[i:])
		binary.LittleEndian.PutUint64(c.text[end:], w)
		seen |= w
		if m := stops(w); m != 0 {
			n := bits.TrailingZeros64(m) / 8
			i, end = i+n, end+n
			break
		}
		i, end = i+8, end+8
	}
	for {
		if i >= len(doc) {
			return p.invalid(doc, i, "in a string")
		}
		if end+utf8.UTFMax > len(c.text) {
			c.growText(end + utf8.UTFMax)
		}
		switch b := doc[i]; {
		case b == '"':
			if seen&highBits != 0 && !utf8.Valid(c.text[begin:end]) {
				return p.fail(InvalidUTF8, fmt.Sprintf("the string that ends at byte %d is not UTF-8", i))
			}
			c.setEnd(slot, end)
			return i + 1
		case b == '\\':
			r, next := p.escape(doc, i)
			if next < 0 {
				return next
			}
			i, end = next, end+utf8.EncodeRune(c.text[end:], r)
		case b < ' ':
			return p.invalid(doc, i, "in a string, where control characters are escaped")
		default:
			seen |= uint64(b)
			c.text[end] = b
			i, end = i+1, end+1
		}
	}
}

// text reads the string at i: its bytes, in the document or in scratch, and the position behind it.
func (p *parser) text(doc []byte, i int) ([]byte, int) {
	i++
	begin := i
	var seen uint64
	for i+8 <= len(doc) {
		w := binary.LittleEndian.Uint64(doc[i:])
		seen |= w
		if m := stops(w); m != 0 {
			i += bits.TrailingZeros64(m) / 8
			break
		}
		i += 8
	}
	for i < len(doc) && doc[i] != '"' && doc[i] != '\\' && doc[i] >= ' ' {
		seen |= uint64(doc[i])
		i++
	}
	if i >= len(doc) {
		return nil, p.invalid(doc, i, "in a string")
	}
	s, end := doc[begin:i], i+1
	if doc[i] != '"' {
		if s, end = p.escaped(doc, begin, i); end < 0 {
			return nil, end
		}
		seen = highBits
	}
	if seen&highBits != 0 && !utf8.Valid(s) {
		return nil, p.fail(InvalidUTF8, fmt.Sprintf("the string that begins at byte %d is not UTF-8", begin-1))
	}
	return s, end
}

// escaped reads the rest of a string from i on, of which [begin, i) is plain, into scratch.
func (p *parser) escaped(doc []byte, begin, i int) ([]byte, int) {
	p.scratch = append(p.scratch[:0], doc[begin:i]...)
	for i < len(doc) {
		switch b := doc[i]; {
		case b == '"':
			return p.scratch, i + 1
		case b == '\\':
			r, next := p.escape(doc, i)
			if next < 0 {
				return nil, next
			}
			p.scratch = utf8.AppendRune(p.scratch, r)
			i = next
		case b < ' ':
			return nil, p.invalid(doc, i, "in a string, where control characters are escaped")
		default:
			p.scratch = append(p.scratch, b)
			i++
		}
	}
	return nil, p.invalid(doc, i, "in a string")
}

// escape reads the escape sequence at i, both halves of a surrogate pair.
func (p *parser) escape(doc []byte, i int) (rune, int) {
	if i+1 >= len(doc) {
		return 0, p.invalid(doc, i+1, "in an escape sequence")
	}
	switch c := doc[i+1]; c {
	case '"', '\\', '/':
		return rune(c), i + 2
	case 'b':
		return '\b', i + 2
	case 'f':
		return '\f', i + 2
	case 'n':
		return '\n', i + 2
	case 'r':
		return '\r', i + 2
	case 't':
		return '\t', i + 2
	case 'u':
	default:
		return 0, p.invalid(doc, i+1, "in an escape sequence")
	}
	r, ok := hex4(doc, i+2)
	if !ok {
		return 0, p.fail(InvalidJSON, fmt.Sprintf("the escape sequence at byte %d wants four hexadecimal digits", i))
	}
	if !utf16.IsSurrogate(r) {
		return r, i + 6
	}
	if literal(doc, i+6, `\u`) {
		if low, ok := hex4(doc, i+8); ok {
			if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
				return r, i + 12
			}
		}
	}
	return 0, p.fail(InvalidUTF8, fmt.Sprintf("half of a surrogate pair at byte %d", i))
}

func hex4(doc []byte, i int) (rune, bool) {
	if len(doc)-i < 4 {
		return 0, false
	}
	var r rune
	for _, c := range doc[i : i+4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
