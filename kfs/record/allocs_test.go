//go:build !race

package record

import "testing"

// The race detector makes pools drop what they are given, so allocations are counted without it.

func TestReadingAllocatesNothing(t *testing.T) {
	for _, codec := range codecs {
		batch := build(t, Builder{Codec: codec}, 100)
		var r Reader
		var rec Record
		n := testing.AllocsPerRun(20, func() {
			if err := r.Reset(batch, DecompressedBytes); err != nil {
				t.Fatal(err)
			}
			for {
				ok, err := r.Next(&rec)
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					return
				}
				for k := range rec.Headers.All() {
					_ = k
				}
			}
		})
		if n > 0 {
			t.Errorf("%s: %v allocations for a batch", codec, n)
		}
	}
}
