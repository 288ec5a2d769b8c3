package kfs

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func sealSample(t testing.TB) (*Manifest, [][]byte, []byte, uint32) {
	t.Helper()
	m, bodies := sampleManifest()
	object, crc, err := Seal(m, bodies)
	if err != nil {
		t.Fatal(err)
	}
	return m, bodies, object, crc
}

func TestObjectRoundTrip(t *testing.T) {
	m, bodies, object, crc := sealSample(t)
	got, gotCRC, err := Open(object)
	if err != nil {
		t.Fatal(err)
	}
	if gotCRC != crc {
		t.Errorf("Object CRC %08x, sealed with %08x", gotCRC, crc)
	}
	if !reflect.DeepEqual(got, m) {
		t.Errorf("manifest\n%+v\nwant\n%+v", got, m)
	}
	for i := range got.Segments {
		s := &got.Segments[i]
		if !bytes.Equal(s.Bytes(object), bodies[i]) {
			t.Errorf("segment %d holds %q, want %q", i, s.Bytes(object), bodies[i])
		}
		if ref := s.Ref("k"); ref != (Ref{"k", s.Position, s.Length}) {
			t.Errorf("segment %d has ref %v", i, ref)
		}
	}
	again, _, err := Seal(got, bodies)
	if err != nil || !bytes.Equal(again, object) {
		t.Errorf("sealed again: other bytes (%v)", err)
	}
}

func TestEmptyObject(t *testing.T) {
	m := &Manifest{Journal: 9999, Sequence: 1<<64 - 1, Epoch: 1, Writer: WriterID{1}}
	object, crc, err := Seal(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, gotCRC, err := Open(object)
	if err != nil || gotCRC != crc || !reflect.DeepEqual(got, m) {
		t.Errorf("Open = %+v, %08x, %v; want %+v, %08x", got, gotCRC, err, m, crc)
	}
}

// TestOpenTail asks for the manifest with tails of every length.
func TestOpenTail(t *testing.T) {
	m, _, object, crc := sealSample(t)
	size := int64(len(object))
	for n := range len(object) + 1 {
		got, gotCRC, need, err := OpenTail(object[len(object)-n:], size)
		if err != nil {
			t.Fatalf("tail of %d bytes: %v", n, err)
		}
		if need > 0 {
			if need <= int64(n) || need > size {
				t.Fatalf("tail of %d bytes needs %d of %d", n, need, size)
			}
			if got, gotCRC, need, err = OpenTail(object[size-need:], size); err == nil && need > 0 {
				got, gotCRC, need, err = OpenTail(object[size-need:], size)
			}
		}
		if err != nil || need != 0 || gotCRC != crc || !reflect.DeepEqual(got, m) {
			t.Fatalf("tail of %d bytes: %v, %08x, need %d, %v", n, got, gotCRC, need, err)
		}
	}
	if _, _, _, err := OpenTail(object, size-1); err == nil {
		t.Error("a tail longer than its object was taken")
	}
	if _, _, _, err := OpenTail(nil, HeaderSize); !errors.Is(err, ErrCorrupt) {
		t.Errorf("an object of only a header: %v", err)
	}
}

func TestCheckpointAndPageRoundTrip(t *testing.T) {
	c := sampleCheckpoint()
	object, err := EncodeCheckpoint(c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeCheckpoint(object)
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("checkpoint %+v, %v\nwant %+v", got, err, c)
	}
	p := samplePage()
	object, err = EncodePage(p)
	if err != nil {
		t.Fatal(err)
	}
	gotPage, err := DecodePage(object)
	if err != nil || !reflect.DeepEqual(gotPage, p) {
		t.Errorf("page %+v, %v\nwant %+v", gotPage, err, p)
	}
	if _, err := DecodeCheckpoint(object); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a page read as a checkpoint: %v", err)
	}
}
