package transform

import (
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
)

// BenchmarkTransforms is what a row of eleven columns costs in one transform.
func BenchmarkTransforms(b *testing.B) {
	var rows []string
	for i := range 4096 {
		rows = append(rows, fmt.Sprintf(`{"id":%d,"name":"%d","price":%d.5,"ok":true,"at":"2026-01-31T12:00:00Z","geo":{"lat":1.5},"tags":["a"]}`, i, i, i))
	}
	in := batch(b, memory.DefaultAllocator, rows...)
	for _, c := range [][2]string{{"drop", "[name]"}, {"filter", "id > 100 && price < 2000.0"}, {"filter", "name.startsWith('1')"}, {"filter", "name.matches('^1')"}, {"filter", "day < timestamp('2026-01-01T00:00:00Z')"},
		{"compute", "{x: price * 2.0}"}, {"cast", "{name: long}"}} {
		b.Run(c[0]+" "+c[1], func(b *testing.B) {
			t, err := open(memory.DefaultAllocator, c[0], c[1])
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				in.Records.Retain()
				out, err := t.Apply(b.Context(), in)
				if err != nil {
					b.Fatal(err)
				}
				out.Records.Release()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(rows)), "ns/row")
		})
	}
}
