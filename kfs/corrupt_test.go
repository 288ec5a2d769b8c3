package kfs

import (
	"bytes"
	"errors"
	"testing"
)

// damaged calls try with object cut at every length, with every byte changed in several ways, and with a byte more.
func damaged(t *testing.T, object []byte, try func(b []byte) error) {
	t.Helper()
	for n := range len(object) {
		if err := try(object[:n:n]); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	for i := range object {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			b := bytes.Clone(object)
			b[i] ^= flip
			if err := try(b); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Errorf("byte %d changed by %02x: %v", i, flip, err)
			}
		}
	}
	if err := try(append(bytes.Clone(object), 0)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("one byte more: %v", err)
	}
}

func TestDamagedObject(t *testing.T) {
	_, _, object, _ := sealSample(t)
	damaged(t, object, func(b []byte) error {
		_, _, err := Open(b)
		return err
	})
}

// TestDamagedTail: whoever reads only the tail sees every damage to manifest and footer.
func TestDamagedTail(t *testing.T) {
	m, _, object, _ := sealSample(t)
	tail := object[m.end():]
	for i := range tail {
		b := bytes.Clone(tail)
		b[i] ^= 0x10
		if _, _, need, err := OpenTail(b, int64(len(object))); err == nil && need == 0 {
			t.Errorf("byte %d of the tail changed: taken", i)
		}
	}
}

func TestDamagedCheckpoint(t *testing.T) {
	object, err := EncodeCheckpoint(sampleCheckpoint())
	if err != nil {
		t.Fatal(err)
	}
	damaged(t, object, func(b []byte) error {
		_, err := DecodeCheckpoint(b)
		return err
	})
}

func TestDamagedPage(t *testing.T) {
	object, err := EncodePage(samplePage())
	if err != nil {
		t.Fatal(err)
	}
	damaged(t, object, func(b []byte) error {
		_, err := DecodePage(b)
		return err
	})
}
