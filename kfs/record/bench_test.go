package record

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// benchBatch is a batch of 1 KiB records that look like events: about half of each is taken from a small vocabulary.
func benchBatch(b *testing.B, codec Codec) []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	builder := Builder{Codec: codec}
	for i := range 500 {
		value := []byte(fmt.Sprintf(`{"id":%d,"user":%d,"city":"Reykjavik","payload":"`, i, rnd.IntN(1e6)))
		for len(value) < 1022 {
			if rnd.IntN(2) == 0 {
				value = append(value, "temperature pressure "...)
			} else {
				value = fmt.Appendf(value, "%x ", rnd.Uint64())
			}
		}
		builder.Add(int64(i), []byte(fmt.Sprint(i)), append(value[:1022], `"}`...))
	}
	return encode(b, builder)
}

// BenchmarkReader reads batches of 500 records: ns/record is the figure.
func BenchmarkReader(b *testing.B) {
	for _, codec := range codecs {
		for _, verify := range []bool{true, false} {
			b.Run(fmt.Sprintf("%s/crc=%t", codec, verify), func(b *testing.B) {
				batch := benchBatch(b, codec)
				var r Reader
				var rec Record
				b.ReportAllocs()
				records := 0
				for b.Loop() {
					if verify {
						if err := Verify(batch); err != nil {
							b.Fatal(err)
						}
					}
					if err := r.Reset(batch, DecompressedBytes); err != nil {
						b.Fatal(err)
					}
					for {
						ok, err := r.Next(&rec)
						if err != nil {
							b.Fatal(err)
						}
						if !ok {
							break
						}
						records++
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/record")
			})
		}
	}
}

// BenchmarkValidate is what a broker pays for each batch of 500 KiB of records; MB/s are of records before compression.
func BenchmarkValidate(b *testing.B) {
	for _, codec := range codecs {
		b.Run(codec.String(), func(b *testing.B) {
			batch := benchBatch(b, codec)
			v := NewValidator(Limits{})
			b.ReportAllocs()
			b.SetBytes(500 << 10)
			for b.Loop() {
				if _, err := v.Validate(batch, Rules{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(batch))/(500<<10), "compressed")
		})
	}
}
