package kfs

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// sampleSegment is a settled segment of 40 batches of 100 records from offset 5000 on.
func sampleSegment(t testing.TB) (object, index []byte) {
	t.Helper()
	values := slices.Repeat([]string{"v"}, 100)
	var bodies [][]byte
	for i := range int64(40) {
		bodies = append(bodies, sampleBatch(5000+i*100, 1_700_000_000_000+i, values...))
	}
	object, index, err := SealSegment(1_700_000_000_123, bodies)
	if err != nil {
		t.Fatal(err)
	}
	return object, index
}

// smallSegment is a settled segment of two batches.
func smallSegment(t testing.TB) (object, index []byte) {
	t.Helper()
	object, index, err := SealSegment(1_700_000_000_123, [][]byte{append(sampleBatch(10, 1, "a", "b"), sampleBatch(12, 2, "c")...)})
	if err != nil {
		t.Fatal(err)
	}
	return object, index
}

func TestSegmentRoundTrip(t *testing.T) {
	object, index := sampleSegment(t)
	h, err := OpenSegment(object)
	if err != nil {
		t.Fatal(err)
	}
	want := SettledHeader{Span: Span{5000, 9000}, Records: 4000, Created: 1_700_000_000_123, CRC: Checksum(object[SegmentHeaderSize : len(object)-SegmentFooterSize])}
	if h != want {
		t.Errorf("header %+v, want %+v", h, want)
	}
	if crc, last, err := ParseSegmentFooter(object[len(object)-SegmentFooterSize:]); err != nil || last != 8999 || crc != want.CRC {
		t.Errorf("footer: %08x, %d, %v", crc, last, err)
	}
	x, err := DecodeIndex(index)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Check(object); err != nil {
		t.Error(err)
	}
	if len(x.Entries) != 4 || x.Interval != IndexInterval {
		t.Errorf("index of %d entries every %d records, want 4 every %d", len(x.Entries), x.Interval, IndexInterval)
	}
}

// TestSegmentIsDeterministic: how the batches were split over journal objects does not show.
func TestSegmentIsDeterministic(t *testing.T) {
	a, b := sampleBatch(0, 1, "x", "y"), sampleBatch(2, 2, "z")
	first, firstIndex, err := SealSegment(7, [][]byte{a, b})
	if err != nil {
		t.Fatal(err)
	}
	second, secondIndex, err := SealSegment(7, [][]byte{append(bytes.Clone(a), b...)})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) || !bytes.Equal(firstIndex, secondIndex) {
		t.Error("the same batches gave other bytes")
	}
}

func TestIndexSearch(t *testing.T) {
	_, index := sampleSegment(t)
	x, err := DecodeIndex(index)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ offset, want int64 }{{5000, 5000}, {5001, 5000}, {5999, 5000}, {6000, 6000}, {8500, 8000}, {1 << 62, 8000}} {
		if e, ok := x.Search(tc.offset); !ok || e.Offset != tc.want {
			t.Errorf("offset %d: entry %+v, %v, want offset %d", tc.offset, e, ok, tc.want)
		}
	}
	if e, ok := x.Search(4999); ok {
		t.Errorf("an offset before the segment was found at %+v", e)
	}
}

// TestDamagedSegment changes every byte. No checksum of version 1 covers the time of creation.
func TestDamagedSegment(t *testing.T) {
	object, _ := smallSegment(t)
	const createdAt, createdEnd = 20, 28
	damaged(t, object, func(b []byte) error {
		_, err := OpenSegment(b)
		if len(b) == len(object) && !bytes.Equal(b[createdAt:createdEnd], object[createdAt:createdEnd]) && err == nil {
			return ErrCorrupt
		}
		return err
	})
}

// TestDamagedIndex: an index has no checksum; what is damaged is refused on its own or does not fit its segment.
func TestDamagedIndex(t *testing.T) {
	object, index := sampleSegment(t)
	const intervalAt, intervalEnd = 10, 14
	for i := range index {
		b := bytes.Clone(index)
		b[i] ^= 0x11
		x, err := DecodeIndex(b)
		if err == nil {
			err = x.Check(object)
		}
		if err == nil && (i < intervalAt || i >= intervalEnd) {
			t.Errorf("byte %d changed: taken", i)
		}
	}
	for n := range index {
		if _, err := DecodeIndex(index[:n:n]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestSealSegmentRefuses(t *testing.T) {
	good := sampleBatch(10, 1, "a", "b")
	change := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	for name, bodies := range map[string][][]byte{
		"nothing":          nil,
		"an empty body":    {{}},
		"half a header":    {good[:30]},
		"half a batch":     {good[:len(good)-1]},
		"old message":      {change(batchMagicAt, 1)},
		"negative offset":  {change(0, 0x80)},
		"negative length":  {change(8, 0x80)},
		"short length":     {change(11, 3)},
		"negative delta":   {change(batchLastDeltaAt, 0x80)},
		"too many records": {change(batchRecordsAt+3, 3)},
		"negative records": {change(batchRecordsAt, 0x80)},
		"a gap":            {good, sampleBatch(13, 1, "c")},
		"an overlap":       {good, sampleBatch(11, 1, "c")},
	} {
		if _, _, err := SealSegment(0, bodies); err == nil {
			t.Errorf("%s was sealed", name)
		}
	}
	if _, _, err := SealSegment(-1, [][]byte{good}); err == nil {
		t.Error("a negative time was sealed")
	}
}

func TestVersionsAreNamed(t *testing.T) {
	settled, _ := smallSegment(t)
	_, _, object, _ := sealSample(t)
	if _, err := OpenSegment(object); !errors.Is(err, ErrVersion) {
		t.Errorf("a journal object read as a settled segment: %v", err)
	}
	if v, err := Version(settled); v != 1 || err != nil {
		t.Errorf("settled segment has version %d, %v", v, err)
	}
	if v, err := Version(object); v != 2 || err != nil {
		t.Errorf("journal object has version %d, %v", v, err)
	}
	object[5] = 9
	if _, _, err := Open(object); !errors.Is(err, ErrVersion) {
		t.Errorf("version 9: %v", err)
	}
}
