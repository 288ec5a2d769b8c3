package record

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// fuzzLimit is small, so that a bomb is cheap and a buffer beyond the limit shows.
const fuzzLimit = 1 << 20

// seeds gives f the batches of real clients, and what makes them hard to read.
func seeds(f *testing.F, add func(batch []byte)) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "batches", "*"))
	if err != nil || len(files) == 0 {
		f.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		add(b)
		add(b[:len(b)/2])
		add(append(bytes.Clone(b), b...))
	}
	for _, codec := range codecs {
		add(build(f, Builder{Codec: codec, Producer: &Producer{ID: 1}}, 9))
	}
}

// FuzzValidate: what a Validator accepts, a Reader reads to its end; and it is one batch by every other function too.
func FuzzValidate(f *testing.F) {
	seeds(f, func(b []byte) { f.Add(b, true) })
	v := NewValidator(Limits{BatchBytes: fuzzLimit, DecompressedBytes: fuzzLimit})
	f.Fuzz(func(t *testing.T, b []byte, fix bool) {
		if fix && len(b) >= HeaderSize {
			if h, err := ParseHeader(b); err == nil {
				fixCRC(b[:h.Size()]) // else nothing that is changed gets past the checksum
			}
		}
		h, err := v.Validate(b, Rules{})
		if err != nil {
			return
		}
		if err := Verify(b); err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		n := 0
		for batch, err := range Batches(b) {
			if n++; err != nil || len(batch) != len(b) {
				t.Fatalf("accepted, but it is %d bytes of %d, %v", len(batch), len(b), err)
			}
		}
		records, latest := readAll(t, b)
		if n != 1 || records != h.Records || latest != h.MaxTimestamp {
			t.Fatalf("%d batches with %d records, latest at %d; the header says %+v", n, records, latest, h)
		}
		Stamp(b, 1<<40, 3)
		if _, err := v.Validate(b, Rules{}); err != nil {
			t.Fatalf("refused after Stamp: %v", err)
		}
	})
}

func readAll(t *testing.T, b []byte) (records int32, latest int64) {
	var r Reader
	if err := r.Reset(b, fuzzLimit); err != nil {
		t.Fatalf("accepted, but %v", err)
	}
	var rec Record
	for {
		ok, err := r.Next(&rec)
		if err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		if !ok {
			return records, latest
		}
		if rec.Offset != r.Header().BaseOffset+int64(records) {
			t.Fatalf("record %d has offset %d", records, rec.Offset)
		}
		if records++; records == 1 || rec.Timestamp > latest {
			latest = rec.Timestamp
		}
		n := 0
		for key, value := range rec.Headers.All() {
			if n++; key == nil || len(key)+len(value) > len(b)+fuzzLimit {
				t.Fatal("a header that is not there")
			}
		}
		if n != rec.Headers.Len() {
			t.Fatalf("%d headers of %d", n, rec.Headers.Len())
		}
	}
}

// FuzzReader: any bytes give records or an error, and never more records than bytes.
func FuzzReader(f *testing.F) {
	seeds(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Reader
		var rec Record
		for batch, err := range Batches(b) {
			if err != nil || r.Reset(batch, fuzzLimit) != nil {
				return
			}
			for n := 0; ; n++ {
				ok, err := r.Next(&rec)
				if err != nil || !ok {
					if again, _ := r.Next(&rec); again {
						t.Fatal("a record after the end")
					}
					break
				}
				if n > len(batch)+fuzzLimit {
					t.Fatal("more records than bytes")
				}
			}
		}
	})
}

// FuzzDecompress: output is within the limit whatever comes in, and does not depend on what the Decompressor did before.
func FuzzDecompress(f *testing.F) {
	seeds(f, func(b []byte) {
		if h, err := ParseHeader(b); err == nil {
			f.Add(uint8(h.Codec()), b[HeaderSize:], uint16(6000))
		}
	})
	var used Decompressor
	f.Fuzz(func(t *testing.T, codec uint8, src []byte, limit uint16) {
		var fresh Decompressor
		got, err := used.Decompress(Codec(codec), src, int(limit))
		want, err2 := fresh.Decompress(Codec(codec), src, int(limit))
		if (err == nil) != (err2 == nil) || !bytes.Equal(got, want) {
			t.Fatalf("used before: %d bytes, %v; fresh: %d bytes, %v", len(got), err, len(want), err2)
		}
		if len(got) > int(limit) {
			t.Fatalf("%d bytes, the limit is %d", len(got), limit)
		}
		if cap(fresh.buf) > 2*int(limit)+64<<10 && Codec(codec) != Zstd {
			t.Fatalf("a buffer of %d bytes, the limit is %d", cap(fresh.buf), limit)
		}
	})
}
