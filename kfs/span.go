package kfs

import "fmt"

// Span is a half-open range of offsets [Base, Next) of one partition.
type Span struct {
	Base int64 `json:"base"` // first offset
	Next int64 `json:"next"` // one past the last offset
}

// Len is the number of offsets in the span.
func (s Span) Len() int64 { return s.Next - s.Base }

// Empty reports whether the span holds no offset.
func (s Span) Empty() bool { return s.Next <= s.Base }

// Contains reports whether offset lies in the span.
func (s Span) Contains(offset int64) bool { return s.Base <= offset && offset < s.Next }

// Overlaps reports whether the two spans share an offset.
func (s Span) Overlaps(o Span) bool {
	return s.Base < o.Next && o.Base < s.Next && !s.Empty() && !o.Empty()
}

// String writes the span as [base, next).
func (s Span) String() string { return fmt.Sprintf("[%d, %d)", s.Base, s.Next) }
