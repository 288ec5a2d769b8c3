package kfs

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"slices"
	"testing"
)

// FuzzOpen: whatever is taken can be sealed again and reads as the same.
func FuzzOpen(f *testing.F) {
	f.Fuzz(func(t *testing.T, object []byte) {
		m, crc, err := Open(object)
		if err != nil {
			return
		}
		if tail, tailCRC, need, err := OpenTail(object, int64(len(object))); err != nil || need != 0 || tailCRC != crc || !reflect.DeepEqual(tail, m) {
			t.Fatalf("the tail reads as %+v, %08x, need %d, %v", tail, tailCRC, need, err)
		}
		sealAgain(t, m, object)
	})
}

func sealAgain(t *testing.T, m *Manifest, object []byte) {
	t.Helper()
	bodies := make([][]byte, len(m.Segments))
	for i := range m.Segments {
		bodies[i] = m.Segments[i].Bytes(object)
	}
	want := *m
	want.Segments = slices.Clone(m.Segments)
	again, _, err := Seal(m, bodies)
	if err != nil {
		t.Fatalf("what was read cannot be written: %v", err)
	}
	got, _, err := Open(again)
	if err != nil || !reflect.DeepEqual(got, &want) {
		t.Fatalf("written again it reads as %+v, %v\nwant %+v", got, err, want)
	}
}

// FuzzOpenTail gives any bytes as a manifest with a right checksum, so that the decoder sees them. The segments have a length, but
// their bytes are not looked at.
func FuzzOpenTail(f *testing.F) {
	f.Fuzz(func(t *testing.T, manifest []byte) {
		m, err := decodeManifest(manifest)
		if err != nil {
			return
		}
		end := m.end()
		if end < HeaderSize || end > 1<<40 {
			end = HeaderSize
		}
		tail := binary.BigEndian.AppendUint64(bytes.Clone(manifest), uint64(end))
		tail = binary.BigEndian.AppendUint32(tail, uint32(len(manifest)))
		tail = binary.BigEndian.AppendUint32(tail, Checksum(manifest))
		tail = append(tail, 0, 0, 0, 0)
		tail = append(tail, endMagic...)
		size := end + int64(len(tail))
		got, _, need, err := OpenTail(tail, size)
		if err != nil {
			return
		}
		if need != 0 || !reflect.DeepEqual(got, m) {
			t.Fatalf("need %d, manifest %+v, want %+v", need, got, m)
		}
		again := got.encode()
		if len(again) > len(manifest) {
			t.Fatalf("a manifest of %d bytes is written in %d", len(manifest), len(again))
		}
		if read, err := decodeManifest(again); err != nil || !reflect.DeepEqual(read, m) {
			t.Fatalf("written again it reads as %+v, %v\nwant %+v", read, err, m)
		}
	})
}

// withMetaFooter gives the bytes a right footer, so that the decoder sees them.
func withMetaFooter(object []byte) []byte {
	if len(object) < metaHeaderSize+metaFooterSize {
		return object
	}
	e := encoder{bytes.Clone(object[:len(object)-metaFooterSize])}
	return e.endMeta()
}

func FuzzDecodeCheckpoint(f *testing.F) {
	f.Fuzz(func(t *testing.T, object []byte) {
		c, err := DecodeCheckpoint(withMetaFooter(object))
		if err != nil {
			return
		}
		again, err := EncodeCheckpoint(c)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if got, err := DecodeCheckpoint(again); err != nil || !reflect.DeepEqual(got, c) {
			t.Fatalf("written again it reads as %+v, %v\nwant %+v", got, err, c)
		}
	})
}

func FuzzDecodePage(f *testing.F) {
	f.Fuzz(func(t *testing.T, object []byte) {
		p, err := DecodePage(withMetaFooter(object))
		if err != nil {
			return
		}
		again, err := EncodePage(p)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if got, err := DecodePage(again); err != nil || !reflect.DeepEqual(got, p) {
			t.Fatalf("written again it reads as %+v, %v\nwant %+v", got, err, p)
		}
	})
}

// FuzzOpenSegment gives the body a right checksum, so that its batches are seen.
func FuzzOpenSegment(f *testing.F) {
	f.Fuzz(func(t *testing.T, object []byte) {
		if len(object) >= SegmentHeaderSize+SegmentFooterSize {
			object = bytes.Clone(object)
			footer := len(object) - SegmentFooterSize
			binary.BigEndian.PutUint32(object[footer:], Checksum(object[SegmentHeaderSize:footer]))
		}
		h, err := OpenSegment(object)
		if err != nil {
			return
		}
		again, index, err := SealSegment(h.Created, [][]byte{object[SegmentHeaderSize : len(object)-SegmentFooterSize]})
		if err != nil || !bytes.Equal(again, object) {
			t.Fatalf("sealed again it has other bytes (%v)", err)
		}
		x, err := DecodeIndex(index)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Check(object); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzDecodeIndex(f *testing.F) {
	f.Fuzz(func(t *testing.T, index, object []byte) {
		x, err := DecodeIndex(index)
		if err != nil {
			return
		}
		if !bytes.Equal(x.encode(), index) {
			t.Fatal("encoded again it has other bytes")
		}
		for _, e := range x.Entries {
			if got, ok := x.Search(e.Offset); !ok || got != e {
				t.Fatalf("search for %d gives %+v, %v", e.Offset, got, ok)
			}
		}
		_ = x.Check(object) // any answer but a panic
	})
}
